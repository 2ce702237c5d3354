"""Pairs of pictures of one specimen by two instruments, with the transform between them known exactly.

Six kinds of pair at two ranges, and pairs that have nothing in common::

    kind        mono, xray, light, xray_hard, light_hard (`demis_ij.synth.modalities`)
    range       small: 5 degrees, 5 %, 4 % of the field; full: 30 degrees, a factor of 1.3, 12 %

The fixed picture is what electrons show; the moving one is the other instrument's. Both see the specimen through their
own optics and detector: the specimen is moved first, blurred and counted then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.records import Affine
from demis_ij.synth import modalities
from demis_ij.synth.fields import Plane
from demis_ij.synth.specimens import Specimen, material_specimen, tissue_specimen

_COARSE = 1.5  # px of the specimen a px of the picture, from which it is halved first
KINDS = ("mono", "xray", "light", "xray_hard", "light_hard")
"""Instruments of the moving picture."""


@dataclass(frozen=True)
class TransformRange:
    """How far two pictures may be apart; numbers are drawn evenly on both sides of no transform.

    Attributes
    ----------
    angle_deg : float
    scale : float
        The largest factor; the smallest is its inverse, and logarithms are drawn evenly.
    shift_frac : float
        Part of the field, for each axis by itself.
    """

    angle_deg: float
    scale: float
    shift_frac: float

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return (angle in radians, logarithm of the scale, shift x and y as parts of the field)."""
        return rng.uniform(-1, 1, 4) * self.spans

    def scaled(self, factor: float) -> TransformRange:
        """Return a range of a part of this one."""
        return TransformRange(factor * self.angle_deg, self.scale**factor, factor * self.shift_frac)

    @property
    def spans(self) -> NDArray[np.float64]:
        """The largest of each of the four numbers."""
        return np.array([math.radians(self.angle_deg), math.log(self.scale), self.shift_frac, self.shift_frac])


RANGES = {"small": TransformRange(5.0, 1.05, 0.04), "full": TransformRange(30.0, 1.3, 0.12)}
"""Ranges by name."""


def to_moving_of(parameters: NDArray[np.float64], side: int) -> Affine:
    """Return the transform, px to px, of the four numbers between two squares of ``side`` px, about their middles."""
    angle, log_scale, x, y = (float(p) for p in parameters)
    middle = (side - 1) / 2
    linear = Affine.rigid(angle)
    factor = math.exp(log_scale)
    grown = Affine(factor * linear.a, factor * linear.b, factor * linear.c, factor * linear.d)
    return Affine.translation(x * side, y * side) @ Affine.about(grown, (middle, middle))


def seen(
    specimen: Specimen, kind: str, to_specimen: Affine, side: int, rng: np.random.Generator, *, colours: int = 1
) -> Plane:
    """Return what an instrument shows of a part of a specimen.

    Parameters
    ----------
    specimen : Specimen
    kind : str
        One of `KINDS`; ``marked``; or ``partner`` for what another instrument really saw.
    to_specimen : Affine
        Where a pixel of the picture lies in the specimen; beyond its edge it is mirrored.
    side : int
        Rows and columns of the picture, which covers a field of 512 px for all that is measured in px.
    rng : Generator
    colours : int
        Of light; 1 is grey.
    """
    unit = side / 512
    if kind == "light_hard":
        return modalities.light_hard(_sampled(specimen.label, to_specimen, side), rng, unit, colours=colours)
    if kind == "xray_hard":
        return modalities.xray_hard(_sampled(specimen.projected, to_specimen, side), rng, unit)
    if kind == "marked":
        label = _sampled(specimen.label, to_specimen, side)
        return modalities.marked(_sampled(specimen.grey, to_specimen, side), label, rng, unit)
    if kind == "partner" and specimen.partner is not None:
        return modalities.another_day(_sampled(specimen.partner, to_specimen, side), rng, unit)
    plane = _sampled(specimen.grey, to_specimen, side)
    if kind == "mono":
        return modalities.mono(plane, rng, unit)
    if kind == "xray":
        return modalities.xray(plane, rng, unit)
    if kind == "light":
        return modalities.light(plane, rng, unit, colours=colours)
    msg = f"no kind {kind!r} of picture for {specimen.name}; known: {', '.join(KINDS)}"
    raise InputError(msg)


