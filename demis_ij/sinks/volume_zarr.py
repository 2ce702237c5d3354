"""A volume as OME-Zarr 0.4 (Zarr format 2): axes z, y, x; smaller copies are halved in y and x, never in z.

Sections are thicker than pixels are wide, and neighbours must not be mixed before they are aligned. Chunks hold one
section, so that each is written once. Where there is no data stands 0, NaN in floats. The smaller copies of labels take
every second pixel; those of grey values are the mean of the data in 2 x 2 squares.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.calibration import zarr_name
from demis_ij.sinks.ome_zarr import METADATA
from demis_ij.sinks.pyramid import chunk_side, chunks, level_shapes, no_data_value
from demis_ij.sinks.reduction import area_mean, even_sided, to_dtype
from demis_ij.sinks.syncing import sync_all, sync_folder, sync_tree
from demis_ij.sinks.volume import Unfinished, VolumeKind, check_block, still_open


class ZarrVolumeSink:
    """Writes the folder ``<name>.ome.zarr``; see the module for what is in it."""

    def __init__(self) -> None:
        self._volume: Unfinished | None = None
        self._levels: list[Any] = []
        self._mask: NDArray[np.bool_] | None = None
        self._section = -1
        self._chunk_px = 256

    def open(self, path: Path, kind: VolumeKind, *, block: int, key: str = "") -> frozenset[int]:
        """Start a volume, or go on with one; `demis_ij.sinks.volume.VolumeSink` says the rest.

        Raises
        ------
        InputError
            When a unit is unknown, or something that is no OME-Zarr has the name.
        OSError
            When the disk cannot be written.
        """
        if path.exists() and not ((path / ".zgroup").is_file() and (path / ".zattrs").is_file()):
            msg = f"{path}: is there already and is no OME-Zarr; move it or choose another name"
            raise InputError(msg)
        volume = self._volume = Unfinished(Path(path), kind, key)
        self._chunk_px = chunk_side(block)
        shapes = level_shapes(kind.shape[1:], self._chunk_px)
        folder = volume.folder / "volume"
        goes_on = volume.goes_on_with(folder)
        group: Any = zarr.open_group(folder, mode="r+" if goes_on else "w", zarr_format=2)
        self._levels = [
            group[str(n)] if goes_on else self._new_level(folder / str(n), shape) for n, shape in enumerate(shapes)
        ]
        return frozenset(volume.scratch.finished)

    def _new_level(self, path: Path, shape: tuple[int, int]) -> Any:
        kind = still_open(self._volume).kind
        return zarr.create_array(
            path,
            shape=(kind.shape[0], *shape),
            chunks=(1, self._chunk_px, self._chunk_px),
            dtype=kind.dtype,
            compressors=numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE),
            fill_value=kind.dtype.type(no_data_value(kind.dtype)),
            zarr_format=2,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )

    def write(self, section: int, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of a box of a section, and where they are data."""
        kind = still_open(self._volume).kind
        check_block(kind, section, pixels, mask, box)
        if section != self._section or self._mask is None:
            self._section, self._mask = section, self._no_mask(0)
        if not mask.any():
            return
        blank = kind.dtype.type(no_data_value(kind.dtype))
        self._levels[0][(section, *box.slices)] = np.where(mask, pixels, blank).astype(kind.dtype, copy=False)
        self._mask[box.slices] = mask

    def _no_mask(self, level: int) -> NDArray[np.bool_]:
        """Return a mask of a level with no data in it, on disk: of a large section it may not fit in memory."""
        rows, cols = self._levels[level].shape[1:]
        return np.memmap(still_open(self._volume).folder / f"mask{level}", bool, "w+", shape=(int(rows), int(cols)))

    def finish(self, section: int) -> None:
        """Make the smaller copies of a section, and remember that it is complete."""
        volume = still_open(self._volume)
        if section == self._section and self._mask is not None and self._mask.any():
            mask = self._mask
            for level in range(1, len(self._levels)):
                mask = self._reduce(section, level, mask)
        self._mask = None
        inside = volume.folder / "volume"
        found = (p for n in range(len(self._levels)) for p in (inside / str(n) / str(section)).rglob("*"))
        sync_all((p for p in found if p.is_file()), inside)
        volume.scratch.finish(section)

    def _reduce(self, section: int, level: int, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Make one smaller copy of a section from the next larger one, and return where it is data."""
        kind = still_open(self._volume).kind
        larger, smaller = self._levels[level - 1], self._levels[level]
        shape = (int(smaller.shape[1]), int(smaller.shape[2]))
        out = self._no_mask(level)
        for box in chunks(shape, self._chunk_px):
            source = Box(2 * box.x0, 2 * box.y0, 2 * box.x1, 2 * box.y1) & Box.of_shape(mask.shape)
            data = mask[source.slices]
            if not data.any():
                continue
            part = np.asarray(larger[(section, *source.slices)])
            if kind.labels:
                values, inside = part[::2, ::2], data[::2, ::2]
            else:
                mean, inside = area_mean(*even_sided(part, None if data.all() else data), 2)
                values = to_dtype(mean, kind.dtype)
            blank = kind.dtype.type(no_data_value(kind.dtype))
            smaller[(section, *box.slices)] = np.where(inside, values, blank)
            out[box.slices] = inside
        return out

    def close(self) -> None:
        """Write the metadata and give the folder its real name."""
        volume = still_open(self._volume)
        folder = volume.folder / "volume"
        zarr.open_group(folder, mode="r+", zarr_format=2).attrs.update(
            multiscales(volume.path.name, len(self._levels), volume.kind)
        )
        sync_tree(folder, METADATA.__contains__)  # sections are on the disk already
        if volume.path.exists():  # an earlier volume; it stays whole under its name until the new one is
            shutil.move(volume.path, volume.folder / "replaced")
        folder.replace(volume.path)
        sync_folder(volume.path.parent)
        self.abort()

    def abort(self, *, keep: bool = False) -> None:
        """Remove all that is unfinished, or leave it in its hidden folder."""
        if self._volume is not None and not keep:
            self._volume.remove()
        self._volume = self._mask = None
        self._levels, self._section = [], -1


def multiscales(name: str, levels: int, kind: VolumeKind) -> dict[str, Any]:
    """Return the metadata of https://ngff.openmicroscopy.org/0.4/#multiscale-md.

    A pixel of level n of grey values is the mean of ``2^n`` pixels a side, so its centre lies ``(2^n - 1) / 2`` px
    further on; one of labels is a pixel of the largest level.
    """
    size, unit = (1.0, None) if kind.pixel_size is None else (kind.pixel_size[0], zarr_name(kind.pixel_size[1]))
    deep, deep_unit = (1.0, None) if kind.thickness is None else (kind.thickness[0], zarr_name(kind.thickness[1]))
    axes = [
        {"name": a, "type": "space"} | ({} if u is None else {"unit": u})
        for a, u in (("z", deep_unit), ("y", unit), ("x", unit))
    ]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [deep, size * 2**level, size * 2**level]},
                {"type": "translation", "translation": [0.0, *[0.0 if kind.labels else size * (2**level - 1) / 2] * 2]},
            ],
        }
        for level in range(levels)
    ]
    how = "every second pixel along y and x" if kind.labels else "mean of the data in 2 x 2 squares of a section"
    return {
        "multiscales": [
            {
                "version": "0.4",
                "name": name,
                "type": "nearest" if kind.labels else "mean",
                "axes": axes,
                "datasets": datasets,
                "metadata": {"description": f"{how}, each level from the one before"},
            }
        ]
    }
