"""Consistent elastic registration by cubic B-splines: the plugin bUnwarpJ of a Fiji."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from demis_ij.aligners.looks import Mask, check_sizes, data_of, evened, is_blank, unfolded, unknown
from demis_ij.fields import dense, grid_of, nodes
from demis_ij.geometry import Box
from demis_ij.imagej.plugins import BUNWARPJ, check_plugin
from demis_ij.imagej.registration import BunwarpjSettings, bunwarpj_coefficients
from demis_ij.records import Field

_LEAST_SIDE = 32  # px; three levels of the plugin's pyramid
_NODES = 8  # of the field to an interval of the spline
_LEAST_SHARED_FRAC = 0.75  # a section that was pushed out of sight fits well, too, by the plugin's measure


class BunwarpjAligner:
    """bUnwarpJ, run in the ImageJ of this process, on sections of even contrast.

    Parameters
    ----------
    fiji : path or str
        Folder of a Fiji with the plugin; empty where a session with it runs in this process.
    settings : BunwarpjSettings, optional
        The plugin's own; by default mono, very coarse to fine, 0.1 of divergence and curl, 10 of consistency.
    window_px : float
        Standard deviation of the window in which brightness and contrast are evened out; 0 is a thirteenth of the
        shorter side.

    Raises
    ------
    InputError
        No Fiji is named, or it lacks the plugin.

    Notes
    -----
    Arganda-Carreras et al. 2006, doi:10.1007/11889762_8. Landmarks are not used.
    """

    name = "bunwarpj"

    def __init__(self, fiji: Path | str = "", settings: BunwarpjSettings | None = None, window_px: float = 0.0) -> None:
        self.fiji = str(fiji)
        self.settings = settings or BunwarpjSettings()
        self.window_px = window_px
        check_plugin(BUNWARPJ, self.fiji)

    def __call__(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``; NaN when nothing is found.

        Raises
        ------
        InputError
            The arrays are not of one shape.
        PluginFailed
            The plugin threw an exception.
        """
        shape = check_sizes(fixed, moving, fixed_mask, moving_mask)
        window = self.window_px or min(shape) / 13
        data = [data_of(fixed, fixed_mask), data_of(moving, moving_mask)]
        if min(shape) < _LEAST_SIDE or any(is_blank(i, m) for i, m in zip((fixed, moving), data, strict=True)):
            return unknown(shape, max(1, min(shape) // (4 * _NODES)))
        grey = [evened(i, m, window) for i, m in zip((fixed, moving), data, strict=True)]
        coefficients = bunwarpj_coefficients(
            self.fiji, grey[0], grey[1], fixed_mask=data[0], moving_mask=data[1], settings=self.settings
        )
        found = spline_field(coefficients, shape)
        if not found.known.all() or _shared_frac(found, data) < _LEAST_SHARED_FRAC:
            return unknown(shape, found.stride)
        return unfolded(found)


def _shared_frac(field: Field, data: list[Mask]) -> float:
    """Return how much of what both sections show where they lie, they still share by a field."""
    x, y = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in data[0].shape[::-1]))
    offsets = dense(field, Box.of_shape(data[0].shape))
    there = cv2.remap(data[1].astype(np.uint8), x + offsets[0], y + offsets[1], cv2.INTER_NEAREST)
    before = int((data[0] & data[1]).sum())
    return float((data[0] & (there > 0)).sum()) / before if before else 0.0


def spline_field(coefficients: NDArray[np.float64], shape: tuple[int, int]) -> Field:
    """Return a cubic B-spline of bUnwarpJ over a canvas as a field.

    Parameters
    ----------
    coefficients : ndarray of shape (2, N + 3, N + 3)
        Of x and of y over N intervals, rows along y.
    shape : tuple of int
        (rows, cols) of the canvas.

    Notes
    -----
    Pixel (x, y) has the index u = x N / (cols - 1) + 1, v = y N / (rows - 1) + 1, and goes to the sum of
    c[i, j] B(v - i) B(u - j) with the cubic B-spline B. NaN everywhere when a coefficient is not finite.
    """
    intervals = coefficients.shape[1] - 3
    stride = max(1, (min(shape) - 1) // (_NODES * intervals))
    if not np.isfinite(coefficients).all():
        return unknown(shape, stride)
    at = nodes(grid_of(shape, stride), stride)
    within = np.minimum(at, (shape[1] - 1, shape[0] - 1))  # the last nodes may stand beyond the canvas
    index = [within[..., k] * intervals / (shape[1 - k] - 1) + 1 for k in (1, 0)]
    found = [map_coordinates(c, index, order=3, prefilter=False, mode="nearest") for c in coefficients]
    return Field(np.stack([f - within[..., k] for k, f in enumerate(found)]).astype(np.float32), stride)
