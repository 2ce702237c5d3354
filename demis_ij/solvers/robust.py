"""The robust solve of one layout, all at once: Gauss-Newton steps, weights a pair, a second look where it is needed.

Weights are Geman-McClure's on how far a seam lies from what its pair alone says, the kernel's width learnt from all
pairs and narrowed step by step (graduated non-convexity, Yang 2020, doi:10.1109/LRA.2020.2965893).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from demis_ij.errors import SolveError
from demis_ij.geometry import DEGREES_OF_FREEDOM
from demis_ij.solvers.beliefs import Beliefs, form_beliefs
from demis_ij.solvers.components import label_components, surroundings, without_drift
from demis_ij.solvers.contested import SecondLook
from demis_ij.solvers.linear_steps import linear_steps
from demis_ij.solvers.normal_equations import build_blocks
from demis_ij.solvers.residuals import Worth, squares_of, weighted_squares
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.strain import STRETCHED, strain_squares
from demis_ij.solvers.tables import ACROSS, IN_PLANE, Array, Flags, PairTable, Rows, TileTable
from demis_ij.solvers.tangents import stepped, tangents
from demis_ij.solvers.threads import ALONE, Threads

WIDTH = 4.0  # a pair counts little when it is off by more than so many typical seams
FIRST_WIDTH = 8.0  # times WIDTH at the first step
MAX_STEPS = 60
USUAL_STEPS = 14  # for telling how far it is
MAX_RECONSIDERATIONS = 8
HALO = 4  # tiles around those that are reconsidered that move with them at once
FEW, FEW_TILES = (
    1e-3,
    0.1,
)  # shares: of pairs that change, and of tiles around them, up to which these are settled alone
MAX_HALVINGS = 12  # of a step that would make things worse
UNSETTLED = 5e-3  # units (half a tile): what the first steps may leave a right seam off by


@dataclass(frozen=True)
class Still:
    """When a solve has settled.

    No corner moved by more than ``px``, or nothing by more than so many of its standard deviations; and no weight
    changed by more than ``weight``.
    """

    px: float
    sigmas: float
    weight: float


STILL, NEARLY_STILL = Still(3e-3, 0.03, 1e-2), Still(1.0, 0.5, 0.05)


class RobustSolve:
    """The layout while it is solved: all components at once, which are independent blocks of one matrix."""

    def __init__(
        self,
        settings: SolveSettings,
        tiles: TileTable,
        pairs: PairTable,
        beliefs: Beliefs,
        threads: Threads = ALONE,
        step_done: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        self.settings = settings
        self.threads = threads
        self.step_done = step_done
        self.steps = 0
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
        self.misfit = np.zeros(2)  # squared, by class: what right pairs are off by, beyond their noise
        self.factored_misfit = np.zeros(2)
        self.weight_change = 0.0
        self.turned = 0.0  # share of the pairs whose weight changed by half or more
        self.decrement = np.inf  # of the last step: no length or turn of it was more than so many standard deviations
        self.first_width = FIRST_WIDTH if self.robust else 1.0
        self.still = STILL
        self.frozen: Array | None = None  # squared scale of each pair's seam, where it is not learnt here

    def start_from(self, other: RobustSolve) -> None:
        """Go on from the solution of a stiffer model: its motions and weights, not its misfit, which may be stretch."""
        self.motion, self.weight = other.motion, other.weight.copy()
        self.steps, self.first_width = other.steps, 1.0

    def run(self) -> Array:
        """Return the motions (n, 2, 3); the final weights stay in ``weight``."""
        if self.tiles.locked.all():
            if len(self.pairs) and self.robust:
                self._reweigh(1.0)
            return self.motion
        self.linear = linear_steps(self.tiles, self.pairs, self.model, self.threads)
        self._settle(self.first_width)
        if self.robust and self._reconsidered():
            self._settle(1.0)
        return self.motion

    def _reconsidered(self) -> bool:
        """Look again at tiles whose pairs are contested; return whether any got another reading."""
        second = SecondLook(self.tiles, self.pairs, self.beliefs, turn=self.model != "translation")
        for number in range(MAX_RECONSIDERATIONS):
            limit = self._limit(1.0)[0]
            other = second.weights(self.motion, self.weight, limit / WIDTH**2)
            if other is None:
                return number > 0
            self._polish(other, limit)
        return True

    def _polish(self, weight: Array, limit: Array) -> None:
        """Solve with other weights, where they are others; all that is further than `HALO` tiles away stays.

        What is left of it, the smooth change that reaches further, is for steps of the whole.
        """
        near = self._around(np.abs(weight - self.weight) > 1e-3, limit)
        near.part.weight = weight[near.pairs]
        for _ in range(2):  # the tile has to get there before its pairs are judged
            near.part._step()
        self.weight = weight.copy()
        self._take_over(near)

    def _settle_near(self, restless: Flags) -> None:
        """Settle the surroundings of pairs that still change their weight, where these are few.

        A tile that turns from one reading to another takes many small steps, of which the others need none.
        """
        if self.frozen is not None or restless.mean() > FEW:
            return
        near = self._around(restless, self._limit(1.0)[0])
        near.part.still = self.still
        if len(near.tiles) <= FEW_TILES * len(self.tiles):
            self._take_over(near)

    def _around(self, which: Flags, limit: Array) -> _Part:
        """Return the solve of what lies up to `HALO` tiles from some pairs, held by what lies outside."""
        inside, pairs = surroundings(len(self.tiles), self.pairs, which, HALO)
        rows = np.flatnonzero(inside)
        held = self.tiles.where(rows)
        inner = surroundings(len(self.tiles), self.pairs, which, HALO - 1)[0][rows]
        held = replace(held, locked=held.locked | ~inner)
        near = self.pairs.only(pairs).renumbered(rows)
        part = RobustSolve(self.settings, held, near, self.beliefs.only(pairs), self.threads)
        part.motion, part.weight, part.misfit = self.motion[rows], self.weight[pairs], self.misfit
        part.frozen = limit[pairs] / WIDTH**2
        part.linear = linear_steps(held, near, self.model, self.threads)
        return _Part(part, rows, pairs)

    def _take_over(self, near: _Part) -> None:
        """Settle a part, and put it in its place."""
        near.part._settle(1.0)
        self.motion, self.weight = self.motion.copy(), self.weight.copy()
        self.motion[near.tiles] = near.part.motion
        self.weight[near.pairs] = near.part.weight

    def _settle(self, width: float) -> None:
        """Step and reweigh until neither motions nor weights change, the kernel narrowing to a width of one."""
        for _ in range(MAX_STEPS):
            moved = self._step()
            self.steps += 1
            self.step_done(self.steps, max(USUAL_STEPS, self.steps))
            before = self.weight
            if self.robust:
                self._reweigh(width)
            self._compare(before)
            if self.robust and width == 1.0 and self.weight_change >= self.still.weight:
                self._settle_near(np.abs(self.weight - before) >= self.still.weight)
            still = moved * self.tiles.unit_px < self.still.px or self.decrement < self.still.sigmas
            if width == 1.0 and still and self.weight_change < self.still.weight:
                break
            width = max(1.0, width / 2)

    def _compare(self, before: Array) -> None:
        """Note how much the weights have changed."""
        change = np.abs(self.weight - before)
        self.weight_change = float(change.max(initial=0))
        self.turned = float((change >= 0.5).mean()) if len(change) else 0.0

    def worth(self) -> Worth:
        """Return what the pairs are worth now."""
        variance = self.beliefs.noise_squared + self.pairs.count * self.misfit[self.pairs.kind]
        return Worth(self.weight, self.weight / variance, 1 / self.beliefs.stage_sigma**2)

    def _step(self) -> float:
        """Do one Gauss-Newton step; return how far a corner moved at most, units."""
        worth = self.worth()
        blocks = build_blocks(self.pairs, self.tiles, self.motion, worth, self.model, self.strain_weight, self.threads)
        # what was made for another matrix is of use only while weights and misfit are much the same
        change = (self.misfit + 1e-12) / (self.factored_misfit + 1e-12)
        alike = self.turned <= self.linear.tolerated and bool(((change > 0.7) & (change < 1.4)).all())
        step, renewed = self.linear.solve(blocks, self.motion, alike=alike)
        if renewed:
            self.factored_misfit = self.misfit.copy()
        if not np.isfinite(step).all():
            msg = f"the solve of {len(self.tiles)} tiles diverged"
            raise SolveError(msg)
        self.decrement = float(np.sqrt(max(0.0, -np.einsum("nd,nd->", blocks.gradient, step))))
        before = self.motion
        after = self._descended(step, worth)
        self.motion = without_drift(after, self.tiles, self.component, turn=self.model != "translation")
        change = self.motion - before
        return float((np.abs(change[:, :, :2]).sum(2) * self.tiles.half[:, None] + np.abs(change[:, :, 2])).max())

    def _descended(self, step: Array, worth: Worth) -> Array:
        """Return the motions after a step, shortened until the sum of squares does not grow."""
        basis = tangents(self.motion, self.model)
        after = stepped(self.motion, basis, step, self.model)
        if self.model == "translation":  # linear in the unknowns: the full step is the minimum
            return after
        now = self.cost(self.motion, worth)
        for _ in range(MAX_HALVINGS):
            if self.cost(after, worth) <= now * (1 + 1e-9) + 1e-12:
                return after
            step = step / 2
            after = stepped(self.motion, basis, step, self.model)
        return after

    def cost(self, motion: Array, worth: Worth) -> float:
        """Return the sum of squares that a step makes smaller; infinite where a tile is folded."""
        if self.model not in STRETCHED:
            return weighted_squares(motion, self.pairs, self.tiles, worth, self.threads)
        if not (np.linalg.det(motion[:, :, :2]) > 0).all():
            return float("inf")
        strain = self.strain_weight * strain_squares(motion)
        return strain + weighted_squares(motion, self.pairs, self.tiles, worth, self.threads, by_size=True)

    def _limit(self, width: float) -> tuple[Array, Array]:
        """Return the kernel's squared width for each pair, and how far off each seam is, squared."""
        now = squares_of(self.motion, self.pairs, self.tiles, self.threads)
        excess = np.maximum(0, now - self.beliefs.own) / self.pairs.count
        if self.frozen is not None:
            return (WIDTH * width) ** 2 * self.frozen, excess
        expected = self.unknowns * self.beliefs.noise_squared / self.pairs.count
        scale = np.empty(len(self.pairs))
        for kind in (IN_PLANE, ACROSS):
            rows = self.pairs.kind == kind
            if not rows.any():
                continue
            trusted = rows & (self.weight > 0.5)
            typical = float(np.median(excess[trusted])) if trusted.any() else 0.0
            # a start bent by wrong pairs must not widen the kernel, first steps that are not there yet may
            typical = min(typical, max(float(self.beliefs.loop_sigma[kind]), UNSETTLED) ** 2)
            self.misfit[kind] = max(0.0, typical - float(np.median(expected[rows])))
            scale[rows] = np.maximum(2.2 * typical, expected[rows])  # 1.4826 squared: as a standard deviation
        return (WIDTH * width) ** 2 * scale, excess

    def _reweigh(self, width: float) -> None:
        """Set the weights from how far each seam lies from what its pair alone says."""
        limit, excess = self._limit(width)
        self.weight = np.where(self.beliefs.barred, 0.0, (limit / (limit + excess)) ** 2)


