"""The engine on tables: stored sums, the multilevel steps against a factor, volumes, threads, progress."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.errors import InputError, SolveError
from demis_ij.solvers import columns as engine
from demis_ij.solvers import components, contested, linear_steps, loops, multilevel, residuals, threads, uncertainty
from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.measurements import moved_places, pair_table, places_of, tile_table
from demis_ij.solvers.normal_equations import Blocks, build_blocks
from demis_ij.solvers.outcome import Solved
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.sums import pair_table_of_sums, sums_of_points, tile_table_of_arrays
from demis_ij.solvers.tables import ACROSS
from demis_ij.testing.grids import make_grid
from demis_ij.testing.simulated_columns import Simulated, simulate_grid

MODELS = ["translation", "rigid", "similarity", "affine"]


@pytest.fixture
def many_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small layouts go the way of large ones: no factor, several levels, work in small parts."""
    monkeypatch.setattr(linear_steps, "DIRECT_UP_TO", 0)
    monkeypatch.setattr(uncertainty, "EXACT_UNKNOWNS", 0)
    monkeypatch.setattr(linear_steps, "SAMPLE_ACCURACY", 1e-3)
    monkeypatch.setattr(multilevel, "COARSEST", 6)
    monkeypatch.setattr(residuals, "PAIRS_AT_ONCE", 50)


def corners(made: Simulated, solved: Solved) -> np.ndarray:
    """Return where the corners of the tiles have come to, px."""
    places = moved_places(made.stage, made.tiles(), solved.motion)
    corner = np.array([[0.0, 0], [made.side, 0], [made.side, made.side], [0, made.side]])
    return corner @ places[:, :, :2].transpose(0, 2, 1) + places[:, None, :, 2]


# --- sums -----------------------------------------------------------------------------------------------------------


def test_tables_made_of_stored_sums_are_those_made_of_the_points() -> None:
    grid = make_grid(3, 4, np.random.default_rng(0))
    layout = grid.layout
    sums = [sums_of_points(p.fixed_xy, p.moving_xy, layout[p.fixed].shape, layout[p.moving].shape) for p in grid.pairs]
    fixed, moving = ([layout.index(getattr(p, end)) for p in grid.pairs] for end in ("fixed", "moving"))

    places = places_of(layout)
    tiles = tile_table_of_arrays(places, (1024, 1024))
    pairs = pair_table_of_sums(tiles, places, fixed, moving, np.array(sums))
    wanted = pair_table(layout, grid.pairs, tile_table(layout))

    assert (pairs.fixed == wanted.fixed).all()
    np.testing.assert_allclose(pairs.sums, wanted.sums, rtol=1e-12, atol=1e-9)


def test_moments_are_the_sums_over_the_points_in_the_world() -> None:
    made = simulate_grid(1, 2, np.random.default_rng(1), turn_deg=40)
    points = np.random.default_rng(2).uniform(0, 1024, (2, 9, 2))
    turned = np.array([[[0.6, -0.8, 5.0], [0.8, 0.6, 7.0]], [[1.1, 0.2, 900.0], [0.0, 0.9, 3.0]]])
    tiles = tile_table_of_arrays(turned, (1024, 1024))

    pair = pair_table_of_sums(tiles, turned, [0], [1], sums_of_points(*points, (1024, 1024), (1024, 1024))[None])

    u, v = (
        (p @ t[:, :2].T + t[:, 2]) / tiles.unit_px - c for p, t, c in zip(points, turned, tiles.centre, strict=True)
    )
    z = np.concatenate([u, np.ones((9, 1)), -v, -np.ones((9, 1))], axis=1)
    np.testing.assert_allclose(pair.moments[0], z.T @ z, rtol=1e-10, atol=1e-10)
    assert made.pairs().count.tolist() == [40.0]


