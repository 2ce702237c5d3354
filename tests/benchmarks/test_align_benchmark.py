"""The benchmark of alignment: its sets are what it says, and it goes on where it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from real_images import shared_data

from demis_ij.synth.stack import ArrayVolume, made_up

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch):
    """Return the program as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("align", None)
    import align

    return align


def test_what_was_measured_is_kept_and_held_against_a_ledger(program, monkeypatch, tmp_path, capsys):
    made = made_up(96, 4, 1)
    volume = ArrayVolume(*zip(*(made[k] for k in range(4)), strict=True))
    monkeypatch.setitem(program.SETS, "paper", program.Set(lambda _: volume, ("moderate",)))
    words = ["align.py", "--sets", "paper", "--methods", "joint", "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [*words, "--write", str(tmp_path / "ledger.json")])
    assert program.main() == 0
    held = json.loads((tmp_path / "ledger.json").read_text())
    assert set(held) == {"align | paper/moderate | joint"}

    def never(*_):
        raise AssertionError

    monkeypatch.setitem(program.SETS, "paper", program.Set(never, ("moderate",)))
    monkeypatch.setattr(sys, "argv", [*words, "--check", str(tmp_path / "ledger.json")])
    assert program.main() == 0
    held["align | paper/moderate | joint"]["dice"] += 0.1
    (tmp_path / "ledger.json").write_text(json.dumps(held))
    assert program.main() == 1
    assert "dice" in capsys.readouterr().err


def test_the_real_volume_has_bodies_that_go_on_from_slice_to_slice(program, monkeypatch):
    folder = shared_data("em_fib25_medulla_labels")
    pytest.importorskip("h5py", reason="the labels are HDF5, which only this benchmark reads")
    monkeypatch.setenv("DEMIS_IJ_DATA", str(folder.parent))

    volume = program.fib25(4, 3)
    (image, label), (_, after) = volume[0], volume[1]

    assert image.shape == label.shape == (250, 250)
    assert (label == after).mean() > 0.5
    inside = label[1:, 1:] == label[:-1, :-1]
    assert image[1:, 1:][inside].mean() > image[1:, 1:][~inside].mean()  # membranes are dark, and lie between bodies
    assert len(np.unique(label)) > 30


def test_a_table_has_scores_changes_and_residuals(program):
    def row(case, method, **values):
        return program.Row(f"own/{case}", method, {"cpu_s_per_section": 0.5, **values})

    gain = {"dice_before": 0.5, "dice": 0.75, "dice_true": 0.8, "dice_score": 0.83, "drift_dice_before": 0.6}
    rows = [
        row("none", "joint", dice_before=0.8, dice=0.79, dice_true=0.8, drift_dice=0.9, drift_dice_before=1.0),
        row("mild", "joint", **gain, drift_dice=0.7),
        row("same", "joint", **gain, drift_dice=0.5, residual_px=0.412),
        program.Row("own/mild", "chain:flow", {"failed_stacks": 1.0}),
    ]

    assert program.markdown(rows).splitlines() == [
        "| own | none | mild | same | drift kept | s/section |",
        "|---|---|---|---|---|---|",
        "| joint | -0.010 | 0.83 | 0.41 px | 1/2 | 0.50 |",
        "| chain:flow | - | - | - | 0/0 | - |",
    ]
