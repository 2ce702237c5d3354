"""A multilevel preconditioner of the normal matrix: smoothed aggregation with the motions of groups of tiles.

Groups of some 3 x 3 tiles (or x 3 sections) that strong pairs connect become one node of the next level, which may do
what a tile may do: shift, turn, stretch as a whole. Such motions cost the pairs inside nearly nothing, so they are
what a smoother does not see; made smooth themselves they carry the coarse level (Vanek, Mandel and Brezina 1996,
doi:10.1007/BF02238511). Memory and time grow with the number of tiles, in the plane and in volumes. Single precision
is enough: conjugate gradients in double precision correct what it leaves.

Affine tiles are grouped two by two: a column of them may be wide, the next narrow, and no seam but the strip of its
overlap feels it, so that motions of larger groups leave too much to the smoother.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bsr_matrix, coo_matrix, csc_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

from demis_ij.solvers.tables import Array, Rows
from demis_ij.solvers.threads import ALONE, Striped, Threads

Single = NDArray[np.float32]
F = TypeVar("F", np.float32, np.float64)

CELL, AFFINE_CELL = 3.0, 2.0  # of a level's distance between neighbours: side of the cells that groups are made in
STRONG = 0.05  # a pair is strong that couples its tiles by so much of what holds them
COARSEST = 400  # nodes that are factorised
LEVELS = 12
WORTH_IT = 0.8  # a level that keeps more of the nodes than this is not made


@dataclass(frozen=True, eq=False)
class Nodes:
    """What the nodes of a level are.

    Attributes
    ----------
    place : ndarray of shape (n, 2)
        Where they are.
    layer : ndarray of shape (n,)
        Their section, on coarser levels the group of sections.
    linear : ndarray of shape (n, 2, 2)
        Linear part of their motion now (tiles), identity for groups.
    reach : float
        Distance of neighbours; also the lever that a group's turn and stretch are measured at.
    """

    place: Array
    layer: Rows
    linear: Array
    reach: float


@dataclass(frozen=True, eq=False)
class _Level:
    matrix: Striped
    inverse: Single  # (n, d, d) of the diagonal blocks, times the damping
    down: Striped
    up: Striped


class Multilevel:
    """The preconditioner: `solve` returns nearly ``matrix^-1 right``, for one right side or several.

    Parameters
    ----------
    matrix : bsr_matrix
        Symmetric positive definite, blocks of (d, d).
    nodes : Nodes
        Its tiles.
    model : str
        translation, rigid, similarity or affine.
    threads : Threads
        Who multiplies.
    """

    def __init__(self, matrix: bsr_matrix, nodes: Nodes, model: str, threads: Threads = ALONE) -> None:
        self.levels: list[_Level] = []
        size = matrix.blocksize[0]
        current = matrix
        while current.shape[0] > COARSEST * size and len(self.levels) < LEVELS:
            group, coarse = _group(current, nodes, AFFINE_CELL if model == "affine" else CELL)
            if len(coarse.place) > WORTH_IT * len(nodes.place):
                break
            diagonal, most = _diagonal(current)
            tentative = _carry(nodes, coarse, group, model)
            up = _smoothed(current, tentative, diagonal, most)
            down = up.T
            level = _Level(
                Striped(_single(current), threads),
                (diagonal * (4 / 3 / most)).astype(np.float32),
                Striped(_single(down), threads),
                Striped(_single(up), threads),
            )
            self.levels.append(level)
            current = (down @ (current @ up)).tobsr((size, size))
            nodes = coarse
        self.bottom = _factor(current)
        self.uses = 0

    def solve(self, right: Array) -> Array:
        """Return nearly the solution, of the shape of ``right``: (unknowns,) or (unknowns, k)."""
        self.uses += 1
        length = float(np.abs(right).max(initial=0)) or 1.0
        return self._cycle(0, (right / length).astype(np.float32)).astype(float) * length

    def _cycle(self, number: int, right: Single) -> Single:
        if number == len(self.levels):
            return np.asarray(self.bottom.solve(right.astype(float)), np.float32)
        level = self.levels[number]
        x = _blockwise(level.inverse, right)
        x += level.up @ self._cycle(number + 1, level.down @ (right - level.matrix @ x))
        x += _blockwise(level.inverse, right - level.matrix @ x)
        return x


def _single(matrix: bsr_matrix) -> csr_matrix:
    """Return the matrix row by row, in single precision; `astype` would look for duplicates, row by row in Python."""
    return bsr_matrix((matrix.data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape).tocsr()


def _blockwise(blocks: NDArray[F], values: NDArray[F]) -> NDArray[F]:
    """Return block-diagonal blocks (n, d, d) times (n * d,) or (n * d, k) values."""
    n, d = blocks.shape[:2]
    return np.asarray((blocks @ values.reshape(n, d, -1)).reshape(values.shape))


def _diagonal(matrix: bsr_matrix) -> tuple[Array, float]:
    """Return the inverse diagonal blocks (n, d, d), and the largest eigenvalue of diagonal^-1 matrix."""
    n, d = matrix.shape[0] // matrix.blocksize[0], matrix.blocksize[0]
    row = np.repeat(np.arange(n), np.diff(matrix.indptr))
    here = row == matrix.indices
    blocks = np.zeros((n, d, d))
    blocks[row[here]] = matrix.data[here]
    inverse = np.linalg.inv(blocks)
    x = np.random.default_rng(0).standard_normal(n * d)
    most = 1.0
    for _ in range(8):
        x = _blockwise(inverse, matrix @ (x / np.sqrt(np.einsum("i,i->", x, x))))
        most = float(np.sqrt(np.einsum("i,i->", x, x)))
    return inverse, 1.1 * most


def _group(matrix: bsr_matrix, nodes: Nodes, side: float) -> tuple[Rows, Nodes]:
    """Return the group of every node, and the groups: what strong pairs connect within a cell."""
    n = len(nodes.place)
    row = np.repeat(np.arange(n), np.diff(matrix.indptr))
    size = np.sqrt((matrix.data**2).sum((1, 2)))
    own = np.zeros(n)
    own[row[row == matrix.indices]] = size[row == matrix.indices]
    other = row < matrix.indices
    row, col, size = row[other], matrix.indices[other], size[other]
    cell = np.floor((nodes.place - nodes.place.min(0)) / (side * nodes.reach)).astype(np.intp)
    layer = nodes.layer // int(side)
    same = (cell[row] == cell[col]).all(1) & (layer[row] == layer[col])
    tied = same & (size > STRONG * np.sqrt(own[row] * own[col]))
    graph = coo_matrix((np.ones(int(tied.sum()), bool), (row[tied], col[tied])), shape=(n, n))
    count, group = connected_components(graph, directed=False)
    members = np.bincount(group, minlength=count)
    place = np.stack([np.bincount(group, weights=axis, minlength=count) for axis in nodes.place.T], 1)
    first = np.zeros(count, np.intp)
    first[group] = layer
    linear = np.broadcast_to(np.eye(2), (count, 2, 2))
    return group, Nodes(place / members[:, None], first, linear, side * nodes.reach)


def _carry(nodes: Nodes, coarse: Nodes, group: Rows, model: str) -> bsr_matrix:
    """Return the tentative carrier: what a motion of its group does to each node."""
    n, arm, ratio = len(group), nodes.place - coarse.place[group], nodes.reach / coarse.reach
    x, y = (arm / coarse.reach).T
    g = nodes.linear * ratio
    size = {"translation": 2, "rigid": 3, "similarity": 4, "affine": 6}[model]
    block = np.zeros((n, size, size))
    block[:, size - 2, size - 2] = block[:, size - 1, size - 1] = 1
    if model == "rigid":
        block[:, 0, 0] = ratio
        block[:, 1, 0], block[:, 2, 0] = -y, x
    elif model == "similarity":
        block[:, 0, 0] = block[:, 1, 1] = g[:, 0, 0]
        block[:, 0, 1], block[:, 1, 0] = -g[:, 1, 0], g[:, 1, 0]
        block[:, 2, 0], block[:, 2, 1] = x, -y
        block[:, 3, 0], block[:, 3, 1] = y, x
    elif model == "affine":
        for p in (0, 1):
            block[:, 2 * p : 2 * p + 2, 2 * p : 2 * p + 2] = g.transpose(0, 2, 1)
            block[:, 4 + p, 2 * p], block[:, 4 + p, 2 * p + 1] = x, y
    shape = (n * size, len(coarse.place) * size)
    return bsr_matrix((block, group, np.arange(n + 1)), shape=shape)


def _smoothed(matrix: bsr_matrix, tentative: bsr_matrix, diagonal: Array, most: float) -> bsr_matrix:
    """Return ``(1 - w diagonal^-1 matrix) tentative``; the carrier has one block a row."""
    out = matrix @ tentative
    row = np.repeat(np.arange(len(diagonal)), np.diff(out.indptr))
    data = (diagonal * (-4 / 3 / most))[row] @ out.data
    own = out.indices == tentative.indices[row]
    data[own] += tentative.data[row[own]]
    return bsr_matrix((data, out.indices, out.indptr), shape=out.shape)


def _factor(matrix: bsr_matrix) -> SuperLU:
    return splu(csc_matrix(matrix), options={"SymmetricMode": True}, diag_pivot_thresh=0.0, permc_spec="MMD_AT_PLUS_A")
