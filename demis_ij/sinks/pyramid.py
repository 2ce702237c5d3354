"""What pyramids of mosaics and of volumes share: sizes of chunks and of levels, and folders for what is unfinished."""

from __future__ import annotations

from collections.abc import Iterator

from demis_ij.geometry import Box
from demis_ij.sinks.encoding import no_data_value
from demis_ij.sinks.frame import level_shapes
from demis_ij.sinks.scratch import discard


def chunk_side(block_px: int) -> int:
    """Return the side of a chunk: one that blocks are made of, so that each chunk is written once, else 256."""
    return next((side for side in (512, 256) if block_px % side == 0), 256)


def chunks(shape: tuple[int, int], side: int) -> Iterator[Box]:
    """Yield the squares of an image row by row, those at the right and bottom cut."""
    whole = Box.of_shape(shape)
    for y in range(0, shape[0], side):
        for x in range(0, shape[1], side):
            yield Box(x, y, x + side, y + side) & whole


__all__ = ["chunk_side", "chunks", "discard", "level_shapes", "no_data_value"]
