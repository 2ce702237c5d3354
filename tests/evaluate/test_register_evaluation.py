"""Evaluation of registering: pairs with truth, strangers, rows, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from demis_ij.cli import main
from demis_ij.cli.evaluating_register import DEFAULT, usable_methods
from demis_ij.errors import InputError, MissingPart
from demis_ij.evaluate.register import (
    evaluate_registrations,
    made_pair,
    parameters,
    read_method,
)
from demis_ij.evaluate.register_rows import pooled_rows, register_rows
from demis_ij.evaluate.scores import RegisterScore
from demis_ij.evaluate.summary import ALL
from demis_ij.records import Affine
from demis_ij.report.registration_evaluation import (
    plots_of,
    register_evaluation_page,
    write_register_evaluation,
)
from demis_ij.report.registration_plots import Axis, plots_picture, scatter

SIDE = 192


def score(scene: str, method: str, pair: int, **values: object) -> RegisterScore:
    return RegisterScore(scene=scene, configuration=method, pair=pair, **values)  # type: ignore[arg-type]


def test_a_pair_is_the_same_each_time_and_its_truth_is_in_the_range() -> None:
    one, two = (made_pair("xray/small", 0, SIDE) for _ in range(2))
    assert np.array_equal(one.moving, two.moving)
    angle, log_scale, x, y = parameters(one.to_moving, one.fixed.shape)
    assert abs(angle) <= 5
    assert abs(log_scale) <= np.log(1.05)
    assert max(abs(x), abs(y)) <= 0.04
    assert made_pair("strangers", 0, SIDE).to_moving is None


def test_rows_count_refusals_as_failures_and_strangers_apart() -> None:
    both = {"matched": True, "sigma_px": 1.0}
    scores = [
        score("mono/full", "m", 0, **both, error_px=0.5, true=(1.0, 0, 0, 0), found=(1.1, 0, 0, 0)),
        score("mono/full", "m", 1, **both, error_px=12.0, true=(-1.0, 0, 0, 0), found=(-1, 0, 0, 0)),
        score("mono/full", "m", 2),
        score("strangers", "m", 0, stranger=True),
        score("strangers", "m", 1, stranger=True, matched=True),
    ]
    pairs, strangers = (row.values for row in register_rows(scores))
    assert pairs["failed"] == pytest.approx(2 / 3)
    assert pairs["refused"] == pytest.approx(1 / 3)
    assert pairs["wrong"] == pytest.approx(1 / 3)
    assert pairs["error_px"] == 12.0
    assert pairs["r2_angle"] == pytest.approx(1 - 0.01 / 2)
    assert strangers["recognised"] == 0.5


def test_the_search_registers_a_pair_and_refuses_strangers() -> None:
    scores = evaluate_registrations(["mono/full", "strangers"], 1, [read_method("search,reach=near")], side=256)
    assert [s.matched for s in scores] == [True, False]
    assert scores[0].error_px is not None
    assert scores[0].error_px < 1
    assert scores[1].error_px is None


@pytest.mark.parametrize("text", ["magic", "search,reach=everywhere", "search,side_px=many", "search,colour=red"])
def test_an_unknown_method_or_setting_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_method(text)
    with pytest.raises(InputError, match="no scene"):
        made_pair("mono/huge", 0)


def test_what_a_method_finds_is_given_as_four_numbers() -> None:
    found = parameters(Affine.about(Affine.similarity(2.0, np.radians(30), 10, -20), (49.5, 99.5)), (200, 100))
    assert found == pytest.approx((30, np.log(2), 0.1, -0.1))
    assert parameters(None, (10, 10)) == ()


def test_the_command_writes_tables_and_goes_on_where_it_was(tmp_path: Path, monkeypatch, capsys) -> None:
    def demis(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["demis-ij", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr().out

    told = ["evaluate", "register", "--out", str(tmp_path / "e"), "--method", "log-polar", "--scene", "mono/small"]
    small = ["--pairs", "1", "--side", str(SIDE), "--json"]
    code, first = demis(*told, *small)
    assert code == 0
    assert len(list((tmp_path / "e" / "measured").glob("*.json"))) == 1
    assert {Path(p).name for p in json.loads(first)["files"].values()} <= {p.name for p in (tmp_path / "e").iterdir()}
    assert [r["scene"] for r in json.loads(first)["table"]] == ["mono/small", ALL]
    assert json.loads(demis(*told, *small)[1])["table"] == json.loads(first)["table"]
    assert demis(*told, "--scene", "radio/full")[0] == 2


def test_rows_are_pooled_by_kind_and_over_everything_without_strangers() -> None:
    scores = [
        score("mono/small", "m", 0, matched=True, error_px=1.0),
        score("mono/full", "m", 0, matched=True, error_px=3.0),
        score("xray/full", "m", 0),
        score("strangers", "m", 0, stranger=True),
    ]

    rows = {r.scene: r.values for r in pooled_rows(scores)}

    assert list(rows) == [ALL, "mono", "xray"]
    assert [rows[k]["pairs"] for k in rows] == [3, 2, 1]
    assert rows[ALL]["refused"] == pytest.approx(1 / 3)
    assert rows["mono"]["error_px"] == 3.0


def test_times_are_told_beside_those_of_sift_on_the_same_scene() -> None:
    scores = [
        score(scene, method, 0, matched=True, error_px=1.0, cpu_s=seconds)
        for scene, method, seconds in (("mono/full", "sift", 0.4), ("mono/full", "m", 0.1), ("xray/full", "m", 0.2))
    ]

    sift, ours, alone = (row.values for row in register_rows(scores))

    assert (sift["of_sift"], ours["of_sift"]) == pytest.approx((1.0, 0.25))
    assert "of_sift" not in alone


def test_scale_is_explained_as_a_factor_and_the_page_says_the_same_as_the_table() -> None:
    true, found = np.log([0.8, 1.0, 1.2]), np.log([0.82, 1.0, 1.2])
    scores = [
        score("mono/full", "auto", k, matched=True, error_px=1.0, true=(k, t, 0.1 * k, -k), found=(k, f, 0.1 * k, -k))
        for k, (t, f) in enumerate(zip(true, found, strict=True))
    ]
    scores += [score("mono/full", "auto", 3, true=(9.0, 0, 0, 0), standing=7.3)]

    (row,) = register_rows(scores)
    page = register_evaluation_page(scores, notes=["elastix <is> left out"])

    assert row.values["r2_scale"] == pytest.approx(1 - 0.02**2 / 0.08)
    assert f"R² {row.values['r2_scale']:.4f} (3)" in page
    assert "4 pairs, 1 refused" in page
    assert page.count("<circle") == 12
    assert "refused; stands out by 7.3 standard deviations" in page
    assert "elastix &lt;is&gt; left out" in page


def test_a_picture_has_a_row_of_four_plots_for_the_whole_and_for_the_network_alone(tmp_path: Path) -> None:
    there = {"matched": True, "error_px": 1.0}
    scores = [
        score("mono/full", m, k, **there, true=(k, 0.1 * k, k, k), found=(k, 0.1 * k, k, k))
        for m in ("sift", "auto", "network") for k in range(3)
    ]  # fmt: skip

    write_register_evaluation(tmp_path / "r.html", tmp_path / "p.png", scores)

    picture = cv2.imread(str(tmp_path / "p.png"))
    two = plots_picture({"a": plots_of(scores[3:6]), "b": plots_of(scores[6:])})
    assert picture.shape == two.shape
    on = (picture == (216, 126, 47)).all(axis=-1)  # the first kind's blue, on the line from corner to corner
    assert on.sum() > 8 * 3 * 12
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.png", "r.html"]


def test_a_plot_without_any_pair_is_empty_and_one_beyond_its_edge_is_told() -> None:
    nothing = np.zeros(0)
    assert "R² –" in scatter("Angle", "degrees", {"mono": (nothing, nothing)})
    true = np.array([0.0, 1.0, 2.0])
    assert "1 beyond the edge" in scatter("Angle", "degrees", {"mono": (true, np.array([0.0, 1.0, 9.0]))})
    assert Axis.of({"mono": (true, true)}).ticks == [0, 0.5, 1, 1.5, 2]


def test_elastix_is_left_out_of_the_default_methods_and_refused_when_asked_for(monkeypatch) -> None:
    def missing() -> None:
        raise MissingPart("itk-elastix", "baselines")

    monkeypatch.setattr("demis_ij.cli.evaluating_register.elastix", missing)

    methods, (note,) = usable_methods(None, 1)
    assert [m.name for m in methods] == [n for n in DEFAULT if n != "elastix"]
    assert "itk-elastix" in note
    with pytest.raises(MissingPart):
        usable_methods(["elastix"], 1)
    assert [m.name for m in usable_methods(["sift", "sift"], 1)[0]] == ["sift"]
