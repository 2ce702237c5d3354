"""Least squares on the matched points themselves, robust by pairs; the default solver.

1. Every pair is reduced once to the moments of its points (`measurements`).
2. Short loops of pairs that close tell which pairs to start from (`loops`).
3. Gauss-Newton on the tiles' motions with weights a pair: Geman-McClure on how far the seam lies from what the pair
   alone says, its width learnt from all pairs and narrowed step by step (graduated non-convexity, Yang 2020,
   doi:10.1109/LRA.2020.2965893).
4. Tiles that a wrong pair may have got hold of are looked at once more (`contested`).
5. A component keeps the stage's place and turn as a whole; tiles that no believed pair holds, and small components,
   follow their neighbours (`components`).
6. Spread of tiles and seams from the normal matrix (`uncertainty`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse.linalg import SuperLU

from demis_ij.errors import InputError, SolveError
from demis_ij.geometry import DEGREES_OF_FREEDOM, MODELS
from demis_ij.records import Layout, PairMatch, Solution
from demis_ij.solvers.beliefs import Beliefs, form_beliefs
from demis_ij.solvers.components import label_components, without_drift
from demis_ij.solvers.contested import reconsider
from demis_ij.solvers.measurements import Array, PairTable, TileTable, pair_table, tile_table
from demis_ij.solvers.normal_equations import (
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
from demis_ij.solvers.outcome import conclude

WIDTH = 4.0  # a pair counts little when it is off by more than so many typical seams
FIRST_WIDTH = 8.0  # times WIDTH at the first step
MAX_STEPS = 60
MAX_RECONSIDERATIONS = 4
MAX_HALVINGS = 12  # of a step that would make things worse
FACTOR_ALWAYS = 500  # tiles up to which a factor is cheaper than a look at whether the old one will do
SETTLED_PX = 3e-3
UNSETTLED = 5e-3  # units (half a tile): what the first steps may leave a right seam off by


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
        beliefs = form_beliefs(tiles, pairs, self.model, self.stage_sigma_px, robust=self.robust)
        used = np.zeros(len(tiles), bool)
        used[pairs.fixed] = used[pairs.moving] = True
        rows = np.flatnonzero(used)
        motion = np.tile(np.eye(2, 3), (len(tiles), 1, 1))
        solve = _Solve(self, tiles.where(rows), pairs.renumbered(rows), beliefs)
        motion[rows] = solve.run()
        return conclude(
            layout,
            tiles,
            pairs,
            motion,
            solve.weight,
            solve.moments(),
            self.model,
            1 / self.deformation_frac**2,
            uncertainty=self.uncertainty,
        )


class _Solve:
    """The layout while it is solved: all components at once, which are independent blocks of one matrix."""

    def __init__(self, settings: SparseSolver, tiles: TileTable, pairs: PairTable, beliefs: Beliefs) -> None:
        self.model = settings.model
        self.robust = settings.robust
        self.tiles = tiles
        self.pairs = pairs
        self.beliefs = beliefs
        self.unknowns = DEGREES_OF_FREEDOM[self.model]
        self.strain_weight = 1 / settings.deformation_frac**2
        self.stage = stage_moments(pairs, tiles) / beliefs.stage_sigma**2
        self.component = label_components(len(tiles), pairs.fixed, pairs.moving)
        self.motion = np.tile(np.eye(2, 3), (len(tiles), 1, 1))
        self.weight = beliefs.weight.copy()
        self.misfit = 0.0  # squared: how far a right pair as a whole is off, beyond the noise of its points
        self.factor: SuperLU | None = None
        self.factored_misfit = 0.0
        self.weight_change = 0.0

    def run(self) -> Array:
        """Return the motions (n, 2, 3); the final weights stay in ``weight``."""
        if self.tiles.locked.all():
            if len(self.pairs) and self.robust:
                self._reweigh(1.0)
            return self.motion
        self.pattern = make_pattern(self.tiles, self.pairs, self.unknowns)
        self._settle(FIRST_WIDTH if self.robust else 1.0)
        for _ in range(MAX_RECONSIDERATIONS if self.robust else 0):
            other = reconsider(self.tiles, self.pairs, self.beliefs, self.motion, self.weight, self._limit(1.0)[0])
            if other is None:
                break
            self.weight_change = 1.0
            self.weight = other
            for _ in range(2):  # the tile has to get there before its pairs are judged
                self._step()
            self._settle(1.0)
        return self.motion

    def _settle(self, width: float) -> None:
        """Step and reweigh until neither motions nor weights change, the kernel narrowing to a width of one."""
        for _ in range(MAX_STEPS):
            moved = self._step()
            before = self.weight
            if self.robust:
                self._reweigh(width)
            self.weight_change = float(np.abs(self.weight - before).max(initial=0))
            if width == 1.0 and moved * self.tiles.unit_px < SETTLED_PX and self.weight_change < 1e-2:
                break
            width = max(1.0, width / 2)

    def moments(self) -> Array:
        """Return the pairs' moments times what they are worth, the stage's opinion included."""
        precision = self.weight / (self.beliefs.noise_squared + self.pairs.count * self.misfit)
        return np.asarray(precision[:, None, None] * self.pairs.moments + self.stage)

    def _step(self) -> float:
        """Do one Gauss-Newton step; return how far a corner moved at most, units."""
        moments = self.moments()
        equations = build_equations(
            self.pattern, self.pairs, self.tiles, self.motion, moments, self.model, self.strain_weight
        )
        reached = False
        # a factor of another matrix is a good preconditioner only while weights and misfit are much the same
        alike = self.weight_change < 0.5 and 0.7 < (self.misfit + 1e-12) / (self.factored_misfit + 1e-12) < 1.4
        if self.factor is not None and alike and len(self.tiles) > FACTOR_ALWAYS:
            step, reached = conjugate_gradients(equations.matrix, -equations.gradient, self.factor, most=12)
        if not reached:
            self.factor = factorise(equations.matrix)
            self.factored_misfit = self.misfit
            step = self.factor.solve(-equations.gradient)
        if not np.isfinite(step).all():
            msg = f"the solve of {len(self.tiles)} tiles diverged"
            raise SolveError(msg)
        before = self.motion
        after = self._descended(equations.spread(step), moments)
        self.motion = without_drift(after, self.tiles, self.component, self.model)
        change = self.motion - before
        return float((np.abs(change[:, :, :2]).sum(2) * self.tiles.half[:, None] + np.abs(change[:, :, 2])).max())

    def _descended(self, step: Array, moments: Array) -> Array:
        """Return the motions after a step, shortened until the sum of squares does not grow."""
        basis = tangents(self.motion, self.model)
        now = float(squares(joined(self.motion, self.pairs, self.tiles), moments).sum())
        after = stepped(self.motion, basis, step, self.model)
        if self.model != "rigid":  # linear in the unknowns but for the strain: the full step is the minimum
            return after
        for _ in range(MAX_HALVINGS):
            then = float(squares(joined(after, self.pairs, self.tiles), moments).sum())
            if then <= now * (1 + 1e-9) + 1e-12:
                return after
            step = step / 2
            after = stepped(self.motion, basis, step, self.model)
        return after

    def _limit(self, width: float) -> tuple[Array, Array]:
        """Return the kernel's squared width for each pair, and how far off each seam is, squared."""
        now = squares(joined(self.motion, self.pairs, self.tiles), self.pairs.moments)
        excess = np.maximum(0, now - self.beliefs.own) / self.pairs.count
        expected = self.unknowns * self.beliefs.noise_squared / self.pairs.count
        trusted = self.weight > 0.5
        typical = float(np.median(excess[trusted])) if trusted.any() else 0.0
        # a start bent by wrong pairs must not widen the kernel, first steps that are not there yet may
        typical = min(typical, max(self.beliefs.loop_sigma, UNSETTLED) ** 2)
        self.misfit = max(0.0, typical - float(np.median(expected)))
        scale = np.maximum(2.2 * typical, expected)  # 1.4826 squared: as a standard deviation
        return (WIDTH * width) ** 2 * scale, excess

    def _reweigh(self, width: float) -> None:
        """Set the weights from how far each seam lies from what its pair alone says."""
        limit, excess = self._limit(width)
        self.weight = np.where(self.beliefs.barred, 0.0, (limit / (limit + excess)) ** 2)
