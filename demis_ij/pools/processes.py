"""Processes on this machine, each with a pipe of its own.

`concurrent.futures` gives up the whole pool when one process dies, and a queue that processes share may stay locked by
one that was killed. Here nothing is shared: a dead process costs its task another try, and nobody else anything.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

from demis_ij.errors import DemisError
from demis_ij.pools.cores import cores
from demis_ij.pools.devices import device_of, devices
from demis_ij.pools.interrupts import ctrl_c_held_back
from demis_ij.pools.serving import serve
from demis_ij.pools.tasks import MOST_DEATHS, Done, Pool, Task, Value, given_up

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class _Worker:
    """A process and this end of its pipe."""

    def __init__(self, threads: int, place: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=serve, args=(theirs, threads), daemon=True)
        with _environment_of_children(threads, device_of(place, devices())), ctrl_c_held_back():
            self.process.start()
        theirs.close()
        self.place = place
        self.ready = False
        self.ticket: int | None = None

    def received(self) -> list[Any]:
        """Return what it has said, "dead" last when it is."""
        said: list[Any] = []
        try:
            while self.pipe.poll():
                said.append(pickle.loads(self.pipe.recv_bytes()))
        except (EOFError, OSError):
            said.append("dead")
        else:
            if not self.process.is_alive() and not self.pipe.poll():
                said.append("dead")
        return said

    def epitaph(self) -> str:
        """Return how it died, in words."""
        self.process.join(5)
        code = self.process.exitcode
        if code is None:
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        hint = ": out of memory?" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"

    def end(self, *, at_once: bool) -> None:
        """End the process; one that is idle may leave by itself."""
        self.pipe.close()
        if not at_once:
            self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()


@contextmanager
def _environment_of_children(threads: int, device: Mapping[str, str]) -> Iterator[None]:
    """Let processes that are started within know how many threads they may use, and which GPU."""
    before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, *device)}
    for name in THREAD_VARIABLES:
        value = before[name]
        os.environ[name] = str(min(threads, int(value)) if value and value.isdecimal() else threads)
    os.environ.update(device)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Loop:
    """One call of `ProcessPool.unordered`: what is waiting and what is being done, with how many workers died on it."""

    def __init__(self, function: Callable[[Any], Any], fresh: Iterator[Any]) -> None:
        self.function = function
        self.waiting: deque[tuple[Any, int]] = deque()
        self.running: dict[int, tuple[Any, int]] = {}
        self._fresh = fresh
        self._is_drawn = False

    def has_waiting(self, number: int) -> bool:
        """Return whether so many tasks wait, drawing them where they do not."""
        while len(self.waiting) < number and not self._is_drawn:
            try:
                self.waiting.append((next(self._fresh), 0))
            except StopIteration:
                self._is_drawn = True
        return len(self.waiting) >= number

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done."""
        return self._is_drawn and not self.waiting and not self.running


def _done(worker: _Worker, said: Any, loop: _Loop) -> Done[Any, Any] | None:
    """Return what a worker has done, None where it belongs to a loop that was left early."""
    ticket, value, error = said
    worker.ticket = None
    if ticket not in loop.running:
        return None
    task, _ = loop.running.pop(ticket)
    if error is not None:
        raise error
    return Done(task, value)


class ProcessPool(Pool):
    """Spawned processes, started when there is work for them, replaced when they die; each has a GPU of its own.

    Parameters
    ----------
    workers : int
        How many.
    memory_bytes : int, optional
        What they may keep together.
    threads : int, optional
        Of each; cores shared out when not given.
    """

    def __init__(self, workers: int, memory_bytes: int | None = None, *, threads: int | None = None) -> None:
        self.workers = workers
        self.memory_bytes = memory_bytes
        self._threads = threads or max(1, cores() // workers)
        self._crew: list[_Worker] = []
        self._failed_starts = 0
        self._next_ticket = 0
        self._in_use = False

    def unordered(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Done[Task, Value]]:
        """Yield tasks as they are done; each worker has one at a time."""
        if self._in_use:
            msg = "this pool is busy with another loop"
            raise RuntimeError(msg)
        self._in_use = True
        loop = _Loop(function, iter(tasks))
        try:
            self._hand_out(loop)
            while not loop.is_over:
                yield from self._collect(loop)
        except GeneratorExit:
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._in_use = False

    def _hand_out(self, loop: _Loop) -> None:
        """Give every idle worker a task; where there are more tasks than workers, start one."""
        while True:
            free = next((w for w in self._crew if w.ready and w.ticket is None), None)
            if free is None and len(self._crew) >= self.workers:
                return
            if not loop.has_waiting(1 if free is not None else 1 + sum(not w.ready for w in self._crew)):
                return
            if free is None:
                taken = {w.place for w in self._crew}
                self._crew.append(_Worker(self._threads, next(n for n in range(self.workers) if n not in taken)))
                continue
            item = loop.waiting.popleft()
            payload = pickle.dumps((loop.function, item[0]), pickle.HIGHEST_PROTOCOL)
            self._next_ticket += 1
            free.ticket = self._next_ticket
            try:
                free.pipe.send((free.ticket, payload))
            except OSError:  # it died while idle, which is not the task's fault; its end is read like any other
                loop.waiting.appendleft(item)
            else:
                loop.running[free.ticket] = item

    def _collect(self, loop: _Loop) -> Iterator[Done[Any, Any]]:
        """Wait for workers and yield what they have done, after each of them has got its next task."""
        by_handle: dict[Any, _Worker] = {w.pipe: w for w in self._crew} | {w.process.sentinel: w for w in self._crew}
        heard = {id(w): w for w in (by_handle[h] for h in wait(list(by_handle), timeout=1.0))}
        for worker in heard.values():
            for said in worker.received():
                if said == "ready":
                    worker.ready, self._failed_starts, ended = True, 0, None
                elif said == "dead":
                    ended = self._buried(worker, loop)
                else:
                    ended = _done(worker, said, loop)
                self._hand_out(loop)
                if ended is not None:
                    yield ended

    def _buried(self, worker: _Worker, loop: _Loop) -> Done[Any, Any] | None:
        """Take a dead worker out; its task is tried again, or given up."""
        how = worker.epitaph()
        self._crew.remove(worker)
        worker.end(at_once=True)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= MOST_DEATHS:
                msg = f"no worker process can be started: {self._failed_starts} in a row died at once (the last {how})"
                raise DemisError(msg)
            return None
        if worker.ticket not in loop.running:
            return None
        task, deaths = loop.running.pop(worker.ticket)
        if deaths + 1 >= MOST_DEATHS:
            return given_up(task, how)
        loop.waiting.append((task, deaths + 1))
        return None

    def close(self) -> None:
        """End all processes, those that work at once."""
        crew, self._crew = self._crew, []
        for worker in crew:
            if worker.ticket is not None or not worker.ready:
                worker.process.kill()
        for worker in crew:
            worker.end(at_once=worker.ticket is not None or not worker.ready)
