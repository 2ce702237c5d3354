"""Evaluation of registering: pairs with truth, strangers, rows, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from demis_ij.cli import main
from demis_ij.errors import InputError
from demis_ij.evaluate.register import (
    evaluate_registrations,
    made_pair,
    parameters,
    read_method,
    register_rows,
)
from demis_ij.evaluate.scores import RegisterScore
from demis_ij.records import Affine

SIDE = 192


def test_a_pair_is_the_same_each_time_and_its_truth_is_in_the_range() -> None:
    one, two = (made_pair("xray/small", 0, SIDE) for _ in range(2))
    assert np.array_equal(one.moving, two.moving)
    angle, log_scale, x, y = parameters(one.to_moving, one.fixed.shape)
    assert abs(angle) <= 5
    assert abs(log_scale) <= np.log(1.05)
    assert max(abs(x), abs(y)) <= 0.04
    assert made_pair("strangers", 0, SIDE).to_moving is None


def test_rows_count_refusals_as_failures_and_strangers_apart() -> None:
    def score(scene: str, pair: int, **values: object) -> RegisterScore:
        return RegisterScore(scene=scene, configuration="m", pair=pair, **values)  # type: ignore[arg-type]

    scores = [
        score("mono/full", 0, matched=True, error_px=0.5, sigma_px=1.0, true=(1.0, 0, 0, 0), found=(1.1, 0, 0, 0)),
        score("mono/full", 1, matched=True, error_px=12.0, sigma_px=1.0, true=(-1.0, 0, 0, 0), found=(-1, 0, 0, 0)),
        score("mono/full", 2),
        score("strangers", 0, stranger=True),
        score("strangers", 1, stranger=True, matched=True),
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
    assert json.loads(demis(*told, *small)[1])["table"] == json.loads(first)["table"]
    assert demis(*told, "--scene", "radio/full")[0] == 2
