"""Dense inverse search: optical flow between two sections, smoothed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.looks import Mask, blurred, check_sizes, data_of, evened, is_blank, unfolded, unknown
from demis_ij.fields import grid_of
from demis_ij.records import Field

_LEAST_SIDE = 16  # px; OpenCV's patches do not fit into less
_CALM = 1e-3  # how much less a Gaussian of twice the width counts: it decides only where the narrower ones see nothing


class FlowAligner:
    """OpenCV's DIS optical flow on sections of even contrast, averaged over a Gaussian of their common data.

    Parameters
    ----------
    smoothness_px : float
        Standard deviation of that Gaussian; 0 is 0.024 of the shorter side.
    window_px : float
        Standard deviation of the window in which brightness and contrast are evened out; 0 is a thirteenth of the
        shorter side.

    Notes
    -----
    Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29; the preset *medium*, down to full resolution. What a section
    lacks is filled from wider and wider Gaussians (normalised convolution: Knutsson & Westin 1993,
    doi:10.1109/CVPR.1993.341081).
    """

    name = "flow"

    def __init__(self, smoothness_px: float = 0.0, window_px: float = 0.0) -> None:
        self.smoothness_px = smoothness_px
        self.window_px = window_px

    def __call__(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``; NaN when either shows nothing."""
        shape = check_sizes(fixed, moving, fixed_mask, moving_mask)
        sigma = self.smoothness_px or 0.024 * min(shape)
        window = self.window_px or min(shape) / 13
        stride = max(1, round(sigma / 3))
        data = [data_of(fixed, fixed_mask), data_of(moving, moving_mask)]
        if min(shape) < _LEAST_SIDE or any(is_blank(i, m) for i, m in zip((fixed, moving), data, strict=True)):
            return unknown(shape, stride)
        grey = [evened(i, m, window) for i, m in zip((fixed, moving), data, strict=True)]
        search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)
        found = np.asarray(search.calc(grey[0], grey[1], None), np.float32)
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        seen = cv2.remap(data[1].astype(np.float32), x + found[..., 0], y + found[..., 1], cv2.INTER_LINEAR)
        weight = np.where(data[0] & (seen > 0.99), seen, 0).astype(np.float32)
        if not weight.any():
            return unknown(shape, stride)
        return unfolded(_averaged(np.moveaxis(found, -1, 0), weight, sigma, stride))


def _averaged(offsets: NDArray[np.float32], weight: NDArray[np.float32], sigma: float, stride: int) -> Field:
    """Return offsets (2, H, W) averaged over Gaussians of their weights (H, W), at nodes."""
    rows, cols = grid_of((weight.shape[0], weight.shape[1]), stride)
    at = np.ix_(*(np.minimum(np.arange(k) * stride, n - 1) for k, n in zip((rows, cols), weight.shape, strict=True)))
    planes = np.stack([blurred(p, sigma)[at] for p in (*(offsets * weight), weight)])
    total, width, calm = planes.copy(), sigma / stride, 1.0
    while width < 2 * max(rows, cols):
        calm *= _CALM
        total += np.float32(calm) * np.stack([blurred(p, width) for p in planes])
        width *= 2
    known = np.maximum(total[2], np.finfo(np.float32).tiny)
    return Field(total[:2] / known, stride)
