"""A factor of the normal matrix: order of elimination, factor, and steps with the factor of a like matrix."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU, splu

from demis_ij.errors import SolveError
from demis_ij.solvers.tables import Array, Rows

LEAF = 24  # tiles that are not dissected further


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
