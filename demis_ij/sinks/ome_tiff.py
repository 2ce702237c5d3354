"""A mosaic as one pyramidal OME-TIFF, as Bio-Formats, QuPath, napari and ImageJ read it.

Tiled, deflate-compressed, smaller copies as SubIFDs (OME-TIFF 6), BigTIFF when it may pass 4 GiB. A TIFF cannot be
written in any order without its tiles' sizes being known, so blocks are first kept in a hidden folder beside the file
(lightly compressed), which takes about as much disk again and is removed at the end. Where there is no data stands 0,
NaN in floats. The pixel size is written as OME-XML (``PhysicalSizeX`` and unit) and as resolution tags, which plain
ImageJ reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.calibration import ome_symbol, to_metres
from demis_ij.sinks.pyramid import Pyramid, chunk_side, discard, scratch_beside

BIGTIFF_FROM_BYTES = 3 * 2**30


class OmeTiffSink:
    """Writes ``<name>.ome.tif``; see the module for what is in it.

    Parameters
    ----------
    compression : str or None
        ``zlib`` (deflate, every reader knows it) or None.
    """

    def __init__(self, compression: str | None = "zlib") -> None:
        self._compression = compression
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
        """Make the smaller copies, write the file and give it its real name."""
        pyramid = self._open_pyramid()
        pyramid.build()
        part = pyramid.folder.parent / "whole.ome.tif"
        self._write_tiff(part, pyramid)
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

    def _write_tiff(self, part: Path, pyramid: Pyramid) -> None:
        whole = sum(r * c for r, c in pyramid.shapes) * pyramid.dtype.itemsize
        side = pyramid.chunk_px
        with tifffile.TiffWriter(part, bigtiff=whole > BIGTIFF_FROM_BYTES, ome=True) as file:
            for level, shape in enumerate(pyramid.shapes):
                options: dict[str, Any] = {"metadata": None, "subfiletype": 1}
                if level == 0:
                    options = {"metadata": self._metadata(), "subifds": len(pyramid.shapes) - 1}
                if self._pixel_size is not None:
                    per_cm = 0.01 / (self._pixel_size[0] * (to_metres(self._pixel_size[1]) or 1.0)) / 2**level
                    options |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
                file.write(
                    pyramid.tiles(level),
                    shape=shape,
                    dtype=pyramid.dtype,
                    tile=(side, side),
                    photometric="minisblack",
                    compression=self._compression,
                    # differences of neighbours halve the size of whole numbers; few readers know them for floats
                    predictor=self._compression is not None and pyramid.dtype.kind != "f",
                    buffersize=1 << 25,
                    **options,
                )

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {"axes": "YX", "Name": self._path.name}
        if self._pixel_size is not None:
            size, unit = self._pixel_size[0], ome_symbol(self._pixel_size[1])
            for axis in "XY":
                found |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
        return found
