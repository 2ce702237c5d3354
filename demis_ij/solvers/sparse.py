"""Least squares on the matched points themselves, robust by pairs; the default solver.

1. Every pair is reduced once to the moments of its points (`measurements`).
2. Short loops of pairs that close tell which pairs to start from (`loops`).
3. Gauss-Newton on the tiles' motions with weights a pair: Geman-McClure on how far the seam lies from what the pair
   alone says, its width learnt from all pairs and narrowed step by step (graduated non-convexity, Yang 2020,
   doi:10.1109/LRA.2020.2965893).
4. A component keeps the stage's place and turn as a whole; tiles that no believed pair holds, and small components,
   follow their neighbours (`components`).
5. Spread of tiles and seams from the normal matrix (`uncertainty`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU

from demis_ij.errors import InputError, SolveError
from demis_ij.geometry import DEGREES_OF_FREEDOM, MODELS
from demis_ij.records import Layout, PairMatch, Solution
from demis_ij.solvers.components import align_to_stage, label_components, place_islands
from demis_ij.solvers.loops import closure_errors, confirmed_pairs, find_loops
from demis_ij.solvers.measurements import (
    Array,
    PairTable,
    Rows,
    TileTable,
    motions_to_world,
    own_motion,
    own_squares,
    pair_table,
    tile_table,
)
from demis_ij.solvers.normal_equations import (
    Equations,
    Pattern,
    as_free,
    build_equations,
    conjugate_gradients,
    factorise,
    joined,
    make_pattern,
    squares,
    stage_moments,
    stepped,
    tangents,
)
from demis_ij.solvers.uncertainty import (
    EXACT_UNKNOWNS,
    SAMPLES,
    common_motions,
    draw_steps,
    exact_steps,
    seam_spread,
    tile_spread,
    without_common,
)

WIDTH = 4.0  # a pair counts little when it is off by more than so many typical seams
FIRST_WIDTH = 8.0  # times WIDTH at the first step
DOUBTED = 1e-3  # first weight of a pair whose loops all fail
BELIEVED = 0.05  # final weight below which a pair no longer ties its tiles together
STAGE_LIMIT = 6.0  # a pair that no loop speaks for is not believed further from the stage than so many sigmas
STAGE_OPINIONS = 8.0  # the given stage sigma counts like so many pairs when the real one is learnt
MAX_STEPS = 60
SETTLED_PX = 1e-3


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is known of the pairs before the layout is solved; lengths in units.

    Attributes
    ----------
    noise_squared : ndarray of shape (m,)
        Variance of a match along an axis.
    own : ndarray of shape (m,)
        Sum of squares that is left when a pair is fitted alone.
    weight : ndarray of shape (m,)
        First weights in [0, 1].
    barred : ndarray of shape (m,), bool
        Pairs that must not be believed: too far from the stage, and nothing else speaks for them.
    stage_sigma : float
        What the stage is wrong by between neighbours.
    """

    noise_squared: Array
    own: Array
    weight: Array
    barred: NDArray[np.bool_]
    stage_sigma: float

    def where(self, rows: Rows) -> Beliefs:
        """Return what is known of some of the pairs."""
        return Beliefs(self.noise_squared[rows], self.own[rows], self.weight[rows], self.barred[rows], self.stage_sigma)


def learn_noise(pairs: PairTable, own: Array, unknowns: int, unit_px: float) -> Array:
    """Return each pair's variance of a match along an axis, drawn towards the layout's typical one.

    A pair's own residuals count by their degrees of freedom, the typical pair (the median) like ten more. Where no
    pair has points to spare, 1 px is taken.
    """
    spare = np.maximum(0, 2 * pairs.count - unknowns)
    known = spare > 0
    floor = (1e-3 / unit_px) ** 2
    typical = float(np.median(own[known] / spare[known])) if known.any() else 1 / unit_px**2
    return np.asarray(np.maximum(floor, (10 * max(typical, floor) + own) / (10 + spare)))


