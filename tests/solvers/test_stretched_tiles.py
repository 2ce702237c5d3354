"""Similarity and affine tiles: the cost is what the steps make smaller, however far the stage is off."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.solvers.beliefs import form_beliefs
from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.normal_equations import build_blocks
from demis_ij.solvers.robust import RobustSolve
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.tangents import stepped, tangents
from demis_ij.testing.simulated_columns import simulate_grid


@pytest.mark.parametrize("seed", range(3))
def test_exact_matches_along_a_line_with_a_stage_far_off_do_not_blow_affine_tiles_up(seed: int) -> None:
    # nothing but their stiffness holds the tiles across the seam, and the first residuals are thousands of sigmas
    made = simulate_grid(
        1,
        12,
        np.random.default_rng(seed),
        overlap=1e-4,
        matches=20,
        noise_px=0.02,
        shift_frac=0.1,
        turn_deg=0.5,
    )

    solved = solve_columns(made.tiles(), made.pairs(), SolveSettings(model="affine"))

    assert made.corner_errors(solved.motion).max() < 10  # px: a tile's side may be stretched by 1 %
    assert (solved.weight > 0.5).all()


@pytest.mark.parametrize("model", ["similarity", "affine"])
def test_the_gradient_is_the_slope_of_the_cost_with_residuals_as_large_as_tiles(model: str) -> None:
    made = simulate_grid(3, 3, np.random.default_rng(3), shift_frac=0.3, turn_deg=20)
    tiles, pairs = made.tiles(), made.pairs()
    beliefs = form_beliefs(tiles, pairs, model, 30.0, robust=True)
    solve = RobustSolve(SolveSettings(model=model), tiles, pairs, beliefs)
    rng = np.random.default_rng(4)
    motion = np.tile(np.eye(2, 3), (9, 1, 1)) + rng.normal(0, 0.1, (9, 2, 3))
    basis, worth = tangents(motion, model), solve.worth()
    change = rng.standard_normal(basis.shape[:2])

    blocks = build_blocks(pairs, tiles, motion, worth, model, solve.strain_weight)

    ahead, behind = (solve.cost(stepped(motion, basis, h * change, model), worth) for h in (1e-5, -1e-5))
    assert np.vdot(blocks.gradient, change) == pytest.approx((ahead - behind) / 4e-5, rel=1e-5)


@pytest.mark.parametrize("model", ["similarity", "affine"])
def test_a_mosaic_made_smaller_or_turned_as_a_whole_costs_the_pairs_nothing(model: str) -> None:
    made = simulate_grid(3, 3, np.random.default_rng(5))
    tiles, pairs = made.tiles(), made.pairs()
    solve = RobustSolve(SolveSettings(model=model), tiles, pairs, form_beliefs(tiles, pairs, model, 30.0, robust=True))
    solve.strain_weight = 0.0
    motion = np.tile(np.eye(2, 3), (9, 1, 1))
    whole = 0.5 * np.array([[0.8, -0.6], [0.6, 0.8]])
    other = motion.copy()
    other[:, :, :2], other[:, :, 2] = whole, tiles.centre @ whole.T - tiles.centre
    worth = solve.worth()

    assert solve.cost(other, worth) == pytest.approx(solve.cost(motion, worth), rel=1e-9)


def test_tiles_stretched_by_much_are_not_taken_for_stiff_ones_with_bad_matches() -> None:
    made = simulate_grid(12, 12, np.random.default_rng(6), stretch=0.02, wrong=0.02)
    steps: list[int] = []

    solved = solve_columns(
        made.tiles(),
        made.pairs(),
        SolveSettings(model="affine", uncertainty=False),
        progress=lambda what, done, of: steps.append(done),
    )

    assert (solved.weight[made.wrong] < 0.05).all()
    assert (solved.weight[~made.wrong] > 0.05).all()
    # px: matches have 0.7 px an axis; rigid tiles leave ten
    assert np.median(solved.residual_px[~made.wrong]) < 1.1
    assert len(steps) < 40, "it settles, far from the most steps that are made"
