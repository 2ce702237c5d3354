"""One Gauss-Newton step of the whole layout: models as tangents, the sparse normal matrix, its factor.

The unknowns of a tile are the coefficients of its tangents: (2, 3) matrices B_a = dG / dx_a, the shift last. With the
pair's moments S (`demis_ij.solvers.measurements`) and C = [G_i | G_j] (offset included), the gradient of the pair's
sum of squares is <B_a, (C S)_i> and the blocks of the normal matrix are <B_a S_ij, B_b>.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU, splu

from demis_ij.errors import SolveError
from demis_ij.solvers.measurements import Array, PairTable, Rows, TileTable

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
DAMPING = 1e-10  # of the typical diagonal: holds the free shift and turn of a whole component, and biases nothing
LEAF = 24  # tiles that are not dissected further


def tangents(motion: Array, model: str) -> Array:
    """Return (n, d, 2, 3) tangents of each tile's motion: 2, 3, 4 or 6 of them for translation ... affine."""
    n = len(motion)
    shifts = np.zeros((2, 2, 3))
    shifts[0, 0, 2] = shifts[1, 1, 2] = 1
    if model == "translation":
        free = np.zeros((n, 0, 2, 3))
    elif model == "rigid":
        free = np.zeros((n, 1, 2, 3))
        free[:, 0, :, :2] = TURN @ motion[:, :, :2]
    elif model == "similarity":
        free = np.zeros((n, 2, 2, 3))
        free[:, 0, :, :2] = np.eye(2)
        free[:, 1, :, :2] = TURN
    else:
        free = np.zeros((n, 4, 2, 3))
        for a in range(4):
            free[:, a, a // 2, a % 2] = 1
    return np.asarray(np.concatenate([free, np.broadcast_to(shifts, (n, 2, 2, 3))], axis=1))


def stepped(motion: Array, basis: Array, step: Array, model: str) -> Array:
    """Return the motions after a step (n, d); a rigid motion stays rigid."""
    if model != "rigid":
        return np.asarray(motion + np.einsum("nd,ndij->nij", step, basis))
    out = motion.copy()
    c, s = np.cos(step[:, 0]), np.sin(step[:, 0])
    turn = np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)
    out[:, :, :2] = turn @ motion[:, :, :2]
    out[:, :, 2] += step[:, 1:]
    return out


def stage_moments(pairs: PairTable, tiles: TileTable) -> Array:
    """Return (m, 6, 6) moments of one made-up match a pair that says "the stage was right".

    It sits midway between the tiles and is spread as far as half a tile, so that it speaks of the turn, too. Any
    motion common to both tiles leaves it content: it holds tiles to their neighbours, not to the world.
    """
    middle = (tiles.centre[pairs.moving] - tiles.centre[pairs.fixed]) / 2
    spread = np.minimum(tiles.half[pairs.fixed], tiles.half[pairs.moving]) / 2
    z = np.concatenate([middle, np.ones((len(pairs), 1)), middle, -np.ones((len(pairs), 1))], axis=1)
    out = z[:, :, None] * z[:, None, :]
    for a in (0, 1):
        out[:, a, a] += spread**2
        out[:, a + 3, a + 3] += spread**2
        out[:, a, a + 3] -= spread**2
        out[:, a + 3, a] -= spread**2
    return np.asarray(out)


def joined(motion: Array, pairs: PairTable, tiles: TileTable) -> Array:
    """Return (m, 2, 6) matrices C with residual ``r = C z``."""
    left = motion[pairs.fixed].copy()
    left[:, :, 2] += tiles.centre[pairs.fixed] - tiles.centre[pairs.moving]
    return np.concatenate([left, motion[pairs.moving]], axis=2)


def squares(joint: Array, moments: Array) -> Array:
    """Return (m,) sums of squared residuals."""
    return np.asarray(np.maximum(0, ((joint @ moments) * joint).sum((1, 2))))


# --- the matrix -----------------------------------------------------------------------------------------------------


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


