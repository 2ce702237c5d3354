"""One process at a time works in a run folder: ``.lock`` in it says which, and is held by the operating system.

A process that dies, by ``kill -9`` too, holds nothing any more: the next one finds the file, sees that nobody holds
it, and takes it over without a word. Only where the system cannot tell, the user is asked: the file names another
computer, and the folder lies on a disk that computers share, whose locks not all of them see.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from demis_ij.errors import InputError
from demis_ij.runs.files import refuse

FILE = ".lock"
LENGTH = 512
"""Bytes of the file, so that two that write it at one time leave the words of one of them."""
TRIES = 100
SETTLES_S = 0.3
"""Where the system knows no locks: after so long, the file says who was last to write it."""
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
LOCAL_DISKS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay"}
"""File systems of one computer: a lock that nobody holds there is nobody's, whatever its file says."""

LOOKS = 5
LOOKS_APART_S = 0.05
"""A lock that is held is looked at so often, so long apart: who only asks whose it is (`occupant`) holds it, too."""

_MINE: dict[str, tuple[int, int]] = {}
"""Folders that this process works in, with the thread that does and its open lock file."""


@contextmanager
def occupied(path: Path) -> Iterator[None]:
    """Keep every other process (and thread) out of a run folder; within itself, a thread may enter it again.

    The folder is made when it is not there, and taken away again if nothing was put into it.

    Parameters
    ----------
    path : Path
        The run folder; whether it may be one is asked before (`demis_ij.runs.check_folder`).

    Raises
    ------
    InputError
        When somebody else works there: says who, and what to do.
    """
    key = os.path.realpath(path)
    if key in _MINE and _MINE[key][0] == threading.get_ident():
        yield
        return
    try:
        made = _made(path)
    except OSError as error:
        refuse(path, error, "made")
    try:
        handle = _taken(path)
        _MINE[key] = threading.get_ident(), handle
        try:
            yield
        finally:
            if _MINE.pop(key, None):  # it is the parent's where this process was forked meanwhile
                _give_back(handle, path / FILE)
    finally:
        for folder in made:
            with suppress(OSError):  # it holds something by now
                folder.rmdir()


def occupant(path: Path) -> str:
    """Return who works in a run folder, in words; empty when nobody does."""
    try:
        handle = os.open(path / FILE, os.O_RDWR)
    except OSError:
        return ""
    try:
        is_held = _hold(handle)
        return _who(handle) if is_held is False or _may_live(_said(handle), path, knows=is_held is True) else ""
    finally:
        os.close(handle)


def _made(path: Path) -> list[Path]:
    """Make a folder; return those that were not there, the innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _taken(path: Path) -> int:
    """Return the open lock file, which is this process's now. Raises `InputError` when it is another's."""
    file, looks = path / FILE, 0
    for _ in range(TRIES):
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            refuse(path, error, "written")
        is_mine = False
        try:
            is_held = _hold(handle)
            if is_held is False:
                looks += 1
                if looks < LOOKS:
                    time.sleep(LOOKS_APART_S)
                    continue
                raise InputError(f"output folder {path} is in use: {_who(handle)}. Wait until it ends, or end it")
            if not _is_there(handle, file):
                continue  # the one before has just taken the file away
            if _may_live(_said(handle), path, knows=is_held is True):
                msg = f"output folder {path} is in use: {_who(handle)}. End it there; if it is gone, delete {file}"
                raise InputError(msg)
            _sign(handle)
            is_mine = is_held is True or _stays_mine(handle, path)
        finally:
            if not is_mine:
                os.close(handle)
        return handle
    msg = f"output folder {path} is in use: its lock changes hands all the time. Try again later"
    raise InputError(msg)


def _may_live(holder: Mapping[str, Any], path: Path, *, knows: bool) -> bool:
    """Return whether the one who signed a lock that this process got may be at work all the same."""
    if not holder:
        return False
    if holder.get("host") == socket.gethostname():
        return not knows and _is_alive(holder.get("pid"))
    return not (knows and _is_local(path))


def _stays_mine(handle: int, path: Path) -> bool:
    """Return True when nobody else has signed at the same moment. Raises `InputError` when somebody has."""
    time.sleep(SETTLES_S)
    if _said(handle).get("pid") != os.getpid() or _said(handle).get("host") != socket.gethostname():
        raise InputError(f"output folder {path} is in use: {_who(handle)}. Wait until it ends, or end it")
    return True


def _give_back(handle: int, file: Path) -> None:
    """Remove the file, then let go of it: who opens it in between finds that it is not the one that is there.

    Another one of that name, of a process that came after somebody had deleted this one, stays.
    """
    is_mine = False
    with suppress(OSError):  # Windows removes no open file; a folder may have been moved away
        is_mine = _is_there(handle, file)
        if is_mine:
            file.unlink()
    os.close(handle)
    if sys.platform == "win32" and is_mine:
        with suppress(OSError):  # another process has opened it already
            file.unlink()


def _forked() -> None:
    """Let a forked process know that what its parent works in is not its own; the parent goes on holding it."""
    for _, handle in _MINE.values():
        os.close(handle)
    _MINE.clear()


def _is_there(handle: int, file: Path) -> bool:
    """Return whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    command = " ".join(["demis-ij", *sys.argv[1:2]]) if sys.argv[0].endswith(("demis-ij", "__main__.py")) else ""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    signed = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, json.dumps(signed).encode().ljust(LENGTH)[:LENGTH])


def _said(handle: int) -> dict[str, Any]:
    """Return what the last one who had a lock wrote; empty when it was killed before it did."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        said = json.loads(os.read(handle, LENGTH))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _who(handle: int) -> str:
    said = _said(handle)
    if not said:
        return "another process works there"
    command = f" ({said['command']})" if said.get("command") else ""
    return f"process {said.get('pid')} on {said.get('host')}{command} works there since {said.get('since')}"


def _is_alive(pid: Any) -> bool:
    """Return whether there is a process of this number; True when that cannot be known."""
    if not isinstance(pid, int) or os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def _is_local(path: Path) -> bool:
    """Return whether a folder lies on a disk that no other computer sees; False when that cannot be known."""
    device = path.stat().st_dev
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in mounts.splitlines() if line.split(" ")[2] == number}
    return bool(kinds) and kinds <= LOCAL_DISKS


if sys.platform == "win32":
    import msvcrt

    def _hold(handle: int) -> bool | None:
        """Return whether this process holds an open file now: True, or False when another one does."""
        os.lseek(handle, 1 << 30, os.SEEK_SET)  # a byte beyond the words: what is held cannot be read
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    os.register_at_fork(after_in_child=_forked)

    def _hold(handle: int) -> bool | None:
        """Return whether this process holds an open file now; None where the file system knows no locks."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return None
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                return False
            raise
        return True


__all__ = ["FILE", "occupant", "occupied"]
