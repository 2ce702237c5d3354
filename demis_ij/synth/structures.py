"""Made-up materials: grains, particles, fibres and blotches, as pictures and as maps of what is what.

They are what tissue is not: flat grains with straight borders, round things in a matrix, lines across each other. Each
is drawn at several depths, so that a projection through it exists.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from demis_ij.errors import InputError
from demis_ij.synth.fields import Plane, smooth_field

Labels = NDArray[np.int32]
_Drawn = tuple[Plane, Labels]


def _unit(plane: Plane) -> Plane:
    low, high = np.percentile(plane, (0.5, 99.5))
    return np.asarray(np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1), np.float32)


def _nodes(shape: tuple[int, int], rng: np.random.Generator, bend_px: float) -> NDArray[np.float64]:
    """Return where each pixel looks, (rows, cols, 2) as (row, col), bent smoothly."""
    at = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), -1).astype(np.float64)
    return at + bend_px * np.stack([smooth_field(shape, rng, 25.0) for _ in "yx"], -1)


def _grains(shape: tuple[int, int], rng: np.random.Generator, depths: int) -> list[_Drawn]:
    """Return a polycrystal: Voronoi cells of two sizes, twins across some, borders dark or bright or not seen."""
    side = rng.uniform(18, 75)
    count = max(12, int(shape[0] * shape[1] / side**2))
    seeds = rng.uniform(-0.1, 1.1, (count, 2)) * shape
    drift = rng.normal(0, 0.06 * side, (count, 2))
    at = _nodes(shape, rng, rng.uniform(0, 4))
    grey = rng.uniform(0, 1, count).astype(np.float32)
    twin = np.where(rng.random(count) < 0.3, rng.uniform(0.15, 0.4, count), 0).astype(np.float32)
    angle, period = rng.uniform(0, np.pi, count), rng.uniform(0.15, 0.5, count) * side
    edge, width = rng.choice([-0.8, 0.0, 0.8]), rng.uniform(0.8, 2.0)
    drawn = []
    for depth in range(depths):
        moved = seeds + (depth - depths // 2) * drift
        distance, owner = cKDTree(moved).query(at.reshape(-1, 2), k=2, workers=1)
        first = owner[:, 0]
        local = at.reshape(-1, 2) - moved[first]
        stripe = np.cos(
            2 * np.pi * (local[:, 0] * np.cos(angle[first]) + local[:, 1] * np.sin(angle[first])) / period[first]
        )
        striped = stripe > 0.3
        picture = grey[first] + twin[first] * striped
        picture = picture + edge * np.exp(-(((distance[:, 1] - distance[:, 0]) / (2 * width)) ** 2))
        label = first * 2 + (striped & (twin[first] > 0))
        drawn.append((picture.reshape(shape).astype(np.float32), label.reshape(shape).astype(np.int32)))
    return drawn


def _ellipse(rng: np.random.Generator, shape: tuple[int, int], size_px: float) -> tuple[NDArray[np.float64], float]:
    """Return the outline of a particle around the origin, round or with corners, and its radius."""
    radius = size_px * float(np.exp(rng.normal(0, 0.45)))
    corners = int(rng.choice([5, 6, 8, 40]))
    turn = (
        np.sort(rng.uniform(0, 2 * np.pi, corners)) if corners < 40 else np.linspace(0, 2 * np.pi, 40, endpoint=False)
    )
    stretch = np.array([1, rng.uniform(0.5, 1)])
    lean = rng.uniform(0, np.pi)
    turned = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    outline = radius * np.stack([np.cos(turn), np.sin(turn)], 1) * stretch
    return outline @ turned.T, radius


def _particles(shape: tuple[int, int], rng: np.random.Generator, depths: int) -> list[_Drawn]:
    """Return particles in a matrix, some with a shell; they shrink and grow through the depths."""
    size = rng.uniform(5, 24)
    count = int(rng.uniform(0.15, 0.6) * shape[0] * shape[1] / (np.pi * size**2))
    outlines = [_ellipse(rng, shape, size) for _ in range(count)]
    centres = rng.uniform(-0.05, 1.05, (count, 2)) * shape[::-1]
    tone, phase = rng.uniform(0, 1, count), rng.normal(0, 0.5, count)
    shell = rng.random(count) < rng.uniform(0, 0.5)
    matrix = rng.uniform(0.2, 0.8) + rng.uniform(0, 0.15) * smooth_field(shape, rng, rng.uniform(15, 60))
    ground = (smooth_field(shape, rng, 30) > 0.6).astype(np.int32)
    drawn = []
    for depth in range(depths):
        picture, label = matrix.astype(np.float32) + 0.1 * ground, ground.copy()
        for k, (outline, radius) in enumerate(outlines):
            cut = 1 - (0.12 * (depth - depths // 2) + 0.3 * phase[k]) ** 2
            if cut <= 0.05:
                continue
            points = [np.round((outline * np.sqrt(cut) + centres[k]) * 16).astype(np.int32)]
            cv2.fillPoly(picture, points, (float(tone[k]),), cv2.LINE_AA, 4)
            cv2.fillPoly(label, points, (2 + 2 * k,), cv2.LINE_8, 4)
            if shell[k] and radius > 5:
                points = [np.round((0.6 * outline * np.sqrt(cut) + centres[k]) * 16).astype(np.int32)]
                cv2.fillPoly(picture, points, (float(1 - tone[k]),), cv2.LINE_AA, 4)
                cv2.fillPoly(label, points, (3 + 2 * k,), cv2.LINE_8, 4)
        drawn.append((picture.astype(np.float32), label))
    return drawn


def _fibres(shape: tuple[int, int], rng: np.random.Generator, depths: int) -> list[_Drawn]:
    """Return curved lines of some thickness that cross each other; each depth holds most of them."""
    count = int(rng.uniform(20, 90))
    preferred, spread = rng.uniform(0, np.pi), rng.uniform(0.2, 1.6)
    lines = []
    reach = int(np.hypot(*shape))
    for _ in range(count):
        turns = preferred + spread * rng.normal() + np.cumsum(rng.normal(0, 0.07, reach // 12))
        path = np.cumsum(12 * np.stack([np.cos(turns), np.sin(turns)], 1), 0)
        path += rng.uniform(0, 1, 2) * shape[::-1] - path[len(path) // 2]
        lines.append((path, int(rng.integers(2, 14)), float(rng.uniform(0, 1)), rng.integers(depths + 2)))
    matrix = rng.uniform(0, 1) + 0.1 * smooth_field(shape, rng, 40)
    drawn = []
    for depth in range(depths):
        picture, label = matrix.astype(np.float32), np.zeros(shape, np.int32)
        for k, (path, width, tone, missing) in enumerate(lines):
            if missing == depth and depth != depths // 2:
                continue
            points = [np.round(path * 16).astype(np.int32)]
            cv2.polylines(picture, points, False, (tone,), width, cv2.LINE_AA, 4)
            cv2.polylines(label, points, False, (k + 1,), width, cv2.LINE_8, 4)
        drawn.append((picture, label))
    return drawn


def _blotches(shape: tuple[int, int], rng: np.random.Generator, depths: int) -> list[_Drawn]:
    """Return phases with curved borders, as levels of a field that is rough at several scales."""
    length = rng.uniform(8, 30)
    fields = [smooth_field(shape, rng, length) + 0.6 * smooth_field(shape, rng, 0.4 * length) for _ in range(2)]
    levels = np.sort(rng.normal(0, 0.8, int(rng.integers(2, 6))))
    tone = rng.uniform(0, 1, len(levels) + 1).astype(np.float32)
    texture = rng.uniform(0, 0.12) * smooth_field(shape, rng, 1.5)
    drawn = []
    for depth in range(depths):
        turn = 0.35 * (depth - depths // 2)
        phase = np.digitize(np.cos(turn) * fields[0] + np.sin(turn) * fields[1], levels)
        label = np.zeros(shape, np.int32)
        first = 0
        for level in range(len(levels) + 1):
            found, parts = cv2.connectedComponents((phase == level).astype(np.uint8))
            label[parts > 0] = parts[parts > 0] + first
            first += found
        drawn.append(((tone[phase] + texture).astype(np.float32), label))
    return drawn


STRUCTURES: dict[str, Callable[[tuple[int, int], np.random.Generator, int], list[_Drawn]]] = {
    "grains": _grains,
    "particles": _particles,
    "fibres": _fibres,
    "blotches": _blotches,
}
"""Materials by name."""


def structure(
    shape: tuple[int, int], rng: np.random.Generator, *, name: str = "", depths: int = 5
) -> tuple[Plane, Labels, Plane]:
    """Return a made-up material.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    rng : Generator
    name : str
        Of `STRUCTURES`; drawn when empty.
    depths : int
        Planes through which the projection goes, an odd number; what is seen is the middle one.

    Returns
    -------
    grey : ndarray of shape (rows, cols), float32
        The middle plane, 0 to 1.
    label : ndarray of shape (rows, cols), int32
        What is one thing there.
    projected : ndarray of shape (rows, cols), float32
        Mean over all depths, 0 to 1.

    Raises
    ------
    InputError
        When the name is unknown.
    """
    if name and name not in STRUCTURES:
        msg = f"no structure {name!r}; known: {', '.join(STRUCTURES)}"
        raise InputError(msg)
    chosen = name or str(rng.choice(list(STRUCTURES)))
    drawn = STRUCTURES[chosen](shape, rng, depths)
    grey, label = drawn[depths // 2]
    return _unit(grey), label, _unit(np.mean([g for g, _ in drawn], axis=0))


__all__ = ["STRUCTURES", "structure"]
