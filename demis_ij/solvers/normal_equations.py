"""One Gauss-Newton step of the whole layout: the sparse normal matrix and the gradient.

The unknowns of a tile are the coefficients of its tangents: (2, 3) matrices B_a = dG / dx_a, the shift last. With the
pair's moments S (`demis_ij.solvers.measurements`) and C = [G_i | G_j] (offset included), the gradient of the pair's
sum of squares is <B_a, (C S)_i> and the blocks of the normal matrix are <B_a S_ij, B_b>.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from demis_ij.solvers.direct import nested_dissection
from demis_ij.solvers.residuals import Worth, add_rows, joined, mean_linear, parts_of
from demis_ij.solvers.strain import STRETCHED, strain_changes, strains
from demis_ij.solvers.tables import Array, PairTable, Rows, TileTable
from demis_ij.solvers.tangents import tangents
from demis_ij.solvers.threads import ALONE, Threads

DAMPING = 1e-10  # of the typical diagonal: holds the free shift and turn of a whole component, and biases nothing
_BOTH_LINEAR = np.array([[1.0, 0], [0, 1], [0, 0], [1, 0], [0, 1], [0, 0]])  # e to (e, 0, e, 0)


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the blocks of one component go; made once.

    Attributes
    ----------
    free : ndarray of shape (n,)
        Number of each tile among the unknown ones, -1 when locked; numbered so that elimination fills little.
    both : ndarray of shape (k,)
        Pairs whose two tiles are unknown.
    size : int
        Unknowns a tile.
    """

    free: Rows
    both: Rows
    size: int
    _order: Rows
    _starts: Rows
    _rows: Rows
    _pointer: Rows

    @property
    def unknowns(self) -> int:
        """Number of unknown tiles."""
        return int(self.free.max(initial=-1)) + 1


def make_pattern(tiles: TileTable, pairs: PairTable, size: int) -> Pattern:
    """Return the sparsity of the normal matrix of some pairs, eliminated by geometric nested dissection."""
    unknown = np.flatnonzero(~tiles.locked)
    free = np.full(len(tiles), -1)
    free[unknown] = np.arange(len(unknown))
    both = np.flatnonzero((free[pairs.fixed] >= 0) & (free[pairs.moving] >= 0))
    order = nested_dissection(tiles.centre[unknown], free[pairs.fixed[both]], free[pairs.moving[both]])
    free[unknown[order]] = np.arange(len(unknown))
    i, j, diagonal = free[pairs.fixed[both]], free[pairs.moving[both]], np.arange(len(unknown))
    block_row, block_col = np.concatenate([diagonal, i, j]), np.concatenate([diagonal, j, i])
    inner = np.arange(size)
    row = np.broadcast_to(block_row[:, None, None] * size + inner[:, None], (len(block_row), size, size)).ravel()
    col = np.broadcast_to(block_col[:, None, None] * size + inner, (len(block_col), size, size)).ravel()
    sort = np.lexsort((row, col))
    row, col = row[sort], col[sort]
    starts = np.flatnonzero(np.concatenate([[True], (row[1:] != row[:-1]) | (col[1:] != col[:-1])]))
    pointer = np.searchsorted(col[starts], np.arange(len(unknown) * size + 1))
    return Pattern(free, both, size, sort, starts, row[starts], pointer)


def fill_pattern(pattern: Pattern, diagonal: Array, off: Array) -> csc_matrix:
    """Return the matrix of (n, d, d) diagonal blocks and (k, d, d) blocks of the pairs in ``pattern.both``."""
    inside = pattern.free >= 0
    blocks = np.empty((pattern.unknowns, pattern.size, pattern.size))
    blocks[pattern.free[inside]] = diagonal[inside]
    values = np.concatenate([blocks, off, off.transpose(0, 2, 1)]).ravel()[pattern._order]
    data = np.add.reduceat(values, pattern._starts)
    side = pattern.unknowns * pattern.size
    return csc_matrix((data, pattern._rows, pattern._pointer), shape=(side, side))


