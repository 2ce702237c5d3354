"""What grows in one block of a volume: neurites, cell bodies, vessels, and what lies inside them.

A volume has no end along z. It is cut into blocks, each grown from random numbers of its own, and nothing reaches
further than `reach_px` out of the block that it began in: so any section can be made from the few blocks around it.
Everything is a chain of *capsules*, rods with round ends whose radius changes along them, in px, (x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi

import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.capsules import Block, Capsules, Spots
from demis_ij.synth.fields import Streams
from demis_ij.synth.recipes import Recipe
from demis_ij.synth.tissue import CELL, LUMEN, MYELIN, SOMA

Points = NDArray[np.float64]
_IDS = 1 << 16  # labels a block may use
_HALF = 560.0  # half the length of a neurite, px at scale 1
_STEP = 20.0  # length of a capsule
BLOCK = 512.0  # extent of a block in z
_COMPASS = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, -1, 0], [0, 1, 1], [0, 1, -1], [1, 0, 1], [-1, 0, 1]]
)
_COMPASS = _COMPASS / np.linalg.norm(_COMPASS, axis=1, keepdims=True)


def _unit(vectors: Points) -> Points:
    return np.asarray(vectors / (np.sqrt((vectors * vectors).sum(-1, keepdims=True)) + 1e-9))


def _direction(rng: np.random.Generator, along_z: float) -> Points:
    return _unit(rng.standard_normal(3) + np.array([0, 0, along_z * rng.choice((-1.0, 1.0))]))


def _walk(rng: np.random.Generator, middle: Points, towards: Points, half: int, step: float, bend: float) -> Points:
    """Return (2 half + 1, 3) points of a line that wanders both ways from its middle."""
    turns = np.cumsum(rng.standard_normal((2 * half, 3)) * bend, 0)
    moves = step * _unit(towards + turns - turns[half - 1])
    line = np.concatenate([np.zeros((1, 3)), np.cumsum(moves, 0)])
    return np.asarray(line - line[half] + middle)


def _sprout(rng: np.random.Generator, root: Points, towards: Points, count: int, step: float, bend: float) -> Points:
    """Return (count + 1, 3) points of a line that wanders away from its root."""
    moves = step * _unit(towards + np.cumsum(rng.standard_normal((count, 3)) * bend, 0))
    return np.asarray(np.concatenate([root[None], root + np.cumsum(moves, 0)]))


def _swell(rng: np.random.Generator, count: int, radius: float, spread: float) -> NDArray[np.float64]:
    """Return a radius that swells and thins along a chain, and closes at both ends."""
    window = np.hanning(9)
    slow = np.convolve(rng.standard_normal(count + 8), window / np.sqrt((window**2).sum()), "valid")
    at = np.arange(count)
    closing = np.minimum(1, np.minimum(at, count - 1 - at) / 4.0)
    return np.asarray(radius * np.exp(spread * slow) * closing)


def _sides(line: Points) -> Points:
    """Return a direction across each point of a line that turns as smoothly as the line does."""
    moves = np.diff(line, axis=0)
    towards = _unit(np.concatenate([moves[:1], moves[1:] + moves[:-1], moves[-1:]]))
    clearest = int(np.argmin(np.abs(towards @ _COMPASS.T).max(0)))
    return _unit(_COMPASS[clearest] - (towards @ _COMPASS[clearest])[:, None] * towards)


@dataclass(eq=False)
class _Nursery:
    """A block while it grows."""

    rng: np.random.Generator
    recipe: Recipe
    low: Points
    high: Points
    kind: list[int] = field(default_factory=list)
    hard: list[float] = field(default_factory=list)
    bodies: list[tuple[Points, Points, int]] = field(default_factory=list)
    mitochondria: list[tuple[Points, Points, int]] = field(default_factory=list)
    nuclei: list[tuple[Points, Points, int]] = field(default_factory=list)
    vesicles: list[tuple[Points, float, int]] = field(default_factory=list)
    synapses: list[tuple[Points, float, int]] = field(default_factory=list)
    taken: list[tuple[Points, float, list[float], list[float]]] = field(default_factory=list)

    def claims(self, line: Points, radius: float) -> bool:
        """Return whether there is room for a stiff thing along a line, which then is its own."""
        low, high = (line.min(0) - radius).tolist(), (line.max(0) + radius).tolist()
        for other, wide, its_low, its_high in self.taken:
            if any(a > d or b < c for a, b, c, d in zip(low, high, its_low, its_high, strict=True)):
                continue
            apart = np.linalg.norm(other[:, None] - line[None], axis=-1).min()
            if apart < 0.97 * (radius + wide):
                return False
        self.taken.append((line, radius, low, high))
        return True

    @property
    def scale(self) -> float:
        return self.recipe.look.scale

    def new(self, kind: int, hard: float) -> int:
        self.kind.append(kind)
        self.hard.append(hard)
        return len(self.kind) - 1

    def misses(self, line: Points, margin: float) -> bool:
        """Return whether a line stays out of every section's picture."""
        low, high = self.low[:2] - margin, self.high[:2] + margin
        return not bool(((line[:, :2] > low) & (line[:, :2] < high)).all(1).any())

    def add(self, line: Points, radius: Points, owner: int) -> None:
        self.bodies.append((line, radius, owner))


