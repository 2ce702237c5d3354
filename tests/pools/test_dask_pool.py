"""Workers of a dask cluster: one scheduler with two workers on this machine serves all tests here."""

from __future__ import annotations

import socket
import time

import pool_tasks
import pytest

from demis_ij.errors import FormatError, InputError
from demis_ij.pools import cluster, cores, open_pool


@pytest.fixture(scope="module")
def two():
    with open_pool(2, "local") as pool:
        yield pool


def test_a_local_cluster_does_what_one_process_does(two):
    assert two.workers == 2
    assert {d.task: d.value for d in two.unordered(pool_tasks.squared, range(60))} == {n: n * n for n in range(60)}
    share = next(d.value for d in two.unordered(pool_tasks.threads, [0]))
    assert share == (str(max(1, cores() // 2)), max(1, cores() // 2), max(1, cores() // 2))


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
    assert sorted(d.value for d in two.unordered(pool_tasks.squared, range(5))) == [0, 1, 4, 9, 16]


def test_what_the_function_raises_is_raised_here(two):
    with pytest.raises(FormatError, match="holds no tile"):
        list(two.unordered(pool_tasks.refuses_two, range(5)))
    assert [d.value for d in two.unordered(pool_tasks.squared, [4])] == [16]


def test_a_task_that_three_workers_died_on_is_given_up_and_the_rest_is_done(two):
    done = {d.task: d for d in two.unordered(pool_tasks.dies_on_two, range(4))}
    assert {n for n, d in done.items() if d.problem is None} == {0, 1, 3}
    assert done[2].problem.startswith("given up: 3 workers died on it")


def test_a_task_that_was_given_up_is_tried_once_more_when_nothing_else_is_on_its_way(two, monkeypatch, tmp_path):
    really, blamed = type(two)._killer, []

    def blames_the_first(self, future):
        if not blamed:
            blamed.append(future)
            return "what waited behind a task that kills"
        return really(self, future)

    monkeypatch.setattr(type(two), "_killer", blames_the_first)
    tasks = [(n, str(tmp_path)) for n in range(8)]
    done = list(two.unordered(pool_tasks.notes_itself, tasks))
    assert {d.task[0]: d.value for d in done} == {n: n for n in range(8)}
    last = (tmp_path / "order").read_text().split()[-1]
    assert done[-1].task[0] == int(last), "it came last, by itself"
    assert (tmp_path / "order").read_text().split().count(last) == 2


def test_a_scheduler_that_is_not_there_is_one_line_soon():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(InputError, match=f"^dask: no scheduler answers at {address} "):
        open_pool(dask=address)
    assert time.monotonic() - began < 60  # not a speed: that it comes to an end
    with pytest.raises(InputError, match="no scheduler answers at nonsense://x"):
        open_pool(dask="nonsense://x")


def test_workers_of_another_version_are_one_line(two, monkeypatch):
    monkeypatch.setattr(cluster, "_versions", lambda: ("3.11", "99.0"))
    with pytest.raises(InputError, match=r"^dask: worker tcp://\S+ has demis_ij \S+, here is demis_ij 99.0: use the"):
        two._checked()
    monkeypatch.setattr(cluster, "_versions", lambda: ("2.7", "99.0"))
    with pytest.raises(InputError, match=r"^dask: worker tcp://\S+ has Python 3\.\d+, here is Python 2.7: use the"):
        two._checked()


def test_a_worker_of_another_version_that_joins_later_is_one_line(two, monkeypatch):
    monkeypatch.setattr(cluster, "_package_version", lambda: "99.0")
    with pytest.raises(InputError, match=r"^dask: a worker has .*, here is 99.0"):
        list(two.unordered(pool_tasks.squared, [1]))


def test_a_scheduler_without_workers_is_one_line(monkeypatch):
    import distributed

    monkeypatch.setattr(cluster, "WORKERS_WITHIN_S", 1)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(InputError, match="has no worker after 1 s: start some"),
    ):
        open_pool(dask=empty.scheduler_address)


def test_workers_that_join_later_get_their_share(monkeypatch):
    import distributed

    monkeypatch.setattr(cluster, "COUNT_EVERY_S", 0.0)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as growing,
        open_pool(dask=growing.scheduler_address, memory_bytes=1 << 30) as pool,
    ):
        assert pool.workers == 1
        growing.scale(3)
        growing.wait_for_workers(3)
        drawn = []

        def tasks():
            for n in range(100):
                drawn.append(n)
                yield n

        loop = pool.unordered(pool_tasks.squared, tasks())
        next(loop)
        assert len(drawn) >= 2 * 3  # before, one worker's two were on their way at a time
        assert (pool.workers, pool.bytes_each) == (3, 1 << 30)  # of each worker, however many there are
        loop.close()
