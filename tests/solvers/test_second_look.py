"""Tiles most of whose pairs are wrong: another reading is tried, and solved for near them only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from demis_ij.solvers import robust
from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.settings import SolveSettings
from demis_ij.testing.simulated_columns import Simulated, simulate_grid

QUICK = SolveSettings(uncertainty=False)


def grid_with_wrong_pairs(tile: int, right: int, seed: int, side: int = 14) -> Simulated:
    """Return a grid in which all but some pairs of one tile are wrong."""
    good, bad = (simulate_grid(side, side, np.random.default_rng(seed), wrong=share) for share in (0.0, 1.0))
    at = np.flatnonzero((good.fixed == tile) | (good.moving == tile))
    wrong = np.zeros(len(good.fixed), bool)
    wrong[np.random.default_rng(seed).permutation(at)[right:]] = True
    return replace(good, sums=np.where(wrong[:, None], bad.sums, good.sums), wrong=wrong)


@pytest.mark.parametrize("tile", [0, 6, 90])  # at a corner, at an edge, inside
def test_one_right_pair_of_a_tile_is_found_among_wrong_ones(tile: int) -> None:
    for seed in range(8):
        made = grid_with_wrong_pairs(tile, 1, seed)

        solved = solve_columns(made.tiles(), made.pairs(), QUICK)

        assert (solved.weight[made.wrong] < 0.05).all()
        assert (solved.weight[~made.wrong] > 0.05).all()
        assert made.corner_errors(solved.motion).max() < 2  # px


def test_a_second_look_is_solved_near_the_tile_and_ends_where_a_solve_of_everything_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    usual = robust.linear_steps

    def counted(tiles: robust.TileTable, *rest: object) -> object:
        sizes.append(len(tiles))
        return usual(tiles, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(robust, "linear_steps", counted)
    looked = 0
    for seed in (0, 2, 5):
        made = simulate_grid(22, 22, np.random.default_rng(seed), wrong=0.08)
        sizes.clear()
        near = solve_columns(made.tiles(), made.pairs(), QUICK)
        small = sizes[1:]
        with monkeypatch.context() as patch:
            patch.setattr(robust, "HALO", 40)
            whole = solve_columns(made.tiles(), made.pairs(), QUICK)

        looked += len(small)
        assert all(size < 100 for size in small), "of 484 tiles"
        np.testing.assert_allclose(near.weight, whole.weight, atol=1e-2)
        errors = made.corner_errors(near.motion), made.corner_errors(whole.motion)
        np.testing.assert_allclose(*errors, atol=1e-2)  # px: both stop when little moves
    assert looked, "some tile is looked at again"


@pytest.mark.parametrize("seed", [400, 403, 410, 413, 420, 423, 437])
def test_two_right_pairs_across_outweigh_a_sharper_wrong_pair_in_the_section(seed: int) -> None:
    # all four pairs of the tile in its section are wrong; one of them lies some 50 px off, and is ten times as sharp
    good, bad = (
        simulate_grid(
            7,
            7,
            np.random.default_rng(seed),
            wrong=share,
            sections=3,
            section_turn_deg=20,
            section_shift_px=2000,
            misfit_across_px=2,
        )
        for share in (0.0, 1.0)
    )
    tile = 49 + 24
    wrong = ((good.fixed == tile) | (good.moving == tile)) & (good.section[good.fixed] == good.section[good.moving])
    made = replace(good, sums=np.where(wrong[:, None], bad.sums, good.sums), wrong=wrong)

    solved = solve_columns(made.tiles(), made.pairs(), QUICK)

    assert (solved.weight[wrong] < 0.05).all()
    assert (solved.weight[~wrong] > 0.05).all()
    assert made.corner_errors(solved.motion)[tile].max() < 8  # px: pairs across have 2 px of noise and 2 px of misfit


def test_a_tile_that_wavers_is_settled_by_itself_and_ends_where_steps_of_everything_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = simulate_grid(40, 40, np.random.default_rng(6), wrong=0.02, stretch=0.003)
    how = SolveSettings(model="similarity", uncertainty=False)
    near_steps: list[int] = []
    whole_steps: list[int] = []
    near = solve_columns(made.tiles(), made.pairs(), how, progress=lambda what, done, of: near_steps.append(done))

    monkeypatch.setattr(robust, "FEW", -1.0)
    whole = solve_columns(made.tiles(), made.pairs(), how, progress=lambda what, done, of: whole_steps.append(done))

    assert max(near_steps) < max(whole_steps)
    np.testing.assert_allclose(near.weight, whole.weight, atol=1e-2)
    errors = made.corner_errors(near.motion), made.corner_errors(whole.motion)
    np.testing.assert_allclose(*errors, atol=2e-2)  # px: both stop when little moves
