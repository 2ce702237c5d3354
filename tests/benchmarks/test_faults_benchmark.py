"""A run that is killed at any time, or runs out of disk, ends as one that was left alone."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot do")


@pytest.fixture(scope="module")
def program():
    """Return the program as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    import faults

    yield faults
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """Return the layout, a folder, the digests of a run that was left alone, and how long it took, s."""
    home = tmp_path_factory.mktemp("faults")
    layout = program.made_scene(home / "scene", 4, 96)
    began = time.monotonic()
    assert program.waited(program.started(program.words(layout, home / "whole" / "run", 1), home / "whole.log")) == 0
    length = time.monotonic() - began
    return layout, home, program.digests(home / "whole" / "run"), length


@pytest.mark.slow
def test_a_run_killed_three_times_ends_as_one_that_was_left_alone(program, whole):
    layout, home, digests, length = whole
    (home / "killed").mkdir()

    times = [share * length for share in (0.2, 0.22, 0.24)]  # long before a resumed run can be done
    trial = program.killed_and_resumed(layout, home / "killed", 1, times, home / "killed.log")
    program.compared(trial, home / "killed" / "run", digests)

    assert len(trial.kills) == 3
    assert trial.twice == 0
    assert trial.differs == []
    assert {"solution.json", "seams.csv", "mosaic.ome.tif", "report.html", "matches/0/all.parquet"} <= set(digests)


@pytest.mark.slow
@pytest.mark.parametrize("write", [1, 4, 9])
def test_a_run_on_a_full_disk_ends_as_one_that_was_left_alone(program, whole, write, monkeypatch):
    layout, home, digests, _ = whole
    run = home / f"full{write}" / "run"
    (home / f"full{write}").mkdir()
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        first = program.started(program.words(layout, run, 1), home / f"full{write}.log")
    assert program.waited(first) == 1
    assert "the disk is full; what is done is kept" in (home / f"full{write}.out").read_text()
    known = program.stored(run)
    again = home / f"again{write}.log"
    assert program.waited(program.started(program.words(layout, run, 1), again)) == 0

    trial = program.Trial(1)
    program.compared(trial, run, digests)
    assert trial.differs == []
    assert not set(program.asked_in(again)) & known
