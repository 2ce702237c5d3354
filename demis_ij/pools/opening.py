"""Which pool it is."""

from __future__ import annotations

from demis_ij.errors import InputError
from demis_ij.pools.cluster import DaskPool
from demis_ij.pools.cores import cores
from demis_ij.pools.processes import ProcessPool
from demis_ij.pools.tasks import Pool, SerialPool


def open_pool(workers: int = 1, dask: str | None = None, *, memory_bytes: int | None = None) -> Pool:
    """Return workers, to be used in a ``with``.

    Parameters
    ----------
    workers : int
        How many; 0 is one for each core that this process may use. One is this process itself.
    dask : str, optional
        Address of a dask scheduler (``tcp://node:8786``), which then decides how many workers there are; or ``local``
        for a scheduler of its own with ``workers`` workers on this machine.
    memory_bytes : int, optional
        What the workers of this machine may keep together; on a cluster, what each of its workers may.

    Raises
    ------
    InputError
        When the number is wrong, no scheduler answers, or its workers have other versions.
    MissingPart
        When dask is not installed.
    """
    if workers < 0:
        msg = f"workers {workers}: needed 1 or more, or 0 for one a core"
        raise InputError(msg)
    number = workers or cores()
    if dask is not None:
        return DaskPool(dask, number, memory_bytes)
    return ProcessPool(number, memory_bytes) if number > 1 else SerialPool(memory_bytes)
