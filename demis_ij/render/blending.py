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
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.render.edges import MaskDistances
from demis_ij.render.placed import Float, Mask
from demis_ij.render.sampling import Patch
from demis_ij.sinks.reduction import divided_into, rounded_into

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


def merge(
    patches: Sequence[Patch], part: Box, distances: MaskDistances, style: Style, out: NDArray[Any]
) -> Mask | None:
    """Draw a part of a cell into ``out`` (rows, cols), rounded to its type; return where there is data.

    None is everywhere. Where there is no data stands 0.
    """
    if style.blend == "feather" and len(patches) > 1:
        return _feathered(patches, part, distances, style.feather_px, out)
    return _first_wins(patches, part, out)


def _first_wins(patches: Sequence[Patch], part: Box, out: NDArray[Any]) -> Mask | None:
    if len(patches) == 1 and patches[0].box == part and patches[0].valid() is None:
        rounded_into(patches[0].values, out)
        return None
    values, mask = np.zeros(part.shape, np.float32), np.zeros(part.shape, bool)
    for patch in reversed(patches):
        at, valid = within(patch.box, part), patch.valid()
        if valid is None:
            values[at], mask[at] = patch.values, True
        else:
            np.copyto(values[at], patch.values, where=valid)
            mask[at] |= valid
    rounded_into(values, out)
    return None if mask.all() else mask


def _feathered(
    patches: Sequence[Patch], part: Box, distances: MaskDistances, feather_px: float | None, out: NDArray[Any]
) -> Mask | None:
    """Draw the weighted mean. Where a patch has data, it or one nearer to its middle weighs something."""
    places = [within(patch.box, part) for patch in patches]
    weights = [patch.weight(distances) for patch in patches]
    if feather_px is not None:
        weights = _narrowed(weights, places, part.shape, np.float32(feather_px))
    # the first that holds all of the part is what the others are added to
    rest = list(zip(patches, places, weights, strict=True))
    whole = next((k for k, patch in enumerate(patches) if patch.box == part), None)
    if whole is None:
        total, norm = np.zeros(part.shape, np.float32), np.zeros(part.shape, np.float32)
    else:
        patch, _, norm = rest.pop(whole)
        total = patch.values * norm
    for patch, at, weight in rest:
        cv2.accumulateProduct(patch.values, weight, total[at])
        cv2.accumulate(weight, norm[at])
    mask = norm > 0
    is_full = bool(mask.all())
    if not is_full:
        np.maximum(norm, np.finfo(np.float32).tiny, out=norm)
    divided_into(total, norm, out)
    return None if is_full else mask


def _narrowed(
    reach: Sequence[Float], places: Sequence[tuple[slice, slice]], shape: tuple[int, int], feather_px: np.float32
) -> list[Float]:
    """Return the weights of ramps at most ``feather_px`` wide, from the distances of each patch and its place."""
    largest, second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for mine, at in zip(reach, places, strict=True):
        np.maximum(second[at], np.minimum(largest[at], mine), out=second[at])
        np.maximum(largest[at], mine, out=largest[at])
    weights = []
    for mine, at in zip(reach, places, strict=True):
        # the largest of the others: the second where this one is the largest, else the largest
        other = np.where(mine >= largest[at], second[at], largest[at])
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
