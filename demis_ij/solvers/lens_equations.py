"""Tiles and lenses in one least-squares problem, from moments of each pair's points.

With the terms ``phi`` of a tile's point (1, u, v and the products of Legendre polynomials of a lens, 21 in all) a point
of tile i lies at ``W_i phi(p)`` in the world,

    W_i = [m_i | B_i [H | C]],

m_i the world place of the tile's centre, B_i its linear part, H = diag(half width, half height), C the coefficients of
its camera's lens (2, K). A match leaves ``r = [W_i | -W_j] z`` with ``z = (phi(p), phi(q))``, so that sums of squares
and all derivatives follow from ``S = sum z z^T`` (42, 42) of each pair: points are looked at once. The lens couples all
tiles, but by a few numbers only: they are solved for by the Schur complement of the tiles' sparse normal matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

from demis_ij.errors import SolveError
from demis_ij.geometry import apply, fit_rigid
from demis_ij.records import Layout, PairMatch, Points
from demis_ij.records.lens import MOST_DEGREE, legendre, lens_terms

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

TERMS = 3 + len(lens_terms(MOST_DEGREE))
LENS_FRAC = 0.01  # a lens's coefficient is expected within so much of half the tile; holds only what nothing else does
STRAIN_FRAC = 0.003  # what a tile by itself (not its camera) is expected to be stretched or sheared by
COUNTED = 20.0  # points of one overlap share their errors: a pair counts like so many at most
WIDTH = 4.0  # a pair counts little when it is off by more than so many typical ones
STEPS = 12
SETTLED_PX = 2e-3

TURN = np.array([[0.0, -1], [1, 0]])
STRAINS = np.array([[[1.0, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]])


@dataclass(frozen=True, eq=False)
class LensTable:
    """Tiles and pairs as columns, px.

    Attributes
    ----------
    centre : ndarray of shape (n, 2)
        World px of each tile's centre.
    linear : ndarray of shape (n, 2, 2)
        Linear part of ``to_world``.
    half : ndarray of shape (n, 2)
        Half width and height of each tile.
    camera : ndarray of shape (n,)
        Number of each tile's camera.
    fixed, moving : ndarray of shape (m,)
        Rows of the tiles of each pair.
    count : ndarray of shape (m,)
        Points of each pair.
    moments : ndarray of shape (m, 42, 42)
        ``sum z z^T``.
    weight : ndarray of shape (m,)
        How far each pair is believed, in [0, 1].
    """

    centre: Array
    linear: Array
    half: Array
    camera: Rows
    fixed: Rows
    moving: Rows
    count: Array
    moments: Array
    weight: Array

    def only(self, rows: NDArray[np.bool_] | Rows) -> LensTable:
        """Return some of the pairs."""
        names = ("fixed", "moving", "count", "moments", "weight")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


@dataclass(frozen=True, eq=False)
class LensState:
    """Where tiles lie, and their lenses.

    Attributes
    ----------
    centre, linear : ndarray
        As in `LensTable`.
    lens : ndarray of shape (cameras, 2, K)
        Coefficients, px; K of a degree.
    """

    centre: Array
    linear: Array
    lens: Array


def terms(points_xy: Points, centre: Array, half: Array) -> Array:
    """Return (21, N): 1, u, v and the terms of a lens of degree 5 at raw px; centre and half are (N, 2) or (2,)."""
    u, v = np.clip((points_xy - centre) / half, -1.05, 1.05).T
    across, down = legendre(u, MOST_DEGREE), legendre(v, MOST_DEGREE)
    return np.stack([across[i] * down[j] for i, j in ((0, 0), (1, 0), (0, 1), *lens_terms(MOST_DEGREE))])


def lens_table(
    layout: Layout, camera: Rows, matches: Sequence[PairMatch], weight: Array, most_points: int = 400
) -> LensTable:
    """Return tiles and pairs as columns; of a pair with very many points every so manieth counts."""
    affine = np.array([t.to_world.rows for t in layout]).reshape(-1, 2, 3)
    side = np.array([t.shape[::-1] for t in layout], float).reshape(-1, 2)
    middle = (side - 1) / 2
    half = np.maximum(side, 1) / 2
    row = {name: i for i, name in enumerate(layout.ids)}
    fixed = np.array([row[m.fixed] for m in matches], np.intp)
    moving = np.array([row[m.moving] for m in matches], np.intp)
    moments = np.empty((len(matches), 2 * TERMS, 2 * TERMS))
    count = np.empty(len(matches))
    for k, match in enumerate(matches):
        step = max(1, -(-len(match.fixed_xy) // most_points))
        i, j = fixed[k], moving[k]
        fixed_xy, moving_xy = match.fixed_xy[::step], match.moving_xy[::step]
        at_fixed, at_moving = _shared_places(fixed_xy, moving_xy)
        z = np.concatenate([terms(at_fixed, middle[i], half[i]), terms(at_moving, middle[j], half[j])])
        z[1:3] = ((fixed_xy - middle[i]) / half[i]).T
        z[TERMS + 1 : TERMS + 3] = ((moving_xy - middle[j]) / half[j]).T
        moments[k] = z @ z.T
        count[k] = z.shape[1]
    centre = np.einsum("nij,nj->ni", affine[:, :, :2], middle) + affine[:, :, 2]
    return LensTable(centre, affine[:, :, :2], half, camera, fixed, moving, count, moments, np.asarray(weight, float))


def _shared_places(fixed_xy: Points, moving_xy: Points) -> tuple[Points, Points]:
    """Return where in the two tiles the lens is asked: half way between what either tile says of a point.

    A point's error moves its residual and the place the lens is asked at; were the place its own, least squares would
    find a lens that shrinks the overlaps, and the errors in them. Half way, what the two tiles' errors do cancels.
    """
    to_fixed = fit_rigid(moving_xy, fixed_xy)
    there = (fixed_xy + apply(to_fixed, moving_xy)) / 2
    return there, apply(np.asarray(np.linalg.inv(to_fixed), np.float64), there)


def start(table: LensTable, degree: int) -> LensState:
    """Return tiles where the table has them, behind lenses that do nothing; degree 0 is no lens at all."""
    cameras = int(table.camera.max(initial=-1)) + 1
    return LensState(table.centre, table.linear, np.zeros((cameras, 2, len(lens_terms(degree)) if degree else 0)))


def _within_tile(table: LensTable, state: LensState) -> Array:
    """Return (n, 2, 2 + K): what a tile's terms u, v and those of the lens are about its centre, before ``linear``."""
    shape = np.zeros((len(table.half), 2, 2))
    shape[:, 0, 0], shape[:, 1, 1] = table.half.T
    return np.asarray(np.concatenate([shape, state.lens[table.camera]], axis=2))


