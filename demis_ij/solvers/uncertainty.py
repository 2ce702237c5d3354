"""How far a solution is to be trusted: the spread of every tile and every seam, from the normal matrix.

The covariance of the unknowns is the inverse N^-1 of the normal matrix, less what the matches cannot know: the shift
and turn of a component as a whole. Small components are inverted exactly. Large ones are sampled: with g = J^T e, e
white noise, N^-1 g has covariance N^-1, so `SAMPLES` solves give every standard deviation to one part in
``sqrt(4 SAMPLES)``, at a cost that does not depend on which entries of the inverse are wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import SuperLU

from demis_ij.solvers.components import label_components
from demis_ij.solvers.direct import factorise
from demis_ij.solvers.normal_equations import Pattern, as_free, build_equations, make_pattern
from demis_ij.solvers.residuals import Worth
from demis_ij.solvers.tables import Array, P, PairTable, Q, Rows, TileTable
from demis_ij.solvers.tangents import common_motions, tangents

EXACT_UNKNOWNS = 900
SAMPLES = 32  # standard deviations to 9 %
BATCH = 16


@dataclass(frozen=True, eq=False)
class Spread:
    """Standard deviations along an axis, units.

    Attributes
    ----------
    tile : ndarray of shape (n,)
        Of the tiles' centres, relative to their component; inf for a tile alone.
    seam : ndarray of shape (m,)
        Of one tile against the other, at the middle of the pair's matches.
    """

    tile: Array
    seam: Array

    @classmethod
    def unknown(cls) -> Spread:
        """Return nothing."""
        return cls(np.zeros(0), np.zeros(0))


def estimate_spread(
    tiles: TileTable,
    pairs: PairTable,
    motion: Array,
    worth: Worth,
    model: str,
    strain_weight: float,
    component: Rows,
) -> Spread:
    """Return the spread of tiles and seams at a solution.

    Parameters
    ----------
    tiles, pairs, motion
        The solved layout.
    worth : Worth
        What the pairs are worth.
    model, strain_weight
        As they were solved.
    component : ndarray of shape (n,)
        Component each tile is judged in.
    """
    used = np.zeros(len(tiles), bool)
    used[pairs.fixed] = used[pairs.moving] = True
    rows = np.flatnonzero(used)
    tile = np.full(len(tiles), np.inf)
    if len(rows) == 0:
        return Spread(tile, np.zeros(0))
    tiles, pairs, motion, component = tiles.where(rows), pairs.renumbered(rows), motion[rows], component[rows]
    if tiles.locked.all():
        tile[rows] = 0
        return Spread(tile, np.zeros(len(pairs)))
    pattern = make_pattern(tiles, pairs, tangents(motion[:1], model).shape[1])
    equations = build_equations(pattern, pairs, tiles, motion, worth, model, strain_weight)
    if equations.matrix.shape[0] <= EXACT_UNKNOWNS:
        free = _free_motions(tiles, pairs, motion, model, pattern)
        steps, samples = exact_steps(pattern, equations.matrix.toarray(), free), 1
    else:
        factor = factorise(equations.matrix)
        moments = worth.moments(pairs, tiles, slice(0, len(pairs)))
        steps, samples = draw_steps(pattern, pairs, motion, moments, model, strain_weight, factor, seed=0), SAMPLES
    order = np.argsort(component, kind="stable")
    for part in np.split(order, np.cumsum(np.bincount(component))[:-1]):
        if len(part) > 1 and not tiles.locked[part].any():
            steps = without_common(steps, motion, tiles, part, model)
    alone = np.bincount(component)[component] == 1
    tile[rows] = np.where(alone, np.inf, tile_spread(steps, samples))
    return Spread(tile, seam_spread(steps, motion, tiles, pairs, model, samples))


def _free_motions(tiles: TileTable, pairs: PairTable, motion: Array, model: str, pattern: Pattern) -> Array:
    """Return (unknowns, k): the shift and turn of every component that holds no locked tile."""
    connected = label_components(len(tiles), pairs.fixed, pairs.moving)
    columns = []
    for number in range(int(connected.max()) + 1):
        inside = connected == number
        if not tiles.locked[inside].any():
            common = common_motions(motion, tiles, model, tiles.centre[inside].mean(0))
            columns.append(as_free(common * inside[:, None, None], pattern.free))
    if not columns:
        return np.zeros((pattern.unknowns * pattern.size, 0))
    return np.concatenate(columns, axis=2).reshape(pattern.unknowns * pattern.size, -1)


def draw_steps(
    pattern: Pattern,
    pairs: PairTable,
    motion: Array,
    moments: Array,
    model: str,
    strain_weight: float,
    factor: SuperLU,
    seed: int,
) -> Array:
    """Return (n, d, SAMPLES) draws of what noise (of matches, of tile shapes) does to the unknowns."""
    rng = np.random.default_rng(seed)
    basis = tangents(motion, model)
    n, d = basis.shape[:2]
    scale = np.trace(moments, axis1=1, axis2=2)[:, None, None]
    values, vectors = np.linalg.eigh(moments / scale)
    root = vectors * np.sqrt(np.maximum(values, 0) * scale[:, :, 0])[:, None, :]
    out = np.zeros((n, d, SAMPLES))
    inside = pattern.free >= 0
    for start in range(0, SAMPLES, BATCH):
        noise = rng.standard_normal((len(pairs), 2, 6, BATCH))
        pull = root[:, None] @ noise
        push = np.zeros((n, d, BATCH))
        for tile, part in ((pairs.fixed, slice(0, 3)), (pairs.moving, slice(3, 6))):
            flat = pull[:, :, part].reshape(len(pairs), 6, BATCH)
            np.add.at(push, tile, basis[tile].reshape(len(pairs), d, 6) @ flat)
        if d > 3:  # similarity, affine: the stiffness is a measurement, too
            own = basis[..., :2]
            change = motion[:, None, :, :2].transpose(0, 1, 3, 2) @ own
            change = ((change + change.transpose(0, 1, 3, 2)) / 2).reshape(n, d, 4)
            push += np.sqrt(strain_weight) * (change @ rng.standard_normal((n, 4, BATCH)))
        steps = factor.solve(as_free(push, pattern.free).reshape(-1, BATCH))
        out[inside, :, start : start + BATCH] = steps.reshape(-1, d, BATCH)[pattern.free[inside]]
    return out


def exact_steps(pattern: Pattern, matrix: Array, free_motions: Array) -> Array:
    """Return (n, d, unknowns) columns whose outer product is the covariance, the common motions left out.

    Parameters
    ----------
    pattern : Pattern
        Order of the unknowns.
    matrix : ndarray of shape (unknowns, unknowns)
        The normal matrix, dense.
    free_motions : ndarray of shape (unknowns, k)
        Directions that nothing fixes; none when a tile is locked.
    """
    if free_motions.shape[1]:
        axis = np.linalg.qr(free_motions)[0]
        matrix = matrix + np.trace(matrix) / len(matrix) * (axis @ axis.T)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    values = np.maximum(values, values[-1] * 1e-14)
    root = vectors / np.sqrt(values)
    out = np.zeros((len(pattern.free), pattern.size, root.shape[1]))
    inside = pattern.free >= 0
    out[inside] = root.reshape(-1, pattern.size, root.shape[1])[pattern.free[inside]]
    return out


def without_common(steps: Array, motion: Array, tiles: TileTable, rows: Rows, model: str) -> Array:
    """Return the steps (n, d, s) of some tiles less their common shift and turn (least squares on the tiles' corners).

    The rest of the tiles are returned as they are.
    """
    part = motion[rows]
    centre = tiles.centre[rows]
    here = tiles.where(rows)
    common = common_motions(part, here, model, (centre + part[:, :, 2]).mean(0))
    basis = tangents(part, model)
    # metric: mean square of the corners' displacement
    corner = np.einsum("ndxy,nexy->nde", basis[..., :2], basis[..., :2]) * (here.half**2)[:, None, None] / 2
    shift = np.einsum("ndx,nex->nde", basis[..., 2], basis[..., 2])
    weighted = (corner + shift) @ common
    gram = np.einsum("ndk,ndl->kl", common, weighted)
    amount = np.linalg.pinv(gram, hermitian=True) @ np.einsum("ndk,nds->ks", weighted, steps[rows])
    out = steps.copy()
    out[rows] -= common @ amount
    return out


def tile_spread(steps: Array, samples: int) -> Array:
    """Return (n,) standard deviations of the tiles' centres along an axis, units; 1 sample when exact."""
    return np.asarray(np.sqrt((steps[:, -2:] ** 2).sum((1, 2)) / (2 * samples)))


def seam_spread(steps: Array, motion: Array, tiles: TileTable, pairs: PairTable, model: str, samples: int) -> Array:
    """Return (m,) standard deviations, along an axis, of one tile against the other at the middle of the matches."""
    basis = tangents(motion, model)
    out, n = np.empty(len(pairs)), pairs.count[:, None]
    one = np.ones((len(pairs), 1))
    at = np.concatenate([pairs.sums[:, P] / n, one, -pairs.sums[:, Q] / n, -one], axis=1)
    for start in range(0, len(pairs), 4096):
        part = slice(start, start + 4096)
        i, j = pairs.fixed[part], pairs.moving[part]
        left = (basis[i] @ at[part, None, :3, None])[..., 0].transpose(0, 2, 1) @ steps[i]
        right = (basis[j] @ at[part, None, 3:, None])[..., 0].transpose(0, 2, 1) @ steps[j]
        out[part] = np.sqrt(((left + right) ** 2).sum((1, 2)) / (2 * samples))
    return out
