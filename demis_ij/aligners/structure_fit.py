"""The exact place of one image on another from a rough one, whatever their grey values.

Gauss-Newton on the correlation of their structure: the enhanced correlation coefficient of Evangelidis & Psarakis 2008
(doi:10.1109/TPAMI.2008.113) in its inverse compositional form, so that the fixed image's derivatives are found once.
The planes of direction turn with the map; their derivative with respect to the turn needs no place, which is why a turn
is found from further off than by grey values.

How exact the place is, is told by the residuals: those of one neighbourhood hang together, those of different ones do
not, so the covariance is the sandwich estimator clustered by neighbourhoods (Liang & Zeger 1986,
doi:10.1093/biomet/73.1.13).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.structure import Structure, turned
from demis_ij.records import Affine

Freedom = Literal["rigid", "similarity", "affine"]
_MOST_POINTS = 17_000
_SETTLED_PX = 0.01
_LEAST_SHARE = 0.1  # of the fixed points that must lie on data of the moving image
_LEAST_AREA = 0.05  # no step shrinks or grows an area by more than that
_NEIGHBOURHOODS = 8  # a side


@dataclass(frozen=True, eq=False)
class Fit:
    """Where the fit ended.

    Attributes
    ----------
    to_moving : Affine
        Fixed px to moving px.
    score : float
        Normalised correlation of the structure over the common data, -1 to 1.
    overlap : float
        Share of the fixed image's data that has data of the moving image.
    sigma_px : float
        Standard deviation of the fixed image's corners, px, root mean square.
    """

    to_moving: Affine
    score: float
    overlap: float
    sigma_px: float


class Template:
    """A fixed image, ready for any number of fits.

    Parameters
    ----------
    fixed : Structure
        The image that stays.
    model : str
        What the map may do besides shifting: ``rigid``, ``similarity`` or ``affine``.
    """

    def __init__(self, fixed: Structure, model: Freedom = "similarity") -> None:
        rows, cols = fixed.shape
        self.shape, self.model = fixed.shape, model
        self.centre = np.array([(cols - 1) / 2, (rows - 1) / 2])
        step = max(1, int(np.ceil(np.sqrt(fixed.known.sum() / _MOST_POINTS))))
        y, x = np.nonzero(fixed.known[::step, ::step])
        self.xy = (np.stack([x, y], axis=1) * step).astype(np.float32)
        column, row = (np.minimum(self.xy * _NEIGHBOURHOODS // (cols, rows), _NEIGHBOURHOODS - 1)).astype(np.intp).T
        self.hood = row * _NEIGHBOURHOODS + column
        planes = fixed.planes[:, ::step, ::step][:, y, x]
        down, across = (np.gradient(fixed.planes, axis=k) for k in (1, 2))
        slopes = [s[:, ::step, ::step][:, y, x] for s in (across, down)]
        self.values = planes.astype(np.float32)
        self.slopes = self._derivatives(slopes[0], slopes[1], planes)

    def _derivatives(self, gx: NDArray[Any], gy: NDArray[Any], planes: NDArray[Any]) -> NDArray[np.float32]:
        """Return the derivatives (parameters, 3, n) of the planes as the map moves; shifts come last."""
        x, y = (self.xy - self.centre).T.astype(np.float32)
        swing = np.stack([np.zeros_like(planes[0]), 2 * planes[2], -2 * planes[1]])  # directions turn with the image
        shifts = [gx, gy]
        if self.model == "affine":
            half = swing / 2  # of the off-diagonal terms: a shear turns directions by half of it
            return np.array([gx * x, gx * y - half, gy * x + half, gy * y, *shifts], np.float32)
        turn = gy * x - gx * y + swing
        return np.array(([] if self.model == "rigid" else [gx * x + gy * y]) + [turn, *shifts], np.float32)

    def _step(self, p: NDArray[np.float64]) -> Affine:
        """Return the map about the middle that parameters stand for."""
        values = [float(v) for v in p]
        if self.model == "rigid":
            linear = Affine.rigid(*values)
        elif self.model == "similarity":
            linear = Affine(1 + values[0], -values[1], values[1], 1 + values[0], values[2], values[3])
        else:
            linear = Affine(1 + values[0], values[1], values[2], 1 + values[3], values[4], values[5])
        return Affine.about(linear, self.centre)

    def fit(self, moving: Structure, start: Affine, steps: int = 12) -> Fit | None:
        """Return the best place near a start; None where the images hardly overlap there.

        Parameters
        ----------
        moving : Structure
            The image that is brought onto the fixed one, of any shape.
        start : Affine
            Fixed px to moving px. Of a similarity, it must be one.
        steps : int
            Most steps.
        """
        if not len(self.xy) or moving.is_blank:
            return None
        at, best = start, None
        for _ in range(steps):
            told = self._told(moving, at)
            if told is None:
                break
            if best is None or told.fit.score > best.fit.score:
                best = told
            if not np.isfinite(told.wanted).all():
                break
            step = self._step(told.wanted)
            reach = np.abs(step(self._corners) - self._corners).max()
            if reach < _SETTLED_PX or reach > max(self.shape) or not _LEAST_AREA < step.determinant < 1 / _LEAST_AREA:
                break
            at = at @ step.inverse
        return None if best is None else replace(best.fit, sigma_px=self._sigma(best))

    @property
    def _corners(self) -> NDArray[np.float64]:
        rows, cols = self.shape
        return np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], np.float64)

    def _told(self, moving: Structure, at: Affine) -> _Told | None:
        """Return the score at a place and the parameters of the step from it."""
        x, y = at(self.xy).T.astype(np.float32)
        looked_up = cv2.remap(moving.packed, x[:, None], y[:, None], cv2.INTER_LINEAR)[:, 0].T
        there = looked_up[3] > 0.99
        share = float(there.mean())
        if share < _LEAST_SHARE:
            return None
        f = (self.values * there).ravel()
        v = (turned(looked_up[:3], at.angle) * there).ravel()
        j = (self.slopes * there).reshape(len(self.slopes), -1)
        ff, vv, fv = float(f @ f), float(v @ v), float(f @ v)
        if ff <= 0 or vv <= 0:
            return None
        inverse = np.linalg.pinv((j @ j.T).astype(np.float64))
        jf, jv = (j @ f).astype(np.float64), (j @ v).astype(np.float64)
        held, told = ff - jf @ inverse @ jf, fv - jf @ inverse @ jv
        gain = held / told if told > 1e-9 * ff else np.sqrt(ff / vv)  # eqs. 14 and 17 of the paper
        fit = Fit(at, float(fv / np.sqrt(ff * vv)), share, float("inf"))
        return _Told(fit, inverse @ (gain * jv - jf), inverse, gain * v - f, there)

    def _sigma(self, told: _Told) -> float:
        """Return the standard deviation of the corners, px."""
        pulls = self.slopes * (told.residual.reshape(3, -1) * told.there)
        count = _NEIGHBOURHOODS**2
        summed = np.array([np.bincount(self.hood, p, minlength=count) for p in pulls.sum(axis=1)])
        heard = np.unique(self.hood[told.there]).size
        spread = summed @ summed.T * heard / max(1, heard - len(summed))
        covariance = told.inverse @ spread @ told.inverse
        moved = np.array([self._corner_slopes(*corner) for corner in self._corners - self.centre])
        return float(np.sqrt(np.einsum("kip,pq,kiq->", moved, covariance, moved) / len(moved)))

    def _corner_slopes(self, x: float, y: float) -> list[list[float]]:
        """Return what each parameter does to a point (x, y) from the middle: a row for x, one for y."""
        if self.model == "affine":
            return [[x, y, 0, 0, 1, 0], [0, 0, x, y, 0, 1]]
        scale = [] if self.model == "rigid" else [(x, y)]
        columns = [*scale, (-y, x), (1, 0), (0, 1)]
        return [[c[k] for c in columns] for k in (0, 1)]


@dataclass(frozen=True, eq=False)
class _Told:
    """A fit as it stands, the step from there, the inverse of the normal matrix, what is left, and where."""

    fit: Fit
    wanted: NDArray[np.float64]
    inverse: NDArray[np.float64]
    residual: NDArray[np.float32]
    there: NDArray[np.bool_]
