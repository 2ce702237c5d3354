"""A mosaic as the TIFF that plain ImageJ itself writes: uncompressed, one strip, its calibration and display range.

ImageJ 1 opens no tiled TIFF, so the OME-TIFF of this project needs Bio-Formats. Like ImageJ's own files, this one has
its directory first and the pixels behind it, so that an image may pass 4 GiB: ImageJ looks at where the pixels begin,
not at how many bytes the directory claims. Where there is no data stands 0, NaN in floats.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.calibration import ome_symbol, to_metres
from demis_ij.sinks.pyramid import Pyramid, chunk_side, discard, scratch_beside

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


class ImageJTiffSink:
    """Writes ``<name>.tif``; see the module for what is in it.

    Blocks are kept in a hidden folder beside the file until it can be written in one go.

    Parameters
    ----------
    max_px : int
        A mosaic of more pixels is halved until it has no more (`reduction`).
    """

    def __init__(self, max_px: int = MAX_PX) -> None:
        if not LEAST_PX <= max_px <= MAX_PX:
            msg = f"a picture for ImageJ has {LEAST_PX} to {MAX_PX} pixels at most, found {max_px!r}"
            raise InputError(msg)
        self._max_px = max_px
        self._scratch: Path | None = None
        self._path = Path()
        self._pyramid: Pyramid | None = None
        self._pixel_size: tuple[float, str] | None = None

    def open(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        pixel_size: tuple[float, str] | None,
        block: int,
    ) -> None:
        """Start a mosaic of ``shape`` (rows, cols). Raises `InputError` for an unknown unit, `OSError` by the disk."""
        if pixel_size is not None and to_metres(pixel_size[1]) is None:
            msg = f"{path}: a pixel size in {pixel_size[1]!r} cannot be written, needed a length such as nm or µm"
            raise InputError(msg)
        self._path, self._pixel_size = Path(path), pixel_size
        self._scratch = scratch_beside(self._path)
        self._pyramid = Pyramid(self._scratch, shape, np.dtype(dtype), chunk_side(block))

    def write(self, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of ``box`` and where they are data."""
        self._open_pyramid().write(pixels, mask, box)

    def close(self) -> None:
        """Write the file and give it its real name."""
        pyramid = self._open_pyramid()
        factor = reduction(pyramid.shapes[0], self._max_px)
        if factor > 1:
            pyramid.build()
        level = factor.bit_length() - 1
        size = (self._pixel_size[0] * factor, self._pixel_size[1]) if self._pixel_size else None
        part = pyramid.folder.parent / "whole.tif"
        with part.open("wb") as file:
            self._write_tiff(file, pyramid, level, size)
        part.replace(self._path)
        self.abort()

    def abort(self) -> None:
        """Remove all that is unfinished."""
        discard(self._scratch)
        self._scratch = self._pyramid = None

    def _open_pyramid(self) -> Pyramid:
        if self._pyramid is None:
            msg = "the sink is not open: call open() first"
            raise InputError(msg)
        return self._pyramid

    def _write_tiff(self, file: BinaryIO, pyramid: Pyramid, level: int, size: tuple[float, str] | None) -> None:
        shape = pyramid.shapes[level]
        big_endian = pyramid.dtype.newbyteorder(">")
        step = max(1, int(np.sqrt(shape[0] * shape[1] / SAMPLE_PX)))
        seen: list[NDArray[Any]] = []
        start = file.write(header(shape, pyramid.dtype, size, None))
        for pixels, mask in pyramid.bands(level):
            file.write(np.ascontiguousarray(pixels, big_endian).data)
            seen.append(pixels[::step, ::step][mask[::step, ::step]])
        if pyramid.dtype != np.uint8:
            file.seek(0)
            told = header(shape, pyramid.dtype, size, grey_range(np.concatenate(seen)))
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
