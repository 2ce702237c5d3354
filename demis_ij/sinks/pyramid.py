"""A mosaic and its smaller copies on disk, filled block by block in any order, with memory for a few blocks only."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.reduction import area_mean, to_dtype


def no_data_value(dtype: np.dtype[Any]) -> float:
    """Return what stands in a file where there is no data: 0, in floats NaN, because 0 may be a grey like any other."""
    return float("nan") if dtype.kind == "f" else 0.0


def scratch_beside(path: Path) -> Path:
    """Return a new hidden folder beside ``path``, on the same disk, so that the finished file can be renamed.

    Raises
    ------
    OSError
        When the folder cannot be written.
    """
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))


def discard(folder: Path | None) -> None:
    """Remove a scratch folder if it is there."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def chunk_side(block_px: int) -> int:
    """Return the side of a chunk: one that blocks are made of, so that each chunk is written once, else 256."""
    return next((side for side in (512, 256) if block_px % side == 0), 256)


def level_shapes(shape: tuple[int, int], chunk_px: int) -> list[tuple[int, int]]:
    """Return (rows, cols) of each level: halved, rounded up, until one chunk holds it."""
    shapes = [shape]
    while max(shapes[-1]) > chunk_px:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    return shapes


class Pyramid:
    """Zarr arrays (format 2) of a mosaic, each half the size of the one before, and of where they are data.

    Parameters
    ----------
    folder : Path
        Levels are written to ``folder/mosaic/0``, ``1``, ...; masks, which are only needed while it is built, to
        ``folder/mask``.
    shape : tuple of int
        (rows, cols).
    dtype : numpy.dtype
        Grey values.
    chunk_px : int
        Side of a chunk.

    Raises
    ------
    OSError
        When the disk cannot take it.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: np.dtype[Any], chunk_px: int) -> None:
        self.dtype = dtype
        self.chunk_px = chunk_px
        self.shapes = level_shapes(shape, chunk_px)
        self.folder = folder / "mosaic"
        self.group = zarr.open_group(self.folder, mode="w", zarr_format=2)
        self._levels = [_array(self.folder / str(n), s, dtype, chunk_px) for n, s in enumerate(self.shapes)]
        mask_type = np.dtype(np.bool_)
        self._masks = [_array(folder / "mask" / str(n), s, mask_type, chunk_px) for n, s in enumerate(self.shapes)]

    def write(self, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take a block of the largest level."""
        whole = Box.of_shape(self.shapes[0])
        if pixels.shape != box.shape or mask.shape != box.shape or (box & whole) != box:
            found = f"a block of {pixels.shape} with a mask of {mask.shape}"
            msg = f"{found} does not fit {box} of a mosaic of {self.shapes[0]}"
            raise InputError(msg)
        if mask.any():
            self._put(0, pixels, mask, box)

    def _put(self, level: int, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        full = bool(mask.all())
        shown = pixels if full else np.where(mask, pixels, self.dtype.type(no_data_value(self.dtype)))
        self._levels[level][box.slices] = shown.astype(self.dtype, copy=False)
        self._masks[level][box.slices] = mask

    def build(self) -> None:
        """Make the smaller levels, each from the one before: the mean of the data in each 2 x 2 square."""
        for level, shape in enumerate(self.shapes[1:], 1):
            above = Box.of_shape(self.shapes[level - 1])
            for box in chunks(shape, self.chunk_px):
                source = Box(2 * box.x0, 2 * box.y0, 2 * box.x1, 2 * box.y1) & above
                mask = np.asarray(self._masks[level - 1][source.slices])
                if not mask.any():
                    continue
                pixels = np.asarray(self._levels[level - 1][source.slices])
                values, inside = area_mean(pixels, None if mask.all() else mask, 2)
                self._put(level, to_dtype(values, self.dtype), inside, box)

    def bands(self, level: int) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        """Yield a level from top to bottom, ``chunk_px`` rows at a time: pixels, and where they are data."""
        for y in range(0, self.shapes[level][0], self.chunk_px):
            rows = slice(y, y + self.chunk_px)
            yield np.asarray(self._levels[level][rows]), np.asarray(self._masks[level][rows])

    def tiles(self, level: int) -> Iterator[NDArray[Any]]:
        """Yield a level's chunks row by row, all of ``chunk_px`` a side, filled up with no data."""
        side = self.chunk_px
        for box in chunks(self.shapes[level], side):
            part = np.asarray(self._levels[level][box.slices])
            if part.shape == (side, side):
                yield part
                continue
            tile = np.full((side, side), no_data_value(self.dtype), self.dtype)
            tile[: box.height, : box.width] = part
            yield tile


def chunks(shape: tuple[int, int], side: int) -> Iterator[Box]:
    """Yield the squares of an image row by row, those at the right and bottom cut."""
    whole = Box.of_shape(shape)
    for y in range(0, shape[0], side):
        for x in range(0, shape[1], side):
            yield Box(x, y, x + side, y + side) & whole


def _array(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], chunk_px: int) -> Any:
    return zarr.create_array(
        path,
        shape=shape,
        chunks=(chunk_px, chunk_px),
        dtype=dtype,
        compressors=numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE),
        fill_value=dtype.type(no_data_value(dtype)),
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
