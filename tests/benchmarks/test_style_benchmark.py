"""The benchmark of style transfer: its table, and its ledger."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch):
    """Return the program as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("style", None)
    import style

    yield style
    sys.modules.pop("style", None)


def test_a_table_has_a_line_a_method_and_the_ledger_holds_it(program, monkeypatch, tmp_path, capsys):
    words = ["style.py", "--methods", "nothing", "perfect+dis", "--pairs", "2", "--size", "256"]
    words += ["--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [*words, "--write", str(tmp_path / "ledger.json")])
    assert program.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| look + engine | pairs of each | steel | px | tissue | px | s a pair |"
    assert lines[3].startswith("| perfect+dis | 1 | 0 / 0 / 0 / 1 | 0.")
    held = json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))
    assert set(held) == {
        f"style | {s} | {m}" for s in ("steel", "tissue", "all scenes") for m in ("nothing", "perfect+dis")
    }
    monkeypatch.setattr(sys, "argv", [*words, "--check", str(tmp_path / "ledger.json")])
    assert program.main() == 0
    held["style | steel | perfect+dis"]["median_residual_px"] = 0.01
    (tmp_path / "ledger.json").write_text(json.dumps(held), encoding="utf-8")
    assert program.main() == 1
    assert "median_residual_px" in capsys.readouterr().err
