"""The linear equations of a Gauss-Newton step: by a factor where there are few tiles, by conjugate gradients else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import bsr_matrix
from scipy.sparse.linalg import SuperLU

from demis_ij.errors import SolveError
from demis_ij.geometry import DEGREES_OF_FREEDOM
from demis_ij.solvers.direct import factorise
from demis_ij.solvers.multilevel import Multilevel, Nodes
from demis_ij.solvers.normal_equations import Blocks, as_free, fill_pattern, make_pattern
from demis_ij.solvers.tables import IN_PLANE, Array, PairTable, TileTable
from demis_ij.solvers.threads import ALONE, Striped, Threads

FACTOR_ALWAYS = 500  # tiles up to which a factor is cheaper than a look at whether the old one will do
DIRECT_UP_TO = 3000  # tiles up to which a factor is made at all
MOST_WITH_OLD, MOST = 25, 200  # iterations with the preconditioner of a like matrix, and with the matrix' own
WORN = 1.5  # times as many iterations as at first, and a preconditioner is made anew for the next step
ACCURACY, FINE_ACCURACY = 1e-2, 1e-3  # of a step: where it costs a factor, where an iteration is cheap
ENOUGH = 1e-7  # units
SAMPLE_ACCURACY = 2e-2  # of a draw of the noise: the number of draws limits what they say far more


class DirectSteps:
    """Steps by a factor of the matrix, or by conjugate gradients with the factor of a like one.

    Parameters
    ----------
    tiles, pairs
        The layout.
    size : int
        Unknowns a tile.
    """

    tolerated = 0.0  # share of the pairs whose weight may have turned for the old factor to be of use

    def __init__(self, tiles: TileTable, pairs: PairTable, size: int) -> None:
        self.pattern = make_pattern(tiles, pairs, size)
        self.factor: SuperLU | None = None

    def solve(self, blocks: Blocks, motion: Array, *, alike: bool) -> tuple[Array, bool]:
        """Return (the step (n, d), whether a new factor was made); ``alike``: the last matrix was much the same."""
        pattern = self.pattern
        matrix = fill_pattern(pattern, blocks.diagonal, blocks.off[pattern.both])
        right = -as_free(blocks.gradient, pattern.free).ravel()
        reached, renewed = False, False
        if self.factor is not None and alike and len(pattern.free) > FACTOR_ALWAYS:
            step, reached = conjugate_gradients(matrix.__matmul__, right, self.factor.solve, most=12)
        if not reached:
            self.factor, renewed = factorise(matrix), True
            step = self.factor.solve(right)
        out = np.zeros_like(blocks.gradient)
        inside = pattern.free >= 0
        out[inside] = step.reshape(-1, pattern.size)[pattern.free[inside]]
        return out, renewed

    def inverse(self, blocks: Blocks, motion: Array) -> Callable[[Array], Array]:
        """Return the function from right sides (n, d, k) to solutions (n, d, k)."""
        del motion  # the factor knows no places
        pattern = self.pattern
        factor = factorise(fill_pattern(pattern, blocks.diagonal, blocks.off[pattern.both]))
        inside = pattern.free >= 0

        def solve(right: Array) -> Array:
            out = np.zeros_like(right)
            flat = factor.solve(as_free(right, pattern.free).reshape(-1, right.shape[2]))
            out[inside] = flat.reshape(-1, *right.shape[1:])[pattern.free[inside]]
            return out

        return solve


class MultilevelSteps:
    """Steps by conjugate gradients with a multilevel preconditioner.

    Parameters
    ----------
    tiles, pairs
        The layout.
    model : str
        translation, rigid, similarity or affine.
    threads : Threads
        Who multiplies.
    """

    tolerated = 2e-4  # share of the pairs whose weight may have turned for the old preconditioner to be of use

    def __init__(self, tiles: TileTable, pairs: PairTable, model: str, threads: Threads = ALONE) -> None:
        self.tiles = tiles
        self.threads = threads
        self.model = model
        # tiles that may shear need so many that making it anew would not save what begun searches are worth
        self.most_with_old = MOST if model == "affine" else MOST_WITH_OLD
        self.fresh = 0  # iterations with the preconditioner while it was new
        self.worn = False
        self.unknown = np.flatnonzero(~tiles.locked)
        free = np.full(len(tiles), -1)
        free[self.unknown] = np.arange(len(self.unknown))
        self.both = np.flatnonzero((free[pairs.fixed] >= 0) & (free[pairs.moving] >= 0))
        i, j, n = free[pairs.fixed[self.both]], free[pairs.moving[self.both]], len(self.unknown)
        row, col = np.concatenate([np.arange(n), i, j]), np.concatenate([np.arange(n), j, i])
        self.order = np.lexsort((col, row))
        self.columns = col[self.order].astype(np.int32)
        self.pointer = np.searchsorted(row[self.order], np.arange(n + 1)).astype(np.int32)
        apart = tiles.centre[pairs.fixed] - tiles.centre[pairs.moving]
        within = apart[pairs.kind == IN_PLANE] if (pairs.kind == IN_PLANE).any() else apart
        self.reach = max(float(np.median(np.hypot(*within.T))), 1e-3)
        self.preconditioner: Multilevel | None = None

    def matrix(self, blocks: Blocks) -> bsr_matrix:
        """Return the normal matrix of the tiles that are not locked."""
        off = blocks.off[self.both]
        data = np.concatenate([blocks.diagonal[self.unknown], off, off.transpose(0, 2, 1)])[self.order]
        side = len(self.unknown) * data.shape[1]
        return bsr_matrix((data, self.columns, self.pointer), shape=(side, side))

    def prepare(self, matrix: bsr_matrix, motion: Array) -> Multilevel:
        """Return the preconditioner of a matrix, with the tiles where they are now."""
        place = self.tiles.centre + motion[:, :, 2]
        nodes = Nodes(place[self.unknown], self.tiles.section[self.unknown], motion[self.unknown, :, :2], self.reach)
        return Multilevel(matrix, nodes, self.model, self.threads)

    def solve(self, blocks: Blocks, motion: Array, *, alike: bool) -> tuple[Array, bool]:
        """Return (the step (n, d), whether a new preconditioner was made); ``alike``: the last one may do.

        Raises
        ------
        SolveError
            When the equations cannot be solved.
        """
        matrix = self.matrix(blocks)
        rows = Striped(matrix, self.threads)
        right = -blocks.gradient[self.unknown].ravel()
        step, reached, old = np.zeros_like(right), False, self.preconditioner
        if old is not None and alike and not self.worn:
            before = old.uses
            step, reached = conjugate_gradients(rows.__matmul__, right, old.solve, self.most_with_old, FINE_ACCURACY)
            self.worn = old.uses - before > max(MOST_WITH_OLD, WORN * self.fresh)
        if not reached:
            self.preconditioner = old = None  # its memory is needed for the next
            self.preconditioner = new = self.prepare(matrix, motion)
            rest, settled = conjugate_gradients(rows.__matmul__, right - rows @ step, new.solve, MOST, FINE_ACCURACY)
            stuck = not settled and not rest.any()
            step = np.full_like(step, np.nan) if stuck else step + rest
            self.fresh, self.worn = new.uses, False
        if not np.isfinite(step).all():
            msg = f"the normal equations of {len(right)} unknowns cannot be solved"
            raise SolveError(msg)
        out = np.zeros_like(blocks.gradient)
        out[self.unknown] = step.reshape(len(self.unknown), -1)
        return out, not reached

    def inverse(self, blocks: Blocks, motion: Array) -> Callable[[Array], Array]:
        """Return the function from right sides (n, d, k) to solutions (n, d, k), each to `SAMPLE_ACCURACY`."""
        matrix = self.matrix(blocks)
        preconditioner = self.prepare(matrix, motion)
        rows = Striped(matrix.tocsr(), self.threads)  # row by row is quicker for several right sides, though larger
        del matrix

        def solve(right: Array) -> Array:
            flat = right[self.unknown].reshape(-1, right.shape[2])
            found = many_gradients(rows.__matmul__, flat, preconditioner.solve)
            out = np.zeros_like(right)
            out[self.unknown] = found.reshape(-1, *right.shape[1:])
            return out

        return solve


def linear_steps(
    tiles: TileTable, pairs: PairTable, model: str, threads: Threads = ALONE
) -> DirectSteps | MultilevelSteps:
    """Return what solves the steps of a layout of this size; at least one tile must be free."""
    if int((~tiles.locked).sum()) <= DIRECT_UP_TO:
        return DirectSteps(tiles, pairs, DEGREES_OF_FREEDOM[model])
    return MultilevelSteps(tiles, pairs, model, threads)


def conjugate_gradients(
    product: Callable[[Array], Array],
    right: Array,
    preconditioned: Callable[[Array], Array],
    most: int,
    accuracy: float = ACCURACY,
) -> tuple[Array, bool]:
    """Return (solution, whether it settled).

    It has settled when the preconditioned residual, an estimate of the error in the unknowns themselves, is below
    ``accuracy`` of the solution, or below `ENOUGH` units.
    """
    x, residual = np.zeros_like(right), right.copy()
    z = preconditioned(residual)
    direction, rho = z.copy(), _dot(residual, z)
    for _ in range(most):
        if rho == 0:
            return x, True
        through = product(direction)
        curvature = _dot(direction, through)
        if not curvature > 0:
            return x, False
        alpha = rho / curvature
        x += alpha * direction
        through *= alpha
        residual -= through
        z = preconditioned(residual)
        if _largest(z) <= max(accuracy * _largest(x), ENOUGH):
            return x, True
        rho, before = _dot(residual, z), rho
        direction *= rho / before
        direction += z
    return x, False


def _dot(left: Array, right: Array) -> float:
    """Return the inner product, in this thread alone: vectors are too short for a linear algebra library's threads."""
    return float(np.einsum("i,i->", left, right))


