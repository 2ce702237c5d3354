"""Images and where they lie: tiles, and the layout that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from demis_ij.errors import InputError
from demis_ij.records import shown
from demis_ij.records.affine import Affine, Points
from demis_ij.records.lens import Lens


@dataclass(frozen=True)
class Tile:
    """One image and where it lies.

    Attributes
    ----------
    id : str
        The layout's own name for the tile (TrakEM2 oid, Render tileId, the path of a text list as written).
    path : Path
        The image file.
    shape : tuple of int
        (rows, cols) in px; (0, 0) while unknown, until `demis_ij.images.with_shapes` has looked.
    to_world : Affine
        Tile pixel (corrected, where there is a lens) to world pixel.
    section : str
        The section (layer, z) the tile belongs to.
    page : int or None
        0-based page of a multi-page file; None when the file is one image.
    locked, visible : bool
        A locked tile must not move; an invisible one is left alone unless asked for.
    mask_path : Path or None
        An image of the tile's size whose zeros mean "no data".
    lens : Lens or None
        What comes before ``to_world``: raw tile px to corrected tile px, the same for all tiles of a camera. Without
        one, corrected px are the raw ones.
    camera : str
        The camera that took the tile; empty where the layout does not tell.
    """

    id: str
    path: Path
    shape: tuple[int, int]
    to_world: Affine = field(default_factory=Affine)
    section: str = "0"
    page: int | None = None
    locked: bool = False
    visible: bool = True
    mask_path: Path | None = None
    lens: Lens | None = None
    camera: str = ""

    def straight(self, points_xy: ArrayLike) -> Points:
        """Map raw tile px through the lens, to corrected tile px: (N, 2) points, or one (2,) point."""
        p = np.asarray(points_xy, np.float64)
        return p if self.lens is None else self.lens(p)

    def bent(self, corrected_xy: ArrayLike) -> Points:
        """Map corrected tile px back to raw tile px, the inverse of `straight`."""
        p = np.asarray(corrected_xy, np.float64)
        return p if self.lens is None else self.lens.inverse(p)

    def in_world(self, points_xy: ArrayLike) -> Points:
        """Map raw tile px to world px, through the lens: (N, 2) points, or one (2,) point."""
        return self.to_world(self.straight(points_xy))

    def from_world(self, world_xy: ArrayLike) -> Points:
        """Map world px back to raw tile px. Raises `InputError` when `to_world` cannot be inverted."""
        return self.bent(self.to_world.inverse(world_xy))

    @property
    def corners(self) -> Points:
        """(4, 2) outer corners in tile px, half a pixel outside the centres of the corner pixels."""
        h, w = self.shape
        return np.array([[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]])

    @property
    def world_corners(self) -> Points:
        """(4, 2) `corners` in world px."""
        return self.in_world(self.corners)

    def _repr_html_(self) -> str:
        return shown.tile_card(self)


@dataclass(frozen=True)
class Layout:
    """The tiles of one section.

    Attributes
    ----------
    tiles : tuple of Tile
        Ids differ.
    section : str
        Name of the section.
    pixel_size : tuple of (float, str) or None
        Side of a pixel and its unit, for instance ``(4.0, "nm")``.
    source : Path or None
        The file it was read from.
    """

    tiles: tuple[Tile, ...]
    section: str = "0"
    pixel_size: tuple[float, str] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tiles", tuple(self.tiles))
        if len(self._row) != len(self.tiles):
            seen: set[str] = set()
            twice = next(t.id for t in self.tiles if t.id in seen or seen.add(t.id))  # type: ignore[func-returns-value]
            msg = f"tile id {twice!r} occurs twice in section {self.section!r}: ids must differ"
            raise InputError(msg)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {t.id: i for i, t in enumerate(self.tiles)}

    def __getitem__(self, tile_id: str) -> Tile:
        return self.tiles[self._row[tile_id]]

    def __contains__(self, tile_id: object) -> bool:
        return tile_id in self._row

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.tiles)

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def ids(self) -> tuple[str, ...]:
        """Tile ids in layout order."""
        return tuple(t.id for t in self.tiles)

    def index(self, tile_id: str) -> int:
        """Row of a tile in layout order."""
        return self._row[tile_id]

    def moved(self, to_world: Mapping[str, Affine]) -> Layout:
        """Return the layout with some tiles moved; the others stay."""
        tiles = tuple(replace(t, to_world=to_world[t.id]) if t.id in to_world else t for t in self.tiles)
        return replace(self, tiles=tiles)

    def bounds(self) -> tuple[float, float, float, float]:
        """Return (x0, y0, x1, y1), the world px that hold every tile's outer corners."""
        if not self.tiles:
            msg = "a layout without tiles has no bounds"
            raise InputError(msg)
        c = np.concatenate([t.world_corners for t in self.tiles])
        return (*map(float, c.min(0)), *map(float, c.max(0)))  # type: ignore[return-value]

    def _repr_html_(self) -> str:
        return shown.layout_card(self)
