"""A gain and an offset for each tile, so that tiles agree where they overlap.

Each overlap is sampled once, at low resolution (noise and small misplacements average out), and reduced to how much
more contrast and how much more brightness one tile has there than the other. Two linear least-squares problems follow:

* log gains, ``log g_j - log g_i + b = log(s_i / s_j)``, s the standard deviations, b common to all seams of a direction
  (the lens). The ratio of standard deviations is symmetric, and in logarithms "all gains become 0" is no solution, as
  it is of the least squares of ``g_i v_i - g_j v_j``. Its variance is ``(1 - rho^2) / n``: an overlap of resin, where
  nothing correlates, says nothing on the gain.
* offsets, ``o_j - o_i = g_i m_i - g_j m_j``, m the means.

Both are robust (Cauchy weights, iterated) and have a weak prior to gain 1 and offset 0, which keeps small errors at the
seams from adding up to a slope over a long row of tiles. Gains of a connected component average to 1 (geometrically),
and its mean grey stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array, hstack
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg

from demis_ij.errors import SolveError
from demis_ij.pools import Pool
from demis_ij.records import Layout, PairMatch
from demis_ij.render.overlaps import Level, Seam, measure
from demis_ij.render.placed import TileSource

Float = NDArray[np.float64]

DIGITS = 9
"""Gains and offsets are rounded to so many decimals: far below a grey, and above what the number of threads does."""
SEAM_SIGMA = 0.05
"""What an overlap's contrast (as a factor) and brightness (in standard deviations) are wrong by at best: shading of the
tiles, saturation, a few px of misplacement."""
PRIOR_GAIN_SIGMA = 0.7
LENS_SIGMA = 0.1
"""What all seams of one direction may be off by together, as a logarithm of contrast: a lens that is less sharp on one
side makes every seam of a row say the same wrong thing. On a real light-microscope grid each was off by a factor of
1.28, which added up to gains from 0.4 to 2.4 over six columns of tiles that differ by 3 %. It is solved for beside the
gains, one number for seams side by side and one for seams above each other."""
PRIOR_OFFSET_SIGMA = 0.7
"""The weak prior on offsets, in standard deviations of the tiles' greys (or of their means, where those differ more).
Prior over seam sigma, 14, is how many tiles of a row a consistent error at the seams can add up over; a seam keeps at
most 1/200 of the tiles' differences."""
LARGEST_LOG_GAIN = float(np.log(8.0))


class Intensity(NamedTuple):
    """A tile's grey values become ``gain * v + offset``."""

    gain: float
    offset: float


def solve_intensity(
    layout: Layout,
    store: TileSource,
    pairs: Sequence[PairMatch] | None = None,
    *,
    threads: int = 1,
    pool: Pool | None = None,
    store_bytes: int | None = None,
    remember: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Intensity]:
    """Return a gain and an offset for each tile.

    Parameters
    ----------
    layout : Layout
        Tiles where they lie at last.
    store : TileSource
        Their images. Tiles that cannot be read are left alone; drawing them says so.
    pairs : sequence of PairMatch, optional
        The overlaps to use; all that the layout has when not given.
    threads : int
        Groups of tiles looked at at a time; 0 is one a core.
    pool : Pool, optional
        Workers that do it instead, and read the tiles' files themselves. The result is the same.
    store_bytes : int, optional
        What each of them may keep of tiles; a share of its memory when not given.
    remember : Path, optional
        A file in which what overlaps say is kept; what has not changed is not looked at again.
    progress : callable, optional
        Called with (groups done, all groups).

    Returns
    -------
    dict of str to Intensity
        Every tile id; (1, 0) for tiles that overlap nothing.
    """
    found = measure(
        layout, store, pairs,
        threads=threads, pool=pool, store_bytes=store_bytes, remember=remember, progress=progress,
    )  # fmt: skip
    place = np.array([t.to_world(((t.shape[1] - 1) / 2, (t.shape[0] - 1) / 2)) for t in layout]).reshape(-1, 2)
    gain, offset = _solve(place, found.seams, found.levels)
    return {
        t.id: Intensity(round(float(g), DIGITS), round(float(o), DIGITS))
        for t, g, o in zip(layout, gain, offset, strict=True)
    }


# --- solving --------------------------------------------------------------------------------------------------------