def _joined(table: LensTable, state: LensState, inner: Array) -> Array:
    """Return (m, 2, 2T) ``[W_i | -W_j]`` of every pair."""
    whole = np.concatenate([state.centre[:, :, None], state.linear @ inner], axis=2)
    return np.asarray(np.concatenate([whole[table.fixed], -whole[table.moving]], axis=2))


def _cut(table: LensTable, degree_terms: int) -> Array:
    """Return the moments of the terms that a lens of ``degree_terms`` terms needs."""
    used = np.arange(3 + degree_terms)
    both = np.concatenate([used, TERMS + used])
    return np.ascontiguousarray(table.moments[:, both[:, None], both])


def pair_squares(table: LensTable, state: LensState) -> Array:
    """Return (m,) sums of squared distances that the state leaves, px^2."""
    moments = _cut(table, state.lens.shape[2])
    joined = _joined(table, state, _within_tile(table, state))
    return np.asarray(np.maximum(0, np.einsum("mxs,mst,mxt->m", joined, moments, joined, optimize=True)))


def own_squares(table: LensTable, lens: Array) -> Array:
    """Return (m,) sums of squares that are left when each pair alone is moved rigidly behind the lenses, px^2.

    Closed form of the 2-D Procrustes problem on ``a = L_i(p)`` and ``b = L_j(q)``, in the fixed tile's frame.
    """
    state = LensState(table.centre, table.linear, lens)
    moments = _cut(table, lens.shape[2])
    inner = _within_tile(table, state)
    size = inner.shape[2] + 1
    one = np.concatenate([np.zeros((len(inner), 2, 1)), table.linear @ inner], axis=2)
    i, j = one[table.fixed], one[table.moving]
    aa = np.einsum("mxs,mst,myt->mxy", i, moments[:, :size, :size], i, optimize=True)
    ab = np.einsum("mxs,mst,myt->mxy", i, moments[:, :size, size:], j, optimize=True)
    bb = np.einsum("mxs,mst,myt->mxy", j, moments[:, size:, size:], j, optimize=True)
    a = np.einsum("mxs,ms->mx", i, moments[:, :size, 0]) / table.count[:, None]
    b = np.einsum("mxs,ms->mx", j, moments[:, size:, 0]) / table.count[:, None]
    n = table.count
    spread = np.trace(aa, axis1=1, axis2=2) - n * (a**2).sum(1) + np.trace(bb, axis1=1, axis2=2) - n * (b**2).sum(1)
    cross = ab - n[:, None, None] * a[:, :, None] * b[:, None, :]
    size_of = np.hypot(cross[:, 0, 0] + cross[:, 1, 1], cross[:, 1, 0] - cross[:, 0, 1])
    return np.asarray(np.maximum(0, spread - 2 * size_of))


