"""Stitched pairs and mosaics as pictures, beside what the truth would have made of the same tiles.

Two measures of a stitched pair, which answer different questions:

``overlap_...``
    The moving tile, warped onto the fixed tile, against the fixed tile, over their overlap. No truth is needed; the
    tiles' own noise and brightness count as well.
``stitched_...``
    The pair stitched by the estimate against the pair stitched by the truth, the moving tile on top, over the pixels
    that both have: what the published DEMIS evaluation does. Its area is mostly the fixed tile, the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from demis_ij.evaluate.scenes import Known, Pair
from demis_ij.evaluate.scores import number
from demis_ij.geometry import Box, apply
from demis_ij.images import TileStore
from demis_ij.metrics import FULL_REFERENCE, brisque, largest_rectangle, onto_truth, true_to_fixed
from demis_ij.records import Affine, Layout
from demis_ij.render import Canvas, blocks, solve_intensity

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
EQUAL_DB = 100.0
"""Peak signal to noise ratio of equal pictures, which is infinite: a mean must be able to hold it."""
_BRISQUE_SIDE = 2048  # px of a mosaic's middle: the filters of the whole would take minutes


def compared(picture: Floats, truth: Floats, mask: Mask, skip: Sequence[str], prefix: str) -> dict[str, float | None]:
    """Return the measures of a picture against a true one where both have data; those in ``skip`` are left out."""
    if not mask.any():
        return {prefix + name: None for name in FULL_REFERENCE if name not in skip}
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    out = {
        prefix + name: number(measure(picture[part], truth[part], mask[part]))
        for name, measure in FULL_REFERENCE.items()
        if name not in skip
    }
    if out.get(prefix + "rmse") == 0:
        out[prefix + "psnr_db"] = EQUAL_DB
    return out


def pair_measures(
    known: Known, store: TileStore, pair: Pair, to_fixed: NDArray[np.float64], skip: Sequence[str] = ()
) -> dict[str, float | None]:
    """Return the picture measures of one stitched pair.

    Parameters
    ----------
    known : Known
    store : TileStore
    pair : (fixed id, moving id)
    to_fixed : ndarray of shape (3, 3)
        The estimate.
    skip : sequence of str
        Measures that cannot be taken.
    """
    fixed, moving = known.layout[pair[0]], known.layout[pair[1]]
    truth = true_to_fixed(known.truth, *pair)
    corners = np.concatenate([fixed.corners, apply(truth, moving.corners), apply(to_fixed, moving.corners)])
    span = np.array(fixed.shape[::-1]) + np.array(moving.shape[::-1])
    corners = np.clip(corners, -span, 2 * span)  # an absurd estimate must not ask for an absurd canvas
    box = Box.around(corners)
    under, under_mask = np.zeros(box.shape, np.float32), np.zeros(box.shape, bool)
    spot = (slice(-box.y0, -box.y0 + fixed.shape[0]), slice(-box.x0, -box.x0 + fixed.shape[1]))
    under[spot], under_mask[spot] = store.image(fixed), store.mask(fixed)
    image, mask = np.asarray(store.image(moving), np.float32), np.asarray(store.mask(moving), bool)
    found, found_mask = _warped(image, mask, to_fixed, box)
    right, right_mask = _warped(image, mask, truth, box)
    out = compared(found, under, found_mask & under_mask, skip, "overlap_")
    stitched, best = np.where(found_mask, found, under), np.where(right_mask, right, under)
    whole, true_whole = found_mask | under_mask, right_mask | under_mask
    out |= compared(stitched, best, whole & true_whole, skip, "stitched_")
    if "brisque" not in skip:
        out["stitched_brisque"] = number(brisque(stitched, whole))
        out["true_brisque"] = number(brisque(best, true_whole))
    return out


def _warped(image: Floats, mask: Mask, matrix: NDArray[np.float64], box: Box) -> tuple[Floats, Mask]:
    """Return a tile on the px of a box of another frame, linearly, with coordinates in double precision."""
    values, held = np.zeros(box.shape, np.float32), np.zeros(box.shape, bool)
    high, wide = image.shape
    corners = apply(matrix, np.array([[0, 0], [wide - 1, 0], [wide - 1, high - 1], [0, high - 1]], np.float64))
    part = Box.around(np.clip(corners, -1e6, 1e6)) & box
    if part.is_empty:
        return values, held
    y, x = np.mgrid[part.y0 : part.y1, part.x0 : part.x1]
    back = np.asarray(np.linalg.inv(matrix), np.float64)
    seen = apply(back, np.stack([x.ravel(), y.ravel()], 1).astype(np.float64))[:, ::-1].T
    spot = (slice(part.y0 - box.y0, part.y1 - box.y0), slice(part.x0 - box.x0, part.x1 - box.x0))
    values[spot] = ndimage.map_coordinates(image, seen, order=1, mode="nearest").reshape(part.shape)
    whole = ndimage.map_coordinates(mask.astype(np.float32), seen, order=1, mode="constant").reshape(part.shape)
    held[spot] = whole > 0.999
    return values, held


def grid_measures(
    known: Known, store: TileStore, solved: Layout, parts: Sequence[Sequence[str]], skip: Sequence[str] = ()
) -> dict[str, float | None]:
    """Return the measures of a mosaic against the mosaic drawn at the true places, with the same grey values.

    Parameters
    ----------
    known : Known
    store : TileStore
    solved : Layout
    parts : sequence of sequence of str
        Tiles that move together onto the truth, the largest first.
    skip : sequence of str
        Measures that cannot be taken.
    """
    there = aligned(solved, known.truth, parts)
    true = Layout(tuple(known.truth[i] for i in there.ids), section=there.section)
    intensity = solve_intensity(true, store)
    canvas = Canvas.of(Layout(tuple(true.tiles)))
    mosaic, mask = _drawn(there, store, canvas, intensity)
    best, true_mask = _drawn(true, store, canvas, intensity)
    out = compared(mosaic, best, mask & true_mask, skip, "mosaic_")
    if "brisque" not in skip:
        out["mosaic_brisque"] = number(_middle_brisque(mosaic, mask))
        out["true_brisque"] = number(_middle_brisque(best, true_mask))
    return out


def _drawn(layout: Layout, store: TileStore, canvas: Canvas, intensity: Mapping[str, Any]) -> tuple[Floats, Mask]:
    values, held = np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, bool)
    for box, pixels, inside in blocks(layout, store, canvas, dtype=np.float32, intensity=intensity):
        values[box.slices], held[box.slices] = pixels, inside
    return values, held


def _middle_brisque(picture: Floats, mask: Mask) -> float:
    box = largest_rectangle(mask)
    x, y = (box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2
    half = _BRISQUE_SIDE // 2
    return brisque(picture[(box & Box(x - half, y - half, x + half, y + half)).slices])


def aligned(solved: Layout, truth: Layout, parts: Sequence[Sequence[str]]) -> Layout:
    """Return the solved layout with each part moved rigidly onto the truth; single tiles move with the largest part."""
    frames: dict[str, Affine] = {}
    largest = Affine.from_matrix(onto_truth(solved, truth, parts[0]))
    for part in parts:
        frame = Affine.from_matrix(onto_truth(solved, truth, part)) if len(part) > 1 else largest
        frames |= dict.fromkeys(part, frame)
    return solved.moved({t.id: frames[t.id] @ t.to_world for t in solved})
