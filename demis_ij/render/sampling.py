"""One tile, sampled on whole mosaic pixels: its values, where they are data, and how far inside the data they lie.

**No data.** A mosaic pixel is data of a tile when the whole stencil of its interpolation is: 2 x 2 pixels (linear) or
4 x 4 (cubic) of the tile's mask, points up to the centres of the outermost pixels. Nothing is extrapolated and nothing
dark leaks in, at the price of up to a pixel (linear) or two (cubic) of rim along a mask. At the tile's own border a
cubic stencil continues the image by a parabola. A no-data pixel that would enter with less than a ten-thousandth of the
weight (float32 rounding of whole-pixel shifts) does not count.

**Lenses.** A tile with a lens is sampled once, through its map and the lens (`demis_ij.render.through_lens`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images.resampling import catmull_rom
from demis_ij.records import Affine, Tile
from demis_ij.render.canvas import EDGE_PX
from demis_ij.render.through_lens import RawPlaces, raw_places
from demis_ij.sinks.reduction import rounded_into

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CV_FLAGS = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR}
_COARSE = 8  # px of the tile per sample of the kept distances
_LEAK_FRAC = 1e-4


class TileSource(Protocol):
    """Where tiles' pixels come from: `demis_ij.images.TileStore`, or anything that has these two."""

    def image(self, tile: Tile) -> NDArray[Any]:
        """Return the tile's grey values (rows, cols). Raises `InputError` when it cannot be read."""
        ...

    def mask(self, tile: Tile) -> Mask:
        """Return where the tile has data."""
        ...


@dataclass(frozen=True, eq=False)
class Placed:
    """A tile ready to be drawn.

    Attributes
    ----------
    tile : Tile
        The tile.
    box : Box
        Mosaic pixels it may touch.
    to_tile : Affine
        Mosaic px to tile px; to corrected ones where the tile has a lens.
    gain, offset : float
        Its grey values become ``gain * v + offset``.
    """

    tile: Tile
    box: Box
    to_tile: Affine
    gain: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, eq=False)
class Patch:
    """What one tile gives to some mosaic pixels.

    Attributes
    ----------
    box : Box
        The mosaic pixels.
    values : ndarray of shape (rows, cols), float32
        Corrected grey values; finite, but without meaning, where `valid` is False.
    valid : ndarray of shape (rows, cols), bool, or None
        Where they are data; None means everywhere.
    placed : Placed
        The tile.
    border : ndarray of shape (rows, cols), float32, or None
        `border_distance` of the mosaic pixels, where it had to be known.
    """

    box: Box
    values: Float
    valid: Mask | None
    placed: Placed
    border: Float | None = None


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


Onto = Affine | Places
"""Px of a box to px of what is sampled there."""
Bounds = tuple[float, float, float, float]


class MaskDistances:
    """Keeps, per tile, whether its mask is full and else how far each point is from no-data; bounded, thread-safe.

    Distances are kept at an eighth of the resolution: they only weigh, what is data is decided on the mask itself.
    """

    def __init__(self, source: TileSource, max_bytes: int = 1 << 26) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, Float | None] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, tile: Tile) -> Float | None:
        """Return distances in tile px of shape (ceil(rows / 8), ceil(cols / 8)), or None when all of the tile is data.

        Raises
        ------
        InputError
            When the image cannot be read, or it or its mask are not of the tile's shape.
        """
        with self._lock:
            if tile.id in self._kept:
                self._kept.move_to_end(tile.id)
                return self._kept[tile.id]
        for what, shape in (("image", self._source.image(tile).shape), ("mask", self._source.mask(tile).shape)):
            if shape != tile.shape:
                needed = f"{tile.shape[1]}x{tile.shape[0]} px as the layout says"
                msg = f"tile {tile.id}: {tile.path}: its {what} is {shape[1]}x{shape[0]} px, needed {needed}"
                raise InputError(msg)
        made = _coarse_distance(self._source.mask(tile))
        with self._lock:
            if tile.id not in self._kept:
                self._kept[tile.id] = made
                self._bytes += 0 if made is None else made.nbytes
            while self._bytes > self._max_bytes:
                _, old = self._kept.popitem(last=False)
                self._bytes -= 0 if old is None else old.nbytes
        return made


def _coarse_distance(mask: Mask) -> Float | None:
    if mask.all():
        return None
    full = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    size = (-(-mask.shape[1] // _COARSE), -(-mask.shape[0] // _COARSE))
    return np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA), np.float32)


# --- sampling -------------------------------------------------------------------------------------------------------


