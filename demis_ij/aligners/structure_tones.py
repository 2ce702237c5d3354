"""The exact place of one image on another where the grey of one is told by the grey of the other, whatever the rule.

Electrons, X-rays and light often show one thing by another tone: inverted, bent, rising and falling, blurred, unevenly
lit. So the moving image is explained, by least squares, as a sum of what the fixed image may become: ramps between grey
levels, each blurred by two widths, make up any tone curve and any blur between; waves across the field, added and times
the picture, make up uneven light. Their weights and a small motion are found together (Gauss-Newton), a few times. It
is the correlation ratio (Roche et al. 1998, doi:10.1007/BFb0056301) with blur and light in it. Where greys hang
together it is several times as exact as edges are; where they do not, its own expected error says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.structure import Mask, Plane
from demis_ij.aligners.structure_motions import Freedom, Motion
from demis_ij.records import Affine

_LEVELS = np.linspace(0.01, 0.99, 7)  # quantiles of the grey values, between which ramps run
_OUTLIERS = (0.002, 0.998)
_BLURS_PX = (0.5, 2.0)
_WAVES = 6  # to each axis
_MOST_POINTS = 17_000
_MARGIN_PX = 3
_LEAST_SHARE = 0.1  # of the fixed points that must lie on data of the moving image
_POINTS_A_NUMBER = 20  # so many points are needed for each number that is found
_RIDGE = 1e-4
_SETTLED_PX = 0.01
_FURTHEST_PX = 8.0
_WAYS = ((1, 0), (0, 1))  # across, down

Float = NDArray[np.float64]


@dataclass(frozen=True)
class ToneFit:
    """Where the fit by tones ended.

    Attributes
    ----------
    to_moving : Affine
        Fixed px to moving px.
    explained : float
        Share of the moving image's variance that the fixed image explains.
    sigma_px : float
        Standard deviation of the fixed image's corners, px, root mean square.
    """

    to_moving: Affine
    explained: float
    sigma_px: float


class Tones:
    """A fixed image's tones, ready for any number of fits.

    Parameters
    ----------
    grey : ndarray of shape (H, W), float32
        Grey values of the image that stays, of mean 0 and deviation 1.
    known : ndarray of shape (H, W), bool
        Where they are data.
    model : str
        What the map may do besides shifting.
    """

    def __init__(self, grey: Plane, known: Mask, model: Freedom) -> None:
        rows, cols = known.shape
        self.motion = Motion(model, (rows, cols))
        inner = known.copy()
        for edge in (
            inner[:_MARGIN_PX],
            inner[rows - _MARGIN_PX :],
            inner.T[:_MARGIN_PX],
            inner.T[cols - _MARGIN_PX :],
        ):
            edge[...] = False
        step = max(1, int(np.ceil(np.sqrt(inner.sum() / _MOST_POINTS))))
        y, x = np.nonzero(inner[::step, ::step])
        self.xy = (np.stack([x, y], axis=1) * step).astype(np.float32)
        self.at = y * step * cols + x * step
        self.hoods = self.motion.hoods(self.xy)
        self.ramps = _ramps(grey, known)
        self.waves = _waves(self.xy, (rows, cols))
        self.still = np.concatenate([self.ramps[:, self.at], self.waves])

    def fit(self, grey: Plane, known: Mask, start: Affine, steps: int = 4) -> ToneFit | None:
        """Return the best place near a start; None where too little is in common.

        Parameters
        ----------
        grey : ndarray of shape (H, W), float32
            The image that is brought onto the fixed one, of any shape.
        known : ndarray of that shape, bool
            Where it is data.
        start : Affine
            Fixed px to moving px, to some two px.
        steps : int
            Most steps.
        """
        image = np.dstack([_held(grey, known), known.astype(np.float32)])
        there, explaining = np.ones(len(self.xy), bool), None
        at, best = start, None
        for _ in range(steps):
            x, y = at(self.xy).T.astype(np.float32)
            seen = cv2.remap(image, x[:, None], y[:, None], cv2.INTER_CUBIC)[:, 0].T
            if explaining is None or (there & (seen[1] <= 0.99)).any():
                there &= seen[1] > 0.99
                explaining = self._explaining(there)
                if explaining is None:
                    return best
            told = explaining.told(seen[0])
            if best is not None and told.explained <= best.explained:
                break  # no step is kept that explains less
            best = ToneFit(at, told.explained, told.sigma_px)
            step = self.motion.step(told.wanted)
            if not _SETTLED_PX < self.motion.reach(step) < _FURTHEST_PX:
                break
            at = at @ step.inverse
        return best

    def _explaining(self, there: Mask) -> _Explaining | None:
        """Return what explains the points that are there; None where they are too few."""
        count = len(self.still) + len(self.waves) + 6
        return (
            _Explaining(self, there) if there.sum() > max(_LEAST_SHARE * len(there), _POINTS_A_NUMBER * count) else None
        )


@dataclass(frozen=True, eq=False)
class _Told:
    """The step that is wanted, the share explained, and the corners' standard deviation."""

    wanted: Float
    explained: float
    sigma_px: float


