"""Several tiles made one: a cell of the mosaic, blended where tiles overlap and only there.

A mosaic is drawn in cells of `CELL_PX`, fixed to the mosaic's own pixel (0, 0). What a cell holds depends on nothing but
the tiles, so blocks of any size and in any order give the same pixels to the last bit; and a cell's arrays fit in
the processor's cache.

**Feathering.** With d_i the distance of a pixel to the nearest edge of tile i's data, its weight is d_i over the sum of all:
in an overlap of two tiles a straight ramp from edge to edge. With a feather width F the ramp is at most F wide and
centred where the two distances are equal: ``w_i = clip(1/2 + (d_i - m_i) / (2 min(F, d_i + m_i)), 0, 1)``, m_i the largest
distance of another tile, over the sum of all. Both are continuous: at its edge a tile weighs nothing.
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


def _shared(patches: Sequence[Patch], number: int) -> Box:
    """Return the smallest box that holds what a patch shares with any other."""
    mine = patches[number].box
    shared = [s for i, p in enumerate(patches) if i != number and not (s := mine & p.box).is_empty]
    if not shared:
        return Box(mine.x0, mine.y0, mine.x0, mine.y0)
    return Box(
        min(s.x0 for s in shared), min(s.y0 for s in shared), max(s.x1 for s in shared), max(s.y1 for s in shared)
    )


def _feathered(
    patches: Sequence[Patch], cell: Box, distances: MaskDistances, feather_px: float | None
) -> tuple[Float, Mask]:
    weights = [_weight(patch, _shared(patches, i), distances) for i, patch in enumerate(patches)]
    if feather_px is not None:
        weights = _narrowed(patches, weights, cell, np.float32(feather_px))
    total, norm = np.zeros(cell.shape, np.float32), np.zeros(cell.shape, np.float32)
    for patch, weight in zip(patches, weights, strict=True):
        at = _within(patch.box, cell)
        norm[at] += weight
        np.multiply(weight, patch.values, out=weight)
        total[at] += weight
    mask = norm > 0
    np.maximum(norm, np.finfo(np.float32).tiny, out=norm)
    np.divide(total, norm, out=total)
    return total, mask


def _weight(patch: Patch, shared: Box, distances: MaskDistances) -> Float:
    """Return the distance to the edge of the tile's data inside ``shared``, 1 where no other tile can be, 0 off data."""
    weight = np.ones(patch.box.shape, np.float32)
    if not shared.is_empty:
        weight[_within(shared, patch.box)] = edge_distance(patch.placed, shared, distances)
    if patch.valid is not None:
        weight[~patch.valid] = 0
    return weight


def _narrowed(patches: Sequence[Patch], reach: Sequence[Float], cell: Box, feather_px: np.float32) -> list[Float]:
    """Return the weights of ramps at most ``feather_px`` wide, from the distances ``reach`` of each patch."""
    largest, second = np.zeros(cell.shape, np.float32), np.zeros(cell.shape, np.float32)
    for patch, mine in zip(patches, reach, strict=True):
        at = _within(patch.box, cell)
        np.maximum(second[at], np.minimum(largest[at], mine), out=second[at])
        np.maximum(largest[at], mine, out=largest[at])
    weights = []
    for patch, mine in zip(patches, reach, strict=True):
        at = _within(patch.box, cell)
        other = np.where(mine >= largest[at], second[at], largest[at])
        ramp = np.maximum(np.minimum(feather_px, mine + other), np.finfo(np.float32).tiny)
        weight = np.clip(np.float32(0.5) + np.float32(0.5) * (mine - other) / ramp, 0, 1)
        weight[mine == 0] = 0
        weights.append(weight.astype(np.float32, copy=False))
    return weights