def _add_mitochondria(nursery: _Nursery, line: Points, radius: Points, owner: int, share: float = 1.0) -> None:
    """Put mitochondria along a chain, each within its radius."""
    rng, scale = nursery.rng, nursery.scale
    length = len(line) * _STEP
    for _ in range(rng.poisson(share * nursery.recipe.mitochondria * length / 1000)):
        count = int(rng.integers(4, 14))
        if count + 4 >= len(line):
            continue
        first = int(rng.integers(2, len(line) - count - 1))
        part = slice(first, first + count)
        room = 0.62 * float(np.sort(radius[part])[count // 3])
        thick = min(room, scale * rng.uniform(24, 44))
        if thick < 13 * scale:
            continue
        shift = _unit(rng.standard_normal(3)) * rng.uniform(0, 0.7) * max(0.0, room - thick * 0.6)
        wander = np.cumsum(rng.standard_normal((count, 3)), 0) * 1.2 * scale
        widths = thick * (1 + 0.12 * np.sin(np.linspace(0, rng.uniform(2, 9), count) + rng.uniform(0, 6)))
        nursery.mitochondria.append((line[part] + shift + wander, widths, owner))


def _add_bouton(nursery: _Nursery, centre: Points, radius: float, owner: int) -> None:
    """Fill a swelling with vesicles, and put one or two synapses on its surface."""
    rng, scale = nursery.rng, nursery.scale
    if nursery.misses(centre[None], 1.5 * radius):
        return
    dense = rng.uniform(0.25, 0.8)
    apart = 12.5 * scale
    side = int(np.ceil(radius / apart))
    lattice = np.stack(np.meshgrid(*[np.arange(-side, side + 1)] * 3, indexing="ij"), -1).reshape(-1, 3) * apart
    lattice = lattice + rng.uniform(-0.28, 0.28, lattice.shape) * apart
    towards = _unit(rng.standard_normal(3))
    inside = np.linalg.norm(lattice, axis=1) < 0.95 * radius
    near = 1 / (1 + np.exp(-(lattice @ towards) / (0.35 * radius) - 0.3))
    kept = lattice[inside & (rng.random(len(lattice)) < dense * near * 1.4)]
    nursery.vesicles.append((centre + kept, rng.uniform(4.2, 5.2) * scale, owner))
    nursery.synapses.append((centre + towards * radius, scale * rng.uniform(20, 40), owner))
    if rng.random() < 0.35:
        other = _unit(towards + rng.standard_normal(3))
        nursery.synapses.append((centre + other * radius, scale * rng.uniform(16, 30), owner))


def _add_axon(nursery: _Nursery, middle: Points, towards: Points, line: Points | None = None) -> None:
    """Grow a thin neurite with boutons on it, some forked."""
    rng, recipe, scale = nursery.rng, nursery.recipe, nursery.scale
    half = int(_HALF / _STEP * rng.uniform(0.7, 1))
    if line is None:
        line = _walk(rng, middle, towards, half, _STEP * scale, 0.13)
    if nursery.misses(line, 100 * scale):
        return
    base = scale * recipe.axon_px * float(np.exp(recipe.axon_spread * rng.standard_normal()))
    owner = nursery.new(CELL, rng.uniform(1.1, 2.6))
    radius = _swell(rng, len(line), base, 0.22)
    at = np.arange(len(line))
    for _ in range(rng.poisson(recipe.boutons * len(line) * _STEP / 1000)):
        where = int(rng.integers(4, len(line) - 4))
        size = scale * recipe.bouton_px * rng.uniform(0.65, 1.35)
        if size > base:
            long = rng.uniform(1.1, 2.2)
            bump = np.exp(-(((at - where) * _STEP * scale / (long * size)) ** 4))
            radius = np.maximum(radius, bump * size)
            _add_bouton(nursery, line[where], size, owner)
    nursery.add(line, radius, owner)
    _add_mitochondria(nursery, line, radius, owner, 1.6)
    if rng.random() < 0.3:
        root = int(rng.integers(5, len(line) - 5))
        turn = _unit(np.gradient(line, axis=0)[root] + rng.standard_normal(3))
        child = _sprout(rng, line[root], turn, half // 2, _STEP * scale, 0.15)
        slim = base * 0.85 * np.clip(np.arange(len(child), 0, -1) / 4.0, 0, 1)
        nursery.add(child, slim, owner)


def _add_dendrite(nursery: _Nursery, middle: Points, towards: Points) -> None:
    """Grow a thick neurite with spines, some forked."""
    rng, recipe, scale = nursery.rng, nursery.recipe, nursery.scale
    half = int(_HALF / _STEP)
    base = scale * recipe.dendrite_px * float(np.exp(recipe.dendrite_spread * rng.standard_normal()))
    base = min(base, 260 * scale)
    line = _walk(rng, middle, towards, half, _STEP * scale, 0.06)
    if nursery.misses(line, 4 * base):
        return
    owner = nursery.new(CELL, rng.uniform(0.75, 1.2))
    radius = _swell(rng, len(line), base, 0.3)
    nursery.add(line, radius, owner)
    _add_mitochondria(nursery, line, radius, owner, 1.5)
    sides = _sides(line)
    if rng.random() < 0.4:
        root = int(rng.integers(8, len(line) - 8))
        turn = _unit(np.gradient(line, axis=0)[root] / _STEP + 0.9 * sides[root])
        child = _sprout(rng, line[root], turn, half, _STEP * scale, 0.07)
        slim = 0.6 * base * np.clip(np.arange(len(child), 0, -1) / 5.0, 0, 1)
        nursery.add(child, slim, owner)
        _add_mitochondria(nursery, child, slim, owner)
    for _ in range(rng.poisson(recipe.spines * len(line) * _STEP / 1000)):
        root = int(rng.integers(2, len(line) - 2))
        if nursery.misses(line[root][None], 4 * base):
            continue
        towards = _unit(np.cross(np.gradient(line, axis=0)[root], rng.standard_normal(3)))
        neck = scale * rng.uniform(4, 10)
        path = _sprout(
            rng,
            line[root] + towards * radius[root] * 0.8,
            towards,
            neck_count := int(rng.integers(3, 7)),
            _STEP * scale,
            0.25,
        )
        widths = np.full(neck_count + 1, neck)
        widths[-1] = scale * rng.uniform(20, 40)
        widths[-2] = 0.6 * widths[-1]
        nursery.add(path, widths, owner)


def _add_fibre(nursery: _Nursery, middle: Points, towards: Points) -> None:
    """Grow a myelinated axon."""
    rng, recipe, scale = nursery.rng, nursery.recipe, nursery.scale
    base = scale * recipe.fibre_px * float(np.clip(np.exp(0.5 * rng.standard_normal()), 0.35, 3.2))
    line = _walk(rng, middle, towards, int(_HALF / _STEP), _STEP * scale, 0.025)
    if nursery.misses(line, 3 * base) or not nursery.claims(line[::2], 0.6 * base):
        return
    owner = nursery.new(MYELIN, 6.0)
    radius = np.maximum(_swell(rng, len(line), base, 0.14), 0.3 * base)
    nursery.add(line, radius, owner)
    _add_mitochondria(nursery, line, radius * (1 - recipe.sheath), owner, 0.5)


def _lump(rng: np.random.Generator, centre: Points, radius: float, rough: float) -> tuple[Points, Points]:
    """Return a few overlapping balls around a centre: a rounded, uneven body."""
    count = 7
    offsets = _unit(rng.standard_normal((count, 3))) * radius * rough * rng.uniform(0.3, 1, (count, 1))
    line = np.concatenate([centre[None], centre + offsets])
    return line, np.concatenate([[radius], radius * (1 - 0.75 * rough) * rng.uniform(0.85, 1.05, count)])


def _add_body(nursery: _Nursery, centre: Points) -> None:
    """Grow a cell body with its nucleus and mitochondria."""
    rng, recipe, scale = nursery.rng, nursery.recipe, nursery.scale
    radius = scale * recipe.body_px * rng.uniform(0.75, 1.2)
    if nursery.misses(centre[None], 1.6 * radius) or not nursery.claims(centre[None], 0.72 * radius):
        return
    owner = nursery.new(SOMA, recipe.body_hardness)
    nursery.add(*_lump(rng, centre, radius, 0.35), owner)
    inner = centre + _unit(rng.standard_normal(3)) * radius * rng.uniform(0, 0.12)
    nursery.nuclei.append((*_lump(rng, inner, radius * recipe.nucleus * rng.uniform(0.9, 1.05), 0.2), owner))
    for _ in range(rng.poisson(30 * recipe.mitochondria / 2)):
        at = centre + _unit(rng.standard_normal(3)) * radius * rng.uniform(recipe.nucleus + 0.12, 1.08)
        line = _walk(rng, at, _direction(rng, 0), 3, _STEP * scale, 0.2)
        nursery.mitochondria.append((line, np.full(len(line), scale * rng.uniform(20, 36)), owner))


def _add_lumen(nursery: _Nursery, middle: Points) -> None:
    """Grow a vessel, or a chamber of air."""
    rng, recipe, scale = nursery.rng, nursery.recipe, nursery.scale
    radius = scale * recipe.lumen_px * float(np.exp(recipe.lumen_spread * rng.standard_normal()))
    if recipe.round_lumens:
        if not nursery.misses(middle[None], 2 * radius):
            nursery.add(*_lump(rng, middle, radius, 0.5), nursery.new(LUMEN, 6.0))
        return
    line = _walk(rng, middle, _direction(rng, recipe.along_z), int(_HALF / _STEP), _STEP * scale, 0.03)
    if not nursery.misses(line, 2 * radius):
        nursery.add(line, np.full(len(line), radius), nursery.new(LUMEN, 6.0))


def _count(rng: np.random.Generator, share: float, volume: float, each: float) -> int:
    return int(rng.poisson(share * volume / each)) if share > 0 else 0


def _populate(nursery: _Nursery, low: Points, high: Points) -> None:
    """Grow everything in a box."""
    rng, recipe, scale = nursery.rng, nursery.recipe, nursery.scale
    volume = float(np.prod(high - low)) / scale**3
    long = 2 * _HALF

    def somewhere() -> Points:
        return rng.uniform(low, high)

    for _ in range(_count(rng, recipe.bodies, volume, 4 / 3 * pi * recipe.body_px**3)):
        _add_body(nursery, somewhere())
    ball = 4 / 3 * pi * recipe.lumen_px**3
    for _ in range(_count(rng, recipe.lumens, volume, ball if recipe.round_lumens else pi * recipe.lumen_px**2 * long)):
        _add_lumen(nursery, somewhere())
    for _ in range(_count(rng, recipe.fibres, volume, pi * recipe.fibre_px**2 * long * 1.5)):
        _add_fibre(nursery, somewhere(), _direction(rng, 2 * recipe.along_z))
    for _ in range(_count(rng, recipe.dendrites, volume, pi * recipe.dendrite_px**2 * long * 1.6)):
        _add_dendrite(nursery, somewhere(), _direction(rng, recipe.along_z))
    thin = pi * recipe.axon_px**2 * long * 1.6
    for _ in range(_count(rng, recipe.axons, volume, thin)):
        _add_axon(nursery, somewhere(), _direction(rng, recipe.along_z))
    for _ in range(_count(rng, recipe.bundles, volume, thin * 8)):
        line = _walk(rng, somewhere(), _direction(rng, recipe.along_z), int(_HALF / _STEP), _STEP * scale, 0.05)
        across = _unit(rng.standard_normal((2, 3)))
        for _k in range(8):
            shift = rng.uniform(-1, 1, 2) @ across * recipe.axon_px * scale * 4
            _add_axon(nursery, line[0], line[0], line + shift)


def _capsules(nursery: _Nursery, chains: list[tuple[Points, Points, int]], *, by_owner: bool) -> Capsules:
    """Return chains as capsules, those near the picture; owned by their object, or each chain numbered by itself."""
    margin = (4 * nursery.recipe.glia_px + 12) * nursery.scale
    parts: list[list[Points]] = [[] for _ in range(6)]
    for number, (line, radius, owner) in enumerate(chains):
        side = _sides(line)
        lengths = np.linalg.norm(np.diff(line, axis=0), axis=1)
        parts[0].append(line[:-1])
        parts[1].append(line[1:])
        parts[2].append(np.stack([radius[:-1], radius[1:]], 1))
        parts[3].append(np.full(len(line) - 1, owner if by_owner else number))
        parts[4].append(np.concatenate([[0], np.cumsum(lengths)[:-1]]))
        parts[5].append(np.stack([side[:-1], side[1:]], 1))
    if not chains:
        empty = np.zeros((0, 3), np.float32)
        return Capsules(empty, empty, empty[:, :2], np.zeros(0, np.int32), empty[:, 0], np.zeros((0, 2, 3), np.float32))
    joined = [np.concatenate(part).astype(np.float32) for part in parts]
    rods = Capsules(joined[0], joined[1], joined[2], joined[3].astype(np.int32), joined[4], joined[5])
    wide = rods.radius.max(1, keepdims=True) + np.float32(margin)
    lowest, highest = np.minimum(rods.start, rods.end)[:, :2] - wide, np.maximum(rods.start, rods.end)[:, :2] + wide
    return rods.pick(((highest > nursery.low) & (lowest < nursery.high)).all(1))


def _spots(clouds: list[tuple[Points, float, int]], rng: np.random.Generator) -> Spots:
    points = [np.atleast_2d(at) for at, _, _ in clouds]
    sizes = [len(p) for p in points]
    at = np.concatenate([*points, np.zeros((0, 3))]).astype(np.float32)
    radius = np.repeat([r for _, r, _ in clouds], sizes).astype(np.float32)
    owner = np.repeat([o for _, _, o in clouds], sizes).astype(np.int32)
    return Spots(at, radius, owner, rng.random(len(at), dtype=np.float32))


def reach_px(recipe: Recipe) -> float:
    """Return how far anything reaches out of the block that it began in."""
    return (_HALF + 0.5 * _HALF + recipe.dendrite_px) * recipe.look.scale


def grow_block(number: int, shape: tuple[int, int], streams: Streams, recipe: Recipe) -> Block:
    """Return all that begins between z = ``number`` * `BLOCK` * scale and the next block, in and around ``shape``."""
    rng, scale = streams.rng(0, number), recipe.look.scale
    around = (_HALF + 150) * scale
    bend = 130 * scale * recipe.wobble  # the picture, before the tissue was bent
    nursery = _Nursery(rng, recipe, np.array([-bend, -bend]), np.array([shape[1] + bend, shape[0] + bend]))
    low = np.array([-around, -around, number * BLOCK * scale])
    high = np.array([shape[1] + around, shape[0] + around, (number + 1) * BLOCK * scale])
    _populate(nursery, low, high)
    count, mitochondria = len(nursery.kind), len(nursery.mitochondria)
    return Block(
        first=2 + (number + 16) * _IDS,
        kind=np.array(nursery.kind, np.uint8),
        hard=np.array(nursery.hard, np.float32),
        trait=rng.random((count, 6), dtype=np.float32),
        body=_capsules(nursery, nursery.bodies, by_owner=True),
        mitochondria=_capsules(nursery, nursery.mitochondria, by_owner=False),
        mito_of=np.array([owner for _, _, owner in nursery.mitochondria], np.int32),
        mito_trait=rng.random((mitochondria, 4), dtype=np.float32),
        nuclei=_capsules(nursery, nursery.nuclei, by_owner=False),
        nucleus_of=np.array([owner for _, _, owner in nursery.nuclei], np.int32),
        vesicles=_spots(nursery.vesicles, rng),
        synapses=_spots(nursery.synapses, rng),
    )


def blocks_at(z_px: float, recipe: Recipe) -> range:
    """Return the numbers of the blocks whose things may reach a plane."""
    reach, scale = reach_px(recipe), recipe.look.scale
    return range(int((z_px - reach) // (BLOCK * scale)), int((z_px + reach) // (BLOCK * scale)) + 1)
