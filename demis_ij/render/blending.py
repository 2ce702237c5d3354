"""Several tiles made one: a cell of the mosaic, blended where tiles overlap and only there.

A mosaic is drawn in cells of `CELL_PX`, fixed to the mosaic's own pixel (0, 0). What a cell holds depends on nothing
but the tiles, so blocks of any size and in any order give the same pixels to the last bit; and a cell's arrays fit in
the processor's cache.

**Feathering.** With d_i the distance of a pixel to the nearest edge of tile i's data, its weight is d_i over the sum of
all: in an overlap of two tiles a straight ramp from edge to edge. With a feather width F the ramp is at most F wide and
centred where the two distances are equal: ``w_i = clip(1/2 + (d_i - m_i) / (2 min(F, d_i + m_i)), 0, 1)``, m_i the
largest distance of another tile, over the sum of all. Both are continuous, and at its edge a tile weighs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from demis_ij.geometry import Box
from demis_ij.render.sampling import Float, Mask, MaskDistances, Patch, edge_distance

CELL_PX = 512


@dataclass(frozen=True)
class Style:
    """How tiles are drawn.

    Attributes
    ----------
    interpolation : str
        nearest, linear or cubic.
    blend : str
        feather, or none: the first tile of the layout wins.
    feather_px : float or None
        Widest ramp, tile px; None lets it span the overlap.
    """

    interpolation: str
    blend: str
    feather_px: float | None


def within(box: Box, outer: Box) -> tuple[slice, slice]:
    """Return the index of ``box`` in the array of ``outer``."""
    return slice(box.y0 - outer.y0, box.y1 - outer.y0), slice(box.x0 - outer.x0, box.x1 - outer.x0)


def merge(patches: Sequence[Patch], cell: Box, distances: MaskDistances, style: Style) -> tuple[Float, Mask | None]:
    """Return the grey values of a cell, float32 and 0 where there is no data, and where there is data.

    None is everywhere.
    """
    if len(patches) == 1 and patches[0].box == cell:
        only = patches[0]
        return only.values if only.valid is None else only.values * only.valid, only.valid
    if style.blend == "none" or len(patches) < 2:
        values, mask = _first_wins(patches, cell)
        return values, None if mask.all() else mask
    if all(p.box == cell for p in patches):
        return _blended(patches, cell, distances, style.feather_px)
    values, mask = _feathered(patches, cell, distances, style.feather_px)
    return values, None if mask.all() else mask


def _first_wins(patches: Sequence[Patch], cell: Box) -> tuple[Float, Mask]:
    values, mask = np.zeros(cell.shape, np.float32), np.zeros(cell.shape, bool)
    for patch in reversed(patches):
        at = within(patch.box, cell)
        if patch.valid is None:
            values[at], mask[at] = patch.values, True
        else:
            np.copyto(values[at], patch.values, where=patch.valid)
            mask[at] |= patch.valid
    return values, mask


def _rectangles(boxes: Sequence[Box]) -> list[Box]:
    """Return the rectangles that the boxes' sides cut the plane into: each lies in or outside of every box."""
    xs = sorted({x for b in boxes for x in (b.x0, b.x1)})
    ys = sorted({y for b in boxes for y in (b.y0, b.y1)})
    return [Box(x0, y0, x1, y1) for y0, y1 in pairwise(ys) for x0, x1 in pairwise(xs)]


def _feathered(
    patches: Sequence[Patch], cell: Box, distances: MaskDistances, feather_px: float | None
) -> tuple[Float, Mask]:
    values, mask = np.zeros(cell.shape, np.float32), np.zeros(cell.shape, bool)
    for part in _rectangles([p.box for p in patches]):
        # a patch that holds a part's first pixel holds all of it
        here = [p for p in patches if p.box.x0 <= part.x0 < p.box.x1 and p.box.y0 <= part.y0 < p.box.y1]
        at = within(part, cell)
        if len(here) == 1:
            own, valid = within(part, here[0].box), here[0].valid
            if valid is None:
                values[at], mask[at] = here[0].values[own], True
            else:  # a product is ten times as fast as an index
                values[at], mask[at] = here[0].values[own] * valid[own], valid[own]
        elif here:
            values[at], known = _blended(here, part, distances, feather_px)
            mask[at] = True if known is None else known
    return values, mask


def _blended(
    patches: Sequence[Patch], part: Box, distances: MaskDistances, feather_px: float | None
) -> tuple[Float, Mask | None]:
    """Return the weighted mean of patches that all hold ``part``, and where there is any data; None is everywhere."""
    weights = [_weight(patch, part, distances) for patch in patches]
    if feather_px is not None:
        weights = _narrowed(weights, np.float32(feather_px))
    norm = weights[0] + weights[1]
    for weight in weights[2:]:
        norm += weight
    for patch, weight in zip(patches, weights, strict=True):
        weight *= patch.values[within(part, patch.box)]
    total = weights[0]
    for weight in weights[1:]:
        total += weight
    # where a patch has data, it or one nearer to its middle weighs something
    mask = None if any(p.valid is None for p in patches) else norm > 0
    if mask is not None:
        np.maximum(norm, np.finfo(np.float32).tiny, out=norm)
    np.divide(total, norm, out=total)
    return total, mask


def _weight(patch: Patch, part: Box, distances: MaskDistances) -> Float:
    """Return the distance to the edge of the tile's data in ``part`` of its patch, 0 where there is no data.

    A new array: what a patch keeps is only viewed where `valid` is known, and then multiplied.
    """
    distance = edge_distance(patch, part, distances)
    return distance if patch.valid is None else distance * patch.valid[within(part, patch.box)]


def _narrowed(reach: Sequence[Float], feather_px: np.float32) -> list[Float]:
    """Return the weights of ramps at most ``feather_px`` wide, from the distances of each patch."""
    largest, second = np.zeros_like(reach[0]), np.zeros_like(reach[0])
    for mine in reach:
        np.maximum(second, np.minimum(largest, mine), out=second)
        np.maximum(largest, mine, out=largest)
    weights = []
    for mine in reach:
        # the largest of the others: the second where this one is the largest, else the largest
        other = np.where(mine >= largest, second, largest)
        ramp = np.minimum(feather_px, mine + other)
        np.maximum(ramp, np.finfo(np.float32).tiny, out=ramp)
        weight = np.subtract(mine, other, out=other)
        weight /= ramp
        weight *= np.float32(0.5)
        weight += np.float32(0.5)
        np.maximum(weight, np.float32(0), out=weight)
        np.minimum(weight, np.float32(1), out=weight)
        weight *= mine > 0
        weights.append(weight)
    return weights
