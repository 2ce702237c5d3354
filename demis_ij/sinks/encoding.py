"""How a chunk of a mosaic becomes bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numcodecs
import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

COMPRESSIONS = ("standard", "light", "none")

# Threads inside Blosc would put blocks in the order in which they are done: other bytes each time.
numcodecs.blosc.use_threads = False

Bytes = bytes | memoryview


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

    def encode(self, chunk: NDArray[Any]) -> Bytes:
        """Return the bytes of a chunk, little-endian, row by row; raw ones may be those of ``chunk`` itself."""
        chunk = np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("<"))
        if self.codec == "blosc":
            return self.blosc.encode(chunk)  # type: ignore[no-any-return]
        if self.codec == "deflate":
            if self.shuffle and chunk.dtype.kind != "f":
                change = chunk.copy()
                change[:, 1:] -= chunk[:, :-1]
                chunk = change
            return zlib.compress(chunk.data, self.level)
        return chunk.data.cast("B")

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

    @cached_property
    def blosc(self) -> Any:
        """The Blosc codec with these settings."""
        how = numcodecs.Blosc.SHUFFLE if self.shuffle else numcodecs.Blosc.NOSHUFFLE
        return numcodecs.Blosc(cname="lz4", clevel=self.level, shuffle=how)


BLOSC = {"standard": Encoding("blosc", 5, True), "light": Encoding("blosc", 1, False), "none": Encoding()}
DEFLATE = {"standard": Encoding("deflate", 6, True), "light": Encoding("deflate", 1, True), "none": Encoding()}
