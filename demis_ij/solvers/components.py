"""Connected components, and what the stage says about them: their place, and the place of islands.

Motions are (n, 2, 3) matrices G about each tile's centre: ``M(x) = c + G (x - c, 1)``, lengths in units
(`demis_ij.solvers.tables`).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from demis_ij.solvers.tables import Array, Flags, PairTable, Rows, TileTable

REACH = 5.0  # an island follows tiles whose centres are at most so many half diagonals away: two tiles and a gap
NEIGHBOURS = 24  # and at most so many of them
LARGE = 100  # tiles of an island from which its neighbours are looked for among other components' only


def label_components(tiles: int, fixed: Rows, moving: Rows) -> Rows:
    """Return the component number of every tile, 0 the largest, ties in layout order."""
    if tiles == 0:
        return np.zeros(0, np.intp)
    graph = coo_matrix((np.ones(len(fixed)), (fixed, moving)), shape=(tiles, tiles))
    count, label = connected_components(graph, directed=False)
    size = np.bincount(label, minlength=count)
    first = np.full(count, tiles)
    np.minimum.at(first, label, np.arange(tiles))
    rank = np.empty(count, np.intp)
    rank[np.lexsort((first, -size))] = np.arange(count)
    return np.asarray(rank[label])


def surroundings(tiles: int, pairs: PairTable, which: Flags, steps: int) -> tuple[Flags, Rows]:
    """Return the tiles that some pairs (m, bool) reach in so many steps from pair to pair, and all pairs among them."""
    inside = np.zeros(tiles, bool)
    inside[pairs.fixed[which]] = inside[pairs.moving[which]] = True
    for _ in range(steps):
        touched = inside[pairs.fixed] | inside[pairs.moving]
        inside[pairs.fixed[touched]] = inside[pairs.moving[touched]] = True
    return inside, np.flatnonzero(inside[pairs.fixed] & inside[pairs.moving])


def corner_offsets(tiles: TileTable) -> Array:
    """Return (n, 4, 2) points about each tile's centre, as far out as its corners, whatever way the tile is turned."""
    cross = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    return np.asarray(tiles.half[:, None, None] * cross)


def apply_motion(motion: Array, tiles: TileTable, offsets: Array) -> Array:
    """Return where motions take points given about their tile's centre: (n, k, 2) offsets to (n, k, 2) world units."""
    place = offsets @ motion[:, :, :2].transpose(0, 2, 1) + motion[:, None, :, 2] + tiles.centre[:, None]
    return np.asarray(place)


def fit_motion(source: Array, target: Array, weight: Array, *, turn: bool) -> Array:
    """Return the rigid (or shifting) (2, 3) matrix that takes (k, 2) points nearest to others, weights (k,)."""
    x, y = source @ (1, 1j), target @ (1, 1j)
    total = weight.sum()
    mean_x, mean_y = (weight @ x) / total, (weight @ y) / total
    product = complex((weight * (y - mean_y)) @ np.conj(x - mean_x))
    z = product / abs(product) if turn and abs(product) > 0 else 1.0 + 0j
    shift = mean_y - z * mean_x
    return np.array([[z.real, -z.imag, shift.real], [z.imag, z.real, shift.imag]])


def move_together(motion: Array, tiles: TileTable, world: Array) -> Array:
    """Return the motions of tiles with a (2, 3) world motion done after them."""
    linear = world[:, :2]
    place = (motion[:, :, 2] + tiles.centre) @ linear.T + world[:, 2] - tiles.centre
    return np.concatenate([linear @ motion[:, :, :2], place[:, :, None]], axis=2)


def align_to_stage(motion: Array, tiles: TileTable, *, turn: bool) -> Array:
    """Return the motions of tiles moved as one so that their corners lie nearest to where the stage had them."""
    offsets = corner_offsets(tiles)
    stage = (tiles.centre[:, None] + offsets).reshape(-1, 2)
    solved = apply_motion(motion, tiles, offsets).reshape(-1, 2)
    back = fit_motion(solved, stage, np.ones(len(stage)), turn=turn)
    return move_together(motion, tiles, back)


def without_drift(motion: Array, tiles: TileTable, component: Rows, *, turn: bool) -> Array:
    """Return the motions with each component's mean shift and (if ``turn``) mean turn undone.

    Pairs say nothing about these, so that rounding errors gather there. They say nothing about a stretch of the whole
    either, but the stiffness of its tiles does. Components with a locked tile stay.
    """
    count = int(component.max(initial=-1)) + 1
    size = np.bincount(component, minlength=count)

    def mean(values: Array) -> Array:
        flat = values.reshape(len(values), -1)
        sums = [np.bincount(component, weights=column, minlength=count) for column in flat.T]
        return np.asarray((np.stack(sums, 1) / size[:, None]).reshape(count, *values.shape[1:]))

    linear = np.tile(np.eye(2), (count, 1, 1))
    if turn:
        z = mean(motion[:, :, :2]).reshape(-1, 4) @ (1, -1j, 1j, 1)
        z /= np.abs(z)
        linear = np.stack([z.real, -z.imag, z.imag, z.real], 1).reshape(-1, 2, 2)
    back = linear.transpose(0, 2, 1)[component]
    place = motion[:, :, 2] + tiles.centre
    moved = (back @ (place - mean(place)[component])[:, :, None])[:, :, 0] + mean(tiles.centre)[component]
    out = np.concatenate([back @ motion[:, :, :2], (moved - tiles.centre)[:, :, None]], axis=2)
    anchored = np.zeros(count, bool)
    anchored[component[tiles.locked]] = True
    return np.where(anchored[component][:, None, None], motion, out)


