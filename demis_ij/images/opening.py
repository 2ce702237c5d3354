"""Images that are read in parts: of a file that allows it, only what a slice asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.images.masks import data_mask
from demis_ij.images.metaimage import is_metaimage, metaimage_plane
from demis_ij.images.reading import TIFF_MAGIC, Mask, first_bytes, grey_dtype, mapped_plane, read, tiff_page, translated
from demis_ij.images.sections import tile_mask
from demis_ij.images.warping import Pixels
from demis_ij.images.zarr_planes import is_zarr, zarr_plane
from demis_ij.records import Tile

WHOLE_PX = 1 << 27
"""An image of no more pixels is read whole: then its mask is looked for at full resolution."""

_BAND = 512  # rows


def opened(tile: Tile, *, whole_px: int = WHOLE_PX) -> Pixels:
    """Return a section's grey values as something that is sliced like an array, with as little reading as may be.

    An OME-Zarr, an uncompressed grey TIFF and a tiled one of more than ``whole_px`` pixels (a mosaic) are read where
    they are sliced; what else there is, is read whole.

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
        tiled = _tiled(tile, whole_px)
        return read(tile.path, tile.page) if tiled is None else tiled
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
    elif is_metaimage(tile.path):
        plane = metaimage_plane(tile.path, tile.page)
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
    band = step * max(1, _BAND // step)  # a file's tiles are read once or twice
    bands = (slice(top, top + band) for top in range(0, image.shape[0], band))
    thin = np.concatenate([image[rows, :][::step, ::step] for rows in bands])
    mask = data_mask(thin)
    if not mask.all():
        mask = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    own = None if tile.mask_path is None else read(tile.mask_path)
    if own is not None and own.shape != tuple(image.shape):
        sizes = f"{own.shape[1]}x{own.shape[0]} px, the tile {image.shape[1]}x{image.shape[0]}"
        msg = f"tile {tile.id}: the mask {tile.mask_path} is {sizes}"
        raise InputError(msg)
    return _Enlarged(mask, step, (image.shape[0], image.shape[1]), own)


def opened_section(tile: Tile, *, whole_px: int = WHOLE_PX) -> tuple[Pixels, Pixels]:
    """Return a section's grey values, and where they are data, as `opened` and `opened_mask` do.

    Raises
    ------
    InputError
        When the image or its mask cannot be read, or one of them is not of the tile's size.
    """
    image = opened(tile, whole_px=whole_px)
    if min(tile.shape) > 0 and tuple(image.shape) != tile.shape:
        found, said = (f"{s[1]}x{s[0]}" for s in (image.shape, tile.shape))
        msg = f"section {tile.id}: {tile.path} is {found} px, the stack says {said}"
        raise InputError(msg)
    return image, opened_mask(tile, image, whole_px=whole_px)


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


@dataclass(frozen=True, eq=False)
class _Tiled:
    """A page of a tiled grey TIFF: only the tiles that a slice touches are read."""

    path: Path
    page: int | None
    shape: tuple[int, int]
    side: tuple[int, int]
    dtype: np.dtype[Any]

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        (y0, y1, _), (x0, x1, _) = (k.indices(n) for k, n in zip(key, self.shape, strict=True))
        out = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0)), self.dtype)
        translated(self.path, lambda: self._fill(out, y0, x0))
        return out[:: key[0].step or 1, :: key[1].step or 1]

    def _fill(self, out: NDArray[Any], y0: int, x0: int) -> None:
        rows, cols = self.side
        across = -(-self.shape[1] // cols)
        with tifffile.TiffFile(self.path) as tiff:
            page = tiff_page(tiff, self.path, self.page).aspage()
            for i in range(y0 // rows, -(-(y0 + out.shape[0]) // rows)):
                for j in range(x0 // cols, -(-(x0 + out.shape[1]) // cols)):
                    part = self._tile(tiff, page, i * across + j)
                    top, left = i * rows - y0, j * cols - x0
                    part = part[max(-top, 0) :, max(-left, 0) :]
                    target = out[max(top, 0) : max(top, 0) + len(part), max(left, 0) : max(left, 0) + part.shape[1]]
                    target[:] = part[: target.shape[0], : target.shape[1]]

    def _tile(self, tiff: tifffile.TiffFile, page: Any, index: int) -> NDArray[Any]:
        """Return one tile; a sparse file leaves out those that are blank."""
        if page.databytecounts[index] == 0:
            return np.zeros(self.side, self.dtype)
        tiff.filehandle.seek(page.dataoffsets[index])
        raw = tiff.filehandle.read(page.databytecounts[index])
        if len(raw) < page.databytecounts[index]:
            msg = f"{self.path}: truncated: a tile is missing"
            raise InputError(msg)
        found = page.decode(raw, index, jpegtables=page.jpegtables)[0]
        return np.asarray(found)[0, :, :, 0].astype(self.dtype, copy=False)


def _tiled(tile: Tile, whole_px: int) -> _Tiled | None:
    """Return a grey TIFF of more than so many pixels that is kept in tiles, None for any other image."""
    if first_bytes(tile.path, 4) not in TIFF_MAGIC:
        return None

    def look() -> _Tiled | None:
        with tifffile.TiffFile(tile.path) as tiff:
            page: Any = tiff_page(tiff, tile.path, tile.page).aspage()
            grey = page.samplesperpixel == 1 and page.photometric.name == "MINISBLACK"
            shape = (int(page.imagelength), int(page.imagewidth))
            if not (page.is_tiled and grey and page.imagedepth == 1) or shape[0] * shape[1] <= whole_px:
                return None
            if np.dtype(page.dtype) not in {np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)}:
                return None
            side = (int(page.tilelength), int(page.tilewidth))
            return _Tiled(tile.path, tile.page, shape, side, np.dtype(page.dtype))

    found: _Tiled | None = translated(tile.path, look)
    return found


def _tiff_samples(tile: Tile) -> NDArray[Any]:
    with tifffile.TiffFile(tile.path) as tiff:
        return np.asarray(tiff_page(tiff, tile.path, tile.page).asarray())
