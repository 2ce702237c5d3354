"""An image as it is registered: reduced to a size that suffices, with its structure at several resolutions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.structure import Mask, Structure, structure_of
from demis_ij.aligners.structure_fit import Freedom, Template
from demis_ij.errors import InputError
from demis_ij.records import Affine

LEVELS = (8, 4, 2)
"""Reductions of the size looked at; the first is searched, all are fitted, the last tells the result."""
SIGMA_PX = {4: 1.5, 2: 1.5}
_POOLED_OF, _POOLED_SIGMA_PX, _POOLED_WINDOW_PX = 2, 1.5, 16.0  # what is searched is the structure at that reduction
LEAST_PX = 32
"""Sides shorter than this cannot be registered."""
_LARGEST_FACTOR = 2  # the moving image is looked at with at most this many times the fixed image's longer side
_LEAST_DATA_FRAC = 0.02

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Look:
    """One of two images, reduced.

    Attributes
    ----------
    image : ndarray of shape (H, W), float32
        Grey values; 0 where there is no data.
    mask : ndarray of shape (H, W), bool
        Where there is data.
    to_full : Affine
        Px of ``image`` to px of the image that was given.
    """

    image: Float
    mask: Mask
    to_full: Affine

    @cached_property
    def levels(self) -> dict[int, Structure]:
        """Structure at each of `LEVELS`; at the first it is that of a finer one, pooled."""
        fine = structure_of(*self.reduced(_POOLED_OF), _POOLED_SIGMA_PX, _POOLED_WINDOW_PX)
        seen = {level: structure_of(*self.reduced(level), sigma) for level, sigma in SIGMA_PX.items()}
        return {LEVELS[0]: pooled(fine, LEVELS[0] // _POOLED_OF), **seen}

    def reduced(self, level: int) -> tuple[Float, Mask]:
        """Return image and mask, each side ``level`` (a power of two) times shorter; made once."""
        if level == 1:
            return self.image, self.mask
        if level not in self._reduced:
            self._reduced[level] = halved(*self.reduced(level // 2))
        return self._reduced[level]

    def template(self, level: int, model: Freedom) -> Template:
        """Return what others are fitted to, made once for each level and model."""
        if (level, model) not in self._templates:
            self._templates[level, model] = Template(self.levels[level], model, by_tones=level == LEVELS[-1])
        return self._templates[level, model]

    @cached_property
    def _reduced(self) -> dict[int, tuple[Float, Mask]]:
        return {}

    @cached_property
    def _templates(self) -> dict[tuple[int, str], Template]:
        return {}

    @property
    def problem(self) -> str:
        """Why the image cannot be registered; empty when it can."""
        values = self.image[self.mask]
        if self.mask.mean() < _LEAST_DATA_FRAC:
            return f"it has next to no data ({self.mask.mean():.1%} of its pixels)"
        if values.min() == values.max():
            return f"every pixel is {values[0]:g}"
        return ""


def at_level(level: int) -> Affine:
    """Return the map from px of a reduction to px that it was reduced from."""
    return Affine(level, 0, 0, level, (level - 1) / 2, (level - 1) / 2)


def full_px(at: Affine, level: int) -> Affine:
    """Return a map between two images at a reduction as one between the images themselves."""
    return at_level(level) @ at @ at_level(level).inverse


def reduced_px(at: Affine, level: int) -> Affine:
    """Return a map between two images as one between their reductions."""
    return at_level(level).inverse @ at @ at_level(level)


def looked_at(image: NDArray[Any], mask: Mask | None, factor: float) -> Look:
    """Return an image reduced by a factor (enlarged, where that is below 1); NaN is no data.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values of any type.
    mask : ndarray of shape (H, W), bool, or None
        True where they are data.
    factor : float
        Px of the image to a px of the look.

    Raises
    ------
    InputError
        When the image is no 2-D array, the mask is of another shape, or a side is too short.
    """
    if image.ndim != 2 or (mask is not None and mask.shape != image.shape):
        sizes = f"{image.shape}" if mask is None else f"{image.shape} and {mask.shape}"
        msg = f"an image is rows x cols with a mask of that size, found {sizes}"
        raise InputError(msg)
    rows, cols = image.shape
    size = max(1, round(rows / factor)), max(1, round(cols / factor))
    if min(size) < LEAST_PX:
        msg = (
            f"an image of {cols}x{rows} px is looked at with {size[1]}x{size[0]} px, {LEAST_PX} a side are needed:"
            " raise side_px, check the pixel sizes, or give a larger image"
        )
        raise InputError(msg)
    known = np.isfinite(image) if mask is None else np.asarray(mask, bool) & np.isfinite(image)
    grey = np.where(known, image, 0).astype(np.float32)
    share = known.astype(np.float32)
    if size != (rows, cols):
        how = cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR
        share = cv2.resize(share, size[::-1], interpolation=how)
        grey = cv2.resize(grey, size[::-1], interpolation=how) / np.maximum(share, 1e-6)
    there = share > (0.5 if factor > 1 else 0.99)
    down, across = rows / size[0], cols / size[1]
    to_full = Affine(across, 0, 0, down, (across - 1) / 2, (down - 1) / 2)
    return Look(np.where(there, grey, 0).astype(np.float32), np.asarray(there), to_full)


def factors(
    fixed: tuple[int, int], moving: tuple[int, int], side_px: int, pixel_ratio: float | None
) -> tuple[float, float]:
    """Return by how much two images are reduced so that they are looked at with px of one size.

    Parameters
    ----------
    fixed, moving : tuple of int
        (rows, cols).
    side_px : int
        The fixed image's longer side afterwards, unless it is shorter already.
    pixel_ratio : float or None
        Fixed image's pixel size over the moving image's. None: not known; then they are taken to be of one size, or to
        show the same field where one image is more than half as large again as the other.

    Examples
    --------
    >>> factors((1024, 1024), (1024, 768), 512, None)
    (2.0, 2.0)
    >>> factors((1024, 1024), (300, 400), 512, 0.5)
    (2.0, 1.0)
    >>> factors((1024, 1024), (256, 256), 512, None)
    (2.0, 0.5)
    """
    first = max(1.0, max(fixed) / side_px)
    if pixel_ratio is None:
        larger = max(moving) / max(fixed)
        pixel_ratio = larger if larger > 1.5 or larger < 1 / 1.5 else 1.0
    second = first * pixel_ratio
    too_large = max(moving) / second / (_LARGEST_FACTOR * side_px)
    grown = max(1.0, too_large)
    return first * grown, second * grown


def halved(image: Float, mask: Mask) -> tuple[Float, Mask]:
    """Return an image at half the size: each pixel the mean of the data of its four, and data where half of it is."""
    rows, cols = image.shape
    pad = (0, rows % 2, 0, cols % 2)
    size = ((cols + 1) // 2, (rows + 1) // 2)
    if not pad[1] and not pad[3] and mask.all():
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32), np.ones(size[::-1], bool)
    known = cv2.copyMakeBorder(mask.astype(np.float32), *pad, cv2.BORDER_CONSTANT, value=(0,))
    grey = cv2.copyMakeBorder(np.where(mask, image, 0).astype(np.float32), *pad, cv2.BORDER_REPLICATE)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(grey * known, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-3)
    return np.where(share >= 0.5, mean, 0).astype(np.float32), np.asarray(share >= 0.5)


def pooled(fine: Structure, times: int) -> Structure:
    """Return structure at a size ``times`` (a power of two) smaller: each pixel the mean of what is known of its own.

    Edges that are too close together to be edges there still tell how many there are, and which way they run.
    """
    planes, known = fine.planes, fine.known
    while times > 1:
        halves = [halved(plane, known) for plane in planes]
        planes, known = np.stack([plane for plane, _ in halves]), halves[0][1]
        times //= 2
    level = np.where(known, planes[0] - (planes[0][known].mean() if known.any() else 0), 0)
    return Structure(np.stack([level, *planes[1:]]).astype(np.float32), known)
