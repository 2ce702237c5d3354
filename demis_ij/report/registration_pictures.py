"""Two images over each other on the fixed image's grid, as they came and registered: red and cyan, a checkerboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.fields import affine_part, dense
from demis_ij.geometry import Box
from demis_ij.records import Affine, Field, Warp
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


def views_of(fixed: Source, moving: Source, to_moving: Affine | Warp | None, pixel_ratio: float | None) -> Views:
    """Return two images as they came, and registered, on the fixed image's grid, reduced for the screen."""
    step = max(1.0, max(fixed.shape) / SIDE_PX)
    rows, cols = (max(1, round(n / step)) for n in fixed.shape)
    to_full = Affine(step, 0, 0, step, (step - 1) / 2, (step - 1) / 2)
    middles = [Affine.translation((s.shape[1] - 1) / 2, (s.shape[0] - 1) / 2) for s in (fixed, moving)]
    ratio = pixel_ratio or 1.0
    as_it_came = middles[1] @ Affine(ratio, 0, 0, ratio) @ middles[0].inverse

    def drawn(source: Source, at: Affine) -> GREY:
        return to_grey(*_drawn(source, at @ to_full, (rows, cols)))

    if isinstance(to_moving, Warp):
        after: GREY | None = to_grey(*_drawn_bent(moving, to_moving, to_full, (rows, cols)))
    else:
        after = None if to_moving is None else drawn(moving, to_moving)
    return Views(drawn(fixed, Affine()), drawn(moving, as_it_came), after)


def _drawn(source: Source, at: Affine, shape: tuple[int, int]) -> tuple[NDArray[np.float32], Mask]:
    """Return an image on another grid, ``at`` leading from there to its full px; areas are averaged first."""
    into = source.to_full.inverse @ at
    grey, share, to_grey_px = _coarser(source, into.scale)
    into = to_grey_px @ into
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn, known = (cv2.warpAffine(a, into.matrix[:2], shape[::-1], flags=flags) for a in (grey, share))
    return (drawn / np.maximum(known, 1e-6)).astype(np.float32), np.asarray(known > 0.5)


def _drawn_bent(
    source: Source, warp: Warp, to_full: Affine, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], Mask]:
    """Return an image as a warp of the fixed image's px shows it, on a reduced grid of those."""
    box = Box.of_shape(shape)
    offsets = dense(Warp((to_full, *warp.parts, source.to_full.inverse), shape), box)
    grey, share, to_grey_px = _coarser(source, affine_part(Field(offsets)).scale)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    at = np.where(np.isfinite(offsets), offsets, -1e6) + np.stack([x, y])
    at_x, at_y = (to_grey_px.a * at[0] + to_grey_px.tx, to_grey_px.d * at[1] + to_grey_px.ty)
    drawn, known = (
        cv2.remap(a, at_x.astype(np.float32), at_y.astype(np.float32), cv2.INTER_LINEAR) for a in (grey, share)
    )
    return (drawn / np.maximum(known, 1e-6)).astype(np.float32), np.asarray(known > 0.5)


def _coarser(source: Source, scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32], Affine]:
    """Return an image whose areas are averaged before it is drawn, its share of data, and the way to its px."""
    mask = source.mask & np.isfinite(source.image)
    grey = np.where(mask, source.image, 0).astype(np.float32)
    share = mask.astype(np.float32)
    coarser = min(scale, min(grey.shape) / 8)
    if coarser <= 1.3:
        return grey, share, Affine()
    size = (max(1, round(grey.shape[1] / coarser)), max(1, round(grey.shape[0] / coarser)))
    x, y = grey.shape[1] / size[0], grey.shape[0] / size[1]
    grey, share = (np.asarray(cv2.resize(a, size, interpolation=cv2.INTER_AREA), np.float32) for a in (grey, share))
    return grey, share, Affine(x, 0, 0, y, (x - 1) / 2, (y - 1) / 2).inverse


def red_cyan(fixed: GREY, moving: GREY) -> NDArray[np.uint8]:
    """Return (H, W, 3), red first: the fixed image in red, the moving one in cyan, grey where they agree."""
    return np.stack([fixed, moving, moving], axis=-1)


def checkerboard(fixed: GREY, moving: GREY) -> GREY:
    """Return fields of the one and the other in turn, the fixed image's at the top left."""
    side = max(1, -(-max(fixed.shape) // CELLS))
    y, x = (np.arange(n) // side for n in fixed.shape)
    return np.where((y[:, None] + x[None]) % 2 == 0, fixed, moving).astype(np.uint8)


__all__ = ["CELLS", "SIDE_PX", "Source", "Views", "checkerboard", "red_cyan", "views_of"]
