"""How a style network looks at an image: brightness and contrast evened out, whatever its type and depth.

What is subtracted and divided by comes from the whole image, reduced, before anything is cut into tiles: tiles agree.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.images import data_mask

Look = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CELL = 8  # px to a cell in which means are taken
_SPREAD = 3.0  # standard deviations from the middle to either end
_LEAST_SPREAD = 0.25  # of the whole image's standard deviation: what is flat stays flat
_ENDS = (0.2, 99.8)  # percent, where the whole image is stretched
_LOW, _UNIT = 128.0, 127.0
_LEAST_DATA = 0.5  # of an image; what is called a border of more than the rest is part of it


def planes_of(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image as (H, W, C); three channels that are the same are one.

    Raises
    ------
    InputError
        When it is neither (H, W) nor (H, W, C).
    """
    if image.ndim == 2:
        return image[..., None]
    if image.ndim != 3 or not 1 <= image.shape[2] <= 16:
        msg = f"an image is (rows, cols) or (rows, cols, channels) with 16 channels at most, found {image.shape}"
        raise InputError(msg)
    first, can_be_nan = image[..., :1], image.dtype.kind == "f"
    same = (np.array_equal(first[..., 0], image[..., k], equal_nan=can_be_nan) for k in range(1, image.shape[2]))
    return first if all(same) else image


def known_of(image: NDArray[Any], mask: Mask | None) -> Mask:
    """Return where there is data, (H, W): where the mask says so, and no channel is NaN or infinite."""
    if mask is not None and mask.shape != image.shape[:2]:
        msg = f"a mask has the image's rows and columns, found {mask.shape} for {image.shape[:2]}"
        raise InputError(msg)
    finite = np.isfinite(image) if image.dtype.kind == "f" else np.ones(image.shape, bool)
    known = finite if finite.ndim == 2 else finite.all(axis=-1)
    return np.asarray(known if mask is None else known & np.asarray(mask, bool))


def within_borders(image: NDArray[Any]) -> Mask | None:
    """Return where an image is neither a border nor a data bar, (H, W); None when that were less than half of it.

    All channels together tell: one of them may be black or white where others show something.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
    """
    planes = planes_of(image)
    grey = planes[..., 0] if planes.shape[2] == 1 else planes.mean(axis=-1, dtype=np.float32)
    mask = data_mask(np.ascontiguousarray(grey))
    return mask if mask.mean() >= _LEAST_DATA else None


def look_at(image: NDArray[Any], mask: Mask | None = None, *, window_px: float = 32.0) -> Look:
    """Return an image with even brightness and contrast.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
        Grey values of any type, NaN where there is no data.
    mask : ndarray of shape (H, W), bool, optional
        Where there is data.
    window_px : float
        Standard deviation of the Gaussian window; 0 stretches the whole image between its 0.2 and 99.8 percent.

    Returns
    -------
    ndarray of shape (C, H, W), float32
        From -1 to 1; with a window 0 is its mean and 1 three standard deviations above. 0 where there is no data.
    """
    planes, known = planes_of(image), known_of(image, mask)
    channels = [np.where(known, planes[..., k], 0).astype(np.float32) for k in range(planes.shape[2])]
    if not known.any():
        return np.zeros((len(channels), *known.shape), np.float32)
    looks = [_evened(c, known, window_px) if window_px else _stretched(c, known) for c in channels]
    return np.stack(looks)


def to_bytes(look: Look) -> NDArray[np.uint8]:
    """Return a look as grey values of 1 to 255 whose middle is 128: (H, W), or (H, W, C) of more than one channel."""
    grey = np.clip(np.rint(_LOW + _UNIT * np.clip(look, -1, 1)), 1, 255).astype(np.uint8)
    return grey[0] if len(grey) == 1 else np.ascontiguousarray(np.moveaxis(grey, 0, -1))


def from_bytes(grey: NDArray[np.uint8]) -> Look:
    """Return the look (C, H, W) of grey values (C, H, W) that were kept as bytes."""
    return ((grey.astype(np.float32) - np.float32(_LOW)) * np.float32(1 / _UNIT)).astype(np.float32)


def _stretched(plane: Look, known: Mask) -> Look:
    low, high = np.percentile(plane[known], _ENDS)
    if high <= low:  # less than a five-hundredth differs from the rest
        low, high = float(plane[known].min()), float(plane[known].max())
    unit = (plane - np.float32(low)) * np.float32(2 / max(float(high - low), 1e-12)) - 1
    return np.where(known, np.clip(unit, -1, 1), 0).astype(np.float32)


def _evened(plane: Look, known: Mask, window_px: float) -> Look:
    rows, cols = plane.shape
    centred = np.where(known, plane - plane[known].mean(dtype=np.float64), 0).astype(np.float32)
    whole = float(centred[known].std(dtype=np.float64))
    if whole <= 1e-6 * float(np.abs(plane).max()):
        return np.zeros_like(plane)
    centred /= np.float32(whole)
    cells = (-(-cols // _CELL), -(-rows // _CELL))
    sums = [cv2.resize(a, cells, interpolation=cv2.INTER_AREA) for a in (known.astype(np.float32), centred, centred**2)]
    weight, first, second = (
        cv2.GaussianBlur(s, (0, 0), window_px / _CELL, borderType=cv2.BORDER_REFLECT) for s in sums
    )
    weight = np.maximum(weight, 1e-6)
    coarse = np.asarray(first / weight, np.float32)
    gain = np.asarray(np.maximum(second / weight - coarse**2, _LEAST_SPREAD**2) ** -0.5 / _SPREAD, np.float32)
    mean, factor = (cv2.resize(a, (cols, rows), interpolation=cv2.INTER_LINEAR) for a in (coarse, gain))
    return np.where(known, np.clip((centred - mean) * factor, -1, 1), 0).astype(np.float32)


__all__ = ["Look", "Mask", "from_bytes", "known_of", "look_at", "planes_of", "to_bytes", "within_borders"]
