"""Records into tables and back: tiles as columns, and every pair reduced once to the sums of its points.

A tile's new transform is ``M @ to_world``: a world motion of the model's group after whatever the tile had (a lens
or scale part already there is kept). Around the tile's centre c, ``M(x) = c + G (x - c, 1)`` with a (2, 3) matrix G.
A match p (fixed tile i), q (moving tile j) leaves the residual

    r = M_i(to_world_i p) - M_j(to_world_j q) = [G_i | G_j] z + (c_i - c_j),    z = (u, 1, -v, -1),

with u, v the stage's world points about their tile's centre. Sums of squares and their derivatives need only
``S = sum z z^T`` (6, 6) of each pair, so no step of a solver ever looks at the points again. All lengths are divided
by `TileTable.unit_px` (about half a tile), which keeps the numbers near one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demis_ij.errors import InputError
from demis_ij.records import Affine, Layout, PairMatch
from demis_ij.solvers.sums import centre_of_tile, pair_table_of_sums, sums_of_many, tile_table_of_arrays
from demis_ij.solvers.tables import Array, PairTable, TileTable

POINTS_AT_ONCE = 2_000_000  # bounds the memory while pairs are reduced


def _check(layout: Layout, matches: Sequence[PairMatch]) -> None:
    seen: set[tuple[str, str]] = set()
    for match in matches:
        name = f"pair {match.fixed!r} - {match.moving!r}"
        for tile in (match.fixed, match.moving):
            if tile not in layout:
                msg = f"{name}: no tile {tile!r} in section {layout.section!r}"
                raise InputError(msg)
        if match.fixed == match.moving:
            msg = f"{name}: a tile cannot be paired with itself"
            raise InputError(msg)
        key = (min(match.fixed, match.moving), max(match.fixed, match.moving))
        if key in seen:
            msg = f"{name} is given twice: a pair is stored once"
            raise InputError(msg)
        seen.add(key)
        if not len(match.fixed_xy) or len(match.fixed_xy) != len(match.moving_xy):
            msg = f"{name}: {len(match.fixed_xy)} and {len(match.moving_xy)} points; equally many needed, at least one"
            raise InputError(msg)


def places_of(layout: Layout) -> Array:
    """Return every tile's (n, 2, 3) `to_world`, px."""
    six = [(t.to_world.a, t.to_world.b, t.to_world.tx, t.to_world.c, t.to_world.d, t.to_world.ty) for t in layout]
    return np.array(six, float).reshape(-1, 2, 3)


def tile_table(layout: Layout) -> TileTable:
    """Return the layout's tiles as columns; a tile of unknown shape counts as a point at its first pixel."""
    shapes = np.array([t.shape for t in layout], float).reshape(-1, 2)
    return tile_table_of_arrays(places_of(layout), shapes, np.array([t.locked for t in layout], bool))


def pair_table(layout: Layout, matches: Sequence[PairMatch], tiles: TileTable) -> PairTable:
    """Return the pairs as columns, each reduced to the sums of its points; ``row`` is the place in ``matches``.

    Raises
    ------
    InputError
        When a pair names a tile that the layout lacks, is given twice, or has no or non-finite points.
    """
    _check(layout, matches)
    fixed = [layout.index(p.fixed) for p in matches]
    moving = [layout.index(p.moving) for p in matches]
    centres = [centre_of_tile(t.shape) for t in layout]
    count = np.cumsum([0, *(len(p.fixed_xy) for p in matches)])
    sums = np.empty((len(matches), 15))
    start = 0
    while start < len(matches):
        stop = max(start + 1, int(np.searchsorted(count, count[start] + POINTS_AT_ONCE, side="right")) - 1)
        part = range(start, stop)
        sums[start:stop] = sums_of_many(
            [matches[k].fixed_xy - centres[fixed[k]] for k in part],
            [matches[k].moving_xy - centres[moving[k]] for k in part],
        )
        start = stop
    finite = np.isfinite(sums).all(axis=1)
    if not finite.all():
        bad = matches[int(np.flatnonzero(~finite)[0])]
        msg = f"pair {bad.fixed!r} - {bad.moving!r}: its points must be finite"
        raise InputError(msg)
    return pair_table_of_sums(tiles, places_of(layout), fixed, moving, sums)


def moved_places(places: Array, tiles: TileTable, motion: Array) -> Array:
    """Return the new (n, 2, 3) `to_world`, px, of tiles from their motions; those that do not move keep every bit.

    Parameters
    ----------
    places : ndarray of shape (n, 2, 3)
        Tile px to world px as they were.
    tiles : TileTable
        The same tiles.
    motion : ndarray of shape (n, 2, 3)
        Motions about the tiles' centres, units.
    """
    linear, shift = places[:, :, :2], places[:, :, 2]
    arm = shift / tiles.unit_px - tiles.centre
    place = (np.einsum("nij,nj->ni", motion[:, :, :2], arm) + motion[:, :, 2] + tiles.centre) * tiles.unit_px
    moved = np.concatenate([motion[:, :, :2] @ linear, place[:, :, None]], axis=2)
    still = tiles.locked | (motion == np.eye(2, 3)).all(axis=(1, 2))
    return np.where(still[:, None, None], places, moved)


def motions_to_world(layout: Layout, tiles: TileTable, motion: Array) -> dict[str, Affine]:
    """Return the new `to_world` of every tile from its (n, 2, 3) motion; tiles that do not move are left out."""
    before = places_of(layout)
    after = moved_places(before, tiles, motion)
    moves = (after != before).any(axis=(1, 2)).tolist()
    values = after[:, [0, 0, 1, 1, 0, 1], [0, 1, 0, 1, 2, 2]].tolist()
    return {name: Affine(*values[i]) for i, name in enumerate(layout.ids) if moves[i]}
