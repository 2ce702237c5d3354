"""Evaluation of registering light with electrons: methods, scores, rows, the page and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from demis_ij.cli import main
from demis_ij.config.correlative import CorrelativeConfig
from demis_ij.errors import InputError, WeightsError
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.scores import StyleScore
from demis_ij.evaluate.style import digests_of, evaluate_styles, read_styles
from demis_ij.evaluate.style_methods import contrast, engine_of, gradient, looked_at, read_method
from demis_ij.evaluate.style_rows import style_rows
from demis_ij.evaluate.summary import ALL
from demis_ij.report.style_evaluation import style_evaluation_page, write_style_evaluation
from demis_ij.report.style_pictures import Pictured, checkerboard, deformation_grid, panels, registered, strip
from demis_ij.synth.correlative_views import EVALUATION, perfect_style, views

SIDE = 256


class Inverted:
    """A style that only inverts: enough to see what is asked of one."""

    def fits(self, image: np.ndarray) -> bool:
        return image.ndim == 2

    def shown(self, image: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(compared=image)

    def __call__(self, image: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(compared=255 - image)


def score(kind: str, method: str, pair: int, tier: str, mean_px: float, told: str = "") -> StyleScore:
    return StyleScore(
        scene=kind, configuration=method, pair=pair, tier=tier, overlap_tier=told or tier, mean_px=mean_px,
        p95_px=2 * mean_px, before_px=6.7, folded_frac=0.0, known_frac=1.0, wall_s=0.5, cpu_s=0.4,
    )  # fmt: skip


def test_a_method_is_a_look_and_an_engine_with_settings_of_ours() -> None:
    found = read_method("styled+elastic,similarity=mi,window_px=5")

    assert (found.look, found.engine) == ("styled", "elastic")
    assert found.settings is not None
    assert found.settings.similarity == "mi"
    assert found.settings.window_px == 5
    assert read_method("nothing").engine == "nothing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raw", r"LOOK\+ENGINE"), ("blue+dis", "blue"), ("raw+magic", "magic"), ("raw+dis,window_px=3", "only elastic"),
        ("raw+elastic,speed=3", "speed"), ("raw+elastic,window_px=wide", "window_px needs a number"),
        ("raw+elastic,similarity=touch", "similarity"),
    ],
)  # fmt: skip
def test_a_method_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_method(text)


def test_looks_show_what_they_say() -> None:
    pair = views("steel", EVALUATION, SIDE)
    light = cv2.cvtColor(pair.lom, cv2.COLOR_RGB2GRAY)

    np.testing.assert_array_equal(looked_at(pair, "raw", {})[1], light)
    np.testing.assert_array_equal(looked_at(pair, "gradient", {})[0], gradient(pair.sem))
    np.testing.assert_array_equal(looked_at(pair, "perfect", {})[1], perfect_style("steel", EVALUATION, SIDE))
    np.testing.assert_array_equal(looked_at(pair, "styled", {"steel": Inverted()})[1], 255 - light)
    with pytest.raises(InputError, match="no style for steel"):
        looked_at(pair, "styled", {"tissue": Inverted()})


def test_a_gradient_is_bright_at_an_edge_and_dark_elsewhere() -> None:
    image = np.full((60, 60), 40, np.uint8)
    image[:, 30:] = 200

    found = gradient(image)

    assert found[30, 29:31].min() > 200
    assert found[:, :20].max() == 0


def test_contrast_is_the_same_for_a_negative() -> None:
    pair = views("steel", 5, SIDE)
    fixed, moving = looked_at(pair, "contrast", {})

    assert fixed.shape == moving.shape == (SIDE, SIDE)
    turned = contrast(255 - pair.sem).astype(int)
    assert np.abs(turned - fixed).mean() < 1
    assert fixed.std() > 30


def test_scores_rank_methods_and_are_not_measured_twice(tmp_path: Path) -> None:
    config = CorrelativeConfig(pairs=2, size_px=SIDE)
    methods = [read_method(m) for m in ("nothing", "raw+dis", "gradient+dis", "perfect+dis")]
    first = evaluate_styles(config, methods, kept=Kept(tmp_path))
    again = evaluate_styles(config, methods, kept=Kept(tmp_path))

    assert again == first
    by_name = {(s.scene, s.configuration): s for s in first}
    for kind in ("steel", "tissue"):
        assert by_name[kind, "nothing"].mean_px == by_name[kind, "nothing"].before_px
        assert by_name[kind, "perfect+dis"].tier == by_name[kind, "perfect+dis"].overlap_tier == "good"
        assert by_name[kind, "perfect+dis"].mean_px < 0.6
        assert by_name[kind, "gradient+dis"].mean_px < by_name[kind, "raw+dis"].mean_px
    assert by_name["steel", "raw+dis"].tier == "poor"


def test_what_was_measured_with_other_weights_is_measured_again(tmp_path: Path) -> None:
    config = CorrelativeConfig(pairs=1, size_px=SIDE, kinds=("steel",))
    method, made = [read_method("styled+dis")], []

    class Counted(Inverted):
        def __call__(self, image: np.ndarray) -> SimpleNamespace:
            made.append(1)
            return super().__call__(image)

    for weights in ("a", "a", "b"):
        evaluate_styles(config, method, styles={"steel": Counted()}, weights={"steel": weights}, kept=Kept(tmp_path))

    assert len(made) == 2


def test_a_style_that_is_missing_is_said_before_anything_is_measured() -> None:
    with pytest.raises(InputError, match="needs a style for steel and tissue"):
        evaluate_styles(CorrelativeConfig(pairs=2, size_px=SIDE), [read_method("styled+dis")])


def test_a_failure_is_told_and_counts_as_poor() -> None:
    class Broken(Inverted):
        def __call__(self, image: np.ndarray) -> SimpleNamespace:
            msg = "too small for this style"
            raise InputError(msg)

    config = CorrelativeConfig(pairs=1, size_px=SIDE, kinds=("tissue",))
    found = evaluate_styles(config, [read_method("styled+dis")], styles={"tissue": Broken()})

    assert found[0].problem == "too small for this style"
    values = style_rows(found)[0].values
    assert (values["poor"], values["lost_share"]) == (1, 1)
    assert np.isnan(values["median_residual_px"])


def test_our_engine_brings_a_shift_back() -> None:
    fixed = perfect_style("steel", 1, 128)
    moving = np.roll(fixed, 3, axis=1)

    found = engine_of(read_method("raw+elastic"))(fixed, moving)

    assert np.abs(np.median(found[0][20:-20, 20:-20]) - 3) < 0.2


def test_weights_that_ship_are_told_apart_by_what_is_in_them(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("demis_ij.nets.style_weights.shipped", lambda name: tmp_path / name)
    (tmp_path / "style_steel").write_bytes(b"trained")
    before = digests_of({"steel": "steel"})
    (tmp_path / "style_steel").write_bytes(b"trained anew")

    assert digests_of({"steel": "steel"}) != before
    with pytest.raises(WeightsError, match="no style 'absent'"):
        digests_of({"steel": "absent"})


def test_weights_are_told_for_all_kinds_or_one() -> None:
    assert read_styles(["x", "steel=y"]) == {"steel": "y", "tissue": "x"}
    with pytest.raises(InputError, match="wood"):
        read_styles(["wood=x"])


def test_rows_count_tiers_for_each_kind_and_for_all() -> None:
    tiers = ("poor", "bad", "decent", "good")
    scores = [score("steel", "a", k, t, 9 - 2 * k) for k, t in enumerate(tiers)]
    scores += [score("tissue", "a", 9, "good", 1.0, "decent"), score("tissue", "a", 10, "poor", 9.0, "good")]

    rows = {r.scene: r.values for r in style_rows(scores)}

    assert [rows["steel"][t] for t in tiers] == [1, 1, 1, 1]
    assert rows["steel"]["good_share"] == 0.25
    assert rows["steel"]["lost_share"] == 0.5
    assert rows["steel"]["same_share"] == 1
    assert rows["steel"]["median_residual_px"] == 6
    assert rows["tissue"]["flattered_share"] == 0.5
    assert rows[ALL]["pairs"] == 6
    assert rows[ALL]["same_share"] == pytest.approx(4 / 6)


# --- pictures and page ----------------------------------------------------------------------------------------------


def pictured(dx: float = 0.0) -> Pictured:
    pair = views("steel", 2, 128)
    offsets = np.stack([np.full((128, 128), dx, np.float32), np.zeros((128, 128), np.float32)])
    return Pictured("good: <a>", "said", pair.sem, pair.lom, pair.sem, offsets)


def test_pictures_show_what_was_moved_and_what_is_not_known_is_white() -> None:
    shown = pictured(5)

    after = registered(shown.moving, shown.offsets)
    np.testing.assert_array_equal(after[:, :120], shown.moving[:, 5:125])
    assert (after[:, 124:] == 255).all()
    unknown = shown.offsets.copy()
    unknown[:, :40] = np.nan
    assert (registered(shown.moving, unknown)[:40] == 255).all()
    fixed = np.repeat(shown.fixed[..., None], 3, axis=2)
    board = checkerboard(fixed, shown.moving)
    np.testing.assert_array_equal(board[:64, :64], shown.moving[:64, :64])
    np.testing.assert_array_equal(board[:64, 64:], fixed[:64, 64:])
    assert len(panels(shown)) == 7
    assert strip(shown, side_px=50, chosen=("before", "after")).shape == (50, 106, 3)


def test_a_deformation_grid_has_lines_where_the_warp_leads() -> None:
    shown = pictured(5)
    blank = np.full_like(shown.moving, 255)

    found = deformation_grid(blank, shown.offsets)

    drawn = (found != 255).any(axis=-1)
    assert drawn[:, 21].all()  # the line at 16 px, moved by 5
    assert not drawn[30:40, 5:15].any()


def test_a_page_has_a_table_for_each_kind_the_pictures_and_escaped_text(tmp_path: Path) -> None:
    scores = [score(k, m, 1, "good", 0.3) for k in ("steel", "tissue") for m in ("raw+dis", "styled+<elastic>")]

    write_style_evaluation(tmp_path / "r.html", scores, shown=[pictured()], notes=["bunwarpj is left out"])

    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page == style_evaluation_page(scores, shown=[pictured()], notes=["bunwarpj is left out"])
    assert page.count('class="bar"') == 6
    assert "styled+&lt;elastic&gt;" in page
    assert "good: &lt;a&gt;" in page
    assert page.count("data:image/jpeg") == 7
    assert "4 of 4 registrations get the tier they have" in page
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    with pytest.raises(InputError, match="found none"):
        write_style_evaluation(tmp_path / "none.html", [])


def test_the_command_writes_tables_and_a_page_and_guards_the_ledger(tmp_path: Path, monkeypatch, capsys) -> None:
    def demis(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["demis-ij", "evaluate", "style", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return (int(left.value.code or 0), *capsys.readouterr())

    asked = ["--method", "gradient+dis", "--method", "perfect+dis", "--pairs", "2", "--size", str(SIDE), "--quiet"]
    ledger = tmp_path / "ledger.json"
    code, out, _ = demis("--out", str(tmp_path / "a"), *asked, "--write", str(ledger))
    assert code == 0
    assert "perfect+dis" in out
    assert "same tier %" in out  # the words of the page and of the guide
    assert (tmp_path / "a" / "report.html").stat().st_size > 50_000
    held = json.loads(ledger.read_text(encoding="utf-8"))
    assert held["style | steel | perfect+dis"]["good_share"] == 1
    assert demis("--out", str(tmp_path / "a"), *asked, "--check", str(ledger))[0] == 0
    held["style | steel | gradient+dis"]["median_residual_px"] = 0.1
    ledger.write_text(json.dumps(held), encoding="utf-8")
    code, _, err = demis("--out", str(tmp_path / "a"), *asked, "--check", str(ledger))
    assert code == 1
    assert "fell: style | steel | gradient+dis: median_residual_px" in err
    code, _, err = demis("--out", str(tmp_path / "b"), "--method", "raw+magic")
    assert code == 2
    assert "magic" in err
    code, _, err = demis("--out", str(tmp_path / "b"), "--method", "raw+dis", "--style", "wood=x")
    assert code == 2
    assert "no kind 'wood'" in err
    assert not (tmp_path / "b").exists()


def test_help_says_what_a_fiji_is_for(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["demis-ij", "evaluate", "style", "--help"])
    with pytest.raises(SystemExit):
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert "bunwarpj runs its plugin" in said
    assert "chain:" not in said


def test_default_methods_that_need_weights_are_left_out_and_said_so(monkeypatch) -> None:
    from demis_ij.cli import evaluating_style
    from demis_ij.errors import WeightsError

    def lacking(*_: object, **__: object) -> None:
        msg = "the weights that ship are missing"
        raise WeightsError(msg)

    monkeypatch.setattr(evaluating_style, "load_styles", lacking)
    methods = [read_method(m) for m in ("raw+dis", "styled+dis")]

    left, styles, _, notes = evaluating_style.usable(methods, [], ("steel",), 1, asked=False)
    assert [m.name for m in left] == ["raw+dis"]
    assert styles == {}
    assert "missing" in notes[0]
    with pytest.raises(WeightsError):
        evaluating_style.usable(methods, [], ("steel",), 1, asked=True)
