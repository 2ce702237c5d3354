"""How many cores there are: for this process, or, in a worker, for its share of the work."""

from __future__ import annotations

import os

_share: list[int] = []


def cores() -> int:
    """Return how many threads may work in this process: one a core that it may use, in a worker its share of them."""
    if _share:
        return _share[-1]
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # no such call on macOS and Windows
        return os.cpu_count() or 1


def take_share(threads: int) -> None:
    """Let this process, which is one of several workers, use no more threads than these."""
    import cv2  # the one library that heeds no OMP_NUM_THREADS

    cv2.setNumThreads(threads)
    _share[:] = [threads]