@dataclass(frozen=True, eq=False)
class Blocks:
    """The normal equations tile by tile, before they are put in any order.

    Attributes
    ----------
    gradient : ndarray of shape (n, d)
    diagonal : ndarray of shape (n, d, d)
    off : ndarray of shape (m, d, d)
        Rows of the fixed tile, columns of the moving one.
    """

    gradient: Array
    diagonal: Array
    off: Array


def build_blocks(
    pairs: PairTable,
    tiles: TileTable,
    motion: Array,
    worth: Worth,
    model: str,
    strain_weight: float,
    threads: Threads = ALONE,
) -> Blocks:
    """Return the normal equations of the pairs, tile by tile.

    A similarity or affine tile is held to its own shape (`demis_ij.solvers.strain`). The sum of squares itself would
    be smaller for a smaller mosaic; residuals count relative to the pair's mean linear part L, e = L^-1 r, which
    removes that pull: a common scaling of all tiles, or a turn, changes nothing. As r = C z,

        de = L^-1 (dG_i z_i + dG_j z_j - dL e) = L^-1 dG (z - (e / 2, 0, e / 2, 0)) = L^-1 dG (T z),

    so that the moments are T S T^T, and the tangents L^-1 B.
    """
    basis = tangents(motion, model)
    d, stretched = basis.shape[1], model in STRETCHED
    gradient, diagonal = np.zeros((len(tiles), d)), np.zeros((len(tiles), d, d))
    off = np.empty((len(pairs), d, d))

    def in_part(part: slice) -> list[tuple[Rows, Array, Array]]:
        some = pairs if part == slice(0, len(pairs)) else pairs.only(part)
        moments = worth.moments(pairs, tiles, part)
        joint = joined(motion, some, tiles)
        bi, bj = basis[some.fixed], basis[some.moving]
        if stretched:
            size = np.linalg.inv(mean_linear(joint))
            joint = size @ joint
            bi, bj = size[:, None] @ bi, size[:, None] @ bj
            relative = np.eye(6) - _BOTH_LINEAR @ joint / 2
            slope = joint @ moments @ relative.transpose(0, 2, 1)
            moments = relative @ moments @ relative.transpose(0, 2, 1)
        else:
            slope = joint @ moments
        gi = (bi.reshape(-1, d, 6) @ slope[:, :, :3].reshape(-1, 6, 1))[..., 0]
        gj = (bj.reshape(-1, d, 6) @ slope[:, :, 3:].reshape(-1, 6, 1))[..., 0]
        off[part] = _product(bi, moments[:, :3, 3:], bj)
        ends = ((some.fixed, bi, gi, slice(0, 3)), (some.moving, bj, gj, slice(3, 6)))
        return [(index, g, _product(b, moments[:, block, block], b)) for index, b, g, block in ends]

    for ends in threads.ordered(in_part, parts_of(len(pairs))):
        for index, g, square in ends:
            add_rows(gradient, index, g)
            add_rows(diagonal, index, square)
    if stretched:
        change = strain_changes(motion, basis)
        gradient += strain_weight * np.einsum("nda,na->nd", change, strains(motion))
        diagonal += strain_weight * change @ change.transpose(0, 2, 1)
    typical = np.median(np.einsum("ndd->nd", diagonal), axis=0)
    diagonal += DAMPING * np.diag(np.maximum(typical, 1e-30))
    return Blocks(gradient, diagonal, off)


def _product(left: Array, moments: Array, right: Array) -> Array:
    """Return (k, d, e) inner products <left_a S, right_b>."""
    k, d, e = len(left), left.shape[1], right.shape[1]
    through = (left.reshape(k, d * 2, 3) @ moments).reshape(k, d, 6)
    return np.asarray(through @ right.reshape(k, e, 6).transpose(0, 2, 1))


def as_free(values: Array, free: NDArray[np.intp]) -> Array:
    """Return per-tile rows (n, ...) reordered to the unknown tiles of a pattern."""
    inside = free >= 0
    out = np.empty((int(inside.sum()), *values.shape[1:]))
    out[free[inside]] = values[inside]
    return out
