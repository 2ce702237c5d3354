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
from demis_ij.render.intensity import Intensity
from demis_ij.render.reduced import ReducedStore, reduced
from demis_ij.render.sampling import MaskDistances, Placed, TileSource, sample, sample_whole
from demis_ij.render.tiling import alone_in, inner_box, remaining
from demis_ij.sinks.reduction import rounded_into

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
        whole = Box.of_shape(self.canvas.shape)
        left, top = box.x0 // CELL_PX * CELL_PX, box.y0 // CELL_PX * CELL_PX
        # whole cells: a cell's pixels must not depend on which part of it a block asks for
        cells = Box(left, top, -(-box.x1 // CELL_PX) * CELL_PX, -(-box.y1 // CELL_PX) * CELL_PX)
        near = self._readable(self.touching(cells))
        for y in range(top, box.y1, CELL_PX):
            row = [p for p in near if p.box.y0 < y + CELL_PX and p.box.y1 > y]
            for x in range(left, box.x1, CELL_PX):
                cell = Box(x, y, x + CELL_PX, y + CELL_PX) & whole
                here = [p for p in row if p.box.x0 < cell.x1 and p.box.x1 > x]
                part = cell & box
                at = within(part, box)
                if part == cell:
                    self._draw_cell(cell, here, pixels[at], mask[at])
                elif here:
                    drawn, inside = np.zeros(cell.shape, self.dtype), np.zeros(cell.shape, bool)
                    self._draw_cell(cell, here, drawn, inside)
                    pixels[at], mask[at] = drawn[within(part, cell)], inside[within(part, cell)]
        return box, pixels, mask

    def _draw_cell(self, cell: Box, here: Sequence[Placed], pixels: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        """Draw a cell: what one tile has for itself in one pass, the rest as it must be blended."""
        done: list[Box] = []
        for placed, part in alone_in(cell, [(p, self.inner[p.tile.id]) for p in here]):
            at = within(part, cell)
            if sample_whole(placed, part, self.source, self.distances, self.style.interpolation, pixels[at]):
                mask[at] = True
                done.append(part)
        for part in remaining(cell, done) if here else ():
            found = (sample(p, part, self.source, self.distances, self.style.interpolation) for p in here)
            patches = [p for p in found if p is not None]
            if patches:
                at = within(part, cell)
                values, mask[at] = merge(patches, part, self.distances, self.style)
                rounded_into(values, pixels[at])

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
