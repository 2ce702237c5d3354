"""A plane through a volume: who owns which pixel, how far the border is, and how it is tilted.

Every object has a signed distance ``s`` (px, negative inside its own radius), times its hardness. A pixel belongs to
the object with the smallest ``s``; that of glia depends on the place only (`Recipe.glia_px`), and it gets what nobody
else reaches. Half the gap between the smallest and the second, over its gradient in three dimensions, is the distance
to the border.

Distances are computed on a lattice of a few px and interpolated; the borders between them come out sharp.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.capsules import Block, Capsules, joined_capsules
from demis_ij.synth.fields import Plane, Streams, solid_field
from demis_ij.synth.recipes import Recipe
from demis_ij.synth.tissue import GLIA

_FAR = np.float32(1e4)
_BENDS = ((150.0, 30.0), (48.0, 7.0), (16.0, 1.7))  # px at scale 1: length and amount of the tissue's bends


@dataclass(eq=False)
class Lattice:
    """A coarse grid over a section, one cell beyond it on every side.

    Node (i, j) stands at pixel ((j - 0.5) * step - 0.5, (i - 0.5) * step - 0.5): what `cv2.resize` takes for granted.

    Attributes
    ----------
    step : int
    shape : tuple of int
        Pixels of the section.
    x, y, z : ndarray of shape (nodes down, nodes across), float32
        Where in the unbent tissue each node lies, px.
    """

    step: int
    shape: tuple[int, int]
    x: Plane
    y: Plane
    z: Plane

    def to_px(self, values: Plane, top: int = 0, left: int = 0) -> Plane:
        """Return values on a box of nodes as pixels of the padded section, from the box's first node on."""
        size = (values.shape[1] * self.step, values.shape[0] * self.step)
        return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)


