"""The hidden folder of an unfinished mosaic, which outlives its process, and what is known of a finished one.

::

    .NAME.partial/head          one line: what the mosaic is and how it is written
    .NAME.partial/regions.jsonl a line for each region that is finished, with the key of all that it depends on
    .NAME.partial/rest/...      the last level of each region, which the next stage is made from
    .NAME.partial/mosaic/...    the parts of the file itself
    .NAME.partial/closing       all parts are there, and are about to get their real name
    .NAME.drawn/                head, regions.jsonl and rest of a finished mosaic whose regions can be drawn anew

A line is written when all files of its region are on the disk (`demis_ij.sinks.syncing`); so after ``kill -9``, and
after a loss of power, a region either has a line and is whole, or is drawn again. A region is taken over only where its
key agrees: another layout, other options and other images than those that the folder was begun with do no harm.

Where a folder says ``closing`` and its parts are gone, they have got their name, and all that was left to do is to keep
what is known of them: who comes next does that first.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from demis_ij.geometry import Box
from demis_ij.sinks.encoding import BLOSC
from demis_ij.sinks.frame import Frame, Piece, Region
from demis_ij.sinks.syncing import Syncing, sync_all, sync_file

CLOSING, PARTS = "closing", "mosaic"


class Mark:
    """What is known of a finished region: the key of what it depends on, and tiles that could not be read for it."""

    __slots__ = ("key", "left_out")

    def __init__(self, key: str, left_out: Sequence[tuple[str, str]] = ()) -> None:
        self.key = key
        self.left_out = tuple((str(a), str(b)) for a, b in left_out)


class Scratch:
    """The hidden folder of an unfinished mosaic.

    Parameters
    ----------
    path : Path
        The mosaic's real name.
    head : str
        What the mosaic is and how it is written, one line. What was begun with another head is removed.
    fresh : bool
        Begin anew whatever is there.

    Attributes
    ----------
    is_new : bool
        Whether nothing was there to go on with.

    Raises
    ------
    OSError
        When the folder cannot be written.
    """

    def __init__(self, path: Path, head: str, *, fresh: bool = False) -> None:
        self.path, self.head = path, head
        self.folder = path.with_name(f".{path.name}.partial")
        self.drawn = path.with_name(f".{path.name}.drawn")
        self._marks: dict[str, Mark] = {}
        self._linked: dict[Region, Mark] = {}
        if (self.folder / CLOSING).exists() and not (self.folder / PARTS).exists():
            self.keep_drawn()
        self.is_new = fresh or _head_of(self.folder) != head
        if self.is_new:
            discard(self.folder)
            self.folder.mkdir()
            (self.folder / "head").write_text(head, encoding="utf-8")
            sync_all([self.folder / "head"], self.folder)
        else:
            self._marks = _marks_of(self.folder)
        self._earlier = _marks_of(self.drawn) if path.exists() and _head_of(self.drawn) == head else {}
        self._syncing = Syncing(self.folder)

    @property
    def any_finished(self) -> bool:
        """Whether anything is worth keeping."""
        return bool(self._marks)

    def mark_of(self, region: Region, key: str) -> Mark | None:
        """Return the mark of a region that was finished with this key and all of its tiles, None where it was not."""
        return _whole(self._marks.get(region.name), key)

    def earlier(self, region: Region, key: str) -> Mark | None:
        """Return the same of the finished mosaic that has the name already, where its regions are known."""
        return _whole(self._earlier.get(region.name), key)

    def left_out_of(self, region: Region) -> tuple[tuple[str, str], ...]:
        """Return the tiles that a finished region lacks, and why."""
        mark = self._marks.get(region.name)
        return () if mark is None else mark.left_out

    def finish(self, region: Region, mark: Mark, files: Iterable[Path]) -> None:
        """Remember that a region is finished; its line follows when its files are on the disk, those that there are.

        Raises
        ------
        OSError
            When that failed for an earlier region.
        """
        self._marks[region.name] = mark
        self._syncing.add(files, partial(self._append, region, mark))

    def finish_linked(self, region: Region, mark: Mark) -> None:
        """Remember that a region is taken over, whose bytes are on the disk; it has no line before `settle`.

        Until then it is as quickly taken over again, and nothing has to be synced a region.
        """
        self._marks[region.name] = self._linked[region] = mark

    def settle(self) -> None:
        """Wait until every region that is finished is on the disk and has its line. Raises `OSError`."""
        self._syncing.settle()
        for region, mark in self._linked.items():
            self._append(region, mark)
        self._linked = {}

    def forget(self, region: Region) -> None:
        """Remember that a region is no longer there."""
        if self._marks.pop(region.name, None) is not None:
            self._syncing.add((), partial(self._append, region, Mark("")))

    def _append(self, region: Region, mark: Mark) -> None:
        line = json.dumps({"region": region.name, "key": mark.key, "left_out": mark.left_out})
        with (self.folder / "regions.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def begin_closing(self) -> None:
        """Say that all parts are there and are about to leave for their real name.

        What is known of an earlier mosaic goes first: it would not be true of the new one.
        """
        discard(self.drawn)
        (self.folder / CLOSING).touch()
        sync_all([self.folder / CLOSING], self.folder.parent)

    def keep_drawn(self) -> None:
        """Put what drawing a few regions anew needs beside the finished mosaic; doing so twice does no harm."""
        kept = self.folder / "drawn"
        for name in ("regions.jsonl", "rest", "head"):
            if (self.folder / name).exists():
                kept.mkdir(exist_ok=True)
                (self.folder / name).replace(kept / name)
        if kept.exists():
            discard(self.drawn)
            kept.replace(self.drawn)

    def leave(self) -> None:
        """End what is at work; what is finished stays."""
        self._syncing.end()

    def remove(self) -> None:
        """Remove all that is unfinished."""
        self._syncing.end()
        discard(self.folder)


def _whole(mark: Mark | None, key: str) -> Mark | None:
    return mark if mark is not None and key and mark.key == key and not mark.left_out else None


def _head_of(folder: Path) -> str | None:
    try:
        return (folder / "head").read_text(encoding="utf-8")
    except OSError:
        return None


def _marks_of(folder: Path) -> dict[str, Mark]:
    """Return the regions that are finished; a line cut off by a crash, and all after it, are not counted."""
    found: dict[str, Mark] = {}
    try:
        raw = (folder / "regions.jsonl").read_bytes()
    except OSError:
        return found
    whole = 0
    for line in raw.splitlines(keepends=True):
        try:
            told = json.loads(line) if line.endswith(b"\n") else None
            found[str(told["region"])] = Mark(str(told["key"]), told["left_out"])  # type: ignore[index]
        except (ValueError, KeyError, TypeError):
            break
        whole += len(line)
    if whole != len(raw):
        with (folder / "regions.jsonl").open("r+b") as file:
            file.truncate(whole)
    return found


def discard(folder: Path | None) -> None:
    """Remove a folder if it is there."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def open_new(path: Path) -> BinaryIO:
    """Open a file that shares its bytes with no other: one that is there under the name may be a link, and is left."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, flags, 0o666)
    except FileExistsError:
        path.unlink()
        handle = os.open(path, flags, 0o666)
    return os.fdopen(handle, "wb", buffering=0)


def write_all(file: BinaryIO, data: bytes | memoryview) -> int:
    """Write all of some bytes to a file without a buffer, and return how many they are."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    return len(data)


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Write a file as `open_new` opens it."""
    with open_new(path) as file:
        write_all(file, data)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk knows no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync_file(target)


# --- what the next stage is made from ---------------------------------------------------------------------------------


def rest_file(folder: Path, region: Region) -> Path:
    """Return where the last level of a region is kept."""
    return folder / "rest" / region.name


def write_rest(folder: Path, region: Region, piece: Piece) -> None:
    """Keep the last level of a region, for the next stage."""
    mask = b"" if piece.mask is None else np.packbits(piece.mask).tobytes()
    shape = np.array([*piece.pixels.shape, len(mask)], "<u4").tobytes()
    write_new(rest_file(folder, region), b"".join([shape, mask, BLOSC["standard"].encode(piece.pixels)]))


def read_rest(folder: Path, frame: Frame, region: Region, box: Box) -> Piece | None:
    """Return the last level of a region, which lies at ``box`` of that level; None where it has no data."""
    try:
        data = rest_file(folder, region).read_bytes()
    except FileNotFoundError:
        return None
    rows, cols, size = (int(n) for n in np.frombuffer(data[:12], "<u4"))
    pixels, mask = BLOSC["standard"].decode(data[12 + size :], (rows, cols), frame.dtype), None
    if size:
        bits = np.frombuffer(data[12 : 12 + size], np.uint8)
        mask = np.unpackbits(bits, count=rows * cols).reshape(rows, cols).astype(bool)
    return Piece(box, pixels, mask)
