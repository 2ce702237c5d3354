"""How instruments show one and the same specimen: electrons, X-rays, light, and worse.

Grey goes in and out as float32 from 0 to 1. Lengths are px of a field of 512 px; ``unit_px`` says how many px of the
picture at hand that is (0.5 for a field of 256). What each does:

========== ===========================================================================================================
mono       another tone (gamma, gain), a little blur and noise
xray       inverted, tone-curved, blur 1.5 to 3.5, 2 to 4 times fewer px, Poisson noise
light      a tone that rises and falls, of each colour its own, blur 2.5 to 5, uneven light, noise
xray_hard  a projection through several sections, inverted; blur 3 to 6, 4 to 6 times fewer px, few photons, stripes
light_hard every structure repainted in an unrelated grey, then as light
marked     fluorescence: few structures, or what is stained to one degree, bright on dark
========== ===========================================================================================================
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.fields import Plane

_FEW = (np.log(12), np.log(60))  # logarithm of photons a px of the detector


def unit_range(plane: Plane) -> Plane:
    """Return a picture stretched to 0 to 1 (its 0.5 and 99.5 percent)."""
    some = plane[:: max(1, plane.shape[0] // 128), :: max(1, plane.shape[1] // 128)]
    low, high = np.percentile(some, (0.5, 99.5))
    return np.asarray(np.clip((plane - low) * np.float32(1 / max(float(high - low), 1e-6)), 0, 1), np.float32)


def blurred(plane: Plane, sigma_px: float) -> Plane:
    """Return a picture out of focus; below 0.2 px as it is."""
    if sigma_px < 0.2:
        return plane
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px), np.float32)


def uneven(shape: tuple[int, int], rng: np.random.Generator, amount: float) -> Plane:
    """Return uneven illumination around 1, smooth over a third of the field."""
    coarse = rng.standard_normal((4, 4)).astype(np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(1 + amount * field, 0.15, None), np.float32)


def rising_tone(plane: Plane, rng: np.random.Generator, strength: float = 0.5) -> Plane:
    """Return a picture under a gamma of exp(-strength) to exp(strength)."""
    return np.asarray(np.clip(plane, 0, 1) ** np.float32(np.exp(rng.uniform(-strength, strength))), np.float32)


def winding_tone(plane: Plane, rng: np.random.Generator) -> Plane:
    """Return a picture under a tone that rises and falls: straight lines between three to five random greys."""
    knots = int(rng.integers(3, 6))
    greys = rng.uniform(0, 1, knots)
    greys[rng.integers(knots)] = 0.0
    greys[rng.integers(knots)] = 1.0
    return np.asarray(np.interp(plane, np.linspace(0, 1, knots), greys), np.float32)


def counted(plane: Plane, rng: np.random.Generator, photons: float) -> Plane:
    """Return a picture of which each px has counted ``photons`` where it is 1: Poisson noise."""
    return np.asarray(rng.poisson(np.clip(plane, 0, None) * photons) / photons, np.float32)


def detected(plane: Plane, rng: np.random.Generator, factor: float, photons: float, stripes: float) -> Plane:
    """Return a picture as seen by a detector of ``factor`` times fewer px, with Poisson noise and uneven columns."""
    rows, cols = plane.shape
    small = (max(8, round(cols / factor)), max(8, round(rows / factor)))
    seen = np.asarray(cv2.resize(plane, small, interpolation=cv2.INTER_AREA), np.float32)
    seen = counted(0.1 + 0.9 * seen, rng, photons)
    if stripes:
        seen = seen + np.float32(stripes) * rng.standard_normal((1, small[0]), dtype=np.float32)
    return np.asarray(cv2.resize(seen, (cols, rows), interpolation=cv2.INTER_LINEAR), np.float32)


def repainted(label: NDArray[np.int32], rng: np.random.Generator) -> Plane:
    """Return a picture in which every label has a grey of its own that says nothing of what it was."""
    return rng.uniform(0, 1, int(label.max()) + 1).astype(np.float32)[label]


def mono(plane: Plane, rng: np.random.Generator, unit_px: float = 1.0) -> Plane:
    """Return what the same kind of instrument shows another day."""
    seen = rising_tone(plane, rng, 0.4) * np.float32(rng.uniform(0.7, 1)) + np.float32(rng.uniform(0, 0.1))
    seen = blurred(seen, unit_px * rng.uniform(0, 1.2))
    noise = np.float32(rng.uniform(0.01, 0.06)) * rng.standard_normal(plane.shape, dtype=np.float32)
    return np.asarray(seen + noise, np.float32)


def another_day(plane: Plane, rng: np.random.Generator, unit_px: float = 1.0) -> Plane:
    """Return a picture as the same instrument might have shown it: tone, blur and noise changed a little, or not."""
    seen = blurred(rising_tone(plane, rng, 0.3), unit_px * rng.uniform(0, 2.5))
    noise = np.float32(0.04 * rng.uniform(0, 1) ** 3) * rng.standard_normal(plane.shape, dtype=np.float32)
    return np.asarray(seen + noise, np.float32)


def xray(plane: Plane, rng: np.random.Generator, unit_px: float = 1.0) -> Plane:
    """Return what X-rays show of a section."""
    seen = blurred(rising_tone(1 - plane, rng, 0.7), unit_px * rng.uniform(1.5, 3.5))
    return detected(seen, rng, max(1.0, unit_px * rng.uniform(2, 4)), rng.uniform(40, 300), 0.0)


def light(plane: Plane, rng: np.random.Generator, unit_px: float = 1.0, *, colours: int = 1) -> Plane:
    """Return what light shows: (rows, cols) for one colour, else (rows, cols, colours)."""
    out = []
    for _ in range(colours):
        seen = blurred(winding_tone(plane, rng), unit_px * rng.uniform(2.5, 5))
        seen = seen * uneven(plane.shape, rng, 0.2)
        noise = np.float32(rng.uniform(0.003, 0.02)) * rng.standard_normal(plane.shape, dtype=np.float32)
        out.append(np.asarray(seen + noise, np.float32))
    return out[0] if colours == 1 else np.stack(out, -1)


def xray_hard(projected: Plane, rng: np.random.Generator, unit_px: float = 1.0) -> Plane:
    """Return a projection by X-rays of which too few came; the projection itself goes in."""
    seen = blurred(rising_tone(1 - projected, rng, 0.7), unit_px * rng.uniform(3, 6))
    factor = max(1.0, unit_px * rng.uniform(4, 6))
    return detected(unit_range(seen), rng, factor, float(np.exp(rng.uniform(*_FEW))), rng.uniform(0.03, 0.12))


def light_hard(label: NDArray[np.int32], rng: np.random.Generator, unit_px: float = 1.0, *, colours: int = 1) -> Plane:
    """Return light that shows structures in greys which have nothing to do with what electrons show."""
    painted = repainted(label, rng)
    if colours == 1:
        seen = [painted]
    else:
        seen = [repainted(label, rng) for _ in range(colours)]
        seen = [0.6 * painted + 0.4 * one for one in seen]
    out = []
    sigma, shade = unit_px * rng.uniform(2.5, 5), uneven(painted.shape, rng, 0.2)
    for one in seen:
        noise = np.float32(rng.uniform(0.003, 0.02)) * rng.standard_normal(painted.shape, dtype=np.float32)
        out.append(np.asarray(blurred(one, sigma) * shade + noise, np.float32))
    return out[0] if colours == 1 else np.stack(out, -1)


def marked(plane: Plane, label: NDArray[np.int32], rng: np.random.Generator, unit_px: float = 1.0) -> Plane:
    """Return fluorescence of a marker: in some structures only, or where the grey is within a narrow band."""
    if rng.random() < 0.5:
        bright = (rng.random(int(label.max()) + 1) < rng.uniform(0.08, 0.4)).astype(np.float32)
        seen = bright[label] * rng.uniform(0.5, 1, len(bright)).astype(np.float32)[label]
    else:
        soft = blurred(plane, unit_px * rng.uniform(1.5, 5))
        at, width = rng.uniform(0, 1), rng.uniform(0.08, 0.2)
        seen = np.exp(-(((soft - np.quantile(soft[::4, ::4], at)) / np.float32(width)) ** 2))
    seen = blurred(seen.astype(np.float32), unit_px * rng.uniform(1.5, 5))
    return counted(0.03 + 0.97 * unit_range(seen), rng, rng.uniform(30, 200))


__all__ = [
    "another_day", "blurred", "counted", "detected", "light", "light_hard", "marked", "mono", "repainted",
    "rising_tone", "uneven", "unit_range", "winding_tone", "xray", "xray_hard",
]  # fmt: skip
