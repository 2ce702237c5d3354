"""A large JSON file read value by value, so that it need not be in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from demis_ij.errors import FormatError

CHUNK = 1 << 20
_SPACE = " \t\r\n"


class StreamedJson:
    """A JSON file, from its beginning on; every value comes with the bytes that it takes.

    Text is looked at as Latin-1, one character a byte, so that a place in it is a place in the file: nothing that
    JSON's own signs mean changes by it. `at` gives a value's true text.

    Parameters
    ----------
    file : binary file
        Open for reading.
    path : Path
        Its name, for messages.
    tell : callable, optional
        Told now and then how many bytes have been read.
    """

    def __init__(self, file: BinaryIO, path: Path, tell: Callable[[int], None] | None = None) -> None:
        self._file, self._path, self._tell = file, path, tell
        self._text, self._at, self._dropped = "", 0, 0
        self._decoder = json.JSONDecoder()

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that begins here; the caller takes each one's value before the next."""
        self._take("{")
        while self._next() != "}":
            key = self.value()[0]
            if not isinstance(key, str):
                raise FormatError(self._path, f"is not JSON: a key was needed, found {key!r}")
            self._take(":")
            yield key.encode("latin-1").decode("utf-8", "replace")
            if self._next() != ",":
                break
            self._take(",")
        self._take("}")

    def elements(self) -> Iterator[None]:
        """Yield once for each element of the list that begins here; the caller takes its value."""
        self._take("[")
        while self._next() != "]":
            yield
            if self._next() != ",":
                break
            self._take(",")
        self._take("]")

    def value(self) -> tuple[Any, int, int]:
        """Return the value that begins here, where it begins in the file, and where it has ended, bytes."""
        self._next()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - error.pos > CHUNK or not self._fill():
                    raise FormatError(
                        self._path, f"is not JSON: {error.msg} at byte {self._dropped + error.pos}"
                    ) from None
                continue
            if end < len(self._text) or not self._fill():  # a number may go on after what has been read
                start, self._at = self._at, end
                return found, self._dropped + start, self._dropped + end

    def skip(self) -> None:
        """Pass over the value that begins here, element by element where it has any."""
        sign = self._next()
        if sign == "{":
            for _ in self.members():
                self.value()
        elif sign == "[":
            for _ in self.elements():
                self.value()
        else:
            self.value()

    def _next(self) -> str:
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._fill():
                return ""

    def _take(self, sign: str) -> None:
        found = self._next()
        if found != sign:
            where = f"at byte {self._dropped + self._at}" if found else "but it ends"
            raise FormatError(self._path, f"is not JSON as it was written: {sign!r} was needed {where}")
        self._at += 1

    def _fill(self) -> bool:
        more = self._file.read(CHUNK)
        self._text = self._text[self._at :] + more.decode("latin-1")
        self._dropped += self._at
        self._at = 0
        if self._tell is not None:
            self._tell(self._dropped + len(self._text))
        return bool(more)


def at(file: BinaryIO, start: int, end: int) -> Any:
    """Return the value that takes these bytes of a file."""
    file.seek(start)
    return json.loads(file.read(end - start))
