"""A volume as the TIFF stack that ImageJ itself writes: uncompressed, slices one behind the other, its calibration.

Opened by *File > Open*, or as a virtual stack where it is larger than memory. Every slice has a directory of its own as
long as offsets fit in 32 bits; a larger stack has one directory and says ``images=N``, which ImageJ, Bio-Formats and
tifffile understand. Where there is no data stands 0, NaN in floats. ImageJ knows 8 and 16 bit and floats: labels that
need more become floats as long as those hold them exactly.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.calibration import to_metres
from demis_ij.sinks.imagej_tiff import MAX_PX, grey_range, header
from demis_ij.sinks.pyramid import no_data_value
from demis_ij.sinks.syncing import name_whole, sync_file
from demis_ij.sinks.volume import Unfinished, VolumeKind, check_block, still_open

MOST_OFFSET = 2**32 - 1
EXACT_IN_FLOAT = 2**24
"""Whole numbers up to this are exact as float32."""

_SAMPLE_PX = 1 << 16  # of a slice, for the greys that are shown
_FIELDS = 12


class TiffVolumeSink:
    """Writes ``<name>.tif``; see the module for what is in it."""

    def __init__(self) -> None:
        self._volume: Unfinished | None = None
        self._voxels: Any = None
        self._start = 0
        self._begun: set[int] = set()

    def open(self, path: Path, kind: VolumeKind, *, block: int, key: str = "") -> frozenset[int]:
        """Start a volume, or go on with one; `demis_ij.sinks.volume.VolumeSink` says the rest.

        Raises
        ------
        InputError
            When a unit is unknown, a slice is too large for ImageJ, or something that is no file has the name.
        OSError
            When the disk cannot be written.
        """
        if kind.shape[1] * kind.shape[2] > MAX_PX:
            msg = f"{path}: slices of {kind.shape[2]}x{kind.shape[1]} px are too large for ImageJ; write an OME-Zarr"
            raise InputError(msg)
        if path.exists() and not path.is_file():
            msg = f"{path}: is there already and is no file; move it or choose another name"
            raise InputError(msg)
        volume = self._volume = Unfinished(Path(path), kind, key)
        self._start = len(self._head(None, 0))
        part = volume.folder / "volume.tif"
        how = "r+" if volume.goes_on_with(part) else "w+"
        self._voxels = np.memmap(part, _stored(kind), how, offset=self._start, shape=kind.shape)  # type: ignore[call-overload]
        self._begun = set(volume.scratch.finished)
        return frozenset(volume.scratch.finished)

    def write(self, section: int, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of a box of a section, and where they are data.

        Raises
        ------
        InputError
            When the block does not fit, or a label is too large for ImageJ.
        """
        volume = still_open(self._volume)
        kind = volume.kind
        check_block(kind, section, pixels, mask, box)
        if kind.dtype.kind in "iu" and _stored(kind).kind == "f" and mask.any():
            largest = int(np.abs(pixels[mask].astype(np.float64)).max())
            if largest > EXACT_IN_FLOAT:
                msg = f"{volume.path}: label {largest} is larger than ImageJ can hold exactly; write an OME-Zarr"
                raise InputError(msg)
        blank = self._begin(section)
        self._voxels[(section, *box.slices)] = np.where(mask, pixels, blank)

    def _begin(self, section: int) -> float:
        """Return the value of no data; a section that is begun is filled with it first."""
        kind = still_open(self._volume).kind
        blank = no_data_value(kind.dtype)
        if section not in self._begun and kind.dtype.kind == "f":
            self._voxels[section] = blank
        self._begun.add(section)
        return blank

    def finish(self, section: int) -> None:
        """Remember that a section is complete."""
        volume = still_open(self._volume)
        self._begin(section)
        self._voxels.flush()
        sync_file(volume.folder / "volume.tif")
        volume.scratch.finish(section)

    def close(self) -> None:
        """Write the directories and give the file its real name."""
        volume = still_open(self._volume)
        kind = volume.kind
        for section in range(kind.shape[0]):
            self._begin(section)
        shown = None if kind.labels or kind.dtype == np.uint8 else self._greys()
        self._voxels.flush()
        self._voxels = None
        part = volume.folder / "volume.tif"
        end = self._start + int(np.prod(kind.shape, dtype=np.int64)) * _stored(kind).itemsize
        several = kind.shape[0] > 1 and end + kind.shape[0] * (2 + 12 * _FIELDS + 4) <= MOST_OFFSET
        with part.open("r+b") as file:
            file.write(self._head(shown, end if several else 0))
            if several:
                file.seek(end)
                file.write(directories(kind.shape, _stored(kind), self._start, end))
        name_whole(part, volume.path)
        self.abort()

    def abort(self, *, keep: bool = False) -> None:
        """Remove all that is unfinished, or leave it in its hidden folder."""
        if self._voxels is not None:
            self._voxels.flush()
        self._voxels = None
        if self._volume is not None and not keep:
            self._volume.remove()
        self._volume = None

    def _head(self, shown: tuple[float, float] | None, next_directory: int) -> bytes:
        kind = still_open(self._volume).kind
        spacing = None
        if kind.thickness is not None and kind.pixel_size is not None:
            metres = to_metres(kind.thickness[1]), to_metres(kind.pixel_size[1])
            spacing = kind.thickness[0] * (metres[0] or 1.0) / (metres[1] or 1.0)
        return header(
            kind.shape[1:], _stored(kind), kind.pixel_size, shown,
            slices=kind.shape[0], spacing=spacing, next_directory=next_directory,
        )  # fmt: skip

    def _greys(self) -> tuple[float, float] | None:
        """Return which greys are shown, by a sample of every slice."""
        count, rows, cols = still_open(self._volume).kind.shape
        step = max(1, int(np.sqrt(rows * cols / _SAMPLE_PX)))
        some = range(0, count, max(1, count // 64))
        sample = np.concatenate([np.asarray(self._voxels[z, ::step, ::step]).ravel() for z in some])
        sample = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample[sample > 0]
        return grey_range(sample.astype(np.float64))


def _stored(kind: VolumeKind) -> np.dtype[Any]:
    """Return the type that ImageJ keeps values of a volume in, big-endian."""
    small = kind.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}
    return np.dtype(kind.dtype if small else np.float32).newbyteorder(">")


def directories(shape: tuple[int, int, int], dtype: np.dtype[Any], start: int, end: int) -> bytes:
    """Return the directories of the second and all further slices, which stand behind the pixels, at ``end``."""
    count, rows, cols = shape
    slice_bytes, size = rows * cols * dtype.itemsize, 2 + 12 * _FIELDS + 4
    out = []
    for k in range(1, count):
        entries = [
            (254, 4, 1, 0), (256, 4, 1, cols), (257, 4, 1, rows), (258, 3, 1, dtype.itemsize * 8 << 16),
            (259, 3, 1, 1 << 16), (262, 3, 1, 1 << 16), (273, 4, 1, start + k * slice_bytes), (277, 3, 1, 1 << 16),
            (278, 4, 1, rows), (279, 4, 1, slice_bytes), (284, 3, 1, 1 << 16),
            (339, 3, 1, (3 if dtype.kind == "f" else 1) << 16),
        ]  # fmt: skip
        follows = end + k * size if k + 1 < count else 0
        out.append(struct.pack(">H", _FIELDS) + b"".join(struct.pack(">HHII", *e) for e in entries))
        out.append(struct.pack(">I", follows))
    return b"".join(out)