class SparseSolver:
    """Robust least squares on the matched points: translation, rigid, similarity or affine tiles.

    Parameters
    ----------
    model : str
        What a tile may do. ``homography`` is a model of pairs; its tiles are affine.
    stage_sigma_px : float
        What the stage is expected to be wrong by between neighbours, world px. Only decides for tiles and pairs that
        nothing else decides for; corrected by what the pairs show.
    robust : bool
        Whether pairs may lose weight. False gives plain least squares.
    deformation_frac : float
        What a similarity or affine tile is expected to be stretched or sheared by; holds the shape of tiles that the
        matches hold weakly.
    uncertainty : bool
        Whether `sigma_px` and `pair_sigma_px` are computed (about a third of the time); left empty otherwise.

    Raises
    ------
    InputError
        When the model is unknown or a sigma is not positive.
    """

    def __init__(
        self,
        model: str = "rigid",
        stage_sigma_px: float = 30.0,
        robust: bool = True,
        deformation_frac: float = 0.01,
        uncertainty: bool = True,
    ) -> None:
        if model not in MODELS:
            msg = f"sparse solves {', '.join(MODELS)}; there is no model {model!r}"
            raise InputError(msg)
        for name, value in (("stage_sigma_px", stage_sigma_px), ("deformation_frac", deformation_frac)):
            if not (np.isfinite(value) and value > 0):
                msg = f"{name} must be positive, found {value!r}"
                raise InputError(msg)
        self.model = "affine" if model == "homography" else model
        self.stage_sigma_px = stage_sigma_px
        self.robust = robust
        self.deformation_frac = deformation_frac
        self.uncertainty = uncertainty

    def __call__(self, layout: Layout, matches: Sequence[PairMatch]) -> Solution:
        """Return the solved layout. Raises `InputError` for pairs that do not fit the layout."""
        tiles = tile_table(layout)
        pairs = pair_table(layout, matches, tiles)
        motion = np.tile(np.eye(2, 3), (len(tiles), 1, 1))
        beliefs = self._beliefs(tiles, pairs)
        weight = np.ones(len(pairs))
        connected = label_components(len(tiles), pairs.fixed, pairs.moving)
        solved: list[_Solved] = []
        for rows, pair_rows in _groups(connected, pairs):
            one = _Component(self, _tiles_of(tiles, rows), _pairs_of(pairs, pair_rows, rows), beliefs.where(pair_rows))
            motion[rows], weight[pair_rows] = one.solve()
            solved.append(_Solved(rows, pair_rows, one))
        believed = weight > BELIEVED
        component = label_components(len(tiles), pairs.fixed[believed], pairs.moving[believed])
        placed = self._placed(motion, tiles, component)
        sigma, seam = self._spread(tiles, pairs, component, solved)
        residual = np.sqrt(squares(joined(placed, pairs, tiles), pairs.moments) / pairs.count) * tiles.unit_px
        return Solution(
            layout=layout.moved(motions_to_world(layout, tiles, placed)),
            component=dict(zip(layout.ids, component.tolist(), strict=True)),
            sigma_px=dict(zip(layout.ids, sigma.tolist(), strict=True)) if self.uncertainty else {},
            pair_residual_px=dict(zip(pairs.keys, residual.tolist(), strict=True)),
            pair_sigma_px=dict(zip(pairs.keys, seam.tolist(), strict=True)) if self.uncertainty else {},
            pair_weight=dict(zip(pairs.keys, weight.tolist(), strict=True)),
        )

    def _beliefs(self, tiles: TileTable, pairs: PairTable) -> Beliefs:
        """Return first weights from loops and stage, and what a match is worth."""
        own = own_squares(pairs, tiles, self.model)
        noise = learn_noise(pairs, own, DEGREES_OF_FREEDOM[self.model], tiles.unit_px)
        turn, shift, _ = own_motion(
            pairs, tiles, scale=self.model in {"similarity", "affine"}, turn=self.model != "translation"
        )
        lever = np.minimum(tiles.half[pairs.fixed], tiles.half[pairs.moving]) / 2
        off = np.sqrt(np.abs(shift) ** 2 + (lever * np.abs(turn - 1)) ** 2)
        given = self.stage_sigma_px / tiles.unit_px
        typical = float(np.median(off)) / 1.1774 if len(off) else given  # of a 2-D normal law
        sigma = float(np.sqrt((STAGE_OPINIONS * given**2 + len(off) * typical**2) / (STAGE_OPINIONS + len(off))))
        if not self.robust:
            return Beliefs(noise, own, np.ones(len(pairs)), np.zeros(len(pairs), bool), sigma)
        loops = find_loops(len(tiles), pairs.fixed, pairs.moving)
        centre = tiles.centre @ (1, 1j)
        middle = (centre[pairs.fixed] + centre[pairs.moving]) / 2
        error = closure_errors(loops, pairs.fixed, turn, shift, middle, centre, float(np.median(tiles.half)))
        closes, looped = confirmed_pairs(len(pairs), loops, error, floor=1e-6)
        near_stage = (9 / (9 + (off / sigma) ** 2)) ** 2
        weight = np.where(closes, 1.0, np.where(looped, DOUBTED, 1.0) * near_stage)
        barred = ~closes & (off > STAGE_LIMIT * sigma)
        return Beliefs(noise, own, np.where(barred, 0.0, weight), barred & ~looped, sigma)

    def _placed(self, motion: Array, tiles: TileTable, component: Rows) -> Array:
        """Return the motions with every component in its place."""
        turn = self.model != "translation"
        size = np.bincount(component) if len(component) else np.zeros(0, int)
        anchored = np.zeros(len(size), bool)
        anchored[component[tiles.locked]] = True
        order = np.argsort(component, kind="stable")
        for c, rows in enumerate(np.split(order, np.cumsum(size)[:-1]) if len(size) else []):
            if anchored[c]:
                continue
            if size[c] == 1:
                motion[rows] = np.eye(2, 3)
            else:
                motion = align_to_stage(motion, tiles, rows, turn=turn)
        return place_islands(motion, tiles, component, turn=turn)

    def _spread(
        self, tiles: TileTable, pairs: PairTable, component: Rows, solved: list[_Solved]
    ) -> tuple[Array, Array]:
        """Return sigma of every tile (relative to its component) and of every seam, px."""
        sigma = np.full(len(tiles), np.inf)
        seam = np.full(len(pairs), np.inf)
        if not self.uncertainty:
            return sigma, seam
        for part in solved:
            sigma[part.rows], seam[part.pair_rows] = part.component.spread(component[part.rows])
        alone = np.bincount(component, minlength=1)[component] == 1 if len(component) else np.zeros(0, bool)
        sigma[alone] = np.inf
        return sigma * tiles.unit_px, seam * tiles.unit_px


