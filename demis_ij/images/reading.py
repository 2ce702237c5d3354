"""Images and their headers, read from files: grey, uint8, uint16 or float32."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.images.metaimage import is_metaimage, metaimage_plane, open_metaimage
from demis_ij.images.zarr_planes import is_zarr, zarr_plane
from demis_ij.records import Layout, Tile

Grey = NDArray[Any]
Mask = NDArray[np.bool_]

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as ImageJ and OpenCV weigh red, green and blue


def grey_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that `read` gives to samples of ``dtype``."""
    if dtype == np.bool_ or dtype == np.uint8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16) if dtype == np.uint16 else np.dtype(np.float32)


def _as_grey(pixels: Grey, path: Path) -> Grey:
    """Return 2-D grey of an image whose colour samples (red first), if any, are the last axis."""
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    dtype = grey_dtype(pixels.dtype)
    if pixels.ndim == 3 and pixels.shape[2] in {3, 4}:
        luma = pixels[..., :3].astype(np.float32) @ np.array(_LUMA, np.float32)
        pixels = luma if dtype == np.float32 else np.rint(luma)
    elif pixels.ndim == 3 and pixels.shape[2] in {1, 2}:  # the second sample of two is alpha
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or not pixels.size:
        msg = f"{path}: an image needs rows and columns, found an array of {pixels.shape}"
        raise InputError(msg)
    return np.ascontiguousarray(pixels, dtype=dtype)


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first bytes of a file. Raises `InputError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise InputError(msg) from error


def last_bytes(path: Path, count: int) -> bytes:
    """Return the last bytes of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read(count)


def tiff_page(tiff: tifffile.TiffFile, path: Path, page: int | None) -> Any:
    """Return a page of a TIFF, 0-based, the first when None. Raises `InputError` when there is no such page."""
    number = 0 if page is None else page
    if not 0 <= number < len(tiff.pages):
        msg = f"{path}: page {number} was asked for, the file has {len(tiff.pages)}"
        raise InputError(msg)
    return tiff.pages[number]


def _refuse_truncated(page: Any, path: Path) -> None:
    """Raise `InputError` when a TIFF ends before the pixels of a page do; its header alone says so."""
    needed = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    if needed > path.stat().st_size:
        msg = f"{path}: truncated: {needed} bytes needed, the file has {path.stat().st_size}"
        raise InputError(msg)


def _plane_offset(tiff: tifffile.TiffFile, page: int | None) -> int | None:
    """Return where the pixels of a plane begin, None where they do not lie in the file as they are, in grey.

    ImageJ's stacks of more than 4 GiB have one page and say ``images=N``: the planes follow each other.
    """
    first = tiff.pages.first
    number = 0 if page is None else page
    planes = int((tiff.imagej_metadata or {}).get("images", 1)) if len(tiff.pages) == 1 else 1
    found: Any = first if planes > 1 or number >= len(tiff.pages) else tiff.pages[number].aspage()
    if not found.is_memmappable or found.samplesperpixel != 1 or found.photometric.name != "MINISBLACK":
        return None
    start = int(found.dataoffsets[0])
    if found is not first or planes == 1:
        return start if number < len(tiff.pages) else None
    return start + number * _plane_bytes(first) if number < planes else None


def _plane_bytes(page: Any) -> int:
    return int(page.imagelength) * int(page.imagewidth) * int(np.dtype(page.dtype).itemsize)


def mapped_plane(path: Path, page: int | None) -> Grey | None:
    """Return the pixels of an uncompressed grey TIFF as they lie in the file, unread; None where they do not lie so.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    if first_bytes(path, 4) not in TIFF_MAGIC:
        return None

    def look() -> Grey | None:
        with tifffile.TiffFile(path) as tiff:
            start, whole = _plane_offset(tiff, page), tiff.pages.first
            if page is not None and start is not None and page < len(tiff.pages):
                whole = tiff.pages[page].aspage()
            if start is None or start + _plane_bytes(whole) > path.stat().st_size:
                return None
            kind: np.dtype[Any] = np.dtype(whole.dtype).newbyteorder(tiff.byteorder)
            shape = (int(whole.imagelength), int(whole.imagewidth))
        return np.memmap(path, kind, "r", offset=start, shape=shape)

    mapped: Grey | None = translated(path, look)
    return mapped


def _read_tiff(path: Path, page: int | None) -> Grey:
    with tifffile.TiffFile(path) as tiff:
        if page is not None and page >= len(tiff.pages) and (plane := mapped_plane(path, page)) is not None:
            return _as_grey(np.array(plane, plane.dtype.newbyteorder("=")), path)
        frame = tiff_page(tiff, path, page)
        whole = frame.aspage()
        _refuse_truncated(whole, path)
        pixels = np.asarray(frame.asarray())
        photometric = whole.photometric.name
        if photometric == "PALETTE" and whole.colormap is not None:
            pixels = (np.moveaxis(whole.colormap, 0, -1) >> 8).astype(np.uint8)[pixels]
        elif whole.samplesperpixel > 1 and whole.planarconfig == 2:
            pixels = np.moveaxis(pixels, 0, -1)
        if photometric == "MINISWHITE" and pixels.dtype.kind in "bu":
            pixels = ~pixels
    return _as_grey(pixels, path)


def _jpeg_is_whole(data: bytes) -> bool:
    """Return whether a JPEG's scan has its end marker; thumbnails in its header have their own and do not count."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return data.find(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _refuse_cut(path: Path, data: bytes) -> None:
    """Raise `InputError` when a JPEG (given whole) or a PNG (given by its first and last bytes) has no end."""
    jpeg, png = data.startswith(b"\xff\xd8"), data.startswith(b"\x89PNG")
    if (jpeg and not _jpeg_is_whole(data)) or (png and b"IEND" not in data[-64:]):
        msg = f"{path}: truncated: the end of the image is missing ({path.stat().st_size} bytes found)"
        raise InputError(msg)


def _read_other(path: Path, page: int | None) -> Grey:
    if page not in {None, 0}:
        msg = f"{path}: page {page} was asked for, the file has one image"
        raise InputError(msg)
    data = path.read_bytes()
    _refuse_cut(path, data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None:
        msg = f"{path}: not an image that can be read ({len(data)} bytes; TIFF, PNG, JPEG, BMP, PGM and others can)"
        raise InputError(msg)
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = pixels[..., 2::-1]  # OpenCV keeps blue first
    return _as_grey(pixels, path)


def translated(path: Path, task: Callable[[], Any]) -> Any:
    """Return what ``task`` returns; what it raises about a broken file becomes `InputError` naming the file."""
    try:
        return task()
    except InputError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, struct.error, cv2.error) as error:
        msg = f"{path}: cannot be read as an image: {str(error) or type(error).__name__}"
        raise InputError(msg) from error


def read(path: Path, page: int | None = None) -> Grey:
    """Return an image as 2-D grey: uint8, uint16 or float32.

    Colour becomes luma (BT.601) of the same depth, a palette is looked up, alpha is left out, one-bit images become 0
    and 255, any other number type becomes float32.

    Parameters
    ----------
    path : Path
        TIFF, what OpenCV reads (PNG, JPEG, BMP, PGM, ...), MetaImage (.mha, .mhd), or the folder of an OME-Zarr. Any
        characters may occur in it.
    page : int or None
        0-based page of a multi-page TIFF, or plane of an OME-Zarr (`demis_ij.images.zarr_planes`) or of a MetaImage;
        None is the first.

    Raises
    ------
    InputError
        When the file is missing, truncated or no image; it names the file.
    """
    path = Path(path)
    if is_zarr(path):
        plane: Grey = translated(path, lambda: _as_grey(zarr_plane(path, page)[:, :], path))
        return plane
    if is_metaimage(path):
        slice_: Grey = translated(path, lambda: _as_grey(metaimage_plane(path, page), path))
        return slice_
    is_tiff = first_bytes(path, 4) in TIFF_MAGIC
    pixels: Grey = translated(path, lambda: (_read_tiff if is_tiff else _read_other)(path, page))
    return pixels


def _png_header(head: bytes) -> tuple[tuple[int, int], np.dtype[Any]] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or len(head) < 26:
        return None
    width, height, depth = struct.unpack(">IIB", head[16:25])
    return (height, width), np.dtype(np.uint16 if depth == 16 else np.uint8)


def _jpeg_header(path: Path) -> tuple[tuple[int, int], np.dtype[Any]] | None:
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return None
        while (marker := file.read(4)) and len(marker) == 4 and marker[0] == 0xFF:
            length = int.from_bytes(marker[2:], "big")
            if 0xC0 <= marker[1] <= 0xCF and marker[1] not in {0xC4, 0xC8, 0xCC}:  # a start of frame
                depth, height, width = struct.unpack(">BHH", file.read(5))
                return ((height, width), np.dtype(np.uint8)) if depth == 8 else None
            file.seek(length - 2, 1)
    return None


def _header(path: Path, page: int | None) -> tuple[tuple[int, int], np.dtype[Any]]:
    if is_zarr(path):
        plane = zarr_plane(path, page)
        return plane.shape, grey_dtype(plane.dtype)
    if is_metaimage(path):
        told = open_metaimage(path)
        return (told.shape[-2], told.shape[-1]), grey_dtype(told.dtype.newbyteorder("="))
    head = first_bytes(path, 32)
    if head[:4] in TIFF_MAGIC:
        with tifffile.TiffFile(path) as tiff:
            if page is not None and page >= len(tiff.pages) and (later := mapped_plane(path, page)) is not None:
                return (later.shape[0], later.shape[1]), grey_dtype(later.dtype.newbyteorder("="))
            frame = tiff_page(tiff, path, page).aspage()
            _refuse_truncated(frame, path)
            dtype = np.dtype(np.uint8) if frame.photometric.name == "PALETTE" else frame.dtype
            if dtype is None:
                msg = f"{path}: samples of {frame.bitspersample} bits cannot be read"
                raise InputError(msg)
            return (int(frame.imagelength), int(frame.imagewidth)), grey_dtype(np.dtype(dtype))
    found = (_png_header(head) or _jpeg_header(path)) if page in {None, 0} else None
    if found is not None:
        _refuse_cut(path, path.read_bytes() if head.startswith(b"\xff\xd8") else head[:8] + last_bytes(path, 64))
        return found
    pixels = read(path, page)
    return (pixels.shape[0], pixels.shape[1]), pixels.dtype


def header(path: Path, page: int | None = None) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return (rows, cols) and the dtype that `read` would give, without decoding TIFF, PNG or JPEG pixels.

    Raises
    ------
    InputError
        When the file is missing or no image; it names the file.
    """
    path = Path(path)
    found: tuple[tuple[int, int], np.dtype[Any]] = translated(path, lambda: _header(path, page))
    return found


def with_shapes(layout: Layout) -> tuple[Layout, list[str], set[str]]:
    """Return the layout with every tile's true shape, one warning a problem, and the ids of tiles that cannot be used.

    A tile whose file is missing, unreadable or of another size than the layout says keeps the layout's shape and is
    listed as unusable: its pixels cannot be trusted to lie where the layout puts them. A tile of another type than
    most is usable, with a warning.
    """

    def look(tile: Tile) -> tuple[tuple[int, int], np.dtype[Any]] | str:
        try:
            return header(tile.path, tile.page)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(look, layout.tiles))
    kinds = Counter(str(f[1]) for f in found if not isinstance(f, str))
    usual = kinds.most_common(1)[0][0] if kinds else ""
    tiles, warnings, unusable = [], [], set()
    for tile, seen in zip(layout.tiles, found, strict=True):
        new = tile
        if isinstance(seen, str):
            warnings.append(f"tile {tile.id}: {seen}")
            unusable.add(tile.id)
        elif tile.shape not in {(0, 0), seen[0]}:
            says, has = (f"{s[1]}x{s[0]}" for s in (tile.shape, seen[0]))
            warnings.append(f"tile {tile.id}: the layout says {says} px, {tile.path} has {has}")
            unusable.add(tile.id)
        else:
            new = replace(tile, shape=seen[0])
            if str(seen[1]) != usual:
                warnings.append(f"tile {tile.id}: {tile.path} is {seen[1]}, most tiles are {usual}")
        tiles.append(new)
    return replace(layout, tiles=tuple(tiles)), warnings, unusable
