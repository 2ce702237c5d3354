"""Who overlaps whom, and what a matcher is shown of two tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box, Crop
from demis_ij.images import TileStore
from demis_ij.protocols import View
from demis_ij.records import Affine, Layout, Points, Tile

_SMALLEST_CROP_PX = 16
_EDGE_SHARE = 0.35  # of a side that neighbours share along their seam; a diagonal neighbour shares less


def neighbours(layout: Layout, *, margin_frac: float = 0.0, min_overlap_px: float = 8.0) -> list[tuple[str, str]]:
    """Return the pairs of tiles that should share an edge strip, (fixed, moving) in layout order, each once.

    Two tiles are neighbours when their boxes in the world, each grown by ``margin_frac`` of its longer side (so that a
    small gap in the expected layout does not hide an overlap), share at least ``min_overlap_px`` both ways, and
    along one way at least 35 % of the smaller tile's side. Diagonal neighbours share only a corner of overlap x
    overlap; they say little that the edge neighbours do not, and their turn is poorly held: left out unless the overlap
    is so large that the corner is one.

    Parameters
    ----------
    layout : Layout
        Tiles with known shapes; tiles of shape (0, 0) have no neighbours.
    margin_frac : float
        What the expected positions may be wrong by, as a fraction of a tile's longer side.
    min_overlap_px : float
        World px.
    """
    usable = np.array([i for i, t in enumerate(layout.tiles) if min(t.shape) > 0], np.int64)
    if len(usable) < 2:
        return []
    boxes = _world_boxes([layout.tiles[i] for i in usable])
    size = boxes[:, 2:] - boxes[:, :2]
    margin = margin_frac * size.max(1)
    first, second = _near(boxes, margin)
    low = np.maximum(boxes[first, :2], boxes[second, :2])
    high = np.minimum(boxes[first, 2:], boxes[second, 2:])
    grown = high - low + (margin[first] + margin[second])[:, None] / 2
    share = (high - low) / np.minimum(size[first], size[second])
    keep = (grown.min(1) >= min_overlap_px) & (share.max(1) >= _EDGE_SHARE)
    rows = np.stack([usable[first[keep]], usable[second[keep]]], 1)
    rows = np.unique(np.sort(rows, 1), axis=0)
    ids = layout.ids
    return [(ids[i], ids[j]) for i, j in rows]


def _world_boxes(tiles: Sequence[Tile]) -> NDArray[np.float64]:
    """Return (N, 4) x0, y0, x1, y1 of the tiles in world px."""
    m = np.array([(t.to_world.a, t.to_world.b, t.to_world.c, t.to_world.d) for t in tiles]).reshape(-1, 2, 2)
    shift = np.array([(t.to_world.tx, t.to_world.ty) for t in tiles])
    sides = np.array([(t.shape[1], t.shape[0]) for t in tiles], float)
    centre = np.einsum("nij,nj->ni", m, (sides - 1) / 2) + shift
    half = np.einsum("nij,nj->ni", np.abs(m), sides) / 2
    return np.hstack([centre - half, centre + half])


def _near(boxes: NDArray[np.float64], margin: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return index pairs of boxes that may touch, from a grid hash for each class of sizes; each pair once."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = (boxes[:, 2:] - boxes[:, :2]).max(1) + margin
    level = np.ceil(np.log2(np.maximum(reach, 1e-9))).astype(np.int64)
    firsts, seconds = [], []
    for k in np.unique(level):
        cell = np.floor((centre - boxes[:, :2].min(0)) / 2.0**k).astype(np.int64) + 1
        width = int(cell[:, 0].max()) + 2
        key = cell[:, 1] * width + cell[:, 0]
        smaller = np.flatnonzero(level <= k)
        order = smaller[np.argsort(key[smaller], kind="stable")]
        sorted_keys = key[order]
        asking = np.flatnonzero(level == k)
        for down in (-1, 0, 1):
            row = key[asking] + down * width
            start, stop = np.searchsorted(sorted_keys, row - 1, "left"), np.searchsorted(sorted_keys, row + 1, "right")
            count = stop - start
            one = np.repeat(asking, count)
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            two = order[np.repeat(start, count) + within]
            once = (level[two] < k) | (one < two)
            firsts.append(one[once])
            seconds.append(two[once])
    return np.concatenate(firsts), np.concatenate(seconds)


def expected_to_fixed(fixed: Tile, moving: Tile) -> Affine:
    """Return the map from moving to fixed tile px that the layout expects."""
    return fixed.to_world.inverse @ moving.to_world


def overlap_crops(fixed: Tile, moving: Tile, margin_px: float, *, multiple: int = 1) -> tuple[Crop, Crop] | None:
    """Return the part of each tile where the other may lie: the expected overlap grown by the stage's error.

    Parameters
    ----------
    fixed, moving : Tile
        With shapes.
    margin_px : float
        What the expected position may be wrong by, px.
    multiple : int
        Sides are enlarged to a multiple of this where the tile has room.

    Returns
    -------
    tuple of Crop, or None
        At full resolution, each in its own tile's px. None when the tiles do not come within reach, or share less than
        16 px one way.
    """
    to_fixed = expected_to_fixed(fixed, moving)
    boxes = []
    for tile, other, to_tile in ((fixed, moving, to_fixed), (moving, fixed, to_fixed.inverse)):
        h, w = other.shape
        m = margin_px
        grown = np.array(
            [[-0.5 - m, -0.5 - m], [w - 0.5 + m, -0.5 - m], [w - 0.5 + m, h - 0.5 + m], [-0.5 - m, h - 0.5 + m]]
        )
        seen = clipped(to_tile(grown), tile.shape)
        if seen is None:
            return None
        box = _to_multiple(Box.around(seen) & Box.of_shape(tile.shape), tile.shape, multiple)
        if min(box.shape) < _SMALLEST_CROP_PX:
            return None
        boxes.append(box)
    return Crop(boxes[0]), Crop(boxes[1])


def clipped(polygon: Points, shape: tuple[int, int]) -> Points | None:
    """Return the convex polygon's part inside a tile (Sutherland & Hodgman 1974), or None when there is none."""
    h, w = shape
    for axis, sign, bound in ((0, 1.0, -0.5), (0, -1.0, w - 0.5), (1, 1.0, -0.5), (1, -1.0, h - 0.5)):
        inside = sign * (polygon[:, axis] - bound)
        out = []
        for i in range(len(polygon)):
            j = (i + 1) % len(polygon)
            if inside[i] >= 0:
                out.append(polygon[i])
            if (inside[i] >= 0) != (inside[j] >= 0):
                t = inside[i] / (inside[i] - inside[j])
                out.append(polygon[i] + t * (polygon[j] - polygon[i]))
        if len(out) < 3:
            return None
        polygon = np.array(out)
    return polygon


def _to_multiple(box: Box, shape: tuple[int, int], multiple: int) -> Box:
    """Return the box with sides enlarged to a multiple, as far as the tile goes; the seam side grows inwards."""

    def side(low: int, high: int, limit: int) -> tuple[int, int]:
        wanted = min(limit, math.ceil((high - low) / multiple) * multiple)
        low = max(0, low - (wanted - (high - low))) if high == limit else low
        return low, min(limit, low + wanted)

    (x0, x1), (y0, y1) = side(box.x0, box.x1, shape[1]), side(box.y0, box.y1, shape[0])
    return Box(x0, y0, x1, y1)


def view(store: TileStore, tile: Tile, crop: Crop) -> View:
    """Return the normalised crop of a tile and its mask, at full resolution. Raises `InputError` when unreadable."""
    rows, cols = crop.box.slices
    image, mask = store.normalised(tile)[rows, cols], store.mask(tile)[rows, cols]
    return View(np.ascontiguousarray(image), np.ascontiguousarray(mask))
