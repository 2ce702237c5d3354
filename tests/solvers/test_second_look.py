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
