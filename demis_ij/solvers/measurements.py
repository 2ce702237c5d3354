"""Arrays out of records: tiles as columns, and every pair reduced once to the moments of its points.

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
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.records import Affine, Layout, PairMatch, Points

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Rows = NDArray[np.intp]

POINTS_AT_ONCE = 2_000_000  # bounds the memory while pairs are reduced


@dataclass(frozen=True, eq=False)
class TileTable:
    """The tiles as columns.

    Attributes
    ----------
    centre : ndarray of shape (n, 2)
        World position of each tile's centre, in units of ``unit_px``.
    half : ndarray of shape (n,)
        Half of each tile's diagonal, in units of ``unit_px``.
    locked : ndarray of shape (n,), bool
        Tiles that must not move.
    unit_px : float
        World px that one unit stands for.
    """

    centre: Array
    half: Array
    locked: NDArray[np.bool_]
    unit_px: float

    def __len__(self) -> int:
        return len(self.centre)

    def where(self, rows: Rows) -> TileTable:
        """Return some of the tiles."""
        return TileTable(self.centre[rows], self.half[rows], self.locked[rows], self.unit_px)


@dataclass(frozen=True, eq=False)
class PairTable:
    """The pairs as columns, sorted by their tiles so that the order they came in does not matter.

    Attributes
    ----------
    fixed, moving : ndarray of shape (m,)
        Rows of the tiles in the layout.
    count : ndarray of shape (m,)
        Number of matches.
    moments : ndarray of shape (m, 6, 6)
        ``sum z z^T`` over the matches.
    keys : tuple of (str, str)
        Tile ids, as in the record.
    """

    fixed: Rows
    moving: Rows
    count: Array
    moments: Array
    keys: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.fixed)

    def only(self, rows: Rows) -> PairTable:
        """Return some of the pairs."""
        keys = tuple(self.keys[r] for r in rows)
        return PairTable(self.fixed[rows], self.moving[rows], self.count[rows], self.moments[rows], keys)

    def renumbered(self, rows: Rows) -> PairTable:
        """Return the same pairs for a table that holds the tiles ``rows`` only; they must hold every pair's tiles."""
        number = np.full(int(rows.max(initial=-1)) + 1, -1)
        number[rows] = np.arange(len(rows))
        return replace(self, fixed=number[self.fixed], moving=number[self.moving])


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


def linear_and_shift(layout: Layout) -> tuple[Array, Array]:
    """Return every tile's (n, 2, 2) linear part and (n, 2) shift, px."""
    six = np.array(
        [(t.to_world.a, t.to_world.b, t.to_world.c, t.to_world.d, t.to_world.tx, t.to_world.ty) for t in layout]
    ).reshape(-1, 6)
    return six[:, :4].reshape(-1, 2, 2), six[:, 4:]


def tile_table(layout: Layout) -> TileTable:
    """Return the layout's tiles as columns; a tile of unknown shape counts as a point at its first pixel."""
    linear, shift = linear_and_shift(layout)
    side = np.array([t.shape[::-1] for t in layout], float).reshape(-1, 2)
    centre = np.einsum("nij,nj->ni", linear, np.maximum(side - 1, 0) / 2) + shift
    area = np.abs(np.linalg.det(linear)) if len(linear) else np.zeros(0)
    half = np.sqrt(area) * np.hypot(side[:, 0], side[:, 1]) / 2
    known = half[half > 0]
    unit = float(np.median(known)) if len(known) else 1.0
    half = np.where(half > 0, half, unit)
    return TileTable(centre / unit, half / unit, np.array([t.locked for t in layout], bool), unit)


def pair_table(layout: Layout, matches: Sequence[PairMatch], tiles: TileTable) -> PairTable:
    """Return the pairs as columns, each reduced to the moments of its points.

    Raises
    ------
    InputError
        When a pair names a tile that the layout lacks, is given twice, or has no or non-finite points.
    """
    _check(layout, matches)
    row = {name: i for i, name in enumerate(layout.ids)}
    order = sorted(range(len(matches)), key=lambda k: (row[matches[k].fixed], row[matches[k].moving]))
    pairs = [matches[k] for k in order]
    fixed = np.array([row[p.fixed] for p in pairs], np.intp)
    moving = np.array([row[p.moving] for p in pairs], np.intp)
    count = np.array([len(p.fixed_xy) for p in pairs], float)
    moments = np.empty((len(pairs), 6, 6))
    linear, shift = linear_and_shift(layout)
    start = 0
    while start < len(pairs):
        stop = start + max(1, int(np.searchsorted(np.cumsum(count[start:]), POINTS_AT_ONCE, side="right")))
        part = pairs[start:stop]
        sizes = count[start:stop].astype(np.intp)
        u = _about_centre([p.fixed_xy for p in part], np.repeat(fixed[start:stop], sizes), linear, shift, tiles)
        v = _about_centre([p.moving_xy for p in part], np.repeat(moving[start:stop], sizes), linear, shift, tiles)
        one = np.ones(len(u))
        z = np.stack([u[:, 0], u[:, 1], one, -v[:, 0], -v[:, 1], -one])
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        for a in range(6):
            for b in range(a, 6):
                moments[start:stop, a, b] = moments[start:stop, b, a] = np.add.reduceat(z[a] * z[b], first)
        start = stop
    if not np.isfinite(moments).all():
        bad = pairs[int(np.flatnonzero(~np.isfinite(moments).all(axis=(1, 2)))[0])]
        msg = f"pair {bad.fixed!r} - {bad.moving!r}: its points must be finite"
        raise InputError(msg)
    return PairTable(fixed, moving, count, moments, tuple((p.fixed, p.moving) for p in pairs))


