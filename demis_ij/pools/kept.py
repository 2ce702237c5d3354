"""What a worker keeps from one task to the next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Things that are dear to make and serve many tasks: a store of tiles, a matcher. Each thread has its own.

    Parameters
    ----------
    most : int
        So many are kept; the one not asked for longest goes first.
    """

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._mine = threading.local()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under a key that names all it depends on; made when it is not there."""
        kept: OrderedDict[Hashable, T] = self._mine.__dict__.setdefault("kept", OrderedDict())
        if key not in kept:
            while len(kept) >= self._most:
                kept.popitem(last=False)  # before the new one is made: both may be large
            kept[key] = make()
        kept.move_to_end(key)
        return kept[key]
