"""A layout and its images become a mosaic: in blocks, into sinks, or as a small preview."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.config import RenderConfig
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images import header
from demis_ij.protocols import Sink
from demis_ij.records import Layout, PairMatch, Tile
from demis_ij.render.blending import CELL_PX, Style, merge
from demis_ij.render.canvas import Canvas
from demis_ij.render.intensity import Intensity, solve_intensity
from demis_ij.render.reduced import ReducedStore, reduced
from demis_ij.render.sampling import MaskDistances, Placed, TileSource, sample, sample_whole
from demis_ij.sinks.calibration import to_metres
from demis_ij.sinks.reduction import stretched, to_dtype

Block = tuple[Box, NDArray[Any], NDArray[np.bool_]]
Progress = Callable[[int, int], None]
Unreadable = Callable[[Tile, InputError], None]

INTERPOLATIONS = ("nearest", "linear", "cubic")
BLENDS = ("feather", "none")


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
    """

    canvas: Canvas
    dtype: np.dtype[Any]
    intensity: Mapping[str, Intensity]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Drawing:
    """All that drawing a block needs."""

    placed: tuple[Placed, ...]
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
            for x in range(left, box.x1, CELL_PX):
                cell = Box(x, y, x + CELL_PX, y + CELL_PX) & whole
                here = [p for p in near if p.box.x0 < cell.x1 and p.box.x1 > x and p.box.y0 < cell.y1 and p.box.y1 > y]
                drawn = self._cell(cell, here)
                if drawn is not None:
                    part = cell & box
                    source = Box(part.x0 - x, part.y0 - y, part.x1 - x, part.y1 - y).slices
                    target = Box(part.x0 - box.x0, part.y0 - box.y0, part.x1 - box.x0, part.y1 - box.y0).slices
                    pixels[target], mask[target] = drawn[0][source], drawn[1][source]
        return box, pixels, mask

    def _cell(self, cell: Box, here: Sequence[Placed]) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
        """Return the pixels of a cell and where they are data, None when no tile has any for it."""
        how = self.style.interpolation
        if len(here) == 1 and self.dtype.kind != "f":
            whole = sample_whole(here[0], cell, self.source, self.distances, how)
            if whole is not None and whole.dtype == self.dtype:
                return whole, np.ones(cell.shape, bool)
        found = (sample(p, cell, self.source, self.distances, how) for p in here)
        patches = [p for p in found if p is not None]
        if not patches:
            return None
        values, inside = merge(patches, cell, self.distances, self.style)
        return to_dtype(values, self.dtype), inside

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


def _prepare(
    layout: Layout,
    source: TileSource,
    canvas: Canvas,
    style: Style,
    intensity: Mapping[str, Intensity],
    dtype: np.dtype[Any],
    on_unreadable: Unreadable | None,
) -> _Drawing:
    _one_of("interpolation", style.interpolation, INTERPOLATIONS)
    _one_of("blend", style.blend, BLENDS)
    if style.feather_px is not None and not style.feather_px > 0:
        msg = f"a feather width is a positive number of px, found {style.feather_px!r}"
        raise InputError(msg)
    if np.dtype(dtype) not in {np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)}:
        msg = f"a mosaic is uint8, uint16 or float32, found {dtype}"
        raise InputError(msg)
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
    return _Drawing(placed, bounds, source, MaskDistances(source), canvas, style, np.dtype(dtype), on_unreadable)