def _about_centre(points: list[Points], tile: Rows, linear: Array, shift: Array, tiles: TileTable) -> Array:
    """Return the world position of tile points about their tile's centre, in units."""
    x, y = np.concatenate(points).T
    whole = np.concatenate([linear.reshape(-1, 4) / tiles.unit_px, shift / tiles.unit_px - tiles.centre], axis=1)
    a, b, c, d, tx, ty = whole[tile].T
    return np.stack([a * x + b * y + tx, c * x + d * y + ty], axis=1)


def own_motion(pairs: PairTable, tiles: TileTable, *, scale: bool, turn: bool) -> tuple[Complex, Complex, Array]:
    """Return what each pair alone says: moving tile's world to fixed tile's world, about the middle of the two tiles.

    Closed form of the 2-D Procrustes problem, in complex numbers: ``x -> z x + shift``, x = X + iY.

    Parameters
    ----------
    pairs, tiles
        The measurements.
    scale, turn : bool
        Whether a pair may scale and turn.

    Returns
    -------
    z, shift : ndarray of shape (m,), complex
        Turn (and scale) and shift in units; (1, 0) when the stage is right.
    squares : ndarray of shape (m,)
        Sum of squared residuals that remain, units squared.
    """
    s, n = pairs.moments, pairs.count
    middle = (tiles.centre[pairs.moving] - tiles.centre[pairs.fixed]) / 2  # from the fixed tile's centre
    mean_u, mean_v = s[:, :2, 2] / n[:, None], s[:, 3:5, 5] / n[:, None]
    uu = np.trace(s[:, :2, :2], axis1=1, axis2=2) - n * (mean_u**2).sum(1)
    vv = np.trace(s[:, 3:5, 3:5], axis1=1, axis2=2) - n * (mean_v**2).sum(1)
    uv = -s[:, :2, 3:5] - n[:, None, None] * mean_u[:, :, None] * mean_v[:, None, :]
    cos_part, sin_part = uv[:, 0, 0] + uv[:, 1, 1], uv[:, 1, 0] - uv[:, 0, 1]
    product = cos_part + 1j * sin_part  # sum of u conj(v)
    size = np.abs(product)
    z = np.ones(len(n), complex)
    if turn:
        # points that nearly coincide say nothing about a turn
        usable = size > 1e-9 * n
        z[usable] = product[usable] / (np.maximum(vv, 1e-12)[usable] if scale else size[usable])
    squares = np.maximum(0, uu - 2 * (np.conj(z) * product).real + np.abs(z) ** 2 * vv)
    from_fixed, from_moving = mean_u - middle, mean_v + middle
    shift = from_fixed[:, 0] + 1j * from_fixed[:, 1] - z * (from_moving[:, 0] + 1j * from_moving[:, 1])
    return z, shift, np.asarray(squares)


def own_squares(pairs: PairTable, tiles: TileTable, model: str) -> Array:
    """Return (m,) sums of squares that are left when each pair is fitted alone by the model, units squared."""
    if model != "affine":
        return own_motion(pairs, tiles, scale=model == "similarity", turn=model != "translation")[2]
    s, n = pairs.moments, pairs.count
    mean = s[:, :, 2] / n[:, None]
    centred = s - n[:, None, None] * mean[:, :, None] * mean[:, None, :]
    uu, uv, vv = centred[:, :2, :2], centred[:, :2, 3:5], centred[:, 3:5, 3:5]
    # points on a line leave a direction free: the pseudo-inverse fits what can be fitted
    explained = uv @ np.linalg.pinv(vv, rcond=1e-9, hermitian=True) @ uv.transpose(0, 2, 1)
    return np.asarray(np.maximum(0, np.trace(uu - explained, axis1=1, axis2=2)))


def motions_to_world(layout: Layout, tiles: TileTable, motion: Array) -> dict[str, Affine]:
    """Return the new `to_world` of every tile from its (n, 2, 3) motion; tiles that do not move are left out."""
    still = np.array([[1.0, 0, 0], [0, 1, 0]])
    linear, shift = linear_and_shift(layout)
    centre = tiles.centre
    new_linear = motion[:, :, :2] @ linear
    old = shift / tiles.unit_px - centre
    new_shift = (np.einsum("nij,nj->ni", motion[:, :, :2], old) + motion[:, :, 2] + centre) * tiles.unit_px
    moved = (motion != still).any(axis=(1, 2)) & ~tiles.locked
    values = np.concatenate([new_linear.reshape(-1, 4), new_shift], axis=1).tolist()
    return {name: Affine(*values[i]) for i, name in enumerate(layout.ids) if moved[i]}
