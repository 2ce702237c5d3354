"""Loop closure: which pairs are confirmed by going round a short loop of tiles.

Round a loop of right pairs the motions compose to the identity; one wrong pair spoils every loop it is in. A pair
that closes at least one loop of three or four tiles is believed before anything is solved, which gives the robust
solve a start that wrong pairs have not bent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.solvers.tables import Array, Complex, Rows

MAX_DEGREE = 12  # a tile's pairs beyond so many are not combined with each other
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


def _wedges(tiles: int, fixed: Rows, moving: Rows) -> tuple[Rows, Rows, Rows, Rows, Rows]:
    """Return (low end, high end, middle, pair to low, pair to high) of every two pairs that share a tile."""
    pairs = np.arange(len(fixed))
    centre = np.concatenate([fixed, moving])
    other = np.concatenate([moving, fixed])
    pair = np.concatenate([pairs, pairs])
    order = np.lexsort((other, centre))
    centre, other, pair = centre[order], other[order], pair[order]
    parts = []
    for step in range(1, min(MAX_DEGREE, len(centre))):
        here = np.flatnonzero(centre[:-step] == centre[step:])
        if len(here) == 0:
            break
        parts.append(np.stack([other[here], other[here + step], centre[here], pair[here], pair[here + step]]))
    if not parts:
        none = np.zeros(0, np.intp)
        return none, none, none, none, none
    low, high, middle, to_low, to_high = np.concatenate(parts, axis=1)
    order = np.lexsort((middle, high, low))
    return low[order], high[order], middle[order], to_low[order], to_high[order]


def find_loops(tiles: int, fixed: Rows, moving: Rows) -> Loops:
    """Return loops of three tiles, and of four (each two-step way joined with the next few between the same ends)."""
    low, high, middle, to_low, to_high = _wedges(tiles, fixed, moving)
    if len(low) == 0:
        return Loops(np.zeros((0, 4), np.intp), np.zeros((0, 4), np.intp))
    ends = low * tiles + high
    tile_parts, pair_parts = [], []
    for step in (1, 2, 3):
        if len(ends) <= step:
            break
        here = np.flatnonzero(ends[:-step] == ends[step:])
        there = here + step
        tile_parts.append(np.stack([low[here], middle[here], high[here], middle[there]], 1))
        pair_parts.append(np.stack([to_low[here], to_high[here], to_high[there], to_low[there]], 1))
    direct = np.minimum(fixed, moving) * tiles + np.maximum(fixed, moving)
    order = np.argsort(direct)
    at = np.minimum(np.searchsorted(direct[order], ends), len(order) - 1)
    closed = np.flatnonzero(direct[order][at] == ends)
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


def confirmed_pairs(
    pairs: int, loops: Loops, error: Array, floor: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (in a loop that closes, in any loop), each (m,) bool.

    A loop closes when its error is below `TOLERANCE` times `typical_error`, or below ``floor``.
    """
    closes, looped = np.zeros(pairs, bool), np.zeros(pairs, bool)
    if len(error) == 0:
        return closes, looped
    limit = max(floor, TOLERANCE * typical_error(error))
    looped[loops.pair[loops.pair >= 0]] = True
    good = loops.pair[error <= limit]
    closes[good[good >= 0]] = True
    return closes, looped
