"""The turn and shift that bring two sections together, looked for among all there are.

The moving section, some tens of px a side, is turned step by step; at each step its normalised correlation with the
fixed one is known for all shifts at once, of the data that both show there (Padfield 2012,
doi:10.1109/TIP.2011.2181402). Sections without anything in common correlate somewhere, too, and the more the less they
overlap. So what counts is how far a correlation lies above chance (Fisher 1921: its inverse hyperbolic tangent times
the root of the number of px), and how far the best turn *stands out*: its value over the best of all turns that are not
near it, which is what chance reaches on these very images.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, hypot, radians

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from demis_ij.align.grids import Float, reduced
from demis_ij.records import Affine

Grey = NDArray[np.uint8]
Waves = NDArray[np.complexfloating]
_SMALL_PX = 90  # sections are halved until their shorter side is less: more costs time and finds nothing more
_BLUR_PX = 1.5  # at that size deformation moves things by about as much
_STEP_DEG = 5
_FINER_DEG = (2.5, 1.25)
_APART_DEG = 20  # turns further apart than this say nothing of each other
_LEAST_OVERLAP = 0.15  # of the data of the section that has less
_LEAST_PX = 64


@dataclass(frozen=True)
class Together:
    """How two sections come together best.

    Attributes
    ----------
    to_fixed : Affine
        Turn and shift, moving px to fixed px.
    stands_out : float
        How likely this is over what any other turn reaches; of sections without anything in common hardly above 1.25.
    """

    to_fixed: Affine
    stands_out: float


@dataclass(frozen=True, eq=False)
class _Peak:
    """The best shift at one turn: by how much it exceeds chance, and the map from moving px to fixed px."""

    height: float
    to_fixed: Affine


def brought_together(fixed: tuple[Grey, Grey], moving: tuple[Grey, Grey]) -> Together | None:
    """Return the turn and shift that bring two sections together best, None when they cannot be compared at all.

    Parameters
    ----------
    fixed, moving : tuple of (ndarray of shape (H, W), ndarray of shape (H, W)), uint8
        Grey values, evened out around 128, and masks: 255 is data. Their sizes may differ.
    """
    scale = 1
    while min(*fixed[0].shape, *moving[0].shape) >= _SMALL_PX:
        fixed, moving, scale = reduced(*fixed), reduced(*moving), scale * 2
    search = _Search(_softened(*fixed), _softened(*moving))
    turns = np.arange(0, 360, _STEP_DEG)
    peaks = [search.at(float(t)) for t in turns]
    best = int(np.argmax([p.height for p in peaks]))
    away = np.abs((turns - turns[best] + 180) % 360 - 180)
    chance = max(p.height for p, far in zip(peaks, away > _APART_DEG, strict=True) if far)
    if not peaks[best].height > 0 or not chance > 0:
        return None
    turn, peak = float(turns[best]), peaks[best]
    for step in _FINER_DEG:
        sides = [(t, search.at(t)) for t in (turn - step, turn + step)]
        turn, peak = max([(turn, peak), *sides], key=lambda one: one[1].height)
    to_full = Affine(scale, 0, 0, scale, (scale - 1) / 2, (scale - 1) / 2)
    return Together(to_full @ peak.to_fixed @ to_full.inverse, peaks[best].height / chance)


def _softened(grey: Grey, mask: Grey) -> tuple[Float, Float]:
    """Return grey values around 0, blurred as far as they are data, and where they are data (1)."""
    known = (mask > 250).astype(np.float32)
    values = cv2.GaussianBlur((grey.astype(np.float32) - 128) * known, (0, 0), _BLUR_PX)
    share = cv2.GaussianBlur(known, (0, 0), _BLUR_PX)
    return np.asarray(values / np.maximum(share, 0.3) * known, np.float32), known


class _Search:
    """The correlation of two sections at any turn."""

    def __init__(self, fixed: tuple[Float, Float], moving: tuple[Float, Float]) -> None:
        rows, cols = moving[0].shape
        self._moving, self._side = moving, ceil(hypot(rows, cols))
        self._shape = tuple(fft.next_fast_len(k + self._side, real=True) for k in fixed[0].shape)
        self._fixed = self._waves(*fixed)
        self._least = max(_LEAST_PX, _LEAST_OVERLAP * float(min(fixed[1].sum(), moving[1].sum())))

    def _waves(self, grey: Float, known: Float) -> tuple[Waves, Waves, Waves]:
        one, two, three = (fft.rfft2(a, self._shape) for a in (grey, known, grey * grey))
        return one, two, three

    def at(self, turn_deg: float) -> _Peak:
        """Return the best shift once the moving section is turned."""
        rows, cols = self._moving[0].shape
        to_square = (
            Affine.translation((self._side - 1) / 2, (self._side - 1) / 2)
            @ Affine.rigid(radians(turn_deg))
            @ Affine.translation(-(cols - 1) / 2, -(rows - 1) / 2)
        )
        matrix = np.array([[to_square.a, to_square.b, to_square.tx], [to_square.c, to_square.d, to_square.ty]])
        grey, known = (cv2.warpAffine(a, matrix, (self._side, self._side)) for a in self._moving)
        whole = (known > 0.99).astype(np.float32)
        height = self._likeness(np.asarray(grey * whole, np.float32), whole)
        y, x = np.unravel_index(int(np.argmax(height)), height.shape)
        shift = [k - n if k >= n - self._side else k for k, n in ((int(x), self._shape[1]), (int(y), self._shape[0]))]
        return _Peak(float(height[y, x]), Affine.translation(shift[0], shift[1]) @ to_square)

    def _likeness(self, grey: Float, known: Float) -> Float:
        """Return how far the correlation exceeds chance at each shift; 0 where too little is shared."""
        f, f_known, f_square = self._fixed
        g, g_known, g_square = (np.conj(w) for w in self._waves(grey, known))

        def over_shifts(waves: Waves) -> NDArray[np.floating]:
            return np.asarray(fft.irfft2(waves, self._shape))

        count = np.maximum(over_shifts(f_known * g_known), 1)
        f_sum, g_sum = over_shifts(f * g_known), over_shifts(f_known * g)
        covariance = over_shifts(f * g) - f_sum * g_sum / count
        f_spread = over_shifts(f_square * g_known) - f_sum**2 / count
        g_spread = over_shifts(f_known * g_square) - g_sum**2 / count
        scale = np.sqrt(np.maximum(f_spread, 0) * np.maximum(g_spread, 0))
        usable = (count >= self._least) & (scale > 1e-6 * max(float(scale.max()), 1e-12))
        ncc = np.where(usable, covariance / np.maximum(scale, 1e-12), 0)
        return np.asarray(np.arctanh(np.clip(ncc, -0.99, 0.99)) * np.sqrt(count), np.float32)
