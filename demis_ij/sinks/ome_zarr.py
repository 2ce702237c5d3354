"""A mosaic as OME-Zarr 0.4 (Zarr format 2), a folder of small files that viewers open anywhere, also over a network.

Version 0.4, not 0.5: it is what every reader takes (Fiji's N5 and MoBIE plug-ins, Bio-Formats, QuPath, napari, vizarr),
and a 2-D mosaic needs nothing that only 0.5 has. Blosc-lz4 with ``/`` between chunk indices, the default of
ome-zarr-py. Where there is no data stands 0, NaN in floats.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.calibration import zarr_name
from demis_ij.sinks.pyramid import Pyramid, chunk_side, discard, scratch_beside


class OmeZarrSink:
    """Writes the folder ``<name>.ome.zarr``; see the module for what is in it."""

    def __init__(self) -> None:
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
        """Start a mosaic of ``shape`` (rows, cols).

        Raises
        ------
        InputError
            When the unit is unknown, or something that is no OME-Zarr has the name: it would have to be removed.
        OSError
            When the disk cannot be written.
        """
        if pixel_size is not None and zarr_name(pixel_size[1]) is None:
            msg = f"{path}: a pixel size in {pixel_size[1]!r} cannot be written, needed a length such as nm or µm"
            raise InputError(msg)
        if path.exists() and not ((path / ".zgroup").is_file() and (path / ".zattrs").is_file()):
            msg = f"{path}: is there already and is no OME-Zarr; move it or choose another name"
            raise InputError(msg)
        self._path, self._pixel_size = Path(path), pixel_size
        self._scratch = scratch_beside(self._path)
        self._pyramid = Pyramid(self._scratch, shape, np.dtype(dtype), chunk_side(block))

    def write(self, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of ``box`` and where they are data."""
        self._open_pyramid().write(pixels, mask, box)

    def close(self) -> None:
        """Make the smaller copies, write the metadata and give the folder its real name."""
        pyramid = self._open_pyramid()
        pyramid.build()
        pyramid.group.attrs.update(_multiscales(self._path.name, len(pyramid.shapes), self._pixel_size))
        if self._path.exists():  # an earlier mosaic; it stays whole under its name until the new one is
            shutil.move(self._path, pyramid.folder.parent / "replaced")
        pyramid.folder.replace(self._path)
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


def _multiscales(name: str, levels: int, pixel_size: tuple[float, str] | None) -> dict[str, Any]:
    """Return the metadata of https://ngff.openmicroscopy.org/0.4/#multiscale-md.

    A pixel of level n is the mean of ``2^n`` pixels a side, so its centre lies ``(2^n - 1) / 2`` px further on.
    """
    size, unit = (1.0, None) if pixel_size is None else (pixel_size[0], zarr_name(pixel_size[1]))
    axes = [{"name": a, "type": "space"} | ({} if unit is None else {"unit": unit}) for a in "yx"]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [size * 2**level] * 2},
                {"type": "translation", "translation": [size * (2**level - 1) / 2] * 2},
            ],
        }
        for level in range(levels)
    ]
    how = {"description": "mean of the data in 2 x 2 squares, each level from the one before"}
    return {
        "multiscales": [
            {"version": "0.4", "name": name, "type": "mean", "axes": axes, "datasets": datasets, "metadata": how}
        ]
    }
