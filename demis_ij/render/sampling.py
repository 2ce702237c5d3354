"""One tile, sampled on whole mosaic pixels: its values, where they are data, and what they weigh in an overlap.

**No data.** A mosaic pixel is data of a tile when the whole stencil of its interpolation is: 2 x 2 pixels (linear) or
4 x 4 (cubic) of the tile's mask, points up to the centres of the outermost pixels. Nothing is extrapolated and nothing
dark leaks in, at the price of up to a pixel (linear) or two (cubic) of rim along a mask. At the tile's own border a
cubic stencil continues the image by a parabola. A no-data pixel that would enter with less than a ten-thousandth of the
weight (float32 rounding of whole-pixel shifts) does not count.

**Lenses.** A tile with a lens is sampled once, through its map and the lens (`demis_ij.render.through_lens`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.render.canvas import EDGE_PX
from demis_ij.render.edges import MaskDistances, border_distance, edge_distance
from demis_ij.render.interpolation import Onto, interpolate, onto, seen_in
from demis_ij.render.placed import Bounds, Float, Mask, Placed, TileSource, bounds_of
from demis_ij.render.through_lens import RawPlaces
from demis_ij.sinks.reduction import rounded_into

_LEAK_FRAC = 1e-4
_INSIDE_PX = np.float32(0.5 - EDGE_PX)
_OUTSIDE_PX = float(np.nextafter(_INSIDE_PX, np.float32(0)))
"""Distance from the border of the outermost data, and the largest float32 below it."""


@dataclass(frozen=True, eq=False)
class Patch:
    """What one tile gives to some mosaic pixels.

    Attributes
    ----------
    placed : Placed
        The tile.
    box : Box
        The mosaic pixels.
    values : ndarray of shape (rows, cols), float32
        Corrected grey values; finite, but without meaning, where there is no data.
    is_within : bool
        Whether all pixels lie between the tile's outermost pixel centres.
    unmasked : ndarray of shape (rows, cols), bool, or None
        Where the tile's mask lets them be data; None means everywhere.
    raw : RawPlaces or None
        Where they are seen in a tile with a lens.
    """

    placed: Placed
    box: Box
    values: Float
    is_within: bool
    unmasked: Mask | None
    raw: RawPlaces | None

    def valid(self) -> Mask | None:
        """Return where there is data, None for everywhere."""
        if self.is_within:
            return self.unmasked
        valid: Mask = border_distance(self.placed, self.box, self.raw) >= _INSIDE_PX
        if self.unmasked is not None:
            valid &= self.unmasked
        return None if valid.all() else valid

    def weight(self, distances: MaskDistances) -> Float:
        """Return the distance to the edge of the tile's data, tile px, 0 where there is no data. A new array."""
        weight = edge_distance(self.placed, self.box, self.raw, distances[self.placed.tile])
        if not self.is_within:
            cv2.threshold(weight, _OUTSIDE_PX, 0, cv2.THRESH_TOZERO, dst=weight)
        if self.unmasked is not None:
            weight *= self.unmasked
        return weight


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
    raw = placed.raw(box)
    bounds = bounds_of(placed, box, raw)
    crop = _crop_needed(bounds, placed.tile.shape)
    if crop.is_empty:
        return None
    inside: Mask | None = None
    if distances[placed.tile] is not None:
        inside = source.mask(placed.tile)[crop.slices]
        inside = None if inside.all() else inside
        if inside is not None and not inside.any():
            return None
    at = onto(placed.to_tile, box, crop) if raw is None else seen_in(raw, crop)
    pixels = _filled(source.image(placed.tile)[crop.slices], inside)
    values = interpolate(pixels, at, box.shape, interpolation)
    if placed.is_corrected:
        values *= np.float32(placed.gain)
        values += np.float32(placed.offset)
    unmasked = None if inside is None else _unmasked(inside, at, box.shape, interpolation)
    return Patch(placed, box, values, bounds.lie_within(placed.tile.shape), unmasked, raw)


def sample_whole(
    placed: Placed, part: Box, source: TileSource, distances: MaskDistances, interpolation: str, out: NDArray[Any]
) -> bool:
    """Draw mosaic pixels that one tile fills with data; return False, and draw nothing, where they are not.

    It is what rounding `sample` to the type of ``out`` (rows, cols) would give, in one or two passes.
    """
    if interpolation == "cubic" or (placed.box & part) != part:
        return False
    raw = placed.raw(part)
    bounds = bounds_of(placed, part, raw)
    if not bounds.lie_within(placed.tile.shape) or distances[placed.tile] is not None:
        return False
    crop = _crop_needed(bounds, placed.tile.shape)
    pixels = source.image(placed.tile)[crop.slices]
    at = onto(placed.to_tile, part, crop) if raw is None else seen_in(raw, crop)
    if not placed.is_corrected and pixels.dtype == out.dtype:
        # a copy: rows that lie a power of two apart in memory push each other out of the cache
        interpolate(np.ascontiguousarray(pixels), at, part.shape, interpolation, out)
    else:
        values = interpolate(pixels.astype(np.float32), at, part.shape, interpolation)
        rounded_into(values, out, placed.gain, placed.offset)
    return True


def _crop_needed(bounds: Bounds, shape: tuple[int, int]) -> Box:
    """Return the tile pixels that are read to sample points within ``bounds``, stencil included."""
    x0, y0, x1, y1 = bounds
    rows, cols = shape
    return Box(max(floor(x0) - 2, 0), max(floor(y0) - 2, 0), min(ceil(x1) + 3, cols), min(ceil(y1) + 3, rows))


def _filled(part: NDArray[Any], inside: Mask | None) -> Float:
    """Return float32 pixels with no-data set to the mean of the data, so that NaN and black cannot spread."""
    pixels = part.astype(np.float32)
    if inside is not None:
        pixels[~inside] = pixels[inside].mean()
    return pixels


def _unmasked(inside: Mask, at: Onto, shape: tuple[int, int], interpolation: str) -> Mask:
    """Return where the whole stencil lies in a mask."""
    if interpolation == "cubic":
        inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    how = "nearest" if interpolation == "nearest" else "linear"
    found: Mask = interpolate(inside.astype(np.float32), at, shape, how) >= 1 - _LEAK_FRAC
    return found