# --- solving ----------------------------------------------------------------------------------------------------------


def solve_lenses(table: LensTable, degree: int, model: str, before: LensState | None = None) -> tuple[LensState, Array]:
    """Return tiles and lenses of a degree (0: none) that leave least, and how far each pair is believed at last.

    Gauss-Newton; after each step a pair that is off by much more than the typical one loses weight (Geman-McClure).

    Raises
    ------
    SolveError
        When it diverges.
    """
    state = before or start(table, degree)
    weight = table.weight.copy()
    generators = _generators(model)
    pinned = _pinned(table)
    for _ in range(STEPS):
        off = pair_squares(table, state) / table.count
        typical = _typical(off, weight)
        weight = table.weight * (WIDTH**2 * typical / (WIDTH**2 * typical + off)) ** 2
        worth = weight / (typical / 2 * (1 + table.count / COUNTED))
        after = _stepped(table, state, worth, generators, pinned)
        moved = max(
            float(np.abs(after.lens - state.lens).max(initial=0)),
            float(np.abs(after.linear - state.linear).max(initial=0) * table.half.max(initial=0)),
        )
        state = after
        if not np.isfinite(state.centre).all() or not np.isfinite(state.lens).all():
            msg = f"the lens of {len(table.half)} tiles could not be solved for"
            raise SolveError(msg)
        if moved < SETTLED_PX:
            break
    return state, weight


def _typical(off: Array, weight: Array) -> float:
    used = off[weight > 0.5 * weight.max(initial=0)]
    return max(float(np.median(used)), 1e-4) if len(used) else 1.0


def _generators(model: str) -> Array:
    """Return (g, 2, 2): what a tile's linear part may change by; a turn first, then what is held by `STRAIN_FRAC`."""
    if model == "translation":
        return np.zeros((0, 2, 2))
    if model == "rigid":
        return TURN[None]
    return np.concatenate([TURN[None], STRAINS[:1] if model == "similarity" else STRAINS])


