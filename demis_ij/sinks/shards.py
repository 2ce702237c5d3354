"""Shards: many encoded chunks in one file, as Zarr's ``sharding_indexed`` with its index at the end.

After the chunks, in any order, stands where each begins and how long it is, 64 bit each, and the CRC-32C of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from demis_ij.sinks.encoding import Bytes
from demis_ij.sinks.scratch import open_new, write_all

NOWHERE = 2**64 - 1
"""Offset and length of a chunk that is not in a shard."""


class NewShard:
    """A shard being written, chunk after chunk. Without any, there is no file in the end.

    Parameters
    ----------
    path : Path
        The file; one that is there under the name is left as it is for others that link to it.
    count : int
        Chunks that it has room for.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._index = np.full((count, 2), NOWHERE, "<u8")
        self._file: BinaryIO | None = None
        self._end = 0

    def append(self, place: int, chunk: Bytes) -> None:
        """Write a chunk. Raises `OSError`."""
        if self._file is None:
            self._file = open_new(self._path)
        size = write_all(self._file, chunk)
        self._index[place] = self._end, size
        self._end += size

    def end(self) -> None:
        """Write the index. Raises `OSError`."""
        if self._file is None:
            self._path.unlink(missing_ok=True)
            return
        table = self._index.tobytes()
        write_all(self._file, table + int(google_crc32c.value(table)).to_bytes(4, "little"))
        self.leave()

    def leave(self) -> None:
        """Close the file as it is."""
        if self._file is not None:
            self._file.close()


def read_chunks(path: Path, count: int, places: Sequence[int]) -> list[bytes | None]:
    """Return some chunks of a shard of ``count``, None for those that are not in it; all None without a file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return [None] * len(places)
    with file:
        file.seek(-(16 * count + 4), 2)
        index = shard_index(file.read(), count)
        return [_read(file, index[place]) for place in places]


def _read(file: BinaryIO, at: NDArray[np.uint64]) -> bytes | None:
    if at[0] == NOWHERE:
        return None
    file.seek(int(at[0]))
    return file.read(int(at[1]))


def shard_index(data: bytes, count: int) -> NDArray[np.uint64]:
    """Return (count, 2): offset and length of each chunk of a shard, both `NOWHERE` where there is none.

    ``data`` is the shard or its end.
    """
    size = 16 * count
    return np.frombuffer(data[-size - 4 : -4], "<u8").reshape(count, 2)
