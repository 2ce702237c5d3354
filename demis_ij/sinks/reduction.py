"""Images made smaller by whole factors: the mean of the data in each square, no-data left out."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

COVERAGE_FRAC = 0.5
"""Share of a square that must be data for its mean to be data: half, so that masked areas keep their size."""

_RANGES = {
    (np.dtype(t).kind, np.dtype(t).itemsize): (np.float32(np.iinfo(t).min), np.float32(np.iinfo(t).max))
    for t in (np.uint8, np.int8, np.uint16, np.int16)
}

_DEPTHS = {np.dtype(t).char: d for t, d in ((np.uint8, cv2.CV_8U), (np.uint16, cv2.CV_16U), (np.float32, cv2.CV_32F))}


def area_mean(
    pixels: NDArray[Any], mask: NDArray[np.bool_] | None, factor: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the mean of the data in every ``factor`` x ``factor`` square, and where at least half of it is data.

    Pixel i of the result has its centre at ``(i + 0.5) * factor - 0.5`` of the input. Squares that stick out at the
    right and bottom hold no data outside.

    Parameters
    ----------
    pixels : ndarray of shape (H, W)
        Grey values.
    mask : ndarray of shape (H, W), bool, or None
        Where they are data; None means everywhere.
    factor : int
        At least 1.

    Returns
    -------
    values : ndarray of shape (ceil(H / factor), ceil(W / factor)), float32
        0 where there is no data.
    mask : ndarray of the same shape, bool
        Where there is data.
    """
    rows, cols = -(-pixels.shape[0] // factor), -(-pixels.shape[1] // factor)
    down, right = rows * factor - pixels.shape[0], cols * factor - pixels.shape[1]
    values = pixels.astype(np.float32)
    if mask is None and not (down or right):
        whole = cv2.resize(values, (cols, rows), interpolation=cv2.INTER_AREA)
        return np.asarray(whole, np.float32), np.ones((rows, cols), bool)
    share: NDArray[np.float32] = np.ones(pixels.shape, np.float32) if mask is None else mask.astype(np.float32)
    if mask is not None:
        values[~mask] = 0
    if down or right:
        values, share = (np.pad(v, ((0, down), (0, right))) for v in (values, share))
    total = np.asarray(cv2.resize(values, (cols, rows), interpolation=cv2.INTER_AREA), np.float32)
    cover = np.asarray(cv2.resize(share, (cols, rows), interpolation=cv2.INTER_AREA), np.float32)
    inside: NDArray[np.bool_] = cover >= COVERAGE_FRAC - 1e-6
    mean = np.zeros((rows, cols), np.float32)
    np.divide(total, cover, out=mean, where=inside)
    return mean, inside


def even_sided(pixels: NDArray[Any], mask: NDArray[np.bool_] | None) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return an image, and where it is data, with the last row and column repeated where their number is odd.

    So a 2 x 2 square that sticks out is judged, and averaged, by what of it lies in the image.
    """
    if pixels.shape[0] % 2 == pixels.shape[1] % 2 == 0:
        return pixels, mask
    beyond = ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2))
    return np.pad(pixels, beyond, "edge"), None if mask is None else np.pad(mask, beyond, "edge")


def halved_squares(pixels: NDArray[Any], out: NDArray[Any]) -> None:
    """Put the mean of each 2 x 2 square of ``pixels`` (rows, cols), both even, into ``out``; halves become even.

    OpenCV rounds halves of whole numbers up. Of the negative image it rounds them up, too, which is down; where the two
    differ it was a half, and one is taken off what is odd.
    """
    if not out.size:
        return
    size = out.shape[::-1]
    up = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if out.dtype.kind != "u":
        out[...] = up
        return
    half = cv2.resize(cv2.bitwise_not(pixels), size, interpolation=cv2.INTER_AREA)
    cv2.bitwise_not(half, dst=half)
    cv2.subtract(up, half, dst=half)
    cv2.bitwise_and(half, up, dst=half)
    done = cv2.subtract(up, half, dst=out)
    if done is not out:
        out[...] = done


def without_no_data(pixels: NDArray[Any], mask: NDArray[np.bool_]) -> None:
    """Set what is no data to 0, in place."""
    if pixels.dtype.kind == "f":  # what is not a number stays so in a product
        pixels[~mask] = 0
    else:
        np.multiply(pixels, mask, out=pixels)


def to_dtype(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return grey values as ``dtype`` (8 or 16 bit, or float): rounded and clipped to its range, floats are kept.

    ``values`` may be changed.
    """
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    low, high = _RANGES[dtype.kind, dtype.itemsize]
    np.rint(values, out=values)
    np.maximum(values, low, out=values)
    np.minimum(values, high, out=values)
    return values.astype(dtype)


def divided_into(values: NDArray[np.float32], by: NDArray[np.float32], out: NDArray[Any]) -> None:
    """Put ``values / by``, ``by`` not 0, into ``out`` as `to_dtype` would round it, in one pass of OpenCV."""
    done = cv2.divide(values, by, dst=out, dtype=cv2.CV_MAKETYPE(_DEPTHS[out.dtype.char], 1))
    if done is not out:
        out[...] = done


def rounded_into(values: NDArray[np.float32], out: NDArray[Any], gain: float = 1.0, offset: float = 0.0) -> None:
    """Put ``gain * values + offset`` into ``out`` as `to_dtype` would round it, in one pass of OpenCV."""
    done = cv2.addWeighted(
        values, gain, values, 0.0, offset, dst=out, dtype=cv2.CV_MAKETYPE(_DEPTHS[out.dtype.char], 1)
    )
    if done is not out:
        out[...] = done


def stretched(values: NDArray[Any], mask: NDArray[np.bool_], low: float, high: float) -> NDArray[np.uint8]:
    """Return grey values for viewing: percentiles ``low`` to ``high`` of the data become 1 to 255, no data 0.

    The percentiles are those of a regular sample of about a million pixels.
    """
    shown = np.zeros(values.shape, np.uint8)
    step = max(1, int(np.sqrt(values.size / 2**20)))
    data = values[::step, ::step][mask[::step, ::step]]
    if not data.size:
        data = values[mask]
    if not data.size:
        return shown
    lo, hi = np.percentile(data, (low, high))
    if not hi > lo:
        shown[mask] = 128
        return shown
    for top in range(0, len(values), 256):  # in bands: an image in float32 is four times its size
        band = slice(top, top + 256)
        grey = (values[band].astype(np.float32) - np.float32(lo)) * np.float32(254 / (hi - lo)) + 1
        grey = np.clip(np.rint(np.where(mask[band], grey, 0)), 1, 255)
        shown[band] = grey.astype(np.uint8) * mask[band]
    return shown