def _largest(values: Array) -> float:
    return max(float(values.max()), -float(values.min()))


def many_gradients(product: Callable[[Array], Array], right: Array, preconditioned: Callable[[Array], Array]) -> Array:
    """Return solutions (unknowns, k) of conjugate gradients for several right sides at once.

    They have settled when the preconditioned residual, an estimate of the error in the unknowns themselves, is below
    `SAMPLE_ACCURACY` of the solution (root mean square of each); the energy would look away from the soft motions that
    the spread consists of. ``right`` is used up: it holds the residual in the end.
    """
    x, residual = np.zeros_like(right), right
    z = preconditioned(residual)
    direction = z.copy()
    rho = np.einsum("nk,nk->k", residual, z)
    for _ in range(MOST):
        through = product(direction)
        alpha = rho / np.maximum(np.einsum("nk,nk->k", direction, through), 1e-300)
        x += alpha * direction
        residual -= alpha * through
        del through
        z = preconditioned(residual)
        rho, before = np.einsum("nk,nk->k", residual, z), rho
        if (_norms(z) <= SAMPLE_ACCURACY * _norms(x)).all():
            return x
        direction *= rho / np.maximum(before, 1e-300)
        direction += z
    return x


def _norms(values: Array) -> Array:
    """Return the length of each column."""
    return np.asarray(np.sqrt(np.einsum("nk,nk->k", values, values)))
