"""Regions spread over workers: runs of neighbours for processes, one after the other for threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice

from demis_ij.pools import Done, Pool
from demis_ij.render.regions import LeftOut, RegionTask, make_run

MOST_IN_A_ROW = 4
"""Regions that a worker is given at a time: a square of them, and all that a kill can cost it."""


def by_workers(pool: Pool, tasks: Iterable[RegionTask]) -> Iterator[Done[RegionTask, LeftOut]]:
    """Yield regions as workers make them, each worker several in a row."""
    with closing(pool.unordered(make_run, in_runs(tasks, lambda: pool.workers))) as done:  # type: ignore[type-var]
        for found in done:
            if found.problem is not None:
                yield Done(found.task[0], [], found.problem)
            else:
                yield from (Done(task, left_out) for task, left_out in zip(found.task, found.value, strict=True))


def in_runs(tasks: Iterable[RegionTask], workers: Callable[[], int]) -> Iterator[tuple[RegionTask, ...]]:
    """Yield tasks, which come in Z order, several at a time: fewer towards the end, so that nobody waits for one.

    Were they handed out singly, neighbours would go to different workers, and both would read the tiles between them.
    """
    fresh = iter(tasks)
    waiting: deque[RegionTask] = deque()
    while True:
        shares = 2 * max(1, workers())
        waiting.extend(islice(fresh, max(0, MOST_IN_A_ROW * shares - len(waiting))))
        if not waiting:
            return
        yield tuple(waiting.popleft() for _ in range(max(1, len(waiting) // shares)))


def in_threads(
    function: Callable[[RegionTask], LeftOut], tasks: Iterable[RegionTask], threads: int
) -> Iterator[Done[RegionTask, LeftOut]]:
    """Yield tasks in their order, as many at a time as there are threads."""
    if threads == 1:
        for task in tasks:
            yield Done(task, function(task))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="render")
    waiting: deque[tuple[RegionTask, Future[LeftOut]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, pool.submit(function, task)))
            if len(waiting) > threads:
                first, future = waiting.popleft()
                yield Done(first, future.result())
        while waiting:
            first, future = waiting.popleft()
            yield Done(first, future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
