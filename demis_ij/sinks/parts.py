"""What a worker needs to put a region of a mosaic on disk: values that can be sent, files that nobody else writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demis_ij.sinks.encoding import Bytes, Encoding, no_data_value
from demis_ij.sinks.frame import Frame, Piece, Region
from demis_ij.sinks.scratch import link, write_new
from demis_ij.sinks.shards import NewShard, read_chunks


class Filling(Protocol):
    """A region on its way to disk."""

    def take(self, number: int, row: int, col: int, piece: Piece | None) -> None:
        """Keep a chunk of level ``number``, None where there is no data. Raises `OSError`."""
        ...

    def end(self) -> None:
        """Finish the region's files: every chunk has been taken. Raises `OSError`."""
        ...

    def leave(self) -> None:
        """Let go of what is open, finished or not."""
        ...


class Part(Protocol):
    """Where the regions of one sink go. Can be sent to a worker; regions may come in any order, from several workers.

    Attributes
    ----------
    folder : Path
        Scratch folder, on a disk that all workers see.
    frame : Frame
        The mosaic.
    last_level : int
        The smallest level that is needed.
    """

    @property
    def folder(self) -> Path: ...  # noqa: D102
    @property
    def frame(self) -> Frame: ...  # noqa: D102
    @property
    def last_level(self) -> int: ...  # noqa: D102

    def begin(self, region: Region) -> Filling:
        """Return what takes the chunks of a region; files left by an earlier attempt are replaced."""
        ...

    def files(self, region: Region) -> Iterator[Path]:
        """Yield the files that a region may have; where there is no data there is none."""
        ...

    def take_over(self, finished: Path, region: Region) -> None:
        """Keep a region as it is in a finished file."""
        ...


@dataclass(frozen=True)
class ChunkPart:
    """Regions as encoded chunks: each a file, or all of a region and level packed into one.

    Attributes
    ----------
    folder : Path
        Files are written to ``folder/mosaic/LEVEL``, as Zarr names them.
    frame : Frame
        The mosaic.
    encoding : Encoding
        Of a chunk.
    is_packed : bool
        One shard a region and level, as Zarr format 3 has it.
    first_level, last_level : int
        Levels that are kept.
    """

    folder: Path
    frame: Frame
    encoding: Encoding
    is_packed: bool
    first_level: int
    last_level: int

    def begin(self, region: Region) -> Filling:
        """Return what takes the chunks of a region."""
        return _Shards(self, region) if self.is_packed else _ChunkFiles(self)

    def encoded_chunk(self, number: int, piece: Piece | None) -> Bytes | None:
        """Return the bytes of a chunk, None where nothing is to be kept of it."""
        if piece is None or not self.first_level <= number <= self.last_level:
            return None
        return self.encoding.encode(_whole(piece, self.frame))

    def chunk_file(self, number: int, row: int, col: int) -> Path:
        """Return the file of a chunk."""
        return self.folder / "mosaic" / str(number) / str(row) / str(col)

    def shard_file(self, number: int, row: int, col: int) -> Path:
        """Return the file of all chunks that a region has of a level."""
        return self.folder / "mosaic" / str(number) / "c" / str(row) / str(col)

    def files(self, region: Region) -> Iterator[Path]:
        """Yield the files that a region may have."""
        for number in self.frame.levels(region.stage):
            if self.is_packed:
                yield self.shard_file(number, region.row, region.col)
                continue
            many = self.frame.chunks_a_side(number)
            for r in range(region.row * many, (region.row + 1) * many):
                for c in range(region.col * many, (region.col + 1) * many):
                    yield self.chunk_file(number, r, c)

    def take_over(self, finished: Path, region: Region) -> None:
        """Keep a region as it is in a finished folder of chunks: under a second name, without copying a byte."""
        for path in self.files(region):
            source = finished / path.relative_to(self.folder / "mosaic")
            if source.is_file():
                link(source, path)
            else:
                path.unlink(missing_ok=True)

    # --- reading back, for files that are put together of shards

    def encoded(self, number: int) -> Iterator[bytes | None]:
        """Yield the encoded chunks of a level row by row, None where none has data. Chunks are packed."""
        side, many = self.frame.chunk_px, self.frame.chunks_a_side(number)
        rows, cols = (-(-n // side) for n in self.frame.shapes[number])
        for row in range(rows):
            for shard in range(-(-cols // many)):
                first = row % many * many
                places = range(first, first + min(many, cols - shard * many))
                yield from read_chunks(self.shard_file(number, row // many, shard), many * many, places)

    def bands(self, number: int) -> Iterator[NDArray[Any]]:
        """Yield a level from top to bottom, ``chunk_px`` rows at a time. Chunks are packed."""
        side, dtype = self.frame.chunk_px, self.frame.dtype
        rows, cols = self.frame.shapes[number]
        across = -(-cols // side)
        chunks = self.encoded(number)
        for top in range(0, rows, side):
            band = np.full((side, across * side), no_data_value(dtype), dtype)
            for k in range(across):
                data = next(chunks)
                if data is not None:
                    band[:, k * side : (k + 1) * side] = self.encoding.decode(data, (side, side), dtype)
            yield band[: min(side, rows - top), :cols]


class _ChunkFiles:
    """Each chunk in a file of its own."""

    def __init__(self, part: ChunkPart) -> None:
        self._part = part

    def take(self, number: int, row: int, col: int, piece: Piece | None) -> None:
        path, data = self._part.chunk_file(number, row, col), self._part.encoded_chunk(number, piece)
        if data is None:
            path.unlink(missing_ok=True)
        else:
            write_new(path, data)

    def end(self) -> None:
        """Do nothing: every file is whole."""

    def leave(self) -> None:
        """Do nothing: no file is open."""


class _Shards:
    """The chunks of a region in one file a level."""

    def __init__(self, part: ChunkPart, region: Region) -> None:
        self._part = part
        self._new: dict[int, NewShard] = {}
        for number in part.frame.levels(region.stage):
            count = part.frame.chunks_a_side(number) ** 2
            self._new[number] = NewShard(part.shard_file(number, region.row, region.col), count)

    def take(self, number: int, row: int, col: int, piece: Piece | None) -> None:
        data = self._part.encoded_chunk(number, piece)
        if data is not None:
            many = self._part.frame.chunks_a_side(number)
            self._new[number].append(row % many * many + col % many, data)

    def end(self) -> None:
        for shard in self._new.values():
            shard.end()

    def leave(self) -> None:
        for shard in self._new.values():
            shard.leave()


def _whole(piece: Piece, frame: Frame) -> NDArray[Any]:
    """Return a whole chunk, filled up with no data; may be the piece's own pixels."""
    side = frame.chunk_px
    blank = frame.dtype.type(no_data_value(frame.dtype))
    pixels = piece.pixels
    if piece.mask is not None:  # a product is twenty times as fast as a choice
        pixels = np.where(piece.mask, pixels, blank) if frame.dtype.kind == "f" else pixels * piece.mask
    if pixels.shape == (side, side):
        return pixels
    whole = np.full((side, side), blank, frame.dtype)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    return whole
