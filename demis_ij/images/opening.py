"""Images that are read in parts: of a file that allows it, only what a slice asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.images.masks import data_mask
from demis_ij.images.reading import TIFF_MAGIC, Mask, first_bytes, grey_dtype, mapped_plane, read, tiff_page, translated
from demis_ij.images.sections import tile_mask
from demis_ij.images.warping import Pixels
from demis_ij.images.zarr_planes import is_zarr, zarr_plane
from demis_ij.records import Tile

WHOLE_PX = 1 << 27
"""An image of no more pixels is read whole: then its mask is looked for at full resolution."""


def opened(tile: Tile) -> Pixels:
    """Return a section's grey values as something that is sliced like an array, with as little reading as may be.

    An OME-Zarr and an uncompressed grey TIFF are read where they are sliced; what else there is, is read whole.

    Raises
    ------
    InputError
        When the image cannot be read.
    """
    if is_zarr(tile.path):
        plane = translated(tile.path, lambda: zarr_plane(tile.path, tile.page))
        kind = grey_dtype(plane.dtype)
        return plane if kind == plane.dtype else _Converted(plane, kind)
    mapped = mapped_plane(tile.path, tile.page)
    if mapped is None:
        return read(tile.path, tile.page)
    kind = grey_dtype(mapped.dtype.newbyteorder("="))
    return mapped if kind == mapped.dtype else _Converted(mapped, kind)


def opened_labels(tile: Tile) -> Pixels:
    """Return a section of labels as something that is sliced like an array, in the integer type that it is kept in.

    Raises
    ------
    InputError
        When the image cannot be read, is in colour, or holds numbers that are not whole.
    """
    if is_zarr(tile.path):
        plane: Pixels = translated(tile.path, lambda: zarr_plane(tile.path, tile.page))
    elif first_bytes(tile.path, 4) in TIFF_MAGIC:
        mapped = mapped_plane(tile.path, tile.page)
        plane = translated(tile.path, lambda: _tiff_samples(tile)) if mapped is None else mapped
    else:
        found = cv2.imdecode(np.frombuffer(tile.path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None:
            msg = f"{tile.path}: not an image of labels that can be read"
            raise InputError(msg)
        plane = np.asarray(found)
    if len(plane.shape) != 2 or plane.dtype.kind not in "biu":
        what = "in colour" if len(plane.shape) != 2 else str(plane.dtype)
        msg = f"section {tile.id}: {tile.path} is {what}; labels are whole numbers, one a pixel"
        raise InputError(msg)
    kind = np.dtype(np.uint8) if plane.dtype.kind == "b" else plane.dtype.newbyteorder("=")
    return plane if kind == plane.dtype else _Converted(plane, kind)


def opened_mask(tile: Tile, image: Pixels, *, whole_px: int = WHOLE_PX) -> Pixels:
    """Return where a section has data, as something that is sliced like an array.

    Of a section of more than ``whole_px`` pixels, borders and data bars are looked for in every n-th pixel, and a
    border is taken n pixels wider; its own mask image counts at full resolution.

    Raises
    ------
    InputError
        When the mask image cannot be read or is of another size.
    """
    size = image.shape[0] * image.shape[1]
    if size <= whole_px:
        return tile_mask(tile, image[:, :])
    step = int(np.ceil(np.sqrt(size / whole_px)))
    thin = np.concatenate([image[r : r + 1, :][:, ::step] for r in range(0, image.shape[0], step)])
    mask = data_mask(thin)
    if not mask.all():
        mask = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    own = None if tile.mask_path is None else read(tile.mask_path)
    if own is not None and own.shape != tuple(image.shape):
        sizes = f"{own.shape[1]}x{own.shape[0]} px, the tile {image.shape[1]}x{image.shape[0]}"
        msg = f"tile {tile.id}: the mask {tile.mask_path} is {sizes}"
        raise InputError(msg)
    return _Enlarged(mask, step, (image.shape[0], image.shape[1]), own)


@dataclass(frozen=True, eq=False)
class _Converted:
    """Pixels of another type."""

    pixels: Pixels
    kind: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.kind

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        part = self.pixels[key]
        return np.asarray(part * np.uint8(255) if part.dtype.kind == "b" else part).astype(self.kind)


@dataclass(frozen=True, eq=False)
class _Enlarged:
    """A mask of every n-th pixel, as one of all pixels."""

    mask: Mask
    step: int
    shape: tuple[int, int]
    own: NDArray[Any] | None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.bool_)

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        rows, cols = (np.arange(*k.indices(n)) // self.step for k, n in zip(key, self.shape, strict=True))
        found = self.mask[np.ix_(rows, cols)]
        return found if self.own is None else found & (self.own[key] > 0)


def _tiff_samples(tile: Tile) -> NDArray[Any]:
    with tifffile.TiffFile(tile.path) as tiff:
        return np.asarray(tiff_page(tiff, tile.path, tile.page).asarray())