@dataclass(frozen=True, eq=False)
class _Solved:
    rows: Rows
    pair_rows: Rows
    component: _Component


def _groups(component: Rows, pairs: PairTable) -> list[tuple[Rows, Rows]]:
    """Return (tiles, pairs) of every component of at least two tiles."""
    if len(pairs) == 0:
        return []
    tile_order = np.argsort(component, kind="stable")
    tile_parts = np.split(tile_order, np.cumsum(np.bincount(component))[:-1])
    of_pair = component[pairs.fixed]
    pair_order = np.argsort(of_pair, kind="stable")
    pair_parts = np.split(pair_order, np.cumsum(np.bincount(of_pair, minlength=len(tile_parts)))[:-1])
    return [(t, p) for t, p in zip(tile_parts, pair_parts, strict=True) if len(t) > 1]


def _tiles_of(tiles: TileTable, rows: Rows) -> TileTable:
    return TileTable(tiles.centre[rows], tiles.half[rows], tiles.locked[rows], tiles.unit_px)


def _pairs_of(pairs: PairTable, pair_rows: Rows, rows: Rows) -> PairTable:
    part = pairs.where(pair_rows)
    number = np.full(int(rows.max()) + 1, -1)
    number[rows] = np.arange(len(rows))
    return PairTable(number[part.fixed], number[part.moving], part.count, part.moments, part.keys)


