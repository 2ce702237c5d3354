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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array, hstack
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from demis_ij.errors import InputError
from demis_ij.records import Layout, PairMatch, Tile
from demis_ij.render.reduced import ReducedStore, reduced
from demis_ij.render.sampling import TileSource

Float = NDArray[np.float64]

THUMB_SIDE_PX = 128
LEAST_SAMPLES = 12
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


@dataclass(frozen=True)
class _Seam:
    """What an overlap says: row numbers of the two tiles, means, standard deviations, correlation, samples."""

    first: int
    second: int
    mean: tuple[float, float]
    deviation: tuple[float, float]
    correlation: float
    samples: int


def solve_intensity(
    layout: Layout, store: TileSource, pairs: Sequence[PairMatch] | None = None
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

    Returns
    -------
    dict of str to Intensity
        Every tile id; (1, 0) for tiles that overlap nothing.
    """
    longest = max((max(t.shape) for t in layout), default=1)
    factor = max(1, round(longest / THUMB_SIDE_PX))
    small, thumbs = reduced(layout, factor), ReducedStore(store, layout, factor)
    seams, levels = [], {}
    for i, j in _overlapping(layout) if pairs is None else _rows(layout, pairs):
        try:
            a, b = _common(small.tiles[i], small.tiles[j], thumbs)
        except InputError:
            continue  # an unreadable tile takes part in no seam; drawing reports it
        for k in (i, j):
            if k not in levels:
                levels[k] = _level(small.tiles[k], thumbs)
        seam = _measure(i, j, a, b)
        if seam is not None:
            seams.append(seam)
    place = np.array([t.to_world(((t.shape[1] - 1) / 2, (t.shape[0] - 1) / 2)) for t in layout]).reshape(-1, 2)
    gain, offset = _solve(place, seams, levels)
    return {t.id: Intensity(float(g), float(o)) for t, g, o in zip(layout, gain, offset, strict=True)}


# --- measuring ------------------------------------------------------------------------------------------------------


def _rows(layout: Layout, pairs: Sequence[PairMatch]) -> list[tuple[int, int]]:
    found = {tuple(sorted((layout.index(p.fixed), layout.index(p.moving)))) for p in pairs}
    return sorted((i, j) for i, j in found)


def _overlapping(layout: Layout) -> Iterable[tuple[int, int]]:
    """Yield the pairs of rows whose bounds in the world overlap, in layout order, by a sweep over x."""
    usable = [i for i, t in enumerate(layout) if min(t.shape) > 0]
    if not usable:
        return
    corners = np.stack([layout.tiles[i].world_corners for i in usable])
    low, high = corners.min(1), corners.max(1)
    order = np.argsort(low[:, 0], kind="stable")
    starts = low[order, 0]
    pairs = []
    for place, k in enumerate(order):
        stop = int(np.searchsorted(starts, high[k, 0]))
        near = order[place + 1 : stop]
        near = near[(low[near, 1] < high[k, 1]) & (high[near, 1] > low[k, 1])]
        pairs += [tuple(sorted((usable[k], usable[n]))) for n in near]
    yield from sorted((int(i), int(j)) for i, j in pairs)


def _common(first: Tile, second: Tile, thumbs: ReducedStore) -> tuple[Float, Float]:
    """Return the grey values of two tiles at the same places, both data: (N,) and (N,)."""
    image, mask = thumbs.image(second), thumbs.mask(second)
    other, other_mask = thumbs.image(first), thumbs.mask(first)
    rows, cols = image.shape
    y, x = (v.ravel() for v in np.mgrid[0:rows, 0:cols])
    at = (first.to_world.inverse @ second.to_world)(np.stack([x, y], 1).astype(np.float64))
    inside = mask.ravel() & ((at >= 0) & (at <= (other.shape[1] - 1, other.shape[0] - 1))).all(1)
    if not inside.any():
        return np.empty(0), np.empty(0)
    where = at[inside].astype(np.float32)
    drawn = [_at_points(v.astype(np.float32), where) for v in (np.where(other_mask, other, 0), other_mask)]
    data = drawn[1] > 0.999
    return drawn[0][data].astype(np.float64), image.ravel()[inside][data].astype(np.float64)


def _at_points(image: NDArray[np.float32], points_xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image sampled at (N, 2) points, (N,)."""
    width = 1024  # OpenCV's maps have at most 32767 rows
    padded = np.zeros((-(-len(points_xy) // width) * width, 2), np.float32)
    padded[: len(points_xy)] = points_xy
    x, y = (np.ascontiguousarray(padded[:, k].reshape(-1, width)) for k in (0, 1))
    drawn = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.float32).ravel()[: len(points_xy)]


def _level(tile: Tile, thumbs: ReducedStore) -> tuple[float, float, int]:
    """Return mean, standard deviation and number of the data of a thumbnail."""
    data = thumbs.image(tile)[thumbs.mask(tile)].astype(np.float64)
    return (float(data.mean()), float(data.std()), len(data)) if len(data) else (0.0, 0.0, 0)


def _measure(first: int, second: int, a: Float, b: Float) -> _Seam | None:
    """Return what an overlap says, None when nothing; dirt, charging or a fold in one of the two is left out."""
    for _ in range(3):
        if len(a) < LEAST_SAMPLES:
            return None
        sa, sb = float(a.std()), float(b.std())
        if sa <= 0 or sb <= 0:
            break
        residual = (a - a.mean()) / sa - (b - b.mean()) / sb
        spread = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
        keep = np.abs(residual - np.median(residual)) <= 3 * max(spread, 1e-9)
        if keep.all():
            break
        a, b = a[keep], b[keep]
    if len(a) < LEAST_SAMPLES:
        return None
    sa, sb = float(a.std()), float(b.std())
    rho = float(((a - a.mean()) * (b - b.mean())).mean() / (sa * sb)) if sa > 0 and sb > 0 else 0.0
    return _Seam(first, second, (float(a.mean()), float(b.mean())), (sa, sb), rho, len(a))


# --- solving --------------------------------------------------------------------------------------------------------


def _solve(place: Float, seams: Sequence[_Seam], levels: dict[int, tuple[float, float, int]]) -> tuple[Float, Float]:
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

    level = np.array([levels.get(k, (0.0, 0.0, 0)) for k in range(count)])
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
        x = np.asarray(spsolve((weighted @ design + prior).tocsc(), weighted @ step), np.float64).reshape(-1)
        residual = np.abs(design @ x - step) / np.sqrt(variance)
        scale = max(2.0, 2.4 * 1.4826 * float(np.median(residual)))
        weight = 1 / variance / (1 + (residual / scale) ** 2)
    return x[:count]


def _mean_per_component(values: Float, component: NDArray[np.intp], weight: Float) -> Float:
    """Return, for each entry, the weighted mean of its component."""
    total = np.bincount(component, weight * values)
    norm = np.bincount(component, weight)
    return np.asarray((total / np.maximum(norm, 1e-300))[component])