def blocks(
    layout: Layout,
    store: TileSource,
    canvas: Canvas,
    *,
    dtype: np.dtype[Any] | type[Any],
    block_px: int = RenderConfig.block_px,
    interpolation: str = RenderConfig.interpolation,
    blend: str = RenderConfig.blend,
    feather_px: float | None = None,
    intensity: Mapping[str, Intensity] | None = None,
    threads: int = 1,
    on_unreadable: Unreadable | None = None,
    progress: Progress | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a mosaic that any tile touches: where they lie, their pixels, where those are data.

    Only the tiles that a block touches are read for it, and no more than a few blocks exist at a time. The pixels do
    not depend on ``block_px`` or ``threads``. Blocks come in Z order, without those that no tile touches.

    Parameters
    ----------
    layout : Layout
        Tiles with known shapes; others are left out.
    store : TileSource
        Their images.
    canvas : Canvas
        What to draw, for instance `Canvas.of(layout)`; its scale is the mosaic's.
    dtype : numpy.dtype
        uint8, uint16 or float32. Values are rounded and clipped to its range, never stretched.
    block_px : int
        Side of a block. Multiples of 256 are fastest.
    interpolation : str
        nearest, linear or cubic (Catmull-Rom).
    blend : str
        feather (see `demis_ij.render.blending`) or none (the first tile wins).
    feather_px : float, optional
        Widest ramp; the whole overlap when not given.
    intensity : mapping of str to (float, float), optional
        Tile id to gain and offset; (1, 0) when not given.
    threads : int
        Blocks drawn at a time; 0 is one a core.
    on_unreadable : callable, optional
        Called with the tile and the error, once a block, when a tile cannot be read; the mosaic is then drawn without
        it. Without this, the error is raised.
    progress : callable, optional
        Called with (blocks done, all blocks).

    Yields
    ------
    box : Box
        Mosaic px.
    pixels : ndarray of shape (rows, cols)
        0 where there is no data.
    mask : ndarray of shape (rows, cols), bool
        Where there is data.

    Raises
    ------
    InputError
        When an option is unknown, a transform cannot be inverted, or a tile cannot be read.
    """
    style = Style(interpolation, blend, feather_px)
    drawing = _prepare(layout, store, canvas, style, intensity or {}, np.dtype(dtype), on_unreadable)
    if block_px < 1:
        msg = f"a block has at least one pixel a side, found {block_px}"
        raise InputError(msg)
    todo = [box for box in canvas.blocks(block_px) if drawing.touching(box)]
    return _drawn(drawing, todo, threads or os.cpu_count() or 1, progress)


def _drawn(drawing: _Drawing, todo: Sequence[Box], threads: int, progress: Progress | None) -> Iterator[Block]:
    if threads == 1:
        for done, box in enumerate(todo, 1):
            yield drawing.block(box)
            if progress is not None:
                progress(done, len(todo))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="render")
    waiting: deque[Future[Block]] = deque()
    try:
        done = 0
        for box in todo:
            waiting.append(pool.submit(drawing.block, box))
            if len(waiting) <= threads:
                continue
            yield waiting.popleft().result()
            done += 1
            if progress is not None:
                progress(done, len(todo))
        while waiting:
            yield waiting.popleft().result()
            done += 1
            if progress is not None:
                progress(done, len(todo))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# --- into sinks -----------------------------------------------------------------------------------------------------


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
    block_px: int = RenderConfig.block_px,
    interpolation: str = RenderConfig.interpolation,
    blend: str = RenderConfig.blend,
    feather_px: float | None = None,
    canvas: Canvas | None = None,
    dtype: np.dtype[Any] | type[Any] | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Rendered:
    """Draw a layout into one or several sinks; all of them are finished, or nothing that looks whole is left.

    Anything that stops it, Ctrl-C and a full disk included, aborts the sinks and is raised again. A tile that cannot be
    read is left out, with a warning.

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
    block_px, interpolation, blend, feather_px, threads, progress
        As for `blocks`.
    canvas : Canvas, optional
        What to draw; all of the layout when not given.
    dtype : numpy.dtype, optional
        Grey values of the mosaic; the widest of the tiles when not given.

    Raises
    ------
    InputError
        When no tile can be read or an option is unknown; nothing is written then.
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
    left_out: dict[str, str] = {}

    def leave_out(tile: Tile, error: InputError) -> None:
        left_out[tile.id] = str(error)

    intensity = solve_intensity(layout, store, pairs) if correct_intensity else {}
    stream = blocks(
        layout,
        store,
        canvas,
        dtype=dtype,
        block_px=block_px,
        interpolation=interpolation,
        blend=blend,
        feather_px=feather_px,
        intensity=intensity,
        threads=threads,
        on_unreadable=leave_out,
        progress=progress,
    )
    opened: list[Sink] = []
    try:
        for sink, path in outputs:
            opened.append(sink)
            sink.open(path, canvas.shape, np.dtype(dtype), pixel_size, block_px)
        with closing(stream):  # type: ignore[type-var]
            for box, pixels, mask in stream:
                for sink in opened:
                    sink.write(pixels, mask, box)
        for sink in opened:
            sink.close()
    except BaseException:  # a signal, too, must leave nothing that looks whole
        for sink in opened:
            sink.abort()
        raise
    warnings += [f"tile {tile_id} is left out of the mosaic: {why}" for tile_id, why in left_out.items()]
    return Rendered(canvas, np.dtype(dtype), intensity, tuple(warnings))


# --- preview --------------------------------------------------------------------------------------------------------


def preview(
    layout: Layout,
    store: TileSource,
    max_side_px: int = 2048,
    *,
    intensity: Mapping[str, Intensity] | None = None,
    blend: str = RenderConfig.blend,
    low: float = 0.5,
    high: float = 99.5,
    on_unreadable: Unreadable | None = None,
) -> tuple[NDArray[np.uint8], float]:
    """Return a small mosaic stretched for viewing, drawn at low resolution directly, and its scale.

    `Canvas.of(layout, scale)` says where its pixels lie. Every tile is read about once.

    Parameters
    ----------
    layout : Layout
        Tiles with known shapes.
    store : TileSource
        Their images.
    max_side_px : int
        Its longer side is at most this; never enlarged.
    intensity : mapping of str to (float, float), optional
        Gain and offset per tile.
    blend : str
        feather or none.
    low, high : float
        Percentiles of the data that become 1 and 255; 0 is where there is no data.
    on_unreadable : callable, optional
        As for `blocks`.

    Returns
    -------
    image : ndarray of shape (rows, cols), uint8
        The mosaic.
    scale : float
        Its px per world px, at most 1.
    """
    canvas = Canvas.of(layout)
    scale = min(1.0, max_side_px / max(canvas.shape))
    if scale < 1:
        canvas = Canvas.of(layout, scale)
        if max(canvas.shape) > max_side_px:  # rounding outwards added a pixel
            scale *= (max_side_px - 1) / max_side_px
            canvas = Canvas.of(layout, scale)
    values, mask = np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, bool)
    drawn = blocks(
        layout,
        store,
        replace(canvas),
        dtype=np.float32,
        block_px=4 * CELL_PX,
        interpolation="linear",
        blend=blend,
        intensity=intensity,
        on_unreadable=on_unreadable,
    )
    for box, pixels, inside in drawn:
        values[box.slices], mask[box.slices] = pixels, inside
    return stretched(values, mask, low, high), scale