@dataclass(frozen=True, eq=False)
class _Part:
    """A solve of some of the tiles and pairs."""

    part: RobustSolve
    tiles: Rows
    pairs: Rows


def robust_solution(
    tiles: TileTable,
    pairs: PairTable,
    settings: SolveSettings,
    threads: Threads = ALONE,
    step_done: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Array, Worth]:
    """Return the motions (n, 2, 3) of a layout, and what its pairs are worth at them.

    Tiles that may be stretched are solved rigid first: that finds the wrong pairs, which soft tiles would give way to,
    and the turns, so that only small steps are left.

    Parameters
    ----------
    tiles, pairs, settings
        The problem; every tile has a pair.
    threads : Threads
        Who works.
    step_done : callable
        Told (steps done, steps in all, which is a guess).
    """

    def prepared(how: SolveSettings) -> RobustSolve:
        model = how.tile_model
        beliefs = form_beliefs(tiles, pairs, model, how.stage_sigma_px, robust=how.robust)
        return RobustSolve(how, tiles, pairs, beliefs, threads, step_done)

    solve = prepared(settings)
    if settings.tile_model in STRETCHED:
        stiff = prepared(replace(settings, model="rigid"))
        stiff.still = NEARLY_STILL
        stiff.run()
        solve.start_from(stiff)
        del stiff
    motion = solve.run()
    return motion, solve.worth()