class _Component:
    """One connected component while it is solved."""

    def __init__(self, settings: SparseSolver, tiles: TileTable, pairs: PairTable, beliefs: Beliefs) -> None:
        self.model = settings.model
        self.robust = settings.robust
        self.tiles = tiles
        self.pairs = pairs
        self.beliefs = beliefs
        self.unknowns = DEGREES_OF_FREEDOM[self.model]
        self.strain_weight = 1 / settings.deformation_frac**2
        self.stage = stage_moments(pairs, tiles) / beliefs.stage_sigma**2
        self.motion = np.tile(np.eye(2, 3), (len(tiles), 1, 1))
        self.weight = beliefs.weight.copy()
        self.misfit = 0.0  # squared, of a pair as a whole
        self.pattern: Pattern | None = None
        self.factor: SuperLU | None = None

    def solve(self) -> tuple[Array, Array]:
        """Return the motions (n, 2, 3) and the final weights (m,)."""
        if self.tiles.locked.all():
            self._reweigh(1.0)
            return self.motion, self.weight
        self.pattern = make_pattern(self.tiles, self.pairs, self.unknowns)
        width = FIRST_WIDTH if self.robust else 1.0
        for _ in range(MAX_STEPS):
            moved = self._step()
            before = self.weight
            if self.robust:
                self._reweigh(width)
            change = float(np.abs(self.weight - before).max())
            if width == 1.0 and moved * self.tiles.unit_px < SETTLED_PX and change < 1e-3:
                break
            width = max(1.0, width / 2)
        return self.motion, self.weight

    def _equations(self) -> Equations:
        if self.pattern is None:
            self.pattern = make_pattern(self.tiles, self.pairs, self.unknowns)
        return build_equations(
            self.pattern, self.pairs, self.tiles, self.motion, self._moments(), self.model, self.strain_weight
        )

    def _moments(self) -> Array:
        precision = self.weight / (self.beliefs.noise_squared + self.pairs.count * self.misfit)
        return np.asarray(precision[:, None, None] * self.pairs.moments + self.stage)

    def _step(self) -> float:
        """Do one Gauss-Newton step; return how far a corner moved at most, units."""
        equations = self._equations()
        reached = False
        if self.factor is not None:
            step, reached = conjugate_gradients(equations.matrix, -equations.gradient, self.factor, most=12)
        if not reached:
            self.factor = factorise(equations.matrix)
            step = self.factor.solve(-equations.gradient)
        spread = equations.spread(step)
        if not np.isfinite(spread).all():
            msg = f"the solve of {len(self.tiles)} tiles diverged"
            raise SolveError(msg)
        from_basis = tangents(self.motion, self.model)
        change = np.einsum("nd,ndij->nij", spread, from_basis)
        self.motion = stepped(self.motion, from_basis, spread, self.model)
        return float((np.abs(change[:, :, :2]).sum(2) * self.tiles.half[:, None] + np.abs(change[:, :, 2])).max())

    def _reweigh(self, width: float) -> None:
        """Set the weights from how far each seam lies from what its pair alone says."""
        now = squares(joined(self.motion, self.pairs, self.tiles), self.pairs.moments)
        excess = np.maximum(0, now - self.beliefs.own) / self.pairs.count
        expected = self.unknowns * self.beliefs.noise_squared / self.pairs.count
        trusted = self.weight > 0.5
        typical = float(np.median(excess[trusted])) if trusted.any() else 0.0
        self.misfit = max(0.0, typical - float(np.median(expected)))
        scale = np.maximum(2.2 * typical, expected)  # 1.4826 squared: as a standard deviation
        limit = (WIDTH * width) ** 2 * scale
        self.weight = np.where(self.beliefs.barred, 0.0, (limit / (limit + excess)) ** 2)

    def spread(self, component: Rows) -> tuple[Array, Array]:
        """Return sigma of every tile and seam, units, relative to the components that are believed in the end."""
        if self.tiles.locked.all():
            return np.zeros(len(self.tiles)), np.zeros(len(self.pairs))
        equations = self._equations()
        pattern = equations.pattern
        if equations.matrix.shape[0] <= EXACT_UNKNOWNS:
            common = common_motions(self.motion, self.tiles, self.model, self.tiles.centre.mean(0))
            free = np.zeros((equations.matrix.shape[0], 0))
            if not self.tiles.locked.any():
                free = as_free(common, pattern.free).reshape(equations.matrix.shape[0], -1)
            steps, samples = exact_steps(pattern, equations.matrix.toarray(), free), 1
        else:
            factor = factorise(equations.matrix)
            steps = draw_steps(pattern, self.pairs, self.motion, self._moments(), self.model, factor, seed=0)
            samples = SAMPLES
        for number in np.unique(component):
            rows = np.flatnonzero(component == number)
            if not self.tiles.locked[rows].any():
                steps = without_common(steps, self.motion, self.tiles, rows, self.model)
        return tile_spread(steps, samples), seam_spread(steps, self.motion, self.tiles, self.pairs, self.model, samples)