def _sampled(plane: NDArray[np.float32] | NDArray[np.int32], at: Affine, side: int) -> NDArray:  # type: ignore[type-arg]
    labels = plane.dtype == np.int32
    if at.scale >= _COARSE:  # what is finer than the picture's px is averaged, not jumped over
        half = (plane.shape[1] // 2, plane.shape[0] // 2)
        less: NDArray = plane[::2, ::2] if labels else cv2.resize(plane, half, interpolation=cv2.INTER_AREA)  # type: ignore[type-arg]
        return _sampled(
            np.ascontiguousarray(less), Affine(0.5, 0, 0, 0.5, *(() if labels else (-0.25, -0.25))) @ at, side
        )
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR)
    matrix = np.array(at.rows)
    return cv2.warpAffine(plane, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def covered(specimen: Specimen, to_specimen: Affine, side: int) -> Plane:
    """Return 1 where a picture shows the specimen and 0 where it shows what lies beyond its edge."""
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST
    whole = np.ones(specimen.grey.shape, np.float32)
    return np.asarray(cv2.warpAffine(whole, np.array(to_specimen.rows), (side, side), flags=flags), np.float32)


@dataclass(frozen=True, eq=False)
class CorrelativePair:
    """Two pictures and the truth about them.

    Attributes
    ----------
    name : str
    fixed : ndarray of shape (side, side), uint8
    moving : ndarray of shape (side, side) or (side, side, 3), uint8
    to_moving : Affine or None
        Where a px of the fixed picture lies in the moving one; None when they have nothing in common.
    """

    name: str
    fixed: NDArray[np.uint8]
    moving: NDArray[np.uint8]
    to_moving: Affine | None


def corner_error_px(found: Affine, truth: Affine, shape: tuple[int, int]) -> float:
    """Return the mean distance of the four corners of the fixed picture, px of the moving one."""
    rows, cols = shape
    corners = np.array([[0, 0], [cols - 1, 0], [0, rows - 1], [cols - 1, rows - 1]], float)
    return float(np.hypot(*(found(corners) - truth(corners)).T).mean())


def specimen_for(seed: int, side: int = 512, *, tissue: bool = True) -> Specimen:
    """Return the specimen of a test pair, large enough for any transform of the full range."""
    shape = (round(1.88 * side),) * 2
    rng = np.random.default_rng((77001, seed))
    if tissue:
        return tissue_specimen(shape, int(rng.integers(2**60)), zoom=float(rng.uniform(0.8, 1.1)) * side / 512)
    return material_specimen(shape, int(rng.integers(2**60)))


def correlative_pair(
    specimen: Specimen, kind: str, range_: TransformRange, seed: int, *, side: int = 512
) -> CorrelativePair:
    """Return a pair of pictures of one specimen.

    Parameters
    ----------
    specimen : Specimen
    kind : str
        One of `KINDS`: the instrument of the moving picture. Light has three colours.
    range_ : TransformRange
    seed : int
        Of the transform and all else; the same seed gives the same pair.
    side : int
        Px of both pictures.

    Raises
    ------
    InputError
        When the specimen is too small for the transform that was drawn, or the kind is unknown.
    """
    rng = np.random.default_rng((77002, seed, KINDS.index(kind) if kind in KINDS else 99))
    to_moving = to_moving_of(range_.draw(rng), side)
    fixed_at = _placed(specimen, to_moving, side, rng)
    fixed = seen(specimen, "mono", fixed_at, side, rng)
    moving = seen(specimen, kind, fixed_at @ to_moving.inverse, side, rng, colours=3 if kind.startswith("light") else 1)
    return CorrelativePair(f"{specimen.name} {kind} {seed}", _bytes(fixed), _bytes(moving), to_moving)


def stranger_pair(one: Specimen, other: Specimen, kind: str, seed: int, *, side: int = 512) -> CorrelativePair:
    """Return a pair of pictures of two specimens, or of two far parts of one kind: nothing to be found."""
    first = correlative_pair(one, "mono", RANGES["full"], seed, side=side)
    second = correlative_pair(other, kind, RANGES["full"], seed + 1, side=side)
    return CorrelativePair(f"{one.name}, {other.name} {kind} {seed}", first.fixed, second.moving, None)


def _placed(specimen: Specimen, to_moving: Affine, side: int, rng: np.random.Generator) -> Affine:
    """Return where the fixed picture lies, so that both pictures lie in the specimen."""
    corners = np.array([[0, 0], [side - 1, 0], [0, side - 1], [side - 1, side - 1]], float)
    both = np.concatenate([corners, to_moving.inverse(corners)])
    low, high = -both.min(0), np.array(specimen.grey.shape[::-1]) - 1 - both.max(0)
    if (high < low).any():
        msg = f"{specimen.name}: {specimen.grey.shape} is too small for two pictures of {side} px under this transform"
        raise InputError(msg)
    return Affine.translation(*rng.uniform(low, high))


def _bytes(plane: Plane) -> NDArray[np.uint8]:
    low, high = np.percentile(plane[::4, ::4], (0.2, 99.8))
    return np.asarray(np.clip(np.rint((plane - low) * (255 / max(float(high - low), 1e-6))), 0, 255), np.uint8)


__all__ = [
    "KINDS", "RANGES", "CorrelativePair", "TransformRange", "corner_error_px", "correlative_pair", "covered", "seen",
    "specimen_for", "stranger_pair", "to_moving_of",
]  # fmt: skip
