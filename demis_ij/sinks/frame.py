"""A mosaic's levels, and the regions that it is made in.

Levels are halved until one chunk holds the last. A **region** is `REGION_CHUNKS` chunks a side: whoever draws one has
all that the next `LEVELS_A_STAGE` smaller copies of it need, so these are made chunk by chunk from memory, and nothing
is read back (`demis_ij.sinks.levels`).
What is smaller still is made in further **stages**, each from the last level of the stage before, in regions again:

    stage 0   regions of level 0 -> levels 0, 1, 2, 3
    stage 1   regions of level 3 -> levels 4, 5, 6
    ...

A region depends on no other of its stage, so they may be made anywhere, in any order, and give the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box

LEVELS_A_STAGE = 3
REGION_CHUNKS = 1 << LEVELS_A_STAGE


class Piece(NamedTuple):
    """Pixels of a part of one level, usually a chunk.

    Attributes
    ----------
    box : Box
        Where they lie, px of the level.
    pixels : ndarray of shape (rows, cols)
        Grey values; without meaning where there is no data.
    mask : ndarray of shape (rows, cols), bool, or None
        Where they are data; None means everywhere.
    """

    box: Box
    pixels: NDArray[Any]
    mask: NDArray[np.bool_] | None


class Region(NamedTuple):
    """A part of a mosaic: the stage in which it is made, and its place among the regions of that stage."""

    stage: int
    row: int
    col: int

    @property
    def name(self) -> str:
        """Return what it is called in files."""
        return f"{self.stage}/{self.row}/{self.col}"


@dataclass(frozen=True)
class Frame:
    """Size and type of a mosaic, and how it is cut.

    Attributes
    ----------
    shape : tuple of int
        (rows, cols) of the largest level.
    kind : str
        Name of the type of its grey values.
    chunk_px : int
        Side of a chunk.
    """

    shape: tuple[int, int]
    kind: str
    chunk_px: int = 512

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Type of the grey values."""
        return np.dtype(self.kind)

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(rows, cols) of each level."""
        return level_shapes(self.shape, self.chunk_px)

    @property
    def region_px(self) -> int:
        """Side of a region, px of the level that it is made of."""
        return self.chunk_px * REGION_CHUNKS

    @property
    def stages(self) -> int:
        """In how many stages all levels are made."""
        return max(1, -(-(len(self.shapes) - 1) // LEVELS_A_STAGE))

    def levels(self, stage: int) -> range:
        """Return the levels that a stage makes."""
        first = LEVELS_A_STAGE * stage + (stage > 0)
        return range(first, min(LEVELS_A_STAGE * (stage + 1), len(self.shapes) - 1) + 1)

    def grid(self, stage: int) -> tuple[int, int]:
        """Return how many (rows, cols) of regions a stage has."""
        rows, cols = self.shapes[LEVELS_A_STAGE * stage]
        return -(-rows // self.region_px), -(-cols // self.region_px)

    def regions(self, stage: int) -> Iterator[Region]:
        """Yield the regions of a stage in Z order: those near each other come soon after each other."""
        rows, cols = self.grid(stage)
        for r, c in _z_order(rows, cols):
            yield Region(stage, r, c)

    def box(self, region: Region, level: int | None = None) -> Box:
        """Return where a region lies, px of a level; of the level that it is made of when not given."""
        first = LEVELS_A_STAGE * region.stage
        level = first if level is None else level
        side = self.region_px >> (level - first)
        x, y = region.col * side, region.row * side
        return Box(x, y, x + side, y + side) & Box.of_shape(self.shapes[level])

    def chunk(self, level: int, row: int, col: int) -> Box:
        """Return where a chunk lies, px of its level; empty outside of the mosaic."""
        side = self.chunk_px
        return Box(col * side, row * side, (col + 1) * side, (row + 1) * side) & Box.of_shape(self.shapes[level])

    def chunks_a_side(self, level: int) -> int:
        """Return how many chunks a region of the stage that makes a level has along a side of it."""
        first = 0 if level == 0 else (level - 1) // LEVELS_A_STAGE * LEVELS_A_STAGE
        return max(1, (self.region_px >> (level - first)) // self.chunk_px)

    def children(self, region: Region) -> Iterator[Region]:
        """Yield the regions of the stage before that a region is made from."""
        rows, cols = self.grid(region.stage - 1)
        for r in range(region.row * REGION_CHUNKS, min((region.row + 1) * REGION_CHUNKS, rows)):
            for c in range(region.col * REGION_CHUNKS, min((region.col + 1) * REGION_CHUNKS, cols)):
                yield Region(region.stage - 1, r, c)


def level_shapes(shape: tuple[int, int], chunk_px: int) -> list[tuple[int, int]]:
    """Return (rows, cols) of each level: halved, rounded up, until one chunk holds it."""
    shapes = [shape]
    while max(shapes[-1]) > chunk_px:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    return shapes


def _z_order(rows: int, cols: int) -> Iterator[tuple[int, int]]:
    """Yield the cells of a grid in Z order (Morton 1966), without keeping them: a quarter after the other."""
    todo = [(0, 0, 1 << (max(rows, cols, 1) - 1).bit_length())]
    while todo:
        r, c, side = todo.pop()
        if r >= rows or c >= cols:
            continue
        if side == 1:
            yield r, c
            continue
        half = side // 2
        todo += [(r + half, c + half, half), (r + half, c, half), (r, c + half, half), (r, c, half)]
