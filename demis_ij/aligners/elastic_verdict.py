"""Whether an elastic registration is better than none, by data that did not steer.

Likeness always rises when it is what is optimised, also between images that have nothing in common. So on a coarse
level the images are registered twice more, by the black and by the white fields of a chessboard; what the other fields
make of it does not flatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional

from demis_ij.aligners.elastic_levels import Level
from demis_ij.aligners.elastic_solving import solved
from demis_ij.config.elastic import ElasticSettings

_LARGEST_PX = 144  # the shorter side of the level that is judged by
_FIELD_PX = 16  # of the chessboard
_APART_PX = 4  # of a field's edge: what lies nearer is much like what steered
_LEAST_KNOWN = 0.1  # of a field
_LEAST_FIELDS = 8


def held_out_gain(levels: Sequence[Level], shape: tuple[int, int], settings: ElasticSettings) -> float:
    """Return how far from chance it is that the fields that did not steer have become more alike; 0 for too few.

    Standard deviations of the signed ranks of the fields' gains (Wilcoxon 1945, doi:10.2307/3001968). Of 61 strangers
    one reached 3.2, the others at most 3.1; pairs registered well had 5.7 or more, and 3.2 where most is black. Nor
    does it tell everything: pairs of unlike greys that were bent wrongly reached 5.8 (docs/howto/elastic.md).

    Parameters
    ----------
    levels : sequence of Level
        The coarsest first.
    shape : tuple of int
        (rows, cols) of the images.
    settings : ElasticSettings
    """
    chosen = [level for k, level in enumerate(levels) if k == 0 or min(level.shape) <= _LARGEST_PX]
    judge = chosen[-1]
    gains, known = [], []
    for colour in (0, 1):
        steering = [replace(v, mask=v.mask * _board(v, judge, 1 - colour)) for v in chosen]
        splines = solved(steering, shape, settings, None, lambda what, done, total: None)[:1]
        held = replace(judge, mask=judge.mask * _board(judge, judge, colour, _APART_PX))
        before, after = held.seen(torch.zeros_like(splines)), held.seen(splines)
        both = before.known * after.known
        gains.append(_fields((before.compared.energies - after.compared.energies) * both))
        known.append(_fields(both))
    return _standing(torch.cat(gains), torch.cat(known))


def _board(level: Level, judge: Level, colour: int, edge_px: float = 0.0) -> Tensor:
    """Return the fields of one colour at a level, without their edges: (h, w).

    They cover the same parts of the image at every level.
    """
    side = _FIELD_PX * judge.reduction / level.reduction
    at = [(torch.arange(n) + 0.5) / side for n in level.shape]
    y, x = (v.floor() for v in at)
    inner = [((v - v.floor() - 0.5).abs() * side <= side / 2 - edge_px).to(level.mask) for v in at]
    return ((y[:, None] + x) % 2 == colour).to(level.mask) * inner[0][:, None] * inner[1]


def _fields(plane: Tensor) -> Tensor:
    return functional.avg_pool2d(plane[:, None], _FIELD_PX, ceil_mode=True, count_include_pad=False).flatten()


def _standing(gains: Tensor, known: Tensor) -> float:
    """Return the sum of the signed ranks of the fields of which enough is known, in its standard deviations."""
    kept = known > _LEAST_KNOWN
    count = int(kept.sum())
    if count < _LEAST_FIELDS:
        return 0.0
    each = (gains[kept] / known[kept]).double()
    ranks = each.abs().argsort().argsort() + 1
    return float((each.sign() * ranks).sum()) / sqrt(count * (count + 1) * (2 * count + 1) / 6)


__all__ = ["held_out_gain"]
