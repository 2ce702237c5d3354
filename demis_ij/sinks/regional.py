"""What sinks share whose mosaic is made region by region, from one place or from many.

Whoever draws (`demis_ij.render`) calls `RegionSink.start`, hands `RegionSink.part` to its workers, and `close`s. A sink
may also be fed block by block as `demis_ij.protocols.Sink` says: blocks then wait in a file as they come, and regions
are made of them at the end.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.calibration import to_metres
from demis_ij.sinks.frame import LEVELS_A_STAGE, Frame, Piece, Region
from demis_ij.sinks.levels import Source, make_levels
from demis_ij.sinks.parts import Filling, Part
from demis_ij.sinks.pyramid import chunk_side
from demis_ij.sinks.scratch import Scratch, read_rest, rest_file, write_rest
from demis_ij.sinks.syncing import sync_all

PixelSize = tuple[float, str] | None
TAKEN_NOTHING = "the sink is not open: call open() first"


class RegionSink(ABC):
    """A sink whose mosaic is made region by region.

    Attributes
    ----------
    path : Path
        The mosaic's real name.
    frame : Frame
        The mosaic.
    pixel_size : tuple of (float, str) or None
        Side of a pixel of the largest level, and its unit.
    part : Part
        Where regions go; for workers.
    scratch : Scratch
        What is finished.
    """

    keeps_drawn: ClassVar[bool] = False
    """Whether single regions of a finished mosaic can be drawn anew."""

    path: Path
    frame: Frame
    pixel_size: PixelSize
    part: Part

    def __init__(self) -> None:
        self._scratch: Scratch | None = None
        self._spool: _Spool | None = None

    @property
    def scratch(self) -> Scratch:
        """What is finished. Raises `InputError` when the sink is not open."""
        if self._scratch is None:
            raise InputError(TAKEN_NOTHING)
        return self._scratch

    # --- what a sink adds

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Return what the bytes of its parts depend on besides frame and version, as JSON types."""

    @abstractmethod
    def _make_part(self, folder: Path) -> Part:
        """Return where regions go."""

    @abstractmethod
    def _assemble(self) -> None:
        """Make the file of its parts and give it its real name."""

    def _check(self, path: Path, pixel_size: PixelSize) -> None:
        """Raise `InputError` when the mosaic cannot be written as it is."""
        if pixel_size is not None and to_metres(pixel_size[1]) is None:
            msg = f"{path}: a pixel size in {pixel_size[1]!r} cannot be written, needed a length such as nm or µm"
            raise InputError(msg)

    # --- region by region

    def start(self, path: Path, frame: Frame, pixel_size: PixelSize, *, fresh: bool = False) -> None:
        """Begin a mosaic, or go on with one of the same frame that was left unfinished.

        Raises
        ------
        InputError
            When the unit is unknown, or something else has the name.
        OSError
            When the disk cannot be written.
        """
        self._check(Path(path), pixel_size)
        self.path, self.frame, self.pixel_size = Path(path), frame, pixel_size
        told = {
            "demis_ij": __version__,
            "frame": [frame.shape, frame.kind, frame.chunk_px],
            "sink": type(self).__name__,
        }
        self._scratch = Scratch(self.path, json.dumps({**told, **self._settings()}), fresh=fresh)
        self.part = self._make_part(self._scratch.folder)

    def close(self) -> None:
        """Make the file and give it its real name; it is on the disk then."""
        scratch = self.scratch
        if self._spool is not None:
            self._spool.close()
            make_regions(self.part, self._spool.chunks())
        scratch.settle()
        self._assemble()
        if self.keeps_drawn and self._spool is None:
            scratch.keep_drawn()
        self.abort()

    def abort(self, *, keep: bool = False) -> None:
        """Leave nothing that looks whole; ``keep`` the finished regions, if any, to go on with later."""
        if self._spool is not None:
            self._spool.close()
        if self._scratch is not None and keep and self._scratch.any_finished:
            self._scratch.leave()
        elif self._scratch is not None:
            self._scratch.remove()
        self._scratch = self._spool = None

    # --- block by block

    def open(self, path: Path, shape: tuple[int, int], dtype: np.dtype[Any], pixel_size: PixelSize, block: int) -> None:
        """Start a mosaic of ``shape`` (rows, cols), to be written block by block; `start` says what is raised."""
        self.start(path, Frame(shape, np.dtype(dtype).name, chunk_side(block)), pixel_size, fresh=True)
        self._spool = _Spool(self.scratch.folder, self.frame)

    def write(self, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of ``box`` and where they are data."""
        if self._spool is None:
            raise InputError(TAKEN_NOTHING)
        self._spool.write(pixels, mask, box)


def make_regions(part: Part, source: Source) -> None:
    """Make all levels of a mosaic of which ``source`` gives the chunks of the largest, one region after the other."""
    for stage in range(part.frame.stages):
        for region in part.frame.regions(stage):
            put_region([part], region, source if stage == 0 else stage_before(part.folder, part.frame, region))
            sync_all(part.files(region), part.folder)


def put_region(parts: Sequence[Part], region: Region, source: Source) -> None:
    """Keep a region and its smaller copies in each part, and what the next stage needs of it.

    Raises
    ------
    OSError
        When its files cannot be written.
    """
    frame = parts[0].frame
    with ExitStack() as opened:
        fillings: list[Filling] = []
        for part in parts:
            fillings.append(part.begin(region))
            opened.callback(fillings[-1].leave)

        def take(number: int, row: int, col: int, piece: Piece | None) -> None:
            for filling in fillings:
                filling.take(number, row, col, piece)

        rest = make_levels(frame, region, max(p.last_level for p in parts), source, take)
        for filling in fillings:
            filling.end()
    for part in parts:
        if part.last_level <= LEVELS_A_STAGE * (region.stage + 1):
            continue
        if rest is None:
            rest_file(part.folder, region).unlink(missing_ok=True)
        else:
            write_rest(part.folder, region, rest)


def stage_before(folder: Path, frame: Frame, region: Region) -> Source:
    """Return what gives the chunks that a region of a later stage is made of: one a region of the stage before."""

    def source(box: Box) -> Piece | None:
        child = Region(region.stage - 1, box.y0 // frame.chunk_px, box.x0 // frame.chunk_px)
        return read_rest(folder, frame, child, box)

    return source


def clear_region(parts: Iterable[Part], region: Region) -> None:
    """Remove what an earlier attempt may have left of a region without data."""
    for part in parts:
        for path in region_files(part, region):
            path.unlink(missing_ok=True)


def region_files(part: Part, region: Region) -> Iterator[Path]:
    """Yield the files that a region may have in a part, with what the next stage is made from."""
    yield from part.files(region)
    yield rest_file(part.folder, region)


class _Spool:
    """Blocks in any order on disk, as they are: two files with holes, pixels and mask."""

    def __init__(self, folder: Path, frame: Frame) -> None:
        self._frame = frame
        self._names = folder / "pixels", folder / "mask"
        self._files = [name.open("w+b", buffering=0) for name in self._names]
        rows, cols = frame.shape
        try:
            for file, size in zip(self._files, (frame.dtype.itemsize, 1), strict=True):
                file.truncate(rows * cols * size)
        except OSError:
            self.close()
            raise

    def write(self, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        shape = self._frame.shape
        if pixels.shape != box.shape or mask.shape != box.shape or (box & Box.of_shape(shape)) != box:
            found = f"a block of {pixels.shape} with a mask of {mask.shape}"
            msg = f"{found} does not fit {box} of a mosaic of {shape}"
            raise InputError(msg)
        for file, part in zip(self._files, (np.asarray(pixels, self._frame.dtype), mask), strict=True):
            size = part.dtype.itemsize
            for k, row in enumerate(np.ascontiguousarray(part)):
                file.seek(((box.y0 + k) * shape[1] + box.x0) * size)
                view = memoryview(row.tobytes())
                while view:
                    view = view[file.write(view) :]

    def close(self) -> None:
        for file in self._files:
            file.close()

    def chunks(self) -> Source:
        """Return what gives the chunks that have data."""
        pixels = np.memmap(self._names[0], self._frame.dtype, "r", shape=self._frame.shape)
        mask = np.memmap(self._names[1], np.bool_, "r", shape=self._frame.shape)

        def source(box: Box) -> Piece | None:
            inside = np.array(mask[box.slices])
            if not inside.any():
                return None
            return Piece(box, np.array(pixels[box.slices]), None if inside.all() else inside)

        return source
