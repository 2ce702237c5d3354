"""What lies inside cells: mitochondria, vesicles, synaptic densities, drawn as small patches of stain."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.fields import Plane, smooth_field, smoothstep
from demis_ij.synth.styles import Style
from demis_ij.synth.tissue import AXON, CELL, GLIA, SOMA, Tissue

_Window = tuple[slice, slice, Plane, Plane]


def _window(shape: tuple[int, int], x: float, y: float, reach: float) -> _Window:
    """Return the rows and columns within ``reach`` of a point, and their offsets from it."""
    y0, y1 = max(0, int(y - reach)), min(shape[0], int(y + reach) + 2)
    x0, x1 = max(0, int(x - reach)), min(shape[1], int(x + reach) + 2)
    dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(y)
    dx = np.arange(x0, x1, dtype=np.float32)[None] - np.float32(x)
    return slice(y0, y1), slice(x0, x1), dx, dy


def _places(tissue: Tissue, rng: np.random.Generator, count: int, kinds: tuple[int, ...]) -> NDArray[np.float64]:
    """Return (N, 2) random (x, y) inside labels of the given kinds."""
    rows, cols = tissue.label.shape
    xy = rng.uniform(0, 1, (count, 2)) * (cols - 1, rows - 1)
    at = xy.astype(np.intp)
    kind = tissue.kind[tissue.label[at[:, 1], at[:, 0]]]
    return np.asarray(xy[np.isin(kind, kinds)])


def _mitochondrion(
    dx: Plane, dy: Plane, rng: np.random.Generator, long: float, short: float, scale: float
) -> tuple[Plane, Plane]:
    """Return the stain of a mitochondrion and its opacity on a patch of offsets."""
    angle, bend = rng.uniform(0, pi), rng.normal(0, 0.25) / long
    u = dx * np.float32(cos(angle)) + dy * np.float32(sin(angle))
    v = dy * np.float32(cos(angle)) - dx * np.float32(sin(angle))
    v = v + np.float32(bend) * u * u
    wobble = smooth_field((dy.shape[0], dx.shape[1]), rng, 9 * scale)
    radius = np.sqrt((u / np.float32(long)) ** 2 + (v / np.float32(short)) ** 2 + np.float32(1e-6))
    inside = (1 - radius) * np.float32(short) + 1.2 * np.float32(scale) * wobble  # px from the outer membrane, inwards
    tilt, period = rng.normal(pi / 2, 0.35), scale * rng.uniform(6.5, 9.5)
    phase = (u * np.float32(sin(tilt)) + v * np.float32(cos(tilt))) / np.float32(period) + 0.6 * wobble
    wave = np.sin(2 * np.pi * phase)
    deep = smoothstep(inside, 3.0 * scale, 6.5 * scale)
    cristae = deep * (
        smoothstep(wave + 0.5 * wobble, 0.1, 0.7) * np.float32(-0.17) + 0.10 * np.exp(-((wave - 0.1) ** 2) / 0.06)
    )
    outer = np.exp(-((inside / np.float32(1.1 * scale)) ** 2))
    inner = np.exp(-(((inside - np.float32(3.6 * scale)) / np.float32(1.1 * scale)) ** 2))
    matrix = np.float32(rng.uniform(0.42, 0.56))
    stain = matrix * smoothstep(inside, 1.5 * scale, 3.5 * scale) + 0.25 + 0.34 * outer + 0.14 * inner + cristae
    return np.minimum(stain - 0.12, np.float32(0.95)), smoothstep(inside, -1.5 * scale, 0.8 * scale)


def add_mitochondria(stain: Plane, tissue: Tissue, rng: np.random.Generator, style: Style) -> None:
    """Draw mitochondria into ``stain`` where a cell has the room."""
    rows, cols = stain.shape
    tries = int(4 * style.mitochondria * rows * cols / (style.scale**2 * 1e6))
    left = rng.poisson(tries / 4)
    for x, y in _places(tissue, rng, tries, (CELL, AXON, SOMA, GLIA)):
        if left == 0:
            return
        short = style.scale * rng.uniform(9, 24)
        long = short * rng.uniform(1.05, 2.4)
        room = float(tissue.depth[int(y), int(x)])
        if room < 0.75 * short:
            continue
        left -= 1
        window = _window(stain.shape, x, y, long * 1.25 + 4)
        ys, xs, dx, dy = window
        own = tissue.label[ys, xs] == tissue.label[int(y), int(x)]
        body, opaque = _mitochondrion(dx, dy, rng, long, short, style.scale)
        opaque = opaque * own * smoothstep(tissue.depth[ys, xs], 1.5 * style.scale, 4 * style.scale)
        stain[ys, xs] += opaque * (body - stain[ys, xs])


def _add_vesicle(stain: Plane, x: float, y: float, radius: float, dense: float) -> None:
    ys, xs, dx, dy = _window(stain.shape, x, y, radius + 3)
    r = np.sqrt(dx * dx + dy * dy)
    ring = np.exp(-(((r - np.float32(radius)) / np.float32(1.1)) ** 2))
    lumen = smoothstep(np.float32(radius) - r, -0.5, 1.5)
    patch = stain[ys, xs]
    patch += lumen * (np.float32(0.13 + dense) - patch) * 0.8 + ring * (0.66 - patch).clip(0, None) * 0.9


def add_synapses(stain: Plane, tissue: Tissue, rng: np.random.Generator, style: Style) -> None:
    """Draw synaptic densities on membranes, each with a cloud of vesicles on one side."""
    rows, cols = stain.shape
    tries = int(12 * style.synapses * rows * cols / (style.scale**2 * 1e6))
    left = rng.poisson(tries / 12)
    for x, y in _places(tissue, rng, tries, (CELL,)):
        depth = float(tissue.depth[int(y), int(x)])
        if left == 0:
            return
        if not 5 * style.scale < depth < 22 * style.scale:
            continue
        left -= 1
        reach = style.scale * rng.uniform(22, 55)
        ys, xs, dx, dy = _window(stain.shape, x, y, reach)
        near = np.exp(-(dx * dx + dy * dy) / np.float32(0.5 * (depth + 7 * style.scale) ** 2))
        patch = stain[ys, xs]
        density = (
            near
            * np.exp(-((tissue.depth[ys, xs] / np.float32(3.6 * style.scale)) ** 2))
            * np.float32(rng.uniform(0.5, 1))
        )
        patch += density * (np.float32(0.88) - patch)
        own = int(tissue.label[int(y), int(x)])
        dense = 0.35 if rng.random() < 0.08 else 0.0
        for px, py in (x, y) + rng.normal(0, 0.42, (int(rng.integers(8, 40)), 2)) * reach:
            col, row = int(px), int(py)
            radius = style.scale * rng.uniform(3.6, 5.2)
            if not (0 <= col < cols and 0 <= row < rows) or tissue.label[row, col] != own:
                continue
            if tissue.depth[row, col] > radius + 2:
                _add_vesicle(stain, px, py, radius, dense)
        if rng.random() < 0.3:
            _add_vesicle(stain, x, y, style.scale * rng.uniform(7, 13), 0.0)
