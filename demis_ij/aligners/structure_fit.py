"""The exact place of one image on another from a rough one, whatever their grey values.

Gauss-Newton on the correlation of their structure: the enhanced correlation coefficient of Evangelidis & Psarakis 2008
(doi:10.1109/TPAMI.2008.113) in its inverse compositional form, so that the fixed image's derivatives are found once.
The planes of direction turn with the map; their derivative with respect to the turn needs no place, which is why a turn
is found from further off than by grey values.

How exact the place is, is told by the residuals: those of one neighbourhood hang together, those of different ones do
not, so the covariance is the sandwich estimator clustered by neighbourhoods (Liang & Zeger 1986,
doi:10.1093/biomet/73.1.13).

Where a last fit by tones is asked for (`demis_ij.aligners.structure_tones`), it takes the place of that by structure if
it is the surer of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.structure import Structure, turned
from demis_ij.aligners.structure_motions import Freedom, Motion
from demis_ij.aligners.structure_tones import Tones
from demis_ij.records import Affine

_MOST_POINTS = 17_000
_SETTLED_PX = 0.01
_LEAST_SHARE = 0.1  # of the fixed points that must lie on data of the moving image
_LEAST_AREA = 0.05  # no step shrinks or grows an area by more than that
_BY_TONES = 0.45  # of what tones say of their error, for what structure says is that much too small against it
_LEAST_HELD = 0.8  # of the score by structure, that must be left where tones lead


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
    by_tones : bool
        Whether fits end by tones, where both images have grey values.
    """

    def __init__(self, fixed: Structure, model: Freedom = "similarity", *, by_tones: bool = False) -> None:
        self.shape, self.motion = fixed.shape, Motion(model, fixed.shape)
        step = max(1, int(np.ceil(np.sqrt(fixed.known.sum() / _MOST_POINTS))))
        y, x = np.nonzero(fixed.known[::step, ::step])
        self.xy = (np.stack([x, y], axis=1) * step).astype(np.float32)
        self.hoods = self.motion.hoods(self.xy)
        planes = fixed.planes[:, ::step, ::step][:, y, x]
        down, across = (np.gradient(fixed.planes, axis=k) for k in (1, 2))
        slopes = [s[:, ::step, ::step][:, y, x] for s in (across, down)]
        self.values = planes.astype(np.float32)
        swing = np.stack([np.zeros_like(planes[0]), 2 * planes[2], -2 * planes[1]])  # directions turn with the image
        self.slopes = self.motion.derivatives(slopes[0], slopes[1], self.xy, swing)
        self._grey, self._known = fixed.grey if by_tones else None, fixed.known

    @cached_property
    def _tones(self) -> Tones | None:
        """What ends a fit, made when the first one gets so far; None where there is to be none."""
        return None if self._grey is None else Tones(self._grey, self._known, self.motion.model)

    def fit(self, moving: Structure, start: Affine, steps: int = 12) -> Fit | None:
        """Return the best place near a start; None where the images hardly overlap there.

        Parameters
        ----------
        moving : Structure
            The image that is brought onto the fixed one, of any shape.
        start : Affine
            Fixed px to moving px. Of a similarity, it must be one.
        steps : int
            Most steps; of 1 the start is judged, and nothing is moved.
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
            step = self.motion.step(told.wanted)
            reach = self.motion.reach(step)
            if reach < _SETTLED_PX or reach > max(self.shape) or not _LEAST_AREA < step.determinant < 1 / _LEAST_AREA:
                break
            at = at @ step.inverse
        if best is None:
            return None
        found = replace(best.fit, sigma_px=self._sigma(best))
        return found if steps == 1 else self._by_tones(moving, found)

    def _by_tones(self, moving: Structure, found: Fit) -> Fit:
        """Return the place that tones lead to from where structure ended, if they are the surer of the two."""
        if self._tones is None or moving.grey is None:
            return found
        toned = self._tones.fit(moving.grey, moving.known, found.to_moving)
        if toned is None or not _BY_TONES * toned.sigma_px < found.sigma_px:
            return found
        told = self._told(moving, toned.to_moving)
        if told is None or told.fit.score < _LEAST_HELD * found.score:
            return found
        return replace(told.fit, sigma_px=_BY_TONES * toned.sigma_px)

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
        pulls = (self.slopes * (told.residual.reshape(3, -1) * told.there)).sum(axis=1)
        return self.motion.corner_sigma(told.inverse @ pulls, self.hoods, told.there)


@dataclass(frozen=True, eq=False)
class _Told:
    """A fit as it stands, the step from there, the inverse of the normal matrix, what is left, and where."""

    fit: Fit
    wanted: NDArray[np.float64]
    inverse: NDArray[np.float64]
    residual: NDArray[np.float32]
    there: NDArray[np.bool_]


__all__ = ["Fit", "Freedom", "Template"]
