"""Laws of the default solver: recovery in every model, equivariance, robustness, islands, uncertainty."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from demis_ij.records import Affine, Layout
from demis_ij.solvers.sparse import SparseSolver
from demis_ij.testing.grids import Grid, corner_errors, make_grid, make_pair

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)


def deformed_grid(model: str, seed: int, noise_px: float = 0.0, rows: int = 4, cols: int = 4) -> Grid:
    """Return a grid whose tiles really are deformed as the model allows (1 % of scale or shear)."""
    rng = np.random.default_rng(seed)
    grid = make_grid(rows, cols, rng, turn_deg=0 if model == "translation" else 2, noise_px=0.0)
    truth = {}
    for name, place in grid.truth.items():
        extra = np.zeros((2, 2))
        if model == "similarity":
            extra = np.eye(2) * rng.normal(0, 0.005)
        elif model == "affine":
            extra = rng.normal(0, 0.005, (2, 2))
        linear = Affine(1 + extra[0, 0], extra[0, 1], extra[1, 0], 1 + extra[1, 1])
        truth[name] = place @ Affine.about(linear, (511.5, 511.5))
    pairs = []
    for p in grid.pairs:
        fixed = p.fixed_xy
        moving = truth[p.moving].inverse(truth[p.fixed](fixed))
        shape = fixed.shape
        pairs.append(
            make_pair(
                p.fixed, p.moving, fixed + rng.normal(0, noise_px, shape), moving + rng.normal(0, noise_px, shape)
            )
        )
    return Grid(grid.layout, truth, pairs, frozenset())


def seam_errors(solved: Layout, grid: Grid) -> np.ndarray:
    """Return how far the two tiles of each pair are apart at points that are the same in truth, px."""
    out = []
    for p in grid.pairs:
        world = grid.truth[p.fixed](p.fixed_xy)
        in_fixed, in_moving = grid.truth[p.fixed].inverse(world), grid.truth[p.moving].inverse(world)
        out.append(np.linalg.norm(solved[p.fixed].to_world(in_fixed) - solved[p.moving].to_world(in_moving), axis=1))
    return np.concatenate(out)


@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine", "homography"])
@few
@given(seed=seeds)
def test_without_noise_every_seam_of_the_models_own_truth_closes(model: str, seed: int) -> None:
    grid = deformed_grid("affine" if model == "homography" else model, seed)

    solution = SparseSolver(model)(grid.layout, grid.pairs)

    # px; the weak pull of stage and stiffness (1e-5 of a match) is what is left
    assert seam_errors(solution.layout, grid).max() < 0.02


@few
@given(seed=seeds)
def test_rigid_tiles_are_recovered_up_to_the_motion_of_the_whole(seed: int) -> None:
    grid = make_grid(3, 4, np.random.default_rng(seed), noise_px=0.0)

    solution = SparseSolver()(grid.layout, grid.pairs)

    assert corner_errors(solution.layout, grid.truth).max() < 2e-3  # px; the stage pulls with 1e-5 of a match


@few
@given(seed=seeds, wrong=st.sampled_from([0.0, 0.05]))
def test_the_order_of_pairs_changes_nothing_at_all(seed: int, wrong: float) -> None:
    grid = make_grid(3, 3, np.random.default_rng(seed), wrong=wrong)
    shuffled = [grid.pairs[k] for k in np.random.default_rng(seed).permutation(len(grid.pairs))]

    first, second = SparseSolver()(grid.layout, grid.pairs), SparseSolver()(grid.layout, shuffled)

    assert [t.to_world for t in first.layout] == [t.to_world for t in second.layout]
    assert first.sigma_px == second.sigma_px
    assert first.pair_weight == second.pair_weight


@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
@few
@given(seed=seeds, x=st.floats(-1e5, 1e5), y=st.floats(-1e5, 1e5), turn=st.floats(-math.pi, math.pi))
def test_moving_the_stage_moves_the_solution_along(model: str, seed: int, x: float, y: float, turn: float) -> None:
    grid = make_grid(3, 3, np.random.default_rng(seed), wrong=0.05)
    assume(len(grid.wrong) <= 1)  # two of twelve may leave two readings that are equally good
    world = Affine.rigid(turn, x, y)
    moved = grid.layout.moved({t.id: world @ t.to_world for t in grid.layout})

    here, there = SparseSolver(model)(grid.layout, grid.pairs), SparseSolver(model)(moved, grid.pairs)

    for a, b in zip(here.layout, there.layout, strict=True):
        np.testing.assert_allclose(b.world_corners, world(a.world_corners), atol=0.02)  # px: a few of the last steps


@few
@given(seed=seeds)
def test_swapping_fixed_and_moving_gives_the_same_places(seed: int) -> None:
    grid = make_grid(3, 3, np.random.default_rng(seed), wrong=0.05)
    assume(len(grid.wrong) <= 1)  # two of twelve may leave two readings that are equally good
    swapped = [
        replace(p, fixed=p.moving, moving=p.fixed, fixed_xy=p.moving_xy, moving_xy=p.fixed_xy) for p in grid.pairs
    ]

    first, second = SparseSolver()(grid.layout, grid.pairs), SparseSolver()(grid.layout, swapped)

    for a, b in zip(first.layout, second.layout, strict=True):
        np.testing.assert_allclose(a.world_corners, b.world_corners, atol=0.02)  # px: a few of the last steps


@few
@given(seed=seeds)
def test_the_whole_does_not_drift_from_the_stage(seed: int) -> None:
    grid = make_grid(3, 4, np.random.default_rng(seed))

    solution = SparseSolver()(grid.layout, grid.pairs)

    before = np.stack([t.world_corners for t in grid.layout])
    after = np.stack([t.world_corners for t in solution.layout])
    np.testing.assert_allclose(after.mean((0, 1)), before.mean((0, 1)), atol=1e-6)  # px: rounding
    arm = before - before.mean((0, 1))
    off = after - before
    assert abs((arm[..., 0] * off[..., 1] - arm[..., 1] * off[..., 0]).mean()) < 1e-2  # px^2, of arms of 1000 px


@few
@given(seed=seeds)
def test_locked_tiles_stay_to_the_last_bit_and_pull_the_others_to_them(seed: int) -> None:
    grid = make_grid(3, 3, np.random.default_rng(seed), noise_px=0.0)
    tiles = (replace(t, locked=True, to_world=grid.truth[t.id]) if t.id == "1_1" else t for t in grid.layout)
    layout = Layout(tuple(tiles))

    solution = SparseSolver()(layout, grid.pairs)

    assert solution.layout["1_1"].to_world == grid.truth["1_1"]
    for tile in solution.layout:
        np.testing.assert_allclose(tile.world_corners, grid.truth[tile.id](tile.corners), atol=0.01)  # px: no noise
    assert solution.sigma_px["1_1"] == 0


def test_locked_tiles_that_disagree_do_not_move_and_the_rest_shares_the_error() -> None:
    grid = make_grid(1, 3, np.random.default_rng(0), noise_px=0.0, turn_deg=0, shift_frac=0)
    stage = grid.layout["0_2"].to_world
    tiles = (
        replace(t, locked=t.id != "0_1", to_world=Affine.translation(2, 0) @ stage if t.id == "0_2" else t.to_world)
        for t in grid.layout
    )

    solution = SparseSolver("translation", robust=False)(Layout(tuple(tiles)), grid.pairs)

    assert solution.layout["0_1"].to_world.tx == pytest.approx(grid.layout["0_1"].to_world.tx + 1, abs=1e-3)
    assert solution.layout["0_2"].to_world.tx == stage.tx + 2


# --- wrong pairs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_five_percent_of_wrong_pairs_leave_no_trace_in_a_grid(seed: int) -> None:
    grid = make_grid(12, 12, np.random.default_rng(seed), wrong=0.05)
    clean = [p for p in grid.pairs if (p.fixed, p.moving) not in grid.wrong]

    solution = SparseSolver()(grid.layout, grid.pairs)
    wanted = SparseSolver()(grid.layout, clean)

    assert len(grid.wrong) > 3
    assert all(solution.pair_weight[pair] < 0.05 for pair in grid.wrong)
    difference = corner_errors(solution.layout, {t.id: t.to_world for t in wanted.layout})
    assert difference.max() < 0.1  # px: as if the wrong pairs had not been there, but for the learnt widths


def test_plain_least_squares_would_have_been_bent() -> None:
    grid = make_grid(12, 12, np.random.default_rng(0), wrong=0.05)

    solution = SparseSolver(robust=False)(grid.layout, grid.pairs)

    assert np.median(corner_errors(solution.layout, grid.truth)) > 2  # px; robust: 0.2


def test_a_tile_held_by_a_single_wrong_pair_returns_to_the_stage() -> None:
    grid = make_grid(4, 4, np.random.default_rng(3))
    pairs = [p for p in grid.pairs if "3_3" not in (p.fixed, p.moving)]
    last = next(p for p in grid.pairs if (p.fixed, p.moving) == ("3_2", "3_3"))
    far = Affine.translation(0, 300)(last.moving_xy)

    solution = SparseSolver()(grid.layout, [*pairs, make_pair("3_2", "3_3", last.fixed_xy, far)])

    assert solution.pair_weight["3_2", "3_3"] == 0
    assert solution.component["3_3"] == 1
    assert solution.sigma_px["3_3"] == math.inf
    off = solution.layout["3_3"].world_corners - grid.layout["3_3"].world_corners
    assert np.abs(off).max() < 80  # px: its neighbours were moved by up to 31 px and 18 px of turn, not by 300


def test_a_corner_tile_between_a_right_and_a_wrong_pair_goes_with_the_one_near_the_stage() -> None:
    grid = make_grid(6, 6, np.random.default_rng(4))
    pairs = []
    for p in grid.pairs:
        wrong = (p.fixed, p.moving) == ("4_5", "5_5")
        pairs.append(make_pair(p.fixed, p.moving, p.fixed_xy, Affine.translation(150, 90)(p.moving_xy)) if wrong else p)

    solution = SparseSolver()(grid.layout, pairs)

    assert solution.pair_weight["4_5", "5_5"] < 0.05
    assert solution.pair_weight["5_4", "5_5"] > 0.5
    assert corner_errors(solution.layout, grid.truth).max() < 1.5  # px: the corner hangs on one seam


def test_a_pair_of_tiles_is_believed_although_the_stage_was_wrong_by_a_tenth_of_a_tile() -> None:
    grid = make_grid(1, 2, np.random.default_rng(5), noise_px=0.1)
    layout = grid.layout.moved({"0_1": Affine.translation(100, 40) @ grid.layout["0_1"].to_world})

    solution = SparseSolver()(layout, grid.pairs)

    assert solution.pair_weight["0_0", "0_1"] > 0.9
    assert solution.pair_residual_px["0_0", "0_1"] < 0.5  # px: the noise


def test_a_stage_with_a_wrong_scale_bends_nothing() -> None:
    """A pixel size that is 3 % wrong moves far tiles by hundreds of px: the stage must not pull them back."""
    grid = make_grid(2, 14, np.random.default_rng(6), noise_px=0.0, shift_frac=0)
    layout = grid.layout.moved(
        {t.id: Affine.translation(1.03 * t.to_world.tx, 1.03 * t.to_world.ty) for t in grid.layout}
    )

    solution = SparseSolver()(layout, grid.pairs)

    assert corner_errors(solution.layout, grid.truth).max() < 0.02  # px, after the true motion of the whole


# --- affine tiles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["similarity", "affine"])
def test_noise_does_not_shrink_the_mosaic(model: str) -> None:
    """Least squares on points in the world is smaller for a smaller mosaic; the residuals here are not."""
    grid = make_grid(6, 6, np.random.default_rng(7), noise_px=2.0, turn_deg=0, shift_frac=0)

    solution = SparseSolver(model)(grid.layout, grid.pairs)

    scale = np.mean([t.to_world.scale for t in solution.layout])
    assert abs(scale - 1) < 5e-4  # 2 px over a tile of 1024, averaged over 36 tiles; unprotected: about 4e-3


def test_an_affine_tile_on_a_single_seam_keeps_its_shape() -> None:
    grid = make_grid(1, 2, np.random.default_rng(8), overlap=0.05, noise_px=1.0)

    solution = SparseSolver("affine")(grid.layout, grid.pairs)

    for tile in solution.layout:
        stretch = np.linalg.svd(tile.to_world.matrix[:2, :2], compute_uv=False)
        assert np.abs(stretch - 1).max() < 0.02  # twice the expected deformation; 1 px over a strip of 51 px is 0.02


def test_affine_tiles_close_seams_that_rigid_ones_cannot() -> None:
    grid = deformed_grid("affine", 9, noise_px=0.2)

    rigid, affine = SparseSolver("rigid")(grid.layout, grid.pairs), SparseSolver("affine")(grid.layout, grid.pairs)

    assert np.median(seam_errors(rigid.layout, grid)) > 0.7  # px: half a percent over a seam
    assert np.median(seam_errors(affine.layout, grid)) < 0.15  # px: below the noise of a match
    assert min(rigid.pair_weight.values()) > 0.3, "deformed tiles are no reason to disbelieve pairs"


# --- islands and components -----------------------------------------------------------------------------------------


@few
@given(seed=seeds)
def test_an_island_does_not_change_the_rest(seed: int) -> None:
    grid = make_grid(3, 4, np.random.default_rng(seed))
    alone = Layout(tuple(t for t in grid.layout if t.id != "2_3"))
    pairs = [p for p in grid.pairs if "2_3" not in (p.fixed, p.moving)]

    with_island, without = SparseSolver()(grid.layout, pairs), SparseSolver()(alone, pairs)

    for tile in without.layout:
        np.testing.assert_allclose(with_island.layout[tile.id].world_corners, tile.world_corners, atol=1e-6)  # px


def test_a_tile_turned_and_shifted_with_everything_around_it_follows_as_an_island() -> None:
    grid = make_grid(5, 5, np.random.default_rng(1), turn_deg=0, shift_frac=0, noise_px=0.0)
    world = Affine.rigid(np.deg2rad(2), 40, -25)
    # the right half of the world is held in place by locked tiles that know better than the stage
    truth = {name: world @ place for name, place in grid.truth.items()}
    locked = {"0_0", "0_4", "4_0", "4_4", "2_1"}
    tiles = (replace(t, locked=True, to_world=truth[t.id]) if t.id in locked else t for t in grid.layout)
    pairs = [p for p in grid.pairs if "2_3" not in (p.fixed, p.moving)]

    solution = SparseSolver()(Layout(tuple(tiles)), pairs)

    # only the tiles that were free moved, the locked ones were there: the island follows the free ones around it
    off = np.linalg.norm(solution.layout["2_3"].world_corners - truth["2_3"](grid.layout["2_3"].corners), axis=1)
    unmoved = np.linalg.norm(grid.layout["2_3"].world_corners - truth["2_3"](grid.layout["2_3"].corners), axis=1)
    assert off.max() < 0.35 * unmoved.max()


# --- uncertainty ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
def test_sampled_uncertainty_agrees_with_the_exact_inverse(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = make_grid(5, 6, np.random.default_rng(2))
    exact = SparseSolver(model)(grid.layout, grid.pairs)
    monkeypatch.setattr("demis_ij.solvers.uncertainty.EXACT_UNKNOWNS", 0)
    sampled = SparseSolver(model)(grid.layout, grid.pairs)

    for name in ("sigma_px", "pair_sigma_px"):
        ratio = np.array([getattr(sampled, name)[k] / v for k, v in getattr(exact, name).items()])
        assert abs(np.median(ratio) - 1) < 0.1  # 32 samples: 9 % each, and they are shared
        assert np.abs(ratio - 1).max() < 0.45  # five times that


def test_uncertainty_says_how_far_tiles_and_seams_really_are_off() -> None:
    tile_ratio, seam_ratio = [], []
    for seed in range(12):
        grid = make_grid(4, 4, np.random.default_rng(seed))
        solution = SparseSolver()(grid.layout, grid.pairs)
        centre = np.array([[511.5, 511.5]])
        found = np.concatenate([t.to_world(t.corners) for t in solution.layout])
        wanted = np.concatenate([grid.truth[t.id](t.corners) for t in solution.layout])
        from demis_ij.geometry import fit_rigid

        back = Affine.from_matrix(fit_rigid(found, wanted))
        for tile in solution.layout:
            off = back(tile.to_world(centre)) - grid.truth[tile.id](centre)
            tile_ratio.append(off.ravel() / solution.sigma_px[tile.id])
        for p in grid.pairs:
            at = p.fixed_xy.mean(0, keepdims=True)
            other = grid.truth[p.moving].inverse(grid.truth[p.fixed](at))
            off = solution.layout[p.fixed].to_world(at) - solution.layout[p.moving].to_world(other)
            seam_ratio.append(off.ravel() / solution.pair_sigma_px[p.fixed, p.moving])
    # standard deviations of a few hundred standard normal numbers, partly dependent
    assert 0.8 < np.std(np.concatenate(tile_ratio)) < 1.25
    assert 0.8 < np.std(np.concatenate(seam_ratio)) < 1.25


def test_more_noise_and_fewer_matches_are_noticed_without_being_told() -> None:
    sharp = make_grid(3, 3, np.random.default_rng(3), noise_px=0.1)
    blurred = make_grid(3, 3, np.random.default_rng(3), noise_px=1.0)
    few_points = make_grid(3, 3, np.random.default_rng(3), noise_px=0.1, matches=10)

    def typical(grid: Grid) -> float:
        return float(np.median(list(SparseSolver()(grid.layout, grid.pairs).sigma_px.values())))

    assert typical(blurred) == pytest.approx(10 * typical(sharp), rel=0.1)
    assert typical(few_points) == pytest.approx(2 * typical(sharp), rel=0.35)  # a quarter of the points, other places
