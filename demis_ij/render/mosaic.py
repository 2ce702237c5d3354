"""A mosaic in blocks, or as a small preview."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.config import RenderConfig
from demis_ij.geometry import Box
from demis_ij.pools import cores
from demis_ij.records import Layout
from demis_ij.render.blending import CELL_PX, Style
from demis_ij.render.canvas import Canvas
from demis_ij.render.drawing import Block, Drawing, Unreadable, checked_style, prepared
from demis_ij.render.intensity import Intensity
from demis_ij.render.placed import TileSource
from demis_ij.sinks.reduction import stretched

Progress = Callable[[int, int], None]


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
        Side of a block. Multiples of 512 are fastest.
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
    style = checked_style(Style(interpolation, blend, feather_px), np.dtype(dtype), block_px)
    drawing = prepared(layout, store, canvas, style, intensity or {}, np.dtype(dtype), on_unreadable)
    todo = [box for box in canvas.blocks(block_px) if drawing.touching(box)]
    return _drawn(drawing, todo, threads or cores(), progress)


def _drawn(drawing: Drawing, todo: Sequence[Box], threads: int, progress: Progress | None) -> Iterator[Block]:
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
