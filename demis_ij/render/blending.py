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

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.render.sampling import Float, Mask, MaskDistances, Patch, edge_distance

CELL_PX = 256


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


def _within(box: Box, outer: Box) -> tuple[slice, slice]:
    """Return the index of ``box`` in the array of ``outer``."""
    return slice(box.y0 - outer.y0, box.y1 - outer.y0), slice(box.x0 - outer.x0, box.x1 - outer.x0)


def merge(
    patches: Sequence[Patch], cell: Box, distances: MaskDistances, style: Style
) -> tuple[Float, NDArray[np.bool_]]:
    """Return the grey values of a cell, float32 and 0 where there is no data, and where there is data."""
    if len(patches) == 1 and patches[0].box == cell:
        only = patches[0]
        return only.values, np.ones(cell.shape, bool) if only.valid is None else only.valid
    if style.blend == "none" or len(patches) < 2:
        return _first_wins(patches, cell)
    return _feathered(patches, cell, distances, style.feather_px)


def _first_wins(patches: Sequence[Patch], cell: Box) -> tuple[Float, Mask]:
    values, mask = np.zeros(cell.shape, np.float32), np.zeros(cell.shape, bool)
    for patch in reversed(patches):
        at = _within(patch.box, cell)
        if patch.valid is None:
            values[at], mask[at] = patch.values, True
        else:
            np.copyto(values[at], patch.values, where=patch.valid)
            mask[at] |= patch.valid
    return values, mask


def _shared(patches: Sequence[Patch]) -> Box | None:
    """Return the smallest box outside of which no two patches meet, None when none do."""
    met = [s for i, a in enumerate(patches) for b in patches[:i] if not (s := a.box & b.box).is_empty]
    if not met:
        return None
    return Box(min(s.x0 for s in met), min(s.y0 for s in met), max(s.x1 for s in met), max(s.y1 for s in met))


def _feathered(
    patches: Sequence[Patch], cell: Box, distances: MaskDistances, feather_px: float | None
) -> tuple[Float, Mask]:
    values, mask = np.zeros(cell.shape, np.float32), np.zeros(cell.shape, bool)
    shared = _shared(patches)
    for patch in patches:
        if shared is None or (patch.box & shared) != patch.box:
            at = _within(patch.box, cell)
            values[at], mask[at] = patch.values, True if patch.valid is None else patch.valid
    if shared is not None:
        at = _within(shared, cell)
        meeting = [p for p in patches if not (p.box & shared).is_empty]
        values[at], mask[at] = _blended(meeting, shared, distances, feather_px)
    return values, mask


def _blended(
    patches: Sequence[Patch], shared: Box, distances: MaskDistances, feather_px: float | None
) -> tuple[Float, Mask]:
    """Return the weighted mean of all patches in ``shared``, and where there is any."""
    parts = [p.box & shared for p in patches]
    weights = [_weight(patch, part, distances) for patch, part in zip(patches, parts, strict=True)]
    if feather_px is not None:
        weights = _narrowed(weights, parts, shared, np.float32(feather_px))
    first = parts.index(shared) if shared in parts else None
    if first is None:
        total, norm = np.zeros(shared.shape, np.float32), np.zeros(shared.shape, np.float32)
    else:  # most often one tile fills all of it: its sums need no zeros to start from
        norm = weights[first]
        total = norm * patches[first].values[_within(shared, patches[first].box)]
    for number, (patch, part, weight) in enumerate(zip(patches, parts, weights, strict=True)):
        if number != first:
            at = _within(part, shared)
            norm[at] += weight
            total[at] += np.multiply(weight, patch.values[_within(part, patch.box)], out=weight)
    mask = norm > 0
    np.maximum(norm, np.finfo(np.float32).tiny, out=norm)
    np.divide(total, norm, out=total)
    return total, mask


def _weight(patch: Patch, part: Box, distances: MaskDistances) -> Float:
    """Return the distance to the edge of the tile's data in ``part`` of its patch, 0 where there is no data."""
    distance = edge_distance(patch, part, distances)
    if patch.valid is None:  # then nothing was kept with the patch, and this array is nobody else's
        return distance
    return distance * patch.valid[_within(part, patch.box)]


def _narrowed(reach: Sequence[Float], parts: Sequence[Box], shared: Box, feather_px: np.float32) -> list[Float]:
    """Return the weights of ramps at most ``feather_px`` wide, from the distances ``reach`` in each part."""
    largest, second = np.zeros(shared.shape, np.float32), np.zeros(shared.shape, np.float32)
    for part, mine in zip(parts, reach, strict=True):
        at = _within(part, shared)
        np.maximum(second[at], np.minimum(largest[at], mine), out=second[at])
        np.maximum(largest[at], mine, out=largest[at])
    weights = []
    for part, mine in zip(parts, reach, strict=True):
        at = _within(part, shared)
        # the largest of the others: the second where this one is the largest, else the largest
        other = np.where(mine >= largest[at], second[at], largest[at])
        ramp = np.minimum(feather_px, mine + other)
        np.maximum(ramp, np.finfo(np.float32).tiny, out=ramp)
        weight = np.subtract(mine, other, out=other)
        weight /= ramp
        weight *= np.float32(0.5)
        weight += np.float32(0.5)
        np.clip(weight, 0, 1, out=weight)
        weight *= mine > 0
        weights.append(weight)
    return weights
