"""The benchmark of registering: its real pairs are what it says, and it goes on where it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from real_images import shared_data

from demis_ij.geometry import fit_similarity
from demis_ij.records import Affine

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch):
    """Return the program as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("register", None)
    import register

    return register


def test_landmarks_are_those_that_the_authors_laid_on_each_other(program, monkeypatch):
    folder = shared_data("corr_histology_microct")
    monkeypatch.setenv("DEMIS_IJ_DATA", str(folder.parent))

    fixed, moving = program.landmarks()

    assert len(fixed) == len(moving) == 46
    assert np.abs((fixed - moving).mean(axis=0)).max() < 1e-4  # px: a least-squares affine leaves no mean difference
    best = Affine.from_matrix(fit_similarity(fixed, moving))
    assert np.allclose(best.rows, Affine().rows, atol=1e-3)
    assert np.hypot(*(best(fixed) - moving).T).mean() == pytest.approx(5.308, abs=0.001)


def test_landmarks_go_along_when_an_image_is_turned(program, monkeypatch):
    folder = shared_data("corr_histology_microct")
    monkeypatch.setenv("DEMIS_IJ_DATA", str(folder.parent))
    monkeypatch.setattr(program, "TURNED", 1)

    as_it_is, turned = program.microct()

    for one in (as_it_is, turned):
        assert one.measure(one.pair.to_moving) == pytest.approx(5.308, abs=0.001)
    off = Affine.translation(3, 4) @ turned.pair.to_moving
    assert abs(turned.measure(off) - 5.308) > 0.1
    assert turned.masks[1].mean() < as_it_is.masks[1].mean() < 1


def test_a_number_of_a_transform_is_the_same_each_time_and_zero_is_none(program):
    image = np.random.default_rng(0).integers(0, 255, (90, 120), np.uint8)

    (same, _, none), (one, mask, at), (two, *_) = (program.turned(image, k) for k in (0, 3, 3))

    assert np.array_equal(same, image)
    assert none == Affine()
    assert np.array_equal(one, two)
    assert abs(np.degrees(at.angle)) <= 30
    assert not mask.all()


def test_what_was_measured_is_kept_and_held_against_a_ledger(program, monkeypatch, tmp_path, capsys):
    words = ["register.py", "--sets", "made", "--scenes", "mono/small", "--methods", "log-polar", "--pairs", "1"]
    words += ["--out", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [*words, "--write", str(tmp_path / "ledger.json")])
    assert program.main() == 0
    assert "| mono/small | 0 %, " in capsys.readouterr().out
    held = json.loads((tmp_path / "ledger.json").read_text())
    assert set(held) == {"register | mono/small | log-polar", "register | all scenes | log-polar"}

    monkeypatch.setattr("demis_ij.evaluate.register.made_pair", None)  # nothing is made again
    held["register | mono/small | log-polar"]["error_px"] = 0.01
    (tmp_path / "ledger.json").write_text(json.dumps(held))
    monkeypatch.setattr(sys, "argv", [*words, "--check", str(tmp_path / "ledger.json")])
    assert program.main() == 1
    assert "fell: register | mono/small | log-polar: error_px 0.01 ->" in capsys.readouterr().err


def test_a_cell_tells_failures_error_and_time_and_a_dash_what_is_refused(program):
    values = {"failed": 0.25, "error_px": 1.234, "error_95_px": np.inf, "wall_ms": 9.0, "cpu_ms": 80.4, "of_sift": 0.2}

    assert program.told(values) == "25 %, 1.23 (-), 80 ms (0.20)"
    assert program.told({**values, "of_best": 1.05}) == "25 %, 1.23 (-), 1.05 of best, 80 ms (0.20)"
    assert program.told({"recognised": 1.0, "cpu_ms": 50.0}) == "100 % refused, 50 ms"
