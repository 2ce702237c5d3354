"""A loop that its caller leaves: what is being done is ended, nothing else is begun, and nobody says a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pool_tasks
import psutil
import pytest

from demis_ij.pools import open_pool


class Left(Exception):
    """What the caller of a loop raises."""


@pytest.fixture(scope="module", params=[None, "local"], ids=["processes", "dask"])
def two(request):
    with open_pool(2, request.param) as pool:
        list(pool.unordered(pool_tasks.squared, range(20)))  # both workers are there
        yield pool


def leave(pool, folder):
    """Leave a loop by an exception, which the caller keeps, with all of its frames."""
    with closing(pool.unordered(pool_tasks.begun, ((str(folder), n) for n in range(100)))) as loop:
        for done in loop:
            raise Left(done.task)


def test_nothing_is_begun_after_an_exception_and_the_pool_is_free(two, tmp_path, capfd):
    with pytest.raises(Left) as kept:
        leave(two, tmp_path)
    at_once = len(list(tmp_path.iterdir()))
    time.sleep(1.2)

    assert kept.value.args  # the exception, and with it the frames of the loop, is still there
    assert len(list(tmp_path.iterdir())) <= at_once + two.workers
    assert at_once <= 2 * two.workers + 1
    assert sorted(d.value for d in two.unordered(pool_tasks.squared, range(9))) == [n * n for n in range(9)]
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import pool_tasks
from demis_ij.pools import open_pool
if __name__ == "__main__":
    with open_pool(2, {dask!r}) as pool:
        for done in pool.unordered(pool_tasks.begun, (({marks!r}, n) for n in range(1000))):
            {body}
"""


def run(tmp_path, dask, body):
    marks = tmp_path / "marks"
    marks.mkdir()
    code = SCRIPT.format(folder=str(Path(__file__).parent), dask=dask, marks=str(marks), body=body)
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while len(list(marks.iterdir())) < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process, marks


def ended(process, marks):
    """Assert that a program and all that it started are gone; return how many tasks were begun, and its words."""
    out, err = process.communicate(timeout=60)
    assert out == ""
    count = len(list(marks.iterdir()))
    until = time.monotonic() + 20
    while any(os.getpgid(p.pid) == process.pid for p in psutil.process_iter() if _lives(p)):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len(list(marks.iterdir())) == count
    return count, err


def _lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) is not None
    except (psutil.Error, OSError):
        return False


@pytest.mark.parametrize("dask", [None, "local"], ids=["processes", "dask"])
def test_an_exception_in_the_loop_ends_the_workers_without_a_word(tmp_path, dask):
    process, marks = run(tmp_path, dask, "sys.exit(3) if done.task[1] > 4 else None")

    count, err = ended(process, marks)

    assert (process.returncode, err) == (3, "")
    assert count <= 16


@pytest.mark.parametrize("dask", [None, "local"], ids=["processes", "dask"])
def test_ctrl_c_ends_the_workers_without_a_word_of_theirs(tmp_path, dask):
    process, marks = run(tmp_path, dask, "pass")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    before = len(list(marks.iterdir()))

    count, err = ended(process, marks)

    assert count <= before + 6
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1, err
