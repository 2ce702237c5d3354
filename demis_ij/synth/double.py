"""Blurs and smooth fields in double precision: an answer that rounding makes the same on every machine.

OpenCV's filters sum in single precision in an order that depends on the processor, so that a grey value of a million
may round the other way elsewhere. SciPy's sum in a fixed order in double precision; what is left to differ, the last
bits of exp and log, is 1e-13 of a grey level.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Double = NDArray[np.float64]


def blur(image: NDArray[Any], sigma_px: float) -> Double:
    """Return an image, (H, W), after a Gaussian low-pass, its border mirrored."""
    return np.asarray(ndimage.gaussian_filter(image, sigma_px, output=np.float64, mode="mirror"))


def smooth_field(shape: tuple[int, int], rng: np.random.Generator, length_px: float) -> Double:
    """Return Gaussian noise of mean 0 and sd about 1 that varies over ``length_px``; see `fields.smooth_field`.

    Returns
    -------
    ndarray of shape (rows, cols), float64
    """
    step = max(1.0, length_px / 2.5)
    sigma = length_px / step
    margin = ceil(4 * sigma)
    lattice = tuple(ceil(side / step) + 2 * margin + 2 for side in shape)
    noise = blur(rng.standard_normal(lattice), sigma) * (2 * np.sqrt(np.pi) * sigma)
    if step == 1.0:
        return np.ascontiguousarray(noise[margin : margin + shape[0], margin : margin + shape[1]])
    field = ndimage.affine_transform(noise, [1 / step, 1 / step], (margin, margin), shape, order=3, mode="mirror")
    return np.asarray(field, np.float64)
