"""How much memory this process and those that it started have in use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROC = Path("/proc")


def memory_in_use() -> int | None:
    """Return the bytes that this process and its children have in memory, None where the system does not tell.

    Linux tells it for all of them (pages that several share count for each). Elsewhere the most that this process
    ever had is returned.
    """
    if (PROC / "self" / "statm").exists():
        return sum(_resident(pid) for pid in _with_children(os.getpid()))
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _with_children(pid: int) -> list[int]:
    found = [pid]
    for listed in (PROC / str(pid) / "task").glob("*/children"):
        try:
            children = [int(word) for word in listed.read_text().split()]
        except OSError:
            continue  # ended meanwhile
        for child in children:
            found += _with_children(child)
    return found


def _resident(pid: int) -> int:
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0  # ended meanwhile
    return pages * os.sysconf("SC_PAGE_SIZE")


def said_bytes(number: int) -> str:
    """Return a size as people read it.

    Examples
    --------
    >>> said_bytes(850 * 1024**2), said_bytes(8 * 1024**3)
    ('850 MiB', '8.0 GiB')
    """
    return f"{number / 1024**3:.1f} GiB" if number >= 1024**3 else f"{number / 1024**2:.0f} MiB"
