"""Tiles and pairs as columns: what every solver works on, with no object a tile or a pair.

A pair is kept as the fifteen sums of its points (`PairTable.sums`): a pair of ten thousand matches is as small as one
of ten, two million pairs are 240 MB, and no step of a solver ever looks at the points again. `demis_ij.solvers.sums`
makes such tables from stored sums, `demis_ij.solvers.measurements` from records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]

IN_PLANE, ACROSS = 0, 1
"""Classes of pairs: two tiles of one section, or tiles of two sections."""

SUM_NAMES = (
    *("n", "px", "py", "qx", "qy"),
    *("pxpx", "pxpy", "pypy", "qxqx", "qxqy", "qyqy"),
    *("pxqx", "pxqy", "pyqx", "pyqy"),
)
"""What the columns of `PairTable.sums` add up, in order: p is the point in the fixed tile, q in the moving one."""

N, P, Q, PP, QQ, PQ = (0, slice(1, 3), slice(3, 5), slice(5, 8), slice(8, 11), slice(11, 15))
# z = (p, 1, -q, -1): which of the sums stands at each place of sum z z^T, and its sign
_SPELT = ["px", "py", "n", "qx", "qy", "n"]
_SIGN = np.array([1.0, 1, 1, -1, -1, -1])


def _place_of(a: int, b: int) -> int:
    low, high = sorted((a, b))
    left, right = _SPELT[low], _SPELT[high]
    name = left if right == "n" else right if left == "n" else left + right
    return SUM_NAMES.index(name)


_PLACES = np.array([_place_of(a, b) for a in range(6) for b in range(6)])
_SIGNS = (_SIGN[:, None] * _SIGN).ravel()


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
    section : ndarray of shape (n,)
        Number of the section that each tile belongs to, rising with z. Tiles of different sections are neighbours
        only through pairs.
    """

    centre: Array
    half: Array
    locked: Flags
    unit_px: float
    section: Rows

    def __len__(self) -> int:
        return len(self.centre)

    @property
    def complex_centre(self) -> Complex:
        """Centres as complex numbers X + iY, (n,)."""
        return np.asarray(self.centre[:, 0] + 1j * self.centre[:, 1], np.complex128)

    @property
    def apart(self) -> Array:
        """(n, 3) places for searches of neighbours: tiles of different sections are far from each other."""
        far = 1e3 * float(np.ptp(self.centre, axis=0).max(initial=0) + self.half.max(initial=1))
        return np.concatenate([self.centre, far * self.section[:, None]], axis=1)

    def where(self, rows: Rows) -> TileTable:
        """Return some of the tiles."""
        return TileTable(self.centre[rows], self.half[rows], self.locked[rows], self.unit_px, self.section[rows])


@dataclass(frozen=True, eq=False)
class PairTable:
    """The pairs as columns, sorted by their tiles so that the order they came in does not matter.

    Attributes
    ----------
    fixed, moving : ndarray of shape (m,)
        Rows of the tiles in the tile table.
    sums : ndarray of shape (m, 15)
        Sums over the matches, named in `SUM_NAMES`: of the points' world positions about their tile's centre, units.
    kind : ndarray of shape (m,), int8
        `IN_PLANE` or `ACROSS`: pairs whose noise and misfit are learnt apart.
    row : ndarray of shape (m,)
        Where the caller had each pair.
    """

    fixed: Rows
    moving: Rows
    sums: Array
    kind: NDArray[np.int8]
    row: Rows

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def count(self) -> Array:
        """Number of matches of each pair, (m,)."""
        return self.sums[:, N]

    @cached_property
    def moments(self) -> Array:
        """``sum z z^T`` over the matches, z = (u, 1, -v, -1), as (m, 6, 6); kept once it has been asked for."""
        return moments_of_sums(self.sums)

    def only(self, rows: Rows | slice | Flags) -> PairTable:
        """Return some of the pairs."""
        return PairTable(self.fixed[rows], self.moving[rows], self.sums[rows], self.kind[rows], self.row[rows])

    def renumbered(self, rows: Rows) -> PairTable:
        """Return the same pairs for a table that holds the tiles ``rows`` only; they must hold every pair's tiles."""
        number = np.full(int(rows.max(initial=-1)) + 1, -1)
        number[rows] = np.arange(len(rows))
        return replace(self, fixed=number[self.fixed], moving=number[self.moving])

    def in_callers_order(self, values: Array) -> Array:
        """Return a column (m, ...) of this table in the order in which the caller gave the pairs."""
        out = np.empty_like(values)
        out[self.row] = values
        return out


def moments_of_sums(sums: Array) -> Array:
    """Return (m, 6, 6) matrices ``sum z z^T``, z = (p, 1, -q, -1), of (m, 15) sums."""
    return np.asarray((sums[:, _PLACES] * _SIGNS).reshape(-1, 6, 6))


def carried_sums(sums: Array, left: Array, right: Array) -> Array:
    """Return the (m, 15) sums of ``(left p, right q)`` from those of (p, q); left and right are (m, 2, 2)."""
    out = np.empty_like(sums)
    out[:, N] = sums[:, N]
    out[:, P] = (left @ sums[:, P, None])[:, :, 0]
    out[:, Q] = (right @ sums[:, Q, None])[:, :, 0]
    square, upper = [[0, 1], [1, 2]], ([0, 0, 1], [0, 1, 1])
    for part, linear in ((PP, left), (QQ, right)):
        moved = linear @ sums[:, part][:, square] @ linear.transpose(0, 2, 1)
        out[:, part] = moved[:, upper[0], upper[1]]
    out[:, PQ] = (left @ sums[:, PQ].reshape(-1, 2, 2) @ right.transpose(0, 2, 1)).reshape(-1, 4)
    return out
