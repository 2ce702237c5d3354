"""A mosaic as OME-Zarr, a folder of chunks that viewers open anywhere, also over a network.

**0.4** (Zarr format 2) is what every reader takes (Fiji's N5 and MoBIE plug-ins, Bio-Formats, QuPath, napari, vizarr):
a file for each chunk, with ``/`` between their indices, as ome-zarr-py writes it. **0.5** (Zarr format 3) packs the
chunks of a region into one file, a shard: of a mosaic of a million tiles a hundredth of the files. Which of the two is
chosen by the number of chunks unless it is said (docs/decisions/0012). Where there is no data stands 0, NaN in floats.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import zarr
import zarr.codecs

from demis_ij.errors import InputError
from demis_ij.sinks.calibration import zarr_name
from demis_ij.sinks.encoding import BLOSC, Encoding, no_data_value
from demis_ij.sinks.frame import Frame
from demis_ij.sinks.parts import ChunkPart, Part
from demis_ij.sinks.regional import PixelSize, RegionSink
from demis_ij.sinks.scratch import PARTS
from demis_ij.sinks.syncing import sync_folder, sync_tree

METADATA = {".zarray", ".zattrs", ".zgroup", "zarr.json"}
VERSIONS = ("auto", "0.4", "0.5")
MOST_FILES = 500_000
"""A mosaic of more chunks than this is sharded when nobody says otherwise: file systems, backups and copies suffer from
more files in one folder tree. It is 130 Gpx in chunks of 512 px, some 40 000 tiles of 2048 px."""


class OmeZarrSink(RegionSink):
    """Writes the folder ``<name>.ome.zarr``; see the module for what is in it.

    Parameters
    ----------
    version : str
        Of OME-Zarr: 0.4, 0.5, or auto.
    compression : str
        standard (LZ4 after shuffling), light (LZ4 at its fastest), or none.
    """

    keeps_drawn = True

    def __init__(self, version: str = "auto", compression: str = "standard") -> None:
        super().__init__()
        self._version = version
        self._encoding = BLOSC[compression]

    @property
    def is_sharded(self) -> bool:
        """Whether the mosaic that is open becomes OME-Zarr 0.5."""
        return self._version == "0.5" or (self._version == "auto" and chunk_count(self.frame) > MOST_FILES)

    def _settings(self) -> dict[str, Any]:
        return {"sharded": self.is_sharded, "encoding": repr(self._encoding)}

    def _make_part(self, folder: Path) -> Part:
        self._part = ChunkPart(folder, self.frame, self._encoding, self.is_sharded, 0, len(self.frame.shapes) - 1)
        return self._part

    def _check(self, path: Path, pixel_size: PixelSize) -> None:
        if pixel_size is not None and zarr_name(pixel_size[1]) is None:
            msg = f"{path}: a pixel size in {pixel_size[1]!r} cannot be written, needed a length such as nm or µm"
            raise InputError(msg)
        if path.exists() and not is_ome_zarr(path):
            msg = f"{path}: is there already and is no OME-Zarr; move it or choose another name"
            raise InputError(msg)

    def _assemble(self) -> None:
        folder = self.scratch.folder / PARTS
        self._write_metadata(folder)
        sync_tree(folder, METADATA.__contains__)  # chunks are on the disk already
        self.scratch.begin_closing()
        if self.path.exists():  # an earlier mosaic; it stays whole under its name until the new one is
            shutil.move(self.path, self.scratch.folder / "replaced")
        folder.replace(self.path)
        sync_folder(self.path.parent)

    def _write_metadata(self, folder: Path) -> None:
        levels = len(self.frame.shapes)
        group = zarr.open_group(folder, mode="a", zarr_format=3 if self.is_sharded else 2)
        told = multiscales(self.path.name, levels, self.pixel_size)
        if self.is_sharded:
            del told["version"]
            group.attrs.update({"ome": {"version": "0.5", "multiscales": [told]}})
        else:
            group.attrs.update({"multiscales": [told]})
        for number, shape in enumerate(self.frame.shapes):
            side = self.frame.chunk_px
            shard = side * self.frame.chunks_a_side(number) if self.is_sharded else None
            write_array(folder / str(number), shape, self.frame, self._encoding, shard)


def chunk_count(frame: Frame) -> int:
    """Return how many chunks all levels have."""
    return sum(-(-r // frame.chunk_px) * -(-c // frame.chunk_px) for r, c in frame.shapes)


def is_ome_zarr(path: Path) -> bool:
    """Return whether a folder looks like an OME-Zarr."""
    return ((path / ".zgroup").is_file() and (path / ".zattrs").is_file()) or (path / "zarr.json").is_file()


def write_array(path: Path, shape: tuple[int, int], frame: Frame, encoding: Encoding, shard_px: int | None) -> None:
    """Write the metadata of a level beside its chunks; with ``shard_px`` in Zarr format 3."""
    common: dict[str, Any] = {
        "shape": shape,
        "chunks": (frame.chunk_px, frame.chunk_px),
        "dtype": frame.dtype,
        "fill_value": frame.dtype.type(no_data_value(frame.dtype)),
        "overwrite": False,
    }
    if (path / ".zarray").exists() or (path / "zarr.json").exists():
        return
    blosc = encoding.codec == "blosc"
    if shard_px is None:
        key: Any = {"name": "v2", "separator": "/"}
        codec = encoding.blosc if blosc else None
        zarr.create_array(path, **common, compressors=codec, zarr_format=2, chunk_key_encoding=key)
        return
    how: Any = "shuffle" if encoding.shuffle else "noshuffle"
    coded = zarr.codecs.BloscCodec(
        typesize=frame.dtype.itemsize, cname="lz4", clevel=encoding.level, shuffle=how, blocksize=0
    )
    zarr.create_array(
        path, **common, shards=(shard_px, shard_px), compressors=coded if blosc else None, zarr_format=3,
        dimension_names=("y", "x"),
    )  # fmt: skip


def multiscales(name: str, levels: int, pixel_size: PixelSize) -> dict[str, Any]:
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
    return {"version": "0.4", "name": name, "type": "mean", "axes": axes, "datasets": datasets, "metadata": how}
