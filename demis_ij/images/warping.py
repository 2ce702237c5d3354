"""An image warped: looked up, pixel by pixel of the output, where a pull map says.

**Exact.** Positions are worked out in float64 and split into a whole pixel and a rest before anything becomes float32,
so that an output pixel has the same value whichever box it is asked for in, however large image and canvas are. A
position within a ten-thousandth of a pixel of a whole pixel counts as that pixel.

**No data.** An output pixel is data when the warp is known there, the position lies between the centres of the image's
outermost pixels, and every pixel that enters with any weight is data: 2 x 2 (linear), 4 x 4 (cubic) or 1 (nearest).
Nothing is extrapolated, and grey 0 is a grey like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import fields
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images.reading import Mask
from demis_ij.images.resampling import Float, Whole, bilinear, catmull_rom
from demis_ij.records import Warp

INTERPOLATIONS = ("nearest", "linear", "cubic")

_CELL = 512  # px a side that are worked on at once
_EDGE_PX = 1e-3  # how far outside its outermost centres an image still counts: what float32 offsets are wrong by
_WHOLE_PX = 1e-4
_BEFORE = {"nearest": 0, "linear": 0, "cubic": 1}  # pixels that enter before the one at or before a position
_TAPS = {"nearest": 1, "linear": 2, "cubic": 4}
_MARGIN = {"nearest": 0, "linear": 1, "cubic": 2}  # around the pixels at or before positions: what enters


class Pixels(Protocol):
    """An image, or part of a file that stands for one: of each box only that box is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, cols)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""
        ...

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        """Return the pixels of a box."""
        ...


def warped(
    image: Pixels, mask: Pixels | None, warp: Warp, *, interpolation: str = "linear", box: Box | None = None
) -> tuple[NDArray[Any], Mask]:
    """Return an image as a warp shows it, and where that is data.

    Parameters
    ----------
    image : ndarray of shape (H, W), or anything that is sliced like one
        Grey values, or labels. Only the pixels that the output needs are asked for.
    mask : ndarray of shape (H, W), bool, or anything that is sliced like one, or None
        Where they are data; everywhere when None. NaN is never data.
    warp : Warp
        Output pixel to point of the image.
    interpolation : str
        ``linear``, ``cubic`` (Keys 1981) or ``nearest``, which keeps labels what they are.
    box : Box, optional
        The output pixels that are wanted; all of the canvas when not given. It may reach outside the canvas: there is
        no data.

    Returns
    -------
    pixels : ndarray of the box's shape, of the image's dtype
        Rounded where that is an integer; 0 where there is no data.
    mask : ndarray of the box's shape, bool
        Where there is data.

    Raises
    ------
    InputError
        When the mask is of another shape than the image, or the interpolation is unknown.
    """
    if interpolation not in INTERPOLATIONS:
        msg = f"interpolation: {interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
        raise InputError(msg)
    if mask is not None and tuple(mask.shape) != tuple(image.shape):
        sizes = (f"{s[1]}x{s[0]} px" for s in (mask.shape, image.shape))
        msg = "the mask is {}, its image {}: they must have one size".format(*sizes)
        raise InputError(msg)
    box = Box.of_shape(warp.shape) if box is None else box
    pixels, known = np.zeros(box.shape, image.dtype), np.zeros(box.shape, bool)
    inside = box & Box.of_shape(warp.shape)
    for y in range(inside.y0, inside.y1, _CELL):
        for x in range(inside.x0, inside.x1, _CELL):
            cell = Box(x, y, x + _CELL, y + _CELL) & inside
            at = _positions(warp, cell, (image.shape[0], image.shape[1]), interpolation)
            if at is None:
                continue
            target = Box(cell.x0 - box.x0, cell.y0 - box.y0, cell.x1 - box.x0, cell.y1 - box.y0).slices
            pixels[target], known[target] = _looked_up(image, mask, at, interpolation)
    return pixels, known


@dataclass(frozen=True, eq=False)
class _Positions:
    """Where some output pixels look: the pixel at or before it, counted from the crop's own, and the rest."""

    crop: Box
    left: Whole
    top: Whole
    fx: Float
    fy: Float
    inside: Mask


