"""How far apart the two tiles of a pair lie, and what each pair is worth: sums of squares from moments, in parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from demis_ij.solvers.tables import Array, PairTable, Rows, TileTable, moments_of_sums
from demis_ij.solvers.threads import ALONE, Threads

PAIRS_AT_ONCE = 16_384  # the matrices of so many pairs stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Worth:
    """What the pairs are worth to a solve.

    Attributes
    ----------
    weight : ndarray of shape (m,)
        Robust weights in [0, 1].
    precision : ndarray of shape (m,)
        What a pair's sum of squares is multiplied by: its weight over the variance of a match.
    stage : ndarray of shape (2,)
        What a match of the stage's (`stage_sums`) is multiplied by, for each class of pairs; 0 where the stage has
        no say.
    """

    weight: Array
    precision: Array
    stage: Array

    def moments(self, pairs: PairTable, tiles: TileTable, part: slice) -> Array:
        """Return (k, 6, 6) moments of some pairs times what they are worth, the stage's opinion included."""
        some = pairs if part == slice(0, len(pairs)) else pairs.only(part)
        out = self.precision[part, None] * some.sums
        if self.stage.any():
            out += self.stage[some.kind][:, None] * stage_sums(some, tiles)
        return moments_of_sums(out)


def parts_of(count: int) -> Iterator[slice]:
    """Return the slices of a table of so many pairs that are worked on at once."""
    if count <= 2 * PAIRS_AT_ONCE:
        yield slice(0, count)
        return
    for start in range(0, count, PAIRS_AT_ONCE):
        yield slice(start, min(count, start + PAIRS_AT_ONCE))


def squares_of(motion: Array, pairs: PairTable, tiles: TileTable, threads: Threads = ALONE) -> Array:
    """Return (m,) sums of squared residuals of the pairs at some motions, units squared."""

    def in_part(part: slice) -> Array:
        some = pairs if part == slice(0, len(pairs)) else pairs.only(part)
        return squares(joined(motion, some, tiles), some.moments)

    return np.concatenate(list(threads.ordered(in_part, parts_of(len(pairs)))))


def weighted_squares(
    motion: Array, pairs: PairTable, tiles: TileTable, worth: Worth, threads: Threads = ALONE, *, by_size: bool = False
) -> float:
    """Return the sum over all pairs of squared residuals times what they are worth.

    With ``by_size`` residuals count relative to the pair's mean linear part (`mean_linear`), as they do where tiles
    may be stretched.
    """

    def in_part(part: slice) -> float:
        some = pairs if part == slice(0, len(pairs)) else pairs.only(part)
        joint = joined(motion, some, tiles)
        if by_size:
            joint = np.linalg.inv(mean_linear(joint)) @ joint
        return float(squares(joint, worth.moments(pairs, tiles, part)).sum())

    return sum(threads.ordered(in_part, parts_of(len(pairs))))


def add_rows(total: Array, index: Rows, values: Array) -> None:
    """Add (k, ...) values to the rows ``index`` of ``total``, in place; a row may occur many times."""
    if len(index) == 0:
        return
    order = np.argsort(index, kind="stable")
    index = index[order]
    first = np.flatnonzero(np.concatenate([[True], index[1:] != index[:-1]]))
    total[index[first]] += np.add.reduceat(values[order], first, axis=0)


def stage_sums(pairs: PairTable, tiles: TileTable) -> Array:
    """Return (m, 15) sums of one made-up match a pair that says "the stage was right".

    It sits midway between the tiles and is spread as far as half a tile, so that it speaks of the turn, too. Any
    motion common to both tiles leaves it content: it holds tiles to their neighbours, not to the world.
    """
    x, y = ((tiles.centre[pairs.moving] - tiles.centre[pairs.fixed]) / 2).T
    spread = (np.minimum(tiles.half[pairs.fixed], tiles.half[pairs.moving]) / 2) ** 2
    xx, xy, yy = x * x, x * y, y * y
    square = (xx + spread, xy, yy + spread)
    return np.stack([np.ones(len(x)), x, y, -x, -y, *square, *square, spread - xx, -xy, -xy, spread - yy], axis=1)


def joined(motion: Array, pairs: PairTable, tiles: TileTable) -> Array:
    """Return (m, 2, 6) matrices C with residual ``r = C z``."""
    left = motion[pairs.fixed].copy()
    left[:, :, 2] += tiles.centre[pairs.fixed] - tiles.centre[pairs.moving]
    return np.concatenate([left, motion[pairs.moving]], axis=2)


def mean_linear(joint: Array) -> Array:
    """Return (m, 2, 2): the mean of the linear parts of a pair's two tiles."""
    return np.asarray((joint[:, :, 0:2] + joint[:, :, 3:5]) / 2)


def squares(joint: Array, moments: Array) -> Array:
    """Return (m,) sums of squared residuals."""
    return np.asarray(np.maximum(0, ((joint @ moments) * joint).sum((1, 2))))
