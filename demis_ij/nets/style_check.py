"""Whether a restyled image shows what its source shows, where it shows it: structure that is invented, lost or moved.

A generator that paints what it has seen in training, and not what is in the image, moves whatever is registered by it.
So edges of the restyled image are compared with those of its source, whatever their contrast (a crest of the gradient
counts where the gradient is above its median: a faint boundary answers beside strong ones)::

    support  = share of strong edges of the restyled image with an edge of the source within 3 px
    chance   = the same with the source mirrored and turned: what edges of a foreign image find
    invented = (1 - support) / (1 - chance)      0: every edge has its cause, 1: as if of another image

``lost`` is the same the other way round. ``drift`` is how far windows of the edges lie from where they fit best.

All of that holds of an image turned into its negative, too. So, where it is known whether edges are the bright or the
dark places of the targets (`demis_ij.nets.style_contrast.polarity_of`), restyled images are asked for the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.nets.style_contrast import polarity_look
from demis_ij.nets.style_look import Look, Mask

_SIGMA = 1.5  # px of the Gaussian before gradients
_REACH = 3  # px around within which an edge has its cause
_STRONG, _THERE = 0.9, 0.5  # quantiles of the gradient: edges that are asked about, and such as answer
_WINDOW, _SEARCH = 64, 6  # px of a window, and how far its edges are looked for
_LEAST_FIT = 0.35  # correlation below which a window says nothing of drift
_MOST_INVENTED = 0.5  # half of what an image of another place has


@dataclass(frozen=True)
class StyleCheck:
    """What became of an image's structure.

    Attributes
    ----------
    invented, lost : float
        0 to about 1: restyled edges without a cause, and the source's strong edges that are gone; NaN when nothing
        can be told.
    drift_px : float
        Length of the median displacement of edges, px; NaN when no window tells.
    moved_px : float
        What nine of ten windows of edges are displaced by at most, px; NaN when no window tells.
    polarity : float
        Above 0 where edges are the bright places, below 0 where they are the dark ones; NaN where that was not asked.
    wanted : tuple of float, optional
        Between what most targets lie.
    """

    invented: float
    lost: float
    drift_px: float
    moved_px: float
    polarity: float = math.nan
    wanted: tuple[float, float] | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against it, one phrase each; none where nothing does."""
        found = []
        if self.invented > _MOST_INVENTED:
            found.append("much of its structure has no cause in the source")
        if self._turned_over:
            found.append(
                f"edges are {'dark' if self.polarity < 0 else 'bright'} places, other than in the targets that it "
                "learned from: greys may be turned over"
            )
        return tuple(found)

    @property
    def _turned_over(self) -> bool:
        """Whether the negative of the image would be more like the targets."""
        if self.wanted is None or math.isnan(self.polarity):
            return False
        low, high = self.wanted
        return _beyond(self.polarity, low, high) > _beyond(-self.polarity, low, high)

    @property
    def said(self) -> str:
        """One line about it."""
        doubts = f"; look at it before it is used: {', '.join(self.doubts)}" if self.doubts else ""
        moved = f"edges displaced by {_px(self.drift_px)} (90 % of windows: {_px(self.moved_px)} at most)"
        if math.isnan(self.drift_px) and math.isnan(self.moved_px):
            moved = "too few edges to tell whether they are displaced"
        return (
            f"structure without a cause in the source {_percent(self.invented)}, lost {_percent(self.lost)}, "
            f"{moved}{doubts}"
        )


def check_style(
    source: Look, restyled: Look, mask: Mask, *, wanted: tuple[float, float] | None = None, reduce: int = 1
) -> StyleCheck:
    """Return what became of an image's structure.

    Parameters
    ----------
    source, restyled : ndarray of shape (C, H, W), float32
        Looks, before and after.
    mask : ndarray of shape (H, W), bool
        Where there is data.
    wanted : tuple of float, optional
        Between what most targets lie (`demis_ij.nets.style_transfer.Style.polarity`); not asked without it.
    reduce : int
        Px of the looks to a px that the network looked at.
    """
    inside = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=0).astype(bool)
    before, after = _edges(source), _edges(restyled)
    drift, moved = _displaced(before, after, inside)
    polarity = math.nan if wanted is None else polarity_look(restyled, mask, reduce)
    return StyleCheck(
        _uncaused(after, before, inside), _uncaused(before, after, inside), drift, moved, polarity, wanted
    )


