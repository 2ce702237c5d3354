"""How many batches go to a worker at once: about a second of work, and fewer toward the end so that nobody idles.

Giving out a task costs some milliseconds, most on a cluster. Batches stay as they are, whoever gets how many of them:
each is matched by itself, so no result depends on that.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, TypeVar

LOAD_S = 1.0
"""So much work is given out at once, if a batch is less; it is lost when a process is killed."""
MOST_BATCHES = 32
SHARES = 3
"""Of what is left a worker gets one of so many shares (guided self-scheduling, doi:10.1109/TC.1987.5009495)."""
_REMEMBERED = 8

Item = TypeVar("Item")
Batch = TypeVar("Batch")


def in_turn(function: Callable[[Batch], Sequence[Item]], load: Sequence[Batch]) -> tuple[list[Item], float]:
    """Return what a function makes of the batches of a load, and the seconds it took; runs in a worker."""
    began = time.perf_counter()
    found = [item for batch in load for item in function(batch)]
    return found, time.perf_counter() - began


class Loads:
    """Batches, a few at a time, drawn as workers become free.

    Parameters
    ----------
    batches : sequence of sequences
        In the order in which they are given out.
    workers : callable
        Returns how many workers there are now.
    most : int
        Batches of a load at the most.
    """

    def __init__(self, batches: Sequence[Sequence[Any]], workers: Callable[[], int], most: int = MOST_BATCHES) -> None:
        self._batches, self._workers, self._most = batches, workers, most
        self._given = 0
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]:
        while self._given < len(self._batches):
            first, self._given = self._given, self._given + self._size()
            yield self._batches[first : self._given]

    def took(self, count: int, seconds: float) -> None:
        """Take note of how long a load of so many pairs took."""
        self._rates.append(seconds / max(1, count))

    def _size(self) -> int:
        """Return how many batches the next load has; one as long as nobody knows how long it takes."""
        if not self._rates:
            return 1
        left = len(self._batches) - self._given
        quick = LOAD_S / max(median(self._rates) * len(self._batches[self._given]), 1e-9)
        return max(1, min(left // (SHARES * max(1, self._workers())), int(min(quick, self._most)), self._most))


__all__ = ["LOAD_S", "MOST_BATCHES", "Loads", "in_turn"]
