"""How far a solution is to be trusted: the spread of every tile and every seam, from the normal matrix.

The covariance of the unknowns is the inverse N^-1 of the normal matrix, less what the matches cannot know: the shift
and turn of a component as a whole. Small layouts are inverted exactly. Large ones are sampled: with g = J^T e, e
white noise, N^-1 g has covariance N^-1, so `SAMPLES` solves give every standard deviation to one part in
``sqrt(4 SAMPLES)``, at a cost that does not depend on which entries of the inverse are wanted and grows with the number
of tiles. The solves share a factor, or a multilevel preconditioner and the passes over the matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from demis_ij.geometry import DEGREES_OF_FREEDOM
from demis_ij.solvers.components import label_components
from demis_ij.solvers.linear_steps import linear_steps
from demis_ij.solvers.normal_equations import Pattern, as_free, build_blocks, fill_pattern, make_pattern
from demis_ij.solvers.residuals import Worth, add_rows, parts_of
from demis_ij.solvers.strain import strain_changes
from demis_ij.solvers.tables import Array, P, PairTable, Q, Rows, TileTable
from demis_ij.solvers.tangents import common_motions, tangents
from demis_ij.solvers.threads import ALONE, Threads

EXACT_UNKNOWNS = 900
SAMPLES = 32  # standard deviations to 9 %
BATCH, LARGE_BATCH = 16, 8  # samples that are solved for together; the second from `LARGE` tiles on, for its memory
LARGE = 200_000


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


def estimate_spread(
    tiles: TileTable,
    pairs: PairTable,
    motion: Array,
    worth: Worth,
    model: str,
    strain_weight: float,
    component: Rows,
    threads: Threads = ALONE,
    step_done: Callable[[int, int], None] = lambda done, of: None,
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
    threads : Threads
        Who works.
    step_done : callable
        Told (samples done, samples in all).
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
    blocks = build_blocks(pairs, tiles, motion, worth, model, strain_weight, threads)
    free = int((~tiles.locked).sum()) * DEGREES_OF_FREEDOM[model]
    tile_squares, seam_squares, samples = np.zeros(len(tiles)), np.zeros(len(pairs)), 1
    if free <= EXACT_UNKNOWNS:
        pattern = make_pattern(tiles, pairs, DEGREES_OF_FREEDOM[model])
        matrix = fill_pattern(pattern, blocks.diagonal, blocks.off[pattern.both]).toarray()
        drawn = iter([exact_steps(pattern, matrix, _free_motions(tiles, pairs, motion, model, pattern))])
    else:
        samples, batch = SAMPLES, BATCH if len(tiles) < LARGE else LARGE_BATCH
        inverse = linear_steps(tiles, pairs, model, threads).inverse(blocks, motion)
        del blocks
        drawn = (
            inverse(draw_pushes(tiles, pairs, motion, worth, model, strain_weight, (start, batch), threads))
            for start in range(0, samples, batch)
        )
    done = 0
    for steps in drawn:
        steps = without_common(steps, motion, tiles, component, model)
        tile_squares += (steps[:, -2:] ** 2).sum((1, 2)) / (2 * samples)
        seam_squares += seam_square(steps, motion, pairs, model, threads) / (2 * samples)
        done += steps.shape[2] if samples > 1 else 1
        step_done(done, samples)
    alone = np.bincount(component)[component] == 1
    tile[rows] = np.where(alone, np.inf, np.sqrt(tile_squares))
    return Spread(tile, np.sqrt(seam_squares))


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


def draw_pushes(
    tiles: TileTable,
    pairs: PairTable,
    motion: Array,
    worth: Worth,
    model: str,
    strain_weight: float,
    which: tuple[int, int],
    threads: Threads,
) -> Array:
    """Return (n, d, k) draws of how noise (of matches, of tile shapes) pushes the unknowns: covariance N.

    Parameters
    ----------
    tiles, pairs, motion, worth, model, strain_weight
        The solved layout.
    which : tuple of int
        Number of the first draw, and how many: the same numbers give the same draws.
    threads : Threads
        Who works.
    """
    basis = tangents(motion, model)
    n, d = basis.shape[:2]
    start, many = which

    def in_part(part: slice) -> list[tuple[Rows, Array]]:
        rng = np.random.default_rng([start, part.start])
        some = pairs if part == slice(0, len(pairs)) else pairs.only(part)
        moments = worth.moments(pairs, tiles, part)
        slack = 1e-12 * np.trace(moments, axis1=1, axis2=2)[:, None, None] + 1e-300
        root = np.linalg.cholesky(moments + slack * np.eye(6))
        pull = root[:, None] @ rng.standard_normal((len(some), 2, 6, many))
        ends = ((some.fixed, slice(0, 3)), (some.moving, slice(3, 6)))
        return [(tile, basis[tile].reshape(-1, d, 6) @ pull[:, :, side].reshape(-1, 6, many)) for tile, side in ends]

    push = np.zeros((n, d, many))
    for ends in threads.ordered(in_part, parts_of(len(pairs))):
        for tile, values in ends:
            add_rows(push, tile, values)
    if d > 3:  # similarity, affine: the stiffness is a measurement, too
        rng = np.random.default_rng([start, len(pairs), 1])
        change = strain_changes(motion, basis)
        push += np.sqrt(strain_weight) * (change @ rng.standard_normal((n, 4, many)))
    return push


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


def without_common(steps: Array, motion: Array, tiles: TileTable, component: Rows, model: str) -> Array:
    """Return the steps (n, d, s) less the shift and turn common to each component (least squares on tiles' corners).

    Components that hold a locked tile, and tiles alone, are returned as they are.
    """
    size = np.bincount(component)
    loose = size > 1
    loose[component[tiles.locked]] = False
    rows = np.flatnonzero(loose[component])
    if len(rows) == 0:
        return steps
    number = np.cumsum(loose)[component[rows]] - 1
    part, here = motion[rows], tiles.where(rows)
    place = here.centre + part[:, :, 2]
    middle = np.zeros((int(loose.sum()), 2))
    add_rows(middle, number, place)
    common = common_motions(part, here, model, (middle / size[loose][:, None])[number])
    basis = tangents(part, model)
    # metric: mean square of the corners' displacement
    corner = np.einsum("ndxy,nexy->nde", basis[..., :2], basis[..., :2]) * (here.half**2)[:, None, None] / 2
    shift = np.einsum("ndx,nex->nde", basis[..., 2], basis[..., 2])
    weighted = ((corner + shift) @ common).transpose(0, 2, 1)
    gram = np.zeros((len(middle), common.shape[2], common.shape[2]))
    add_rows(gram, number, weighted @ common)
    share = np.zeros((len(middle), common.shape[2], steps.shape[2]))
    add_rows(share, number, weighted @ steps[rows])
    amount = np.linalg.pinv(gram, hermitian=True) @ share
    out = steps.copy()
    out[rows] -= common @ amount[number]
    return out


def seam_square(steps: Array, motion: Array, pairs: PairTable, model: str, threads: Threads) -> Array:
    """Return (m,) summed squares of the steps of one tile against the other at the middle of the matches."""
    basis = tangents(motion, model)

    def in_part(part: slice) -> Array:
        sums, i, j = pairs.sums[part], pairs.fixed[part], pairs.moving[part]
        n, one = sums[:, :1], np.ones((len(sums), 1))
        at = np.concatenate([sums[:, P] / n, one, -sums[:, Q] / n, -one], axis=1)[:, None, :, None]
        left = (basis[i] @ at[:, :, :3])[..., 0].transpose(0, 2, 1) @ steps[i]
        right = (basis[j] @ at[:, :, 3:])[..., 0].transpose(0, 2, 1) @ steps[j]
        return np.asarray(((left + right) ** 2).sum((1, 2)))

    return np.concatenate(list(threads.ordered(in_part, parts_of(len(pairs)))))
