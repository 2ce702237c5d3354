"""A mosaic as a PNG to look at: some thousand px a side, stretched to 8 bit, transparent where there is no data."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.sinks.frame import Frame, Piece, Region
from demis_ij.sinks.parts import Filling, Part
from demis_ij.sinks.reduction import COVERAGE_FRAC, stretched
from demis_ij.sinks.regional import PixelSize, RegionSink
from demis_ij.sinks.scratch import link, write_new
from demis_ij.sinks.syncing import name_whole


@dataclass(frozen=True)
class SumsPart:
    """Of each region, sum and number of the data in the squares of the preview that it touches.

    Attributes
    ----------
    folder : Path
        Files are written to ``folder/sums``.
    frame : Frame
        The mosaic.
    factor : int
        Side of a square.
    last_level : int
        Only the largest is needed.
    """

    folder: Path
    frame: Frame
    factor: int
    last_level: int = 0

    def begin(self, region: Region) -> Filling:
        """Return what adds up a region."""
        return _Sums(self, region)

    def files(self, region: Region) -> Iterator[Path]:
        """Yield the file that a region may have."""
        yield self.file(region)

    def take_over(self, finished: Path, region: Region) -> None:
        """Keep the sums of a region as another folder has them."""
        link(finished / "sums" / region.name, self.file(region))

    def file(self, region: Region) -> Path:
        """Return the file of a region."""
        return self.folder / "sums" / region.name

    def sums(self) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
        """Return sum and number of the data in every square."""
        rows, cols = (-(-n // self.factor) for n in self.frame.shape)
        total, count = np.zeros((rows, cols)), np.zeros((rows, cols), np.uint32)
        for region in self.frame.regions(0):
            if not self.file(region).exists():
                continue
            box = self.frame.box(region)
            at = _squares(box.y0, box.y1, self.factor)[0], _squares(box.x0, box.x1, self.factor)[0]
            shape, data = total[at].shape, self.file(region).read_bytes()
            many = shape[0] * shape[1]
            total[at] += np.frombuffer(data, "<f8", many).reshape(shape)
            count[at] += np.frombuffer(data, "<u4", many, 8 * many).reshape(shape)
        return total, count


class _Sums:
    """Adds up the squares of a region, chunk by chunk."""

    def __init__(self, part: SumsPart, region: Region) -> None:
        self._part, self._path, self._box = part, part.file(region), part.frame.box(region)
        box, wide = self._box, np.float64 if part.frame.dtype.kind == "f" else np.uint64
        rows, cols = (_squares(n, m, part.factor)[0] for n, m in ((box.y0, box.y1), (box.x0, box.x1)))
        self._corner = rows.start, cols.start
        shape = rows.stop - rows.start, cols.stop - cols.start
        self._total, self._count, self._any = np.zeros(shape, wide), np.zeros(shape, "<u4"), False

    def take(self, number: int, row: int, col: int, piece: Piece | None) -> None:
        del row, col
        if piece is None or number:
            return
        self._any = True
        box, pixels, mask = piece
        rows, row_starts = _squares(box.y0, box.y1, self._part.factor)
        cols, col_starts = _squares(box.x0, box.x1, self._part.factor)
        inside = np.ones(box.shape, bool) if mask is None else mask
        values = pixels if mask is None else np.where(mask, pixels, pixels.dtype.type(0))
        top, left = self._corner
        at = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
        self._total[at] += np.add.reduceat(np.add.reduceat(values, row_starts, 0, self._total.dtype), col_starts, 1)
        self._count[at] += np.add.reduceat(np.add.reduceat(inside, row_starts, 0, np.uint32), col_starts, 1)

    def end(self) -> None:
        if self._any:
            write_new(self._path, self._total.astype("<f8").tobytes() + self._count.tobytes())
        else:
            self._path.unlink(missing_ok=True)

    def leave(self) -> None:
        """Do nothing: no file is open."""


class PngSink(RegionSink):
    """Writes a preview: every pixel the mean of the data in a square of the mosaic.

    Only the small image is kept in memory. Grey when all of it is data, else grey and alpha.

    Parameters
    ----------
    max_side_px : int
        Its longer side is at most this.
    low, high : float
        Percentiles of the data that become 1 and 255.
    """

    def __init__(self, max_side_px: int = 4096, *, low: float = 0.5, high: float = 99.5) -> None:
        super().__init__()
        if max_side_px < 1:
            msg = f"a preview has at least one pixel a side, found {max_side_px}"
            raise InputError(msg)
        self._max_side_px = max_side_px
        self._range = (low, high)

    def _check(self, path: Path, pixel_size: PixelSize) -> None:
        """Take any unit: a PNG holds none."""

    def _settings(self) -> dict[str, Any]:
        return {"side": self._max_side_px}

    def _make_part(self, folder: Path) -> Part:
        self._part = SumsPart(folder, self.frame, -(-max(self.frame.shape) // self._max_side_px))
        return self._part

    def _assemble(self) -> None:
        total, count = self._part.sums()
        mask = self._covered(count)
        np.divide(total, count, out=total, where=mask)
        image = stretched(total, mask, *self._range)
        whole = self.scratch.folder / "whole.png"
        with whole.open("wb") as file:
            write_png(file, image, None if mask.all() else mask)
        name_whole(whole, self.path)

    def _covered(self, count: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return the squares at least half of which, as far as they lie in the mosaic, is data."""
        factor = self._part.factor
        down, across = (np.minimum(factor, n - np.arange(0, n, factor)) for n in self.frame.shape)
        mask = count > 0
        for row, height in enumerate(down):
            mask[row] &= count[row] >= COVERAGE_FRAC * height * across
        return mask


def _squares(start: int, stop: int, factor: int) -> tuple[slice, NDArray[np.intp]]:
    """Return which squares the pixels start..stop fall into, and where in them each square begins."""
    first, last = start // factor, (stop - 1) // factor
    begins = np.maximum(np.arange(first, last + 1) * factor, start) - start
    return slice(first, last + 1), begins.astype(np.intp)


def write_png(file: BinaryIO, grey: NDArray[np.uint8], opaque: NDArray[np.bool_] | None) -> None:
    """Write an 8-bit PNG, grey, or grey and alpha (which OpenCV cannot), row by row (ISO/IEC 15948).

    Parameters
    ----------
    file : binary file
        Where it goes.
    grey : ndarray of shape (H, W), uint8
        Grey values.
    opaque : ndarray of shape (H, W), bool, or None
        Where it is not transparent; None leaves the alpha channel out.
    """
    rows, cols = grey.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", cols, rows, 8, 0 if opaque is None else 4, 0, 0, 0))
    packer = zlib.compressobj(6)
    for r in range(rows):
        line = grey[r, :, None] if opaque is None else np.stack([grey[r], np.where(opaque[r], 255, 0)], 1)
        line = line.astype(np.uint8)
        change = line.copy()
        change[1:] -= line[:-1]  # filter 1: differences to the left, modulo 256
        packed = packer.compress(b"\x01" + change.tobytes())
        if packed:
            _chunk(file, b"IDAT", packed)
    _chunk(file, b"IDAT", packer.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
