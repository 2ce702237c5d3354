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
_LEAST_FIELDS = 8


def held_out_gain(levels: Sequence[Level], shape: tuple[int, int], settings: ElasticSettings) -> float:
    """Return by how many standard errors the fields that did not steer have become more alike; 0 for too few.

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
        held = replace(judge, mask=judge.mask * _board(judge, judge, colour))
        before, after = held.seen(torch.zeros_like(splines)), held.seen(splines)
        both = before.known * after.known
        gains.append(_fields((before.compared.energies - after.compared.energies) * both))
        known.append(_fields(both))
    return _standing(torch.cat(gains), torch.cat(known))


def _board(level: Level, judge: Level, colour: int) -> Tensor:
    """Return the fields of one colour at a level, which cover the same parts of the image at every one: (h, w)."""
    side = _FIELD_PX * judge.reduction / level.reduction
    y, x = (torch.div(torch.arange(n) + 0.5, side, rounding_mode="floor") for n in level.shape)
    return ((y[:, None] + x) % 2 == colour).to(level.mask)


def _fields(plane: Tensor) -> Tensor:
    return functional.avg_pool2d(plane[:, None], _FIELD_PX, ceil_mode=True, count_include_pad=False).flatten()


def _standing(gains: Tensor, known: Tensor) -> float:
    """Return the mean gain of a field over its standard error, of fields of which a quarter is known."""
    kept = known > 0.25
    count = int(kept.sum())
    if count < _LEAST_FIELDS:
        return 0.0
    each = (gains[kept] / known[kept]).double()
    return float(each.mean() / (each.std() / sqrt(count)).clamp_min(1e-12))


__all__ = ["held_out_gain"]
