"""What Fiji and Jupyter draw is where the tiles are, and says what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demis_ij import views
from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Rejected, Solution, Tile
from demis_ij.render import Canvas

SIZE = (100, 200)  # rows, columns
MOSAIC_KEYS = ["kind", "version", "title", "width", "height", "scale", "pixel_size", "tiles", "arrows", "seams"]
TILE_KEYS = ["id", "name", "outline", "colour", "placed_by", "sigma_px", "moved_px"]
SEAM_KEYS = [
    "tile A", "tile B", "matches", "inliers", "dx", "dy", "residual px", "weight", "used", "reason", "line", "colour",
]  # fmt: skip
PAIR_KEYS = [
    "kind", "version", "title", "fixed", "moving", "width", "height", "lines", "colours", "residual_px", "inliers",
    "matches",
]  # fmt: skip


def tile(name: str, x: float, y: float) -> Tile:
    return Tile(name, Path("tiles") / f"{name}.tif", SIZE, Affine.translation(x, y))


BEFORE = Layout((tile("a", 0, 0), tile("b", 180, 0), tile("c", 0, 90)), pixel_size=(4.0, "nm"))
AFTER = Layout((tile("a", 10, 20), tile("b", 190, 20), tile("c", 13, 114)), pixel_size=(4.0, "nm"))


def match(fixed: str, moving: str, world_xy: np.ndarray, error: tuple[float, float] = (0, 0)) -> PairMatch:
    f, m = AFTER[fixed].to_world.inverse(world_xy), AFTER[moving].to_world.inverse(world_xy + np.array(error))
    return PairMatch(fixed, moving, f, m, np.eye(3), "rigid", np.eye(3), 0.1, "sift", 40)


GOOD = match("a", "b", np.array([[195.0, 30.0], [200.0, 60.0]]))
WRONG = match("a", "c", np.array([[50.0, 117.0], [90.0, 118.0]]), (5, 0))
LOST = Rejected("b", "c", "2 of 9 matches agree <8 are needed>", "sift", 9, 2)
SOLUTION = Solution(
    AFTER,
    {"a": 0, "b": 0, "c": 1},
    {"a": 0.1, "b": 0.12345678, "c": np.inf},
    {("a", "b"): 0.3, ("a", "c"): 5.0},
    {},
    {("a", "b"): 0.9, ("a", "c"): 0.01},
)
PLACED = {"a": "sift", "b": "loftr", "c": "stage"}


def solved_view(drawn_at: float = 1.0, **changes: object) -> views.MosaicView:
    canvas = Canvas.of(AFTER, drawn_at)
    given_ = {
        "before": BEFORE,
        "solution": SOLUTION,
        "pairs": [GOOD, WRONG, LOST],
        "placed_by": PLACED,
        "to_picture": canvas.from_world,
        "shape": canvas.shape,
        "scale": drawn_at,
        "title": "section <1>",
    }
    return views.mosaic_view(**{**given_, **changes})  # type: ignore[arg-type]


def test_outlines_have_integers_at_the_corners_of_the_pictures_pixels() -> None:
    view = solved_view()

    assert view.tiles[0].outline == ((0.0, 0.0), (200.0, 0.0), (200.0, 100.0), (0.0, 100.0))
    assert (view.width, view.height) == (380, 194)
    assert view.tiles[1].outline[2] == (380.0, 100.0)


def test_a_reduced_picture_has_the_outlines_at_its_own_scale_and_keeps_what_was_measured() -> None:
    whole, half = solved_view(), solved_view(0.5)

    for a, b in zip(whole.tiles, half.tiles, strict=True):
        np.testing.assert_allclose(np.array(a.outline) / 2, b.outline, atol=1e-3)  # px, as they are rounded
        assert (a.moved_px, a.sigma_px) == (b.moved_px, b.sigma_px)
    assert [s.residual_px for s in whole.seams] == [s.residual_px for s in half.seams]
    assert whole.pixel_size == (4.0, "nm")
    assert half.pixel_size == (8.0, "nm")


def test_moves_are_those_beside_the_common_shift() -> None:
    view = solved_view()

    assert [t.moved_px for t in view.tiles] == [0.0, 0.0, 5.0]
    assert [a.id for a in view.arrows] == ["c"]
    np.testing.assert_allclose(np.subtract(view.arrows[0].end, view.arrows[0].start), (3, 4), atol=2e-3)
    np.testing.assert_allclose(view.arrows[0].end, (103.0, 144.0), atol=2e-3)  # the middle of the tile's outline


@given(x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
def test_a_shift_of_the_whole_layout_changes_no_move(x: float, y: float) -> None:
    shifted = BEFORE.moved({t.id: Affine.translation(x, y) @ t.to_world for t in BEFORE})
    moved = [t.moved_px for t in solved_view(before=shifted).tiles]

    np.testing.assert_allclose(moved, [0, 0, 5], atol=2e-3)  # px, as they are rounded


def test_seams_come_worst_first_with_their_reasons() -> None:
    lost, wrong, good = solved_view().seams

    assert (lost.tile_a, lost.tile_b, lost.is_used, lost.reason) == ("b", "c", False, LOST.reason)
    assert (lost.dx, lost.residual_px, lost.weight, lost.inliers, lost.matches) == (None, None, 0.0, 2, 9)
    assert (wrong.is_used, wrong.reason, wrong.residual_px) == (False, "contradicts its neighbours", 5.0)
    assert (good.is_used, good.reason, good.residual_px, good.weight) == (True, "", 0.3, 0.9)
    assert len({lost.colour, wrong.colour, good.colour}) == 3


def test_a_seam_says_what_the_stage_was_wrong_by() -> None:
    seams = {(s.tile_a, s.tile_b): s for s in solved_view().seams}

    assert (seams["a", "b"].dx, seams["a", "b"].dy) == (0.0, 0.0)  # both tiles moved by (10, 20)
    # c moved by (3, 4) more than a, and its match says 5 px less to the right
    assert (seams["a", "c"].dx, seams["a", "c"].dy) == (-2.0, 4.0)


def test_a_seams_line_lies_in_the_overlap() -> None:
    good = next(s for s in solved_view().seams if s.tile_b == "b")
    (x1, y1, x2, y2) = good.line

    assert x1 == x2 == pytest.approx(190, abs=0.01)
    assert 0 < min(y1, y2) < max(y1, y2) < 100


def test_a_tile_that_only_the_stage_holds_has_no_uncertainty() -> None:
    view = solved_view()

    assert [t.sigma_px for t in view.tiles] == [0.1, 0.123, None]
    assert len({t.colour for t in view.tiles}) == 3


def test_a_matcher_of_the_users_own_and_a_page_of_a_stack_are_shown_too() -> None:
    paged = replace(SOLUTION, layout=replace(AFTER, tiles=(replace(AFTER["a"], page=0), *AFTER.tiles[1:])))
    view = solved_view(solution=paged, placed_by={"a": "mine"})

    assert (view.tiles[0].name, view.tiles[0].placed_by) == ("a.tif slice 1", "mine")
    assert view.tiles[1].placed_by == "stage"


def test_a_layout_that_nobody_solved_has_outlines_only() -> None:
    canvas = Canvas.of(BEFORE)
    unknown = replace(BEFORE, tiles=(*BEFORE.tiles, replace(tile("d", 0, 0), shape=(0, 0))))
    view = views.layout_view(unknown, to_picture=canvas.from_world, shape=canvas.shape, scale=1.0)

    assert [t.id for t in view.tiles] == ["a", "b", "c"]
    assert view.arrows == view.seams == ()


@pytest.mark.parametrize("changes", [{"shape": (0, 9)}, {"scale": 0.0}, {"scale": float("nan")}])
def test_a_view_without_a_picture_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="positive numbers needed"):
        solved_view(**changes)


# --- pairs ----------------------------------------------------------------------------------------------------------


def pair_of(pair: PairMatch | Rejected, **more: object) -> views.PairView:
    return views.pair_view(
        pair,
        fixed_to_picture=Affine.translation(-180, 0),
        moving_to_picture=Affine.translation(1, 2),
        shape=(100, 20),
        **more,  # type: ignore[arg-type]
    )


def test_lines_of_a_pair_join_the_same_tissue_in_both_pictures() -> None:
    view = pair_of(GOOD, solved=AFTER)

    np.testing.assert_allclose([line[:4] for line in view.lines], [[5.5, 10.5, 6.5, 12.5], [10.5, 40.5, 11.5, 42.5]])
    assert view.residual_px == 0.0
    assert (view.width, view.height, view.inliers, view.matches) == (20, 100, 2, 40)
    assert view.title == "a - b"


def test_residuals_are_those_of_the_solved_layout_or_of_the_pairs_own_fit() -> None:
    own_fit = replace(WRONG, to_fixed=(AFTER["a"].to_world.inverse @ AFTER["c"].to_world).matrix)

    assert pair_of(WRONG, solved=AFTER).residual_px == pytest.approx(5)
    assert pair_of(own_fit).residual_px == pytest.approx(5)
    assert pair_of(replace(own_fit, to_fixed=Affine.translation(-5, 0).matrix @ own_fit.to_fixed)).residual_px == 0.0
    assert set(pair_of(own_fit).colours) == {views.residual_colour(5.0)}


def test_every_point_that_the_matcher_found_is_shown_where_it_is_still_known() -> None:
    every = Correspondences(GOOD.fixed_xy[:1] + 7, GOOD.moving_xy[:1] + 7, np.ones(1))
    view = pair_of(replace(GOOD, every=every), solved=AFTER)

    np.testing.assert_allclose([line[:4] for line in view.lines], [[12.5, 17.5, 13.5, 19.5]])


def test_many_matches_are_thinned_but_best_and_worst_stay() -> None:
    rng = np.random.default_rng(1)
    world = rng.uniform((190, 20), (210, 120), (500, 2))
    many = match("a", "b", world)
    many = replace(many, fixed_xy=many.fixed_xy + rng.normal(0, 1, (500, 2)))
    view, all_of_them = pair_of(many, solved=AFTER, most_lines=50), pair_of(many, solved=AFTER, most_lines=500)

    assert len(view.lines) == len(view.colours) == 50
    residuals = [line[4] for line in view.lines]
    assert residuals == sorted(residuals)
    assert (residuals[0], residuals[-1]) == (all_of_them.lines[0][4], all_of_them.lines[-1][4])
    assert view.residual_px == all_of_them.residual_px


def test_a_pair_that_was_not_matched_has_a_view_without_lines() -> None:
    view = pair_of(LOST)

    assert (view.lines, view.residual_px, view.matches) == ((), None, 9)


def test_a_pair_without_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="positive numbers needed"):
        views.pair_view(GOOD, fixed_to_picture=Affine(), moving_to_picture=Affine(), shape=(0, 3))


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_names_of_all_fields_are_those_that_fijis_scripts_read() -> None:
    mosaic, pair = views.as_json(solved_view()), views.as_json(pair_of(GOOD))

    assert sorted(mosaic) == sorted(MOSAIC_KEYS)
    assert list(mosaic["tiles"][0]) == TILE_KEYS
    assert list(mosaic["arrows"][0]) == ["id", "from", "to", "moved_px"]
    assert list(mosaic["seams"][0]) == SEAM_KEYS
    assert {s["used"] for s in mosaic["seams"]} == {"yes", "no"}
    assert sorted(pair) == sorted(PAIR_KEYS)
    assert (mosaic["kind"], mosaic["version"], pair["kind"], pair["version"]) == ("mosaic", 1, "pair", 1)


@pytest.mark.parametrize(
    "view", [solved_view(), solved_view(0.3), pair_of(GOOD), pair_of(LOST)], ids=["1:1", "reduced", "pair", "lost"]
)
def test_what_is_written_is_read_again(view: views.View, tmp_path: Path) -> None:
    path = tmp_path / "über & #1.json"
    views.write(view, path)

    assert views.read(path) == view
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_unknown_is_null_in_the_file(tmp_path: Path) -> None:
    views.write(solved_view(), tmp_path / "v.json")
    text = (tmp_path / "v.json").read_text(encoding="utf-8")

    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["tiles"][2]["sigma_px"] is None


def test_a_number_that_json_lacks_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        views.write(replace(solved_view(), scale=float("nan")), tmp_path / "v.json")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[]", "holds no view"),
        ('{"kind": "mosaic", "version": 2}', "version 2, 1 is needed"),
        ('{"kind": "mosaic", "version": 1, "title": "x"}', "not a complete view"),
        ('{"kind": "pair", "version": 1}', "not a complete view"),
    ],
)
def test_a_file_that_is_no_view_says_so(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(FormatError, match=said):
        views.read(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        views.read(tmp_path / "none.json")
