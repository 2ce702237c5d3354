"""The levels of a region, chunk by chunk: four of one level become one of the next while the cache still holds them.

A chunk is asked for after the four that it is made of, and these one after the other (Z order, Morton 1966), so there
is never more than one chunk of a level, and four halves, in memory, however large the region.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.sinks.frame import LEVELS_A_STAGE, Frame, Piece, Region
from demis_ij.sinks.reduction import area_mean, rounded_into, to_dtype

Source = Callable[[Box], Piece | None]
"""Gives a chunk of the level that a region is made of; None where there is no data."""
Take = Callable[[int, int, int, Piece | None], None]
"""Is given level, row and column of a chunk, and its pixels; None where there is no data."""


def make_levels(frame: Frame, region: Region, last: int, source: Source, take: Take) -> Piece | None:
    """Make the levels of a region, up to level ``last``.

    Parameters
    ----------
    frame : Frame
        The mosaic.
    region : Region
        Which part of it.
    last : int
        The smallest level that is wanted.
    source : callable
        Gives the chunks of the level that the region is made of; asked once for each, in Z order.
    take : callable
        Is given every chunk of every level that the region makes.

    Returns
    -------
    Piece or None
        The last chunk of level ``last``: all that the region has of it, if it is what the next stage needs.
    """
    wanted = frame.levels(region.stage)
    top = min(last, wanted[-1])

    def made(number: int, row: int, col: int) -> Piece | None:
        box = frame.chunk(number, row, col)
        if box.is_empty:
            return None
        if number == LEVELS_A_STAGE * region.stage:
            piece = source(box)
        else:
            quarters = [made(number - 1, 2 * row + r, 2 * col + c) for r in (0, 1) for c in (0, 1)]
            piece = joined(box, [q for q in quarters if q is not None])
        if number in wanted:
            take(number, row, col, piece)
        return piece

    many, found = frame.chunks_a_side(top), None
    for r in range(region.row * many, (region.row + 1) * many):
        for c in range(region.col * many, (region.col + 1) * many):
            found = made(top, r, c)
    return found


def joined(box: Box, quarters: list[Piece]) -> Piece | None:
    """Return the chunk at ``box`` made of chunks of the next larger level, None where there are none."""
    if not quarters:
        return None
    pixels = np.empty(box.shape, quarters[0].pixels.dtype)
    places = [_place_of(q.box, box) for q in quarters]
    masks = [halved_into(q, pixels[at]) for q, at in zip(quarters, places, strict=True)]
    if all(m is None for m in masks) and sum(pixels[at].size for at in places) == pixels.size:
        return Piece(box, pixels, None)
    inside = np.zeros(box.shape, bool)
    for at, mask in zip(places, masks, strict=True):
        inside[at] = True if mask is None else mask
    if not inside.any():
        return None
    pixels[~inside] = 0
    return Piece(box, pixels, inside)


def _place_of(child: Box, box: Box) -> tuple[slice, slice]:
    """Return the index, in the array of a chunk, of one of the next larger level."""
    top, left = child.y0 // 2 - box.y0, child.x0 // 2 - box.x0
    return slice(top, top + (child.height + 1) // 2), slice(left, left + (child.width + 1) // 2)


def halved_into(piece: Piece, out: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Put the mean of the data in each 2 x 2 square, rounded to the same type, into ``out``; return where it is data.

    None means everywhere. Sums of four whole numbers are exact in float32, and halves go to the even neighbour: no
    level is brighter than the one before.
    """
    pixels, mask = piece.pixels, piece.mask
    if mask is None and not (piece.box.height % 2 or piece.box.width % 2):
        values = cv2.resize(pixels.astype(np.float32), out.shape[::-1], interpolation=cv2.INTER_AREA)
        if out.dtype.kind == "f":
            out[...] = values
        else:
            rounded_into(np.asarray(values, np.float32), out)
        return None
    mean, inside = area_mean(pixels, mask, 2)
    out[...] = to_dtype(mean, out.dtype)
    return None if inside.all() else inside
