"""A folder that is watched: each image is registered as it arrives, and its transform is one line of a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import InputError
from demis_ij.jobs.register.pairs import PROBLEMS, append_line, in_one_line, whole_lines
from demis_ij.jobs.register.pictures import SUFFIXES
from demis_ij.jobs.register.registering import FixedImage

EVERY_S = 0.05
"""Between two looks at the folder."""
STILL_S = 0.1
"""For so long an image's size and time must have stayed the same: else it is still being written."""

Stamp = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Arrival:
    """Something to say of a watched folder.

    Attributes
    ----------
    said : str
        One line.
    outcome : str
        ``matched``, ``not matched``, ``not registered`` (it could not be read), or empty: nothing of one image.
    line : dict or None
        What was appended to the file.
    """

    said: str
    outcome: str = ""
    line: dict[str, Any] | None = None


def default_file(folder: Path) -> Path:
    """Return where transforms of a folder's images go when nothing else is said: beside it."""
    whole = folder.absolute()
    return whole.with_name(f"{whole.name}.registrations.jsonl")


def watch(
    folder: Path,
    fixed: Path,
    config: RegisterConfig,
    *,
    pattern: str | None = None,
    append: Path | None = None,
    once: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Arrival]:
    """Yield what comes of each image that arrives in a folder, until the caller stops.

    An image is registered when its size and time have been still for a while. What can go wrong with one, or with the
    folder, is one line, and the watch goes on; a folder that vanishes is waited for. On a restart what the file has
    already is left out, unless an image was written anew. Folders (an OME-Zarr) do not count: when one is whole cannot
    be seen from outside.

    Parameters
    ----------
    folder : Path
        Where images arrive; nothing in it is changed.
    fixed : Path
        What they are registered to; when it lies in the folder it is left out.
    config : RegisterConfig
    pattern : str, optional
        Names that count, such as ``*.tif``; all images when not given.
    append : Path, optional
        The file, one JSON line an image; `default_file` when not given.
    once : bool
        Whether to end when all that is there is done.
    wait : callable
        Waits for so many seconds.

    Raises
    ------
    InputError
        When there is no such folder, the fixed image cannot be used, or the file is something else.
    WeightsError
        When the weights cannot be used.
    """
    if not folder.is_dir():
        msg = f"--watch {folder}: there is no such folder"
        raise InputError(msg)
    path = append or default_file(folder)
    seen = _Seen(path)
    onto = FixedImage(fixed, config)
    yield from (Arrival(f"note: {line}") for line in onto.notes)
    yield Arrival(f"watching {folder}, registering to {fixed}, appending to {path}; Ctrl-C ends it")
    own = {p.name for p in (fixed, path) if p.resolve().parent == folder.resolve()}
    names = _Names(folder, pattern, own)
    rate = _Rate()
    while True:
        found, said = names.listed()
        if said:
            yield Arrival(said)
        ready, growing = names.still(found)
        for image, stamp in ready:
            if not seen.has(image.name, stamp):
                yield _registered(onto, image, stamp, seen, rate)
        if once and not growing and not said:
            return
        wait(EVERY_S)


def _registered(onto: FixedImage, image: Path, stamp: Stamp, seen: _Seen, rate: _Rate) -> Arrival:
    """Register one image, append what came of it, and return what to say."""
    line: dict[str, Any] = {"file": image.name, "size": stamp[0], "mtime_ns": stamp[1]}
    try:
        facts = onto.register(image).facts
    except PROBLEMS as error:
        problem = in_one_line(error)
        if not image.exists():
            problem = f"{image}: vanished before it was read"
        line |= {"registration": None, "error": problem}
        return Arrival(f"not registered: {problem}{seen.keep(line)}", "not registered", line)
    line["registration"] = facts
    more = seen.keep(line)
    if not facts["matched"]:
        return Arrival(f"{image.name}: not matched: {facts['reason']}{more}", "not matched", line)
    x, y = facts["shift_px"]
    said = f"{image.name}: turn {facts['angle_deg']:.2f} degrees, scale {facts['scale']:.4f}, shift ({x:.1f}, {y:.1f})"
    off = "not known" if facts["sigma_px"] is None else f"{facts['sigma_px']:.2f} px"  # nothing was searched
    said += f" px, error {off}, {facts['milliseconds']:.0f} ms{rate.said()}"
    return Arrival(said + more, "matched", line)