def _solve(place: Float, seams: Sequence[Seam], levels: Mapping[int, Level]) -> tuple[Float, Float]:
    count = len(place)
    gain, offset = np.ones(count), np.zeros(count)
    if not seams:
        return gain, offset
    rows = np.array([(s.first, s.second) for s in seams])
    mean, deviation = np.array([s.mean for s in seams]), np.array([s.deviation for s in seams])
    samples, rho = np.array([s.samples for s in seams], float), np.array([s.correlation for s in seams])
    component = connected_components(coo_array((np.ones(len(rows)), rows.T), shape=(count, count)), directed=False)[1]

    telling = (rho > 0.3) & (deviation.min(1) > 0)
    if telling.any():
        ratio = np.log(deviation[telling, 0] / deviation[telling, 1])
        variance = (1 - rho[telling] ** 2) / samples[telling] + SEAM_SIGMA**2
        lens = _directions(place, rows[telling])
        log_gain = _differences(count, rows[telling], ratio, variance, PRIOR_GAIN_SIGMA, lens)
        log_gain -= _mean_per_component(log_gain, component, np.ones(count))
        gain = np.exp(np.clip(log_gain, -LARGEST_LOG_GAIN, LARGEST_LOG_GAIN))

    nothing = Level(0.0, 0.0, 0)
    level = np.array([(v.mean, v.deviation, v.count) for v in (levels.get(k, nothing) for k in range(count))])
    known = level[:, 2] > 0
    grey = float(np.median(level[known, 1])) or 1.0  # the unit of brightness: the usual contrast of a tile
    step = (gain[rows] * mean) @ np.array([1.0, -1.0]) / grey
    noise = (gain[rows] * deviation).mean(1) / grey
    variance = noise**2 * np.maximum(1 - rho**2, 0.01) / samples + SEAM_SIGMA**2
    # where tiles differ by more than their contrast (resin), the prior must let them
    prior = PRIOR_OFFSET_SIGMA * max(1.0, float((gain * level[:, 0])[known].std()) / grey)
    offset = grey * _differences(count, rows, step, variance, prior)
    change = gain * level[:, 0] + offset - level[:, 0]
    offset -= _mean_per_component(change, component, level[:, 2])
    gain[~known], offset[~known] = 1.0, 0.0
    return gain, offset


def _directions(place: Float, rows: NDArray[np.intp]) -> Float:
    """Return (m, 2), for each seam +-1 in the column of its direction: side by side, or above each other."""
    across = place[rows[:, 1]] - place[rows[:, 0]]
    beside = np.abs(across[:, 0]) >= np.abs(across[:, 1])
    return np.where(np.stack([beside, ~beside], axis=1), np.sign(across), 0.0)


def _differences(
    count: int,
    rows: NDArray[np.intp],
    step: Float,
    variance: Float,
    prior_sigma: float,
    lens: Float | None = None,
) -> Float:
    """Return x with ``x[second] - x[first] = step``, Cauchy-robust, and a prior of sigma ``prior_sigma`` around 0.

    With ``lens`` (m, k) the steps are ``x[second] - x[first] + lens @ b``, k unknown b with a prior of `LENS_SIGMA`.
    """
    seam = np.arange(len(rows))
    signs = np.concatenate([np.ones(len(rows)), -np.ones(len(rows))])
    design = coo_array((signs, (np.tile(seam, 2), rows.T[::-1].ravel())), shape=(len(rows), count)).tocsr()
    precision = np.full(count, prior_sigma**-2)
    if lens is not None:
        design = hstack([design, csr_array(lens)]).tocsr()
        precision = np.concatenate([precision, np.full(lens.shape[1], LENS_SIGMA**-2)])
    prior = diags_array(precision)
    weight = 1 / variance
    x = np.zeros(design.shape[1])
    for _ in range(8):
        weighted = design.T.multiply(weight).tocsr()
        x = _solved((weighted @ design + prior).tocsr(), np.asarray(weighted @ step), x)
        residual = np.abs(design @ x - step) / np.sqrt(variance)
        scale = max(2.0, 2.4 * 1.4826 * float(np.median(residual)))
        weight = 1 / variance / (1 + (residual / scale) ** 2)
    return x[:count]


def _solved(normal: csr_array, right: Float, start: Float) -> Float:
    """Return the solution of the normal equations, by conjugate gradients from ``start`` (Hestenes & Stiefel 1952).

    The prior bounds the ratio of the largest to the smallest eigenvalue, by some 8 (prior sigma / seam sigma)^2, so a
    few hundred steps do however many tiles there are, where a factorisation would take ever more memory.
    """
    scale = diags_array(1 / normal.diagonal())
    found, steps = cg(normal, right, start, rtol=1e-10, maxiter=20_000, M=scale)
    if steps:
        msg = f"gains and offsets of tiles were not found in {steps} steps"
        raise SolveError(msg)
    return np.asarray(found, np.float64).reshape(-1)


def _mean_per_component(values: Float, component: NDArray[np.intp], weight: Float) -> Float:
    """Return, for each entry, the weighted mean of its component."""
    total = np.bincount(component, weight * values)
    norm = np.bincount(component, weight)
    return np.asarray((total / np.maximum(norm, 1e-300))[component])
