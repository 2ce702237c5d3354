"""Whether an elastic registration is better than none, by what did not steer, and by what strangers would make of it.

Likeness always rises when it is what is optimised, also between images that have nothing in common. So on a coarse
level the images are registered twice more, by the black and by the white fields of a chessboard; what the other fields
make of it does not flatter.

Pictures of few marks may have too little for that: a mark is a field or two, and nothing beside it knows where it
belongs. There the moving image itself is asked what chance makes of such marks: mirrored, turned by 180 degrees and
shifted by half its sides it is a stranger of the same statistics, and is bent onto the fixed one as the image itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from demis_ij.aligners.elastic_levels import Level, level_of, pyramid
from demis_ij.aligners.elastic_similarity import Ncc
from demis_ij.aligners.elastic_solving import solved
from demis_ij.config.elastic import ElasticSettings

_LARGEST_PX = 144  # the shorter side of the level that is judged by
_SMALLEST_PX = 92  # of it: limits were chosen on levels of 95 to 128 px; a coarser one has too few fields to reach them
_USUAL_PX = 128
_FIELD_PX = 16  # of the chessboard
_APART_PX = 4  # of a field's edge: what lies nearer is much like what steered
_LEAST_KNOWN = 0.1  # of a field
_LEAST_FIELDS = 8
_BEYOND_CHANCE = 3.2  # standard deviations
_LEAST_SHOWN = 0.1  # of evened contrast, squared: what is flatter shows nothing
_FEW = 1 / 3  # of the fields: where fewer show something in both images, there are but marks
_BEYOND_STRANGERS = 5.0  # standard deviations of the strangers
_MIRRORS = ((), (-1,), (-2,), (-2, -1))  # axes


@dataclass(frozen=True)
class Verdict:
    """What is held of a registration.

    Attributes
    ----------
    gain : float
        How far from chance it is that fields that did not steer have become more alike, standard deviations; 0 for too
        few of them.
    standing : float
        By how much the images are more alike than strangers of the same statistics, in standard deviations of these;
        NaN where that is not asked: there is more to see than a few marks, or the gain is enough.
    """

    gain: float
    standing: float = nan

    @property
    def reason(self) -> str:
        """Why the registration is no better than none; empty when it is."""
        if self.gain > _BEYOND_CHANCE or self.standing > _BEYOND_STRANGERS:
            return ""
        marks = (
            ""
            if isnan(self.standing)
            else f", and these few marks are more alike than strangers by {self.standing:.1f} of theirs, "
            f"{_BEYOND_STRANGERS:g} would do"
        )
        return (
            f"what did not steer has become more alike by {self.gain:.1f} standard deviations of chance, "
            f"{_BEYOND_CHANCE:g} are needed{marks}"
        )


def verdict(levels: Sequence[Level], shape: tuple[int, int], settings: ElasticSettings) -> Verdict:
    """Return what is to be held of a registration.

    Parameters
    ----------
    levels : sequence of Level
        The coarsest first.
    shape : tuple of int
        (rows, cols) of the images.
    settings : ElasticSettings
    """
    chosen = _judged_by(levels)
    few = _share_shown(chosen[-1], settings) < _FEW
    if not few and min(chosen[-1].shape) < _SMALLEST_PX and len(chosen) < len(levels):
        levels, shape = _resized(levels[-1], settings)
        chosen = _judged_by(levels)
    gain = _held_out_gain(chosen, shape, settings)
    if gain > _BEYOND_CHANCE or not few:
        return Verdict(gain)
    return Verdict(gain, _standing_out(chosen, shape, settings))


def _judged_by(levels: Sequence[Level]) -> list[Level]:
    """Return the level that is judged by, the last, and those that are coarser."""
    return [level for k, level in enumerate(levels) if k == 0 or min(level.shape) <= _LARGEST_PX]


def _resized(level: Level, settings: ElasticSettings) -> tuple[list[Level], tuple[int, int]]:
    """Return the pyramid of a level made smaller, so that halving it leads to the usual size, and its shape."""
    side = min(level.shape)
    usual = _USUAL_PX
    while 2 * usual <= side:
        usual *= 2
    rows, cols = (round(n * usual / side) for n in level.shape)
    grey, data = (
        functional.interpolate(v[:, None], (rows, cols), mode="bilinear", antialias=True)[:, 0]
        for v in (level.images * level.mask, level.mask)
    )
    masks = (data > 0.49).to(data.dtype)
    return pyramid(grey / data.clamp_min(1e-6), masks, replace(settings, finest=0)), (rows, cols)


# --- what did not steer -----------------------------------------------------------------------------------------------


def _held_out_gain(chosen: Sequence[Level], shape: tuple[int, int], settings: ElasticSettings) -> float:
    """Return how far from chance it is that the fields that did not steer have become more alike; 0 for too few.

    Standard deviations of the signed ranks of the fields' gains (Wilcoxon 1945, doi:10.2307/3001968). Of 61 strangers
    one reached 3.2, the others at most 3.1; pairs registered well had 5.7 or more. Nor does it tell everything: pairs
    of unlike greys that were bent wrongly reached 5.8 (docs/howto/elastic.md).
    """
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


# --- strangers of the same statistics ---------------------------------------------------------------------------------


def _standing_out(chosen: Sequence[Level], shape: tuple[int, int], settings: ElasticSettings) -> float:
    """Return by how much two images, bent, are more alike than with the moving one mirrored, turned and shifted.

    The correlation of the evened images, after bending one way, in standard deviations of the strangers' from their
    mean. Where a stranger is as alike, it is 0 at most.
    """
    one_way = replace(settings, mode="mono")
    own, *others = (
        _alike([_stranger(v, axes, shifted, shape, settings) for v in chosen], shape, one_way)
        for shifted in (False, True)
        for axes in _MIRRORS
    )
    strangers = torch.tensor(others, dtype=torch.float64)
    standing = float((own - strangers.mean()) / strangers.std().clamp_min(1e-6))
    return standing if own > float(strangers.max()) else min(standing, 0.0)


def _stranger(
    level: Level, axes: tuple[int, ...], shifted: bool, shape: tuple[int, int], settings: ElasticSettings
) -> Level:
    """Return a level whose moving image is mirrored along some axes, and shifted by half its sides, round its edges."""
    if not axes and not shifted:
        return level
    by = [n // 2 if shifted else 0 for n in level.shape]
    images, masks = (
        torch.stack([planes[0], planes[1].flip(axes).roll(by, (-2, -1))]) for planes in (level.images, level.mask)
    )
    return level_of(images, masks, shape, level.reduction, level.intervals, settings)


def _alike(levels: Sequence[Level], shape: tuple[int, int], settings: ElasticSettings) -> float:
    """Return how alike the images of some levels are when one is bent onto the other."""
    return levels[-1].score(solved(levels, shape, settings, None, lambda what, done, total: None))


def _share_shown(level: Level, settings: ElasticSettings) -> float:
    """Return the share of the fields with data of which both images show something."""
    evened = Ncc(level.shape, settings.window_px, level.images.device).features(level.images, level.mask)[:, 0] ** 2
    both = level.mask.prod(0, keepdim=True)
    known = _fields(both)
    there = known > _LEAST_KNOWN
    if not there.any():
        return 1.0
    shown = torch.stack([_fields(one * both) for one in evened]).amin(0) > _LEAST_SHOWN * known
    return float(shown[there].float().mean())


__all__ = ["Verdict", "verdict"]
