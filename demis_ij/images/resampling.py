"""Values between pixels, exactly: linear and cubic interpolation without rounding of positions.

OpenCV rounds the positions that it interpolates at to 1/32 px, takes images of less than 32768 px a side only, and its
cubic (a = -0.75) does not even reproduce a ramp: it bends positions by up to 0.048 px. What is here does neither.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Whole = NDArray[np.intp]


def bilinear(pixels: NDArray[Any], left: Whole, top: Whole, fx: Float, fy: Float) -> Float:
    """Return the mean of the four pixels around each point, weighted by nearness.

    Parameters
    ----------
    pixels : ndarray of shape (H, W)
        Grey values.
    left, top : ndarray of whole numbers
        Pixel (column, row) at or before each point; inside the image.
    fx, fy : ndarray of float32
        How far the point lies beyond it, in [0, 1). The next pixel is the edge's own where there is none.

    Returns
    -------
    ndarray of float32, of the shape of ``left``
    """
    padded = cv2.copyMakeBorder(pixels.astype(np.float32, copy=False), 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    flat, stride = padded.ravel(), padded.shape[1]
    at = top * stride + left
    upper = _between(flat.take(at), flat[1:].take(at), fx)
    lower = _between(flat[stride:].take(at), flat[stride + 1 :].take(at), fx)
    return _between(upper, lower, fy)


def _between(first: Float, then: Float, share: Float) -> Float:
    then -= first
    then *= share
    then += first
    return then


def catmull_rom(pixels: Float, left: Whole, top: Whole, fx: Float, fy: Float) -> Float:
    """Return cubic convolution with a = -0.5 (Keys 1981, doi:10.1109/TASSP.1981.1163711); it reproduces quadratics.

    Parameters and result are those of `bilinear`; beyond its edge an image goes on as a parabola.
    """
    padded = _extended(pixels)
    stride = padded.shape[1]
    at = top * stride + left
    across, down = _keys_weights(fx), _keys_weights(fy)
    flat = padded.ravel()
    out = np.zeros(left.shape, np.float32)
    for j in range(4):
        row = across[0] * flat[j * stride :].take(at)
        for i in range(1, 4):
            row += across[i] * flat[j * stride + i :].take(at)
        row *= down[j]
        out += row
    return out


def _extended(pixels: Float) -> Float:
    """Return an image with a rim of 1 px before and 2 px after, continued as parabolas (Keys 1981, eq. 25).

    Repeating the outermost pixels instead would be wrong by a sixteenth of the slope along a tile's border.
    """
    padded = np.asarray(cv2.copyMakeBorder(pixels, 1, 2, 1, 2, cv2.BORDER_REPLICATE), np.float32)
    for lines in (padded, padded.T):
        if len(lines) >= 6:
            lines[0] = 3 * lines[1] - 3 * lines[2] + lines[3]
            lines[-2] = 3 * lines[-3] - 3 * lines[-4] + lines[-5]
    return padded


def _keys_weights(t: Float) -> tuple[Float, Float, Float, Float]:
    """Return the weights of the pixels at -1, 0, 1, 2 for points at t in [0, 1)."""
    s = 1 - t
    first, last = -0.5 * t * s * s, -0.5 * s * t * t
    second = 1 + t * t * (1.5 * t - 2.5)
    return first, second, 1 - first - second - last, last
