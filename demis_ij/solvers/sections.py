"""Whole sections put on each other before anything is solved: the stage may have shifted and turned each of them.

Between two sections every pair names a point of one and where it lies on the other. The rigid motion that most of them
agree on (least median of squares, Rousseeuw 1984, doi:10.1080/01621459.1984.10477105) carries the one section to the
other; sections follow each other along the best supported ones. The solve starts from there, and measures from there
how far a pair is from the stage.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from demis_ij.solvers.pair_fits import own_motion
from demis_ij.solvers.tables import ACROSS, Array, Complex, P, PairTable, Q, Rows, TileTable, carried_sums

TRIALS = 300  # motions that are tried between two sections
JUDGES = 400  # pairs that judge each of them
PAIRS_AT_ONCE = 100_000


def restage(tiles: TileTable, pairs: PairTable, *, turn: bool) -> tuple[TileTable, PairTable, Array]:
    """Return the tiles and pairs with the sections put on each other, and how: (n, 2, 3) motions, tile by tile.

    Sections that hold a locked tile stay; so does the first of the others. Without pairs across nothing changes.

    Parameters
    ----------
    tiles, pairs
        As the stage has them.
    turn : bool
        Whether a section may be turned, too.
    """
    motion = np.tile(np.eye(2, 3), (len(tiles), 1, 1))
    across = np.flatnonzero(pairs.kind == ACROSS)
    if len(across) == 0:
        return tiles, pairs, motion
    names, number = np.unique(tiles.section, return_inverse=True)
    z, shift = _chain(len(names), number, tiles, pairs.only(across), turn=turn)
    z, shift = z[number], shift[number]
    centre = tiles.complex_centre
    place = z * centre + shift
    motion[:, 0, 0] = motion[:, 1, 1] = z.real
    motion[:, 1, 0], motion[:, 0, 1] = z.imag, -z.imag
    motion[:, 0, 2], motion[:, 1, 2] = (place - centre).real, (place - centre).imag
    sums = np.empty_like(pairs.sums)
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        left, right = motion[pairs.fixed[part], :, :2], motion[pairs.moving[part], :, :2]
        sums[part] = carried_sums(pairs.sums[part], left, right)
    there = TileTable(np.stack([place.real, place.imag], 1), tiles.half, tiles.locked, tiles.unit_px, tiles.section)
    return there, PairTable(pairs.fixed, pairs.moving, sums, pairs.kind, pairs.row), motion


def composed(outer: Array, inner: Array) -> Array:
    """Return (n, 2, 3) motions about the tiles' first centres of a motion that follows `restage`'s."""
    linear = outer[:, :, :2] @ inner[:, :, :2]
    return np.concatenate([linear, (outer[:, :, 2] + inner[:, :, 2])[:, :, None]], axis=2)


def _chain(sections: int, number: Rows, tiles: TileTable, pairs: PairTable, *, turn: bool) -> tuple[Complex, Complex]:
    """Return every section's world motion ``x -> z x + shift``."""
    centre = tiles.complex_centre
    at = centre[pairs.fixed] + pairs.sums[:, P] @ (1, 1j) / pairs.count
    seen = centre[pairs.moving] + pairs.sums[:, Q] @ (1, 1j) / pairs.count
    own = np.angle(own_motion(pairs, tiles, scale=False, turn=turn)[0])
    low, high = number[pairs.fixed], number[pairs.moving]
    swap = low > high
    at, seen = np.where(swap, seen, at), np.where(swap, at, seen)
    own = np.where(swap, -own, own)
    low, high = np.minimum(low, high), np.maximum(low, high)
    steps: dict[tuple[int, int], tuple[complex, complex]] = {}
    rows, cols, cost = [], [], []
    order = np.argsort(low * sections + high, kind="stable")
    key = (low * sections + high)[order]
    for part in np.split(order, np.flatnonzero(np.diff(key)) + 1):
        a, b = int(low[part[0]]), int(high[part[0]])
        z, shift, agree = _consensus(seen[part], at[part], own[part], turn=turn)
        steps[a, b], steps[b, a] = (z, shift), (1 / z, -shift / z)
        rows.append(a)
        cols.append(b)
        cost.append(1 / agree)
    return _followed(sections, steps, rows, cols, cost, np.unique(number[tiles.locked]))


def _followed(
    sections: int,
    steps: dict[tuple[int, int], tuple[complex, complex]],
    rows: list[int],
    cols: list[int],
    cost: list[float],
    held: Rows,
) -> tuple[Complex, Complex]:
    """Return the sections' motions along the best supported steps, from the held sections or else the first ones."""
    root = sections  # one more node, tied to all that stay
    graph = coo_matrix(
        (cost + [1e-9] * len(held), (rows + [root] * len(held), cols + held.tolist())), shape=(root + 1, root + 1)
    )
    tree = minimum_spanning_tree(graph)
    z, shift = np.ones(root + 1, complex), np.zeros(root + 1, complex)
    seen = np.zeros(root + 1, bool)
    for start in (root, *range(sections)):
        if seen[start]:
            continue
        found, before = breadth_first_order(tree, start, directed=False)
        for node in found[1:]:
            if before[node] != root:
                step, move = steps[int(before[node]), int(node)]
                shift[node] = z[before[node]] * move + shift[before[node]]
                z[node] = z[before[node]] * step
        seen[found] = True
    return z[:-1], shift[:-1]


def _consensus(source: Complex, target: Complex, own: Array, *, turn: bool) -> tuple[complex, complex, int]:
    """Return (z, shift, how many agree) of the rigid motion that most points follow: ``target = z source + shift``."""
    rng = np.random.default_rng(0)
    n = len(source)
    first, second = rng.integers(0, n, (2, TRIALS))
    step = np.where(first == second, 1, source[second] - source[first])
    ratio = (target[second] - target[first]) / step
    z = np.where((first == second) | (np.abs(ratio) == 0), np.exp(1j * own[first]), ratio)
    z = z / np.abs(z) if turn else np.ones(TRIALS, complex)
    shift = (target[first] + target[second] - z * (source[first] + source[second])) / 2
    judges = rng.permutation(n)[:JUDGES]
    off = np.abs(z[:, None] * source[judges] + shift[:, None] - target[judges])
    best = int(np.argmin(np.median(off, axis=1)))
    motion = (complex(z[best]), complex(shift[best]))
    near = np.ones(n, bool)
    for _ in range(3):
        off_all = np.abs(motion[0] * source + motion[1] - target)
        near = off_all <= max(3 * float(np.median(off_all)), 1e-9)
        motion = _rigid(source[near], target[near], motion[0], turn=turn)
    return *motion, int(near.sum())


def _rigid(source: Complex, target: Complex, fallback: complex, *, turn: bool) -> tuple[complex, complex]:
    """Return the least squares motion of points; few points leave the turn as it was."""
    z = fallback
    if turn and len(source) >= 3:
        product = complex(np.vdot(source - source.mean(), target - target.mean()))
        z = product / abs(product) if abs(product) > 0 else fallback
    return z, complex(target.mean() - z * source.mean())
