"""Files of a run: written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from demis_ij.errors import FormatError, InputError
from demis_ij.sinks.syncing import sync_file, sync_folder, sync_tree

BROKEN_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""What is the machine's fault when a folder cannot be written, not the user's."""


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value made of JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose file appears under its name when it is whole and on the disk, or never.

    Without the two `fsync` a machine that loses power may keep the name and lose what is in the file.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file that somebody else has written is on the disk, with its name; of a folder, all in it, too."""
    if path.is_dir():
        sync_tree(path, lambda _name: True)
    else:
        sync_file(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a file all or nothing, on the disk before this returns; one that holds the text already is not touched."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with whole_file(path) as stream:
        stream.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON all or nothing; numbers that JSON lacks are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False))


def ends_as_written(path: Path) -> bool:
    """Return whether a JSON object has its end: one line with a brace, as `write_json` leaves it, else all is read."""
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 2))
        if stream.read() == b"\n}":
            return True
    try:
        read_json(path)
    except FormatError:
        return False
    return True


def read_json(path: Path) -> Any:
    """Return a JSON file's value. Raises `FormatError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error


def refuse(path: Path, error: OSError, what: str) -> NoReturn:
    """Raise `InputError` for a folder that the user cannot use; what is the machine's fault stays `OSError`."""
    if error.errno in BROKEN_DISK:
        raise error
    msg = f"output folder {path} cannot be {what}: {error.strerror}"
    raise InputError(msg) from error


def make_folder(path: Path) -> None:
    """Make a folder that can be written, with its parents; nothing happens when it is there.

    Raises
    ------
    InputError
        When it cannot be made or written, or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(path, error, "made")
    if not os.access(path, os.W_OK):
        msg = f"output folder {path} cannot be written: choose another one, or ask for the right to write there"
        raise InputError(msg)
