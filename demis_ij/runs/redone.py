"""What was done anew in a run folder: ``redo.jsonl``, one line when it begins and one when it is done."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "redo.jsonl"


def note(run: Path, state: str, told: Mapping[str, Any]) -> None:
    """Append a line, on disk before this returns.

    Parameters
    ----------
    run : Path
        The run folder.
    state : str
        begun or done.
    told : mapping
        JSON types.
    """
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "state": state, **told})
    with (run / FILE).open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def history(run: Path) -> list[dict[str, Any]]:
    """Return the lines, oldest first; one that was cut off by a crash is left out."""
    path = run / FILE
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut off: what follows it was written later
        if isinstance(entry, dict):
            found.append(entry)
    return found


def is_open(run: Path) -> bool:
    """Return whether something was begun to be done anew and not finished."""
    lines = history(run)
    return bool(lines) and lines[-1].get("state") == "begun"


__all__ = ["FILE", "history", "is_open", "note"]