def _beyond(value: float, low: float, high: float) -> float:
    return max(low - value, value - high, 0.0)


def _edges(look: Look) -> NDArray[np.float32]:
    total = np.zeros(look.shape[1:], np.float32)
    for plane in look:
        soft = cv2.GaussianBlur(plane, (0, 0), _SIGMA, borderType=cv2.BORDER_REFLECT)
        total += cv2.Sobel(soft, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(soft, cv2.CV_32F, 0, 1) ** 2
    return np.sqrt(total)


def _uncaused(asked: NDArray[np.float32], answers: NDArray[np.float32], inside: Mask) -> float:
    """Return the share of strong edges without an edge of the other image nearby, by what chance would leave."""
    if not inside.any():
        return math.nan
    strong = inside & (asked > max(float(np.quantile(asked[inside], _STRONG)), 1e-6))
    there = answers > max(float(np.quantile(answers[inside], _THERE)), 1e-6)
    if not strong.any():
        return math.nan
    near = _ridges(answers, there)
    foreign = [near[::-1], near[:, ::-1], near[::-1, ::-1]]
    support = float(near[strong].mean())
    chance = float(
        np.mean(
            [
                one[strong & one_inside].mean() if (strong & one_inside).any() else 0.0
                for one, one_inside in zip(foreign, (inside[::-1], inside[:, ::-1], inside[::-1, ::-1]), strict=True)
            ]
        )
    )
    return (1 - support) / max(1 - chance, 1e-6)


def _ridges(edges: NDArray[np.float32], there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what lies near the crests of edges: a broad slope is no edge everywhere."""
    crest = there & (edges >= 0.8 * cv2.dilate(edges, np.ones((5, 5), np.uint8)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _REACH + 1, 2 * _REACH + 1))
    return cv2.dilate(crest.astype(np.uint8), disc).astype(bool)


def _displaced(before: NDArray[np.float32], after: NDArray[np.float32], inside: Mask) -> tuple[float, float]:
    """Return the length of the median displacement of windows, and the 90th percentile of their lengths."""
    found = []
    rows, cols = before.shape
    for top in range(_SEARCH, rows - _WINDOW - _SEARCH + 1, _WINDOW):
        for left in range(_SEARCH, cols - _WINDOW - _SEARCH + 1, _WINDOW):
            box = (slice(top, top + _WINDOW), slice(left, left + _WINDOW))
            wide = (slice(top - _SEARCH, top + _WINDOW + _SEARCH), slice(left - _SEARCH, left + _WINDOW + _SEARCH))
            if inside[wide].all() and (place := _fitted(before[wide], after[box])) is not None:
                found.append(place)
    if not found:
        return math.nan, math.nan
    offsets = np.array(found)
    return float(np.hypot(*np.median(offsets, 0))), float(np.quantile(np.hypot(*offsets.T), 0.9))


def _fitted(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, float] | None:
    """Return where a window fits best, px from its place, to a fraction; None when it fits nowhere well."""
    if float(before.std()) < 1e-6 or float(after.std()) < 1e-6:
        return None
    fits = cv2.matchTemplate(before, after, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(fits)
    last = 2 * _SEARCH
    if best < _LEAST_FIT or not (0 < x < last and 0 < y < last):
        return None
    return x - _SEARCH + _peak(fits[y, x - 1 : x + 2]), y - _SEARCH + _peak(fits[y - 1 : y + 2, x])


def _peak(three: NDArray[Any]) -> float:
    """Return where a parabola through three values has its peak, from the middle one."""
    a, b, c = (float(v) for v in three)
    bend = a - 2 * b + c
    return 0.5 * (a - c) / bend if bend < -1e-9 else 0.0


def _px(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.1f} px"


def _percent(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.0%}"


__all__ = ["StyleCheck", "check_style"]