def sample(
    placed: Placed, within: Box, source: TileSource, distances: MaskDistances, interpolation: str
) -> Patch | None:
    """Return what a tile gives to the mosaic pixels ``within``; None when it gives nothing.

    Raises
    ------
    InputError
        When the tile cannot be read.
    """
    box = placed.box & within
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        return None
    raw = _raw(placed, box)
    bounds = _bounds(placed.to_tile, box) if raw is None else _bounds_of(raw)
    crop = _crop_needed(bounds, placed.tile.shape)
    if crop.is_empty:
        return None
    part = source.image(placed.tile)[crop.slices]
    inside: Mask | None = None
    if distances[placed.tile] is not None:
        inside = source.mask(placed.tile)[crop.slices]
        inside = None if inside.all() else inside
        if inside is not None and not inside.any():
            return None
    to_crop = _onto(placed.to_tile, box, crop) if raw is None else _seen_in(raw, crop)
    values = _interpolate(_filled(part, inside), to_crop, box.shape, interpolation)
    if (placed.gain, placed.offset) != (1.0, 0.0):
        values *= np.float32(placed.gain)
        values += np.float32(placed.offset)
    border = None if _lies_within(bounds, placed.tile.shape) else border_distance(placed, box, raw)
    valid = _validity(border, box.shape, inside, to_crop, interpolation)
    if valid is not None and not valid.any():
        return None
    return Patch(box, values, valid, placed, border)


def sample_whole(
    placed: Placed, part: Box, source: TileSource, distances: MaskDistances, interpolation: str, out: NDArray[Any]
) -> bool:
    """Draw mosaic pixels that one tile fills with data; return False, and draw nothing, where they are not.

    It is what rounding `sample` to the type of ``out`` (rows, cols) would give, in one or two passes.
    """
    if interpolation == "cubic" or (placed.box & part) != part:
        return False
    raw = _raw(placed, part)
    bounds = _bounds(placed.to_tile, part) if raw is None else _bounds_of(raw)
    if not _lies_within(bounds, placed.tile.shape) or distances[placed.tile] is not None:
        return False
    crop = _crop_needed(bounds, placed.tile.shape)
    pixels = source.image(placed.tile)[crop.slices]
    to_crop = _onto(placed.to_tile, part, crop) if raw is None else _seen_in(raw, crop)
    if (placed.gain, placed.offset) == (1.0, 0.0) and pixels.dtype == out.dtype:
        # a copy: rows that lie a power of two apart in memory push each other out of the cache
        _interpolate(np.ascontiguousarray(pixels), to_crop, part.shape, interpolation, out)
    else:
        values = _interpolate(pixels.astype(np.float32), to_crop, part.shape, interpolation)
        rounded_into(values, out, placed.gain, placed.offset)
    return True


# --- through a lens -------------------------------------------------------------------------------------------------


def _raw(placed: Placed, box: Box) -> RawPlaces | None:
    """Return where each pixel of ``box`` is seen in the tile, None where the tile has no lens."""
    return None if placed.tile.lens is None else raw_places(placed.tile.lens, placed.to_tile, box)


def _bounds_of(raw: RawPlaces) -> Bounds:
    return float(raw.x.min()), float(raw.y.min()), float(raw.x.max()), float(raw.y.max())


def _seen_in(raw: RawPlaces, crop: Box) -> Places:
    """Return raw places as px of ``crop``; the large numbers cancel in float64, before anything is float32."""
    return Places((raw.x - crop.x0).astype(np.float32), (raw.y - crop.y0).astype(np.float32))


# --- through a map --------------------------------------------------------------------------------------------------


def _bounds(to_tile: Affine, box: Box) -> Bounds:
    """Return the least and largest x and y, (x0, y0, x1, y1), that the pixel centres of ``box`` map to."""
    left, top, right, bottom = box.x0, box.y0, box.x1 - 1, box.y1 - 1
    t = to_tile
    return (
        min(t.a * left, t.a * right) + min(t.b * top, t.b * bottom) + t.tx,
        min(t.c * left, t.c * right) + min(t.d * top, t.d * bottom) + t.ty,
        max(t.a * left, t.a * right) + max(t.b * top, t.b * bottom) + t.tx,
        max(t.c * left, t.c * right) + max(t.d * top, t.d * bottom) + t.ty,
    )


def _crop_needed(bounds: Bounds, shape: tuple[int, int]) -> Box:
    """Return the tile pixels that are read to sample points within ``bounds``, stencil included."""
    x0, y0, x1, y1 = bounds
    rows, cols = shape
    return Box(max(floor(x0) - 2, 0), max(floor(y0) - 2, 0), min(ceil(x1) + 3, cols), min(ceil(y1) + 3, rows))


