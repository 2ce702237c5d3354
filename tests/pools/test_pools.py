"""Workers: the same results from any number of them, and a worker that dies costs no more than a second try."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pool_tasks
import psutil
import pytest

from demis_ij.errors import DemisError, FormatError, InputError, MissingPart
from demis_ij.pools import Done, Kept, open_pool
from demis_ij.pools.processes import ProcessPool
from demis_ij.pools.tasks import SerialPool


@pytest.fixture(scope="module")
def two():
    with open_pool(2) as pool:
        yield pool


def by_task(done):
    return {d.task: d.value for d in done}


def test_one_worker_is_this_process_and_nothing_is_pickled():
    with open_pool() as pool:
        assert isinstance(pool, SerialPool)
        assert [d.value for d in pool.unordered(lambda n: (n, os.getpid()), range(3))] == [
            (n, os.getpid()) for n in range(3)
        ]


def test_two_workers_do_what_one_does(two):
    assert by_task(two.unordered(pool_tasks.squared, range(50))) == {n: n * n for n in range(50)}
    pids = {d.value for d in two.unordered(pool_tasks.where, range(150))}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_no_task_is_no_work():
    with open_pool(2) as pool:
        assert list(pool.unordered(pool_tasks.squared, [])) == []
        assert pool._crew == []  # not even a process


def test_tasks_are_drawn_as_workers_become_free(two):
    drawn = []

    def tasks():
        for n in range(1000):
            drawn.append(n)
            yield n

    loop = two.unordered(pool_tasks.squared, tasks())
    for _ in range(10):
        next(loop)
    assert len(drawn) <= 10 + 2 * two.workers
    loop.close()
    assert by_task(two.unordered(pool_tasks.squared, range(5))) == {n: n * n for n in range(5)}  # none of the old loop


def test_a_slow_task_does_not_hold_the_others(two):
    assert [d.task for d in two.unordered(pool_tasks.slow_zero, range(30))][-1] == 0


def test_a_worker_that_is_killed_costs_its_task_a_second_try(two, tmp_path):
    tasks = [(n, str(tmp_path)) for n in range(10)]
    done = list(two.unordered(pool_tasks.dies_once, tasks))
    assert sorted(d.value for d in done) == list(range(10))
    assert {d.problem for d in done} == {None}


def test_a_task_that_three_workers_died_on_is_given_up_and_the_rest_is_done(two):
    done = {d.task: d for d in two.unordered(pool_tasks.dies_on_two, range(6))}
    assert {n for n, d in done.items() if d.problem is None} == {0, 1, 3, 4, 5}
    assert done[2] == Done(
        2, None, "given up: 3 workers died on it (the last one was killed by SIGKILL: out of memory?)"
    )


def test_a_worker_that_dies_while_it_waits_is_replaced(two):
    list(two.unordered(pool_tasks.squared, range(4)))
    for worker in two._crew:
        worker.process.kill()
        worker.process.join()
    done = list(two.unordered(pool_tasks.squared, range(8)))
    assert sorted(d.value for d in done) == [n * n for n in range(8)]
    assert {d.problem for d in done} == {None}


def test_what_the_function_raises_is_raised_here_with_the_worker_s_traceback(two):
    with pytest.raises(FormatError, match="holds no tile") as caught:
        list(two.unordered(pool_tasks.refuses_two, range(5)))
    assert str(caught.value) == "layout.txt: line 7: holds no tile"
    assert caught.value.where == "line 7"
    assert "refuses_two" in caught.value.__notes__[0]
    with pytest.raises(DemisError, match="Odd: quite odd"):
        list(two.unordered(pool_tasks.is_odd, [1]))


def test_a_function_that_cannot_be_pickled_is_an_error_and_the_pool_goes_on(two):
    with pytest.raises((pickle.PicklingError, AttributeError)):
        list(two.unordered(lambda n: n, [1]))
    assert [d.value for d in two.unordered(pool_tasks.squared, [3])] == [9]


def test_two_loops_at_a_time_are_refused(two):
    loop = two.unordered(pool_tasks.squared, range(9))
    next(loop)
    with pytest.raises(RuntimeError, match="busy"):
        next(two.unordered(pool_tasks.squared, range(9)))
    loop.close()


def test_cores_are_shared_out():
    with ProcessPool(2, threads=1) as pool:
        assert [d.value for d in pool.unordered(pool_tasks.threads, [0])] == [("1", 1, 1)]


def test_a_worker_keeps_what_is_dear_from_task_to_task(two):
    seen = [d.value for d in two.unordered(pool_tasks.keeps, range(12))]
    for pid, times in Counter(pid for pid, _ in seen).items():
        assert sorted(n for p, n in seen if p == pid) == list(range(1, times + 1))


def test_what_is_kept_is_bounded():
    made = []
    kept = Kept(most=2)
    for key in "abcab":
        kept.get(key, lambda key=key: made.append(key))
    assert made == ["a", "b", "c", "a", "b"]
    kept.get("a", lambda: made.append("again"))
    assert made[-1] == "b"


def test_memory_is_shared_out():
    with open_pool(4, memory_bytes=8 << 30) as pool:
        assert pool.bytes_each == 2 << 30
    assert open_pool(memory_bytes=5).bytes_each == 5
    assert open_pool().bytes_each is None


def test_zero_workers_is_one_a_core_and_fewer_are_refused():
    with open_pool(0) as pool:
        assert 1 <= pool.workers <= os.cpu_count()
    with pytest.raises(InputError, match="workers -1"):
        open_pool(-1)


def test_workers_that_die_at_once_are_one_line(monkeypatch):
    monkeypatch.setattr("demis_ij.pools.processes.serve", pool_tasks.dies_on_start)
    with pytest.raises(DemisError, match="no worker process can be started: 3 in a row died at once"):
        list(open_pool(2).unordered(pool_tasks.squared, range(3)))


CTRL_C = """
import sys
sys.path.insert(0, {folder!r})
import pool_tasks
from demis_ij.pools import open_pool
if __name__ == "__main__":
    with open_pool({workers}, {dask!r}) as pool:
        list(pool.unordered(pool_tasks.sleeps, [{one!r}, {two!r}]))
"""


def alone(code, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def started(paths, process):
    until = time.monotonic() + 60
    while not all(p.exists() and p.read_text() for p in paths):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return [int(p.read_text()) for p in paths]


def gone(pids):
    until = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_a_killed_program_leave_no_worker_behind(tmp_path, how):
    marks = [tmp_path / "one", tmp_path / "two"]
    folder = str(Path(__file__).parent)
    process = alone(CTRL_C.format(folder=folder, workers=2, dask=None, one=str(marks[0]), two=str(marks[1])), tmp_path)
    pids = started(marks, process)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: to all of them
    else:
        process.send_signal(how)
    _, err = process.communicate(timeout=30)
    assert gone(pids)
    if how is signal.SIGINT:
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert err.count("Traceback") == 1  # the workers say nothing


def test_without_dask_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingPart, match=r"demis_ij\[cluster\]"):
        open_pool(dask="local")
