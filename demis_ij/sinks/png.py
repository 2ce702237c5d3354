"""A mosaic as a PNG to look at: some thousand px a side, stretched to 8 bit, transparent where there is no data."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.pyramid import discard, scratch_beside
from demis_ij.sinks.reduction import COVERAGE_FRAC, stretched


class PngSink:
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
        if max_side_px < 1:
            msg = f"a preview has at least one pixel a side, found {max_side_px}"
            raise InputError(msg)
        self._max_side_px = max_side_px
        self._range = (low, high)
        self._scratch: Path | None = None
        self._path = Path()
        self._shape = (0, 0)
        self._factor = 1
        self._total = np.empty((0, 0), np.float32)
        self._count = np.empty((0, 0), np.uint32)

    def open(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        pixel_size: tuple[float, str] | None,
        block: int,
    ) -> None:
        """Start a mosaic of ``shape`` (rows, cols). Raises `OSError` when the folder cannot be written."""
        self._path, self._shape = Path(path), shape
        self._factor = -(-max(shape) // self._max_side_px)
        small = (-(-shape[0] // self._factor), -(-shape[1] // self._factor))
        self._total, self._count = np.zeros(small, np.float32), np.zeros(small, np.uint32)
        self._scratch = scratch_beside(self._path)

    def write(self, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of ``box`` and where they are data."""
        if self._scratch is None:
            msg = "the sink is not open: call open() first"
            raise InputError(msg)
        if pixels.shape != box.shape or mask.shape != box.shape or (box & Box.of_shape(self._shape)) != box:
            msg = (
                f"a block of {pixels.shape} with a mask of {mask.shape} does not fit {box} of a mosaic of {self._shape}"
            )
            raise InputError(msg)
        if not mask.any():
            return
        rows, row_starts = _squares(box.y0, box.y1, self._factor)
        cols, col_starts = _squares(box.x0, box.x1, self._factor)
        values = np.where(mask, pixels, 0).astype(np.float32)
        self._total[rows, cols] += np.add.reduceat(np.add.reduceat(values, row_starts, 0), col_starts, 1)
        count = mask.astype(np.uint32)
        self._count[rows, cols] += np.add.reduceat(np.add.reduceat(count, row_starts, 0), col_starts, 1)

    def close(self) -> None:
        """Write the file and give it its real name."""
        if self._scratch is None:
            msg = "the sink is not open: call open() first"
            raise InputError(msg)
        mask = self._covered()
        np.divide(self._total, self._count, out=self._total, where=mask)
        image = stretched(self._total, mask, *self._range)
        part = self._scratch / "whole.png"
        with part.open("wb") as file:
            write_png(file, image, None if mask.all() else mask)
        part.replace(self._path)
        self.abort()

    def abort(self) -> None:
        """Remove all that is unfinished."""
        discard(self._scratch)
        self._scratch = None
        self._total, self._count = np.empty((0, 0), np.float32), np.empty((0, 0), np.uint32)

    def _covered(self) -> NDArray[np.bool_]:
        """Return the squares at least half of which, as far as they lie in the mosaic, is data."""
        down, across = (np.minimum(self._factor, n - np.arange(0, n, self._factor)) for n in self._shape)
        mask = self._count > 0
        for row, height in enumerate(down):
            mask[row] &= self._count[row] >= COVERAGE_FRAC * height * across
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
