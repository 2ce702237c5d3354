"""Misaligned stacks with exact truth: the sections of an aligned, labelled volume, each deformed by itself.

Section k depends on the seed, the case and the undeformed section k only (with ``same`` on section 0, too): a longer
stack begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.fields import nodes
from demis_ij.images import warped
from demis_ij.records import Warp
from demis_ij.synth.stack.cases import Case
from demis_ij.synth.stack.deforming import SIDE, Crease, Deformation, Mask, drawn
from demis_ij.synth.stack.volumes import LabelledVolume

_BLOCK = 10  # sections among which shares are dealt out
_SHARES = ("turned", "shifted", "folded", "corner", "dusty", "missing")
_FOLD_GREY, _TEAR_GREY, _DIRT_GREY = 25.0, 235.0, 15.0


@dataclass(frozen=True, eq=False)
class MadeSection:
    """One section of a misaligned stack, and the truth about it.

    Attributes
    ----------
    number : int
        Its place in the volume.
    image : ndarray of shape (H, W), uint8
        What the microscope saw; 0 where there is nothing.
    mask : ndarray of shape (H, W), bool
        Where there is a section at all.
    damaged : ndarray of shape (H, W), bool
        Under a fold, in a tear, under dirt: part of the mask, but no tissue to be judged by.
    label : ndarray of shape (H, W), int32
        Labels, deformed as the image was; 0 where nothing is known.
    original : ndarray of shape (H, W), int32
        Labels of the undeformed section.
    deformation : Warp
        Pixel of the deformed section to point of the undeformed one.
    true : Warp
        What undoes it: pixel of the undeformed section to point of the deformed one. What an aligner should find.
    what : tuple of str
        What befell it.
    """

    number: int
    image: NDArray[np.uint8]
    mask: Mask
    damaged: Mask
    label: NDArray[np.int32]
    original: NDArray[np.int32]
    deformation: Warp
    true: Warp
    what: tuple[str, ...]


def make_sections(volume: LabelledVolume, case: Case, seed: int) -> Iterator[MadeSection]:
    """Give the sections of a volume, misaligned, in order; those that were lost are left out.

    Parameters
    ----------
    volume : LabelledVolume
        Aligned sections of one size, with labels.
    case : Case
        What happens to them.
    seed : int
        The same seed gives the same stack.

    Raises
    ------
    InputError
        When the case folds every section, or the seed is negative.
    """
    if seed < 0:
        msg = f"a seed is an integer of at least 0, found {seed}"
        raise InputError(msg)
    for number in range(len(volume)):
        what = struck(case, seed, number)
        if "missing" not in what:
            yield _made(volume, case, seed, number, what)


def struck(case: Case, seed: int, number: int) -> frozenset[str]:
    """Return what befalls a section: turned, shifted, folded, corner, dusty, missing."""
    block, place = divmod(number, _BLOCK)
    out = set()
    for k, name in enumerate(_SHARES):
        share = getattr(case, f"{name}_frac")
        order = np.random.default_rng([seed, 1, k, block]).permutation(_BLOCK)
        ranks = [int(p) for p in order if block > 0 or p > 0]  # the first section of all is spared
        if place in ranks[: round(share * _BLOCK)]:
            out.add(name)
    return frozenset(out)


def _made(volume: LabelledVolume, case: Case, seed: int, number: int, what: frozenset[str]) -> MadeSection:
    image, label = volume[0 if case.same else number]
    shape = (int(image.shape[0]), int(image.shape[1]))
    rng, look = np.random.default_rng([seed, 2, number]), np.random.default_rng([seed, 3, number])
    if case.foreign_frac:
        other = volume[number][0][::-1, ::-1]
        image = (1 - case.foreign_frac) * image + case.foreign_frac * other
    deformation = drawn(shape, case, rng, what)
    grey, mask = warped(image.astype(np.float32), None, deformation.warp, interpolation="cubic")
    there, known = warped(label, None, deformation.warp, interpolation="nearest")
    grey = _looked(grey, case, look)
    damaged = np.zeros(shape, bool)
    if deformation.crease is not None:
        damaged |= _painted(grey, deformation.crease, look)
    if "dusty" in what:
        damaged |= _dusted(grey, rng)
    if "corner" in what:
        mask &= ~_corner(shape, rng)
    pixels = np.where(mask, np.clip(np.rint(grey), 1, 255), 0).astype(np.uint8)
    told = tuple(sorted(_tale(what, deformation)))
    return MadeSection(
        number, pixels, mask, damaged & mask, np.where(known & mask, there, 0).astype(np.int32), label.astype(np.int32),
        deformation.warp, deformation.undone(), told,
    )  # fmt: skip


def _tale(what: frozenset[str], deformation: Deformation) -> Iterator[str]:
    names = {"corner": "empty corner", "dusty": "dirt"}
    for name in what - {"folded"}:
        yield names.get(name, name)
    if deformation.crease is not None:
        yield "fold" if deformation.crease.lost_px > 0 else "tear"


def _looked(grey: NDArray[np.float32], case: Case, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a section with a contrast, brightness, sharpness and noise of its own."""
    gain, offset, blur = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(1 / 3, 1)
    if case.blur_px:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur * case.blur_px), np.float32)
    noise = case.noise_sd * rng.standard_normal(grey.shape, dtype=np.float32)
    return np.asarray((grey - 128) * (1 + case.gain * gain) + 128 + case.offset * offset + noise, np.float32)


def _painted(grey: NDArray[np.float32], crease: Crease, rng: np.random.Generator) -> Mask:
    """Draw a fold or a tear into a section; return where it is."""
    band = crease.inside((grey.shape[0], grey.shape[1]))
    middle = _FOLD_GREY if crease.lost_px > 0 else _TEAR_GREY
    grey[band] = middle + rng.normal(0, 6, int(band.sum()))
    return band


def _dusted(grey: NDArray[np.float32], rng: np.random.Generator) -> Mask:
    """Drop some dark specks onto a section; return where they are."""
    rows, cols = grey.shape
    scale = min(rows, cols) / SIDE
    dust = np.zeros(grey.shape, np.uint8)
    for _ in range(int(rng.integers(3, 9))):
        middle = (int(rng.integers(0, cols)), int(rng.integers(0, rows)))
        axes = tuple(int(v) for v in np.maximum(1, rng.uniform(5, 28, 2) * scale))
        cv2.ellipse(dust, middle, axes, rng.uniform(0, 180), 0, 360, (1,), -1)
    grey[dust > 0] = _DIRT_GREY + rng.normal(0, 6, int((dust > 0).sum()))
    return dust > 0


def _corner(shape: tuple[int, int], rng: np.random.Generator) -> Mask:
    """Return a corner or a side, 10 to 30 % of a section, cut off by a straight line."""
    angle = rng.uniform(0, 2 * pi)
    at: NDArray[Any] = nodes(shape, 1.0) @ np.array([cos(angle), sin(angle)])
    return np.asarray(at > np.quantile(at, 1 - rng.uniform(0.1, 0.3)))
