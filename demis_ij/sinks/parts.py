"""What a worker needs to put a region of a mosaic on disk: values that can be sent, files that nobody else writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.sinks.encoding import NOWHERE, Encoding, no_data_value, packed, packed_index
from demis_ij.sinks.frame import LEVELS_A_STAGE, Frame, Level, Region
from demis_ij.sinks.scratch import link, write_new


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

    def take(self, region: Region, levels: Sequence[Level]) -> None:
        """Keep the levels of a region; files left by an earlier attempt are replaced. Raises `OSError`."""
        ...

    def clear(self, region: Region) -> None:
        """Remove what an earlier attempt may have left of a region."""
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

    def take(self, region: Region, levels: Sequence[Level]) -> None:
        """Keep the levels of a region."""
        for level in levels:
            if not self.first_level <= level.number <= self.last_level:
                continue
            if self.is_packed:
                self._take_packed(region, level)
                continue
            for row, col, chunk in self._chunks(region, level):
                path = self._chunk_file(level.number, row, col)
                if chunk is None:
                    path.unlink(missing_ok=True)
                else:
                    write_new(path, self.encoding.encode(chunk))

    def _take_packed(self, region: Region, level: Level) -> None:
        found = [None if c is None else self.encoding.encode(c) for _, _, c in self._chunks(region, level)]
        path = self._shard_file(level.number, region.row, region.col)
        if any(c is not None for c in found):
            write_new(path, packed(found))
        else:
            path.unlink(missing_ok=True)

    def _chunks(self, region: Region, level: Level) -> Iterator[tuple[int, int, NDArray[Any] | None]]:
        """Yield row and column of each chunk of a region, those outside of the mosaic, too, and its pixels if any."""
        side = self.frame.chunk_px
        blank = self.frame.dtype.type(no_data_value(self.frame.dtype))
        many = self.chunks_a_side(level.number)
        for r in range(many):
            for c in range(many):
                at = slice(r * side, (r + 1) * side), slice(c * side, (c + 1) * side)
                yield region.row * many + r, region.col * many + c, _shown(level, at, side, blank)

    def chunks_a_side(self, number: int) -> int:
        """Return how many chunks a region has along a side of a level."""
        first = 0 if number == 0 else (number - 1) // LEVELS_A_STAGE * LEVELS_A_STAGE
        return max(1, (self.frame.region_px >> (number - first)) // self.frame.chunk_px)

    def _chunk_file(self, number: int, row: int, col: int) -> Path:
        return self.folder / "mosaic" / str(number) / str(row) / str(col)

    def _shard_file(self, number: int, row: int, col: int) -> Path:
        return self.folder / "mosaic" / str(number) / "c" / str(row) / str(col)

    def _files(self, region: Region) -> Iterator[Path]:
        for number in self.frame.levels(region.stage):
            if self.is_packed:
                yield self._shard_file(number, region.row, region.col)
                continue
            many = self.chunks_a_side(number)
            for r in range(region.row * many, (region.row + 1) * many):
                for c in range(region.col * many, (region.col + 1) * many):
                    yield self._chunk_file(number, r, c)

    def clear(self, region: Region) -> None:
        """Remove what an earlier attempt may have left of a region."""
        for path in self._files(region):
            path.unlink(missing_ok=True)

    def take_over(self, finished: Path, region: Region) -> None:
        """Keep a region as it is in a finished folder of chunks: under a second name, without copying a byte."""
        for path in self._files(region):
            source = finished / path.relative_to(self.folder / "mosaic")
            if source.is_file():
                link(source, path)
            else:
                path.unlink(missing_ok=True)

    # --- reading back, for files that are put together of shards

    def encoded(self, number: int) -> Iterator[bytes | None]:
        """Yield the encoded chunks of a level row by row, None where none has data. Chunks are packed."""
        side, many = self.frame.chunk_px, self.chunks_a_side(number)
        rows, cols = (-(-n // side) for n in self.frame.shapes[number])
        for row in range(rows):
            for shard in range(-(-cols // many)):
                found = self._of_shard(number, row // many, shard, row % many)
                yield from found[: min(many, cols - shard * many)]

    def _of_shard(self, number: int, row: int, col: int, line: int) -> list[bytes | None]:
        """Return one row of the chunks of a shard, read in one go."""
        many = self.chunks_a_side(number)
        try:
            file = self._shard_file(number, row, col).open("rb")
        except FileNotFoundError:
            return [None] * many
        with file:
            file.seek(-(16 * many * many + 4), 2)
            index = packed_index(file.read(), many * many)[line * many : (line + 1) * many]
            there = index[:, 0] != NOWHERE
            if not there.any():
                return [None] * many
            start, stop = int(index[there, 0].min()), int(index[there].sum(axis=1).max())
            file.seek(start)
            data = memoryview(file.read(stop - start))
        return [
            bytes(data[int(o) - start : int(o) - start + int(n)]) if known else None
            for (o, n), known in zip(index, there, strict=True)
        ]

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


def _shown(level: Level, at: tuple[slice, slice], side: int, blank: Any) -> NDArray[Any] | None:
    """Return a whole chunk of a level, filled up with no data; None when nothing of it is data."""
    pixels = level.pixels[at]
    if not pixels.size:
        return None
    mask = None if level.mask is None else level.mask[at]
    if mask is not None and not mask.any():
        return None
    if mask is not None and not mask.all():
        pixels = np.where(mask, pixels, blank)
    if pixels.shape == (side, side):
        return pixels
    whole = np.full((side, side), blank, level.pixels.dtype)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    return whole


def inside(box: Box, outer: Box) -> tuple[slice, slice]:
    """Return the index of ``box`` in the array of ``outer``."""
    return slice(box.y0 - outer.y0, box.y1 - outer.y0), slice(box.x0 - outer.x0, box.x1 - outer.x0)