class _Explaining:
    """The linear problem over those points of the fixed image that have data of the moving one.

    It is solved twice at first, for the slopes that a motion acts by are those of what is explained without it.
    """

    def __init__(self, tones: Tones, there: Mask) -> None:
        self.tones, self.there = tones, there
        self.share = there.astype(np.float32)
        self.still = tones.still * self.share
        self.normal = self.still @ self.still.T
        self.weights: Float | None = None

    def told(self, seen: NDArray[np.float32]) -> _Told:
        """Return what grey values of the moving image at all points say."""
        values = seen * self.share
        count = len(self.tones.ramps)
        if self.weights is None:
            self.weights = (_inverse(self.normal) @ (self.still @ values))[:count]
        moved = self._moved()
        aside = moved @ self.still.T
        inverse = _inverse(np.block([[self.normal, aside.T], [aside, moved @ moved.T]]))
        solved = inverse @ np.concatenate([self.still @ values, moved @ values]).astype(np.float64)
        self.weights = solved[:count]
        first = len(self.still)
        left = values - solved[:first].astype(np.float32) @ self.still - solved[first:].astype(np.float32) @ moved
        free = len(moved) - len(self.tones.waves) + 1
        say = inverse[-free:].astype(np.float32)
        moves = (say[:, :first] @ self.still + say[:, first:] @ moved) * left  # of each point on each number
        sigma = self.tones.motion.corner_sigma(moves, self.tones.hoods, self.there)
        wanted, own = solved[-free:], values[self.there]
        gained = float(wanted @ np.linalg.solve(inverse[-free:, -free:], wanted))  # by the step, which is not made yet
        unexplained = (float(left @ left) + gained) / max(len(own) * float(own.var()), 1e-9)
        return _Told(wanted, 1 - unexplained, sigma)

    def _moved(self) -> NDArray[np.float32]:
        """Return what is explained so far times the waves, and its derivatives as the map moves."""
        tones = self.tones
        drawn = (np.asarray(self.weights, np.float32) @ tones.ramps).reshape(tones.motion.shape)
        across, down = (cv2.Sobel(drawn, cv2.CV_32F, *way, ksize=1, scale=0.5).ravel()[tones.at] for way in _WAYS)
        turned = tones.motion.derivatives(across, down, tones.xy)
        return np.concatenate([drawn.ravel()[tones.at] * tones.waves[1:], turned]) * self.share


def _inverse(normal: NDArray[np.float32]) -> Float:
    """Return the inverse of a normal matrix, a little held back towards no weights at all."""
    held = normal.astype(np.float64)
    held[np.diag_indices_from(held)] *= 1 + _RIDGE
    held[np.diag_indices_from(held)] += 1e-6
    return np.asarray(np.linalg.inv(held), np.float64)


def _held(grey: Plane, known: Mask) -> Plane:
    """Return grey values within their quantiles, so that no hot pixel counts for a thousand."""
    low, high = np.quantile(grey[known][::16], _OUTLIERS)
    return np.clip(grey, np.float32(low), np.float32(high))


def _ramps(grey: Plane, known: Mask) -> Plane:
    """Return the blurred ramps of an image, (ramps, H * W)."""
    knots = np.quantile(grey[known][::16], _LEVELS).astype(np.float32)
    knots = np.maximum.accumulate(knots + np.arange(len(knots), dtype=np.float32) * np.float32(1e-5))
    whole, share = bool(known.all()), known.astype(np.float32)
    ramps = [np.clip((grey - a) * (1 / (b - a)) - 0.5, -0.5, 0.5) for a, b in pairwise(knots)]
    out = []
    for sigma in _BLURS_PX:
        about = None if whole else np.maximum(_blurred(share, sigma), np.float32(1e-3))
        for ramp in ramps:
            out.append(_blurred(ramp, sigma) if about is None else _blurred(ramp * share, sigma) / about)
    return np.asarray(np.stack(out), np.float32).reshape(len(out), -1)


def _blurred(plane: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def _waves(xy: NDArray[np.float32], shape: tuple[int, int]) -> Plane:
    """Return waves across the field (waves, n), the first of them 1."""
    down, across = (
        np.cos(np.pi * np.arange(_WAVES)[:, None] * (xy[:, 1 - k] + 0.5) / shape[k]).astype(np.float32) for k in (0, 1)
    )
    return (down[:, None] * across).reshape(-1, len(xy))
