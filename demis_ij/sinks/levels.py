"""The levels of a region, chunk by chunk: four of one level become one of the next while the cache still holds them.

A chunk is asked for after the four that it is made of, and these one after the other (Z order, Morton 1966), so there
is never more than one chunk of a level, and four halves, in memory, however large the region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.sinks.frame import LEVELS_A_STAGE, Frame, Piece, Region
from demis_ij.sinks.reduction import area_mean, even_sided, halved_squares, to_dtype, without_no_data

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
    without_no_data(pixels, inside)
    return Piece(box, pixels, inside)


def _place_of(child: Box, box: Box) -> tuple[slice, slice]:
    """Return the index, in the array of a chunk, of one of the next larger level."""
    top, left = child.y0 // 2 - box.y0, child.x0 // 2 - box.x0
    return slice(top, top + (child.height + 1) // 2), slice(left, left + (child.width + 1) // 2)


def halved_into(piece: Piece, out: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Put the mean of the data in each 2 x 2 square, rounded to the same type, into ``out``; return where it is data.

    None means everywhere. Halves go to the even neighbour: no level is brighter than the one before.
    """
    pixels, mask = piece.pixels, piece.mask
    rows, cols = pixels.shape
    halved_squares(pixels[: rows // 2 * 2, : cols // 2 * 2], out[: rows // 2, : cols // 2])
    inside: NDArray[np.bool_] | None = None
    for part in _incomplete(mask, (rows, cols)):
        at, of = part.slices, Box(2 * part.x0, 2 * part.y0, 2 * part.x1, 2 * part.y1).slices
        mean, known = area_mean(*even_sided(pixels[of], None if mask is None else mask[of]), 2)
        out[at] = to_dtype(mean, out.dtype)
        if not known.all():
            inside = np.ones(out.shape, bool) if inside is None else inside
            inside[at] = known
    return inside


def _incomplete(mask: NDArray[np.bool_] | None, shape: tuple[int, int]) -> Iterator[Box]:
    """Yield boxes that hold the squares, (x, y) each, of which some pixels are no data or outside of the image."""
    rows, cols = shape
    down, across = -(-rows // 2), -(-cols // 2)
    if mask is not None:
        gaps_y, gaps_x = (np.flatnonzero(~mask.all(axis)) // 2 for axis in (1, 0))
        if gaps_y.size:
            yield Box(int(gaps_x[0]), int(gaps_y[0]), int(gaps_x[-1]) + 1, int(gaps_y[-1]) + 1)
    if rows % 2:
        yield Box(0, down - 1, across, down)
    if cols % 2:
        yield Box(across - 1, 0, across, down)
