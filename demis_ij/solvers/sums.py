"""Tables for the solver straight from columns: places of tiles, and sums of the pairs' points as they are stored.

A pair's points are added up once, when it is matched, about the **centre of each tile, in tile px**: with
``p = fixed_xy - centre of the fixed tile``, ``q = moving_xy - centre of the moving tile``, where the centre is
``((cols - 1) / 2, (rows - 1) / 2)``, the fifteen numbers named in `SUM_NAMES`: how many matches, sums of p and q, of
their squares and products. They do not know where the tiles lie, so a stored sum stays right when the layout changes,
and sums of two sets of matches add. About the centre the numbers stay small: nothing is lost to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.errors import InputError
from demis_ij.records import Points
from demis_ij.solvers.tables import ACROSS, IN_PLANE, SUM_NAMES, Array, PairTable, Rows, TileTable, carried_sums

PAIRS_AT_ONCE = 100_000  # bounds the memory while sums are carried to the world


def centre_of_tile(shape: tuple[int, int]) -> Array:
    """Return (x, y), tile px, of the centre of a tile of (rows, cols); (0, 0) while the shape is unknown."""
    rows, cols = shape
    return np.array([max(cols - 1, 0) / 2, max(rows - 1, 0) / 2])


def sums_of_points(
    fixed_xy: Points, moving_xy: Points, fixed_shape: tuple[int, int], moving_shape: tuple[int, int]
) -> Array:
    """Return the (15,) sums of one pair, as `pair_table_of_sums` takes them.

    Parameters
    ----------
    fixed_xy, moving_xy : ndarray of shape (N, 2)
        The matches, px of their tiles.
    fixed_shape, moving_shape : tuple of int
        (rows, cols) of the tiles; (0, 0) while unknown, then the sums are about the first pixel.
    """
    both = sums_of_many(
        [np.asarray(fixed_xy, float) - centre_of_tile(fixed_shape)],
        [np.asarray(moving_xy, float) - centre_of_tile(moving_shape)],
    )
    return np.asarray(both[0])


def sums_of_many(fixed: Sequence[Points], moving: Sequence[Points]) -> Array:
    """Return (k, 15) sums of k pairs, each with at least one match, of (N, 2) points about their tiles' centres."""
    sizes = np.array([len(points) for points in fixed], np.intp)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    (px, py), (qx, qy) = np.concatenate(list(fixed)).T, np.concatenate(list(moving)).T
    column = {"px": px, "py": py, "qx": qx, "qy": qy}
    out = np.empty((len(sizes), len(SUM_NAMES)))
    out[:, 0] = sizes
    for place, name in enumerate(SUM_NAMES[1:], 1):
        values = column[name] if name in column else column[name[:2]] * column[name[2:]]
        out[:, place] = np.add.reduceat(values, first)
    return out


def tile_table_of_arrays(
    to_world: ArrayLike, shape: ArrayLike, locked: ArrayLike | None = None, section: ArrayLike | None = None
) -> TileTable:
    """Return tiles as columns.

    Parameters
    ----------
    to_world : array of shape (n, 2, 3)
        Tile px to world px: linear part, shift.
    shape : array of shape (n, 2) or (2,)
        (rows, cols) of each tile, or of all; (0, 0) where unknown: such a tile counts as a point at its first pixel.
    locked : array of shape (n,), bool, optional
        Tiles that must not move. None if not given.
    section : array of shape (n,), optional
        Number of each tile's section, rising with z. All of one section if not given.

    Raises
    ------
    InputError
        When lengths differ or a place is not finite.
    """
    place = np.asarray(to_world, float)
    if place.ndim != 3 or place.shape[1:] != (2, 3) or not np.isfinite(place).all():
        msg = f"places of tiles are finite (n, 2, 3) matrices, found shape {place.shape}"
        raise InputError(msg)
    n = len(place)
    side = np.broadcast_to(np.asarray(shape, float), (n, 2))[:, ::-1]
    fixed = np.zeros(n, bool) if locked is None else np.asarray(locked, bool)
    layer = np.zeros(n, np.intp) if section is None else np.asarray(section, np.intp)
    for name, column in (("locked", fixed), ("section", layer)):
        if column.shape != (n,):
            msg = f"{name} needs a value for each of {n} tiles, found shape {column.shape}"
            raise InputError(msg)
    linear = place[:, :, :2]
    centre = np.einsum("nij,nj->ni", linear, np.maximum(side - 1, 0) / 2) + place[:, :, 2]
    area = np.abs(linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0])
    half = np.sqrt(area) * np.hypot(side[:, 0], side[:, 1]) / 2
    known = half[half > 0]
    unit = float(np.median(known)) if len(known) else 1.0
    half = np.where(half > 0, half, unit)
    return TileTable(centre / unit, half / unit, fixed, unit, layer)


def pair_table_of_sums(
    tiles: TileTable, to_world: ArrayLike, fixed: ArrayLike, moving: ArrayLike, sums: ArrayLike
) -> PairTable:
    """Return pairs as columns from the sums of their points; a pair of tiles of two sections is of the class across.

    Parameters
    ----------
    tiles : TileTable
        The tiles, by `tile_table_of_arrays`.
    to_world : array of shape (n, 2, 3)
        The same places that the tile table was made of.
    fixed, moving : array of shape (m,)
        Rows of the tiles.
    sums : array of shape (m, 15)
        `sums_of_points` of each pair: about the tiles' centres, tile px.

    Raises
    ------
    InputError
        When a pair names a row that there is not, a tile with itself, occurs twice, or has no or non-finite sums.
    """
    i, j = np.asarray(fixed, np.intp).reshape(-1), np.asarray(moving, np.intp).reshape(-1)
    given = np.asarray(sums, float).reshape(-1, len(SUM_NAMES))
    if not len(i) == len(j) == len(given):
        msg = f"pairs need as many fixed tiles, moving tiles and sums: found {len(i)}, {len(j)}, {len(given)}"
        raise InputError(msg)
    _check_columns(len(tiles), i, j, given)
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    linear = np.asarray(to_world, float)[:, :, :2] / tiles.unit_px
    out = np.empty((len(i), len(SUM_NAMES)))
    for start in range(0, len(i), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        out[part] = carried_sums(given[order[part]], linear[i[part]], linear[j[part]])
    kind = np.where(tiles.section[i] == tiles.section[j], IN_PLANE, ACROSS).astype(np.int8)
    return PairTable(i, j, out, kind, order)


def _check_columns(tiles: int, fixed: Rows, moving: Rows, sums: Array) -> None:
    """Raise `InputError` that names the first pair that cannot be."""

    def refuse(bad: NDArray[np.bool_], why: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            msg = f"pair {row} (tiles {fixed[row]} and {moving[row]}): {why}"
            raise InputError(msg)

    refuse(np.logical_or(np.minimum(fixed, moving) < 0, np.maximum(fixed, moving) >= tiles), f"there are {tiles} tiles")
    refuse(fixed - moving == 0, "a tile cannot be paired with itself")
    refuse(~np.isfinite(sums.sum(axis=1)), "its points must be finite")
    refuse(sums[:, 0] < 1, "at least one match is needed")
    key = np.minimum(fixed, moving) * tiles + np.maximum(fixed, moving)
    order = np.argsort(key, kind="stable")
    twice = np.zeros(len(key), bool)
    twice[order[1:]] = key[order[1:]] == key[order[:-1]]
    refuse(twice, "it is given twice: a pair is stored once")