def _onto(to_tile: Affine, box: Box, crop: Box) -> Affine:
    """Return px of ``box`` to px of ``crop``; the large numbers cancel in float64, before anything is float32."""
    t = to_tile
    x, y = t.a * box.x0 + t.b * box.y0 + t.tx, t.c * box.x0 + t.d * box.y0 + t.ty
    return Affine(t.a, t.b, t.c, t.d, x - crop.x0, y - crop.y0)


def _filled(part: NDArray[Any], inside: Mask | None) -> Float:
    """Return float32 pixels with no-data set to the mean of the data, so that NaN and black cannot spread."""
    pixels = part.astype(np.float32)
    if inside is not None:
        pixels[~inside] = pixels[inside].mean()
    return pixels


def _whole_shift(to_crop: Affine) -> tuple[int, int] | None:
    """Return (x, y) when a map is a shift by whole pixels to 1e-6 px, None otherwise."""
    if max(abs(to_crop.a - 1), abs(to_crop.d - 1), abs(to_crop.b), abs(to_crop.c)) > 1e-10:
        return None
    x, y = round(to_crop.tx), round(to_crop.ty)
    return (x, y) if abs(to_crop.tx - x) < 1e-6 and abs(to_crop.ty - y) < 1e-6 else None


def _interpolate(
    pixels: NDArray[Any], to_crop: Onto, shape: tuple[int, int], interpolation: str, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return ``pixels`` sampled at the points that the pixels of ``shape`` map to; outside, the edge is repeated.

    With ``out``, of that shape and the type of ``pixels``, they are put there.
    """
    found = _interpolated(pixels, to_crop, shape, interpolation, out)
    if out is None:
        return np.ascontiguousarray(found)
    if found is not out:
        out[...] = found
    return out


def _interpolated(
    pixels: NDArray[Any], to_crop: Onto, shape: tuple[int, int], interpolation: str, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Return what `_interpolate` does: ``out``, where OpenCV could draw into it, or another array."""
    if isinstance(to_crop, Places):
        if interpolation == "cubic":
            return _cubic(pixels, to_crop, shape)
        flag = _CV_FLAGS[interpolation]
        seen = cv2.remap(pixels, to_crop.x, to_crop.y, flag, dst=out, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(seen)
    shift = _whole_shift(to_crop)
    if shift is not None:
        x, y = shift
        if x >= 0 and y >= 0 and x + shape[1] <= pixels.shape[1] and y + shape[0] <= pixels.shape[0]:
            return pixels[y : y + shape[0], x : x + shape[1]]
    if interpolation == "cubic":
        return _cubic(pixels, to_crop, shape)
    flags = _CV_FLAGS[interpolation] | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(
        pixels, np.array(to_crop.rows), (shape[1], shape[0]), dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(drawn)


def _cubic(pixels: Float, to_crop: Onto, shape: tuple[int, int]) -> Float:
    """Return `demis_ij.images.resampling.catmull_rom` at the points that the pixels of ``shape`` map to."""
    x, y = (to_crop.x, to_crop.y) if isinstance(to_crop, Places) else _coordinates(to_crop, shape)
    x, y = np.clip(x, 0, pixels.shape[1] - 1), np.clip(y, 0, pixels.shape[0] - 1)
    left, top = np.floor(x), np.floor(y)
    return catmull_rom(pixels, left.astype(np.intp), top.astype(np.intp), x - left, y - top)


def _coordinates(to_crop: Affine, shape: tuple[int, int]) -> tuple[Float, Float]:
    cols, rows = np.arange(shape[1], dtype=np.float64), np.arange(shape[0], dtype=np.float64)[:, None]
    x = (to_crop.a * cols + to_crop.tx) + to_crop.b * rows
    y = (to_crop.c * cols + to_crop.ty) + to_crop.d * rows
    return x.astype(np.float32), y.astype(np.float32)


# --- validity and distance ------------------------------------------------------------------------------------------


def _validity(
    border: Float | None, shape: tuple[int, int], inside: Mask | None, to_crop: Onto, interpolation: str
) -> Mask | None:
    """Return where the whole stencil is data, None when that is everywhere."""
    valid = None if border is None else border >= 0.5 - EDGE_PX
    if inside is None:
        return valid
    if interpolation == "cubic":
        inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    how = "nearest" if interpolation == "nearest" else "linear"
    data: Mask = _interpolate(inside.astype(np.float32), to_crop, shape, how) >= 1 - _LEAK_FRAC
    return data if valid is None else data & valid


def _lies_within(bounds: Bounds, shape: tuple[int, int]) -> bool:
    """Return whether points within ``bounds`` lie between the centres of a tile's outermost pixels."""
    x0, y0, x1, y1 = bounds
    return min(x0, y0) >= -EDGE_PX and x1 <= shape[1] - 1 + EDGE_PX and y1 <= shape[0] - 1 + EDGE_PX


def border_distance(placed: Placed, box: Box, raw: RawPlaces | None = None) -> Float:
    """Return, for each pixel of ``box``, the distance to the tile's border, half a pixel outside its outermost centres.

    In (raw) tile px, negative outside. Shape (rows, cols), float32. ``raw`` is `_raw` of the box, where it is
    known.
    """
    raw = _raw(placed, box) if raw is None else raw
    if raw is not None:
        rows, cols = placed.tile.shape
        beside = cols / 2 - np.abs(raw.x - (cols - 1) / 2)
        return np.minimum(beside, rows / 2 - np.abs(raw.y - (rows - 1) / 2)).astype(np.float32)
    distance: Float | None = None
    down, across = _steps(box.height)[:, None], _steps(box.width)
    for start, per_col, per_row in _nearest_edges(placed, box):
        edge: Float = np.float32(per_row) * down + (np.float32(per_col) * across + np.float32(start))
        distance = edge if distance is None else np.minimum(distance, edge, out=distance)
    return np.empty(box.shape, np.float32) if distance is None else distance


@lru_cache(maxsize=1024)
def _steps(size: int) -> Float:
    return np.arange(size, dtype=np.float32)


def _nearest_edges(placed: Placed, box: Box) -> list[tuple[float, float, float]]:
    """Return the edges of a tile that are the nearest one to some pixel of a box.

    The distance to an edge is a linear function of the pixel; one that is nowhere less than another at the box's
    corners is so nowhere in it.

    Returns
    -------
    list of (float, float, float)
        Distance at the box's first pixel, and its change per column and per row, tile px.
    """
    t, (rows, cols) = placed.to_tile, placed.tile.shape
    x, y = t.a * box.x0 + t.b * box.y0 + t.tx, t.c * box.x0 + t.d * box.y0 + t.ty
    edges = (
        (x + 0.5, t.a, t.b),
        (cols - 0.5 - x, -t.a, -t.b),
        (y + 0.5, t.c, t.d),
        (rows - 0.5 - y, -t.c, -t.d),
    )
    right, bottom = box.width - 1, box.height - 1
    corners = [(s, s + a * right, s + b * bottom, s + a * right + b * bottom) for s, a, b in edges]
    kept: list[int] = []
    for k in sorted(range(4), key=lambda n: min(corners[n])):
        if not any(all(p <= q for p, q in zip(corners[n], corners[k], strict=True)) for n in kept):
            kept.append(k)
    return [edges[k] for k in kept]


def edge_distance(patch: Patch, box: Box, distances: MaskDistances) -> Float:
    """Return, for each pixel of ``box``, the distance to the nearest edge of the tile's data in tile px.

    An edge is half a pixel outside the outermost data, so that data are at least 0.5 away; what no data get means
    nothing. ``box`` lies in the patch. Shape (rows, cols), float32; may be a view.
    """
    placed = patch.placed
    if patch.border is None:
        distance = border_distance(placed, box)
    else:
        top, left = box.y0 - patch.box.y0, box.x0 - patch.box.x0
        distance = patch.border[top : top + box.height, left : left + box.width]
    coarse = distances[placed.tile]
    if coarse is None:
        return distance
    scale_y, scale_x = (n / m for n, m in zip(coarse.shape, placed.tile.shape, strict=True))
    shrink = Affine(a=scale_x, d=scale_y, tx=0.5 * scale_x - 0.5, ty=0.5 * scale_y - 0.5)
    raw = _raw(placed, box)
    onto: Onto = shrink @ placed.to_tile @ Affine.translation(box.x0, box.y0)
    if raw is not None:
        x, y = shrink.a * raw.x + shrink.tx, shrink.d * raw.y + shrink.ty
        onto = Places(x.astype(np.float32), y.astype(np.float32))
    hole = _interpolate(coarse, onto, box.shape, "linear") - np.float32(0.5)
    np.maximum(hole, np.float32(0.5), out=hole)
    return np.asarray(np.minimum(distance, hole, out=hole), np.float32)
