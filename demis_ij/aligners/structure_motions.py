"""What a fit may do to an image: turn it, scale it, bend its square to a parallelogram; and what that does to grey."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Affine

Freedom = Literal["rigid", "similarity", "affine"]
NEIGHBOURHOODS = 8
"""A side: residuals of one hang together, those of different ones do not."""


class Motion:
    """Small maps about the middle of an image, by parameters of which the shifts come last.

    Parameters
    ----------
    model : str
        ``rigid`` (turn), ``similarity`` (scale, turn) or ``affine`` (the four numbers of the linear part).
    shape : tuple of int
        (rows, cols) of the fixed image.
    """

    def __init__(self, model: Freedom, shape: tuple[int, int]) -> None:
        rows, cols = shape
        self.model, self.shape = model, shape
        self.centre = np.array([(cols - 1) / 2, (rows - 1) / 2])
        self.corners = np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], np.float64)

    def derivatives(
        self, gx: NDArray[Any], gy: NDArray[Any], xy: NDArray[Any], swing: NDArray[Any] | float = 0.0
    ) -> NDArray[np.float32]:
        """Return the derivatives (parameters, ...) of what is seen at points as the map moves.

        Parameters
        ----------
        gx, gy : ndarray of shape (..., n)
            Slopes of what is seen, per px.
        xy : ndarray of shape (n, 2)
            The points, px.
        swing : ndarray of shape (..., n), or 0
            What a turn by one radian does to it wherever it lies: directions turn with the image, grey does not.
        """
        x, y = (xy - self.centre).T.astype(np.float32)
        if self.model == "affine":
            half = swing / 2  # of the off-diagonal terms: a shear turns directions by half of it
            return np.array([gx * x, gx * y - half, gy * x + half, gy * y, gx, gy], np.float32)
        scale = [] if self.model == "rigid" else [gx * x + gy * y]
        return np.array([*scale, gy * x - gx * y + swing, gx, gy], np.float32)

    def step(self, p: NDArray[np.float64]) -> Affine:
        """Return the map about the middle that parameters stand for."""
        values = [float(v) for v in p]
        if self.model == "rigid":
            linear = Affine.rigid(*values)
        elif self.model == "similarity":
            linear = Affine(1 + values[0], -values[1], values[1], 1 + values[0], values[2], values[3])
        else:
            linear = Affine(1 + values[0], values[1], values[2], 1 + values[3], values[4], values[5])
        return Affine.about(linear, self.centre)

    def reach(self, step: Affine) -> float:
        """Return how far a map moves a corner at most, px."""
        return float(np.abs(step(self.corners) - self.corners).max())

    def hoods(self, xy: NDArray[Any]) -> NDArray[np.intp]:
        """Return the neighbourhood of each point."""
        rows, cols = self.shape
        column, row = (np.minimum(xy * NEIGHBOURHOODS // (cols, rows), NEIGHBOURHOODS - 1)).astype(np.intp).T
        return np.asarray(row * NEIGHBOURHOODS + column, np.intp)

    def corner_sigma(self, moves: NDArray[Any], hoods: NDArray[np.intp], there: NDArray[np.bool_]) -> float:
        """Return the standard deviation of the corners, px, root mean square.

        Residuals of one neighbourhood hang together, those of different ones do not: the sandwich estimator clustered
        by neighbourhoods (Liang & Zeger 1986, doi:10.1093/biomet/73.1.13).

        Parameters
        ----------
        moves : ndarray of shape (parameters, n)
            By how much each point's residual moves each parameter: inverse of the normal matrix times derivatives times
            residual.
        hoods : ndarray of shape (n,)
            Of `hoods`.
        there : ndarray of shape (n,), bool
            The points that count.
        """
        summed = np.array([np.bincount(hoods, p, minlength=NEIGHBOURHOODS**2) for p in moves])
        heard = np.unique(hoods[there]).size
        covariance = summed @ summed.T * heard / max(1, heard - len(summed))
        moved = np.array([self._corner_slopes(*corner) for corner in self.corners - self.centre])
        return float(np.sqrt(np.einsum("kip,pq,kiq->", moved, covariance, moved) / len(moved)))

    def _corner_slopes(self, x: float, y: float) -> list[list[float]]:
        """Return what each parameter does to a point (x, y) from the middle: a row for x, one for y."""
        if self.model == "affine":
            return [[x, y, 0, 0, 1, 0], [0, 0, x, y, 0, 1]]
        scale = [] if self.model == "rigid" else [(x, y)]
        columns = [*scale, (-y, x), (1, 0), (0, 1)]
        return [[c[k] for c in columns] for k in (0, 1)]
