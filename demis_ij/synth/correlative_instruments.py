"""A light microscope and an electron microscope: what each makes of a specimen's colours or brightness.

Specimens come as float32 from 0 to 1, already in the frame of the picture. Lengths are px of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.fields import Plane
from demis_ij.synth.modalities import blurred, uneven

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class LightMicroscope:
    """How a light microscope shows things.

    Attributes
    ----------
    blur_px : tuple of float
        Range of the sigma of its point spread.
    shading : float
        How uneven its light is.
    noise : float
        Sd of the camera's noise at full light.
    dust : float
        Mean number of specks on its optics, out of focus.
    """

    blur_px: tuple[float, float] = (2.0, 2.8)
    shading: float = 0.07
    noise: float = 0.012
    dust: float = 1.5


@dataclass(frozen=True, kw_only=True)
class ElectronMicroscope:
    """How a scanning electron microscope shows things.

    Attributes
    ----------
    blur_px : tuple of float
        Range of the sigma of its beam.
    noise : tuple of float
        Range of the sd of its noise.
    gradient : float
        How much brighter one side of the field may be.
    streaks : float
        Sd of the differences from one scanned line to the next.
    charging : float
        How bright the wake of charged spots is.
    """

    blur_px: tuple[float, float] = (0.6, 0.9)
    noise: tuple[float, float] = (0.025, 0.05)
    gradient: float = 0.05
    streaks: float = 0.006
    charging: float = 0.25


@dataclass(frozen=True, eq=False)
class TwoViews:
    """One specimen without optics, noise or deformation.

    Attributes
    ----------
    colours : ndarray of shape (rows, cols, 3), float32
        By light; red first, 0 to 1.
    brightness : ndarray of shape (rows, cols), float32
        By electrons, 0 to 1.
    charged : ndarray of shape (rows, cols), float32
        How much each pixel charges under the beam.
    """

    colours: Plane
    brightness: Plane
    charged: Plane


def by_light(colours: Plane, rng: np.random.Generator, microscope: LightMicroscope) -> Bytes:
    """Return what a light microscope shows of colours (rows, cols, 3), red first, as (rows, cols, 3) uint8."""
    rows, cols = colours.shape[:2]
    sigma = rng.uniform(*microscope.blur_px)
    foci = sigma * (1 + np.array((0.06, 0.0, 0.04)) * rng.uniform(0, 1, 3))  # colours do not come to one focus
    seen = np.stack([blurred(np.ascontiguousarray(colours[..., k]), foci[k]) for k in range(3)], -1)
    light = uneven((rows, cols), rng, microscope.shading) * rng.uniform(0.88, 1.04)
    light = light * _dust((rows, cols), rng, microscope.dust)
    balance = 1 + 0.02 * rng.standard_normal(3).astype(np.float32)
    seen = seen * light[..., None].astype(np.float32) * balance
    noise = microscope.noise * rng.uniform(0.6, 1.5) * np.sqrt(np.clip(seen, 0.05, None))
    seen = seen + noise.astype(np.float32) * rng.standard_normal(seen.shape, dtype=np.float32)
    return _bytes(seen)


def _dust(shape: tuple[int, int], rng: np.random.Generator, mean: float) -> Plane:
    """Return how much light specks let through: discs out of focus."""
    out = np.ones(shape, np.float32)
    for _ in range(rng.poisson(mean)):
        x, y = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        radius, dark = rng.uniform(2, 9), rng.uniform(0.08, 0.3)
        disc = np.zeros(shape, np.float32)
        cv2.circle(disc, (round(x * 8), round(y * 8)), round(radius * 8), (float(dark),), -1, cv2.LINE_AA, 3)
        out -= disc
    return np.clip(blurred(out, 1.5), 0.4, None)


def by_electrons(
    brightness: Plane, rng: np.random.Generator, microscope: ElectronMicroscope, charged: Plane | None = None
) -> Bytes:
    """Return what an electron microscope shows of a brightness (rows, cols), as uint8.

    Parameters
    ----------
    brightness : ndarray of shape (rows, cols), float32
    rng : Generator
    microscope : ElectronMicroscope
    charged : ndarray of shape (rows, cols), float32, optional
        How much each pixel charges, 0 to 1: what the beam meets after it on the same line is too bright, then too dark.
    """
    rows, cols = brightness.shape
    seen = blurred(brightness, rng.uniform(*microscope.blur_px))
    if charged is not None and microscope.charging:
        seen = seen + np.float32(microscope.charging * rng.uniform(0.3, 1)) * _wake(charged)
    slope = rng.normal(0, microscope.gradient, 2)
    seen = seen + (slope[0] * np.linspace(-1, 1, cols)).astype(np.float32)
    seen = seen + (slope[1] * np.linspace(-1, 1, rows)).astype(np.float32)[:, None]
    seen = seen + np.float32(microscope.streaks) * rng.standard_normal((rows, 1), dtype=np.float32)
    sd = np.float32(rng.uniform(*microscope.noise)) * np.sqrt(np.clip(seen, 0.1, None) * 2)
    return _bytes(seen + sd * rng.standard_normal(seen.shape, dtype=np.float32))


def _wake(charged: Plane) -> Plane:
    """Return what charge does along the lines of the scan: bright at once, then dark, fading over tens of px."""
    length = 90
    along = np.arange(length, dtype=np.float32)
    kernel = np.exp(-along / 8) - 0.6 * np.exp(-along / 28) * (1 - np.exp(-along / 6))
    turned = np.zeros((1, 2 * length - 1), np.float32)
    turned[0, :length] = kernel[::-1]  # filter2D correlates: what lies to the left counts
    return np.asarray(cv2.filter2D(charged, cv2.CV_32F, turned / 3, borderType=cv2.BORDER_CONSTANT), np.float32)


def _bytes(plane: Plane) -> Bytes:
    return np.asarray(np.clip(np.rint(plane * 255), 0, 255), np.uint8)


__all__ = ["ElectronMicroscope", "LightMicroscope", "TwoViews", "by_electrons", "by_light"]