def bad_columns() -> list[tuple[list[int], list[int], np.ndarray, str]]:
    sums = np.tile(sums_of_points(np.ones((3, 2)), np.ones((3, 2)), (9, 9), (9, 9)), (2, 1))
    nan, none = sums.copy(), sums.copy()
    nan[1, 4], none[1, 0] = np.nan, 0
    return [
        ([0, 1], [1, 3], sums, r"pair 1 \(tiles 1 and 3\).*there are 3 tiles"),
        ([0, 1], [1, 1], sums, "pair 1.*itself"),
        ([0, 1], [1, 0], sums, "given twice"),
        ([0, 1], [1, 2], nan, "pair 1.*finite"),
        ([0, 1], [1, 2], none, "pair 1.*one match"),
        ([0], [1, 2], sums, "as many"),
    ]


@pytest.mark.parametrize("case", range(6))
def test_columns_that_make_no_sense_are_refused_by_their_row(case: int) -> None:
    fixed, moving, sums, said = bad_columns()[case]
    places = np.tile(np.eye(2, 3), (3, 1, 1))
    tiles = tile_table_of_arrays(places, (9, 9))

    with pytest.raises(InputError, match=said):
        pair_table_of_sums(tiles, places, fixed, moving, sums)


def test_places_and_columns_of_tiles_must_fit() -> None:
    with pytest.raises(InputError, match=r"\(n, 2, 3\)"):
        tile_table_of_arrays(np.eye(3), (9, 9))
    with pytest.raises(InputError, match="locked needs a value for each of 2 tiles"):
        tile_table_of_arrays(np.tile(np.eye(2, 3), (2, 1, 1)), (9, 9), locked=[True])


def test_results_come_in_the_order_in_which_the_pairs_were_given() -> None:
    made = simulate_grid(4, 4, np.random.default_rng(3), wrong=0.1)
    order = np.random.default_rng(4).permutation(len(made.fixed))

    first, second = (solve_columns(made.tiles(), made.pairs(keep)) for keep in (slice(None), order))

    for name in ("weight", "residual_px", "pair_sigma_px"):
        assert (getattr(first, name)[order] == getattr(second, name)).all()
    assert (first.motion == second.motion).all()