def place_components(motion: Array, tiles: TileTable, component: Rows, *, turn: bool) -> Array:
    """Return the motions with every component in its place, each moved as one (turned, too, if ``turn``).

    One that holds a locked tile stays. The others first lie as near as they can to where the stage had them; then
    all but the largest follow what happened to the tiles around them (`place_islands`). A tile alone starts unmoved.
    """
    if len(tiles) == 0:
        return motion
    out = motion.copy()
    size = np.bincount(component)
    anchored = np.zeros(len(size), bool)
    anchored[component[tiles.locked]] = True
    order = np.argsort(component, kind="stable")
    out[(size[component] == 1) & ~anchored[component]] = np.eye(2, 3)
    for c, rows in enumerate(np.split(order, np.cumsum(size)[:-1])):
        if not anchored[c] and size[c] > 1:
            out[rows] = align_to_stage(motion[rows], tiles.where(rows), turn=turn)
    return place_islands(out, tiles, component, turn=turn)


def place_islands(motion: Array, tiles: TileTable, component: Rows, *, turn: bool) -> Array:
    """Return the motions with every island moved as the solved tiles around it moved.

    Components that hold a locked tile stay. The largest of the others stays where the stage puts it; a smaller one is
    moved as one, by the rigid motion (or shift) that the stage's corners of nearby tiles of larger or locked
    components have undergone, near ones counting more. With nobody in reach the stage alone decides.
    """
    count = int(component.max(initial=-1)) + 1
    if count < 2:
        return motion
    anchored = np.zeros(count, bool)
    anchored[component[tiles.locked]] = True
    size = np.bincount(component, minlength=count)
    islands = [c for c in range(count) if not anchored[c] and not (c == 0 and size[0] > 1)]
    voter = anchored[component] | (size[component] > 1)
    if not voter.any():
        return motion
    voters = np.flatnonzero(voter)
    out = motion.copy()
    place = tiles.apart
    tree = cKDTree(place[voters])
    members = np.split(np.argsort(component, kind="stable"), np.cumsum(size)[:-1])
    for c in islands:
        near, weight = _around(tiles, place, members[c], voters, tree, component, c, anchored)
        if len(near) == 0:
            continue
        rows = members[c]
        world = _local_motion(out, tiles, rows, near, weight, turn=turn)
        out[rows] = move_together(out[rows], tiles.where(rows), world)
    return out


def _around(
    tiles: TileTable,
    place: Array,
    rows: Rows,
    voters: Rows,
    tree: cKDTree,
    component: Rows,
    island: int,
    anchored: Flags,
) -> tuple[Rows, Array]:
    """Return the tiles that an island follows, and how much each counts."""
    reach = REACH * float(tiles.half[rows].max())
    if len(rows) > LARGE:  # among the nearest of its tiles there would be only its own: look at the others alone
        low, high = place[rows].min(0) - reach, place[rows].max(0) + reach
        inside = (place[voters] >= low).all(1) & (place[voters] <= high).all(1) & (component[voters] != island)
        voters = voters[inside]
        if len(voters) == 0:
            return voters, np.zeros(0)
        tree = cKDTree(place[voters])
    asked = min(len(voters), NEIGHBOURS + min(len(rows), LARGE))
    distance, found = tree.query(place[rows], k=asked, distance_upper_bound=reach)
    distance, found = np.reshape(distance, -1), np.reshape(found, -1)
    inside = np.isfinite(distance)
    distance, near = distance[inside], voters[found[inside]]
    older = anchored[component[near]] | (component[near] < island)
    distance, near = distance[older & (component[near] != island)], near[older & (component[near] != island)]
    order = np.lexsort((near, distance))
    first = np.unique(near[order], return_index=True)[1]
    keep = order[np.sort(first)][:NEIGHBOURS]
    distance, near = distance[keep], near[keep]
    floor = 0.5 * float(tiles.half[rows].mean())
    return near, 1 / np.maximum(distance, floor) ** 2


def _local_motion(motion: Array, tiles: TileTable, rows: Rows, near: Rows, weight: Array, *, turn: bool) -> Array:
    """Return the world motion for an island that does to its stage place what happened to its neighbours'."""
    offsets = corner_offsets(tiles)
    stage = (tiles.centre[:, None] + offsets)[near].reshape(-1, 2)
    solved = apply_motion(motion[near], tiles.where(near), offsets[near]).reshape(-1, 2)
    local = fit_motion(stage, solved, np.repeat(weight, 4), turn=turn)
    here = apply_motion(motion[rows], tiles.where(rows), offsets[rows]).reshape(-1, 2)
    wanted = (tiles.centre[:, None] + offsets)[rows].reshape(-1, 2) @ local[:, :2].T + local[:, 2]
    return fit_motion(here, wanted, np.ones(len(here)), turn=turn)
