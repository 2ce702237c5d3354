"""A tile where it is drawn, and where its images come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.records import Affine, Tile
from demis_ij.render.canvas import EDGE_PX
from demis_ij.render.through_lens import RawPlaces, raw_places

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]


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

    @property
    def is_corrected(self) -> bool:
        """Whether its grey values change."""
        return self.gain != 1 or self.offset != 0

    def raw(self, box: Box) -> RawPlaces | None:
        """Return where each pixel of a box is seen in the tile, None where the tile has no lens."""
        return None if self.tile.lens is None else raw_places(self.tile.lens, self.to_tile, box)


class Bounds(NamedTuple):
    """The least and largest x and y of some points of a tile, px."""

    x0: float
    y0: float
    x1: float
    y1: float

    def lie_within(self, shape: tuple[int, int]) -> bool:
        """Return whether the points lie between the centres of a tile's outermost pixels."""
        x1, y1 = shape[1] - 1 + EDGE_PX, shape[0] - 1 + EDGE_PX
        return self.x0 >= -EDGE_PX and self.y0 >= -EDGE_PX and self.x1 <= x1 and self.y1 <= y1


def bounds_of(placed: Placed, box: Box, raw: RawPlaces | None) -> Bounds:
    """Return the bounds of the tile's points that the pixel centres of ``box`` map to, ``raw`` being `Placed.raw`."""
    if raw is not None:
        return Bounds(float(raw.x.min()), float(raw.y.min()), float(raw.x.max()), float(raw.y.max()))
    t, across, down = placed.to_tile, box.x1 - 1 - box.x0, box.y1 - 1 - box.y0
    x, y = t.a * box.x0 + t.b * box.y0 + t.tx, t.c * box.x0 + t.d * box.y0 + t.ty
    right, lower = (t.a * across, t.c * across), (t.b * down, t.d * down)
    return Bounds(
        x + min(0.0, right[0]) + min(0.0, lower[0]),
        y + min(0.0, right[1]) + min(0.0, lower[1]),
        x + max(0.0, right[0]) + max(0.0, lower[0]),
        y + max(0.0, right[1]) + max(0.0, lower[1]),
    )
