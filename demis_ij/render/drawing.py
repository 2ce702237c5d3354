"""A layout and its images become blocks of a mosaic: what is needed for it, and one block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.records import Layout, Tile
from demis_ij.render.blending import CELL_PX, Style, merge, within
from demis_ij.render.canvas import Canvas
from demis_ij.render.edges import MaskDistances
from demis_ij.render.intensity import Intensity
from demis_ij.render.placed import Placed, TileSource
from demis_ij.render.reduced import ReducedStore, reduced
from demis_ij.render.sampling import sample, sample_whole
from demis_ij.render.tiling import alone_in, inner_box, remaining
from demis_ij.sinks.frame import Piece

Block = tuple[Box, NDArray[Any], NDArray[np.bool_]]
Unreadable = Callable[[Tile, InputError], None]

INTERPOLATIONS = ("nearest", "linear", "cubic")
BLENDS = ("feather", "none")


@dataclass(frozen=True, eq=False)
class Drawing:
    """All that drawing a block needs."""

    placed: tuple[Placed, ...]
    inner: Mapping[str, Box]
    bounds: NDArray[np.intp]
    source: TileSource
    distances: MaskDistances
    canvas: Canvas
    style: Style
    dtype: np.dtype[Any]
    on_unreadable: Unreadable | None

    def touching(self, box: Box) -> list[Placed]:
        """Return the tiles that may touch a box, in layout order."""
        x0, y0, x1, y1 = self.bounds.T
        near = (x0 < box.x1) & (x1 > box.x0) & (y0 < box.y1) & (y1 > box.y0)
        return [self.placed[i] for i in np.flatnonzero(near)]

    def block(self, box: Box) -> Block:
        """Return the pixels of a block and where they are data."""
        pixels, mask = np.zeros(box.shape, self.dtype), np.zeros(box.shape, bool)
        draw = self.cells(box)
        for y in range(box.y0 // CELL_PX * CELL_PX, box.y1, CELL_PX):
            for x in range(box.x0 // CELL_PX * CELL_PX, box.x1, CELL_PX):
                # a whole cell: its pixels must not depend on which part of it a block asks for
                found = draw(Box(x, y, x + CELL_PX, y + CELL_PX))
                if found is not None:
                    part = found.box & box
                    at, own = within(part, box), within(part, found.box)
                    pixels[at] = found.pixels[own]
                    mask[at] = True if found.mask is None else found.mask[own]
        return box, pixels, mask

    def cells(self, box: Box) -> Callable[[Box], Piece | None]:
        """Return what draws the cells that a box touches, each when asked for; None where there is no data."""
        left, top = box.x0 // CELL_PX * CELL_PX, box.y0 // CELL_PX * CELL_PX
        near = self._readable(
            self.touching(Box(left, top, -(-box.x1 // CELL_PX) * CELL_PX, -(-box.y1 // CELL_PX) * CELL_PX))
        )

        def draw(cell: Box) -> Piece | None:
            cell &= Box.of_shape(self.canvas.shape)
            here = [p for p in near if _overlap(p.box, cell)]
            return self._cell(cell, here) if here else None

        return draw

    def _cell(self, cell: Box, here: Sequence[Placed]) -> Piece | None:
        """Return a cell: what one tile has for itself in one pass, the rest as it must be blended."""
        pixels = np.empty(cell.shape, self.dtype)
        done: list[Box] = []
        for placed, part in alone_in(cell, [(p, self.inner[p.tile.id]) for p in here]):
            at = within(part, cell)
            if sample_whole(placed, part, self.source, self.distances, self.style.interpolation, pixels[at]):
                done.append(part)
        gaps: list[tuple[Box, NDArray[np.bool_] | bool]] = []
        for part in remaining(cell, done):
            near = (p for p in here if _overlap(p.box, part))
            found = (sample(p, part, self.source, self.distances, self.style.interpolation) for p in near)
            patches = [p for p in found if p is not None]
            if not patches:
                pixels[within(part, cell)] = 0
                gaps.append((part, False))
                continue
            inside = merge(patches, part, self.distances, self.style, pixels[within(part, cell)])
            if inside is not None:
                gaps.append((part, inside))
        if not gaps:
            return Piece(cell, pixels, None)
        mask = np.ones(cell.shape, bool)
        for part, known in gaps:
            mask[within(part, cell)] = known
        return Piece(cell, pixels, mask) if mask.any() else None

    def _readable(self, near: Sequence[Placed]) -> list[Placed]:
        kept = []
        for placed in near:
            try:
                _ = self.distances[placed.tile]
            except InputError as error:
                if self.on_unreadable is None:
                    raise
                self.on_unreadable(placed.tile, error)
            else:
                kept.append(placed)
        return kept


def _overlap(a: Box, b: Box) -> bool:
    return a.x0 < b.x1 and a.x1 > b.x0 and a.y0 < b.y1 and a.y1 > b.y0


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"{what}: {value!r} is not one of {', '.join(known)}"
        raise InputError(msg)


def checked_style(style: Style, dtype: np.dtype[Any], block_px: int) -> Style:
    """Return the style. Raises `InputError` when an option is unknown."""
    _one_of("interpolation", style.interpolation, INTERPOLATIONS)
    _one_of("blend", style.blend, BLENDS)
    if style.feather_px is not None and not style.feather_px > 0:
        msg = f"a feather width is a positive number of px, found {style.feather_px!r}"
        raise InputError(msg)
    if dtype not in {np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)}:
        msg = f"a mosaic is uint8, uint16 or float32, found {dtype}"
        raise InputError(msg)
    if block_px < 1:
        msg = f"a block has at least one pixel a side, found {block_px}"
        raise InputError(msg)
    return style


def prepared(
    layout: Layout,
    source: TileSource,
    canvas: Canvas,
    style: Style,
    intensity: Mapping[str, Intensity],
    dtype: np.dtype[Any],
    on_unreadable: Unreadable | None,
) -> Drawing:
    """Return all that drawing blocks of a canvas needs. Raises `InputError` when a transform cannot be inverted."""
    factor = max(1, int(1 / canvas.scale + 1e-9))
    drawn = layout
    if factor > 1:
        source, drawn = ReducedStore(source, layout, factor), reduced(layout, factor)
    placed = tuple(
        Placed(t, box, (canvas.from_world @ t.to_world).inverse, *intensity.get(t.id, (1.0, 0.0)))
        for t in drawn
        if min(t.shape) > 0 and not (box := canvas.box_of(t)).is_empty
    )
    bounds = np.array([(p.box.x0, p.box.y0, p.box.x1, p.box.y1) for p in placed], np.intp).reshape(-1, 4)
    inner = {p.tile.id: inner_box(p) for p in placed}
    return Drawing(placed, inner, bounds, source, MaskDistances(source), canvas, style, np.dtype(dtype), on_unreadable)
