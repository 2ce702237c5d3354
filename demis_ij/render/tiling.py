"""Which parts of a cell one tile has for itself: most of a mosaic, where nothing has to be weighed or blended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil, floor

import numpy as np

from demis_ij.geometry import Box
from demis_ij.render.placed import Placed

LEAST_SIDE_PX = 8
"""A rectangle narrower than this is not worth a pass of its own."""
LEVEL_PX = 24
"""Tops of rectangles beside each other that differ by less are made equal, and so are bottoms."""


def inner_box(placed: Placed) -> Box:
    """Return a box of mosaic pixels that a tile fills with data, if it has no mask; empty when there is none.

    Of the corners' four x (and y), the second and third: right for a tile that is turned a little, or by right angles;
    whoever draws it makes sure. A lens is given the room that it moves pixels by.
    """
    rows, cols = placed.tile.shape
    corners = np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], np.float64)
    onto = placed.to_tile.inverse
    at = np.sort(onto(corners), axis=0)
    lens = placed.tile.lens
    room = 0.0 if lens is None else 1.0 + lens.largest_px * max(np.hypot(onto.a, onto.c), np.hypot(onto.b, onto.d))
    x0, y0, x1, y1 = at[1, 0] + room, at[1, 1] + room, at[2, 0] - room, at[2, 1] - room
    return Box(ceil(x0), ceil(y0), floor(x1) + 1, floor(y1) + 1) & placed.box


def alone_in(cell: Box, tiles: Sequence[tuple[Placed, Box]]) -> list[tuple[Placed, Box]]:
    """Return tiles with the part of a cell that each has for itself; parts do not overlap.

    Parameters
    ----------
    cell : Box
        Mosaic px.
    tiles : sequence of (Placed, Box)
        The tiles that touch the cell, each with its `inner_box`.
    """
    found: list[tuple[Placed, Box]] = []
    for placed, inner in tiles:
        part = inner & cell
        for other, _ in tiles:
            if other is not placed:
                part = _cut(part, other.box)
        if part.x1 - part.x0 >= LEAST_SIDE_PX and part.y1 - part.y0 >= LEAST_SIDE_PX + 2 * LEVEL_PX:
            found.append((placed, part))
    return list(zip([p for p, _ in found], _levelled([part for _, part in found]), strict=True))


def _cut(box: Box, other: Box) -> Box:
    """Return the largest rectangle of a box outside of another."""
    if other.x0 >= box.x1 or other.x1 <= box.x0 or other.y0 >= box.y1 or other.y1 <= box.y0:
        return box
    width, height = box.x1 - box.x0, box.y1 - box.y0
    left, right = (other.x0 - box.x0) * height, (box.x1 - other.x1) * height
    above, below = (other.y0 - box.y0) * width, (box.y1 - other.y1) * width
    most = max(left, right, above, below)
    if left == most:
        return Box(box.x0, box.y0, other.x0, box.y1)
    if right == most:
        return Box(other.x1, box.y0, box.x1, box.y1)
    return Box(box.x0, box.y0, box.x1, other.y0) if above == most else Box(box.x0, other.y1, box.x1, box.y1)


def _levelled(boxes: Sequence[Box]) -> list[Box]:
    """Return boxes with tops and bottoms that differ by little made equal, by taking rows away.

    What is left between boxes beside each other is then one rectangle; a few rows that are drawn as overlaps are drawn
    cost less than another rectangle.
    """
    tops, bottoms = {b.y0 for b in boxes}, {b.y1 for b in boxes}
    found = []
    for b in boxes:
        top = max(y for y in tops if b.y0 <= y < b.y0 + LEVEL_PX)
        bottom = min(y for y in bottoms if b.y1 - LEVEL_PX < y <= b.y1)
        found.append(Box(b.x0, top, b.x1, bottom))
    return found


def remaining(cell: Box, done: Sequence[Box]) -> Iterator[Box]:
    """Yield rectangles that together are the cell without those that are done, which do not overlap."""
    if not done:
        yield cell
        return
    ys = sorted({cell.y0, cell.y1, *(y for b in done for y in (b.y0, b.y1))})
    for top, bottom in pairwise(ys):
        x = cell.x0
        for box in sorted((b for b in done if b.y0 <= top < b.y1), key=lambda b: b.x0):
            if box.x0 > x:
                yield Box(x, top, box.x0, bottom)
            x = box.x1
        if x < cell.x1:
            yield Box(x, top, cell.x1, bottom)
