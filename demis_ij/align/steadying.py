"""Sections that lie a little out of place as a whole: turns and shifts between neighbours, and what of them to undo.

A section that was put down beside its place has its whole content moved; tissue goes on from section to section here
and there, but not as a whole. So whole sections are steadied before anything is bent: the turn and shift of every
section against the next and the one after are fitted to their structure (`demis_ij.aligners.structure_fit`), and one
robust solve finds the motions of all. Where these are no more than tissue does from section to section they are left to
what bends, which knows how to tell one from the other (`demis_ij.align.anchoring`); where they are far more, every
section was put down anew, and all of it is undone but what tissue may do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from demis_ij.align.anchoring import released_motions
from demis_ij.align.evidence import Series
from demis_ij.aligners.standing import STANDS_OUT, standing
from demis_ij.aligners.structure import Structure, structure_of
from demis_ij.aligners.structure_fit import Fit, Template
from demis_ij.aligners.structure_search import places, turns_between
from demis_ij.records import Affine

Array = NDArray[np.float64]
_LEVELS = 3  # the coarsest of them
_SIGMA_PX = 1.5
_TURNS = turns_between(-12, 12, 6)
_STEPS = 12
_APART = 2  # sections compared with the next ones, up to this far
_LEAST_SCORE = 0.45  # correlation of the structure that a turn and a shift alone bring; of bent sections they do not
_JUMP_FRAC = 0.04  # of the shorter side: steps below that, root mean square, may be the tissue's course
_TISSUE_FRAC = 0.002  # of the shorter side: what may be left of those that are not
_ROUNDS = 12
_WIDTH_FRAC = 0.01  # of the shorter side: a pair that contradicts the others by that has lost half of its weight


@dataclass(frozen=True)
class _Between:
    """The motion of a later section, world px to world px, that lays it onto an earlier one; and what it counts."""

    earlier: int
    later: int
    motion: Affine
    weight: float


def steadied(
    series: Series, to_world: Sequence[Affine], levels: Sequence[int], anchor: float = 1.0
) -> tuple[Affine, ...]:
    """Return how every section is turned and shifted in the world so that none lies beside its place as a whole.

    Parameters
    ----------
    series : Series
        The usable sections.
    to_world : sequence of Affine
        Where each lies, px of the section to px of the world.
    levels : sequence of int
        The reductions there are, the coarsest first.
    anchor : float
        Multiplies how strongly sections are held where they are.

    Returns
    -------
    tuple of Affine
        World px to world px; all the identity where hardly anything is out of place.
    """
    count = len(to_world)
    still = (Affine(),) * count
    said = list(_said(series, to_world, levels[: min(_LEVELS, len(levels))]))
    shapes = [np.array(series.pyramid.get(i, levels[0])[0].shape) * levels[0] for i in series.index]
    side = int(min(np.median(shapes, axis=0)))
    middle = np.mean([w((s[::-1] - 1) / 2) for w, s in zip(to_world, shapes, strict=True)], axis=0)
    found = _solved(said, count, middle, side)
    if found is None:
        return still
    if np.sqrt((np.diff(found, axis=0) ** 2).sum(axis=1).mean()) < _JUMP_FRAC * side:
        return still
    kept = released_motions(found, anchor=anchor, most_step_px=_TISSUE_FRAC * side)
    return tuple(_motion(p, middle, side) for p in kept)


def _said(series: Series, to_world: Sequence[Affine], levels: Sequence[int]) -> Iterator[_Between]:
    """Yield what every section and the next ones say of how they lie."""
    held: dict[int, list[Structure]] = {}
    for later in range(len(to_world)):
        held[later] = [_seen(series, later, level) for level in levels]
        held.pop(later - _APART - 1, None)
        for earlier in range(max(0, later - _APART), later):
            start = to_world[later].inverse @ to_world[earlier]
            found = _fitted(held[earlier], held[later], start, levels)
            if found is None:
                continue
            motion = to_world[earlier] @ found.to_moving.inverse @ to_world[later].inverse
            yield _Between(earlier, later, motion, (later - earlier) ** -2.0)


def _seen(series: Series, place: int, level: int) -> Structure:
    grey, mask = series.pyramid.get(series.index[place], level)
    return structure_of(np.asarray(grey), np.asarray(mask) > 0, _SIGMA_PX)


def _fitted(
    fixed: Sequence[Structure], moving: Sequence[Structure], start: Affine, levels: Sequence[int]
) -> Fit | None:
    """Return the rigid place of one section on another, full px, from where it lies and from a search; or None."""
    first = places(fixed[0], moving[0], _TURNS, keep=2)
    starts = [_reduced(start, levels[0]), *(p.to_moving for p in first)]
    best: Fit | None = None
    for n, level in enumerate(levels):
        template = Template(fixed[n], "rigid")
        fits = [f for at in starts if (f := template.fit(moving[n], at, _STEPS)) is not None]
        if not fits:
            return None
        best = max(fits, key=lambda f: f.score * sqrt(f.overlap))
        if n == min(1, len(levels) - 1) and standing(fixed[n], moving[n], best.to_moving) < STANDS_OUT:
            return None
        if n + 1 < len(levels):
            starts = [_reduced(_full(best.to_moving, level), levels[n + 1])]
    if best is None or best.score < _LEAST_SCORE:
        return None
    return Fit(_full(best.to_moving, levels[-1]), best.score, best.overlap, best.sigma_px * levels[-1])


def _halves(level: int) -> Affine:
    return Affine(level, 0, 0, level, (level - 1) / 2, (level - 1) / 2)


def _reduced(full: Affine, level: int) -> Affine:
    return _halves(level).inverse @ full @ _halves(level)


def _full(small: Affine, level: int) -> Affine:
    return _halves(level) @ small @ _halves(level).inverse


def _solved(said: Sequence[_Between], count: int, middle: Array, side: int) -> Array | None:
    """Return the motions (count, 3) of all sections that suit what pairs say best; None where pairs leave gaps.

    Numbers are those of `_motion`. Least squares, reweighted (Cauchy); a motion is nearly linear in its numbers, the
    rest is taken out in rounds.
    """
    joined = {(p.earlier, p.later) for p in said}
    if not all((k, k + 1) in joined or (k - 1, k + 1) in joined or (k, k + 2) in joined for k in range(count - 1)):
        return None
    out = np.zeros((count, 3))
    width = _WIDTH_FRAC * side
    for _ in range(_ROUNDS):
        matrix, right = 1e-9 * np.eye(count), np.zeros((count, 3))
        for pair in said:
            one, two = (_motion(out[k], middle, side) for k in (pair.earlier, pair.later))
            left = _numbers(two.inverse @ one @ pair.motion, middle, side)
            weight = pair.weight / (1 + float(left @ left) / width**2)
            matrix[pair.earlier, pair.earlier] += weight
            matrix[pair.later, pair.later] += weight
            matrix[pair.earlier, pair.later] -= weight
            matrix[pair.later, pair.earlier] -= weight
            right[pair.earlier] -= weight * left
            right[pair.later] += weight * left
        step = np.linalg.solve(matrix, right)
        step -= step.mean(axis=0)
        out += step
        if np.abs(step).max() < 1e-3:
            break
    return out


def _numbers(motion: Affine, middle: Array, side: int) -> Array:
    """Return (turn, x, y) px: the turn as what it moves places by, root mean square over a square about the middle."""
    shift = motion(middle) - middle
    return np.array([motion.angle * side / sqrt(6), *shift])


def _motion(numbers: Array, middle: Array, side: int) -> Affine:
    """Return the motion that has these numbers."""
    turn, x, y = (float(v) for v in numbers)
    return Affine.about(Affine.rigid(turn * sqrt(6) / side, x, y), middle)
