"""Maps of the plane as uniform cubic B-splines, as bUnwarpJ and TrakEM2's CubicBSplineTransform hold them.

A spline of N intervals over an image of (rows, cols) has (N + 3) x (N + 3) coefficients for each coordinate. Pixel
(x, y) has the index ``u = x N / (cols - 1) + 1``, ``v = y N / (rows - 1) + 1``, and goes to
``sum_ij c[i, j] B(v - i) B(u - j)`` with the cubic B-spline B (Arganda-Carreras et al. 2006, doi:10.1007/11889762_8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.records import Points

Map = Callable[[Points], Points]

INTERVALS = (1, 2, 4, 8, 16, 32, 64)
"""What is tried, the coarsest first."""

_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class CubicSpline:
    """A map of the plane over an image.

    Attributes
    ----------
    x, y : ndarray of shape (N + 3, N + 3), float64
        Coefficients of the x and the y that a pixel goes to, px; rows run along y.
    shape : tuple of int
        (rows, cols) of the image.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def intervals(self) -> int:
        """N, along either side."""
        return len(self.x) - 3

    def __call__(self, points_xy: Points) -> Points:
        """Map (N, 2) points; beyond the image it goes on as long as there are coefficients."""
        points = np.asarray(points_xy, np.float64)
        out = np.empty_like(points)
        for start in range(0, len(points), _AT_ONCE):
            part = points[start : start + _AT_ONCE]
            (left, across), (top, down) = (_taps(part[:, k], self.shape[1 - k], self.intervals) for k in (0, 1))
            for k, c in enumerate((self.x, self.y)):
                taken = c[top[:, :, None], left[:, None, :]]
                out[start : start + len(part), k] = np.einsum("nij,ni,nj->n", taken, down, across)
        return out


@dataclass(frozen=True)
class Misfit:
    """How far a spline departs from what it stands for, px, over a sample of the image.

    ``most_px`` is what 99 of 100 points stay below.
    """

    median_px: float
    most_px: float
    largest_px: float

    def __str__(self) -> str:
        return f"{self.median_px:.2g} px median, {self.largest_px:.2g} px at most"


def _taps(at: NDArray[np.float64], size: int, intervals: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the four coefficients that enter for each coordinate, and their weights: both (N, 4)."""
    u = at * intervals / max(size - 1, 1) + 1
    first = np.clip(np.floor(u), 1, intervals).astype(np.intp)
    t = u - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=-1
    )  # fmt: skip
    return first[:, None] + np.arange(-1, 3), weights / 6


def _design(at: NDArray[np.float64], size: int, intervals: int) -> NDArray[np.float64]:
    index, weights = _taps(at, size, intervals)
    out = np.zeros((len(at), intervals + 3))
    np.put_along_axis(out, index, weights, axis=1)
    return out


def fit_spline(mapping: Map, shape: tuple[int, int], intervals: int) -> CubicSpline:
    """Return the spline of N intervals that is nearest to a map over an image, by least squares.

    Parameters
    ----------
    mapping : callable
        (N, 2) px of the image to (N, 2) points, all finite.
    shape : tuple of int
        (rows, cols) of the image.
    intervals : int
        N.
    """
    rows, cols = shape
    x, y = (np.linspace(0, n - 1, 4 * intervals + 5) for n in (cols, rows))
    found = mapping(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)).reshape(len(y), len(x), 2)
    across, down = (np.linalg.pinv(_design(v, n, intervals)) for v, n in ((x, cols), (y, rows)))
    return CubicSpline(down @ found[..., 0] @ across.T, down @ found[..., 1] @ across.T, shape)


def misfit(spline: CubicSpline, mapping: Map, count: int = 2000) -> Misfit:
    """Return how far a spline departs from a map, at points that it was not fitted to."""
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 1, (count, 2)) * (np.array(spline.shape[::-1]) - 1)
    away = np.linalg.norm(spline(at) - mapping(at), axis=1)
    return Misfit(*(float(v) for v in np.percentile(away, (50, 99, 100))))


def intervals_for(shape: tuple[int, int], stride: float, most: int) -> int:
    """Return how many intervals a field over an image is worth: no finer than its nodes, between which it is straight.

    Examples
    --------
    >>> intervals_for((150, 200), stride=8, most=64)
    32
    """
    return min(most, next((n for n in INTERVALS if n * stride >= max(shape)), INTERVALS[-1]))


def spline_of(
    mapping: Map, shape: tuple[int, int], *, within_px: float = 0.1, most: int = INTERVALS[-1]
) -> tuple[CubicSpline, Misfit]:
    """Return the coarsest spline that stands for a map within so many px, or the finest allowed, and its misfit.

    Parameters
    ----------
    mapping : callable
        (N, 2) px of the image to (N, 2) points.
    shape : tuple of int
        (rows, cols) of the image.
    within_px : float
        Departure of 99 of 100 points that is good enough.
    most : int
        Most intervals.

    Raises
    ------
    InputError
        When the map is not known somewhere.
    """
    best: tuple[CubicSpline, Misfit] | None = None
    for intervals in (n for n in INTERVALS if n <= most and (n == 1 or n < min(shape))):
        spline = fit_spline(mapping, shape, intervals)
        found = misfit(spline, mapping)
        if not np.isfinite(found.largest_px):
            msg = "a spline needs a map that is known everywhere, found NaN"
            raise InputError(msg)
        if best is None or found.most_px < best[1].most_px:
            best = spline, found
        if found.most_px <= within_px:
            break
    if best is None:
        msg = f"a spline has at least one interval, {most} were allowed"
        raise InputError(msg)
    return best
