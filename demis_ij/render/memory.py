"""What drawing keeps in memory, and whether what its user allows is enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from demis_ij.errors import InputError
from demis_ij.images import header
from demis_ij.pools import Pool
from demis_ij.records import Layout, Tile
from demis_ij.render.blending import CELL_PX
from demis_ij.sinks.frame import Frame
from demis_ij.sinks.pyramid import chunk_side

STORE_BYTES = 1 << 29
PROGRAM_BYTES = 200 << 20
"""What a worker takes before it has read anything: Python and its libraries."""


def checked_memory(layout: Iterable[Tile], frame: Frame, pool: Pool | None) -> int:
    """Return what a worker may keep of tiles.

    Raises
    ------
    InputError
        When the memory given is too small for a region and two tiles.
    """
    each = None if pool is None else pool.bytes_each
    if each is None:
        return STORE_BYTES
    left = each - PROGRAM_BYTES - region_bytes(frame)
    least = 2 * tile_bytes(layout, frame)
    if left < least:
        many = 1 if pool is None else pool.workers
        needed = many * (each - left + least)
        who = "one process needs" if many == 1 else f"{many} workers need"
        msg = f"--memory {many * each >> 20}M is too small: {who} {-(-needed >> 20)}M to draw a mosaic of these tiles"
        raise InputError(msg)
    return left


def check_memory(layout: Layout, block_px: int, pool: Pool) -> None:
    """Do what `checked_memory` does before there is anything to be drawn, by the first tile that can be read.

    Raises
    ------
    InputError
        When the memory given is too small for a region and two tiles.
    """
    if pool.bytes_each is None:
        return
    for tile in layout:
        try:
            shape, dtype = header(tile.path, tile.page)
        except InputError:
            continue  # named where tiles are read
        checked_memory([replace(tile, shape=shape)], Frame(shape, dtype.name, chunk_side(block_px)), pool)
        return


def region_bytes(frame: Frame) -> int:
    """Return how much memory making a region takes, at the most: a cell with the overlaps in it, a chunk of each level.

    About twice of what was seen for four tiles in a cell: 10 to 17 MiB for chunks of 512 px, 7 to 9 for 256.
    """
    cell = 16 * np.dtype(np.float32).itemsize * CELL_PX**2
    chunks = 16 * frame.dtype.itemsize * frame.chunk_px**2
    return cell + chunks + frame.region_px**2 // 8


def tile_bytes(layout: Iterable[Tile], frame: Frame) -> int:
    """Return how much memory the largest tile takes, with its mask and as float32 for a moment."""
    largest = max((t.shape[0] * t.shape[1] for t in layout), default=0)
    return int(largest * (2 * frame.dtype.itemsize + 2))