def _pinned(table: LensTable) -> Rows:
    """Return a tile of each connected component, which stays: pairs say nothing of where a component is as a whole."""
    n = len(table.half)
    graph = coo_matrix((np.ones(len(table.fixed)), (table.fixed, table.moving)), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    return np.unique(label, return_index=True)[1]


@dataclass(frozen=True, eq=False)
class _Equations:
    """The normal equations of a state: the tiles' sparse part, and what the lenses add to it."""

    tiles: csc_matrix
    gradient: Array
    coupling: Array
    lenses: Array
    slope: Array


def _stepped(table: LensTable, state: LensState, worth: Array, generators: Array, pinned: Rows) -> LensState:
    """Return the state after one Gauss-Newton step."""
    equations = _equations(table, state, worth, generators, pinned)
    factor = _factor(equations.tiles)
    step = -factor.solve(equations.gradient)
    lens = state.lens
    if lens.shape[2]:
        solved = factor.solve(equations.coupling)
        schur = equations.lenses - equations.coupling.T @ solved
        change = -np.linalg.solve(schur, equations.slope - solved.T @ equations.gradient)
        step = step - solved @ change
        lens = lens + change.reshape(lens.shape)
    move = step.reshape(len(table.half), -1)
    linear = state.linear
    if len(generators):
        linear = _turned(move[:, 2]) @ linear
        linear = linear + np.einsum("ng,gxy,nyz->nxz", move[:, 3:], generators[1:], linear)
    return LensState(state.centre + move[:, :2], linear, lens)


def lens_sigma(table: LensTable, state: LensState, weight: Array, model: str) -> Array:
    """Return (cameras,) the standard deviation of each lens, px, root mean square over the tile and both axes."""
    typical = _typical(pair_squares(table, state) / table.count, weight)
    worth = weight / (typical / 2 * (1 + table.count / COUNTED))
    equations = _equations(table, state, worth, _generators(model), _pinned(table))
    coupling = equations.coupling
    schur = equations.lenses - coupling.T @ _factor(equations.tiles).solve(coupling)
    variance = np.diag(np.linalg.inv(schur)).reshape(state.lens.shape)
    degree = next(d for d in range(MOST_DEGREE + 1) if d and len(lens_terms(d)) == state.lens.shape[2])
    size = np.array([1 / ((2 * i + 1) * (2 * j + 1)) for i, j in lens_terms(degree)])
    return np.asarray(np.sqrt((variance @ size).sum(1)))


def _factor(matrix: csc_matrix) -> SuperLU:
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})


def _equations(table: LensTable, state: LensState, worth: Array, generators: Array, pinned: Rows) -> _Equations:
    """Return the normal equations; a pair counts by its ``worth``, the inverse variance of a point."""
    inner = _within_tile(table, state)
    n, k, d = len(inner), state.lens.shape[2], 2 + len(generators)
    size = inner.shape[2] + 1
    moments = _cut(table, k) * worth[:, None, None]
    tangent = _tangents(state, inner, generators)
    both = np.zeros((len(worth), 2 * d, 2, 2 * size))
    both[:, :d, :, :size] = tangent[table.fixed]
    both[:, d:, :, size:] = -tangent[table.moving]
    joined = _joined(table, state, inner)
    pushed = (both.reshape(len(worth), 4 * d, 2 * size) @ moments).reshape(len(worth), 2 * d, 4 * size)
    block = pushed @ both.reshape(len(worth), 2 * d, 4 * size).transpose(0, 2, 1)
    pull = (pushed @ joined.reshape(len(worth), 4 * size, 1))[..., 0]
    where = np.concatenate([table.fixed[:, None] * d + np.arange(d), table.moving[:, None] * d + np.arange(d)], axis=1)
    rows, columns = np.repeat(where, 2 * d, axis=1), np.tile(where, (1, 2 * d))
    tiles = coo_matrix((block.ravel(), (rows.ravel(), columns.ravel())), shape=(n * d, n * d)).tocsc()
    gradient: Array = np.asarray(np.bincount(where.ravel(), pull.ravel(), minlength=n * d), np.float64)
    hold = np.zeros((n, d))
    hold[:, 3:] = 1 / STRAIN_FRAC**2
    gradient += (hold * _strain(table, state, generators)).ravel()
    largest = float(tiles.diagonal().max(initial=1))
    hold[pinned] += 1e3 * largest
    tiles = tiles + diags(hold.ravel() + 1e-12 * largest).tocsc()
    if not k:
        return _Equations(tiles, gradient, np.zeros((n * d, 0)), np.zeros((0, 0)), np.zeros(0))
    force = joined @ moments
    coupling, lenses, slope = _lens_parts(table, state, pushed, force, moments, where, (n, d, k, size))
    prior = (LENS_FRAC * table.half.max()) ** -2
    return _Equations(
        tiles, gradient, coupling, lenses + prior * np.eye(len(lenses)), slope + prior * state.lens.ravel()
    )


