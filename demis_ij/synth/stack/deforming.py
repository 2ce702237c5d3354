"""How one section is deformed: a thin-plate spline, a fold or a tear, a turn and a shift.

All are pull maps from a pixel of the deformed section to the point of the undeformed one that is seen there:
``deformed(p) = original(D(p))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.fields import grid_of, inverse, jacobian, nodes, thin_plate
from demis_ij.geometry import Box
from demis_ij.records import Affine, Field, Warp
from demis_ij.synth.stack.cases import Case

SIDE = 512
"""The shorter side, px, that the lengths of a case are meant for."""
MIN_JACOBIAN = 0.25
"""No spline shrinks an area to less than this."""
_TRIES = 500
_STEPS = 400  # of the inversion; beside a tear it takes many

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Crease:
    """A fold or a tear: a band across the section, a little wavy.

    Attributes
    ----------
    angle : float
        Of its normal, radians.
    through_xy : tuple of float
        A point of its middle, px.
    lost_px : float
        How much tissue a fold hides (positive), or how wide a tear gapes (negative).
    wave_px, wave_length_px : float
        Of its middle line.
    """

    angle: float
    through_xy: tuple[float, float]
    lost_px: float
    wave_px: float
    wave_length_px: float

    @property
    def half_px(self) -> float:
        """Half the width of what is seen of it: the dark band, or the gap."""
        return 0.35 * self.lost_px if self.lost_px > 0 else -0.5 * self.lost_px

    def distance(self, at_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far points (..., 2) lie from its middle, px, with a sign."""
        x, y = at_xy[..., 0] - self.through_xy[0], at_xy[..., 1] - self.through_xy[1]
        along = -x * sin(self.angle) + y * cos(self.angle)
        wave = self.wave_px * np.sin(along / self.wave_length_px)
        return np.asarray(x * cos(self.angle) + y * sin(self.angle) + wave)

    def shift(self, at_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the offsets (..., 2) it adds: half of what is lost to either side, evenly across the band itself."""
        share = np.clip(self.distance(at_xy) / self.half_px, -1, 1)[..., None]
        return np.asarray(share * self.lost_px / 2 * np.array([cos(self.angle), sin(self.angle)]), np.float64)

    def inside(self, shape: tuple[int, int]) -> Mask:
        """Return the pixels (rows, cols) of the band."""
        return np.asarray(np.abs(self.distance(nodes(shape, 1.0))) < self.half_px)


@dataclass(frozen=True, eq=False)
class Deformation:
    """What a section underwent.

    Attributes
    ----------
    bent : Field or None
        Spline and crease, pixel of the deformed section to a point of the section before it was turned and shifted.
    placed : Affine
        From there to the undeformed section.
    crease : Crease or None
        The fold or tear.
    shape : tuple of int
        (rows, cols) of the section.
    """

    bent: Field | None
    placed: Affine
    crease: Crease | None
    shape: tuple[int, int]

    @property
    def warp(self) -> Warp:
        """D: pixel of the deformed section to point of the undeformed one."""
        parts = (self.bent, None if self.placed == Affine() else self.placed)
        return Warp(tuple(p for p in parts if p is not None), self.shape)

    def undone(self) -> Warp:
        """Return the warp that an aligner should find: pixel of the undeformed section to point of the deformed one.

        NaN where there is none, in the middle of a tear.
        """
        parts: list[Affine | Field] = []
        if self.placed != Affine():
            parts.append(self.placed.inverse)
        if self.bent is not None:
            parts.append(inverse(self.bent, self.shape, steps=_STEPS))
        return Warp(tuple(parts), self.shape)


def drawn(shape: tuple[int, int], case: Case, rng: np.random.Generator, what: frozenset[str]) -> Deformation:
    """Return the deformation of a section.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    case : Case
        How strong.
    rng : Generator
        Of this section.
    what : set of str
        Which of turned, shifted and folded strike it.

    Raises
    ------
    InputError
        When splines of this strength fold the section, whatever is drawn.
    """
    scale = min(shape) / SIDE
    stride = max(1, round(4 * scale))
    bent = _spline(shape, case, stride, rng) if case.sd_px else None
    crease = _crease(shape, rng) if "folded" in what else None
    if crease is not None:
        at = nodes(grid_of(shape, stride), stride)
        before = np.zeros((2, *at.shape[:2]), np.float32) if bent is None else bent.offsets
        bent = Field(before + np.moveaxis(crease.shift(at), -1, 0).astype(np.float32), stride)
    return Deformation(bent, _placing(shape, case, rng, what), crease, shape)


def _spline(shape: tuple[int, int], case: Case, stride: int, rng: np.random.Generator) -> Field:
    """Return the paper's deformation: a thin-plate spline of normal vectors at uniform places, drawn until it fits."""
    sd = case.sd_px * min(shape) / SIDE
    for _ in range(_TRIES):
        points = rng.uniform(0, 1, (case.points, 2)) * (shape[1], shape[0])
        found = thin_plate(points, rng.normal(0, sd, (case.points, 2)), shape, stride)
        if jacobian(found).min() > MIN_JACOBIAN:
            return found
    msg = (
        f"sd_px {case.sd_px:g} with {case.points} points folds every section that was drawn ({_TRIES} tries): choose"
        " smaller vectors or fewer points"
    )
    raise InputError(msg)


def _crease(shape: tuple[int, int], rng: np.random.Generator) -> Crease:
    scale = min(shape) / SIDE
    angle, off = rng.uniform(0, pi), rng.uniform(-0.2, 0.2) * min(shape)
    middle = ((shape[1] - 1) / 2 + off * cos(angle), (shape[0] - 1) / 2 + off * sin(angle))
    sign = 1 if rng.random() < 0.5 else -1
    return Crease(angle, middle, sign * rng.uniform(14, 28) * scale, 6 * scale, 40 * scale)


def _placing(shape: tuple[int, int], case: Case, rng: np.random.Generator, what: frozenset[str]) -> Affine:
    found = Affine()
    sign, direction = rng.choice((-1, 1)), rng.uniform(0, 2 * pi)
    if "turned" in what:
        middle = Box.of_shape(shape)
        found = Affine.about(
            Affine.rigid(sign * radians(case.turn_deg)), ((middle.width - 1) / 2, (middle.height - 1) / 2)
        )
    if "shifted" in what:
        far = case.shift_frac * shape[1]
        found = Affine.translation(round(far * cos(direction)), round(far * sin(direction))) @ found
    return found
