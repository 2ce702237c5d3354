"""Whether a section is better off aligned, from data that did not steer.

Correlation misleads: it rises whenever neighbours are bent to look alike. So a section is judged by how far it is still
displaced against sections further away than those that steered, and by its correlation with them; only where neither
has become better is its field dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from demis_ij.align.evidence import Comparison, Series
from demis_ij.align.grids import Grid
from demis_ij.align.relaxing import Measured
from demis_ij.geometry import Box
from demis_ij.records import Affine, Offsets

_LEAST_MOVED_PX = 0.25
_LEAST_WEIGHT = 0.1
_SHOWN_PX = 512


@dataclass(frozen=True, eq=False)
class Judged:
    """What was found of each section of a series; NaN where there is nothing to compare with.

    Attributes
    ----------
    ncc_before, ncc_after : ndarray of shape (n,)
        Mean correlation with the next sections on either side, as they were given and aligned.
    residual_before_px, residual_after_px : ndarray of shape (n,)
        Median displacement against sections that did not steer, px, as they were given and aligned.
    consistent_frac : ndarray of shape (n,)
        Share of the data that closes there and back, after.
    no_better : ndarray of shape (n,), bool
        Whether a section that was bent fits no better than without.
    """

    ncc_before: NDArray[np.float64]
    ncc_after: NDArray[np.float64]
    residual_before_px: NDArray[np.float64]
    residual_after_px: NDArray[np.float64]
    consistent_frac: NDArray[np.float64]
    no_better: NDArray[np.bool_]


def judged(
    series: Series, offsets: Offsets, neighbours: int, comparison: Comparison, motion: Sequence[Affine] = ()
) -> Judged:
    """Return whether each section is better off, at the resolution of a comparison.

    Parameters
    ----------
    series : Series
        The sections, put in place.
    offsets : ndarray of shape (n, 2, rows, cols)
        Their fields.
    neighbours : int
        How far apart sections were that steered; those one further apart judge. A stack too short for that is judged
        by what steered it.
    comparison : Comparison
        Measures displacements.
    motion : sequence of Affine
        How each was put in place, canvas px to canvas px; nothing when empty. A field is judged against none, and
        what is told of before is how the sections lay before that.
    """
    count = len(offsets)
    motion = motion or (Affine(),) * count
    far = neighbours + 1 if count > neighbours + 1 else max(1, count - 1)
    near_pairs, far_pairs = ([(i, i + k) for i in range(count - k)] for k in (1, far))
    level = comparison.level
    straight, bent = (_correlations(series, o, level, {1, far}) for o in (None, offsets))
    told = [comparison.measure(o, [(i, j, 1.0) for i, j in far_pairs]) for o in (np.zeros_like(offsets), offsets)]
    residual = [_each(count, far_pairs, [_residual(m) for m in some]) for some in told]
    distant = [_each(count, far_pairs, [c[p] for p in far_pairs]) for c in (straight, bent)]
    near = [_each(count, near_pairs, [c[p] for p in near_pairs]) for c in (straight, bent)]
    moved = np.sqrt((offsets**2).sum(axis=1).mean(axis=(1, 2))) > _LEAST_MOVED_PX
    untold = np.isnan(distant[1]) & np.isnan(residual[1])  # in the middle of a short stack: by what did steer
    better = (residual[1] < residual[0]) | (distant[1] > distant[0]) | (untold & ~(near[1] <= near[0]))
    consistent = _each(count, far_pairs, [m.consistent_frac for m in told[1]])
    if any(m != Affine() for m in motion):
        given = replace(series, placing=tuple(p @ m for p, m in zip(series.placing, motion, strict=True)))
        as_given = _correlations(given, None, level, {1})
        near[0] = _each(count, near_pairs, [as_given[p] for p in near_pairs])
        residual[0] = _each(count, far_pairs, [_residual_as_given(m, series.grid, motion) for m in told[0]])
    return Judged(near[0], near[1], residual[0], residual[1], consistent, moved & ~better)


def _residual(measured: Measured) -> float:
    """Return the median displacement between two sections where it is believed; NaN where nothing is."""
    believed = measured.weight > _LEAST_WEIGHT
    return float(np.median(np.hypot(*measured.offsets[:, believed]))) if believed.any() else float("nan")


def _residual_as_given(measured: Measured, grid: Grid, motion: Sequence[Affine]) -> float:
    """Return the same as two sections lay before they were put in place, where what was measured showed them.

    Measured there, a section that is far off would be compared with what lies beside its counterpart.
    """
    rows, cols = np.nonzero(measured.weight > _LEAST_WEIGHT)
    if not rows.size:
        return float("nan")
    at = np.stack([cols, rows], axis=1) * grid.stride
    fixed = motion[measured.fixed].inverse(at + measured.offsets[:, rows, cols].T)
    return float(np.median(np.linalg.norm(fixed - motion[measured.moving].inverse(at), axis=1)))


def _each(count: int, pairs: Sequence[tuple[int, int]], values: Sequence[float]) -> NDArray[np.float64]:
    """Return the mean of the values of the pairs that each section is in, NaN where it is in none."""
    out = np.full(count, np.nan)
    for section in range(count):
        own = [v for p, v in zip(pairs, values, strict=True) if section in p and np.isfinite(v)]
        if own:
            out[section] = np.mean(own)
    return out


def _correlations(series: Series, offsets: Offsets | None, level: int, apart: set[int]) -> dict[tuple[int, int], float]:
    """Return the correlation of sections so far apart, over their common data."""
    while max(series.grid.level_shape(level)) > _SHOWN_PX and (series.index[0], level * 2) in series.pyramid:
        level *= 2
    box = Box.of_shape(series.grid.level_shape(level))
    found: dict[tuple[int, int], float] = {}
    held: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for place in range(len(series.index)):
        held.append(series.warped(place, None if offsets is None else offsets[place], level, box))
        for k in apart:
            if place >= k:
                found[place - k, place] = correlation(*held[-1 - k], *held[-1])
        del held[: -max(apart)]
    return found


def correlation(
    one: NDArray[np.uint8], one_mask: NDArray[np.uint8], two: NDArray[np.uint8], two_mask: NDArray[np.uint8]
) -> float:
    """Return the normalised correlation of two images where both are data; NaN without any, or without contrast."""
    common = (one_mask > 250) & (two_mask > 250)
    if common.sum() < 16:
        return float("nan")
    a, b = (x[common].astype(np.float64) for x in (one, two))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 0 else float("nan")
