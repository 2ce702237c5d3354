"""Random fields of a chosen smoothness, the raw material of synthetic tissue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError

Plane = NDArray[np.float32]
Seed = int | np.random.Generator


def seeds_from(seed: Seed) -> np.random.SeedSequence:
    """Return the root of all random numbers of one picture; a generator gives up one number of its stream."""
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(int(seed.integers(0, 2**63)))
    if seed < 0:
        msg = f"a seed is an integer of at least 0, found {seed}"
        raise InputError(msg)
    return np.random.SeedSequence(int(seed))


def check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return (rows, cols) when an image can have them. Raises `InputError` otherwise."""
    rows, cols = int(shape[0]), int(shape[1])
    if not (8 <= rows <= 32000 and 8 <= cols <= 32000):
        msg = f"a synthetic image has between 8 and 32000 rows and columns, found {rows} x {cols}"
        raise InputError(msg)
    return rows, cols


def smooth_field(shape: tuple[int, int], rng: np.random.Generator, length_px: float) -> Plane:
    """Return Gaussian noise of mean 0 and sd about 1 that varies over ``length_px`` (the sigma of its smoothing).

    Fields smoother than 4 px are drawn on a coarse lattice and interpolated, so the cost hardly depends on the length.

    Returns
    -------
    ndarray of shape (rows, cols), float32
    """
    lattice = _lattice(shape, length_px)
    return _smoothed(rng.standard_normal(lattice, dtype=np.float32), shape, length_px)


def _lattice(shape: tuple[int, int], length_px: float) -> tuple[int, int]:
    """Return how many numbers a field of ``shape`` is made of."""
    step = max(1.0, length_px / 2.5)
    margin = ceil(4 * length_px / step)
    return ceil(shape[0] / step) + 2 * margin + 2, ceil(shape[1] / step) + 2 * margin + 2


def _smoothed(noise: Plane, shape: tuple[int, int], length_px: float) -> Plane:
    """Return white noise on its lattice as a field of ``shape``, smooth over ``length_px``."""
    rows, cols = shape
    step = max(1.0, length_px / 2.5)
    sigma = length_px / step
    margin = ceil(4 * sigma)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)
    noise *= np.float32(2 * np.sqrt(np.pi) * sigma)  # a Gaussian of that sigma leaves sd 1 / (2 sqrt(pi) sigma)
    if step == 1.0:
        return np.ascontiguousarray(noise[margin : margin + rows, margin : margin + cols])
    to_lattice = np.array([[1 / step, 0, margin], [0, 1 / step, margin]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    # OpenCV rounds coordinates to 1/32 of the lattice step: nothing for a field this smooth
    return np.asarray(cv2.warpAffine(noise, to_lattice, (cols, rows), flags=flags), np.float32)


@dataclass(frozen=True)
class Streams:
    """Random numbers of a world without end: one generator for every kind of thing and every place along z.

    Attributes
    ----------
    root : int
        The seed of the world.
    """

    root: int

    def rng(self, tag: int, index: int) -> np.random.Generator:
        """Return the generator of the ``index``-th (it may be negative) of the things numbered ``tag``."""
        return np.random.default_rng(np.random.SeedSequence(self.root, spawn_key=(tag, index + 2**31)))


def solid_field(shape: tuple[int, int], streams: Streams, tag: int, z_px: float, length_px: float) -> Plane:
    """Return one plane of Gaussian noise in three dimensions, mean 0 and sd about 1, smooth over ``length_px``.

    White noise on planes 0.8 ``length_px`` apart is weighted with a window in z and then smoothed in the plane, so any
    plane can be made by itself and neighbours agree.

    Returns
    -------
    ndarray of shape (rows, cols), float32
    """
    apart, half = 0.8 * length_px, 2.4 * length_px
    numbers = np.arange(ceil((z_px - half) / apart), int((z_px + half) // apart) + 1)
    weights = np.cos(0.5 * np.pi * (numbers * apart - z_px) / half) ** 2
    weights /= np.sqrt((weights**2).sum())
    lattice = _lattice(shape, length_px)
    noise = np.zeros(lattice, np.float32)
    for number, weight in zip(numbers.tolist(), weights.tolist(), strict=True):
        if weight > 1e-3:
            noise += np.float32(weight) * streams.rng(tag, number).standard_normal(lattice, dtype=np.float32)
    return _smoothed(noise, shape, length_px)


def bands(rows: int, height: int = 256) -> Iterator[slice]:
    """Return slices of rows, so that arithmetic on a large plane needs the temporaries of a small one."""
    return (slice(top, min(rows, top + height)) for top in range(0, rows, height))


def smoothstep(values: Plane, low: float, high: float) -> Plane:
    """Return 0 below ``low``, 1 above ``high`` and a smooth rise between."""
    t = np.clip((values - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
