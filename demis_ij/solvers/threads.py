"""Work on several cores within this process: numpy and scipy let go of the interpreter while they compute.

What comes out never depends on the number of threads: results are put together in the order of the parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bsr_matrix, csr_matrix
from threadpoolctl import threadpool_limits

from demis_ij.pools import cores

T = TypeVar("T")
R = TypeVar("R")

SMALLEST_STRIPE = 50_000  # rows of a matrix below which handing out costs more than it saves


class Threads:
    """Some threads; with one, everything is done in the caller's.

    As a context it holds BLAS and LAPACK, in all of the process, at one thread each: with more they add in another
    order, and a run by one worker would differ in its last bits from a run by two.

    Parameters
    ----------
    workers : int
        How many; 0 for one a core that this process may use, in a worker its share of them.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers or cores()
        self._pool = ThreadPoolExecutor(self.workers) if self.workers > 1 else None
        self._limits: threadpool_limits | None = None

    def __enter__(self) -> Threads:
        self._limits = threadpool_limits(1, user_api="blas")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._limits is not None:
            self._limits.restore_original_limits()

    def ordered(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Return the results in the order of the items, a few ahead of the caller."""
        if self._pool is None:
            yield from map(function, items)
            return
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(self._pool.submit(function, item))
            if len(waiting) > 2 * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Striped:
    """A sparse matrix whose products are made in stripes of rows, one a thread.

    Parameters
    ----------
    matrix : csr_matrix or bsr_matrix
        The matrix; its stripes share its memory.
    threads : Threads
        Who multiplies.
    """

    def __init__(self, matrix: csr_matrix | bsr_matrix, threads: Threads) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self.dtype = matrix.dtype
        self._threads = threads
        tall = matrix.blocksize[0] if isinstance(matrix, bsr_matrix) else 1
        stripes = max(1, min(threads.workers, matrix.shape[0] // SMALLEST_STRIPE))
        cuts = np.linspace(0, matrix.shape[0] // tall, stripes + 1).astype(int)
        self._stripes = [
            type(matrix)(
                (
                    matrix.data[matrix.indptr[a] : matrix.indptr[b]],
                    matrix.indices[matrix.indptr[a] : matrix.indptr[b]],
                    matrix.indptr[a : b + 1] - matrix.indptr[a],
                ),
                shape=((b - a) * tall, matrix.shape[1]),
            )
            for a, b in pairwise(cuts)
        ]

    def __matmul__(self, values: NDArray[Any]) -> NDArray[Any]:
        if len(self._stripes) == 1:
            return np.asarray(self._stripes[0] @ values)
        return np.concatenate(list(self._threads.ordered(lambda stripe: stripe @ values, self._stripes)))


ALONE = Threads(1)
"""No thread but the caller's."""
