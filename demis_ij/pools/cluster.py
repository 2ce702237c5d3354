"""Workers of dask.distributed: a scheduler somewhere, or one of its own on this machine."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

from demis_ij.errors import DemisError, InputError, MissingPart
from demis_ij.pools.cores import cores, take_share
from demis_ij.pools.devices import device_of, devices
from demis_ij.pools.interrupts import ctrl_c_held_back
from demis_ij.pools.serving import portable
from demis_ij.pools.tasks import MOST_DEATHS, Done, Pool, Task, Value, given_up

LOCAL = "local"
ANSWER_WITHIN_S = 8
WORKERS_WITHIN_S = 60
COUNT_EVERY_S = 1.0
"""Between two looks at how many workers there are: a job's come one after the other."""


QUIET: dict[str, Any] = {
    "distributed.worker.profile.enabled": False,  # it looks at the stack a hundred times a second
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
"""Of a cluster of our own: nobody looks at its dashboard."""


def _package_version() -> str:
    return str(importlib.import_module("demis_ij").__version__)


def _versions() -> tuple[str, str]:
    """Return the versions of Python and of demis_ij here."""
    return ".".join(map(str, sys.version_info[:2])), _package_version()


@cache
def _heed_share() -> None:
    """Use no more threads than dask gives a worker: one, unless its environment says otherwise."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    take_share(int(said) if said.isdecimal() and int(said) else 1)


@cache
def _choose_device(there: tuple[str, ...]) -> None:
    """Take the GPU that belongs to this worker of a cluster on one machine, whose name is its number."""
    name = importlib.import_module("distributed").get_worker().name
    if isinstance(name, int):
        os.environ.update(device_of(name, there))


def _do(
    function: Callable[[Any], Any], task: Any, version: str, there: tuple[str, ...] = ()
) -> tuple[Any, Exception | None]:
    """Do a task on a worker; its exception is a value, so that it is not taken for the cluster's own."""
    try:
        if _package_version() != version:  # a worker that joined later
            return None, InputError(_mismatch("a worker", _package_version(), version))
        _heed_share()
        _choose_device(there)
        return function(task), None
    except Exception as error:  # noqa: BLE001 - it is raised again in the caller
        return None, portable(error)


def _mismatch(who: str, there: str, here: str) -> str:
    return f"dask: {who} has {there}, here is {here}: use the same environment on all nodes"


class DaskPool(Pool):
    """Workers of a dask cluster.

    Parameters
    ----------
    address : str
        Of the scheduler, or ``local``.
    workers : int
        How many processes of one thread a local one has.
    memory_bytes : int, optional
        What the workers of one machine may keep together (local), what each worker may (a cluster).

    Raises
    ------
    InputError
        When nothing answers at the address, there is no worker, or versions differ.
    MissingPart
        When dask is not installed.
    """

    def __init__(self, address: str, workers: int, memory_bytes: int | None = None) -> None:
        try:
            self._dask: Any = importlib.import_module("distributed")
        except ImportError as error:
            raise MissingPart("dask[distributed]", "cluster") from error
        self._address = address
        self._resources = ExitStack()
        try:
            self._client: Any = self._local(workers) if address == LOCAL else self._connected(address)
            self.workers = self._checked()
        except BaseException:
            self._resources.close()
            raise
        self._counted = time.monotonic()
        self._each = memory_bytes if address != LOCAL else None
        self.memory_bytes = memory_bytes
        if self._each is not None:
            self.memory_bytes = self._each * self.workers

    @property
    def bytes_each(self) -> int | None:
        """What one worker may keep, None when nobody said; on a cluster the same however many there are."""
        return super().bytes_each if self._each is None else self._each

    def _local(self, workers: int) -> Any:
        threads = max(1, cores() // workers)
        dask: Any = importlib.import_module("dask")
        start = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        settings = {
            "distributed.nanny.pre-spawn-environ": start,
            "distributed.scheduler.allowed-failures": MOST_DEATHS - 1,
            **QUIET,
        }
        self._resources.enter_context(dask.config.set(settings))
        with ctrl_c_held_back():  # also from the thread that starts workers anew
            cluster = self._dask.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,  # our own bounds hold it; a worker that is stopped loses its work
                dashboard_address="127.0.0.1:0",  # any port: the usual one may be in use
                silence_logs=50,
            )
        self._resources.callback(cluster.close, timeout=10)
        client = self._dask.Client(cluster, set_as_default=False)
        self._resources.callback(client.close, timeout=10)
        return client

    def _connected(self, address: str) -> Any:
        try:
            client = self._dask.Client(address, timeout=ANSWER_WITHIN_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            msg = f"dask: no scheduler answers at {address} ({type(error).__name__}): start one, or give its address"
            raise InputError(msg) from error
        self._resources.callback(client.close, timeout=10)
        return client

    def _checked(self) -> int:
        """Return the number of threads of all workers, whose versions are right."""
        try:
            self._client.wait_for_workers(1, timeout=WORKERS_WITHIN_S)
        except TimeoutError as error:
            msg = f"dask: the scheduler at {self._address} has no worker after {WORKERS_WITHIN_S} s: start some"
            raise InputError(msg) from error
        found = self._client.get_versions(packages=["demis_ij"])
        python, own = _versions()
        for name, worker in sorted(found["workers"].items()):
            theirs = ".".join(str(worker["host"].get("python", "?")).split(".")[:2])
            if theirs != python:
                raise InputError(_mismatch(f"worker {name}", f"Python {theirs}", f"Python {python}"))
            version = worker["packages"].get("demis_ij")
            if version != own:
                there = f"demis_ij {version}" if version else "no demis_ij"
                raise InputError(_mismatch(f"worker {name}", there, f"demis_ij {own}"))
        return self._threads()

    def _threads(self) -> int:
        """Return the number of threads of all workers that there are now."""
        return max(1, sum(int(n) for n in self._client.nthreads().values()))

    def _recount(self) -> None:
        """Take note of workers that came or went."""
        if time.monotonic() - self._counted >= COUNT_EVERY_S:
            self.workers = self._threads()
            self._counted = time.monotonic()

    def unordered(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Done[Task, Value]]:
        """Yield tasks as they are done; two for each worker are on their way.

        A worker that dies counts against all tasks that were on their way to it, also one that only waited behind what
        killed it. So a task that the scheduler gives up is tried once more when nothing else is on its way.
        """
        done: Any = self._dask.as_completed(loop=self._client.loop)
        running: dict[str, tuple[Any, Task]] = {}
        suspects: deque[Task] = deque()
        fresh = iter(tasks)
        version, there = _package_version(), devices() if self._address == LOCAL else ()

        def send(task: Task) -> None:
            future = self._client.submit(_do, function, task, version, there, pure=False)
            running[future.key] = (future, task)
            done.add(future)

        def submit() -> None:
            self._recount()
            while len(running) < 2 * self.workers:
                for task in fresh:
                    send(task)
                    break
                else:
                    return

        try:
            submit()
            is_alone = False
            while running or suspects:
                if not running:
                    is_alone = True
                    send(suspects.popleft())
                future = next(done)
                if future.status in {"lost", "pending"}:  # it died with its result, which is made anew elsewhere
                    done.add(future)
                    continue
                _, task = running.pop(future.key)
                submit()
                if not is_alone and self._killer(future) is not None:
                    suspects.append(task)
                    continue
                yield self._outcome(future, task)
        finally:
            self._client.cancel([future for future, _ in running.values()], force=True)

    def _killer(self, future: Any) -> Any:
        """Return what the scheduler says of a task that it gave up as too many workers died on it; None of others."""
        problem = future.exception() if future.status == "error" else None
        return problem if isinstance(problem, self._dask.scheduler.KilledWorker) else None

    def _outcome(self, future: Any, task: Task) -> Done[Task, Any]:
        if future.status == "finished":
            value, error = future.result()
            if error is not None:
                raise error
            return Done(task, value)
        killed = self._killer(future)
        if killed is not None:
            return given_up(task, f"{killed.last_worker.address}", killed.allowed_failures + 1)
        problem = future.exception() if future.status == "error" else None
        msg = f"dask: the scheduler at {self._address} lost a task ({problem or future.status}): run the command again"
        raise DemisError(msg) from problem

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        self._resources.close()
