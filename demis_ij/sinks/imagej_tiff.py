"""A mosaic as the TIFF that plain ImageJ itself writes: uncompressed, one strip, its calibration and display range.

ImageJ 1 opens no tiled TIFF, so the OME-TIFF of this project needs Bio-Formats. Like ImageJ's own files, this one has
its directory first and the pixels behind it, so that an image may pass 4 GiB: ImageJ looks at where the pixels begin,
not at how many bytes the directory claims. Where there is no data stands 0, NaN in floats.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.sinks.calibration import ome_symbol
from demis_ij.sinks.encoding import BLOSC
from demis_ij.sinks.frame import LEVELS_A_STAGE, Piece, Region
from demis_ij.sinks.parts import ChunkPart, Filling, Part
from demis_ij.sinks.regional import RegionSink
from demis_ij.sinks.scratch import write_new
from demis_ij.sinks.syncing import name_whole

MAX_PX = 2**31 - 1
"""ImageJ holds an image in one Java array."""

LEAST_PX = 2**18
"""No picture is made smaller than this."""

SAMPLE_PX = 1 << 20
"""About so many pixels say which greys are shown."""


def reduction(shape: tuple[int, int], max_px: int = MAX_PX) -> int:
    """Return by which factor, a power of two, a mosaic of ``shape`` is reduced so that ImageJ can open it.

    Pixel i of the picture has its centre at ``(i + 0.5) * factor - 0.5`` of the mosaic.

    Examples
    --------
    >>> reduction((1000, 1000), max_px=300_000)
    2
    """
    factor = 1
    while -(-shape[0] // factor) * -(-shape[1] // factor) > max_px:
        factor *= 2
    return factor


@dataclass(frozen=True)
class PicturePart(ChunkPart):
    """Regions of one level, and a sample of the greys of each: every pixel whose row and column are ``step`` apart."""

    @property
    def step(self) -> int:
        """Distance of the pixels of the sample."""
        rows, cols = self.frame.shapes[self.last_level]
        return max(1, int(np.sqrt(rows * cols / SAMPLE_PX)))

    def begin(self, region: Region) -> Filling:
        """Return what takes the level of a region and its sample."""
        return _Sampled(super().begin(region), self, self.sample_file(region))

    def files(self, region: Region) -> Iterator[Path]:
        """Yield the files that a region may have."""
        yield from super().files(region)
        yield self.sample_file(region)

    def sample_file(self, region: Region) -> Path:
        """Return the file of a region's sample."""
        return self.folder / "sample" / region.name

    def sample(self) -> NDArray[Any]:
        """Return the sampled greys of all regions."""
        stage = max(0, self.last_level - 1) // LEVELS_A_STAGE
        files = [self.sample_file(region) for region in self.frame.regions(stage)]
        found = [np.frombuffer(f.read_bytes(), self.frame.dtype) for f in files if f.exists()]
        return np.concatenate([np.empty(0, self.frame.dtype), *found])


class _Sampled:
    """Takes a region as another filling does, and a sample of its greys."""

    def __init__(self, filling: Filling, part: PicturePart, path: Path) -> None:
        self._filling, self._part, self._path = filling, part, path
        self._found: list[NDArray[Any]] = []

    def take(self, number: int, row: int, col: int, piece: Piece | None) -> None:
        self._filling.take(number, row, col, piece)
        if piece is not None and number == self._part.last_level:
            step = self._part.step
            at = slice(-piece.box.y0 % step, None, step), slice(-piece.box.x0 % step, None, step)
            values = piece.pixels[at]
            self._found.append(values.ravel() if piece.mask is None else values[piece.mask[at]])

    def end(self) -> None:
        self._filling.end()
        write_new(self._path, b"".join(found.tobytes() for found in self._found))

    def leave(self) -> None:
        self._filling.leave()


class ImageJTiffSink(RegionSink):
    """Writes ``<name>.tif``; see the module for what is in it.

    Regions are kept in a hidden folder beside the file until it can be written in one go.

    Parameters
    ----------
    max_px : int
        A mosaic of more pixels is halved until it has no more (`reduction`).
    """

    def __init__(self, max_px: int = MAX_PX) -> None:
        super().__init__()
        if not LEAST_PX <= max_px <= MAX_PX:
            msg = f"a picture for ImageJ has {LEAST_PX} to {MAX_PX} pixels at most, found {max_px!r}"
            raise InputError(msg)
        self._max_px = max_px

    def _settings(self) -> dict[str, Any]:
        return {"level": self._level}

    @property
    def _level(self) -> int:
        return reduction(self.frame.shape, self._max_px).bit_length() - 1

    def _make_part(self, folder: Path) -> Part:
        self._part = PicturePart(folder, self.frame, BLOSC["standard"], True, self._level, self._level)
        return self._part

    def _assemble(self) -> None:
        factor = 2**self._level
        size = (self.pixel_size[0] * factor, self.pixel_size[1]) if self.pixel_size else None
        whole = self.scratch.folder / "whole.tif"
        with whole.open("wb") as file:
            self._write_tiff(file, size)
        name_whole(whole, self.path)

    def _write_tiff(self, file: BinaryIO, size: tuple[float, str] | None) -> None:
        shape, dtype = self.frame.shapes[self._level], self.frame.dtype
        start = file.write(header(shape, dtype, size, None))
        for pixels in self._part.bands(self._level):
            file.write(np.ascontiguousarray(pixels, dtype.newbyteorder(">")).data)
        if dtype != np.uint8:
            file.seek(0)
            told = header(shape, dtype, size, grey_range(self._part.sample()))
            if file.write(told) != start:
                msg = "the second header is as long as the first"
                raise RuntimeError(msg)


