"""The regions of a mosaic as tasks: each can be drawn anywhere, says what it depends on, and sends no pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.records import Layout, Tile
from demis_ij.render.blending import CELL_PX, Style, within
from demis_ij.render.canvas import Canvas
from demis_ij.render.drawing import prepared
from demis_ij.render.intensity import Intensity
from demis_ij.render.placed import TileSource
from demis_ij.render.stamps import stamp
from demis_ij.render.worker_tiles import worker_tiles
from demis_ij.sinks.frame import REGION_CHUNKS, Frame, Piece, Region
from demis_ij.sinks.parts import Part
from demis_ij.sinks.regional import put_region, stage_before

LeftOut = list[tuple[str, str]]


@dataclass(frozen=True)
class Plan:
    """What all regions of a mosaic have in common.

    Attributes
    ----------
    canvas : Canvas
        The mosaic's place.
    frame : Frame
        Its size and type, and how it is cut.
    style : Style
        How tiles are drawn.
    store_bytes : int
        What a worker may keep of tiles.
    """

    canvas: Canvas
    frame: Frame
    style: Style
    store_bytes: int


@dataclass(frozen=True, eq=False)
class RegionTask:
    """A region to be made.

    Attributes
    ----------
    plan : Plan
        Of the mosaic.
    region : Region
        Which.
    key : str
        Of all that it depends on.
    parts : tuple of Part
        Where it goes.
    layout : Layout
        The tiles that it touches, none for a later stage.
    intensity : mapping of str to Intensity
        Of those tiles.
    """

    plan: Plan
    region: Region
    key: str
    parts: tuple[Part, ...]
    layout: Layout
    intensity: Mapping[str, Intensity]


def make_run(run: tuple[RegionTask, ...]) -> list[LeftOut]:
    """Make regions that lie beside each other, with tiles read here; return for each the tiles that cannot be read.

    Raises
    ------
    OSError
        When their files cannot be written.
    """
    return [make_region_from(task, worker_tiles(task.plan.store_bytes)) for task in run]


def make_region_from(task: RegionTask, source: TileSource) -> LeftOut:
    """Make a region from tiles of ``source``; return those that cannot be read, and why. Raises `OSError`."""
    frame = task.plan.frame
    if task.region.stage:
        put_region(task.parts, task.region, stage_before(task.parts[0].folder, frame, task.region))
        return []
    left_out: dict[str, str] = {}

    def leave_out(tile: Tile, error: InputError) -> None:
        left_out[tile.id] = str(error)

    plan = task.plan
    drawing = prepared(task.layout, source, plan.canvas, plan.style, task.intensity, frame.dtype, leave_out)
    cells = _Cells(drawing.cells(frame.box(task.region)))
    put_region(task.parts, task.region, cells.chunk)
    return list(left_out.items())


class _Cells:
    """Gives chunks, which are whole cells or lie in one; asked for in Z order, each cell is drawn once."""

    def __init__(self, draw: Callable[[Box], Piece | None]) -> None:
        self._draw = draw
        self._cell = Box(0, 0, 0, 0)
        self._found: Piece | None = None

    def chunk(self, box: Box) -> Piece | None:
        x, y = box.x0 // CELL_PX * CELL_PX, box.y0 // CELL_PX * CELL_PX
        cell = Box(x, y, x + CELL_PX, y + CELL_PX)
        if cell != self._cell:
            self._cell, self._found = cell, self._draw(cell)
        found = self._found
        if found is None or found.box == box:
            return found
        at = within(box, found.box)
        mask = None if found.mask is None else found.mask[at]
        if mask is not None and not mask.any():
            return None
        return Piece(box, found.pixels[at], None if mask is None or mask.all() else mask)


class Regions:
    """Which tiles each region touches, and the key of all that it depends on.

    Parameters
    ----------
    plan : Plan
        Of the mosaic.
    layout : Layout
        Its tiles; those without a known shape are left out.
    intensity : mapping of str to Intensity
        Gain and offset of tiles.
    """

    def __init__(self, plan: Plan, layout: Layout, intensity: Mapping[str, Intensity]) -> None:
        self._plan, self._intensity = plan, intensity
        self._layout = replace(layout, source=None)
        self._touching: dict[tuple[int, int], list[int]] = {}
        self._stamps: dict[Path, str] = {}
        side = plan.frame.region_px
        for row, tile in enumerate(layout):
            if min(tile.shape) <= 0:
                continue
            box = plan.canvas.box_of(tile)
            if box.is_empty:
                continue
            for r in range(box.y0 // side, (box.y1 - 1) // side + 1):
                for c in range(box.x0 // side, (box.x1 - 1) // side + 1):
                    self._touching.setdefault((r, c), []).append(row)
        told = (__version__, plan.canvas.origin, plan.canvas.scale, plan.style, plan.frame.kind)
        self._common = repr(told)
        self._keys: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many regions, of all stages, have any tile at most."""
        places = set(self._touching)
        total = len(places)
        for _ in range(1, self._plan.frame.stages):
            places = {(r // REGION_CHUNKS, c // REGION_CHUNKS) for r, c in places}
            total += len(places)
        return total

    def tasks(self, stage: int) -> Iterator[RegionTask]:
        """Yield a task without parts for each region of a stage, with an empty key where there is nothing to draw."""
        frame = self._plan.frame
        for region in frame.regions(stage):
            key, part, intensity = "", replace(self._layout, tiles=()), {}
            if stage:
                key = self._key_of(region, frame)
            elif rows := self._touching.get((region.row, region.col)):
                part = replace(self._layout, tiles=tuple(self._layout.tiles[k] for k in rows))
                intensity = {t.id: self._intensity[t.id] for t in part if t.id in self._intensity}
                key = self._drawn_key(frame.box(region), part, intensity)
            if key:
                self._keys[region.name] = key
            yield RegionTask(self._plan, region, key, (), part, intensity)

    def _key_of(self, region: Region, frame: Frame) -> str:
        keys = [f"{c.name} {self._keys[c.name]}" for c in frame.children(region) if c.name in self._keys]
        return hashlib.sha256("\n".join(keys).encode()).hexdigest() if keys else ""

    def _drawn_key(self, box: Box, part: Layout, intensity: Mapping[str, Intensity]) -> str:
        digest = hashlib.sha256(f"{self._common} {box}".encode())
        for tile in part:
            mask = tile.mask_path and stamp(tile.mask_path, self._stamps)
            told = (tile, stamp(tile.path, self._stamps), mask, intensity.get(tile.id))
            digest.update(repr(told).encode())
        return digest.hexdigest()