# --- many tiles -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("many_levels")
@pytest.mark.parametrize("model", MODELS)
def test_multilevel_steps_end_where_a_factor_does(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    turn, stretch = (0.0 if model == "translation" else 2.0), (0.003 if model in {"similarity", "affine"} else 0.0)
    made = simulate_grid(11, 11, np.random.default_rng(5), wrong=0.03, turn_deg=turn, stretch=stretch)
    how = SolveSettings(model=model)

    other = solve_columns(made.tiles(), made.pairs(), how)
    monkeypatch.setattr(linear_steps, "DIRECT_UP_TO", 1000)
    direct = solve_columns(made.tiles(), made.pairs(), how)

    assert made.wrong.any()
    np.testing.assert_allclose(corners(made, other), corners(made, direct), atol=TINY_PX)
    np.testing.assert_allclose(other.weight, direct.weight, atol=1e-2)
    # the same draws of the noise, solved for to a thousandth
    np.testing.assert_allclose(other.sigma_px, direct.sigma_px, rtol=0.02)
    np.testing.assert_allclose(other.pair_sigma_px, direct.pair_sigma_px, rtol=0.02)


TINY_PX = 3e-3  # both stop when no corner moves by more


@pytest.mark.usefixtures("many_levels")
def test_locked_tiles_islands_and_parts_are_as_with_a_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    made = simulate_grid(8, 12, np.random.default_rng(6), wrong=0.02)
    col = np.arange(96) % 12
    keep = (col[made.fixed] != 7) & (col[made.moving] != 7)  # column 7 has no pairs: two parts, eight islands
    locked = np.arange(96) == 27
    tiles = tile_table_of_arrays(made.stage, (1024, 1024), locked)
    pairs = pair_table_of_sums(tiles, made.stage, made.fixed[keep], made.moving[keep], made.sums[keep])

    levels = solve_columns(tiles, pairs)
    monkeypatch.setattr(linear_steps, "DIRECT_UP_TO", 1000)
    direct = solve_columns(tiles, pairs)

    assert np.bincount(levels.component).tolist() == [56, 32, *[1] * 8]
    assert (levels.motion[locked] == np.eye(2, 3)).all()
    np.testing.assert_allclose(corners(made, levels), corners(made, direct), atol=TINY_PX)
    assert np.isinf(levels.sigma_px[col == 7]).all()
    assert np.isfinite(levels.sigma_px[col != 7]).all()
    assert (levels.sigma_px[locked] == 0).all()


def test_a_large_island_follows_the_same_neighbours_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = simulate_grid(6, 9, np.random.default_rng(7))
    col = np.arange(54) % 9
    keep = (col[made.fixed] < 5) == (col[made.moving] < 5)
    usual = solve_columns(made.tiles(), made.pairs(keep))
    monkeypatch.setattr(components, "LARGE", 0)

    other = solve_columns(made.tiles(), made.pairs(keep))

    assert np.bincount(usual.component).tolist() == [30, 24]
    # px: the neighbours' weights go by the tile that is asked first, the motion of the island hardly
    np.testing.assert_allclose(corners(made, other), corners(made, usual), atol=5)


@pytest.mark.usefixtures("many_levels")
def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = simulate_grid(9, 9, np.random.default_rng(8), wrong=0.03)
    monkeypatch.setattr(engine, "FEWEST_FOR_THREADS", 0)
    monkeypatch.setattr(threads, "SMALLEST_STRIPE", 20)

    one, three = (solve_columns(made.tiles(), made.pairs(), workers=n) for n in (1, 3))

    for name in ("motion", "weight", "sigma_px", "pair_sigma_px"):
        assert (getattr(one, name) == getattr(three, name)).all()


def test_loops_found_in_parts_are_those_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = simulate_grid(4, 5, np.random.default_rng(9), sections=2)
    pairs = made.pairs()
    whole = loops.find_loops(40, pairs.fixed, pairs.moving)
    monkeypatch.setattr(loops, "TILES_AT_ONCE", 3)

    parts = loops.find_loops(40, pairs.fixed, pairs.moving)

    assert sorted(map(tuple, whole.tile)) == sorted(map(tuple, parts.tile))
    # faces of the lattice: 2 x 12 in plane, 16 + 15 upright
    assert len({frozenset(t.tolist()) for t in whole.tile}) == 24 + 31


def test_tiles_whose_pairs_have_been_heard_are_not_asked_again() -> None:
    made = simulate_grid(6, 6, np.random.default_rng(10), wrong=0.25)
    calls: list[int] = []
    usual = contested._best_reading

    def counted(tile: int, *rest: object) -> object:
        calls.append(tile)
        return usual(tile, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contested, "_best_reading", counted)
        solve_columns(made.tiles(), made.pairs())

    assert calls, "a quarter of the pairs is wrong: some tile is contested"
    assert len(calls) < 36 * 2, "five rounds would have asked them all again and again"


def test_equations_that_have_no_least_are_refused_rather_than_left_unsolved() -> None:
    made = simulate_grid(2, 2, np.random.default_rng(15))
    steps = linear_steps.MultilevelSteps(made.tiles(), made.pairs(), "rigid")
    upside_down = Blocks(np.ones((4, 3)), np.tile(-np.eye(3), (4, 1, 1)), np.zeros((4, 3, 3)))

    with pytest.raises(SolveError, match="12 unknowns cannot be solved"):
        steps.solve(upside_down, np.tile(np.eye(2, 3), (4, 1, 1)), alike=False)


def test_a_preconditioner_that_needs_many_more_iterations_than_when_it_was_new_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear_steps, "MOST_WITH_OLD", 0)
    monkeypatch.setattr(multilevel, "COARSEST", 6)
    made = simulate_grid(8, 8, np.random.default_rng(16))
    tiles, pairs = made.tiles(), made.pairs()
    unmoved = np.tile(np.eye(2, 3), (64, 1, 1))
    steps = linear_steps.MultilevelSteps(tiles, pairs, "affine")

    def renewed(weight: np.ndarray) -> bool:
        worth = residuals.Worth(weight, 1e6 * weight, np.zeros(2))
        blocks = build_blocks(pairs, tiles, unmoved, worth, "affine", 1e4)
        return steps.solve(blocks, unmoved, alike=True)[1]

    every, others = np.ones(len(pairs)), np.where(np.arange(len(pairs)) % 3, 0.01, 1.0)
    told = [renewed(weight) for weight in (every, every, others, others, others)]

    # the first is made; it is as good as new, does for other weights once, with much trouble, and is made anew
    assert told == [True, False, False, True, False]


