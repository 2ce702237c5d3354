"""Etched steel as light and electrons show it.

One polycrystal (`demis_ij.synth.grains`), two mechanisms of contrast. **Light** shows how the etchant attacked: grooves
along boundaries dark, the second phase dark (nital) or white (LePera, Klemm), grains shaded or tinted by how their
lattice lies. **Electrons** show channelling: a grain's brightness, too, depends on how its lattice lies, but by another
rule, so that grey by light says nothing of grey by electrons; edges are bright, islands have laths. Tint and
channelling share one of the three numbers of an orientation: who sees colours can guess part of the brightness.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from demis_ij.synth.correlative_instruments import ElectronMicroscope, LightMicroscope, TwoViews
from demis_ij.synth.fields import Plane, smooth_field
from demis_ij.synth.grains import ISLAND, GrainRecipe, Grains, grow_grains
from demis_ij.synth.modalities import blurred

LIGHT = LightMicroscope(blur_px=(1.5, 2.2), shading=0.07, noise=0.014, dust=1.5)
ELECTRONS = ElectronMicroscope(noise=(0.012, 0.03))


@dataclass(frozen=True, kw_only=True)
class Etchant:
    """What an etchant does to colours seen by light.

    Attributes
    ----------
    matrix, island : tuple of float
        Red, green and blue of the two phases.
    shade, tint : float
        How much the brightness and the hue of grains differ.
    groove : float
        How dark boundaries are.
    """

    matrix: tuple[float, float, float]
    island: tuple[float, float, float]
    shade: float
    tint: float
    groove: float


ETCHANTS = {
    "nital": Etchant(matrix=(0.80, 0.77, 0.71), island=(0.46, 0.38, 0.30), shade=0.10, tint=0.05, groove=0.42),
    "lepera": Etchant(matrix=(0.66, 0.55, 0.42), island=(0.88, 0.86, 0.80), shade=0.13, tint=0.10, groove=0.26),
    "klemm": Etchant(matrix=(0.58, 0.50, 0.50), island=(0.84, 0.82, 0.77), shade=0.15, tint=0.19, groove=0.22),
}
"""Etchants by name."""


def steel(shape: tuple[int, int], rng: np.random.Generator) -> TwoViews:
    """Return a made-up etched steel of ``shape`` (rows, cols)."""
    grain_px = float(np.exp(rng.uniform(np.log(34), np.log(66))))
    recipe = GrainRecipe(
        grain_px=grain_px,
        island_px=grain_px * rng.uniform(0.22, 0.36),
        at_boundaries=rng.uniform(0.1, 0.45),
        inside=rng.uniform(0, 0.06),
        twinned=rng.uniform(0, 0.25),
        bend_px=rng.uniform(0.8, 2.0),
    )
    grains = grow_grains(shape, rng, recipe)
    etchant = ETCHANTS[str(rng.choice(list(ETCHANTS)))]
    inclusions = _inclusions(shape, rng)
    scratches = _scratches(shape, rng)
    colours = _by_light(grains, etchant, rng)
    brightness = _by_electrons(grains, rng)
    colours *= (1 - 0.85 * inclusions)[..., None]
    colours += (0.16 * scratches)[..., None]
    brightness += inclusions * (np.float32(rng.uniform(0.0, 0.15)) - brightness)
    brightness += 0.5 * np.float32(0.16) * scratches
    return TwoViews(np.clip(colours, 0, 1), np.clip(brightness, 0, 1), inclusions)


def _by_light(grains: Grains, etchant: Etchant, rng: np.random.Generator) -> Plane:
    shape, label = grains.label.shape, grains.label
    bright, hue, _ = (2 * grains.orientation - 1).T
    tinted = np.stack([hue, -0.25 * np.abs(hue), -hue], -1)  # from brown over grey to blue
    is_island = grains.phase == ISLAND
    base = np.where(is_island[:, None], etchant.island, etchant.matrix)
    own = np.where(is_island, 0.5, 1.0)[:, None]
    strength = rng.uniform(0.75, 1.25)
    of_label = base + own * strength * (etchant.shade * bright[:, None] + etchant.tint * tinted)
    colours = of_label.astype(np.float32)[label]
    attack = np.clip(0.85 + 0.45 * smooth_field(shape, rng, 22.0), 0.05, 1.5)  # not every boundary is etched alike
    groove = np.exp(-((grains.depth / np.float32(1.5)) ** 2)) * attack
    colours *= (1 - np.float32(etchant.groove * rng.uniform(0.8, 1.2)) * groove)[..., None]
    stain = smooth_field(shape, rng, 60.0) * np.float32(0.035) + smooth_field(shape, rng, 5.0) * np.float32(0.02)
    colours += stain[..., None]
    return np.asarray(colours, np.float32)


def _by_electrons(grains: Grains, rng: np.random.Generator) -> Plane:
    shape, label = grains.label.shape, grains.label
    shade, hue, other = grains.orientation.T
    is_island = grains.phase == ISLAND
    guessable = np.cos(2 * np.pi * hue)
    channelling = np.where(is_island, 0.5, 1.0) * (0.11 * guessable + 0.10 * (2 * other - 1))
    of_label = np.where(is_island, 0.50, 0.42) + channelling
    seen = of_label.astype(np.float32)[label]
    seen += _laths(grains, rng) * np.float32(rng.uniform(0.04, 0.09))
    seen += smooth_field(shape, rng, 4.0) * np.float32(0.012)  # dislocations within grains
    edge = np.exp(-((grains.depth / np.float32(1.1)) ** 2))
    seen += edge * np.clip(np.float32(0.17) + np.float32(0.05) * smooth_field(shape, rng, 20.0), 0.02, None)
    height = np.where(is_island, 1.0, 0.6 * shade).astype(np.float32)
    return np.asarray(seen + _relief(height[label], rng), np.float32)


def _laths(grains: Grains, rng: np.random.Generator) -> Plane:
    """Return the fine plates within islands, each island in a direction of its own; mean 0, and 0 in the matrix."""
    rows, cols = grains.label.shape
    count = len(grains.phase)
    angle, period = rng.uniform(0, np.pi, count), rng.uniform(4.0, 7.0, count)
    x, y = np.arange(cols, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    across, down = (v.astype(np.float32) for v in (np.cos(angle) / period, np.sin(angle) / period))
    bend = smooth_field((rows, cols), rng, 6.0) * np.float32(0.35)
    wave = np.sin(2 * np.pi * (across[grains.label] * x + down[grains.label] * y + bend))
    return np.asarray(wave * (grains.phase == ISLAND)[grains.label], np.float32)


def _relief(height: Plane, rng: np.random.Generator) -> Plane:
    """Return what a detector at one side makes of a relief: slopes towards it bright, slopes away dark."""
    angle, amount = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.16)
    smooth = blurred(height, 1.0)
    along = np.gradient(smooth, axis=1) * np.cos(angle) + np.gradient(smooth, axis=0) * np.sin(angle)
    return np.asarray(np.float32(amount) * along, np.float32)


def _inclusions(shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Return oxides and sulfides: small round spots, 1 inside."""
    out = np.zeros(shape, np.float32)
    for _ in range(rng.poisson(rng.uniform(0, 8) * shape[0] * shape[1] / 512**2)):
        x, y = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        radius = float(np.exp(rng.normal(0.8, 0.4)))
        axes = (round(8 * radius * rng.uniform(1, 1.8)), round(8 * radius))
        cv2.ellipse(out, (round(8 * x), round(8 * y)), axes, rng.uniform(0, 180), 0, 360, (1.0,), -1, cv2.LINE_AA, 3)
    return blurred(out, 0.6)


def _scratches(shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Return what polishing left: long lines, some bright, some dark; mostly along one direction."""
    out = np.zeros(shape, np.float32)
    way = rng.uniform(0, np.pi)
    for _ in range(rng.poisson(rng.uniform(0, 7))):
        angle = way + rng.normal(0, 0.25)
        centre = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        reach = np.array((np.cos(angle), np.sin(angle))) * rng.uniform(0.15, 0.9) * max(shape)
        ends = [tuple(int(v) for v in np.rint(8 * (centre + sign * reach))) for sign in (-1, 1)]
        line = np.zeros(shape, np.float32)
        cv2.line(line, ends[0], ends[1], (1.0,), 1, cv2.LINE_AA, 3)
        out += blurred(line, rng.uniform(0.5, 1.1)) * np.float32(rng.choice([-2.2, 1.6]) * rng.uniform(0.5, 1.3))
    return out


__all__ = ["ELECTRONS", "ETCHANTS", "LIGHT", "Etchant", "steel"]
