"""Progress as lines and bars: rate, time left, memory in use."""

from __future__ import annotations

import io
import multiprocessing
import time

import pytest
from rich.console import Console

from demis_ij.cli import progress
from demis_ij.cli.memory_in_use import memory_in_use
from demis_ij.cli.progress import Bars
from demis_ij.display.pace import Pace, clock


@pytest.fixture
def clock_s(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr("demis_ij.cli.progress.time.perf_counter", lambda: now[0])
    return now


def lines_of(bars, monkeypatch):
    lines = []
    monkeypatch.setattr(bars._console, "print", lambda text, **_options: lines.append(text))
    return lines


def test_a_log_file_gets_a_line_with_rate_and_time_left_every_half_minute(clock_s, monkeypatch):
    with Bars() as bars:
        lines = lines_of(bars, monkeypatch)
        for second in range(66):
            clock_s[0] = float(second)
            bars("sift", 10 * second, 1960)
    assert lines == ["sift: 300 of 1960, 10.0/s, 2:46 left", "sift: 600 of 1960, 10.0/s, 2:16 left"]


def test_what_an_earlier_run_has_done_says_nothing_of_the_rate():
    pace = Pace(0.0, 1_000_000, 1_000_100)
    pace.tell(10.0, 1_000_010, 1_000_100)
    assert pace.rate == pytest.approx(1.0)
    assert pace.left_s(10.0) == pytest.approx(90.0)


def test_the_rate_is_that_of_the_last_minute():
    pace = Pace(0.0, 0, 100_000)
    for second in range(1, 1001):
        pace.tell(float(second), 100 * second, 100_000)
    for second in range(1001, 1201):  # a slower disk from here on
        pace.tell(float(second), 100_000 + (second - 1000), 200_000)
    assert pace.rate == pytest.approx(1.0, rel=0.05)


def test_nothing_is_said_of_a_rate_before_anything_is_done():
    pace = Pace(0.0, 0, 10)
    pace.tell(100.0, 0, 10)
    assert (pace.rate, pace.left_s(100.0), pace.said(100.0)) == (None, None, "")


def test_the_time_left_goes_down_while_nothing_is_told():
    pace = Pace(0.0, 0, 10)
    pace.tell(5.0, 5, 10)
    assert [pace.left_s(now) for now in (5.0, 7.0, 50.0)] == [5.0, 3.0, 0.0]
    assert clock(3600) == "1:00:00"


def test_memory_in_use_stands_beside_a_limit_and_looks_are_rare(clock_s, monkeypatch):
    looks = []
    monkeypatch.setattr(progress, "memory_in_use", lambda: looks.append(1) or 3 * 1024**3)
    with Bars(memory_bytes=8 * 1024**3) as bars:
        lines = lines_of(bars, monkeypatch)
        bars("render", 0, 2)
        clock_s[0] = 40.0
        bars("render", 1, 2)
        clock_s[0] = 41.0
        bars("render", 2, 2)
    assert lines == [
        "render: 1 of 2, 1.5/min, 0:40 left, 3.0 GiB of 8.0 GiB",
        "render: 2 of 2, 41.0 s, 3.0 GiB of 8.0 GiB",
    ]
    assert len(looks) == 1


def test_a_bar_on_a_terminal_shows_rate_time_left_and_memory(monkeypatch):
    page = io.StringIO()
    monkeypatch.setattr(progress, "memory_in_use", lambda: 100 * 1024**2)
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=page, force_terminal=True, width=120, color_system=None)
    )
    now = [10.0]
    monkeypatch.setattr("demis_ij.cli.progress.time.perf_counter", lambda: now[0])
    with Bars(memory_bytes=1024**3) as bars:
        bars("loftr", 0, 60)
        now[0] = 14.0
        bars("loftr", 20, 60)
    said = page.getvalue()
    assert "20/60" in said
    assert "5.0/s 0:08 left  100 MiB of 1.0 GiB" in said


def test_memory_in_use_counts_processes_that_were_started():
    before = memory_in_use()
    if before is None:
        pytest.skip("this system does not tell")
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,))
    child.start()
    try:
        deadline = time.monotonic() + 20
        while (found := memory_in_use()) < before + 2**20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found >= before + 2**20
    finally:
        child.kill()
        child.join()
