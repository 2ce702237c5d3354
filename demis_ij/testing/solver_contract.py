"""What every solver promises, as checks that any solver can be put through.

    @pytest.mark.parametrize("check", solver_contract.CHECKS)
    def test_my_solver_keeps_the_contract(check):
        check(MySolver())

A check raises `AssertionError` with what was found. The solver must move tiles rigidly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from demis_ij.errors import InputError
from demis_ij.protocols import Solver
from demis_ij.records import Affine, Layout, Solution
from demis_ij.testing.grids import corner_errors, make_grid, make_pair


def assert_complete(solution: Solution, layout: Layout, pairs: int) -> None:
    """Check that every tile and every pair has its say, with finite places."""
    assert solution.layout.ids == layout.ids, "the solved layout must hold the input's tiles in their order"
    for before, after in zip(layout, solution.layout, strict=True):
        assert replace(after, to_world=before.to_world) == before, f"tile {before.id}: more than its place changed"
        assert np.isfinite(after.to_world.matrix).all(), f"tile {before.id}: {after.to_world}"
    assert set(solution.component) == set(layout.ids), "every tile belongs to a component"
    assert set(solution.sigma_px) == set(layout.ids), "every tile has a sigma"
    assert all(not math.isnan(s) and s >= 0 for s in solution.sigma_px.values()), "a sigma is a number or inf"
    assert len(solution.pair_residual_px) == pairs, "every pair has a residual"
    assert len(solution.pair_sigma_px) == pairs, "every pair has an expected error"
    assert all(0 <= w <= 1 for w in solution.pair_weight.values()), "weights lie in [0, 1]"
    sizes = solution.component_sizes
    assert sizes == sorted(sizes, reverse=True), f"component 0 is the largest: {sizes}"


def recovers_a_jittered_grid(solver: Solver) -> None:
    """Tiles end where they really are, up to the motion of the whole."""
    grid = make_grid(4, 4, np.random.default_rng(1), noise_px=0.0)
    solution = solver(grid.layout, grid.pairs)
    assert_complete(solution, grid.layout, len(grid.pairs))
    error = corner_errors(solution.layout, grid.truth).max()
    assert error < 0.01, f"corner error {error:.4f} px without noise"  # a hundredth of a pixel: nobody can see it
    assert solution.component_sizes == [16]
    assert all(math.isfinite(s) for s in solution.sigma_px.values())


def averages_noise(solver: Solver) -> None:
    """Errors stay near what 40 matches of 0.5 px allow, and `sigma_px` says so."""
    grid = make_grid(5, 5, np.random.default_rng(2))
    solution = solver(grid.layout, grid.pairs)
    error = float(np.median(corner_errors(solution.layout, grid.truth)))
    assert error < 0.5, f"median corner error {error:.3f} px"  # one pair alone has 0.23 px (benchmarks/solvers.py)
    sigma = float(np.median(list(solution.sigma_px.values())))
    assert 0.02 < sigma < 0.5, f"median sigma {sigma:.3f} px"


def order_of_pairs_does_not_matter(solver: Solver) -> None:
    """Shuffled pairs give the same places."""
    grid = make_grid(3, 4, np.random.default_rng(3), wrong=0.1)
    shuffled = [grid.pairs[k] for k in np.random.default_rng(0).permutation(len(grid.pairs))]
    first, second = solver(grid.layout, grid.pairs), solver(grid.layout, shuffled)
    for a, b in zip(first.layout, second.layout, strict=True):
        np.testing.assert_allclose(a.world_corners, b.world_corners, atol=1e-6, err_msg=a.id)  # px: rounding


def inputs_are_left_alone(solver: Solver) -> None:
    """Solving changes neither layout nor points."""
    grid = make_grid(2, 2, np.random.default_rng(4))
    before = [(p.fixed_xy.copy(), p.moving_xy.copy(), p.covariance.copy()) for p in grid.pairs]
    places = [t.to_world for t in grid.layout]
    solver(grid.layout, grid.pairs)
    assert [t.to_world for t in grid.layout] == places
    for pair, (fixed, moving, covariance) in zip(grid.pairs, before, strict=True):
        assert (pair.fixed_xy == fixed).all()
        assert (pair.moving_xy == moving).all()
        assert (pair.covariance == covariance).all()


def islands_follow_their_neighbours_and_are_reported(solver: Solver) -> None:
    """Check that a tile without pairs lies where the stage has it relative to the tiles around, and has no sigma."""
    grid = make_grid(3, 7, np.random.default_rng(5), turn_deg=0, shift_frac=0, noise_px=0.0)
    # the stage is wrong by one shift everywhere but at a locked tile, out of the island's reach
    moved = {name: Affine.translation(70, -40) @ place for name, place in grid.truth.items()}
    tiles = (replace(t, locked=True, to_world=moved[t.id]) if t.id == "1_0" else t for t in grid.layout)
    locked = Layout(tuple(tiles))
    pairs = [p for p in grid.pairs if "1_5" not in (p.fixed, p.moving)]
    solution = solver(locked, pairs)
    assert_complete(solution, locked, len(pairs))
    assert sorted(solution.component.values()) == [0] * 20 + [1]
    assert solution.component["1_5"] == 1
    assert solution.sigma_px["1_5"] == math.inf
    island = solution.layout["1_5"].world_corners - moved["1_5"](locked["1_5"].corners)
    # all around it was shifted by the same amount, so it must be, too; px, without noise
    assert np.abs(island).max() < 0.02, f"the island is {np.abs(island).max():.2f} px off"


def two_components_keep_their_stage_places(solver: Solver) -> None:
    """Each part is solved by itself and lies near where the stage had it."""
    grid = make_grid(2, 7, np.random.default_rng(6), shift_frac=0.01)
    pairs = [p for p in grid.pairs if not {p.fixed[2:], p.moving[2:]} & {"3"}]
    solution = solver(grid.layout, pairs)
    assert solution.component_sizes == [6, 6, 1, 1]
    for col in ((0, 1, 2), (4, 5, 6)):
        part = Layout(tuple(t for t in solution.layout if int(t.id[2:]) in col))
        assert corner_errors(part, grid.truth).max() < 1.5  # px: three columns, 0.5 px a match
        mean = np.mean([t.world_corners - grid.layout[t.id].world_corners for t in part], axis=(0, 1))
        assert np.abs(mean).max() < 31  # px: as far as the stage was made wrong (10 px) and islands follow each other


def locked_tiles_do_not_move(solver: Solver) -> None:
    """Locked tiles keep their transform exactly, and the others come to them."""
    grid = make_grid(3, 3, np.random.default_rng(7), noise_px=0.0)
    fixed = {"0_0", "2_1"}
    layout = Layout(
        tuple(replace(t, locked=True, to_world=grid.truth[t.id]) if t.id in fixed else t for t in grid.layout)
    )
    solution = solver(layout, grid.pairs)
    for name in fixed:
        assert solution.layout[name].to_world == layout[name].to_world, f"locked tile {name} moved"
    for tile in solution.layout:
        off = np.abs(tile.world_corners - grid.truth[tile.id](tile.corners)).max()
        assert off < 0.01, f"tile {tile.id} is {off:.4f} px from the truth that the locked tiles fix"


def all_locked_is_left_as_it_is(solver: Solver) -> None:
    """With every tile locked nothing moves, and the pairs are still judged."""
    grid = make_grid(2, 2, np.random.default_rng(8))
    layout = Layout(tuple(replace(t, locked=True) for t in grid.layout))
    solution = solver(layout, grid.pairs)
    assert [t.to_world for t in solution.layout] == [t.to_world for t in layout]
    assert len(solution.pair_residual_px) == 4


def two_tiles_are_enough(solver: Solver) -> None:
    """Check that a single pair is closed, and the two tiles share the move."""
    grid = make_grid(1, 2, np.random.default_rng(9), noise_px=0.0)
    solution = solver(grid.layout, grid.pairs)
    assert_complete(solution, grid.layout, 1)
    assert solution.pair_residual_px["0_0", "0_1"] < 0.01  # px, no noise was made
    mean = np.mean([t.world_corners - grid.layout[t.id].world_corners for t in solution.layout], axis=(0, 1))
    assert np.abs(mean).max() < 0.01, f"the two drifted by {mean} px"


def nothing_to_solve_changes_nothing(solver: Solver) -> None:
    """No tile, one tile, and tiles without pairs stay where the stage has them."""
    grid = make_grid(2, 2, np.random.default_rng(10))
    for layout in (Layout(()), Layout(grid.layout.tiles[:1]), grid.layout):
        solution = solver(layout, [])
        assert_complete(solution, layout, 0)
        assert [t.to_world for t in solution.layout] == [t.to_world for t in layout]
        assert all(s == math.inf for s in solution.sigma_px.values())
        assert solution.component_sizes == [1] * len(layout)


def all_pairs_wrong_still_ends(solver: Solver) -> None:
    """With every pair grossly wrong the result is complete and finite."""
    grid = make_grid(3, 3, np.random.default_rng(11), wrong=1.0)
    assert_complete(solver(grid.layout, grid.pairs), grid.layout, len(grid.pairs))


def a_lens_part_is_kept(solver: Solver) -> None:
    """Check that what a transform holds besides its place (scale, shear) comes out as it went in."""
    grid = make_grid(2, 2, np.random.default_rng(12), noise_px=0.0)
    lens = Affine(1.02, 0.013, -0.004, 0.99, 3.0, -2.0)
    layout = Layout(tuple(replace(t, to_world=t.to_world @ lens) for t in grid.layout))
    pairs = [make_pair(p.fixed, p.moving, lens.inverse(p.fixed_xy), lens.inverse(p.moving_xy)) for p in grid.pairs]
    solution = solver(layout, pairs)
    shape = np.array([[1.02, 0.013], [-0.004, 0.99]])
    for tile in solution.layout:
        linear = tile.to_world.matrix[:2, :2]
        # a turn leaves the metric as it was
        np.testing.assert_allclose(linear.T @ linear, shape.T @ shape, atol=1e-9, err_msg=tile.id)
    truth = {name: place @ lens for name, place in grid.truth.items()}
    assert corner_errors(solution.layout, truth).max() < 0.01  # px, no noise was made


def a_stranger_is_refused(solver: Solver) -> None:
    """Check that a pair with a tile the layout lacks is refused, and the message names the tile."""
    grid = make_grid(1, 2, np.random.default_rng(13))
    stranger = replace(grid.pairs[0], moving="nobody")
    said = ""
    try:
        solver(grid.layout, [stranger])
    except InputError as error:
        said = str(error)
    assert "nobody" in said, "a pair with an unknown tile needs an InputError that names it"


CHECKS: tuple[Callable[[Solver], None], ...] = (
    recovers_a_jittered_grid,
    averages_noise,
    order_of_pairs_does_not_matter,
    inputs_are_left_alone,
    islands_follow_their_neighbours_and_are_reported,
    two_components_keep_their_stage_places,
    locked_tiles_do_not_move,
    all_locked_is_left_as_it_is,
    two_tiles_are_enough,
    nothing_to_solve_changes_nothing,
    all_pairs_wrong_still_ends,
    a_lens_part_is_kept,
    a_stranger_is_refused,
)
