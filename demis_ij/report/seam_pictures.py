"""A seam as a picture: what two tiles share, one in red and one in cyan, as a whole and from near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.records import Tile
from demis_ij.report.pictures import GREY, to_grey
from demis_ij.report.registration_pictures import red_cyan
from demis_ij.views import overlap_polygon

if TYPE_CHECKING:
    from demis_ij.images import TileStore

WHOLE_SIDE = 900
"""Longest side of the whole overlap, px of the picture."""
NEAR_SIDE = 220
"""Side of the close-up, px of the world; it is shown twice as large."""
GAP = 12
LINE = 26
"""Height of a line of text, px."""
LETTER_PX = 9
"""Width that a letter needs at least."""

Colour = NDArray[np.uint8]


def seam_picture(store: TileStore, fixed: Tile, moving: Tile, lines: tuple[str, ...]) -> Colour | None:
    """Return what two tiles share where the layout puts them: (H, W, 3) red first, None when they share nothing.

    Left the whole overlap, reduced where it is large; right its middle, one world px as two by two. The fixed tile is
    red, the moving one cyan: what fits is grey, what does not has coloured rims.

    Parameters
    ----------
    store : TileStore
        Reads the tiles.
    fixed, moving : Tile
        With shapes, in the solved layout.
    lines : tuple of str
        What is written above.

    Raises
    ------
    InputError
        When a tile cannot be read.
    """
    polygon = overlap_polygon(fixed, moving)
    if len(polygon) < 3:
        return None
    low, high = polygon.min(0), polygon.max(0)
    whole_step = max(1.0, float((high - low).max()) / WHOLE_SIDE)
    whole = _both(store, fixed, moving, low, high, whole_step)
    half = np.minimum((high - low) / 2, NEAR_SIDE / 2)
    middle = (low + high) / 2
    near = _both(store, fixed, moving, middle - half, middle + half, 0.5)
    return _page([whole, near], lines)


def _both(
    store: TileStore, fixed: Tile, moving: Tile, low: NDArray[np.float64], high: NDArray[np.float64], step: float
) -> Colour:
    """Return both tiles on a grid over the world's box, ``step`` world px a pixel."""
    cols, rows = (max(2, int(np.ceil(side / step))) for side in high - low)
    x, y = np.meshgrid(low[0] + (np.arange(cols) + 0.5) * step, low[1] + (np.arange(rows) + 0.5) * step)
    world = np.stack([x.ravel(), y.ravel()], 1)
    return red_cyan(*(_drawn(store, tile, world, (rows, cols), step) for tile in (fixed, moving)))


def _drawn(store: TileStore, tile: Tile, world: NDArray[np.float64], shape: tuple[int, int], step: float) -> GREY:
    """Return a tile's grey values at world points, its own contrast spread, 0 where it has no data."""
    image, mask = store.image(tile), store.mask(tile)
    at = tile.from_world(world)
    box = Box.around(at).grown(8) & Box.of_shape((image.shape[0], image.shape[1]))
    if box.is_empty:
        return np.zeros(shape, np.uint8)
    part = np.asarray(image[box.slices], np.float32)
    if step > 1:  # areas are averaged before they are thinned
        part = np.asarray(cv2.blur(part, (round(step), round(step))), np.float32)
    inside = mask[box.slices].astype(np.float32)
    map_x, map_y = (
        (at[:, axis] - start).astype(np.float32).reshape(shape) for axis, start in enumerate((box.x0, box.y0))
    )
    values = cv2.remap(part, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    valid = cv2.remap(inside, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.99
    return to_grey(values, np.asarray(valid, bool))


def _page(pictures: list[Colour], lines: tuple[str, ...]) -> Colour:
    """Return pictures side by side (below each other when they are wide) under lines of text."""
    wide = pictures[0].shape[1] > pictures[0].shape[0]
    cols = max(p.shape[1] for p in pictures) if wide else sum(p.shape[1] for p in pictures) + GAP
    rows = sum(p.shape[0] for p in pictures) + GAP if wide else max(p.shape[0] for p in pictures)
    cols = max(cols, LETTER_PX * max(map(len, lines), default=0))
    head = LINE * len(lines) + GAP // 2
    page = np.full((rows + head, cols, 3), 255, np.uint8)
    for number, line in enumerate(lines, 1):
        at = (4, LINE * number - 8)
        cv2.putText(
            page, line.encode("ascii", "replace").decode(), at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
        )
    y, x = head, 0
    for picture in pictures:
        page[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        y, x = (y + picture.shape[0] + GAP, x) if wide else (y, x + picture.shape[1] + GAP)
    return page
