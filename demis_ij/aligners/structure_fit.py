"""The exact place of one image on another from a rough one, whatever their grey values.

Gauss-Newton on the correlation of their structure: the enhanced correlation coefficient of Evangelidis & Psarakis 2008
(doi:10.1109/TPAMI.2008.113) in its inverse compositional form, so that the fixed image's derivatives are found once.
The planes of direction turn with the map; their derivative with respect to the turn needs no place, which is why a turn
is found from further off than by grey values.
"""

from __future__ import annotations

from dataclasses import dataclass
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
_INDEPENDENT_PX = 3.5  # the planes of one Gaussian say the same over about this many sigma each way


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
        Standard deviation of the fixed image's corners, px, root mean square, as the curvature of the correlation and
        what is left of it say; infinite where they say nothing.
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
    sigma_px : float
        That the structure was made with: neighbouring points say much the same.
    """

    def __init__(self, fixed: Structure, model: Freedom = "similarity", sigma_px: float = 1.5) -> None:
        rows, cols = fixed.shape
        self.shape, self.model, self.sigma_px = fixed.shape, model, sigma_px
        self.centre = np.array([(cols - 1) / 2, (rows - 1) / 2])
        step = max(1, int(np.ceil(np.sqrt(fixed.known.sum() / _MOST_POINTS))))
        self.step = step
        y, x = np.nonzero(fixed.known[::step, ::step])
        self.xy = (np.stack([x, y], axis=1) * step).astype(np.float32)
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
        if self.model == "rigid":
            linear = Affine.rigid(p[0], p[1], p[2])
        elif self.model == "similarity":
            linear = Affine(1 + p[0], -p[1], p[1], 1 + p[0], p[2], p[3])
        else:
            linear = Affine(1 + p[0], p[1], p[2], 1 + p[3], p[4], p[5])
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
            try:
                step = self._step(told.wanted)
                at = at @ step.inverse
            except (ValueError, np.linalg.LinAlgError):
                break
            reach = np.abs(step(self._corners) - self._corners).max()
            if reach < _SETTLED_PX or reach > max(self.shape) or not 0.2 < at.scale < 5:
                break
        return None if best is None else best.fit

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
        score = fv / np.sqrt(ff * vv)
        left = max(ff - fv * fv / vv, 0.0)
        return _Told(
            Fit(at, score, share, self._sigma(inverse, left, 3 * float(there.sum()))), inverse @ (gain * jv - jf)
        )

    def _sigma(self, inverse: NDArray[np.float64], left: float, values: float) -> float:
        """Return the standard deviation of the corners, px: the residual's variance through the curvature."""
        alike = max(1.0, (_INDEPENDENT_PX * self.sigma_px / self.step) ** 2)
        covariance = inverse * left / max(values, 1.0) * alike
        square = 0.0
        for corner in self._corners - self.centre:
            moved = np.array(self._corner_slopes(*corner))
            square += float(np.einsum("ip,pq,iq->", moved, covariance, moved))
        return float(np.sqrt(square / 4))

    def _corner_slopes(self, x: float, y: float) -> list[list[float]]:
        """Return what each parameter does to a point (x, y) from the middle: a row for x, one for y."""
        if self.model == "affine":
            return [[x, y, 0, 0, 1, 0], [0, 0, x, y, 0, 1]]
        scale = [] if self.model == "rigid" else [(x, y)]
        columns = [*scale, (-y, x), (1, 0), (0, 1)]
        return [[c[k] for c in columns] for k in (0, 1)]


@dataclass(frozen=True, eq=False)
class _Told:
    fit: Fit
    wanted: NDArray[np.float64]