class _Seen:
    """The file of lines: which images are in it, and more lines. One that cannot be written is tried again later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir() or not path.absolute().parent.is_dir():
            msg = f"--append {path}: {'is a folder' if path.is_dir() else 'its folder is not there'}: name a file"
            raise InputError(msg)
        self._stamps: dict[str, Stamp] = {}
        for line in whole_lines(path):
            if not {"file", "size", "mtime_ns"} <= line.keys():
                msg = f"--append {path}: is no file of registrations: choose another one"
                raise InputError(msg)
            self._stamps[line["file"]] = (line["size"], line["mtime_ns"])
        self._unwritten: list[dict[str, Any]] = []
        if not path.exists():
            _touch(path)

    def has(self, name: str, stamp: Stamp) -> bool:
        """Return whether an image, as it is now, was done already."""
        return self._stamps.get(name) == stamp

    def keep(self, line: dict[str, Any]) -> str:
        """Append a line; return what went wrong, as the end of a sentence."""
        self._stamps[line["file"]] = (line["size"], line["mtime_ns"])
        self._unwritten.append(line)
        try:
            while self._unwritten:
                append_line(self._path, self._unwritten[0])
                self._unwritten.pop(0)
        except OSError as error:
            return f"; {self._path} cannot be written now ({error.strerror}): {len(self._unwritten)} line(s) wait"
        return ""


def _touch(path: Path) -> None:
    """Make an empty file. Raises `InputError` when it cannot be written."""
    try:
        path.touch()
    except OSError as error:
        msg = f"--append {path}: cannot be written: {error.strerror}"
        raise InputError(msg) from error


class _Names:
    """What lies in the folder, and which of it is no longer being written."""

    def __init__(self, folder: Path, pattern: str | None, without: set[str]) -> None:
        self._folder, self._pattern, self._without = folder, pattern, without
        self._since: dict[Path, tuple[Stamp, float]] = {}
        self._gone = False

    def listed(self) -> tuple[list[tuple[Path, Stamp]], str]:
        """Return the images that are there, oldest first, and what there is to say when the folder went or came."""
        try:
            with os.scandir(self._folder) as entries:  # thousands of images: nothing is asked of a file but its size
                found = [(self._folder / e.name, stamp) for e in entries if (stamp := self._stamp(e)) is not None]
        except OSError as error:
            said = "" if self._gone else f"{self._folder} is gone ({error.strerror}): waiting for it"
            self._gone = True
            return [], said
        said = f"{self._folder} is back" if self._gone else ""
        self._gone = False
        return sorted(found, key=lambda e: (e[1][1], e[0].name)), said

    def _stamp(self, entry: os.DirEntry[str]) -> Stamp | None:
        """Return size and time of an image; None for what is none, or has vanished."""
        if entry.name.startswith(".") or entry.name in self._without:
            return None
        named = entry.name.lower().endswith(SUFFIXES) if self._pattern is None else fnmatch(entry.name, self._pattern)
        try:
            told = entry.stat() if named and not entry.is_dir() else None
        except OSError:
            return None
        return None if told is None else (told.st_size, told.st_mtime_ns)

    def still(self, found: list[tuple[Path, Stamp]]) -> tuple[list[tuple[Path, Stamp]], bool]:
        """Return those that have not changed for a while, and whether there are others."""
        now = time.monotonic()
        self._since = {
            path: (stamp, self._since[path][1] if self._since.get(path, (None, 0))[0] == stamp else now)
            for path, stamp in found
        }
        ready = [(p, s) for p, s in found if now - self._since[p][1] >= STILL_S]
        return ready, len(ready) < len(found)


class _Rate:
    """How many images a second are done, over the last ones."""

    _OVER = 20

    def __init__(self) -> None:
        self._times: list[float] = []

    def said(self) -> str:
        """Count one more; return the rate as the end of a sentence."""
        self._times = [*self._times, time.monotonic()][-self._OVER :]
        if len(self._times) < 2:
            return ""
        return f", {(len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-6):.1f} a second"


__all__ = ["EVERY_S", "STILL_S", "Arrival", "default_file", "watch"]
