"""Files on the disk, and not only in the system's memory: what a mark says is there must outlive a loss of power.

A file is there when it has been synced (`fsync`) and so has the folder that holds its name. One after the other that
takes milliseconds a file; several at a time share the file system's commits, so that the 85 files of a region of an
OME-Zarr 0.4 take little longer than a few. Marks of regions follow in the order in which these were finished, from a
thread of their own: who draws never waits for the disk, unless the disk is slower.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

AT_A_TIME = 8
"""Files that are synced at a time."""
MOST_WAITING = 8
"""Batches that may wait: all that a kill or a loss of power costs besides what is being drawn."""

NO_FOLDERS = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}
"""What file systems say, some of network and of FUSE, that sync files but no folders."""


def sync_file(path: Path) -> None:
    """Wait until a file that is closed is on the disk.

    Raises
    ------
    OSError
        When it is not there, or the disk cannot keep it: a full disk may show as late as this.
    """
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)  # Windows syncs what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where system and file system can. Raises `OSError`."""
    if os.name != "posix":
        return
    try:
        sync_file(folder)
    except OSError as error:
        if error.errno not in NO_FOLDERS:
            raise


def sync_all(files: Iterable[Path], below: Path) -> None:
    """Wait until files are on the disk, those that there are, then their folders, up to ``below``. Raises `OSError`."""
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="sync") as threads:
        _sync(threads, files, below)


def sync_tree(folder: Path, is_meant: Callable[[str], bool]) -> None:
    """Do so with the files of a whole tree whose names are meant, and with all of its folders. Raises `OSError`."""
    files, folders = [], []
    for inside, _, names in os.walk(folder):
        folders.append(Path(inside))
        files += [Path(inside, name) for name in names if is_meant(name)]
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="sync") as threads:
        deque(threads.map(sync_file, files), 0)
        deque(threads.map(sync_folder, folders), 0)


def name_whole(whole: Path, path: Path) -> None:
    """Give a file its real name, when it is on the disk; return when its name is, too. Raises `OSError`."""
    sync_file(whole)
    whole.replace(path)
    sync_folder(path.parent)


def _sync(threads: ThreadPoolExecutor, files: Iterable[Path], below: Path) -> None:
    there = [path for path, is_there in _tried(threads, files) if is_there]
    deque(threads.map(sync_folder, _folders(there, below)), 0)


def _tried(threads: ThreadPoolExecutor, files: Iterable[Path]) -> Iterable[tuple[Path, bool]]:
    paths = list(files)
    return zip(paths, threads.map(_synced, paths), strict=True)


def _synced(path: Path) -> bool:
    """Sync a file, and return whether there is one."""
    with suppress(FileNotFoundError):
        sync_file(path)
        return True
    return False


def _folders(paths: Iterable[Path], below: Path) -> set[Path]:
    """Return the folders that hold files and each other, the outermost included."""
    found: set[Path] = set()
    for folder in {path.parent for path in paths}:
        step = folder
        while step not in found and step.is_relative_to(below):
            found.add(step)
            step = step.parent
    return found


class Syncing:
    """Batches of files put on the disk one after the other; each is followed by a call when it is there.

    Parameters
    ----------
    below : Path
        The folder that holds all of them.
    """

    def __init__(self, below: Path) -> None:
        self._below = below
        self._files = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="sync")
        self._batches = ThreadPoolExecutor(1, thread_name_prefix="mark")
        self._waiting: deque[Future[None]] = deque()

    def add(self, files: Iterable[Path], then: Callable[[], None]) -> None:
        """Take a batch; wait where too many wait already.

        Raises
        ------
        OSError
            When an earlier batch could not be put on the disk.
        """
        self._waiting.append(self._batches.submit(self._done, list(files), then))
        while self._waiting and (len(self._waiting) > MOST_WAITING or self._waiting[0].done()):
            self._waiting.popleft().result()

    def settle(self) -> None:
        """Wait until all batches are on the disk. Raises `OSError`."""
        while self._waiting:
            self._waiting.popleft().result()

    def end(self) -> None:
        """End the threads when what waits is done; what fails of it is not marked, and not said."""
        self._batches.shutdown()
        self._files.shutdown()

    def _done(self, files: list[Path], then: Callable[[], None]) -> None:
        _sync(self._files, files, self._below)
        then()


__all__ = ["Syncing", "name_whole", "sync_all", "sync_file", "sync_folder", "sync_tree"]
