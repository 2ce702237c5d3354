"""Stain on a cut through a volume: membranes, cytoplasm, organelles.

A section has a thickness, and what is seen is the mean over it: a membrane that stands square to the section is a sharp
line, one that lies at a slant is wide and faint, a vesicle shows in the one or two sections that it reaches into.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from demis_ij.synth.capsules import Block, Capsules, Spots, joined_capsules, joined_spots
from demis_ij.synth.cut import Cut, Patch, patches, unbend
from demis_ij.synth.fields import Plane, Streams, bands, smoothstep, solid_field
from demis_ij.synth.recipes import Recipe
from demis_ij.synth.tissue import CELL, GLIA, LUMEN, MYELIN, SOMA

_Float = NDArray[np.float32]


def _line(x: Plane, half: Plane, width: float) -> Plane:
    """Return exp(-(x / width)**2), averaged over x - half to x + half."""
    h = np.maximum(half, np.float32(0.2 * width))
    w = np.float32(1 / width)
    return np.asarray((erf((x + h) * w) - erf((x - h) * w)) * np.float32(0.4431) / (h * w), np.float32)


class Painter:
    """The stain of one section while it is painted.

    Parameters
    ----------
    cut : Cut
    blocks : list of Block
        Those that the cut was made from, in the same order.
    streams : Streams
    recipe : Recipe
    z_px : float
    """

    def __init__(self, cut: Cut, blocks: list[Block], streams: Streams, recipe: Recipe, z_px: float) -> None:
        self.cut, self.streams, self.recipe, self.z_px = cut, streams, recipe, z_px
        self.look, self.scale = recipe.look, recipe.look.scale
        self.shape = cut.index.shape
        self.kind = cut.kind[cut.index]
        first = np.cumsum([1] + [len(b.kind) for b in blocks])[:-1]
        self.blocks, self.first = blocks, first
        self.radius_of = np.zeros(len(cut.kind), np.float32)
        np.maximum.at(self.radius_of, cut.rods.owner, cut.rods.radius.mean(1))
        self.stain = self._cytoplasm()
        self.room = cut.depth.copy()  # px to the nearest border, nucleus or mitochondrion; below 0 in these

    def field(self, tag: int, length: float) -> Plane:
        """Return a field of the volume in this plane; ``length`` is px at scale 1."""
        return solid_field(self.shape, self.streams, tag, self.z_px, length * self.scale)

    def _cytoplasm(self) -> Plane:
        """Return the flat stain of every object."""
        trait, look = self.cut.trait, self.look
        base = look.cytoplasm + look.cytoplasm_sd * 1.7 * (2 * trait[:, 0] - 1)
        base = np.where(trait[:, 1] < look.glia, base + 0.1 + 0.1 * trait[:, 2], base)
        base[self.cut.kind == SOMA] += 0.05
        base[self.cut.kind == GLIA] += self.recipe.glia_stain
        flat: Plane = np.clip(base, 0.02, 0.9).astype(np.float32)
        return flat[self.cut.index]

    def fine(self, patch: Patch, values: Plane) -> tuple[tuple[slice, slice], Plane]:
        """Return the pixels of a patch that lie in the section, and values on its nodes there."""
        step = self.cut.lattice.step
        full = self.cut.lattice.to_px(values)
        top, left = (patch.top - 1) * step, (patch.left - 1) * step
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(self.shape[0], top + full.shape[0]), min(self.shape[1], left + full.shape[1])
        return (slice(y0, y1), slice(x0, x1)), full[y0 - top : max(y0, y1) - top, x0 - left : max(x0, x1) - left]

    def frame(self, patch: Patch, rods: Capsules) -> tuple[Plane, Plane, Plane, Plane]:
        """Return, on a patch's nodes, the place along its chain, two across it, and how steeply the chain runs in z."""
        lattice, box = self.cut.lattice, patch.box
        p = np.stack([lattice.x[box], lattice.y[box], lattice.z[box]], -1)
        k = np.maximum(patch.nearest, 0)
        axis = (rods.end - rods.start)[k]
        length = np.sqrt((axis * axis).sum(-1)) + np.float32(1e-6)
        axis /= length[..., None]
        offset = p - rods.start[k]
        along = (offset * axis).sum(-1)
        t = np.clip(along / length, 0, 1)[..., None]
        side = rods.side[k, 0] * (1 - t) + rods.side[k, 1] * t
        other = np.cross(axis, side)
        return along + rods.along[k], (offset * side).sum(-1), (offset * other).sum(-1), axis[..., 2]

    def add_grain(self) -> None:
        """Add ribosomes, and the grain of resin and stain, which no section shares with the next."""
        fine, coarse = self.field(60, 1.25 / self.scale**0.5), self.field(61, 2.4)
        cluster = self.field(62, 13)
        grain = self.look.grain * (0.5 + 0.9 * self.cut.trait[:, 3])
        grain = grain * np.where(self.cut.kind == SOMA, 1.4, 1)
        strength = grain.astype(np.float32)[self.cut.index]
        fine += 0.75 * coarse
        fine *= np.clip(0.75 + 0.3 * cluster, 0.2, None)
        fine *= np.where(fine > 0, np.float32(1), np.float32(0.5))
        self.stain += strength * fine
        self.stain += self.field(63, 30) * np.float32(0.012)

    def add_microtubules(self) -> None:
        """Draw what runs along thick neurites: dots where they are cut across, lines where they are cut along."""
        if self.recipe.microtubules <= 0:
            return
        side, dot = 256, max(0.8, 1.5 * self.scale)
        rng = self.streams.rng(64, 0)
        texture = np.zeros((side, side), np.float32)
        count = int((side / (17 * self.scale)) ** 2)
        at = rng.integers(0, side, (count, 2))
        texture[at[:, 0], at[:, 1]] = rng.uniform(0.4, 1, count)
        big = np.tile(texture, (3, 3))
        texture = cv2.GaussianBlur(big, (0, 0), dot)[side : 2 * side, side : 2 * side] * np.float32(2 * np.pi * dot**2)
        for body in self.cut.bodies:
            thick = self.cut.kind[body.owner] in (CELL, MYELIN) and self.radius_of[body.owner] > 26 * self.scale
            if not thick or not (body.s < 0).any():
                continue
            body = body.within()
            _, u, v, _ = self.frame(body, self.cut.rods)
            box, fine_u = self.fine(body, u)
            _, fine_v = self.fine(body, v)
            _, s = self.fine(body, body.s)
            own = (self.cut.index[box] == body.owner) * smoothstep(-s, 5 * self.scale, 10 * self.scale)
            lines = cv2.remap(
                texture, np.mod(fine_u, side), np.mod(fine_v, side), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
            amount = 0.17 * self.recipe.microtubules * (0.3 + 0.9 * float(self.cut.trait[body.owner, 4]))
            self.stain[box] += own * lines * np.float32(amount)

    def add_reticulum(self) -> None:
        """Draw cisternae: short sheets with a light lumen between two dark membranes."""
        chosen = (self.cut.trait[:, 5] < self.look.reticulum) | (self.cut.kind == SOMA)
        chosen &= np.isin(self.cut.kind, (CELL, SOMA))
        if not chosen[self.cut.index].any():
            return
        sheet, where = self.field(65, 16), self.field(66, 34)
        x = np.abs(sheet) * np.float32(16 * self.scale)
        apart = np.float32(3.2 * self.scale)
        tilt = np.full_like(x, 0.25 * self.recipe.section_px * self.scale * 0.5)
        dark = _line(x - apart, tilt, 1.5 * self.scale) * np.float32(0.33)
        light = _line(x, tilt, 1.8 * self.scale) * np.float32(0.1)
        room = smoothstep(where, 0.35, 0.8) * smoothstep(self.room, 6 * self.scale, 11 * self.scale)
        self.stain += chosen[self.cut.index] * room * (dark - light)

    def add_sheaths(self) -> None:
        """Draw myelin around fibres, and the axoplasm inside it."""
        fibre = self.kind == MYELIN
        if not fibre.any():
            return
        inside = np.minimum(-self.cut.own, self.cut.depth)
        thick = (self.radius_of * self.recipe.sheath)[self.cut.index]
        wave = np.cos(inside * np.float32(2 * np.pi / (4.2 * self.scale**0.5))) * np.float32(0.5) + self.field(
            76, 2.2
        ) * np.float32(0.45)
        ragged = inside + self.field(67, 7) * np.float32(1.2 * self.scale)
        myelin = smoothstep(thick - ragged, -1, 1)
        axon = 1 - myelin
        seam = np.exp(-(((ragged - thick - 2 * self.scale) / np.float32(1.6 * self.scale)) ** 2))
        amount = self.recipe.myelin
        stain = myelin * (np.float32(amount) + np.float32(0.1) * wave) + axon * (self.stain - np.float32(0.05))
        stain -= seam * np.float32(0.08)
        np.copyto(self.stain, stain, where=fibre)

    def add_lumens(self) -> None:
        """Empty vessels and chambers, but for their lining."""
        hollow = self.kind == LUMEN
        if not hollow.any():
            return
        lining = np.float32(self.recipe.wall_px * self.scale) * np.exp(np.float32(0.5) * self.field(68, 60))
        empty = smoothstep(np.minimum(-self.cut.own, self.cut.depth) - lining, -0.8, 0.8)
        resin = np.float32(0.02) + self.field(69, 1.3) * np.float32(0.25 * self.look.grain)
        edge = np.exp(-(((np.minimum(-self.cut.own, self.cut.depth) - lining) / np.float32(1.6)) ** 2)) * np.float32(
            0.25
        )
        stain = self.stain + np.float32(0.1) + edge
        np.copyto(self.stain, stain + empty * (resin - stain), where=hollow)

    def add_nuclei(self) -> None:
        """Draw nuclei: envelope, chromatin, nucleolus."""
        rods = joined_capsules(
            [b.nuclei for b in self.blocks], np.cumsum([0] + [len(b.nucleus_of) for b in self.blocks])[:-1]
        )
        owner = np.concatenate([b.nucleus_of + f for b, f in zip(self.blocks, self.first, strict=True)])
        if not len(rods.owner):
            return
        found, _ = patches(self.cut.lattice, rods, np.full(len(rods.owner), 12 * self.scale, np.float32))
        if not found:
            return
        chromatin = self.field(70, 9) + 0.5 * self.field(71, 3.5)
        deep = self.field(72, 34)
        for patch in found:
            box, s = self.fine(patch, patch.s)
            _, slope = self.fine(patch, patch.slope)
            mine = self.cut.index[box] == owner[patch.owner]
            s = np.maximum(s, np.float32(16 * self.scale) - self.cut.depth[box])
            np.copyto(self.room[box], np.minimum(self.room[box], s - 3 * self.scale), where=mine)
            half = np.abs(slope) * np.float32(0.5 * self.recipe.section_px * self.scale)
            inside = smoothstep(-s, -1, 1)
            heaps = smoothstep(chromatin[box] + 1.1 * np.exp(np.minimum(s, 0) / np.float32(8 * self.scale)), 0.6, 1.7)
            nucleolus = smoothstep(deep[box], 1.5, 1.7) * smoothstep(-s, 25 * self.scale, 40 * self.scale)
            plasm = np.float32(self.look.cytoplasm + 0.02) + np.float32(0.22) * heaps + np.float32(0.3) * nucleolus
            grain = self.stain[box] - np.float32(self.look.cytoplasm + 0.05)
            gap = np.float32(3.5 * self.scale)
            envelope = _line(np.abs(s) - gap, half, 1.6 * self.scale) * np.float32(0.4) - _line(
                s, half, 2.2 * self.scale
            ) * np.float32(0.1)
            stain = self.stain[box] + inside * (plasm + 0.7 * grain - self.stain[box]) + envelope
            np.copyto(self.stain[box], stain, where=mine)

    def add_mitochondria(self) -> None:
        """Draw mitochondria with both membranes and cristae."""
        rods = joined_capsules(
            [b.mitochondria for b in self.blocks], np.cumsum([0] + [len(b.mito_of) for b in self.blocks])[:-1]
        )
        owner = np.concatenate([b.mito_of + f for b, f in zip(self.blocks, self.first, strict=True)])
        trait = np.concatenate([b.mito_trait for b in self.blocks])
        if not len(owner):
            return
        found, near = patches(self.cut.lattice, rods, np.full(len(rods.owner), 6 * self.scale, np.float32))
        wobble, ripple = self.field(73, 9), self.field(74, 5)
        self.ground = self.stain.copy()
        for whole in found:
            if whole.s.min() > 0:
                continue
            patch = whole.within(6 * self.scale)
            box, _ = self.fine(patch, patch.s)
            mine = self.cut.index[box] == owner[patch.owner]
            if not mine.any():
                continue
            self._add_mitochondrion(patch, near, trait[patch.owner], mine, wobble[box], ripple[box])

    def _add_mitochondrion(
        self, patch: Patch, rods: Capsules, trait: _Float, mine: NDArray[np.bool_], wobble: Plane, ripple: Plane
    ) -> None:
        scale, thick = self.scale, self.recipe.section_px * self.scale
        box, s = self.fine(patch, patch.s)
        _, slope = self.fine(patch, patch.slope)
        along, u, _, steep = self.frame(patch, rods)
        lean = np.float32(0.9 * (trait[0] - 0.5))
        _, phase = self.fine(patch, (along * np.cos(lean) + u * np.sin(lean)) / np.float32(scale * (7 + 4 * trait[1])))
        _, rate = self.fine(patch, np.abs(steep))
        inside = np.minimum(-s + wobble * np.float32(1.3 * scale), self.room[box] - np.float32(4.5 * scale))
        half = np.abs(slope) * np.float32(0.5 * thick)
        room = smoothstep(self.room[box], 1.5 * scale, 3 * scale) * mine
        blur = np.exp(-((rate * np.float32(thick / (9 * scale))) ** 2) * np.float32(1.2))
        wave = np.cos(2 * np.pi * (phase + np.float32(0.28) * ripple + np.float32(0.3) * wobble))
        lumen = smoothstep(wave, 0.45, 0.9)
        skin = np.exp(-(((wave - np.float32(0.35)) / np.float32(0.3)) ** 2))
        deep = smoothstep(inside + ripple * np.float32(2 * scale), 4 * scale, 8 * scale)
        cristae = (
            deep
            * (0.25 + 0.75 * blur)
            * (np.float32(0.13) * skin - np.float32(0.17) * lumen)
            * np.float32(self.recipe.cristae)
        )
        matrix = np.float32(self.recipe.matrix + 0.12 * (trait[2] - 0.5))
        membranes = _line(inside, half, 1.3 * scale) * np.float32(0.36) + _line(
            inside - 4 * scale, half, 1.3 * scale
        ) * np.float32(0.24)
        body = matrix + cristae + (self.ground[box] - np.float32(self.look.cytoplasm)) * np.float32(0.5)
        body += (np.float32(0.92) - body).clip(0) * membranes * np.float32(1.2)
        opaque = _ramp(inside + np.float32(1.2 * scale), half + np.float32(0.8 * scale)) * room
        self.stain[box] += opaque * (body - self.stain[box])
        np.copyto(self.room[box], np.minimum(self.room[box], -inside), where=mine)

    def _near(self, spots: Spots, reach: float) -> tuple[_Float, _Float, Spots]:
        """Return the spots that may show in this section: where, how far above the plane, which."""
        bend = np.float32(150 * self.scale * self.recipe.wobble + reach)
        spots = spots.pick(np.abs(spots.at[:, 2] - np.float32(self.z_px)) < bend)
        xy, height = unbend(self.cut.lattice, spots.at)
        seen = (np.abs(height) < reach) & (xy > -reach).all(1) & (xy < np.array(self.shape[::-1]) + reach).all(1)
        return xy[seen], height[seen], spots.pick(seen)

    def add_vesicles(self) -> None:
        """Draw the vesicles of swellings: a dark ring around a light lumen; a few have a dense core."""
        half = 0.5 * self.recipe.section_px * self.scale
        spots = joined_spots([b.vesicles for b in self.blocks], self.first)
        xy, height, spots = self._near(spots, half + 5 * self.scale)
        beyond = np.maximum(0, np.abs(height) - half)
        radius = np.sqrt(np.maximum(0, spots.radius**2 - beyond**2))
        at = np.round(xy).astype(np.intp)
        inside = ((at >= 0) & (at < np.array(self.shape[::-1]))).all(1) & (radius > 0.45 * spots.radius)
        rows, cols = np.where(inside, at[:, 1], 0), np.where(inside, at[:, 0], 0)
        inside &= self.cut.index[rows, cols] == spots.owner
        inside &= self.room[rows, cols] > spots.radius + 1.2 * self.scale
        xy, at, radius, core = xy[inside], at[inside], radius[inside], spots.trait[inside] < 0.03
        n = int(np.ceil(6 * self.scale + 3))
        grid = np.arange(-n, n + 1)
        ys, xs = np.broadcast_arrays(at[:, 1, None, None] + grid[:, None], at[:, 0, None, None] + grid)
        r = np.hypot(ys - xy[:, 1, None, None], xs - xy[:, 0, None, None]).astype(np.float32)
        kept = (ys >= 0) & (ys < self.shape[0]) & (xs >= 0) & (xs < self.shape[1])
        kept &= r < radius[:, None, None] + 2.5
        edge = np.float32(0.9 + 0.35 * self.scale)
        ring = np.exp(-(((r - radius[:, None, None]) / edge) ** 2))
        lumen = np.clip((radius[:, None, None] - r) / 2 + np.float32(0.25), 0, 1)
        target = np.where(core[:, None, None], np.float32(0.6), np.float32(self.look.cytoplasm - 0.08))
        pixels = ys[kept], xs[kept]
        under = self.stain[pixels]
        strength = np.float32(self.look.membrane * 0.75)
        under = under + lumen[kept] * (target * np.ones_like(r))[kept] * 0.6 - lumen[kept] * under * 0.6
        self.stain[pixels] = under + ring[kept] * np.clip(strength - under, 0, None) * np.float32(0.7)

    def add_membranes(self) -> None:
        """Darken both sides of every border."""
        scale, look = self.scale, self.look
        apart, width = look.cleft_px * scale, look.membrane_px * scale
        half_section = np.float32(0.5 * self.recipe.section_px * scale)
        patchy, ragged = self.field(75, 20), self.field(77, 4.5)
        for rows in bands(self.shape[0]):
            depth, tilt, part = self.cut.depth[rows], self.cut.tilt[rows], self.stain[rows]
            half = tilt * half_section
            depth = np.abs(depth + np.float32(0.55 * scale) * ragged[rows])
            profile = _line(depth - np.float32(apart), half, width)
            if apart > 0.5:
                profile += _line(depth + np.float32(apart), half, width) * smoothstep(half, 0.5, 3.0)
            profile = np.minimum(profile, 1) * np.float32(look.membrane) * np.clip(1 - 0.06 * patchy[rows], 0.6, 1.2)
            part += profile * np.clip(np.float32(0.97) - part, 0, None)
            if apart > 1.2:
                cleft = _line(depth, half, max(0.6, 0.6 * apart))
                part -= cleft * np.float32(0.34) * np.clip(part - np.float32(0.3), 0, None)

    def add_synapses(self) -> None:
        """Thicken membranes where swellings touch others, more on the far side."""
        spots = joined_spots([b.synapses for b in self.blocks], self.first)
        xy, height, spots = self._near(spots, 60 * self.scale)
        for (x, y), h, radius, owner, trait in zip(xy, height, spots.radius, spots.owner, spots.trait, strict=True):
            if abs(h) > radius:
                continue
            reach = int(radius + 8 * self.scale) + 1
            y0, y1 = max(0, int(y) - reach), min(self.shape[0], int(y) + reach + 1)
            x0, x1 = max(0, int(x) - reach), min(self.shape[1], int(x) + reach + 1)
            if y1 <= y0 or x1 <= x0:
                continue
            box = slice(y0, y1), slice(x0, x1)
            ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
            inside = np.float32(radius) - np.sqrt((xs - x) ** 2 + (ys - y) ** 2 + np.float32(h * h))
            mine = self.cut.index[box] == owner
            if not mine.any() or mine.all():
                continue
            wide = np.where(mine, np.float32(3.2 * self.scale), np.float32(5.4 * self.scale))
            close = cv2.GaussianBlur(mine.astype(np.float32), (0, 0), 5 * self.scale)
            density = np.exp(-((self.cut.depth[box] / wide) ** 2)) * smoothstep(inside, 0, 5 * self.scale)
            density *= smoothstep(close * (1 - close), 0.02, 0.12) * np.float32(0.3 + 0.4 * trait)
            self.stain[box] += density * (np.float32(0.9) - self.stain[box])


def _ramp(x: Plane, half: Plane) -> Plane:
    """Return 0 below -half, 1 above half."""
    return np.asarray(np.clip(x / (2 * half) + np.float32(0.5), 0, 1), np.float32)


def paint(cut: Cut, blocks: list[Block], streams: Streams, recipe: Recipe, z_px: float) -> Plane:
    """Return the stain of a section, 0 for resin to about 1 for the heaviest metal."""
    painter = Painter(cut, blocks, streams, recipe, z_px)
    painter.add_grain()
    painter.add_microtubules()
    painter.add_nuclei()
    painter.add_reticulum()
    painter.add_sheaths()
    painter.add_mitochondria()
    painter.add_vesicles()
    painter.add_lumens()
    painter.add_membranes()
    painter.add_synapses()
    return painter.stain
