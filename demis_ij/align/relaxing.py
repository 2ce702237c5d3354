"""All sections at once: least squares over the whole stack, node by node.

Minimised at every node, over the steps ``d`` of all sections::

    sum over pairs (i, j) of  w_ij |d_i - d_j - f_ij|^2   +   e sum_i |d_i|^2   +   b sum_i |u_i + d_i|^2

``f_ij`` is what was measured between section i and section j as they lie now, ``u_i`` how far section i has gone
already. ``e`` makes the answer unique where nothing is measured; ``b`` is weaker still, for true displacements fall
short by it. What holds the stack in its place is in `demis_ij.align.anchoring`. A pair's weight falls where it
contradicts the others, node by node (Cauchy) and as a whole (Geman-McClure). A section that shows something else was
left out before (`demis_ij.align.likeness`). A section is tied to a few others only: the matrix is banded, its factors
cost time and memory in proportion to the stack's length, for all nodes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Offsets

Array = NDArray[np.float64]
_STEP_WEIGHT = 0.017  # e, in parts of the weight that a section's pairs have at a node
_GONE_WEIGHT = 0.003  # b, likewise: with 0.02 warps fell 3 % short
_LEAST_WEIGHT = 0.02
_REWEIGHTINGS = 4
_WIDTH = 3.0  # times the median misfit of all pairs
_LEAST_WIDTH_PX = 0.5


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured between two sections.

    Attributes
    ----------
    fixed, moving : int
        Places in the series that is solved; ``moving`` comes later.
    offsets : ndarray of shape (2, rows, cols)
        Step of the fixed section minus step of the moving one that would make them fit, px, at the nodes.
    weight : ndarray of shape (rows, cols)
        How far that is to be believed, 0 to 1.
    consistent_frac : float
        Share of the common data where displacements there and back agree.
    """

    fixed: int
    moving: int
    offsets: Offsets
    weight: NDArray[np.float32]
    consistent_frac: float


def relaxed(offsets: Offsets, pairs: Sequence[Measured]) -> tuple[Offsets, list[float]]:
    """Return the steps of all sections, and the median misfit of each pair.

    Parameters
    ----------
    offsets : ndarray of shape (n, 2, rows, cols)
        Where the sections are.
    pairs : sequence of Measured
        What was measured between them.

    Returns
    -------
    steps : ndarray of shape (n, 2, rows, cols), float32
    misfit_px : list of float
    """
    count, _, rows, cols = offsets.shape
    gone = offsets.reshape(count, 2, rows * cols).astype(np.float64)
    wanted = [p.offsets.reshape(2, -1).astype(np.float64) for p in pairs]
    base = [np.maximum(p.weight.ravel(), _LEAST_WEIGHT).astype(np.float64) for p in pairs]
    weights, steps, misfit = base, np.zeros_like(gone), [np.zeros(rows * cols)] * len(pairs)
    for _ in range(_REWEIGHTINGS if pairs else 0):
        steps = _solved(gone, pairs, wanted, weights)
        misfit = [np.hypot(*(steps[p.fixed] - steps[p.moving] - f)) for p, f in zip(pairs, wanted, strict=True)]
        weights = _reweighted(base, misfit)
    return steps.reshape(offsets.shape).astype(np.float32), [float(np.median(m)) for m in misfit]


def _reweighted(base: Sequence[Array], misfit: Sequence[Array]) -> list[Array]:
    """Return weights that fall where a node contradicts the rest, and once more where its whole pair does."""
    usual = [float(np.median(m)) for m in misfit]
    width = max(_LEAST_WIDTH_PX, _WIDTH * float(np.median(usual)))
    return [
        b / (1 + (m / width) ** 2) / (1 + (u / width) ** 2) ** 2 for b, m, u in zip(base, misfit, usual, strict=True)
    ]


def _solved(gone: Array, pairs: Sequence[Measured], wanted: Sequence[Array], weights: Sequence[Array]) -> Array:
    """Return the least-squares steps for given weights."""
    count, _, nodes = gone.shape
    diagonal, right = np.zeros((count, nodes)), np.zeros_like(gone)
    beside = {k: np.zeros((count, nodes)) for k in {p.moving - p.fixed for p in pairs}}
    for pair, f, w in zip(pairs, wanted, weights, strict=True):
        diagonal[pair.fixed] += w
        diagonal[pair.moving] += w
        beside[pair.moving - pair.fixed][pair.fixed] -= w
        right[pair.fixed] += w * f
        right[pair.moving] -= w * f
    step, back = _STEP_WEIGHT * diagonal + 1e-6, _GONE_WEIGHT * diagonal
    return solve_banded(diagonal + step + back, beside, right - back[:, None] * gone)


def solve_banded(diagonal: Array, beside: dict[int, Array], right: Array) -> Array:
    """Return x of A x = b for many symmetric banded matrices at once (LDL', Golub & Van Loan, section 4.3).

    Parameters
    ----------
    diagonal : ndarray of shape (n, m)
        A[i, i] of each of m matrices.
    beside : dict of int to ndarray of shape (n, m)
        For each k above 0 that occurs, A[i, i + k] at row i.
    right : ndarray of shape (n, 2, m)
        Two right sides of each.
    """
    count, reach = len(diagonal), max(beside, default=0)
    pivots = np.empty_like(diagonal)
    lower = {k: np.zeros_like(diagonal) for k in range(1, reach + 1)}  # lower[k][i] = L[i, i - k]
    for i in range(count):
        pivots[i] = diagonal[i] - sum(lower[k][i] ** 2 * pivots[i - k] for k in lower if k <= i)
        for k in range(1, min(reach, count - 1 - i) + 1):
            j = i + k
            value = beside[k][i].copy() if k in beside else np.zeros_like(pivots[i])
            for m in range(1, min(reach - k, i) + 1):
                value -= lower[k + m][j] * lower[m][i] * pivots[i - m]
            lower[k][j] = value / pivots[i]
    x = right.copy()
    for i in range(count):
        for k in range(1, min(reach, i) + 1):
            x[i] -= lower[k][i] * x[i - k]
    x /= pivots[:, None]
    for i in reversed(range(count)):
        for k in range(1, min(reach, count - 1 - i) + 1):
            x[i] -= lower[k][i + k] * x[i + k]
    return x
