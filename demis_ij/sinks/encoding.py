"""How a chunk of a mosaic becomes bytes, and how many chunks are packed into one file."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numcodecs
import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

COMPRESSIONS = ("standard", "light", "none")

# Threads inside Blosc would put blocks in the order in which they are done: other bytes each time.
numcodecs.blosc.use_threads = False

NOWHERE = 2**64 - 1
"""Offset and length of a chunk that is not in a shard."""


def no_data_value(dtype: np.dtype[Any]) -> float:
    """Return what stands in a file where there is no data: 0, in floats NaN, because 0 may be a grey like any other."""
    return float("nan") if dtype.kind == "f" else 0.0


@dataclass(frozen=True)
class Encoding:
    """What is done to the bytes of a chunk.

    Attributes
    ----------
    codec : str
        blosc (LZ4), deflate, or raw.
    level : int
        How hard it tries.
    shuffle : bool
        blosc: bytes of like weight together. deflate: differences of neighbours in a row (TIFF's predictor 2).
    """

    codec: str = "raw"
    level: int = 0
    shuffle: bool = False

    def encode(self, chunk: NDArray[Any]) -> bytes:
        """Return the bytes of a chunk, little-endian, row by row."""
        chunk = np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("<"))
        if self.codec == "blosc":
            return bytes(self.blosc.encode(chunk))
        if self.codec == "deflate":
            if self.shuffle and chunk.dtype.kind != "f":
                change = chunk.copy()
                change[:, 1:] -= chunk[:, :-1]
                chunk = change
            return zlib.compress(chunk.data, self.level)
        return chunk.tobytes()

    def decode(self, data: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a chunk from its bytes."""
        if self.codec == "blosc":
            data = self.blosc.decode(data)
        elif self.codec == "deflate":
            data = zlib.decompress(data)
        chunk = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)
        if self.codec == "deflate" and self.shuffle and dtype.kind != "f":
            chunk = np.cumsum(chunk, axis=1, dtype=dtype)
        return chunk

    @property
    def blosc(self) -> Any:
        """The Blosc codec with these settings."""
        how = numcodecs.Blosc.SHUFFLE if self.shuffle else numcodecs.Blosc.NOSHUFFLE
        return numcodecs.Blosc(cname="lz4", clevel=self.level, shuffle=how)


BLOSC = {"standard": Encoding("blosc", 5, True), "light": Encoding("blosc", 1, False), "none": Encoding()}
DEFLATE = {"standard": Encoding("deflate", 6, True), "light": Encoding("deflate", 1, True), "none": Encoding()}


def packed(chunks: Sequence[bytes | None]) -> bytes:
    """Return a shard as Zarr's ``sharding_indexed`` with its index at the end writes it; None is a chunk of no data.

    After the chunks stands where each begins and how long it is, 64 bit each, and the CRC-32C of that.
    """
    index = np.full((len(chunks), 2), NOWHERE, "<u8")
    start = 0
    for k, chunk in enumerate(chunks):
        if chunk is not None:
            index[k] = start, len(chunk)
            start += len(chunk)
    table = index.tobytes()
    check = int(google_crc32c.value(table)).to_bytes(4, "little")
    return b"".join([*(c for c in chunks if c is not None), table, check])


def packed_index(data: bytes, count: int) -> NDArray[np.uint64]:
    """Return (count, 2): offset and length of each chunk of a shard, both `NOWHERE` where there is none.

    ``data`` is the shard or its end.
    """
    size = 16 * count
    return np.frombuffer(data[-size - 4 : -4], "<u8").reshape(count, 2)