def make_lattice(shape: tuple[int, int], z_px: float, streams: Streams, recipe: Recipe) -> Lattice:
    """Return where each node of a section lies in the tissue before it was bent."""
    scale = recipe.look.scale
    step = max(2, min(8, int(recipe.lattice_px * scale + 0.5)))
    nodes = (-(-shape[0] // step) + 2, -(-shape[1] // step) + 2)
    offsets = []
    for axis in range(3):
        shift = np.zeros(nodes, np.float32)
        for level, (length, amount) in enumerate(_BENDS):
            field = solid_field(nodes, streams, 10 + 4 * level + axis, z_px / step, length * scale / step)
            shift += np.float32(amount * scale * recipe.wobble) * field
        offsets.append(shift)
    x = (np.arange(nodes[1], dtype=np.float32)[None] - 0.5) * step - 0.5
    y = (np.arange(nodes[0], dtype=np.float32)[:, None] - 0.5) * step - 0.5
    return Lattice(step, shape, offsets[0] + x, offsets[1] + y, offsets[2] + np.float32(z_px))


def unbend(lattice: Lattice, at: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where points of the tissue come to lie.

    Parameters
    ----------
    lattice : Lattice
    at : ndarray of shape (N, 3), float32

    Returns
    -------
    xy : ndarray of shape (N, 2), float32
        Pixel of the section nearest to the point in x and y.
    height : ndarray of shape (N,), float32
        How far the point lies above the plane there, px.
    """
    xy = at[:, :2].copy()
    top = np.array(lattice.x.shape) - 1
    height = np.zeros(len(at), np.float32)
    for _ in range(4):
        j = np.clip(np.round((xy[:, 0] + 0.5) / lattice.step + 0.5), 0, top[1]).astype(np.intp)
        i = np.clip(np.round((xy[:, 1] + 0.5) / lattice.step + 0.5), 0, top[0]).astype(np.intp)
        node_x, node_y = (j - 0.5) * lattice.step - 0.5, (i - 0.5) * lattice.step - 0.5
        xy[:, 0] = at[:, 0] - (lattice.x[i, j] - node_x)
        xy[:, 1] = at[:, 1] - (lattice.y[i, j] - node_y)
        height = at[:, 2] - lattice.z[i, j]
    return xy, np.asarray(height, np.float32)


@dataclass(eq=False)
class Patch:
    """The distance to one object on a box of lattice nodes.

    Attributes
    ----------
    owner : int
    top, left : int
        First node of the box.
    s, slope : ndarray of shape (h, w), float32
        Signed distance, px, and how it changes from the plane to the next, px a px.
    nearest : ndarray of shape (h, w), int32
        The capsule that is nearest, as a number among those given.
    """

    owner: int
    top: int
    left: int
    s: Plane
    slope: Plane
    nearest: NDArray[np.int32]

    @property
    def box(self) -> tuple[slice, slice]:
        """Its rows and columns of nodes."""
        return slice(self.top, self.top + self.s.shape[0]), slice(self.left, self.left + self.s.shape[1])

    def within(self, beyond_px: float = 0.0) -> Patch:
        """Return the part of the box where the object is, and a node around it; there must be one."""
        inside = self.s < beyond_px
        rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        y, x = max(0, int(rows[0]) - 1), max(0, int(cols[0]) - 1)
        part = slice(y, int(rows[-1]) + 2), slice(x, int(cols[-1]) + 2)
        return Patch(self.owner, self.top + y, self.left + x, self.s[part], self.slope[part], self.nearest[part])


def _distances(
    lattice: Lattice, rods: Capsules, i0: NDArray[np.intp], j0: NDArray[np.intp], h: int, w: int
) -> tuple[Plane, Plane]:
    """Return s and its slope of (N,) rods, each on its own window of h x w nodes."""
    rows, cols = i0[:, None, None] + np.arange(h)[:, None], j0[:, None, None] + np.arange(w)
    axis = rods.end - rods.start
    length = np.maximum((axis**2).sum(1), np.float32(1e-6))
    a = [rods.start[:, k, None, None] for k in range(3)]
    u = [axis[:, k, None, None] for k in range(3)]
    dx, dy, dz = lattice.x[rows, cols] - a[0], lattice.y[rows, cols] - a[1], lattice.z[rows, cols] - a[2]
    t = np.clip((dx * u[0] + dy * u[1] + dz * u[2]) / length[:, None, None], 0, 1)
    dx -= t * u[0]
    dy -= t * u[1]
    dz -= t * u[2]
    d = np.sqrt(dx * dx + dy * dy + dz * dz + np.float32(1e-6))
    r0, r1 = rods.radius[:, 0, None, None], rods.radius[:, 1, None, None]
    return d - (r0 + (r1 - r0) * t), dz / d


def patches(lattice: Lattice, rods: Capsules, margin: NDArray[np.float32]) -> tuple[list[Patch], Capsules]:
    """Return the distance to each object near its own cut, and the capsules that were near enough to matter.

    Parameters
    ----------
    lattice : Lattice
    rods : Capsules
        In any order.
    margin : ndarray of shape (N,), float32
        How far beyond its radius each capsule is of interest, px.
    """
    middle = np.asarray((rods.start + rods.end) / 2, np.float32)
    xy, height = unbend(lattice, middle)
    half = np.linalg.norm(rods.end - rods.start, axis=1) / 2
    wide = rods.radius.max(1) + margin
    below = np.maximum(0, np.abs(height) - np.abs(rods.end[:, 2] - rods.start[:, 2]) / 2)
    reach = (half + np.sqrt(np.maximum(0, wide**2 - (below * 0.9) ** 2))) * 1.3 + lattice.step
    near = (below * 0.9 < wide) & (xy > -reach[:, None]).all(1)
    near &= (xy[:, 0] < lattice.shape[1] + reach) & (xy[:, 1] < lattice.shape[0] + reach)
    order = np.flatnonzero(near)
    order = order[np.argsort(rods.owner[order], kind="stable")]
    rods, xy, reach = rods.pick(order), xy[order], reach[order]
    rows, cols = lattice.x.shape
    size = np.ceil((2 * reach / lattice.step + 2) / 6).astype(int) * 6
    h, w = np.minimum(size, rows), np.minimum(size, cols)
    i0 = np.clip(np.round((xy[:, 1] + 0.5) / lattice.step + 0.5 - h / 2), 0, rows - h).astype(np.intp)
    j0 = np.clip(np.round((xy[:, 0] + 0.5) / lattice.step + 0.5 - w / 2), 0, cols - w).astype(np.intp)
    found: list[tuple[Plane, Plane]] = [(np.empty((0, 0), np.float32),) * 2] * len(rods.owner)
    for extent in np.unique(size):
        members = np.flatnonzero(size == extent)
        room = max(1, 400_000 // int(h[members[0]] * w[members[0]]))
        for first in range(0, len(members), room):
            some = members[first : first + room]
            s, slope = _distances(lattice, rods.pick(some), i0[some], j0[some], int(h[some[0]]), int(w[some[0]]))
            for k, number in enumerate(some):
                found[number] = (s[k], slope[k])
    return _joined(rods, found, i0, j0), rods


def _joined(
    rods: Capsules, found: list[tuple[Plane, Plane]], i0: NDArray[np.intp], j0: NDArray[np.intp]
) -> list[Patch]:
    """Return one patch an object from the windows of its capsules."""
    out = []
    ends = np.flatnonzero(np.diff(rods.owner, append=-1)) + 1
    first = 0
    for last in ends.tolist():
        mine = range(first, last)
        top, left = int(i0[first:last].min()), int(j0[first:last].min())
        bottom = max(int(i0[k]) + found[k][0].shape[0] for k in mine)
        right = max(int(j0[k]) + found[k][0].shape[1] for k in mine)
        s = np.full((bottom - top, right - left), _FAR)
        slope, nearest = np.zeros_like(s), np.full(s.shape, -1, np.int32)
        for k in mine:
            window, tilt = found[k]
            y, x = int(i0[k]) - top, int(j0[k]) - left
            part = slice(y, y + window.shape[0]), slice(x, x + window.shape[1])
            closer = window < s[part]
            np.copyto(s[part], window, where=closer)
            np.copyto(slope[part], tilt, where=closer)
            np.copyto(nearest[part], np.int32(k), where=closer)
        out.append(Patch(int(rods.owner[first]), top, left, s, slope, nearest))
        first = last
    return out


@dataclass(eq=False)
class Cut:
    """What a section shows, before it is stained. Object 0 is glia.

    Attributes
    ----------
    index : ndarray of shape (rows, cols), int32
        Number of the object that owns each pixel.
    label : ndarray of shape (n,), int32
        Label of each object, the same in every section of a series.
    kind : ndarray of shape (n,), uint8
    trait : ndarray of shape (n, 6), float32
    depth : ndarray of shape (rows, cols), float32
        Distance to the nearest border in three dimensions, px.
    tilt : ndarray of shape (rows, cols), float32
        Sine of the angle between that border and the optical axis: 0 cut square, 1 lying in the plane.
    own : ndarray of shape (rows, cols), float32
        Distance to the owner's own radius, negative inside, px.
    bodies : list of Patch
    rods : Capsules
        Those that the patches' ``nearest`` count.
    """

    index: NDArray[np.int32]
    label: NDArray[np.int32]
    kind: NDArray[np.uint8]
    trait: NDArray[np.float32]
    depth: Plane
    tilt: Plane
    own: Plane
    bodies: list[Patch]
    rods: Capsules
    lattice: Lattice


def _best_two(bodies: list[Patch], ground: Plane, hard: NDArray[np.float32]) -> Plane:
    """Return the second smallest s of each node."""
    best, second = ground.copy(), np.full_like(ground, _FAR)
    for body in bodies:
        s = body.s * hard[body.owner]
        a, b = best[body.box], second[body.box]
        np.minimum(b, np.maximum(a, s), out=b)
        np.minimum(a, s, out=a)
    return second


class _Contest:
    """Pixels of the padded section, and the two objects nearest to each."""

    def __init__(self, lattice: Lattice, ground: Plane) -> None:
        self.lattice = lattice
        self.best = lattice.to_px(ground)
        self.second = np.full_like(self.best, _FAR)
        self.index = np.zeros(self.best.shape, np.int32)
        self.best_slope, self.second_slope = np.zeros_like(self.best), np.zeros_like(self.best)

    def enter(self, owner: int, top: int, left: int, s: Plane, slope: Plane) -> None:
        """Let an object compete on a box of nodes."""
        step = self.lattice.step
        fine, tilt = self.lattice.to_px(s), self.lattice.to_px(slope)
        box = slice(top * step, top * step + fine.shape[0]), slice(left * step, left * step + fine.shape[1])
        best, second = self.best[box], self.second[box]
        best_slope, second_slope, index = self.best_slope[box], self.second_slope[box], self.index[box]
        wins = fine < best
        places = (fine < second) & ~wins
        np.copyto(second, best, where=wins)
        np.copyto(second_slope, best_slope, where=wins)
        np.copyto(best, fine, where=wins)
        np.copyto(best_slope, tilt, where=wins)
        np.copyto(index, np.int32(owner), where=wins)
        np.copyto(second, fine, where=places)
        np.copyto(second_slope, tilt, where=places)


def _steepness(plane: Plane) -> Plane:
    """Return the squared gradient in the plane, of the steeper side of each pixel: there is a kink at every border."""
    out = np.zeros_like(plane)
    for axis in (0, 1):
        step = np.diff(plane, axis=axis)
        pad = [(0, 0), (0, 0)]
        pad[axis] = (1, 0)
        before = np.pad(step, pad) ** 2
        pad[axis] = (0, 1)
        out += np.maximum(before, np.pad(step, pad) ** 2)
    return out


def cut(blocks: list[Block], lattice: Lattice, streams: Streams, recipe: Recipe, z_px: float) -> Cut:
    """Return the section of some blocks' objects in the plane of a lattice."""
    scale, step = recipe.look.scale, lattice.step
    sizes = np.cumsum([1] + [len(b.kind) for b in blocks])
    kind = np.concatenate([[GLIA], *(b.kind for b in blocks)]).astype(np.uint8)
    hard = np.concatenate([[1.0], *(b.hard for b in blocks)]).astype(np.float32)
    label = np.concatenate([[1], *(b.first + np.arange(len(b.kind)) for b in blocks)]).astype(np.int32)
    trait = np.concatenate([np.full((1, 6), 0.5), *(b.trait for b in blocks)]).astype(np.float32)
    gaps = solid_field(lattice.x.shape, streams, 40, z_px / step, 40 * scale / step)
    ground = np.clip(recipe.glia_px + recipe.glia_sd * gaps, 2, 4 * recipe.glia_px + 2).astype(np.float32) * np.float32(
        scale
    )
    bodies = joined_capsules([b.body for b in blocks], sizes[:-1])
    margin = np.float32(ground.max()) / hard[bodies.owner] + 2 * step
    found, rods = patches(lattice, bodies, margin)
    second = _best_two(found, ground, hard)
    contest = _Contest(lattice, ground)
    for body in found:
        h = hard[body.owner]
        s = body.s * h
        matters = s < second[body.box] + np.float32(1.5 * step) * h
        at_rows, at_cols = np.flatnonzero(matters.any(1)), np.flatnonzero(matters.any(0))
        if len(at_rows):
            y0, y1 = max(0, at_rows[0] - 1), at_rows[-1] + 2
            x0, x1 = max(0, at_cols[0] - 1), at_cols[-1] + 2
            contest.enter(body.owner, body.top + y0, body.left + x0, s[y0:y1, x0:x1], (body.slope * h)[y0:y1, x0:x1])
    return _measured(contest, label, kind, trait, hard, found, rods)


def _measured(
    contest: _Contest, label: NDArray[np.int32], kind: NDArray[np.uint8], trait: NDArray[np.float32],
    hard: NDArray[np.float32], found: list[Patch], rods: Capsules,
) -> Cut:  # fmt: skip
    """Return the contest's outcome without its padding, borders as distances."""
    lattice = contest.lattice
    keep = tuple(slice(lattice.step, lattice.step + n) for n in lattice.shape)
    gap = np.asarray((contest.second - contest.best) / 2, np.float32)
    flat = _steepness(gap)[keep]
    rise = ((contest.second_slope - contest.best_slope) / 2)[keep] ** 2
    steep = np.sqrt(np.maximum(flat + rise, np.float32(0.06)))
    index = contest.index[keep]
    return Cut(
        index=np.ascontiguousarray(index),
        label=label,
        kind=kind,
        trait=trait,
        depth=np.asarray(gap[keep] / steep, np.float32),
        tilt=np.asarray(np.sqrt(rise) / steep, np.float32),
        own=contest.best[keep] / hard[index],
        bodies=found,
        rods=rods,
        lattice=lattice,
    )
