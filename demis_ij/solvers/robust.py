"""The robust solve of one layout, all at once: Gauss-Newton steps, weights a pair, a second look where it is needed.

Weights are Geman-McClure's on how far a seam lies from what its pair alone says, the kernel's width learnt from all
pairs and narrowed step by step (graduated non-convexity, Yang 2020, doi:10.1109/LRA.2020.2965893).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import SuperLU

from demis_ij.errors import SolveError
from demis_ij.geometry import DEGREES_OF_FREEDOM
from demis_ij.solvers.beliefs import Beliefs
from demis_ij.solvers.components import label_components, without_drift
from demis_ij.solvers.contested import reconsider
from demis_ij.solvers.direct import conjugate_gradients, factorise
from demis_ij.solvers.normal_equations import build_equations, make_pattern
from demis_ij.solvers.residuals import Worth, squares_of, weighted_squares
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.tables import Array, PairTable, TileTable
from demis_ij.solvers.tangents import stepped, tangents

WIDTH = 4.0  # a pair counts little when it is off by more than so many typical seams
FIRST_WIDTH = 8.0  # times WIDTH at the first step
MAX_STEPS = 60
MAX_RECONSIDERATIONS = 4
MAX_HALVINGS = 12  # of a step that would make things worse
FACTOR_ALWAYS = 500  # tiles up to which a factor is cheaper than a look at whether the old one will do
SETTLED_PX = 3e-3
UNSETTLED = 5e-3  # units (half a tile): what the first steps may leave a right seam off by


class RobustSolve:
    """The layout while it is solved: all components at once, which are independent blocks of one matrix."""

    def __init__(self, settings: SolveSettings, tiles: TileTable, pairs: PairTable, beliefs: Beliefs) -> None:
        self.model = settings.tile_model
        self.robust = settings.robust
        self.tiles = tiles
        self.pairs = pairs
        self.beliefs = beliefs
        self.unknowns = DEGREES_OF_FREEDOM[self.model]
        self.strain_weight = 1 / settings.deformation_frac**2
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

    def worth(self) -> Worth:
        """Return what the pairs are worth now."""
        variance = self.beliefs.noise_squared + self.pairs.count * self.misfit
        return Worth(self.weight, self.weight / variance, 1 / self.beliefs.stage_sigma**2)

    def _step(self) -> float:
        """Do one Gauss-Newton step; return how far a corner moved at most, units."""
        worth = self.worth()
        equations = build_equations(
            self.pattern, self.pairs, self.tiles, self.motion, worth, self.model, self.strain_weight
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
        after = self._descended(equations.spread(step), worth)
        self.motion = without_drift(after, self.tiles, self.component, self.model)
        change = self.motion - before
        return float((np.abs(change[:, :, :2]).sum(2) * self.tiles.half[:, None] + np.abs(change[:, :, 2])).max())

    def _descended(self, step: Array, worth: Worth) -> Array:
        """Return the motions after a step, shortened until the sum of squares does not grow."""
        basis = tangents(self.motion, self.model)
        now = weighted_squares(self.motion, self.pairs, self.tiles, worth)
        after = stepped(self.motion, basis, step, self.model)
        if self.model != "rigid":  # linear in the unknowns but for the strain: the full step is the minimum
            return after
        for _ in range(MAX_HALVINGS):
            then = weighted_squares(after, self.pairs, self.tiles, worth)
            if then <= now * (1 + 1e-9) + 1e-12:
                return after
            step = step / 2
            after = stepped(self.motion, basis, step, self.model)
        return after

    def _limit(self, width: float) -> tuple[Array, Array]:
        """Return the kernel's squared width for each pair, and how far off each seam is, squared."""
        now = squares_of(self.motion, self.pairs, self.tiles)
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
