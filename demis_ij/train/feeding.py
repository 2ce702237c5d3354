"""Which pairs the steps see, and threads that cut them ahead of time.

A pair is known by ``(step, k, shape)``: its random numbers come from the seed and these, so that it is the same whoever
cuts it and whenever. A step's pairs are decided `AHEAD` steps before it, so that threads can cut them, also when some
are drawn again because they were hard (`HardPairs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import numpy as np

AHEAD = 4
"""Steps between deciding which pairs a step sees and seeing them."""
KEPT = 256
"""Hard pairs that are remembered for each shape."""
AGAIN = 3
"""A pair is shown this many times more, at most."""

PLAN_STREAM, PAIR_STREAM, VALIDATION_STREAM = 1, 2, 3
"""Last words of the seeds, so that nothing random is used twice."""

T = TypeVar("T")
PairKey = tuple[int, int, int]
"""Step and number at which a pair was first drawn, and the number of its shape."""


class HardPairs:
    """The pairs with the highest loss so far, for each shape.

    Attributes
    ----------
    entries : list of [loss, step, k, shape, times shown again]
        Hardest first.
    """

    def __init__(self, entries: Sequence[Sequence[Any]] = ()) -> None:
        self.entries = [list(e) for e in entries]

    def add(self, keys: Sequence[PairKey], each: Sequence[float]) -> None:
        """Take in the losses of a step; pairs that were shown again count once more."""
        seen = {(e[1], e[2], e[3]): e for e in self.entries}
        for key, loss in zip(keys, each, strict=True):
            if key in seen:
                seen[key][0] = loss
            else:
                seen[key] = [loss, *key, 0]
        ranked = sorted(seen.values(), key=lambda e: (-e[0], e[1], e[2]))
        kept: dict[int, int] = {}
        self.entries = []
        for e in ranked:
            kept[e[3]] = kept.get(e[3], 0) + 1
            if kept[e[3]] <= KEPT:
                self.entries.append(e)

    def take(self, rng: np.random.Generator, shape: int, count: int) -> list[PairKey]:
        """Return up to ``count`` hard pairs of a shape, and count them as shown again."""
        open_ = [e for e in self.entries if e[3] == shape and e[4] < AGAIN]
        chosen = [open_[n] for n in rng.permutation(len(open_))[:count]]
        for e in chosen:
            e[4] += 1
        return [(e[1], e[2], e[3]) for e in chosen]


def plan(seed: int, step: int, batch: int, shapes: int, hard: HardPairs, mine: float) -> list[PairKey]:
    """Return the pairs of a step: new ones, and a share ``mine`` of hard ones once there are some."""
    rng = np.random.default_rng((seed, step, 0, PLAN_STREAM))
    shape = int(rng.integers(shapes))
    again = hard.take(rng, shape, int(rng.binomial(batch, mine))) if mine else []
    return [(step, k, shape) for k in range(batch - len(again))] + again


class Feed(Generic[T]):
    """Makes pairs, ahead of time where there are threads for it.

    Parameters
    ----------
    make : callable
        Makes a pair from its key; the same each time.
    workers : int
        Threads; 0 makes each pair when it is asked for.
    """

    def __init__(self, make: Callable[[PairKey], T], workers: int) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pairs") if workers else None
        self._coming: dict[PairKey, Future[T]] = {}

    def expect(self, keys: Sequence[PairKey]) -> None:
        """Say that these pairs will be asked for."""
        if self._pool is not None:
            for key in keys:
                if key not in self._coming:
                    self._coming[key] = self._pool.submit(self._make, key)

    def take(self, keys: Sequence[PairKey]) -> list[T]:
        """Return the pairs."""
        coming = [self._coming.pop(key, None) for key in keys]
        return [self._make(k) if c is None else c.result() for k, c in zip(keys, coming, strict=True)]

    def close(self) -> None:
        """Let the threads end."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
