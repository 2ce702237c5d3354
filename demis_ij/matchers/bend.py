"""A smooth bend between two views, as a lens or a warm specimen makes it: what is left beside an affine map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Points

_DEGREE = 3
_LEAST_POINTS = 30
_LEAST_RMS_PX = 0.3  # below this the linear step of the refinement is exact enough


@dataclass(frozen=True, eq=False)
class Bend:
    """A cubic displacement over a rectangle; beyond it, that of its rim.

    Attributes
    ----------
    low, high : ndarray of shape (2,)
        The rectangle, px.
    coefficients : ndarray of shape (2, 4, 4)
        Of (x, y) displacement: row is the power of y, column that of x, both scaled to -1 to 1.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    coefficients: NDArray[np.float64]

    def _powers(self, values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        span = max(float(self.high[axis] - self.low[axis]), 1.0)
        scaled = np.clip(2 * (values - self.low[axis]) / span - 1, -1, 1)
        return np.asarray(scaled[..., None] ** np.arange(_DEGREE + 1))

    def at(self, points: Points) -> Points:
        """Return the (N, 2) displacement at (N, 2) points, px."""
        x, y = self._powers(points[:, 0], 0), self._powers(points[:, 1], 1)
        return np.asarray(np.einsum("nj,cji,ni->nc", y, self.coefficients, x))

    def over(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return the (2, rows, cols) displacement of every pixel of a frame that begins at (0, 0)."""
        x = self._powers(np.arange(shape[1], dtype=np.float64), 0)
        y = self._powers(np.arange(shape[0], dtype=np.float64), 1)
        return np.asarray(y @ self.coefficients @ x.T)


def fit_bend(at: Points, displacement: Points) -> Bend | None:
    """Return the bend that displaced points follow, or None when there is none to speak of.

    Parameters
    ----------
    at, displacement : ndarray of shape (N, 2)
        Points and how far each is displaced, px.

    Returns
    -------
    Bend or None
        None for fewer than 30 points, for displacements below 0.3 px root mean square, and where a cubic leaves more
        than 0.7 of them unexplained (noise, not a bend).
    """
    size = float(np.sqrt((displacement**2).sum(1).mean())) if len(at) else 0.0
    if len(at) < _LEAST_POINTS or size < _LEAST_RMS_PX:
        return None
    bend = Bend(at.min(0), at.max(0), np.zeros((2, _DEGREE + 1, _DEGREE + 1)))
    x, y = bend._powers(at[:, 0], 0), bend._powers(at[:, 1], 1)
    terms = [(j, i) for j in range(_DEGREE + 1) for i in range(_DEGREE + 1 - j)]
    design = np.stack([y[:, j] * x[:, i] for j, i in terms], 1)
    ridge = 1e-3 * len(at) * np.eye(len(terms))
    weight = np.ones(len(at))
    for _ in range(4):  # Cauchy weights: a point on something else must not bend the rest
        left = design.T * weight
        solved = np.linalg.solve(left @ design + ridge, left @ displacement)
        off = np.linalg.norm(displacement - design @ solved, axis=1)
        weight = 1 / (1 + (off / max(2 * float(np.median(off)), 1e-3)) ** 2)
    if np.sqrt((weight * off**2).sum() / weight.sum()) > 0.7 * size:
        return None
    for (j, i), value in zip(terms, solved, strict=True):
        bend.coefficients[:, j, i] = value
    return bend
