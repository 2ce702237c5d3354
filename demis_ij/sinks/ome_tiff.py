"""A mosaic as one pyramidal OME-TIFF, as Bio-Formats, QuPath, napari and ImageJ read it.

Tiled, deflate-compressed, smaller copies as SubIFDs (OME-TIFF 6), BigTIFF when it may pass 4 GiB. A TIFF cannot be
written in any order without its tiles' sizes being known, so workers leave their tiles, compressed, in a hidden folder
beside the file, and one writer copies them to their places; for that time it takes as much disk again. Where there is
no data stands 0, NaN in floats. The pixel size is written as OME-XML (``PhysicalSizeX`` and unit) and as resolution
tags, which plain ImageJ reads. The file's UUID is made of its pixels: the same mosaic is the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import tifffile

from demis_ij.sinks.calibration import ome_symbol, to_metres
from demis_ij.sinks.encoding import DEFLATE, no_data_value
from demis_ij.sinks.parts import ChunkPart, Part
from demis_ij.sinks.regional import RegionSink
from demis_ij.sinks.syncing import name_whole

BIGTIFF_FROM_BYTES = 3 * 2**30


class OmeTiffSink(RegionSink):
    """Writes ``<name>.ome.tif``; see the module for what is in it.

    Parameters
    ----------
    compression : str
        standard (deflate of differences, which every reader knows), light (the same at its fastest), or none.
    """

    def __init__(self, compression: str = "standard") -> None:
        super().__init__()
        self._encoding = DEFLATE[compression]

    def _settings(self) -> dict[str, Any]:
        return {"encoding": repr(self._encoding)}

    def _make_part(self, folder: Path) -> Part:
        self._part = ChunkPart(folder, self.frame, self._encoding, True, 0, len(self.frame.shapes) - 1)
        return self._part

    def _assemble(self) -> None:
        whole = self.scratch.folder / "whole.ome.tif"
        self._write_tiff(whole)
        name_whole(whole, self.path)

    def _write_tiff(self, path: Path) -> None:
        frame = self.frame
        size = sum(r * c for r, c in frame.shapes) * frame.dtype.itemsize
        is_compressed = self._encoding.codec != "raw"
        with tifffile.TiffWriter(path, bigtiff=size > BIGTIFF_FROM_BYTES, ome=True, byteorder="<") as file:
            for level, shape in enumerate(frame.shapes):
                options: dict[str, Any] = {"metadata": None, "subfiletype": 1}
                if level == 0:
                    options = {"metadata": self._metadata(), "subifds": len(frame.shapes) - 1}
                if self.pixel_size is not None:
                    per_cm = 0.01 / (self.pixel_size[0] * (to_metres(self.pixel_size[1]) or 1.0)) / 2**level
                    options |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
                file.write(
                    self._tiles(level),
                    shape=shape,
                    dtype=frame.dtype,
                    tile=(frame.chunk_px, frame.chunk_px),
                    photometric="minisblack",
                    compression="zlib" if is_compressed else None,
                    # differences of neighbours halve the size of whole numbers; few readers know them for floats
                    predictor=is_compressed and frame.dtype.kind != "f",
                    **options,
                )

    def _tiles(self, level: int) -> Iterator[Any]:
        """Yield the encoded tiles of a level row by row; where there is no data all are the same."""
        side, dtype = self.frame.chunk_px, self.frame.dtype
        blank = np.full((side, side), no_data_value(dtype), dtype)
        empty = self._encoding.encode(blank)
        for tile in self._part.encoded(level):
            yield empty if tile is None else tile

    def _uuid(self) -> UUID:
        """Return a name for these pixels: of the smallest copy, in which every one of them has a part."""
        digest = sha256(f"{self.path.name} {self.scratch.head}".encode())
        for chunk in self._part.encoded(self._part.last_level):
            digest.update(chunk or b"")
        return uuid5(NAMESPACE_URL, digest.hexdigest())

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {"axes": "YX", "Name": self.path.name, "UUID": str(self._uuid())}
        if self.pixel_size is not None:
            size, unit = self.pixel_size[0], ome_symbol(self.pixel_size[1])
            for axis in "XY":
                found |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
        return found
