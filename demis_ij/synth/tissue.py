"""Who owns which pixel: cells, neurites, sheaths, nuclei and vessels as a map of labels.

Cells start as a Voronoi diagram of a quadtree of seeds (so sizes range over an order of magnitude), large processes,
bundles and cell bodies are drawn over it, and the plane is then displaced smoothly so that every membrane curves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from demis_ij.synth.fields import Plane, smooth_field
from demis_ij.synth.styles import Style

CELL, MYELIN, AXON, NUCLEUS, SOMA, LUMEN, WALL, DROPLET, GLIA = range(9)
_BAND = 512  # rows handled at a time where a whole plane of temporaries would cost memory


@dataclass(eq=False)
class Tissue:
    """A map of labels, the kind of each label, and the distance to the nearest border.

    Attributes
    ----------
    label : ndarray of shape (rows, cols), int32
    kind : ndarray of shape (labels,), uint8
        What each label is: `CELL`, `MYELIN`, ...
    angle : ndarray of shape (labels,), float32
        Direction in which its filaments run, radians.
    depth : ndarray of shape (rows, cols), float32
        Distance to the nearest border, px.
    """

    label: NDArray[np.int32]
    kind: NDArray[np.uint8]
    angle: NDArray[np.float32]
    depth: Plane


@dataclass(eq=False)
class _Canvas:
    label: NDArray[np.int32]
    kinds: list[int] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)
    first: int = 0

    def new(self, kind: int, angle: float) -> int:
        self.kinds.append(kind)
        self.angles.append(angle)
        return self.first + len(self.kinds) - 1

    def fill(self, polygon_xy: NDArray[np.float64], kind: int, angle: float = 0.0) -> None:
        points = np.round(polygon_xy * 16).astype(np.int32)
        cv2.fillPoly(self.label, [points], (self.new(kind, angle),), lineType=cv2.LINE_8, shift=4)

    def stroke(self, line_xy: NDArray[np.float64], width_px: NDArray[np.float64], kind: int) -> None:
        along = np.gradient(line_xy, axis=0)
        along /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9
        side = np.stack([-along[:, 1], along[:, 0]], 1) * width_px[:, None] / 2
        dx, dy = line_xy[-1] - line_xy[0]
        colour = self.new(kind, float(np.arctan2(dy, dx)))
        quads = np.stack(
            [line_xy[:-1] - side[:-1], line_xy[:-1] + side[:-1], line_xy[1:] + side[1:], line_xy[1:] - side[1:]], 1
        )
        for quad in np.round(quads * 16).astype(np.int32):
            cv2.fillConvexPoly(self.label, quad, (colour,), shift=4)


def _quadtree_seeds(shape: tuple[int, int], rng: np.random.Generator, style: Style) -> NDArray[np.intp]:
    """Return (N, 2) seeds (row, col), dense where a smooth size field is small."""
    size = 8 * style.cell_px
    rows, cols = shape
    lattice = smooth_field((ceil(rows / 16) + 2, ceil(cols / 16) + 2), rng, 12 * style.cell_px / 40)
    wanted = style.cell_px * np.exp(style.cell_spread * lattice)
    corner = np.stack(np.meshgrid(np.arange(0, rows, size), np.arange(0, cols, size), indexing="ij"), -1).reshape(-1, 2)
    done = []
    while len(corner):
        at = np.clip(((corner + size / 2) / 16).astype(int), 0, np.array(lattice.shape) - 1)
        local = wanted[at[:, 0], at[:, 1]] * rng.uniform(0.7, 1.4, len(corner))
        split = (local < size) & (size > style.cell_px / 4) & (size > 8)
        done.append(corner[~split] + rng.uniform(0.1, 0.9, ((~split).sum(), 2)) * size)
        size /= 2
        quarters = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * size
        corner = (corner[split][:, None] + quarters).reshape(-1, 2)
    seeds = np.concatenate(done).astype(np.intp)
    inside = (seeds[:, 0] < rows) & (seeds[:, 1] < cols)
    return seeds[inside]


def _merged(seeds: NDArray[np.intp], rng: np.random.Generator, share: float) -> NDArray[np.intp]:
    """Return which seed each seed belongs to, when a share of them joins a neighbour: concave, branching profiles."""
    count = len(seeds)
    owner = np.arange(count)
    if count > 6:
        _, near = cKDTree(seeds).query(seeds, k=6)
        joins = rng.random(count) < share
        pick = near[np.arange(count), rng.integers(1, 6, count)]
        owner = np.where(joins & (pick < owner), pick, owner)  # always to a lower number: no loops
    while True:
        root = owner[owner]
        if (root == owner).all():
            return np.asarray(owner)
        owner = root


def _blob(
    rng: np.random.Generator, centre_xy: NDArray[np.float64], radius_px: float, rough: float
) -> NDArray[np.float64]:
    """Return a smooth closed polygon, a circle with a few random harmonics."""
    t = np.linspace(0, 2 * pi, 64, endpoint=False)
    r = np.ones_like(t)
    for k in range(2, 6):
        r += rough / k * rng.standard_normal() * np.cos(k * t + rng.uniform(0, 2 * pi))
    r = radius_px * np.clip(r, 0.4, 1.6)
    return centre_xy + np.stack([r * np.cos(t), r * np.sin(t)], 1)


def _wandering(
    rng: np.random.Generator, shape: tuple[int, int], start_xy: NDArray[np.float64], angle: float, bend: float
) -> NDArray[np.float64]:
    """Return a curved line through ``start_xy`` that leaves the image on both sides."""
    step, reach = 24.0, float(np.hypot(*shape))
    count = int(reach / step) + 1
    turns = angle + np.cumsum(rng.standard_normal(2 * count) * bend)
    turns -= turns[count] - angle
    moves = step * np.stack([np.cos(turns), np.sin(turns)], 1)
    line = np.cumsum(moves, 0)
    return np.asarray(line - line[count] + start_xy)


def _caliber(rng: np.random.Generator, count: int, width_px: float, spread: float) -> NDArray[np.float64]:
    """Return a width that swells and thins along a process."""
    slow = np.convolve(rng.standard_normal(count + 8), np.hanning(9) / np.sqrt((np.hanning(9) ** 2).sum()), "valid")
    return np.asarray(width_px * np.exp(spread * slow))


def _draw_processes(canvas: _Canvas, rng: np.random.Generator, style: Style) -> None:
    shape = canvas.label.shape
    area = shape[0] * shape[1] / (style.scale**2 * 1e6)
    for _ in range(rng.poisson(style.processes * area**0.5)):
        start = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        line = _wandering(rng, shape, start, rng.uniform(0, 2 * pi), 0.09)
        width = _caliber(rng, len(line), style.scale * rng.uniform(30, 95), 0.4)
        canvas.stroke(line, width, CELL if rng.random() < 0.8 else GLIA)
    for _ in range(rng.poisson(style.bundles * area**0.5)):
        start = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        angle, thick = rng.uniform(0, pi), style.scale * rng.uniform(12, 30)
        line = _wandering(rng, shape, start, angle, 0.04)
        normal = np.array([-sin(angle), cos(angle)])
        for _k in range(int(rng.integers(3, 10))):
            canvas.stroke(line, _caliber(rng, len(line), thick * 1.3, 0.2), CELL)
            line = line + normal * thick
            thick *= rng.uniform(0.8, 1.25)


def _draw_bodies(canvas: _Canvas, rng: np.random.Generator, style: Style) -> None:
    rows, cols = canvas.label.shape
    area = rows * cols / (style.scale**2 * 1e6)

    def somewhere() -> NDArray[np.float64]:
        return rng.uniform(-0.02, 1.02, 2) * (cols, rows)

    for _ in range(rng.poisson(style.big_cells * area)):
        canvas.fill(_blob(rng, somewhere(), style.scale * rng.uniform(40, 130), 0.3), CELL, rng.uniform(0, pi))
    for _ in range(rng.poisson(style.somas * area)):
        at, radius = somewhere(), style.scale * rng.uniform(170, 300)
        canvas.fill(_blob(rng, at, radius, 0.2), SOMA, rng.uniform(0, pi))
        canvas.fill(_blob(rng, at + rng.normal(0, 0.08, 2) * radius, radius * rng.uniform(0.55, 0.75), 0.12), NUCLEUS)
    for _ in range(rng.poisson(style.vessels * area)):
        at, radius = somewhere(), style.scale * rng.uniform(120, 320)
        canvas.fill(_blob(rng, at, radius + style.scale * rng.uniform(14, 40), 0.25), WALL, rng.uniform(0, pi))
        canvas.fill(_blob(rng, at, radius, 0.25), LUMEN)
    for _ in range(rng.poisson(style.droplets * area)):
        canvas.fill(_blob(rng, somewhere(), style.scale * rng.uniform(8, 34), 0.05), DROPLET)


def _draw_axons(canvas: _Canvas, rng: np.random.Generator, style: Style) -> None:
    """Draw myelinated axons, largest first, where they do not cover each other."""
    rows, cols = canvas.label.shape
    wanted = int(style.axons * rows * cols / (style.scale**2 * 1e6))
    if wanted == 0:
        return
    taken = np.zeros((rows // 4 + 1, cols // 4 + 1), np.uint8)
    radii = np.sort(style.scale * np.clip(rng.lognormal(np.log(22), 0.55, wanted), 9, 110))[::-1]
    for radius in radii:
        at = rng.uniform(0, 1, 2) * (cols, rows)
        small = (int(at[0] // 4), int(at[1] // 4))
        if taken[small[1], small[0]]:
            continue
        thick = radius * rng.uniform(0.25, 0.5)
        seed = int(rng.integers(2**32))
        for extra, kind in ((radius, MYELIN), (radius - thick, AXON)):
            canvas.fill(_blob(np.random.default_rng(seed), at, extra, 0.22), kind, rng.uniform(0, pi))
        # the next, smaller one may come close but not onto it
        cv2.circle(taken, small, ceil(radius * 1.8 / 4), (1,), -1)


def _displacement(shape: tuple[int, int], rng: np.random.Generator, style: Style) -> Plane:
    """Return smooth shifts of the plane, px, one axis; gradients stay below one so that nothing tears."""
    out = np.zeros(shape, np.float32)
    for length, amount in ((150.0, 36.0), (45.0, 10.0), (15.0, 3.2)):
        out += smooth_field(shape, rng, length * style.scale) * np.float32(amount * style.scale * style.wobble)
    return out


def _warped(label: NDArray[np.int32], rng: np.random.Generator, style: Style) -> NDArray[np.int32]:
    rows, cols = label.shape
    dx, dy = (_displacement((rows, cols), rng, style) for _ in "xy")
    dx += np.arange(cols, dtype=np.float32)[None]
    dy += np.arange(rows, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(label, dx, dy, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101), np.int32)


def _depth(label: NDArray[np.int32]) -> Plane:
    inner = np.ones(label.shape, np.uint8)
    inner[:, :-1] &= label[:, :-1] == label[:, 1:]
    inner[:-1] &= label[:-1] == label[1:]
    depth = cv2.distanceTransform(inner, cv2.DIST_L2, cv2.DIST_MASK_5)
    depth = np.minimum(depth, np.float32(sum(label.shape)))  # OpenCV's answer is huge where there is no border at all
    return np.asarray(cv2.GaussianBlur(depth, (0, 0), 0.8), np.float32)


def grow_tissue(shape: tuple[int, int], rng: np.random.Generator, style: Style) -> Tissue:
    """Return cells, processes, bodies and sheaths that fill an image of ``shape`` (rows, cols)."""
    seeds = _quadtree_seeds(shape, rng, style)
    seeded = np.ones(shape, np.uint8)
    seeded[seeds[:, 0], seeds[:, 1]] = 0
    _, label = cv2.distanceTransformWithLabels(seeded, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    number = label[seeds[:, 0], seeds[:, 1]]  # OpenCV numbers the seeds from 1 in its own order
    first = int(label.max()) + 1
    owner = np.arange(first)
    owner[number] = number[_merged(seeds, rng, style.merged)]
    label = owner.astype(np.int32)[label]
    kind = np.where(rng.random(first) < style.glia, GLIA, CELL)
    canvas = _Canvas(np.ascontiguousarray(label, np.int32), first=first)
    for draw in (_draw_processes, _draw_bodies, _draw_axons):
        draw(canvas, rng, style)
    label = _warped(canvas.label, rng, style)
    angle = np.concatenate([rng.uniform(0, pi, first), canvas.angles]).astype(np.float32)
    return Tissue(label, np.concatenate([kind, canvas.kinds]).astype(np.uint8), angle, _depth(label))
