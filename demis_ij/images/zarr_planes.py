"""Planes of an OME-Zarr (0.4 and 0.5): the full-resolution level, one section at a time, only what is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import FormatError, InputError

FILES = (".zattrs", ".zgroup", "zarr.json")
"""What a folder that is an OME-Zarr has one of."""


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """The largest level of an OME-Zarr.

    Attributes
    ----------
    array : zarr.Array
        Its pixels; the last two axes are y and x.
    axes : tuple of str
        Name of each axis, for instance z, y, x.
    scale : tuple of float
        Size of a pixel along each.
    units : tuple of str
        In which unit; empty where none is said.
    """

    array: Any
    axes: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]

    @property
    def leading(self) -> tuple[int, ...]:
        """Length of the axes before y and x; planes are numbered through them, the last one fastest."""
        return tuple(int(n) for n in self.array.shape[:-2])


@dataclass(frozen=True, eq=False)
class ZarrPlane:
    """One plane; it is sliced like an array, and only the chunks that a slice touches are read."""

    array: Any
    index: tuple[int, ...]
    path: Path

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return int(self.array.shape[-2]), int(self.array.shape[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values, as they are kept."""
        kind: np.dtype[Any] = np.dtype(self.array.dtype)
        return kind

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        try:
            return np.asarray(self.array[(*self.index, *key)])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            msg = f"{self.path}: plane {self.index} cannot be read: {str(error) or type(error).__name__}"
            raise InputError(msg) from error


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder that looks like a Zarr group."""
    return path.is_dir() and any((path / name).is_file() for name in FILES)


def open_zarr(path: Path) -> ZarrImage:
    """Return the largest level of an OME-Zarr.

    Raises
    ------
    FormatError
        When it is none, is damaged, or its last axes are not y and x.
    """
    import zarr

    try:
        group: Any = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        told = attributes.get("ome", attributes)["multiscales"][0]
        first = told["datasets"][0]
        array = group[first["path"]]
        axes = tuple(str(a["name"] if isinstance(a, dict) else a) for a in told.get("axes", "tczyx"[-array.ndim :]))
        units = tuple(str(a.get("unit") or "") if isinstance(a, dict) else "" for a in told.get("axes", axes))
        scale = np.ones(array.ndim)
        for each in (*first.get("coordinateTransformations", ()), *told.get("coordinateTransformations", ())):
            if each.get("type") == "scale":
                scale = scale * np.asarray(each["scale"], float)
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise FormatError(path, f"is no OME-Zarr that can be read: {str(error) or type(error).__name__}") from error
    if len(axes) != array.ndim or axes[-2:] != ("y", "x"):
        raise FormatError(path, f"an OME-Zarr's last axes are y and x, found {', '.join(axes)} for {array.ndim}")
    return ZarrImage(array, axes, tuple(float(v) for v in scale), units)


def zarr_plane(path: Path, page: int | None) -> ZarrPlane:
    """Return one plane of an OME-Zarr: ``page`` counts through all axes before y and x, the last one fastest.

    Raises
    ------
    InputError
        When there is no such plane.
    """
    image = open_zarr(path)
    count = int(np.prod(image.leading, dtype=np.int64))
    number = 0 if page is None else page
    if not 0 <= number < count:
        msg = f"{path}: plane {number} was asked for, the file has {count}"
        raise InputError(msg)
    at = np.unravel_index(number, image.leading) if image.leading else ()
    return ZarrPlane(image.array, tuple(int(i) for i in at), path)
