"""What the page is made of: verdicts, bridges, seams as rows, CSV, windows on two tiles, errors against the truth."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import REASON, made_up_run
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from demis_ij.config import StitchConfig
from demis_ij.display.markup import px, px_at_most
from demis_ij.images import TileStore
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Solution, Tile
from demis_ij.report import write_csv
from demis_ij.report.agreement import disagreement, pair_errors, pooled, tile_errors
from demis_ij.report.figures import worst_place
from demis_ij.report.page import _pair_line
from demis_ij.report.pictures import Preview, close_up, data_uri, strips, to_grey
from demis_ij.report.seams import COLUMNS, bridges, seams_of
from demis_ij.report.verdict import judge
from demis_ij.stitch import StitchResult
from demis_ij.views import overlap_polygon, seam_line

# --- verdict --------------------------------------------------------------------------------------------------------


def verdict_of(run):
    return judge(run, seams_of(run))


def test_a_good_run_is_called_good_with_a_bound_that_holds():
    run, _ = made_up_run(3, 4)
    seams = seams_of(run)

    verdict = judge(run, seams)

    assert verdict.level == "good"
    bound = float(verdict.sentence.removeprefix("17 of 17 seams agree within ").removesuffix(" px."))
    worst = max(s.after_px for s in seams)
    assert worst <= bound <= worst + 0.01  # px: rounded up to the second decimal


def test_tiles_held_by_the_stage_alone_are_said_and_need_a_look():
    run, _ = made_up_run(4, 4, lost=[(0, 0), (3, 3)])

    verdict = verdict_of(run)

    assert verdict.level == "check"
    assert "20 of 20 seams agree" in verdict.sentence
    assert "2 tiles could not be matched and lie where the stage put them" in verdict.sentence


def test_two_parts_are_said():
    run, _ = made_up_run(5, 7, lost=[(2, c) for c in range(7)])

    verdict = verdict_of(run)

    assert "the mosaic is in 2 parts, placed against each other by the stage only" in verdict.sentence
    assert "7 tiles could not be matched" in verdict.sentence
    assert verdict.level == "check"


def test_overruled_seams_are_said_and_do_not_count_as_agreeing():
    run, _ = made_up_run(5, 5, wrong=[(0, 0)])

    verdict = verdict_of(run)

    assert verdict.level == "check"
    assert verdict.sentence.startswith("38 of 40 seams agree within 0.")
    assert "2 seams contradict the others and were overruled" in verdict.sentence


def test_a_seam_off_by_more_than_a_match_may_be_is_bad():
    run, _ = made_up_run(3, 3)
    key = next(iter(run.solution.pair_residual_px))
    residual = {**run.solution.pair_residual_px, key: StitchConfig().max_error_px + 0.1}

    verdict = verdict_of(replace(run, solution=replace(run.solution, pair_residual_px=residual)))

    assert verdict.level == "bad"
    assert "11 of 12 seams agree within 1 px, the worst is off by 4.10 px" in verdict.sentence


def test_a_seam_that_is_only_guessed_needs_a_look():
    run, _ = made_up_run(3, 3)
    key = next(iter(run.solution.pair_sigma_px))
    sigma = {**run.solution.pair_sigma_px, key: 2.0}

    verdict = verdict_of(replace(run, solution=replace(run.solution, pair_sigma_px=sigma)))

    assert verdict.level == "check"
    assert any("1 seam has an expected error above 1 px" in r for r in verdict.remarks)


def test_nothing_matched_is_bad_and_one_tile_is_fine():
    nothing, _ = made_up_run(2, 2, lost=[(0, 0), (0, 1), (1, 0), (1, 1)])
    one, _ = made_up_run(1, 1)

    assert verdict_of(nothing).level == "bad"
    assert "all 4 tiles lie where the stage put them" in verdict_of(nothing).sentence
    assert verdict_of(one).level == "good"


def test_a_chain_of_tiles_is_said_to_have_no_cross_check():
    run, _ = made_up_run(1, 4)

    assert any("No loop of tiles cross-checks" in r for r in verdict_of(run).remarks)
    assert not any("No loop" in r for r in verdict_of(made_up_run(2, 2)[0]).remarks)


@given(st.floats(0, 99, allow_nan=False))
def test_a_bound_is_never_rounded_below_the_value(value):
    assert float(px_at_most(value)) >= value - 1e-6  # px: what ten decimals hide


@given(st.floats(-1e6, 1e6))
def test_a_length_is_shown_to_half_a_unit_of_its_last_decimal(value):
    size = abs(value)
    step = 0.01 if size < 9.9 else 0.1 if size < 99 else 1.0

    assert float(px(value).replace("−", "-")) == pytest.approx(value, abs=step / 2 + 1e-9)


# --- graph ----------------------------------------------------------------------------------------------------------


def parts(edges: list[tuple[int, int]], nodes: int) -> int:
    rows = np.array(edges, int).reshape(-1, 2)
    return connected_components(coo_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=(nodes, nodes)))[0]


@settings(deadline=None, max_examples=80)
@given(st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda e: e[0] < e[1]), max_size=16))
def test_bridges_are_the_edges_whose_loss_adds_a_component(edges):
    listed = sorted(edges)
    wanted = {e for e in listed if parts([f for f in listed if f != e], 9) > parts(listed, 9)}

    found = bridges((str(p), str(q)) for p, q in listed)

    assert found == {(str(p), str(q)) for p, q in wanted}


def test_an_overruled_seam_cross_checks_nothing():
    run, _ = made_up_run(2, 2)
    key = next(iter(run.solution.pair_weight))
    loose = replace(run, solution=replace(run.solution, pair_weight={**run.solution.pair_weight, key: 0.0}))

    assert not any(s.is_bridge for s in seams_of(run))
    assert [s.is_bridge for s in seams_of(loose)].count(True) == 3


# --- seams ----------------------------------------------------------------------------------------------------------


def two_tiles(shift=(80.0, 0.0), gap=(0.0, 0.0)) -> StitchResult:
    """Return two 100 px tiles whose ten matches are wrong by ``gap`` in the solved layout."""
    a = Tile("a", "a.png", (100, 100))
    b = Tile("b", "b.png", (100, 100), Affine.translation(*shift))
    fixed_xy = np.column_stack([np.linspace(82, 98, 10), np.linspace(5, 95, 10)])
    match = PairMatch("a", "b", fixed_xy, fixed_xy - shift - gap, np.eye(3), "rigid", np.eye(3), 0.0, "sift", 12)
    layout = Layout((a, b))
    solution = Solution(layout, {"a": 0, "b": 0}, {"a": 0.1, "b": 0.1}, {("a", "b"): float(np.hypot(*gap))})
    stage = layout.moved({"b": Affine.translation(3, 4) @ b.to_world})
    return StitchResult(stage, solution, (match,), {"a": "sift", "b": "sift"}, (), {}, StitchConfig())


def test_a_seam_knows_its_shift_and_what_the_stage_was_wrong_by():
    (seam,) = seams_of(two_tiles(gap=(0.3, -0.4)))

    np.testing.assert_allclose(seam.distances_px, 0.5, atol=1e-9)  # px: rounding
    assert seam.offset_px == pytest.approx(0.5)
    assert seam.stage_px == pytest.approx(math.hypot(3 - 0.3, 4 + 0.4))
    assert seam.weight == 1
    assert math.isnan(seam.sigma_px)


def test_the_seam_line_runs_along_the_overlap():
    run = two_tiles()
    line = seam_line(*run.solution.layout)

    np.testing.assert_allclose(line[:, 0], 89.5, atol=1e-3)  # px: OpenCV's float32
    assert abs(np.ptp(line[:, 1])) == pytest.approx(72, abs=1e-3)


def test_tiles_apart_have_no_overlap_and_a_line_between_their_centres():
    a, b = two_tiles(shift=(400.0, 30.0)).solution.layout

    assert overlap_polygon(a, b).shape == (0, 2)
    np.testing.assert_allclose(seam_line(a, b), [[49.5, 49.5], [449.5, 79.5]])


def test_the_overlap_is_exact_far_from_the_origin():
    far = Affine.translation(3e6, -2e6)
    a, b = (replace(t, to_world=far @ t.to_world) for t in two_tiles(shift=(80.25, 10.5)).solution.layout)

    polygon = overlap_polygon(a, b) - (3e6, -2e6)

    np.testing.assert_allclose(polygon.min(0), [79.75, 10.0], atol=1e-3)  # px: float32 of some 100 px
    np.testing.assert_allclose(polygon.max(0), [99.5, 99.5], atol=1e-3)


def test_the_close_up_goes_where_the_matches_disagree():
    run = two_tiles()
    match = run.pairs[0]
    moving = match.moving_xy.copy()
    moving[7:] += (0, 2)
    (seam,) = seams_of(replace(run, pairs=(replace(match, moving_xy=moving),)))

    place = worst_place(seam)

    assert np.linalg.norm(place - match.fixed_xy[7:], axis=1).min() < 12  # px: one of the three, or beside it


def test_a_seam_without_matches_has_no_worst_place():
    run = two_tiles()
    (seam,) = seams_of(
        replace(run, pairs=(replace(run.pairs[0], fixed_xy=np.empty((0, 2)), moving_xy=np.empty((0, 2))),))
    )

    assert worst_place(seam) is None
    assert math.isnan(seam.offset_px)


def test_more_agreeing_points_than_matches_are_told_as_refinement():
    run = two_tiles()
    refined = replace(run, pairs=(replace(run.pairs[0], matches=4),))

    assert "10 of 12 matches agree" in _pair_line(seams_of(run)[0])
    assert "4 matches offered, 10 points agree after refinement" in _pair_line(seams_of(refined)[0])


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_the_csv_holds_every_pair_with_full_precision(tmp_path):
    run, _ = made_up_run(3, 3, lost=[(1, 1)])

    write_csv(tmp_path / "seams.csv", run)

    with (tmp_path / "seams.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {(r["fixed"], r["moving"]) for r in rows} == {(p.fixed, p.moving) for p in run.pairs}
    for row in rows:
        key = row["fixed"], row["moving"]
        if row["accepted"] == "1":
            assert float(row["residual_px"]) == run.solution.pair_residual_px[key]
            assert row["reason"] == ""
        else:
            assert row["residual_px"] == ""
            assert row["reason"] == REASON
            assert row["tried"].startswith("loftr: 3 matches")
    assert [p.name for p in tmp_path.iterdir()] == ["seams.csv"]


# --- pictures -------------------------------------------------------------------------------------------------------


def test_both_halves_of_a_close_up_show_the_same_tissue(tmp_path):
    _, truth = made_up_run(1, 2, folder=tmp_path)
    layout = truth  # true positions, whole pixels: both tiles hold the very same grey values

    view = close_up(TileStore(), layout, layout.ids, None)

    common = (view.fixed > 0) & (view.moving > 0)
    assert common.mean() > 0.6
    np.testing.assert_allclose(
        view.fixed[common].astype(int), view.moving[common].astype(int), atol=1
    )  # grey: rounding


def test_a_close_up_of_whole_pixels_is_not_resampled(tmp_path):
    _, truth = made_up_run(1, 2, folder=tmp_path)
    tile, store = truth.tiles[0], TileStore()

    view = close_up(store, truth, truth.ids, None)

    rows, cols = np.nonzero((view.fixed > 1) & (view.fixed < 255))
    xy = np.column_stack([cols, rows]) + 0.5 + view.origin
    x, y = np.round(tile.to_world.inverse(xy)).astype(int).T
    values, shown = store.image(tile)[y, x].astype(float), view.fixed[rows, cols].astype(float)
    line = np.polyfit(values, shown, 1)
    np.testing.assert_allclose(shown, np.polyval(line, values), atol=1.01)  # grey: rounding


def test_a_wrong_position_shows_in_the_close_up_as_that_shift(tmp_path):
    _, truth = made_up_run(1, 2, folder=tmp_path)
    moving = truth.tiles[1]
    wrong = truth.moved({moving.id: Affine.translation(3, 0) @ moving.to_world})

    view = close_up(TileStore(), wrong, truth.ids, None)

    inner = np.s_[12:-12, 12:-12]
    there, here = view.fixed[inner].astype(float), np.roll(view.moving, -3, axis=1)[inner].astype(float)
    assert np.abs(there - here).mean() < 0.2 * np.abs(there - view.moving[inner]).mean()


def test_the_close_up_covers_the_place_it_is_asked_for(tmp_path):
    _, truth = made_up_run(1, 2, folder=tmp_path)
    place = overlap_polygon(*truth).mean(0)

    view = close_up(TileStore(), truth, truth.ids, place)

    local = place - view.origin
    assert (local > 0).all()
    assert (local < view.fixed.shape[::-1]).all()


def test_strips_lead_back_to_the_tiles_pixels(tmp_path):
    _, truth = made_up_run(1, 2, folder=tmp_path)
    store = TileStore()
    first, second = strips(store, truth, truth.ids)
    middle = overlap_polygon(*truth).mean(0)

    for strip, tile in ((first, truth.tiles[0]), (second, truth.tiles[1])):
        x, y = np.round(strip.crop.from_tile(tile.to_world.inverse(middle)[None])[0]).astype(int)
        box = strip.crop.box
        whole = to_grey(store.image(tile)[box.slices], np.ones(box.shape, bool))
        assert strip.image[y, x] == whole[y, x]


def test_tiles_apart_have_no_pictures(tmp_path):
    _, truth = made_up_run(1, 2, folder=tmp_path)
    apart = truth.moved({truth.ids[1]: Affine.translation(900, 0)})

    assert close_up(TileStore(), apart, apart.ids, None) is None
    assert strips(TileStore(), apart, apart.ids) is None


@settings(deadline=None, max_examples=8)
@given(st.integers(2_000, 60_000))
def test_a_picture_keeps_its_cap_even_when_it_is_noise(cap):
    noise = np.random.default_rng(1).integers(0, 256, (400, 300), dtype=np.uint8)

    assert len(data_uri(noise, cap)) <= cap + 60  # the address' own name and base64's padding


def test_grey_without_any_data_is_black():
    assert to_grey(np.full((4, 5), np.nan), np.ones((4, 5), bool)).max() == 0
    assert to_grey(np.ones((4, 5)), np.zeros((4, 5), bool)).max() == 0


def test_a_preview_knows_its_outer_edges():
    preview = Preview(np.zeros((10, 20), np.uint8), 0.5, (100.5, 200.5))

    assert preview.world_box == (99.5, 199.5, 139.5, 219.5)


# --- truth ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.floats(-1, 1), st.floats(-500, 500), st.floats(-500, 500))
def test_a_mosaic_moved_as_a_whole_has_no_error(angle, x, y):
    _, truth = made_up_run(2, 3)
    moved = truth.moved({t.id: Affine.rigid(angle, x, y) @ t.to_world for t in truth})

    run, _ = made_up_run(2, 3)
    errors = tile_errors(replace(run, solution=replace(run.solution, layout=moved)), truth)

    assert set(errors) == set(truth.ids)
    np.testing.assert_allclose(pooled(errors.values()), 0, atol=1e-9)  # px: rounding


def test_errors_against_the_truth_are_what_was_put_in():
    run, truth = made_up_run(3, 3)
    exact = replace(run, solution=replace(run.solution, layout=truth))
    moved = truth.tiles[4].id
    off = replace(
        exact,
        solution=replace(
            exact.solution, layout=truth.moved({moved: Affine.translation(0.9, 0) @ truth[moved].to_world})
        ),
    )

    assert pooled(tile_errors(exact, truth).values()).max() < 1e-9
    # px: the frame is laid by the tiles that agree, so that all of the error is the moved tile's
    np.testing.assert_allclose(tile_errors(off, truth)[moved], 0.9, atol=1e-3)
    assert pooled(pair_errors(run, truth).values()).max() < 1e-9
    assert float(disagreement(off, exact).max()) == pytest.approx(0.9, abs=1e-3)


def test_runs_of_different_sections_are_not_compared():
    run, _ = made_up_run(2, 2)
    other = replace(run, layout=replace(run.layout, section="7"))

    assert len(disagreement(run, run)) == 16
    assert len(disagreement(run, other)) == 0


def test_a_pair_that_is_off_by_5_px_has_that_error():
    run, truth = made_up_run(2, 2, wrong=[(0, 0)])

    found = sorted(float(v.mean()) for v in pair_errors(run, truth).values())

    np.testing.assert_allclose(found, [0, 0, 5, 5], atol=1e-9)  # px: rounding


def test_parts_are_measured_each_by_itself_and_single_tiles_not_at_all():
    run, truth = made_up_run(3, 3, lost=[(0, 0)])

    errors = tile_errors(run, truth)

    assert set(errors) == set(truth.ids) - {truth.ids[0]}
    assert isinstance(run.pairs[0], Rejected)
