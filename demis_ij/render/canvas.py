"""Where the mosaic lies in the world, and the blocks it is drawn in."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.records import Affine, Layout, Tile

EDGE_PX = 1e-3
"""How far outside its outermost pixel centres a tile still counts: what float32 coordinates are wrong by."""


@dataclass(frozen=True)
class Canvas:
    """The pixels of a mosaic.

    Mosaic pixel (column c, row r) has its centre at world ``(c + origin[0], r + origin[1])``. At a ``scale`` other than
    1 that is the point ``(world + 0.5) * scale - 0.5``, so that pixel areas, not centres, are what is scaled.

    Attributes
    ----------
    origin : tuple of int
        World (x, y) of mosaic pixel (0, 0), whole numbers, px of the scaled world.
    shape : tuple of int
        (rows, cols).
    scale : float
        Mosaic px per world px.
    """

    origin: tuple[int, int]
    shape: tuple[int, int]
    scale: float = 1.0

    @classmethod
    def of(cls, layout: Layout, scale: float = 1.0) -> Canvas:
        """Return the canvas that holds every tile with a known shape.

        Raises
        ------
        InputError
            When no tile has a known shape, or the scale is not positive.
        """
        if not 0 < scale < np.inf:
            msg = f"a mosaic's scale is a positive number, found {scale!r}"
            raise InputError(msg)
        into = world_to_scaled(scale)
        corners = [(into @ t.to_world)(_centres(t)) for t in layout if min(t.shape) > 0]
        if not corners:
            msg = f"section {layout.section!r}: none of its {len(layout)} tiles has a known shape, nothing can be drawn"
            raise InputError(msg)
        box = _whole_box(np.concatenate(corners))
        return cls((box.x0, box.y0), (max(1, box.height), max(1, box.width)), scale)

    @property
    def from_world(self) -> Affine:
        """World to mosaic px."""
        return Affine.translation(-self.origin[0], -self.origin[1]) @ world_to_scaled(self.scale)

    def box_of(self, tile: Tile) -> Box:
        """Return the mosaic pixels that a tile may touch."""
        return _whole_box((self.from_world @ tile.to_world)(_centres(tile))) & Box.of_shape(self.shape)

    def blocks(self, block_px: int) -> list[Box]:
        """Return the mosaic's blocks in Z order, so that blocks near each other come soon after each other.

        A row of blocks as wide as the mosaic would throw every tile out of a bounded store before the next row needs
        it again (Morton 1966).
        """
        rows, cols = (-(-n // block_px) for n in self.shape)
        r, c = (v.ravel() for v in np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"))
        order = np.argsort(_spread(r) << np.uint64(1) | _spread(c), kind="stable")
        whole = Box.of_shape(self.shape)
        return [
            Box(x, y, x + block_px, y + block_px) & whole
            for x, y in zip((c[order] * block_px).tolist(), (r[order] * block_px).tolist(), strict=True)
        ]


def world_to_scaled(scale: float) -> Affine:
    """Return the map ``(world + 0.5) * scale - 0.5``."""
    shift = 0.5 * scale - 0.5
    return Affine(a=scale, d=scale, tx=shift, ty=shift)


def _centres(tile: Tile) -> NDArray[np.float64]:
    """Return the centres of a tile's corner pixels, what interpolation can reach; behind a lens, of its rim's."""
    if tile.lens is not None:
        return tile.lens(tile.lens.rim())
    h, w = tile.shape
    return np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], np.float64)


def _whole_box(points_xy: NDArray[np.float64]) -> Box:
    """Return the pixels whose centres lie within the points' bounds."""
    (x0, y0), (x1, y1) = points_xy.min(0), points_xy.max(0)
    return Box(ceil(x0 - EDGE_PX), ceil(y0 - EDGE_PX), floor(x1 + EDGE_PX) + 1, floor(y1 + EDGE_PX) + 1)


def _spread(numbers: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return whole numbers with a zero bit put after each bit."""
    v = numbers.astype(np.uint64)
    for shift, keep in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        v = (v | (v << np.uint64(shift))) & np.uint64(keep)
    return v