# --- volumes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [False, True])
def test_sections_turned_and_shifted_as_a_whole_are_put_on_each_other(
    levels: bool, request: pytest.FixtureRequest
) -> None:
    if levels:
        request.getfixturevalue("many_levels")
    made = simulate_grid(
        6,
        6,
        np.random.default_rng(11),
        sections=5,
        wrong=0.03,
        section_turn_deg=120,
        section_shift_px=4000,
        misfit_across_px=2,
    )

    solved = solve_columns(made.tiles(), made.pairs())

    assert np.bincount(solved.component).tolist() == [180]
    assert made.corner_errors(solved.motion).max() < 3  # px; the stage was wrong by thousands
    assert (solved.weight[made.wrong] < 0.05).mean() > 0.9  # across, +-200 px is seldom near the truth
    assert (solved.weight[~made.wrong] > 0.05).all()


def test_noise_across_sections_is_learnt_apart_and_leaves_the_plane_sharp() -> None:
    made = simulate_grid(6, 6, np.random.default_rng(12), sections=3, noise_across_px=5, misfit_across_px=8)
    across = made.section[made.fixed] != made.section[made.moving]

    together = solve_columns(made.tiles(), made.pairs())
    flat = solve_columns(made.tiles(), made.pairs(~across))

    assert (made.pairs().kind == ACROSS).sum() == across.sum()
    assert (together.weight > 0.05).all(), "noise across is no reason to disbelieve"
    # px: the seams of a section are no worse for the pairs that tie it to the next
    assert np.median(together.residual_px[~across]) < 1.02 * np.median(flat.residual_px)
    assert together.pair_sigma_px[across].min() > together.pair_sigma_px[~across].min()


def test_a_section_that_holds_a_locked_tile_stays_and_the_others_come_to_it() -> None:
    made = simulate_grid(5, 5, np.random.default_rng(13), sections=3, section_turn_deg=60, section_shift_px=3000)
    stage = made.stage.copy()
    stage[50:] = made.truth[50:]  # the last section is right, and held by two of its tiles
    locked = np.isin(np.arange(75), [50, 74])
    tiles = tile_table_of_arrays(stage, (1024, 1024), locked, made.section)
    pairs = pair_table_of_sums(tiles, stage, made.fixed, made.moving, made.sums)

    solved = solve_columns(tiles, pairs)

    places = moved_places(stage, tiles, solved.motion)
    assert (places[locked] == stage[locked]).all()
    assert np.abs(places[:, :, 2] - made.truth[:, :, 2]).max() < 3  # px: no motion of the whole is taken out


# --- long solves ----------------------------------------------------------------------------------------------------


def test_progress_is_told_after_every_step_and_may_end_the_solve() -> None:
    made = simulate_grid(20, 20, np.random.default_rng(14))
    told: list[tuple[str, int, int]] = []
    solve_columns(made.tiles(), made.pairs(), progress=lambda *word: told.append(word))

    steps = [done for what, done, of in told if what == "steps" and done <= of]
    assert steps == list(range(1, len(steps) + 1))
    assert told[-1] == ("spread", 32, 32)

    def enough(what: str, done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve_columns(made.tiles(), made.pairs(), progress=enough)
