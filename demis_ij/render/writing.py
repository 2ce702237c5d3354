"""A layout becomes mosaics on disk: region by region, in threads or by a pool of workers; what is done is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.config import RenderConfig
from demis_ij.errors import DemisError, InputError
from demis_ij.images import TileStore, header
from demis_ij.pools import Done, Pool, cores
from demis_ij.pools.tasks import SerialPool
from demis_ij.protocols import Sink
from demis_ij.records import Layout, PairMatch, Tile
from demis_ij.render.blending import Style
from demis_ij.render.canvas import Canvas
from demis_ij.render.drawing import checked_style
from demis_ij.render.intensity import Intensity, solve_intensity
from demis_ij.render.memory import checked_memory
from demis_ij.render.mosaic import Progress, blocks
from demis_ij.render.placed import TileSource
from demis_ij.render.regions import (
    LeftOut,
    Plan,
    Regions,
    RegionTask,
    make_region_from,
)
from demis_ij.render.spreading import by_workers, in_threads
from demis_ij.sinks.calibration import to_metres
from demis_ij.sinks.frame import LEVELS_A_STAGE, Frame, Region
from demis_ij.sinks.pyramid import chunk_side
from demis_ij.sinks.regional import RegionSink, clear_region, region_files
from demis_ij.sinks.scratch import Mark, link, rest_file


@dataclass(frozen=True, eq=False)
class Rendered:
    """What `render` did.

    Attributes
    ----------
    canvas : Canvas
        Where the mosaic lies.
    dtype : numpy.dtype
        Its grey values.
    intensity : mapping of str to (float, float)
        Gain and offset of each tile.
    warnings : tuple of str
        One line a problem: tiles that were left out, mixed depths, an unknown unit.
    drawn, kept : int
        Regions, of all stages, that were made, and that were there already: from a run that was stopped, or from an
        earlier mosaic in which nothing of them has changed.
    """

    canvas: Canvas
    dtype: np.dtype[Any]
    intensity: Mapping[str, Intensity]
    warnings: tuple[str, ...] = ()
    drawn: int = 0
    kept: int = 0


def common_dtype(layout: Layout) -> tuple[np.dtype[Any], list[str]]:
    """Return the dtype that holds every readable tile unchanged, by the files' headers; a warning when they differ.

    Raises
    ------
    InputError
        When no tile can be read.
    """
    kinds: dict[np.dtype[Any], str] = {}
    problems: list[str] = []
    for tile in layout:
        try:
            kinds.setdefault(header(tile.path, tile.page)[1], tile.id)
        except InputError as error:
            problems.append(str(error))
    if not kinds:
        msg = f"section {layout.section!r}: none of its {len(layout)} tiles can be read; the first: {problems[:1]}"
        raise InputError(msg)
    widest = max(kinds, key=lambda d: (d.kind == "f", d.itemsize))
    if len(kinds) == 1:
        return widest, []
    found = ", ".join(f"{d} (tile {tile_id})" for d, tile_id in kinds.items())
    return widest, [f"tiles differ in depth: {found}; the mosaic is {widest}, grey values are not stretched"]


def render(
    layout: Layout,
    store: TileSource,
    outputs: Sequence[tuple[Sink, Path]],
    *,
    pairs: Sequence[PairMatch] | None = None,
    correct_intensity: bool = RenderConfig.correct_intensity,
    intensity: Mapping[str, Intensity] | None = None,
    block_px: int = RenderConfig.block_px,
    interpolation: str = RenderConfig.interpolation,
    blend: str = RenderConfig.blend,
    feather_px: float | None = None,
    canvas: Canvas | None = None,
    dtype: np.dtype[Any] | type[Any] | None = None,
    threads: int = 1,
    pool: Pool | None = None,
    remember: Path | None = None,
    progress: Progress | None = None,
) -> Rendered:
    """Draw a layout into one or several sinks; all of them are finished, or nothing that looks whole is left.

    Anything that stops it, Ctrl-C and a full disk included, is raised again; what was finished until then is kept
    beside the names of the files, also after a kill, and the same call goes on with it. Where an earlier OME-Zarr has
    the name, only the regions in which anything has changed are drawn; the files are to the byte what drawing all of it
    gives. A tile that cannot be read is left out, with a warning.

    Parameters
    ----------
    layout : Layout
        Tiles with known shapes.
    store : TileSource
        Their images.
    outputs : sequence of (Sink, Path)
        Where the mosaic goes.
    pairs : sequence of PairMatch, optional
        Overlaps that intensities are solved on; every overlap of the layout when not given.
    correct_intensity : bool
        Solve a gain and an offset for each tile (`solve_intensity`).
    intensity : mapping of str to (float, float), optional
        Gain and offset of each tile, where they are known already.
    block_px, interpolation, blend, feather_px
        As for `blocks`.
    canvas : Canvas, optional
        What to draw; all of the layout when not given.
    dtype : numpy.dtype, optional
        Grey values of the mosaic; the widest of the tiles when not given.
    threads : int
        Regions drawn at a time in this process; 0 is one a core.
    pool : Pool, optional
        Workers that draw the regions instead, and read the tiles' files themselves. The bytes are the same.
    remember : Path, optional
        File for what the tiles' overlaps say of their brightness, as for `solve_intensity`.
    progress : callable, optional
        Called with (regions done, all regions).

    Raises
    ------
    InputError
        When no tile can be read, an option is unknown, or the pool's memory is too small; nothing is written then.
    OSError
        When a sink cannot be written.
    """
    warnings: list[str] = []
    if dtype is None:
        dtype, warnings = common_dtype(layout)
    canvas = Canvas.of(layout) if canvas is None else canvas
    pixel_size = layout.pixel_size
    if pixel_size is not None and to_metres(pixel_size[1]) is None:
        warnings.append(
            f"pixel size {pixel_size[0]:g} {pixel_size[1]}: not a length that OME knows, left out of the mosaic"
        )
        pixel_size = None
    if pixel_size is not None and canvas.scale != 1:
        pixel_size = (pixel_size[0] / canvas.scale, pixel_size[1])
    style = checked_style(Style(interpolation, blend, feather_px), np.dtype(dtype), block_px)
    frame = Frame(canvas.shape, np.dtype(dtype).name, chunk_side(block_px))
    store_bytes = checked_memory(layout, frame, pool)
    if intensity is None:
        intensity = {}
        if correct_intensity:
            intensity = solve_intensity(
                layout, store, pairs, threads=threads, pool=pool, store_bytes=store_bytes, remember=remember
            )
    made = _Making(Plan(canvas, frame, style, store_bytes), layout, intensity, store, threads, pool, progress)
    ours = [(sink, path) for sink, path in outputs if isinstance(sink, RegionSink)]
    others = [(sink, path) for sink, path in outputs if not isinstance(sink, RegionSink)]
    try:
        for sink, path in ours:
            made.sinks.append(sink)
            sink.start(path, frame, pixel_size)
        if ours:
            made.run()
        _stream(made, others, pixel_size, block_px)
        for sink in made.sinks:
            sink.close()
    except BaseException:  # a signal, too, must leave nothing that looks whole
        for sink in made.sinks:
            sink.abort(keep=True)
        raise
    left_out = [t.id for t in layout if t.id in made.left_out]
    warnings += [f"tile {tile_id} is left out of the mosaic: {made.left_out[tile_id]}" for tile_id in left_out]
    return Rendered(canvas, np.dtype(dtype), intensity, tuple(warnings), made.drawn, made.kept)


class _Making:
    """A mosaic being made: stage by stage, each region by whoever is free."""

    def __init__(
        self,
        plan: Plan,
        layout: Layout,
        intensity: Mapping[str, Intensity],
        source: TileSource,
        threads: int,
        pool: Pool | None,
        progress: Progress | None,
    ) -> None:
        self.sinks: list[Any] = []
        self.left_out: dict[str, str] = {}
        self.drawn = self.kept = 0
        self.plan, self.layout, self.intensity, self.source = plan, layout, intensity, source
        self.threads = threads or cores()
        self._pool = None if isinstance(pool, SerialPool) else pool
        if isinstance(pool, SerialPool) and pool.memory_bytes is not None:
            self.source = TileStore(plan.store_bytes)
            self.threads = 1
        self.progress = progress

    def run(self) -> None:
        """Make all regions of all stages that are not there."""
        regions = Regions(self.plan, self.layout, self.intensity)
        total = regions.count
        redone: set[str] = set()
        for stage in range(self.plan.frame.stages):
            tasks = self._lacking(regions.tasks(stage), redone)
            with closing(self._done(tasks)) as done:  # type: ignore[type-var]
                for found in done:
                    self._finish(found)
                    if self.progress is not None:
                        self.progress(self.drawn + self.kept, total)

    def _done(self, tasks: Iterable[RegionTask]) -> Iterator[Done[RegionTask, LeftOut]]:
        if self._pool is not None:
            return by_workers(self._pool, tasks)
        return in_threads(partial(make_region_from, source=self.source), tasks, self.threads)

    def _lacking(self, tasks: Iterable[RegionTask], redone: set[str]) -> Iterator[RegionTask]:
        """Yield the regions that are not finished in every sink, each with the parts that lack it."""
        for task in tasks:
            region, lacking = task.region, []
            changed = region.stage > 0 and any(c.name in redone for c in self.plan.frame.children(region))
            for sink in self.sinks:
                if region.stage and sink.part.last_level <= LEVELS_A_STAGE * region.stage:
                    continue
                if not task.key:
                    if not sink.scratch.is_new:
                        sink.scratch.forget(region)
                        clear_region([sink.part], region)
                elif changed or not self._is_there(sink, task):
                    lacking.append(sink.part)
            if lacking:
                redone.add(region.name)
                yield replace(task, parts=tuple(lacking))
            elif task.key:
                self.kept += 1

    def _is_there(self, sink: RegionSink, task: RegionTask) -> bool:
        """Return whether a region is finished, perhaps by taking it over from an earlier mosaic."""
        scratch, region = sink.scratch, task.region
        if scratch.mark_of(region, task.key) is not None:
            return True
        mark = scratch.earlier(region, task.key)
        if mark is None:
            return False
        sink.part.take_over(sink.path, region)
        rest = rest_file(scratch.drawn, region)
        if rest.is_file():
            link(rest, rest_file(scratch.folder, region))
        scratch.finish_linked(region, mark)
        return True

    def _finish(self, found: Done[RegionTask, LeftOut]) -> None:
        task = found.task
        if found.problem is not None:
            box = self.plan.frame.box(task.region)
            msg = f"the mosaic at {box.x0}, {box.y0} could not be drawn: {found.problem}; run the command again"
            raise DemisError(msg)
        self.left_out.update(found.value)
        for sink in self.sinks:
            if any(sink.part is part or sink.part == part for part in task.parts):
                mark = Mark(task.key, found.value or self._left_out_below(sink, task.region))
                sink.scratch.finish(task.region, mark, region_files(sink.part, task.region))
        self.drawn += 1

    def _left_out_below(self, sink: RegionSink, region: Region) -> LeftOut:
        """Return the tiles that the regions lack that a region is made from: what is smaller lacks them, too."""
        children = self.plan.frame.children(region) if region.stage else ()
        return list({tile: (tile, why) for c in children for tile, why in sink.scratch.left_out_of(c)}.values())


def _stream(
    made: _Making, outputs: Sequence[tuple[Sink, Path]], pixel_size: tuple[float, str] | None, block_px: int
) -> None:
    """Draw into sinks that take blocks only: parts of others' packages."""
    if not outputs:
        return
    plan = made.plan

    def leave_out(tile: Tile, error: InputError) -> None:
        made.left_out[tile.id] = str(error)

    opened: list[Sink] = []
    for sink, path in outputs:
        made.sinks.append(_Plain(sink))
        sink.open(path, plan.frame.shape, plan.frame.dtype, pixel_size, block_px)
        opened.append(sink)
    stream = blocks(
        made.layout,
        made.source,
        plan.canvas,
        dtype=plan.frame.dtype,
        block_px=block_px,
        interpolation=plan.style.interpolation,
        blend=plan.style.blend,
        feather_px=plan.style.feather_px,
        intensity=made.intensity,
        threads=made.threads,
        on_unreadable=leave_out,
        progress=made.progress,
    )
    with closing(stream):  # type: ignore[type-var]
        for box, pixels, mask in stream:
            for sink in opened:
                sink.write(pixels, mask, box)


@dataclass(frozen=True)
class _Plain:
    """A sink that keeps nothing when it is stopped."""

    sink: Sink

    def close(self) -> None:
        self.sink.close()

    def abort(self, *, keep: bool) -> None:
        del keep
        self.sink.abort()
