"""Local contrast: what a picture of few marks shares with one of everything.

Fluorescence shows a few marks on next to nothing, electrons show everything; most edges of the one are not in the
other. But where there is a mark, the grey values of the other picture go up and down with it, or down and up. So a
picture is seen as its contrast against its surroundings, in units of what is usual there: the local normalised
correlation that template matching has always used, of a band of sizes. And it is compared only where the emptier of
the two has something to say: the rest of it is no evidence for anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.structure import Mask, Plane, Structure

_FLOOR = 0.3  # of the picture's own root mean square contrast, that surroundings without any are taken to have
_LOUD = 0.5  # of the same: surroundings with more than that have something to say
_LEAST_CONTRAST = 1e-6  # of the picture's standard deviation: weaker contrasts than that are rounding


@dataclass(frozen=True, eq=False)
class Contrast:
    """A picture seen as local contrast.

    Attributes
    ----------
    plane : ndarray of shape (H, W), float32
        Contrast against the surroundings over what is usual there; about -2 to 2, 0 where there is no data.
    known : ndarray of shape (H, W), bool
        Where there is data.
    loud : ndarray of shape (H, W), bool
        Where the surroundings have something to say; never where there is no data.
    """

    plane: Plane
    known: Mask
    loud: Mask

    @property
    def loud_frac(self) -> float:
        """Share of the data that has something to say; 0 without data."""
        return float(self.loud.sum() / max(1, self.known.sum()))

    def everywhere(self) -> Structure:
        """Return it as structure without directions, known where there is data."""
        return _directionless(self.plane, self.known, 1)

    def where_loud(self, sign: int = 1) -> Structure:
        """Return it as structure without directions, known where there is something; -1 turns dark to bright."""
        return _directionless(self.plane, self.loud, sign)


def contrast_of(image: NDArray[Any], mask: Mask, sigma_px: float, window_px: float) -> Contrast:
    """Return the local contrast of a picture.

    The picture blurred by ``sigma_px`` less the picture blurred by ``window_px``, over the root mean square of that in
    the window.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values of any type and range.
    mask : ndarray of shape (H, W), bool
        Where they are data.
    sigma_px, window_px : float
        Standard deviations of Gaussians: of the details that count, and of their surroundings.

    Returns
    -------
    Contrast
        All zero, and nowhere loud, for a picture of one grey level or without data.

    Examples
    --------
    >>> dots = np.zeros((48, 48), np.uint8)
    >>> dots[10:14, 10:14] = dots[8:12, 20:24] = 200
    >>> seen = contrast_of(dots, np.ones(dots.shape, bool), 1, 3)
    >>> bool(seen.plane[12, 12] > 1), bool(seen.loud[12, 12]), bool(seen.loud[40, 40])
    (True, True, False)
    """
    data = np.asarray(mask, bool) & np.isfinite(image)
    nothing = Contrast(np.zeros(data.shape, np.float32), data, np.zeros(data.shape, bool))
    if not data.any():
        return nothing
    values = image[data].astype(np.float32)
    spread = float(values.std())
    if spread == 0:
        return nothing
    grey = np.where(data, (np.nan_to_num(image).astype(np.float32) - values.mean()) / spread, 0).astype(np.float32)
    share = None if data.all() else data.astype(np.float32)
    band = np.where(data, _mean_around(grey, share, sigma_px) - _mean_around(grey, share, window_px), 0)
    square = (band * band).astype(np.float32)
    usual = np.sqrt(np.maximum(_mean_around(square, share, window_px), 0))
    overall = float(np.sqrt(square[data].mean()))
    if overall < _LEAST_CONTRAST:
        return nothing
    plane = np.where(data, band / (usual + _FLOOR * overall), 0)
    return Contrast(plane.astype(np.float32), data, data & (usual > _LOUD * overall))


def _mean_around(plane: Plane, share: Plane | None, sigma_px: float) -> Plane:
    """Return the weighted mean around each pixel, of the data only (``share`` is 1 there; None: all of it is data)."""
    mean = cv2.GaussianBlur(plane, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    if share is not None:
        known = cv2.GaussianBlur(share, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
        mean = mean / np.maximum(known, 1e-3)
    return np.asarray(mean, np.float32)


def _directionless(plane: Plane, known: Mask, sign: int) -> Structure:
    planes = np.zeros((3, *plane.shape), np.float32)
    planes[0] = np.where(known, plane, 0) * np.float32(sign)
    return Structure(planes, known)
