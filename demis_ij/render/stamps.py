"""By what a file is known to be the one that was read before."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def stamp(path: Path, known: dict[Path, str]) -> str:
    """Return size and time of a file, looked up once; what lies in no file is never the same again."""
    if path not in known:
        try:
            found = os.stat(path)  # noqa: PTH116 - a path may be text
            known[path] = f"{found.st_size} {found.st_mtime_ns}"
        except OSError:
            known[path] = secrets.token_hex(8)
    return known[path]
