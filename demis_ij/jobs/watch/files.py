"""Files that arrive: which of them are whole, which are new, which were written anew."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demis_ij import images
from demis_ij.errors import InputError
from demis_ij.records import Tile

STILL_S = 0.4
"""For so long a file's size and time must have stayed the same: else it is still being written."""
Stamp = tuple[int, int]
"""Size in bytes, time of the last change in ns."""


class Folders:
    """Folders that are looked at again and again.

    Parameters
    ----------
    paths : iterable of Path
        Not their subfolders.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._gone: set[Path] = set()
        self._since: dict[Path, tuple[Stamp, float]] = {}

    def listed(self) -> tuple[dict[Path, Stamp], list[str]]:
        """Return size and time of every file, and a line for each folder that went or came back."""
        found: dict[Path, Stamp] = {}
        said = []
        for folder in self._paths:
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not entry.name.startswith(".") and (stamp := _stamp(entry)) is not None:
                            found[folder / entry.name] = stamp
            except OSError as error:
                if folder not in self._gone:
                    said.append(f"{folder} cannot be listed ({error.strerror}): waiting for it")
                    self._gone.add(folder)
            else:
                if folder in self._gone:
                    said.append(f"{folder} is back")
                    self._gone.discard(folder)
        return found, said

    @property
    def are_gone(self) -> bool:
        """Whether a folder could not be listed."""
        return bool(self._gone)

    def still(self, path: Path, stamp: Stamp, now: float) -> bool:
        """Return whether a file has been the same for a while."""
        before = self._since.get(path)
        if before is None or before[0] != stamp:
            self._since[path] = (stamp, now)
            return False
        return now - before[1] >= STILL_S


def _stamp(entry: os.DirEntry[str]) -> Stamp | None:
    try:
        told = entry.stat() if entry.is_file() else None
    except OSError:
        return None  # vanished meanwhile
    return None if told is None else (told.st_size, told.st_mtime_ns)


@dataclass(frozen=True)
class Looked:
    """What came of reading a tile.

    Attributes
    ----------
    shape : (rows, cols) or None
        None when it cannot be read.
    problem : str
        Why it cannot, or what is odd with it; empty when all is well.
    """

    shape: tuple[int, int] | None
    problem: str


def look_at(tile: Tile, usual: tuple[int, int] | None) -> Looked:
    """Read a tile as a whole: half a file that has not changed for a while may still have a good header."""
    try:
        image = images.read(tile.path, tile.page)
    except InputError as error:
        return Looked(None, str(error))
    shape = (int(image.shape[0]), int(image.shape[1]))
    if usual is not None and shape != usual:
        return Looked(shape, f"it has {shape[1]} x {shape[0]} px, the first tile {usual[1]} x {usual[0]}")
    if np.min(image) == np.max(image):
        return Looked(shape, "it is blank: every pixel has the same grey value")
    return Looked(shape, "")


__all__ = ["STILL_S", "Folders", "Looked", "Stamp", "look_at"]