def _turned(angle: Array) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)


def _strain(table: LensTable, state: LensState, generators: Array) -> Array:
    """Return (n, d): how far each tile is strained by now, against the table's, along the held generators."""
    out = np.zeros((len(table.half), 2 + len(generators)))
    if len(generators) > 1:
        change = state.linear @ np.linalg.inv(table.linear)
        stretch = np.linalg.svd(change)
        symmetric = np.einsum("nji,nj,njk->nik", stretch[2], stretch[1] - 1, stretch[2])
        out[:, 3:] = np.einsum("gxy,nxy->ng", generators[1:], symmetric) / 2
    return out


def _tangents(state: LensState, inner: Array, generators: Array) -> Array:
    """Return (n, d, 2, 1 + 2 + K): how a tile's map changes with its place and its linear part."""
    n, size = len(inner), inner.shape[2] + 1
    out = np.zeros((n, 2 + len(generators), 2, size))
    out[:, 0, 0, 0] = out[:, 1, 1, 0] = 1
    out[:, 2:, :, 1:] = np.einsum("gxy,nyz,nzs->ngxs", generators, state.linear, inner, optimize=True)
    return out


def _lens_parts(
    table: LensTable,
    state: LensState,
    pushed: Array,
    force: Array,
    moments: Array,
    where: Rows,
    sizes: tuple[int, int, int, int],
) -> tuple[Array, Array, Array]:
    """Return the blocks of the normal equations that the lenses have part in: with tiles, with lenses, the gradient."""
    n, d, k, size = sizes
    cameras = len(state.lens)
    columns = cameras * 2 * k
    number = np.arange(2 * k).reshape(2, k)
    sides = (
        (table.camera[table.fixed], state.linear[table.fixed], slice(3, size)),
        (table.camera[table.moving], -state.linear[table.moving], slice(size + 3, 2 * size)),
    )
    push = pushed.reshape(len(force), 2 * d, 2, 2 * size)
    coupling = np.zeros((n * d, columns))
    inside = np.zeros((cameras, cameras, 2 * k, 2 * k))
    slope = np.zeros((cameras, 2 * k))
    for camera, linear, part in sides:
        mixed = np.einsum("mgxt,mxa->mgat", push[..., part], linear, optimize=True).reshape(len(force), 2 * d, 2 * k)
        at = camera[:, None] * 2 * k + number.ravel()
        np.add.at(coupling, (where[:, :, None], at[:, None, :]), mixed)
        np.add.at(slope, camera, np.einsum("mxt,mxa->mat", force[..., part], linear).reshape(len(force), 2 * k))
        for other, other_linear, other_part in sides:
            turn = np.einsum("mxa,mxb->mab", linear, other_linear)
            block = np.einsum("mab,mst->masbt", turn, moments[:, part, other_part], optimize=True)
            np.add.at(inside, (camera, other), block.reshape(len(force), 2 * k, 2 * k))
    return coupling, inside.transpose(0, 2, 1, 3).reshape(columns, columns), slope.ravel()
