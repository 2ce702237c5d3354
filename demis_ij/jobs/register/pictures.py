"""Pictures to be registered, from files: read no larger than is needed, with where they are data and their px."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.images.calibration import pixel_size
from demis_ij.images.masks import data_mask
from demis_ij.images.metaimage import is_metaimage, metaimage_plane
from demis_ij.images.opening import opened
from demis_ij.images.reading import TIFF_MAGIC, first_bytes, grey_dtype, read, translated
from demis_ij.images.warping import Pixels
from demis_ij.images.zarr_planes import ZarrPlane, is_zarr, open_zarr
from demis_ij.records import Affine, Tile
from demis_ij.register.looks import LEAST_PX, at_level
from demis_ij.sinks.calibration import to_metres

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".webp", ".mha", ".mhd")
"""What is taken for an image in a folder, unless names are asked for."""
_FINER = 4  # px a side that are read for one that is looked at, at most twice that
_BAND = 1024  # rows that are reduced at once


@dataclass(frozen=True, eq=False)
class Picture:
    """One image, as it is registered.

    Attributes
    ----------
    path : Path
        The file, or the folder of an OME-Zarr.
    image : ndarray of shape (H, W)
        Grey values, reduced where the file holds many more px than are looked at; NaN is no data.
    mask : ndarray of shape (H, W), bool
        Where there is data.
    shape : tuple of int
        (rows, cols) of the file's image.
    reduced : int
        Px of the file to a px of ``image``, along each side.
    pixel_nm : float or None
        Size of a px of the file, where that is known.
    """

    path: Path
    image: NDArray[Any]
    mask: NDArray[np.bool_]
    shape: tuple[int, int]
    reduced: int = 1
    pixel_nm: float | None = field(default=None)

    @property
    def to_full(self) -> Affine:
        """Px of ``image`` to px of the file."""
        return at_level(self.reduced)


def read_picture(path: Path, side_px: int) -> Picture:
    """Return an image as it is registered.

    Parameters
    ----------
    path : Path
        Whatever the project reads; of several pages the first.
    side_px : int
        The longer side that it is looked at with.

    Raises
    ------
    InputError
        When it cannot be read, is too small, has no data or one grey level: one line that names the file.
    """
    path = Path(path)
    pixels = opened(Tile(path.name, path, (0, 0)))
    shape = int(pixels.shape[0]), int(pixels.shape[1])
    if min(shape) < LEAST_PX:
        msg = f"{path}: {shape[1]}x{shape[0]} px cannot be registered, {LEAST_PX} a side are needed"
        raise InputError(msg)
    factor = max(1, max(shape) // (_FINER * side_px))
    image = _whole(path, pixels) if factor == 1 else _reduced(pixels, factor)
    mask = data_mask(image)
    if factor > 1 and not mask.all():  # a px at the border is part data, part none
        mask = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
    _check_content(path, image[mask])
    return Picture(path, image, mask, shape, factor, _pixel_nm(path))


def _whole(path: Path, pixels: Pixels) -> NDArray[Any]:
    """Return all pixels, read and not mapped: a mapped file that is cut short meanwhile ends the process."""
    return read(path) if isinstance(pixels, np.memmap) else np.asarray(pixels[:, :])


def _check_content(path: Path, values: NDArray[Any]) -> None:
    """Raise `InputError` when there is nothing to be registered by."""
    if not values.size:
        msg = f"{path}: holds no data (NaN or one border everywhere): there is nothing to be registered by"
        raise InputError(msg)
    if values.min() == values.max():
        msg = f"{path}: every pixel is {values.flat[0]:g}: there is nothing to be registered by"
        raise InputError(msg)


def _reduced(pixels: Pixels, factor: int) -> NDArray[np.float32]:
    """Return the means of squares, read band by band; NaN where less than half of one is known."""
    rows, cols = (n // factor for n in pixels.shape)
    out = np.empty((rows, cols), np.float32)
    step = max(1, _BAND // factor)
    for top in range(0, rows, step):
        count = min(step, rows - top)
        band = np.asarray(pixels[top * factor : (top + count) * factor, : cols * factor], np.float32)
        known = np.isfinite(band)
        if known.all():
            out[top : top + count] = cv2.resize(band, (cols, count), interpolation=cv2.INTER_AREA)
            continue
        sums, share = (
            cv2.resize(a, (cols, count), interpolation=cv2.INTER_AREA)
            for a in (np.where(known, band, np.float32(0)), known.astype(np.float32))
        )
        out[top : top + count] = np.where(share >= 0.5, sums / np.maximum(share, 1e-6), np.nan)
    return out


def _pixel_nm(path: Path) -> float | None:
    if is_zarr(path):
        found = open_zarr(path)
        metres = to_metres(found.units[-1]) if found.units and found.units[-1] else None
        return None if metres is None else found.scale[-1] * metres * 1e9
    said = pixel_size(path)
    return None if said is None else said[0] * {"nm": 1.0, "µm": 1000.0}[said[1]]


# --- all that a file holds --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Samples:
    """The first image of a file with all its channels.

    Attributes
    ----------
    planes : tuple of Pixels
        One a channel.
    is_colour : bool
        Whether they are red, green and blue.
    """

    planes: tuple[Pixels, ...]
    is_colour: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, uint16 or float32."""
        return grey_dtype(np.dtype(self.planes[0].dtype))


