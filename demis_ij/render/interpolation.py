"""Pixels of an image at other places: nearest, linear, cubic; by an affine map, or place by place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.images.resampling import catmull_rom
from demis_ij.records import Affine
from demis_ij.render.through_lens import RawPlaces

Float = NDArray[np.float32]

_CV_FLAGS = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR}


class Linear(NamedTuple):
    """Where each pixel of a box is taken from: ``(a x + b y + tx, c x + d y + ty)``, px of what is sampled."""

    a: float
    b: float
    tx: float
    c: float
    d: float
    ty: float

    @property
    def whole_shift(self) -> tuple[int, int] | None:
        """(x, y) where it is a shift by whole pixels to 1e-6 px, None otherwise."""
        if abs(self.a - 1) > 1e-10 or abs(self.d - 1) > 1e-10 or abs(self.b) > 1e-10 or abs(self.c) > 1e-10:
            return None
        x, y = round(self.tx), round(self.ty)
        return (x, y) if abs(self.tx - x) < 1e-6 and abs(self.ty - y) < 1e-6 else None


@dataclass(frozen=True, eq=False)
class Places:
    """Where each pixel of a box is taken from, as no affine map can say it.

    Attributes
    ----------
    x, y : ndarray of shape (rows, cols), float32
        Px of the array that is sampled.
    """

    x: Float
    y: Float


Onto = Linear | Places


def onto(to_tile: Affine, box: Box, crop: Box) -> Linear:
    """Return px of ``box`` to px of ``crop``; the large numbers cancel in float64, before anything is float32."""
    t = to_tile
    x, y = t.a * box.x0 + t.b * box.y0 + t.tx, t.c * box.x0 + t.d * box.y0 + t.ty
    return Linear(t.a, t.b, x - crop.x0, t.c, t.d, y - crop.y0)


def seen_in(raw: RawPlaces, crop: Box) -> Places:
    """Return raw places as px of ``crop``; the large numbers cancel in float64, before anything is float32."""
    return Places((raw.x - crop.x0).astype(np.float32), (raw.y - crop.y0).astype(np.float32))


def interpolate(
    pixels: NDArray[Any], at: Onto, shape: tuple[int, int], interpolation: str, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return ``pixels`` sampled where the pixels of ``shape`` are seen; outside, the edge is repeated.

    With ``out``, of that shape and the type of ``pixels``, they are put there.
    """
    found = _interpolated(pixels, at, shape, interpolation, out)
    if out is None:
        return np.ascontiguousarray(found)
    if found is not out:
        out[...] = found
    return out


def _interpolated(
    pixels: NDArray[Any], at: Onto, shape: tuple[int, int], interpolation: str, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Return what `interpolate` does: ``out``, where OpenCV could draw into it, or another array."""
    if isinstance(at, Places):
        if interpolation == "cubic":
            return _cubic(pixels, at, shape)
        flag = _CV_FLAGS[interpolation]
        return np.asarray(cv2.remap(pixels, at.x, at.y, flag, dst=out, borderMode=cv2.BORDER_REPLICATE))
    shift = at.whole_shift
    if shift is not None:
        x, y = shift
        if x >= 0 and y >= 0 and x + shape[1] <= pixels.shape[1] and y + shape[0] <= pixels.shape[0]:
            return pixels[y : y + shape[0], x : x + shape[1]]
    if interpolation == "cubic":
        return _cubic(pixels, at, shape)
    flags = _CV_FLAGS[interpolation] | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(
        pixels, np.array((at[:3], at[3:])), shape[::-1], dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(drawn)


def _cubic(pixels: Float, at: Onto, shape: tuple[int, int]) -> Float:
    """Return `demis_ij.images.resampling.catmull_rom` where the pixels of ``shape`` are seen."""
    x, y = (at.x, at.y) if isinstance(at, Places) else _coordinates(at, shape)
    x, y = np.clip(x, 0, pixels.shape[1] - 1), np.clip(y, 0, pixels.shape[0] - 1)
    left, top = np.floor(x), np.floor(y)
    return catmull_rom(pixels, left.astype(np.intp), top.astype(np.intp), x - left, y - top)


def _coordinates(at: Linear, shape: tuple[int, int]) -> tuple[Float, Float]:
    cols, rows = np.arange(shape[1], dtype=np.float64), np.arange(shape[0], dtype=np.float64)[:, None]
    x = (at.a * cols + at.tx) + at.b * rows
    y = (at.c * cols + at.ty) + at.d * rows
    return x.astype(np.float32), y.astype(np.float32)
