"""Polished and etched polycrystals: grains, islands of a second phase along their boundaries, twins, inclusions.

Coarse grains are a Voronoi diagram. A finer diagram laid over it makes the second phase: fine cells near a coarse
boundary, or now and then inside a grain, become islands. Twins are bands across a grain. At last the whole is bent a
little, so that no boundary is a ruler's line.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.fields import Plane, smooth_field

Labels = NDArray[np.int32]
MATRIX, ISLAND = 0, 1
"""Phases: ferrite, say, and martensite."""


@dataclass(frozen=True, kw_only=True)
class GrainRecipe:
    """What a polycrystal is made of.

    Attributes
    ----------
    grain_px : float
        Mean side of a grain of the matrix.
    island_px : float
        Mean side of an island.
    at_boundaries, inside : float
        Share of the fine cells near a boundary, and away from any, that are islands.
    twinned : float
        Share of grains with twin bands.
    bend_px : float
        How far boundaries are bent.
    """

    grain_px: float = 60.0
    island_px: float = 14.0
    at_boundaries: float = 0.3
    inside: float = 0.03
    twinned: float = 0.1
    bend_px: float = 1.5


@dataclass(frozen=True, eq=False)
class Grains:
    """A polycrystal as a map of grains.

    Attributes
    ----------
    label : ndarray of shape (rows, cols), int32
        Which grain each pixel belongs to.
    phase : ndarray of shape (labels,), uint8
        `MATRIX` or `ISLAND`, of each grain.
    orientation : ndarray of shape (labels, 3), float32
        Three numbers from 0 to 1 that stand for how a grain's lattice lies.
    depth : ndarray of shape (rows, cols), float32
        Distance to the nearest boundary, px.
    """

    label: Labels
    phase: NDArray[np.uint8]
    orientation: NDArray[np.float32]
    depth: Plane


def voronoi(shape: tuple[int, int], rng: np.random.Generator, cell_px: float) -> tuple[Labels, NDArray[np.intp]]:
    """Return a map of random cells, numbered from 0, and the (row, col) of the seed of each."""
    count = max(4, round(shape[0] * shape[1] / cell_px**2))
    seeds = np.unique(rng.uniform(0, 1, (count, 2)) * (shape[0] - 1, shape[1] - 1) // 1, axis=0).astype(np.intp)
    empty = np.ones(shape, np.uint8)
    empty[seeds[:, 0], seeds[:, 1]] = 0
    _, found = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    place = np.empty((int(found.max()), 2), np.intp)
    place[found[seeds[:, 0], seeds[:, 1]] - 1] = seeds  # OpenCV numbers the seeds from 1 in its own order
    return np.asarray(found - 1, np.int32), place


def grow_grains(shape: tuple[int, int], rng: np.random.Generator, recipe: GrainRecipe) -> Grains:
    """Return a polycrystal over an image of ``shape`` (rows, cols)."""
    coarse, _ = voronoi(shape, rng, recipe.grain_px)
    fine, at = voronoi(shape, rng, recipe.island_px)
    apart = _depth(coarse)[at[:, 0], at[:, 1]]
    chance = np.where(apart < 0.45 * recipe.island_px, recipe.at_boundaries, recipe.inside)
    is_island = rng.random(len(at)) < chance
    matrix = _twinned(coarse, rng, recipe)
    first = int(matrix.max()) + 1
    label = np.where(is_island[fine], fine + first, matrix).astype(np.int32)
    count = first + len(at)
    phase = np.where(np.arange(count) < first, MATRIX, ISLAND).astype(np.uint8)
    label = _bent(label, rng, recipe.bend_px)
    return Grains(label, phase, rng.random((count, 3), dtype=np.float32), _depth(label))


def _twinned(label: Labels, rng: np.random.Generator, recipe: GrainRecipe) -> Labels:
    """Return a map with bands across some grains; the bands of one grain are numbered as one."""
    count = int(label.max()) + 1
    angle, phase = rng.uniform(0, np.pi, count), rng.uniform(0, 1, count)
    period = recipe.grain_px * rng.uniform(0.35, 0.9, count)
    width = rng.uniform(0.12, 0.4, count) * (rng.random(count) < recipe.twinned)
    rows, cols = np.arange(label.shape[0], dtype=np.float32)[:, None], np.arange(label.shape[1], dtype=np.float32)
    across, down, start, part = (
        v.astype(np.float32) for v in (np.cos(angle) / period, np.sin(angle) / period, phase, width)
    )
    band = np.mod(across[label] * cols + down[label] * rows + start[label], 1) < part[label]
    return np.where(band, label + count, label).astype(np.int32)


def _bent(label: Labels, rng: np.random.Generator, bend_px: float) -> Labels:
    maps = [bend_px * smooth_field(label.shape, rng, 9.0) for _ in "xy"]
    maps[0] += np.arange(label.shape[1], dtype=np.float32)
    maps[1] += np.arange(label.shape[0], dtype=np.float32)[:, None]
    bent = cv2.remap(label, maps[0], maps[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(bent, np.int32)


def _depth(label: Labels) -> Plane:
    """Return the distance to the nearest boundary, 0 on the pixels of both sides of it."""
    inner = np.ones(label.shape, np.uint8)
    for axis in (0, 1):
        ahead, behind = (np.moveaxis(inner, axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
        same = np.moveaxis((np.diff(label, axis=axis) == 0), axis, 0)
        ahead &= same
        behind &= same
    depth = cv2.distanceTransform(inner, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.minimum(depth, np.float32(sum(label.shape)))


__all__ = ["ISLAND", "MATRIX", "GrainRecipe", "Grains", "grow_grains", "voronoi"]
