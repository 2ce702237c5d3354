"""Pixels for the page: the mosaic preview, windows of two tiles as the solution lays them, crops of a pair.

Pictures are grey JPEGs with a cap on their bytes. What is drawn over them is SVG, so that it stays sharp.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box, Crop
from demis_ij.records import Affine, Layout, Points, Tile
from demis_ij.views import overlap_polygon

if TYPE_CHECKING:
    from demis_ij.images import TileStore

GREY = NDArray[np.uint8]
PREVIEW_SIDE = 1600
"""Longest side of the mosaic on the page, px."""
WINDOW_SIDE = 256
"""Longest side of a seam's close-up, world px."""
CROP_SIDE = 400
"""Longest side of a picture of the overlap, px."""


@dataclass(frozen=True, eq=False)
class Preview:
    """The mosaic, small.

    Attributes
    ----------
    image : ndarray of shape (H, W), uint8
        Grey values for the screen.
    scale : float
        Preview px a world px (0.1: ten times smaller).
    origin : tuple of float
        World (x, y) of the centre of preview pixel (0, 0).
    """

    image: GREY
    scale: float
    origin: tuple[float, float]

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.dtype != np.uint8 or self.image.size == 0:
            msg = f"a preview is (H, W) uint8 and not empty, found {self.image.shape} {self.image.dtype}"
            raise InputError(msg)
        if not self.scale > 0:
            msg = f"a preview's scale is positive, found {self.scale}"
            raise InputError(msg)

    @property
    def from_world(self) -> Affine:
        """World px to px of the preview, pixel centres at integers."""
        (x, y), s = self.origin, self.scale
        return Affine(a=s, d=s, tx=-x * s, ty=-y * s)

    @property
    def world_box(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) in world px of the preview's outer edges."""
        (h, w), (x, y), half = self.image.shape, self.origin, 0.5 / self.scale
        return x - half, y - half, x - half + w / self.scale, y - half + h / self.scale


def data_uri(image: GREY, max_bytes: int, *, quality: int = 82) -> str:
    """Return a JPEG as a ``data:`` address of at most ``max_bytes`` characters or so.

    The quality falls first, to 35 at the lowest; after that the picture is made smaller until it fits.
    """
    while True:
        for q in range(quality, 34, -12):
            done, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, q, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
            if not done:  # OpenCV says no more than this
                msg = f"OpenCV could not code a picture of {image.shape} {image.dtype} as JPEG"
                raise InputError(msg)
            if len(coded) * 4 / 3 <= max_bytes or min(image.shape) < 32:
                return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")
        image = shrink(image, round(max(image.shape) * 0.8))


