"""Specimens: what two instruments look at, as grey, as a map of structures, and as a projection through its depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.errors import InputError
from demis_ij.synth.fields import Plane, Seed, seeds_from, smooth_field
from demis_ij.synth.modalities import unit_range
from demis_ij.synth.recipes import RECIPES
from demis_ij.synth.series import series
from demis_ij.synth.structures import structure

SECTIONS = 5
"""Sections that a projection goes through."""


@dataclass(frozen=True, eq=False)
class Specimen:
    """One specimen, in as many views as instruments need.

    Attributes
    ----------
    name : str
    grey : ndarray of shape (rows, cols), float32
        What electrons show, 0 to 1, without noise.
    label : ndarray of shape (rows, cols), int32
        Which structure each pixel belongs to.
    projected : ndarray of shape (rows, cols), float32
        Mean over several sections, 0 to 1.
    partner : ndarray of shape (rows, cols), float32, or None
        What another instrument really saw of it, in register; 0 to 1.
    """

    name: str
    grey: Plane
    label: NDArray[np.int32]
    projected: Plane
    partner: Plane | None = None


def tissue_specimen(shape: tuple[int, int], seed: Seed, *, style: str = "", zoom: float = 1.0) -> Specimen:
    """Return made-up tissue in three dimensions, of which five sections are projected.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    seed : int or Generator
    style : str
        A name of `demis_ij.synth.recipes.RECIPES`; drawn when empty.
    zoom : float
        Size of everything, 1 as in `RECIPES`.
    """
    root = seeds_from(seed)
    rng = np.random.default_rng(root)
    if style and style not in RECIPES:
        msg = f"no style {style!r} for a specimen; known: {', '.join(RECIPES)}"
        raise InputError(msg)
    name = style or str(rng.choice(list(RECIPES)))
    recipe = RECIPES[name]
    recipe = replace(recipe, look=replace(recipe.look, scale=recipe.look.scale * zoom))
    step = recipe.step_px * recipe.look.scale * float(rng.uniform(0.6, 1.2))
    cut = series(shape, 4 * SECTIONS, int(rng.integers(2**62)), style=recipe, step_px=step)
    first = int(rng.integers(2 * SECTIONS))
    sections = [cut[first + k] for k in range(SECTIONS)]
    seen = sections[SECTIONS // 2]
    _, label = np.unique(seen.label, return_inverse=True)
    projected = np.asarray(np.mean([s.clean for s in sections], axis=0), np.float32)
    kinds = np.asarray(label.reshape(shape), np.int32)
    return Specimen(f"tissue {name}", unit_range(seen.clean), kinds, unit_range(projected))


def material_specimen(shape: tuple[int, int], seed: Seed, *, name: str = "") -> Specimen:
    """Return a made-up material, by a name of `demis_ij.synth.structures.STRUCTURES` or drawn."""
    rng = np.random.default_rng(seeds_from(seed))
    grey, label, projected = structure(shape, rng, name=name, depths=SECTIONS)
    return Specimen(f"material {name}".strip(), grey, label, projected)


def image_specimen(image: ArrayLike, seed: Seed, *, partner: ArrayLike | None = None, name: str = "image") -> Specimen:
    """Return an image as a specimen, whose structures and depth are guessed.

    Structures are the connected parts of its grey levels after smoothing; the projection is the mean of the image and
    of bent copies of it, as if neighbouring sections were alike.

    Parameters
    ----------
    image : array_like of shape (rows, cols)
        Any grey values.
    seed : int or Generator
        Of the guess.
    partner : array_like of shape (rows, cols), optional
        The same field by another instrument, in register.
    name : str

    Raises
    ------
    InputError
        When the image has one grey level, or the partner another shape.
    """
    grey = np.asarray(image, np.float32)
    if grey.ndim != 2 or min(grey.shape) < 32 or float(grey.max()) == float(grey.min()):
        msg = f"{name}: a specimen needs an image of 32 px or more with structure, found {grey.shape}"
        raise InputError(msg)
    if partner is not None and np.shape(partner) != grey.shape:
        msg = f"{name}: its partner is {np.shape(partner)}, needed {grey.shape}: the two must be in register"
        raise InputError(msg)
    rng = np.random.default_rng(seeds_from(seed))
    grey = unit_range(grey)
    other = None if partner is None else unit_range(np.asarray(partner, np.float32))
    return Specimen(name, grey, _parts(grey, rng), _bent_mean(grey, rng), other)


def _parts(grey: Plane, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return the connected parts of the grey levels of a smoothed picture, levels at quantiles."""
    smooth = cv2.GaussianBlur(grey, (0, 0), rng.uniform(1.5, 3))
    count = int(rng.integers(3, 7))
    level = np.digitize(smooth, np.quantile(smooth, np.linspace(0, 1, count + 1)[1:-1]))
    label, first = np.zeros(grey.shape, np.int32), 0
    for k in range(count):
        found, parts = cv2.connectedComponents((level == k).astype(np.uint8))
        label[parts > 0] = parts[parts > 0] + first
        first += found
    return label


def _bent_mean(grey: Plane, rng: np.random.Generator) -> Plane:
    rows, cols = grey.shape
    x, y = np.meshgrid(np.arange(cols, dtype=np.float32), np.arange(rows, dtype=np.float32))
    length, reach = min(grey.shape) / 20, min(grey.shape) / 170
    bend = [smooth_field((rows, cols), rng, length) * np.float32(reach) for _ in range(4)]
    total = np.zeros_like(grey)
    for amount, other in ((-2.0, 0), (-1.0, 1), (0.0, 0), (1.0, 0), (2.0, 1)):
        dx, dy = bend[2 * other], bend[2 * other + 1]
        total += cv2.remap(
            grey, x + np.float32(amount) * dx, y + np.float32(amount) * dy, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
    return unit_range(np.asarray(total / 5, np.float32))


__all__ = ["SECTIONS", "Specimen", "image_specimen", "material_specimen", "tissue_specimen"]
