"""What aligners need to know of two sections before they compare them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.fields import grid_of, least_jacobian
from demis_ij.images.evening import Grey, evened
from demis_ij.records import Field

Mask = NDArray[np.bool_]
LEAST_JACOBIAN = 0.05
"""What no aligner shrinks an area below."""

_FLAT = 1.0  # standard deviation in grey levels of 255 of a section that shows nothing
_LEAST_DATA_FRAC = 0.02


def check_sizes(fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> tuple[int, int]:
    """Return the (rows, cols) that two sections and their masks share. Raises `InputError` when they do not."""
    found = {tuple(np.shape(a)) for a in (fixed, moving, fixed_mask, moving_mask)}
    if len(found) != 1 or len(next(iter(found))) != 2:
        sizes = ", ".join("x".join(map(str, np.shape(a))) for a in (fixed, moving, fixed_mask, moving_mask))
        msg = f"two sections and their masks have one size (rows x cols), found {sizes}: put them on one canvas first"
        raise InputError(msg)
    rows, cols = np.shape(fixed)
    return int(rows), int(cols)


def data_of(image: NDArray[Any], mask: Mask) -> Mask:
    """Return where there is data: where the mask says so, and no NaN."""
    return np.asarray(np.asarray(mask, bool) & np.isfinite(image))


def is_blank(image: NDArray[Any], mask: Mask) -> bool:
    """Return whether a section shows nothing: too little data, or one grey value but for rounding."""
    values = np.asarray(image)[mask]
    return bool(mask.mean() < _LEAST_DATA_FRAC or values.astype(np.float64).std() < _FLAT)


def unknown(shape: tuple[int, int], stride: float) -> Field:
    """Return the field over a canvas that knows nothing."""
    return Field(np.full((2, *grid_of(shape, stride)), np.nan, np.float32), stride)


def blurred(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return a plane convolved with a Gaussian of ``sigma`` px, continued at its edges by reflection."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def unfolded(field: Field) -> Field:
    """Return the field, smoothed as a whole until it shrinks no area below `LEAST_JACOBIAN`; it is known everywhere.

    Notes
    -----
    The smoothing doubles from 1 node on; a field smoothed over its whole width is a shift, which folds nothing. What
    two sections alone have said and folds is not to be believed beside the fold either: smoothing only there
    (`demis_ij.fields.unfolded`), a chain of flow reached a score of .53 where it reaches .74 with this.
    """
    offsets, sigma = field.offsets, 1.0
    while least_jacobian(offsets, field.stride) < LEAST_JACOBIAN:
        if sigma > 2 * max(field.grid):
            return Field(np.broadcast_to(offsets.mean(axis=(1, 2), keepdims=True), offsets.shape), field.stride)
        offsets = np.stack([blurred(o, sigma) for o in offsets])
        sigma *= 2
    return Field(offsets, field.stride)


__all__ = [
    "LEAST_JACOBIAN", "Grey", "Mask", "blurred", "check_sizes", "data_of", "evened", "is_blank", "unfolded", "unknown",
]  # fmt: skip