def grey_range(sample: NDArray[Any], low: float = 0.5, high: float = 99.5) -> tuple[float, float] | None:
    """Return the greys to show as black and white, None when there is nothing to tell them by."""
    if not sample.size:
        return None
    lo, hi = np.percentile(sample, (low, high))
    return (float(lo), float(hi)) if hi > lo else None


DESCRIPTION_BYTES = 256
"""Room for the description; it is filled up with line ends."""


def header(
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    pixel_size: tuple[float, str] | None,
    shown: tuple[float, float] | None,
    *,
    slices: int = 1,
    spacing: float | None = None,
    next_directory: int = 0,
) -> bytes:
    """Return all that stands before the pixels: always as many bytes.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    dtype : numpy.dtype
        uint8, uint16 or float32; the pixels that follow are big-endian.
    pixel_size : tuple of (float, str) or None
        Side of a pixel and its unit.
    shown : tuple of (float, float) or None
        Greys shown as black and white; ImageJ's choice when None.
    slices : int
        Of a stack; their pixels follow each other.
    spacing : float, optional
        From slice to slice, in the unit of ``pixel_size``.
    next_directory : int
        Where the directory of the second slice stands; 0 where there is none.
    """
    bits = dtype.itemsize * 8
    bytes_of_pixels = min(shape[0] * shape[1] * dtype.itemsize, 2**32 - 1)
    count = 14
    after = 8 + 2 + 12 * count + 4
    ratio = Fraction(1) if pixel_size is None else _per_unit(pixel_size[0])
    entries = [
        (254, 4, 1, 0),  # a full image
        (256, 4, 1, shape[1]),
        (257, 4, 1, shape[0]),
        (258, 3, 1, bits << 16),
        (259, 3, 1, 1 << 16),  # uncompressed
        (262, 3, 1, 1 << 16),  # 0 is black
        (270, 2, DESCRIPTION_BYTES, after + 16),
        (273, 4, 1, after + 16 + DESCRIPTION_BYTES),
        (277, 3, 1, 1 << 16),
        (278, 4, 1, shape[0]),  # one strip
        (279, 4, 1, bytes_of_pixels),
        (282, 5, 1, after),
        (283, 5, 1, after + 8),
        (339, 3, 1, (3 if dtype.kind == "f" else 1) << 16),
    ]
    ifd = struct.pack(">H", count) + b"".join(struct.pack(">HHII", *e) for e in entries)
    ifd += struct.pack(">I", next_directory)
    rational = struct.pack(">II", ratio.numerator, ratio.denominator)
    described = (
        description(pixel_size, shown, slices=slices, spacing=spacing)
        .encode("ascii")
        .ljust(DESCRIPTION_BYTES - 1, b"\n")
        + b"\0"
    )
    return b"MM\0*" + struct.pack(">I", 8) + ifd + rational + rational + described


def _per_unit(size: float) -> Fraction:
    """Return pixels per unit of length as TIFF can hold it: two whole numbers below 2^32."""
    wanted = 1 / Fraction(size)
    found = wanted.limit_denominator(2**31)
    if not 0 < found.numerator < 2**32:
        found = 1 / Fraction(size).limit_denominator(2**31)
    return found


def description(
    pixel_size: tuple[float, str] | None,
    shown: tuple[float, float] | None,
    *,
    slices: int = 1,
    spacing: float | None = None,
) -> str:
    """Return what ImageJ reads of a picture besides its pixels; a unit is ASCII, as Java's properties write it."""
    lines = ["ImageJ=1.54p"]
    if slices > 1:
        lines += [f"images={slices}", f"slices={slices}", "loop=false"]
    if pixel_size is not None:
        symbol = ome_symbol(pixel_size[1]) or pixel_size[1]
        lines.append("unit=" + "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in symbol))
    if spacing is not None:
        lines.append(f"spacing={spacing:.9g}")
    if shown is not None:
        lines += [f"min={shown[0]:.9g}", f"max={shown[1]:.9g}"]
    return "\n".join(lines) + "\n"
