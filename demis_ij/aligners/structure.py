"""Structure: what two images of one thing share when their grey values do not.

An edge is an edge whether it goes from dark to bright or from bright to dark, and however much of a step it is. So an
image is seen as three planes, all zero where there is no data: the strength of the edge, saturated against its
surroundings, and the same times the cosine and sine of twice its direction (the double angle of Granlund 1978,
doi:10.1016/0146-664X(78)90047-3, which is the same for both signs of a gradient). No tone curve, inversion or shading
changes them much.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
WINDOW_PX = 8.0
_HALF = 0.7  # of the surroundings' root mean square gradient: an edge of this strength counts half
_LEAST_CONTRAST = 1e-3  # of the image's standard deviation: weaker gradients than that are rounding


@dataclass(frozen=True, eq=False)
class Structure:
    """An image seen as structure.

    Attributes
    ----------
    planes : ndarray of shape (3, H, W), float32
        Strength (its mean over the data taken off), and strength times cosine and sine of the double angle; 0 where
        there is no data.
    known : ndarray of shape (H, W), bool
        Where they are known: data, and none but data within reach.
    grey : ndarray of shape (H, W), float32, or None
        Grey values, their mean taken off and divided by their standard deviation; 0 where there is no data. None where
        only structure is to count.
    """

    planes: Plane
    known: Mask
    grey: Plane | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return int(self.known.shape[0]), int(self.known.shape[1])

    @property
    def is_blank(self) -> bool:
        """Whether nothing is seen."""
        return not self.planes.any()

    @cached_property
    def energy(self) -> Plane:
        """Sum of the squares of the planes, (H, W)."""
        return np.asarray((self.planes**2).sum(axis=0), np.float32)

    @cached_property
    def packed(self) -> Plane:
        """The planes and what is known as one image (H, W, 4), to be looked up at once."""
        return np.dstack([*self.planes, self.known.astype(np.float32)])


def structure_of(image: NDArray[Any], mask: Mask, sigma_px: float, window_px: float = WINDOW_PX) -> Structure:
    """Return the structure of an image.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values of any type and range.
    mask : ndarray of shape (H, W), bool
        Where they are data.
    sigma_px : float
        Standard deviation of the Gaussian that gradients are taken of.
    window_px : float
        Standard deviation of the surroundings that an edge is measured against.

    Examples
    --------
    >>> step = np.zeros((32, 32), np.uint8)
    >>> step[:, 16:] = 200
    >>> one, two = (structure_of(i, np.ones(i.shape, bool), 1.5) for i in (step, 200 - step))
    >>> bool(np.allclose(one.planes, two.planes, atol=1e-5)), one.planes[1, 16, 16] > 0.5
    (True, np.True_)
    """
    data = np.asarray(mask, bool) & np.isfinite(image)
    if not data.any():
        return _nothing(data.shape)
    values = image[data].astype(np.float32)
    spread = float(values.std())
    if spread == 0:
        return _nothing(data.shape)
    grey = np.where(data, (np.nan_to_num(image).astype(np.float32) - values.mean()) / spread, 0).astype(np.float32)
    share = data.astype(np.float32)
    whole = bool(data.all())
    smooth = _blurred(grey, sigma_px)
    if not whole:
        smooth = np.asarray(smooth / np.maximum(_blurred(share, sigma_px), 1e-3), np.float32)
    known = data if whole else _eroded(data, ceil(2 * sigma_px))
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8, borderType=cv2.BORDER_REFLECT)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8, borderType=cv2.BORDER_REFLECT)
    square = np.where(known, across * across + down * down, 0).astype(np.float32)
    around = _blurred(square, window_px)
    if not whole:
        around = np.asarray(around / np.maximum(_blurred(known.astype(np.float32), window_px), 1e-3), np.float32)
    strength = np.sqrt(square)
    strength = strength / (strength + _HALF * np.sqrt(around) + _LEAST_CONTRAST)
    per_square = strength / np.maximum(square, 1e-12)
    level = np.where(known, strength - (strength[known].mean() if known.any() else 0), 0)
    planes = np.stack([level, (across * across - down * down) * per_square, 2 * across * down * per_square])
    return Structure(np.where(known, planes, 0).astype(np.float32), known, grey)


def _nothing(shape: tuple[int, ...]) -> Structure:
    return Structure(np.zeros((3, *shape), np.float32), np.zeros(shape, bool), np.zeros(shape, np.float32))


def _blurred(plane: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def _eroded(mask: Mask, reach: int) -> Mask:
    """Return the mask without what lies within reach of no data; the image's own border is no such thing."""
    side = 2 * reach + 1
    kernel = np.ones((side, side), np.uint8)
    return cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(1,)) > 0


def turned(planes: NDArray[Any], angle: float) -> NDArray[Any]:
    """Return planes (3, ...) that were looked up through a map that turns by ``angle``: directions turn back with it.

    Parameters
    ----------
    planes : ndarray of shape (3, ...)
        Of the moving image, looked up at the points that the map leads to.
    angle : float
        Of the map from fixed to moving px, radians.
    """
    cos2, sin2 = np.float32(np.cos(2 * angle)), np.float32(np.sin(2 * angle))
    return np.stack([planes[0], planes[1] * cos2 + planes[2] * sin2, planes[2] * cos2 - planes[1] * sin2])