def _positions(warp: Warp, cell: Box, shape: tuple[int, int], interpolation: str) -> _Positions | None:
    """Return where the pixels of a cell look, None when none of them looks into the image."""
    offsets = fields.dense(warp, cell)
    x = np.arange(cell.x0, cell.x1, dtype=np.float64) + offsets[0]
    y = np.arange(cell.y0, cell.y1, dtype=np.float64)[:, None] + offsets[1]
    with np.errstate(invalid="ignore"):  # NaN is not inside
        inside = (x >= -_EDGE_PX) & (x <= shape[1] - 1 + _EDGE_PX) & (y >= -_EDGE_PX) & (y <= shape[0] - 1 + _EDGE_PX)
    if not inside.any():
        return None
    (left, fx), (top, fy) = (_split(v, inside, n, interpolation) for v, n in ((x, shape[1]), (y, shape[0])))
    x0, y0, x1, y1 = (int(v) for v in (left[inside].min(), top[inside].min(), left[inside].max(), top[inside].max()))
    crop = Box(x0, y0, x1 + 1, y1 + 1).grown(_MARGIN[interpolation]) & Box.of_shape(shape)
    left -= crop.x0
    top -= crop.y0
    left[~inside] = top[~inside] = 0
    return _Positions(crop, left, top, fx, fy, inside)


def _split(at: NDArray[np.float64], inside: Mask, size: int, interpolation: str) -> tuple[Whole, Float]:
    """Return the whole pixel at or before each position, and the rest; 0 where it is not inside."""
    at = np.clip(np.where(inside, at, 0.0), 0, size - 1)
    near = np.rint(at)
    if interpolation == "nearest":
        return near.astype(np.intp), np.zeros(at.shape, np.float32)
    whole = np.where(np.abs(at - near) < _WHOLE_PX, near, np.floor(at))
    rest = at - whole
    rest[np.abs(rest) < _WHOLE_PX] = 0
    return whole.astype(np.intp), rest.astype(np.float32)


def _looked_up(image: Pixels, mask: Pixels | None, at: _Positions, interpolation: str) -> tuple[NDArray[Any], Mask]:
    """Return the values at some positions, and where they are data."""
    part = np.asarray(image[at.crop.slices])
    data: Mask = np.ones(part.shape, bool) if mask is None else np.array(mask[at.crop.slices], bool)
    if part.dtype.kind == "f":
        data &= np.isfinite(part)
    known = at.inside if data.all() else at.inside & _supported(data, at, interpolation)
    if interpolation == "nearest":
        values: NDArray[Any] = part[at.top, at.left]
    else:
        values = _interpolated(part, data, at, interpolation)
    return np.where(known, values, values.dtype.type(0)), known


def _interpolated(part: NDArray[Any], data: Mask, at: _Positions, interpolation: str) -> NDArray[Any]:
    """Return interpolated values of the image's own type. No data enters as 0, without weight where it matters."""
    grey = part.astype(np.float32)
    grey[~data] = 0
    sampled = bilinear if interpolation == "linear" else catmull_rom
    values = sampled(grey, at.left, at.top, at.fx, at.fy)
    if part.dtype.kind == "f":
        return values.astype(part.dtype, copy=False)
    limits = np.iinfo(part.dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(part.dtype)


def _supported(data: Mask, at: _Positions, interpolation: str) -> Mask:
    """Return where every pixel that enters with any weight is data. Beyond the image's edge nothing is asked for."""
    one, reach, before = data.astype(np.uint8), _TAPS[interpolation], _BEFORE[interpolation]

    def all_along(columns: int, rows: int) -> NDArray[Any]:
        anchor = (before if columns > 1 else 0, before if rows > 1 else 0)
        return np.asarray(cv2.erode(one, np.ones((rows, columns), np.uint8), anchor=anchor))

    either = np.stack([one, all_along(reach, 1), all_along(1, reach), all_along(reach, reach)])
    kind = (at.fx > 0).astype(np.intp) + 2 * (at.fy > 0)
    return np.asarray(either[kind, at.top, at.left] > 0)