def nested_dissection(place: Array, first: Rows, second: Rows) -> Rows:
    """Return an elimination order of nodes in the plane: halves first, then the nodes that part them, recursively.

    George 1973, doi:10.1137/0710032; the cut is the median along the longer side.
    """
    out: list[Rows] = []
    inside = np.zeros(len(place), bool)
    stack: list[tuple[Rows, Rows, bool]] = [(np.arange(len(place)), np.arange(len(first)), False)]
    while stack:
        nodes, edges, done = stack.pop()
        if done or len(nodes) <= LEAF or len(edges) == 0:
            out.append(nodes)
            continue
        xy = place[nodes]
        axis = int(np.argmax(np.ptp(xy, axis=0)))
        rank = np.argsort(xy[:, axis], kind="stable")
        left, right = nodes[rank[: len(nodes) // 2]], nodes[rank[len(nodes) // 2 :]]
        inside[left] = True
        a, b = inside[first[edges]], inside[second[edges]]
        cut = edges[a != b]
        wall = np.unique(np.where(inside[first[cut]], first[cut], second[cut]))
        inside[left] = False
        inside[wall] = True
        kept = ~inside[first[edges]] & ~inside[second[edges]]
        left = left[~inside[left]]
        inside[wall] = False
        stack.append((wall, edges[:0], True))
        stack.append((right, edges[kept & ~a & ~b], False))
        stack.append((left, edges[kept & a & b], False))
    return np.concatenate(out) if out else np.zeros(0, np.intp)


# --- the step -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Equations:
    """The normal equations at some motions: ``matrix @ step = -gradient``, in the order of the pattern."""

    matrix: csc_matrix
    gradient: Array
    pattern: Pattern

    def spread(self, step: Array) -> Array:
        """Return a step (unknowns * d,) as (n, d), zero for locked tiles."""
        out = np.zeros((len(self.pattern.free), self.pattern.size))
        inside = self.pattern.free >= 0
        out[inside] = step.reshape(-1, self.pattern.size)[self.pattern.free[inside]]
        return out


def build_equations(
    pattern: Pattern,
    pairs: PairTable,
    tiles: TileTable,
    motion: Array,
    moments: Array,
    model: str,
    strain_weight: float,
) -> Equations:
    """Return the normal equations of weighted moments (m, 6, 6).

    A similarity or affine tile is held to its own shape with ``strain_weight`` on |G^T G - 1|^2 / 4 (the Green
    strain: no turn, however large, counts as one). The sum of squares itself would be smaller for a smaller mosaic;
    residuals count relative to the pair's mean linear part, L^-1 r with dL in the gradient, which removes that pull:
    along a common scaling (or turn) of all tiles the data term has no slope.
    """
    basis = tangents(motion, model)
    d = basis.shape[1]
    joint = joined(motion, pairs, tiles)
    slope = joint @ moments
    bi, bj = basis[pairs.fixed], basis[pairs.moving]
    gradient = np.zeros((len(tiles), d))
    gi = (bi.reshape(-1, d, 6) @ slope[:, :, :3].reshape(-1, 6, 1))[..., 0]
    gj = (bj.reshape(-1, d, 6) @ slope[:, :, 3:].reshape(-1, 6, 1))[..., 0]
    if model in {"similarity", "affine"}:
        between = (motion[pairs.fixed, :, :2] + motion[pairs.moving, :, :2]) / 2
        scatter = (slope @ joint.transpose(0, 2, 1) @ np.linalg.inv(between).transpose(0, 2, 1)).reshape(-1, 4, 1)
        gi = gi - (bi[..., :2].reshape(-1, d, 4) @ scatter)[..., 0] / 2
        gj = gj - (bj[..., :2].reshape(-1, d, 4) @ scatter)[..., 0] / 2
    diagonal = np.zeros((len(tiles), d, d))
    for index, b, g, block in ((pairs.fixed, bi, gi, slice(0, 3)), (pairs.moving, bj, gj, slice(3, 6))):
        np.add.at(gradient, index, g)
        np.add.at(diagonal, index, _product(b, moments[:, block, block], b))
    both = pattern.both
    off = _product(bi[both], moments[both][:, :3, 3:], bj[both])
    if model in {"similarity", "affine"}:
        linear = motion[:, :, :2]
        strain = (linear.transpose(0, 2, 1) @ linear - np.eye(2)) / 2
        change = linear.transpose(0, 2, 1)[:, None] @ basis[..., :2]
        change = ((change + change.transpose(0, 1, 3, 2)) / 2).reshape(len(tiles), d, 4)
        gradient += strain_weight * np.einsum("nda,na->nd", change, strain.reshape(-1, 4))
        diagonal += strain_weight * change @ change.transpose(0, 2, 1)
    typical = np.median(np.einsum("ndd->nd", diagonal), axis=0)
    diagonal += DAMPING * np.diag(np.maximum(typical, 1e-30))
    inside = pattern.free >= 0
    flat = np.empty((pattern.unknowns, d))
    flat[pattern.free[inside]] = gradient[inside]
    return Equations(fill_pattern(pattern, diagonal, off), flat.ravel(), pattern)


def _product(left: Array, moments: Array, right: Array) -> Array:
    """Return (k, d, e) inner products <left_a S, right_b>."""
    k, d, e = len(left), left.shape[1], right.shape[1]
    through = (left.reshape(k, d * 2, 3) @ moments).reshape(k, d, 6)
    return np.asarray(through @ right.reshape(k, e, 6).transpose(0, 2, 1))


def factorise(matrix: csc_matrix) -> SuperLU:
    """Return the factor of a symmetric positive definite matrix that is already in elimination order.

    Raises
    ------
    SolveError
        When the matrix is singular.
    """
    try:
        return splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError as error:
        msg = f"the normal equations of {matrix.shape[0]} unknowns cannot be factorised: {error}"
        raise SolveError(msg) from error


def conjugate_gradients(matrix: csc_matrix, right: Array, factor: SuperLU, most: int) -> tuple[Array, bool]:
    """Return (solution, whether it settled), preconditioned by the factor of a like matrix.

    It has settled when the preconditioned residual, an estimate of the error in the unknowns themselves, is below a
    hundredth of the solution, or below 1e-7 units.
    """
    x = np.zeros_like(right)
    residual = right
    z = factor.solve(residual)
    direction, rho = z, float(residual @ z)
    for _ in range(most):
        if rho == 0:
            return x, True
        through = matrix @ direction
        curvature = float(direction @ through)
        if not curvature > 0:
            return x, False
        alpha = rho / curvature
        x = x + alpha * direction
        residual = residual - alpha * through
        z = factor.solve(residual)
        if float(np.abs(z).max()) <= max(1e-2 * float(np.abs(x).max()), 1e-7):
            return x, True
        rho, before = float(residual @ z), rho
        direction = z + (rho / before) * direction
    return x, False


def as_free(values: Array, free: NDArray[np.intp]) -> Array:
    """Return per-tile rows (n, ...) reordered to the unknown tiles of a pattern."""
    inside = free >= 0
    out = np.empty((int(inside.sum()), *values.shape[1:]))
    out[free[inside]] = values[inside]
    return out
