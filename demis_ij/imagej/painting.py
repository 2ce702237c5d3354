"""Tiles drawn where a layout has them: a quick look, later tiles on top, no blending."""

from __future__ import annotations

from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.records import Affine, Layout, Tile

SHOWN_PERCENTILES = (0.5, 99.5)


def paint(layout: Layout, store: TileStore, longest_px: int) -> tuple[NDArray[Any], Affine, float]:
    """Return a layout's picture, world px to px of the picture, and picture px a world px.

    Parameters
    ----------
    layout : Layout
        With shapes.
    store : TileStore
        Reads the tiles; those that cannot be read are left out.
    longest_px : int
        No side is longer.

    Returns
    -------
    image : ndarray of shape (rows, cols)
        Grey values as the tiles have them, 0 where there is none.
    to_picture : Affine
        Pixel centres at integers on both sides.
    scale : float
        At most 1.

    Raises
    ------
    InputError
        No tile can be read.
    """
    x0, y0, x1, y1 = layout.bounds()
    scale = min(1.0, longest_px / max(x1 - x0, y1 - y0))
    shape = max(1, ceil((y1 - y0) * scale - 1e-6)), max(1, ceil((x1 - x0) * scale - 1e-6))
    to_picture = Affine(a=scale, d=scale, tx=-x0 * scale - 0.5, ty=-y0 * scale - 0.5)
    image: NDArray[Any] | None = None
    problem = "it has no tiles"
    for tile in layout:
        try:
            grey, inside = _drawn(store, tile, to_picture @ tile.to_world, shape, scale)
        except InputError as error:
            problem = str(error)
            continue
        if image is None:
            image = np.zeros(shape, grey.dtype)
        image = image.astype(np.promote_types(image.dtype, grey.dtype), copy=False)
        np.copyto(image, grey, where=inside)
    if image is None:
        msg = f"nothing of section {layout.section} can be drawn: {problem}"
        raise InputError(msg)
    return image, to_picture, scale


def paint_tile(store: TileStore, tile: Tile, to_picture: Affine, shape: tuple[int, int]) -> NDArray[Any]:
    """Return one tile at full resolution in a picture of (rows, cols), 0 where it has no data.

    Raises
    ------
    InputError
        The tile cannot be read.
    """
    grey, inside = _drawn(store, tile, to_picture, shape, 1.0)
    return np.where(inside, grey, grey.dtype.type(0))


def display_range(image: NDArray[Any]) -> tuple[float, float] | None:
    """Return the grey values to show black and white: nearly all data; None for a picture of one grey value."""
    step = max(1, int(np.sqrt(image.size / 2**20)))
    sample = image[..., ::step, ::step]
    data = sample[sample > 0] if (sample > 0).any() else sample
    low, high = (float(v) for v in np.percentile(data, SHOWN_PERCENTILES))
    return (low, high) if low < high else None


def _drawn(
    store: TileStore, tile: Tile, to_picture: Affine, shape: tuple[int, int], scale: float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a tile's grey values in the picture and where it has data; reduced by areas before it is turned."""
    image: NDArray[Any] = store.image(tile)
    mask: NDArray[Any] = store.mask(tile).astype(np.uint8)
    rows, cols = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    if (rows, cols) != image.shape:
        image = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (cols, rows), interpolation=cv2.INTER_AREA)
    sy, sx = tile.shape[0] / rows, tile.shape[1] / cols
    matrix = (to_picture @ Affine(a=sx, d=sy, tx=sx / 2 - 0.5, ty=sy / 2 - 0.5)).matrix[:2]
    size = shape[1], shape[0]
    grey = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(grey), np.asarray(inside, bool)
