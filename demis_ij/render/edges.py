"""How far inside a tile's data mosaic pixels lie: what their weights in an overlap are made of.

An edge is half a pixel outside the outermost data, so that data are at least 0.5 px away from it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache

import cv2
import numpy as np

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.records import Affine, Tile
from demis_ij.render.interpolation import Onto, Places, interpolate, onto
from demis_ij.render.placed import Float, Mask, Placed, TileSource
from demis_ij.render.through_lens import RawPlaces

_COARSE = 8  # px of the tile per sample of the kept distances


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


def edge_distance(placed: Placed, box: Box, raw: RawPlaces | None, coarse: Float | None) -> Float:
    """Return, for each pixel of ``box``, the distance to the nearest edge of the tile's data in tile px.

    What no data get means nothing. ``raw`` is `Placed.raw` of the box, ``coarse`` what `MaskDistances` has of the tile.
    A new array of shape (rows, cols), float32.
    """
    distance = border_distance(placed, box, raw)
    if coarse is None:
        return distance
    scale_y, scale_x = (n / m for n, m in zip(coarse.shape, placed.tile.shape, strict=True))
    shrink = Affine(a=scale_x, d=scale_y, tx=0.5 * scale_x - 0.5, ty=0.5 * scale_y - 0.5)
    at: Onto = onto(shrink @ placed.to_tile, box, Box(0, 0, 0, 0))
    if raw is not None:
        x, y = shrink.a * raw.x + shrink.tx, shrink.d * raw.y + shrink.ty
        at = Places(x.astype(np.float32), y.astype(np.float32))
    hole = interpolate(coarse, at, box.shape, "linear") - np.float32(0.5)
    np.maximum(hole, np.float32(0.5), out=hole)
    return np.asarray(np.minimum(distance, hole, out=hole), np.float32)


def border_distance(placed: Placed, box: Box, raw: RawPlaces | None) -> Float:
    """Return, for each pixel of ``box``, the distance to the tile's border, half a pixel outside its outermost centres.

    In (raw) tile px, negative outside. A new array of shape (rows, cols), float32.
    """
    if raw is not None:
        rows, cols = placed.tile.shape
        beside = cols / 2 - np.abs(raw.x - (cols - 1) / 2)
        return np.minimum(beside, rows / 2 - np.abs(raw.y - (rows - 1) / 2)).astype(np.float32)
    x, y = _pixels(*box.shape)
    distance = np.empty(0, np.float32)
    for k, (start, per_col, per_row) in enumerate(_nearest_edges(placed, box)):
        edge = np.asarray(cv2.addWeighted(x, per_col, y, per_row, start), np.float32)
        distance = np.minimum(distance, edge, out=distance) if k else edge
    return distance


def _pixels(rows: int, cols: int) -> tuple[Float, Float]:
    """Return column and row of each pixel, (rows, cols) both; a view of what is kept for all."""
    side = 512 * -(-max(rows, cols, 1) // 512)
    x, y = _square(side)
    return x[:rows, :cols], y[:rows, :cols]


@lru_cache(maxsize=1)
def _square(side: int) -> tuple[Float, Float]:
    steps = np.arange(side, dtype=np.float32)
    return np.tile(steps, (side, 1)), np.tile(steps[:, None], (1, side))


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
    right, lower = box.x1 - 1 - box.x0, box.y1 - 1 - box.y0
    edges = []
    for start, per_col, per_row in (
        (x + 0.5, t.a, t.b),
        (cols - 0.5 - x, -t.a, -t.b),
        (y + 0.5, t.c, t.d),
        (rows - 0.5 - y, -t.c, -t.d),
    ):
        across, down = per_col * right, per_row * lower
        corners = (start, start + across, start + down, start + across + down)
        edges.append((min(corners), max(corners), corners, (start, per_col, per_row)))
    edges.sort()
    reach = min(e[1] for e in edges)
    kept: list[tuple[float, ...]] = []
    found: list[tuple[float, float, float]] = []
    for nearest, _, corners, edge in edges:
        if found and (nearest > reach or any(all(p <= q for p, q in zip(k, corners, strict=True)) for k in kept)):
            continue
        kept.append(corners)
        found.append(edge)
    return found