def shrink(image: GREY, longest_side: int) -> GREY:
    """Return the picture with its longest side at most ``longest_side`` px (areas averaged)."""
    h, w = image.shape
    ratio = longest_side / max(h, w)
    if ratio >= 1:
        return image
    size = (max(1, round(w * ratio)), max(1, round(h * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def to_grey(image: NDArray[np.generic], mask: NDArray[np.bool_]) -> GREY:
    """Return 8-bit grey with the 1st to 99th percentile of the valid pixels spread over the range; no data is 0."""
    values = np.asarray(image, np.float32)
    valid = mask & np.isfinite(values)
    if not valid.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[valid], (1, 99))
    scaled = (np.where(valid, values, low) - low) * (np.float32(254) / max(float(high - low), 1e-6)) + 1
    return np.where(valid, np.clip(scaled, 1, 255), 0).astype(np.uint8)


def _size(image: NDArray[np.generic]) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


# --- a pair, as the solution lays it --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CloseUp:
    """The same window on the world, seen by two tiles, one picture px a world px.

    Attributes
    ----------
    fixed, moving : ndarray of shape (H, W), uint8
        Grey values, 0 where the tile has no data.
    origin : tuple of float
        World (x, y) of the outer corner of pixel (0, 0).
    """

    fixed: GREY
    moving: GREY
    origin: tuple[float, float]


def close_up(store: TileStore, layout: Layout, pair: tuple[str, str], at_world: Points | None) -> CloseUp | None:
    """Return a window on a seam, one picture px a world px; None when the two tiles share nothing there.

    Parameters
    ----------
    store : TileStore
        Reads the tiles.
    layout : Layout
        Where the tiles lie.
    pair : (str, str)
        Fixed and moving tile.
    at_world : ndarray of shape (2,) or None
        What to look at; the middle of the overlap when None.
    """
    fixed, moving = layout[pair[0]], layout[pair[1]]
    polygon = overlap_polygon(fixed, moving)
    if len(polygon) < 3:
        return None
    low, high = polygon.min(0), polygon.max(0)
    centre = (low + high) / 2 if at_world is None else np.asarray(at_world, float)
    # inside the overlap's box, with a rim, so that no half of the window is empty
    half = np.minimum(WINDOW_SIDE, high - low) / 2
    centre = np.clip(centre, low + half, high - half)
    rim = np.where(2 * half < WINDOW_SIDE, 0.06 * 2 * half + 2, 0)
    origin = np.round(centre - half - rim) - 0.5  # picture pixels are world pixels: nothing is blurred twice
    shape = (round(float(2 * (half + rim)[1])), round(float(2 * (half + rim)[0])))
    x0, y0 = float(origin[0]), float(origin[1])
    views = [_window(store, tile, x0, y0, shape) for tile in (fixed, moving)]
    common = np.logical_and(*(valid for _, valid in views))
    if not common.any():
        return None
    grey = [np.where(valid, _stretched(values, common), 0).astype(np.uint8) for values, valid in views]
    return CloseUp(grey[0], grey[1], (x0, y0))


def _stretched(values: NDArray[np.float32], common: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return grey values of one mean and spread where both tiles are seen, so that red and cyan add up to grey."""
    seen = values[common]
    spread = max(float(seen.std()), 1e-6)
    return np.asarray(np.clip((values - seen.mean()) * (45 / spread) + 115, 1, 255), np.float32)


def _window(
    store: TileStore, tile: Tile, x0: float, y0: float, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values and validity, (rows, cols), of a tile on the world px whose first outer corner is (x0, y0)."""
    rows, cols = shape
    frame = np.array([[0, 0], [cols, 0], [cols, rows], [0, rows]], float) - 0.5
    from_view = Affine.translation(x0 + 0.5, y0 + 0.5)
    whole = store.image(tile)
    source = Box.around(tile.from_world(from_view(frame))).grown(3) & Box.of_shape(_size(whole))
    if source.is_empty:
        return np.zeros(shape, np.float32), np.zeros(shape, bool)
    image = np.asarray(whole[source.slices], np.float32)
    mask = np.asarray(store.mask(tile)[source.slices], np.float32)
    if tile.lens is not None:
        return _through_lens(tile, image, mask, source, from_view, shape)
    onto = from_view.inverse @ tile.to_world @ Affine.translation(source.x0, source.y0)
    matrix, size = np.array(onto.rows), (cols, rows)
    values = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    valid = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.99
    return np.asarray(values, np.float32), np.asarray(valid, bool)


def _through_lens(
    tile: Tile,
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    source: Box,
    from_view: Affine,
    shape: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values and validity of a view of ``shape``, from the pixels of ``source`` of a tile that has a lens."""
    x, y = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
    raw = tile.from_world(from_view(np.stack([x.ravel(), y.ravel()], axis=1))) - (source.x0, source.y0)
    at = [np.ascontiguousarray(raw[:, k].reshape(shape), np.float32) for k in (0, 1)]
    values = cv2.remap(image, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    valid = cv2.remap(mask, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.99
    return np.asarray(values, np.float32), np.asarray(valid, bool)


# --- a pair, tile by tile -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Strip:
    """The part of a tile that its neighbour covers, small.

    Attributes
    ----------
    image : ndarray of shape (H, W), uint8
        Grey values, 0 where there is no data.
    crop : Crop
        Leads from the tile's px to the picture's.
    """

    image: GREY
    crop: Crop


def strips(store: TileStore, layout: Layout, pair: tuple[str, str]) -> tuple[Strip, Strip] | None:
    """Return the overlap as the fixed and as the moving tile hold it; None when they share nothing."""
    fixed, moving = layout[pair[0]], layout[pair[1]]
    polygon = overlap_polygon(fixed, moving)
    if len(polygon) < 3:
        return None
    margin = round(0.1 * float(np.ptp(polygon, axis=0).min())) + 2
    first, second = _strip(store, fixed, polygon, margin), _strip(store, moving, polygon, margin)
    return None if first is None or second is None else (first, second)


def _strip(store: TileStore, tile: Tile, world: Points, margin: int) -> Strip | None:
    whole = store.image(tile)
    box = Box.around(tile.to_world.inverse(world)).grown(margin) & Box.of_shape(_size(whole))
    if min(box.shape) < 2:
        return None
    grey = to_grey(whole[box.slices], np.asarray(store.mask(tile)[box.slices], bool))
    small = shrink(grey, CROP_SIDE)
    return Strip(small, Crop.resized(box, (small.shape[0], small.shape[1])))
