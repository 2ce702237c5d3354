"""Loop closure: which pairs are confirmed by going round a short loop of tiles.

Round a loop of right pairs the motions compose to the identity; one wrong pair spoils every loop it is in. A pair
that closes at least one loop of three or four tiles is believed before anything is solved, which gives the robust
solve a start that wrong pairs have not bent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demis_ij.solvers.tables import Array, Complex, Flags, Rows

MAX_DEGREE = 12  # a tile's pairs beyond so many are not combined with each other
TILES_AT_ONCE = 50_000  # bounds the memory while loops are looked for
TOLERANCE = 5.0  # a loop closes when its error is below so many sigmas


@dataclass(frozen=True, eq=False)
class Loops:
    """Loops of three and four tiles.

    Attributes
    ----------
    tile : ndarray of shape (k, 4)
        Corner tiles in order; the fourth is -1 for a triangle.
    pair : ndarray of shape (k, 4)
        Pair between a corner and the next; -1 where there is none.
    """

    tile: Rows
    pair: Rows


@dataclass(frozen=True, eq=False)
class _Ends:
    """Every pair seen from both of its tiles, sorted by tile and then by the tile at the other end."""

    first: Rows  # (n + 1,) where each tile's rows begin
    other: Rows
    pair: Rows
    back: Rows  # the same pair seen from the other end

    @classmethod
    def of(cls, tiles: int, fixed: Rows, moving: Rows) -> _Ends:
        tile = np.concatenate([fixed, moving])
        other = np.concatenate([moving, fixed])
        m = len(fixed)
        order = np.lexsort((other, tile))
        place = np.empty(2 * m, np.intp)
        place[order] = np.arange(2 * m)
        back = place[(order + m) % (2 * m)] if m else order
        first = np.searchsorted(tile[order], np.arange(tiles + 1))
        return cls(first, other[order], order % m if m else order, back)


def _wedges(ends: _Ends, start: int, stop: int) -> tuple[Rows, Rows, Rows, Rows, Rows]:
    """Return (low end, high end, middle, pair to low, pair to high) of two pairs that share a tile, some low ends'."""
    here = np.arange(ends.first[start], ends.first[stop])
    low = np.repeat(np.arange(start, stop), np.diff(ends.first[start : stop + 1]))
    middle = ends.other[here]
    begin = ends.back[here] + 1
    many = np.maximum(0, np.minimum(ends.first[middle + 1], begin + MAX_DEGREE - 1) - begin)
    row = np.repeat(np.arange(len(here)), many)
    to_high = begin[row] + np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
    high = ends.other[to_high]
    order = np.lexsort((middle[row], high, low[row]))
    row, to_high, high = row[order], to_high[order], high[order]
    return low[row], high, middle[row], ends.pair[here[row]], ends.pair[to_high]


def find_loops(tiles: int, fixed: Rows, moving: Rows) -> Loops:
    """Return loops of three tiles, and of four (each two-step way joined with the next few between the same ends)."""
    ends = _Ends.of(tiles, fixed, moving)
    direct = np.minimum(fixed, moving) * tiles + np.maximum(fixed, moving)
    order = np.argsort(direct)
    direct = direct[order]
    tile_parts, pair_parts = [np.zeros((0, 4), np.intp)], [np.zeros((0, 4), np.intp)]
    for start in range(0, tiles if len(fixed) else 0, TILES_AT_ONCE):
        low, high, middle, to_low, to_high = _wedges(ends, start, min(tiles, start + TILES_AT_ONCE))
        both = low * tiles + high
        for step in (1, 2, 3):
            here = np.flatnonzero(both[:-step] == both[step:])
            there = here + step
            tile_parts.append(np.stack([low[here], middle[here], high[here], middle[there]], 1))
            pair_parts.append(np.stack([to_low[here], to_high[here], to_high[there], to_low[there]], 1))
        at = np.minimum(np.searchsorted(direct, both), len(order) - 1)
        closed = np.flatnonzero(direct[at] == both)
        gap = np.full(len(closed), -1)
        tile_parts.append(np.stack([low[closed], middle[closed], high[closed], gap], 1))
        pair_parts.append(np.stack([to_low[closed], to_high[closed], order[at[closed]], gap], 1))
    return Loops(np.concatenate(tile_parts), np.concatenate(pair_parts))


def closure_errors(
    loops: Loops, fixed: Rows, turn: Complex, shift: Complex, middle: Complex, centre: Complex, radius: float
) -> Array:
    """Return how far going round each loop moves a point of it, rms over a disc of ``radius`` about its middle.

    Parameters
    ----------
    loops : Loops
        The loops.
    fixed : ndarray of shape (m,)
        Fixed tile of each pair.
    turn, shift, middle : ndarray of shape (m,), complex
        Each pair's motion from moving to fixed: ``x -> turn (x - middle) + shift + middle``.
    centre : ndarray of shape (n,), complex
        Tile centres.
    radius : float
        Half of a tile, in the units of the rest.
    """
    there = loops.tile >= 0
    origin = (centre[loops.tile] * there).sum(1) / there.sum(1)
    z, t = np.ones(len(origin), complex), np.zeros(len(origin), complex)
    for side in range(4):
        pair = loops.pair[:, side]
        real = pair >= 0
        rotation = np.where(real, turn[pair], 1)
        lever = origin - middle[pair]
        move = np.where(real, rotation * lever + shift[pair] - lever, 0)
        back = real & (fixed[pair] != loops.tile[:, side])
        inverse = 1 / rotation
        rotation, move = np.where(back, inverse, rotation), np.where(back, -inverse * move, move)
        z, t = z * rotation, z * move + t
    return np.asarray(np.sqrt(np.abs(t) ** 2 + (radius * np.abs(z - 1)) ** 2 / 2))


def typical_error(error: Array) -> float:
    """Return the sigma of the loops that close, inf without loops.

    From the lower quartile (0.76 sigma of a 2-D normal law), so that three loops of four may hold a wrong pair.
    """
    return float(np.quantile(error, 0.25, method="lower")) / 0.7585 if len(error) else float("inf")


def confirmed_pairs(pairs: int, loops: Loops, error: Array, limit: Array) -> tuple[Flags, Flags]:
    """Return (in a loop that closes, in any loop), each (m,) bool; a loop closes up to its ``limit`` (k,)."""
    closes, looped = np.zeros(pairs, bool), np.zeros(pairs, bool)
    looped[loops.pair[loops.pair >= 0]] = True
    good = loops.pair[error <= limit]
    closes[good[good >= 0]] = True
    return closes, looped
