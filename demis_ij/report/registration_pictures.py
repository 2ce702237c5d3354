"""Two images over each other on the fixed image's grid, as they came and registered: red and cyan, a checkerboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Affine
from demis_ij.report.pictures import GREY, to_grey

SIDE_PX = 1200
"""Longest side of a picture."""
CELLS = 8
"""Fields of a checkerboard along the longer side."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Source:
    """One of the two images.

    Attributes
    ----------
    image : ndarray of shape (H, W)
        Grey values.
    mask : ndarray of shape (H, W), bool
        Where they are data.
    to_full : Affine
        Its px to those that transforms are told in.
    shape : tuple of int
        (rows, cols) of those.
    """

    image: NDArray[Any]
    mask: Mask
    to_full: Affine
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Views:
    """What is shown, all of one shape; 0 where there is no data.

    Attributes
    ----------
    fixed : ndarray of shape (H, W), uint8
        The fixed image.
    before : ndarray of shape (H, W), uint8
        The moving one as it came: middle on middle, at its own pixel size where that is known.
    after : ndarray of shape (H, W), uint8, or None
        The moving one registered; None when the two do not match.
    """

    fixed: GREY
    before: GREY
    after: GREY | None


def views_of(fixed: Source, moving: Source, to_moving: Affine | None, pixel_ratio: float | None) -> Views:
    """Return two images as they came, and registered, on the fixed image's grid, reduced for the screen."""
    step = max(1.0, max(fixed.shape) / SIDE_PX)
    rows, cols = (max(1, round(n / step)) for n in fixed.shape)
    to_full = Affine(step, 0, 0, step, (step - 1) / 2, (step - 1) / 2)
    middles = [Affine.translation((s.shape[1] - 1) / 2, (s.shape[0] - 1) / 2) for s in (fixed, moving)]
    ratio = pixel_ratio or 1.0
    as_it_came = middles[1] @ Affine(ratio, 0, 0, ratio) @ middles[0].inverse

    def drawn(source: Source, at: Affine) -> GREY:
        return to_grey(*_drawn(source, at @ to_full, (rows, cols)))

    after = None if to_moving is None else drawn(moving, to_moving)
    return Views(drawn(fixed, Affine()), drawn(moving, as_it_came), after)


def _drawn(source: Source, at: Affine, shape: tuple[int, int]) -> tuple[NDArray[np.float32], Mask]:
    """Return an image on another grid, ``at`` leading from there to its full px; areas are averaged first."""
    mask = source.mask & np.isfinite(source.image)
    grey = np.where(mask, source.image, 0).astype(np.float32)
    share = mask.astype(np.float32)
    into = source.to_full.inverse @ at
    coarser = min(into.scale, min(grey.shape) / 8)
    if coarser > 1.3:
        size = (max(1, round(grey.shape[1] / coarser)), max(1, round(grey.shape[0] / coarser)))
        x, y = grey.shape[1] / size[0], grey.shape[0] / size[1]
        into = Affine(x, 0, 0, y, (x - 1) / 2, (y - 1) / 2).inverse @ into
        grey, share = (np.asarray(cv2.resize(a, size, interpolation=cv2.INTER_AREA), np.float32) for a in (grey, share))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn, known = (cv2.warpAffine(a, into.matrix[:2], shape[::-1], flags=flags) for a in (grey, share))
    return (drawn / np.maximum(known, 1e-6)).astype(np.float32), np.asarray(known > 0.5)


def red_cyan(fixed: GREY, moving: GREY) -> NDArray[np.uint8]:
    """Return (H, W, 3), red first: the fixed image in red, the moving one in cyan, grey where they agree."""
    return np.stack([fixed, moving, moving], axis=-1)


def checkerboard(fixed: GREY, moving: GREY) -> GREY:
    """Return fields of the one and the other in turn, the fixed image's at the top left."""
    side = max(1, -(-max(fixed.shape) // CELLS))
    y, x = (np.arange(n) // side for n in fixed.shape)
    return np.where((y[:, None] + x[None]) % 2 == 0, fixed, moving).astype(np.uint8)


__all__ = ["CELLS", "SIDE_PX", "Source", "Views", "checkerboard", "red_cyan", "views_of"]