def all_samples(path: Path) -> Samples:
    """Return what an image file holds of its first place in time and depth: grey, colour, or several channels.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    if is_zarr(path):
        return Samples(tuple(_zarr_channels(path)))
    if is_metaimage(path):
        found = metaimage_plane(path, None)
        return _of_last_axis(found) if found.ndim == 3 else Samples((opened(Tile(path.name, path, (0, 0))),))
    if first_bytes(path, 4) not in TIFF_MAGIC:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        found = translated(path, lambda: cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
        if found is not None and found.ndim == 3 and found.shape[2] >= 3:
            return _of_last_axis(np.asarray(found)[..., 2::-1])
    else:
        held = translated(path, lambda: _tiff_samples(path))
        if held is not None:
            return _colour(np.moveaxis(held, 0, -1)) if len(held) == 3 and held.dtype == np.uint8 else _channels(held)
    return Samples((opened(Tile(path.name, path, (0, 0))),))


def _of_last_axis(image: NDArray[Any]) -> Samples:
    if image.shape[2] in {3, 4} and image.dtype == np.uint8:
        return _colour(image)
    return _channels(np.moveaxis(image, -1, 0))


def _colour(image: NDArray[Any]) -> Samples:
    return Samples(tuple(np.ascontiguousarray(image[..., k]) for k in range(3)), is_colour=True)


def _channels(held: NDArray[Any]) -> Samples:
    kind = grey_dtype(held.dtype)
    return Samples(tuple(np.ascontiguousarray(plane, kind) for plane in held))


def _zarr_channels(path: Path) -> Iterator[Pixels]:
    """Yield the channels at the first place of all other axes."""
    held = open_zarr(path)
    leading = held.axes[:-2]
    count = held.leading[leading.index("c")] if "c" in leading else 1
    for k in range(count):
        yield ZarrPlane(held.array, tuple(k if axis == "c" else 0 for axis in leading), path)


def _tiff_samples(path: Path) -> NDArray[Any] | None:
    """Return the channels (C, H, W) of a TIFF's first place; None where it has one, kept as `opened` reads it."""
    with tifffile.TiffFile(path) as tiff:
        first: Any = tiff.pages.first
        if first.photometric.name == "PALETTE":
            return None
        series: Any = tiff.series[0]
        axes = str(series.axes)
        if not set(axes) & set("CS") or axes.index("X") < axes.index("Y"):
            return None
        held = _first_place(series, axes)
    axes = "".join(a for a in axes if a in "CSYX")
    order = [axes.index(a) for a in axes if a in "CS"] + [axes.index("Y"), axes.index("X")]
    flat = np.transpose(held, order)
    flat = flat.reshape(-1, *flat.shape[-2:])
    if "S" in axes and len(flat) == 4 and "C" not in axes:
        flat = flat[:3]  # the fourth of a colour image is alpha
    return flat if len(flat) > 1 else None


def _first_place(series: Any, axes: str) -> NDArray[Any]:
    """Return what lies at the first place of all axes but channels and px; of a long stack only that is read."""
    shape = [n for n, a in zip(series.shape, axes, strict=True) if a in "CSYX"]
    if series.size == int(np.prod(shape)):
        return np.asarray(series.asarray()).reshape(shape)
    import zarr

    with series.aszarr(level=0) as store:
        whole: Any = zarr.open_array(store, mode="r")
        return np.asarray(whole[tuple(slice(None) if a in "CSYX" else 0 for a in axes)])


__all__ = ["SUFFIXES", "Picture", "Samples", "all_samples", "read_picture"]
