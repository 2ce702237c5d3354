"""One specimen seen twice: by electrons, and by light after it was deformed; the deformation is known exactly.

The picture by electrons is fixed, that by light is moving: ``registered(x, y) = moving(x + dx, y + dy)``. Specimen,
deformation and the two exposures are drawn from one seed and nothing else. Seeds from `EVALUATION` on are kept for
evaluation: train on smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.fields import dense, grid_of
from demis_ij.geometry import Box
from demis_ij.records import Field
from demis_ij.synth import correlative_steel, correlative_tissue
from demis_ij.synth.correlative_instruments import (
    Bytes,
    ElectronMicroscope,
    LightMicroscope,
    TwoViews,
    by_electrons,
    by_light,
)
from demis_ij.synth.fields import Plane, smooth_field

EVALUATION = 10**9
"""The first seed that nothing may be trained on."""

STRIDE = 4
"""From node to node of a true deformation, px."""

LEAST_SIDE, MOST_SIDE = 64, 4096
_MEAN_PX = (4.9, 9.1)  # of a displacement's length, in a field of 512 px
_MOST_PX = 20.0
_STEPS = 14  # of the fixed-point iteration; each leaves a third of the error at worst


@dataclass(frozen=True)
class _Kind:
    specimen: Callable[[tuple[int, int], np.random.Generator], TwoViews]
    light: LightMicroscope
    electrons: ElectronMicroscope


_KINDS = {
    "steel": _Kind(correlative_steel.steel, correlative_steel.LIGHT, correlative_steel.ELECTRONS),
    "tissue": _Kind(correlative_tissue.tissue, correlative_tissue.LIGHT, correlative_tissue.ELECTRONS),
}
KINDS = tuple(_KINDS)
"""Specimens by name."""


@dataclass(frozen=True, eq=False)
class CorrelativeViews:
    """Two pictures of one specimen, and the truth about them.

    Attributes
    ----------
    kind : str
        Of `KINDS`.
    seed : int
    sem : ndarray of shape (size, size), uint8
        By electrons: the fixed picture.
    lom : ndarray of shape (size, size, 3), uint8
        By light, red first: the moving picture.
    truth : Field
        From pixels of ``sem`` to points of ``lom``; nodes `STRIDE` px apart.
    """

    kind: str
    seed: int
    sem: Bytes
    lom: Bytes
    truth: Field

    @property
    def name(self) -> str:
        """Kind and seed, as files are called."""
        return f"{self.kind}_{self.seed:010d}"


def views(kind: str, seed: int, size: int = 512, *, deformed: bool = True) -> CorrelativeViews:
    """Return a specimen by electrons and by light.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    seed : int
        The same seed gives the same pictures. Those from `EVALUATION` on are for evaluation only.
    size : int
        Rows and columns, px. Structures keep their size in px, displacements grow with the field.
    deformed : bool
        Whether the specimen was deformed before light saw it; else the truth is no displacement, and all else is drawn
        as it would have been.

    Raises
    ------
    InputError
        When the kind is unknown, or the seed or the size out of range.
    """
    made, light, electrons, _ = _made(kind, seed, size)
    margin = _margin(size)
    truth, back = _deformation(size, margin, _stream(kind, seed, 1)) if deformed else (_still(size), None)
    colours = _cropped(made.colours, margin) if back is None else _moved(made.colours, back)
    sem = by_electrons(
        _cropped(made.brightness, margin), electrons, _KINDS[kind].electrons, _cropped(made.charged, margin)
    )
    return CorrelativeViews(kind, seed, sem, by_light(colours, light, _KINDS[kind].light), truth)


def perfect_style(kind: str, seed: int, size: int = 512) -> Bytes:
    """Return what no style network can better: the deformed specimen of `views` by electrons, with noise of its own.

    Parameters are those of `views`; an array of shape (size, size), uint8.
    """
    made, _, _, again = _made(kind, seed, size)
    margin = _margin(size)
    _, back = _deformation(size, margin, _stream(kind, seed, 1))
    return by_electrons(_moved(made.brightness, back), again, _KINDS[kind].electrons, _moved(made.charged, back))


def _stream(kind: str, seed: int, part: int) -> np.random.Generator:
    return np.random.default_rng((81001, KINDS.index(kind), seed, part))


def _made(
    kind: str, seed: int, size: int
) -> tuple[TwoViews, np.random.Generator, np.random.Generator, np.random.Generator]:
    """Return a specimen with a margin around the field, and random numbers for three exposures."""
    if kind not in _KINDS:
        msg = f"no kind {kind!r} of specimen; known: {', '.join(KINDS)}"
        raise InputError(msg)
    if not (LEAST_SIDE <= size <= MOST_SIDE) or seed < 0:
        msg = f"a pair has a seed of 0 or more and {LEAST_SIDE} to {MOST_SIDE} px a side, found {seed} and {size}"
        raise InputError(msg)
    side = size + 2 * _margin(size)
    made = _KINDS[kind].specimen((side, side), _stream(kind, seed, 0))
    return made, _stream(kind, seed, 2), _stream(kind, seed, 3), _stream(kind, seed, 4)


def _margin(size: int) -> int:
    """Return how far a specimen reaches beyond the field, px: farther than any displacement, and whole strides."""
    return STRIDE * int(np.ceil((1.2 * _MOST_PX * size / 512 + 8) / STRIDE))


def _cropped(plane: Plane, margin: int) -> Plane:
    return np.ascontiguousarray(plane[margin:-margin, margin:-margin])


def _still(size: int) -> Field:
    return Field(np.zeros((2, *grid_of((size, size), STRIDE)), np.float32), STRIDE)


def _deformation(size: int, margin: int, rng: np.random.Generator) -> tuple[Field, Plane]:
    """Return a true field over the picture, and the point of the specimen that each pixel of the moving picture shows.

    The field is known over the margin, too, so that the way back is known everywhere in the moving picture.
    """
    side = size + 2 * margin
    grid = grid_of((side, side), STRIDE)
    fine, wide = rng.uniform(0.10, 0.17) * size / STRIDE, rng.uniform(0.25, 0.4) * size / STRIDE
    share = rng.uniform(0.2, 0.6)
    offsets = np.stack([smooth_field(grid, rng, fine) + share * smooth_field(grid, rng, wide) for _ in "xy"])
    length = np.hypot(*offsets)
    unit = size / 512
    wanted = rng.uniform(*_MEAN_PX) * unit
    offsets *= np.float32(min(wanted / float(length.mean()), _MOST_PX * unit / float(length.max())))
    whole = dense(Field(offsets, STRIDE), Box(0, 0, side, side))
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    at_x, at_y = x + margin, y + margin
    for _ in range(_STEPS):
        dx, dy = (cv2.remap(d, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for d in whole)
        at_x, at_y = x + margin - dx, y + margin - dy
    first = margin // STRIDE
    rows, cols = grid_of((size, size), STRIDE)
    inner = offsets[:, first : first + rows, first : first + cols]
    return Field(inner, STRIDE), np.stack([at_x, at_y])


def _moved(plane: Plane, back: NDArray[np.float32]) -> Plane:
    """Return what the moving picture shows of a specimen."""
    return np.asarray(
        cv2.remap(plane, back[0], back[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.float32
    )


__all__ = ["EVALUATION", "KINDS", "STRIDE", "CorrelativeViews", "perfect_style", "views"]
