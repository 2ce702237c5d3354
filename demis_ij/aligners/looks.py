"""What aligners look at: sections of even brightness and contrast; and fields that fold nothing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.fields import grid_of, jacobian
from demis_ij.records import Field

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
_MIDDLE, _CONTRAST = 128.0, 45.0  # what mean and standard deviation of a window become
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


def evened(image: NDArray[Any], mask: Mask, window_px: float) -> Grey:
    """Return a section whose mean and contrast are the same everywhere: 128 +- 45 in a Gaussian window of its data.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values of 0 to 255.
    mask : ndarray of shape (H, W), bool
        Where they are data; the result is 128 elsewhere.
    window_px : float
        Standard deviation of the window.
    """
    known = mask.astype(np.float32)
    grey = np.where(mask, image, 0).astype(np.float32)
    weight = blurred(known, window_px) + 1e-3
    mean = blurred(grey * known, window_px) / weight
    variance = blurred((grey - mean) ** 2 * known, window_px) / weight
    even = _MIDDLE + _CONTRAST * (grey - mean) / np.sqrt(np.maximum(variance, 9.0))
    return np.where(mask, np.clip(np.rint(even), 0, 255), _MIDDLE).astype(np.uint8)


def blurred(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return a plane convolved with a Gaussian of ``sigma`` px, continued at its edges by reflection."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def unfolded(field: Field, min_jacobian: float = 0.05) -> Field:
    """Return the field, smoothed as often as needed until it shrinks no area below ``min_jacobian``.

    Parameters
    ----------
    field : Field
        Known everywhere.
    min_jacobian : float
        Area of input for an area of output; 0 would be a fold's edge.

    Notes
    -----
    The smoothing doubles from 1 node on; a field smoothed over its whole width is a shift, which folds nothing.
    """
    offsets, sigma = field.offsets, 1.0
    while jacobian(Field(offsets, field.stride)).min() < min_jacobian:
        if sigma > 2 * max(field.grid):
            return Field(np.broadcast_to(offsets.mean(axis=(1, 2), keepdims=True), offsets.shape), field.stride)
        offsets = np.stack([blurred(o, sigma) for o in offsets])
        sigma *= 2
    return Field(offsets, field.stride)
