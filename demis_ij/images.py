"""Images: read a tile or its header, find where there is no data, normalise.

An image is a 2-D array ``[row, col]`` of uint8, uint16 or float32. "No data" is a mask (False), never a grey value.
"""

from __future__ import annotations

import html
import re
import struct
import threading
from collections import Counter, OrderedDict
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
from demis_ij.records import Layout, Tile

Grey = NDArray[Any]
Mask = NDArray[np.bool_]

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as ImageJ and OpenCV weigh red, green and blue


# --- reading --------------------------------------------------------------------------------------------------------


def _grey_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that `read` gives to samples of ``dtype``."""
    if dtype == np.bool_ or dtype == np.uint8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16) if dtype == np.uint16 else np.dtype(np.float32)


def _as_grey(pixels: Grey, path: Path) -> Grey:
    """Return 2-D grey of an image whose colour samples (red first), if any, are the last axis."""
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    dtype = _grey_dtype(pixels.dtype)
    if pixels.ndim == 3 and pixels.shape[2] in {3, 4}:
        luma = pixels[..., :3].astype(np.float32) @ np.array(_LUMA, np.float32)
        pixels = luma if dtype == np.float32 else np.rint(luma)
    elif pixels.ndim == 3 and pixels.shape[2] in {1, 2}:  # the second sample of two is alpha
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or not pixels.size:
        msg = f"{path}: an image needs rows and columns, found an array of {pixels.shape}"
        raise InputError(msg)
    return np.ascontiguousarray(pixels, dtype=dtype)


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise InputError(msg) from error


def _last_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read(count)


def _tiff_page(tiff: tifffile.TiffFile, path: Path, page: int | None) -> Any:
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


def _read_tiff(path: Path, page: int | None) -> Grey:
    with tifffile.TiffFile(path) as tiff:
        frame = _tiff_page(tiff, path, page)
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


def _translated(path: Path, task: Callable[[], Any]) -> Any:
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
        TIFF, or what OpenCV reads (PNG, JPEG, BMP, PGM, ...). Any characters may occur in it.
    page : int or None
        0-based page of a multi-page TIFF; None is the first.

    Raises
    ------
    InputError
        When the file is missing, truncated or no image; it names the file.
    """
    path = Path(path)
    is_tiff = _first_bytes(path, 4) in _TIFF_MAGIC
    pixels: Grey = _translated(path, lambda: (_read_tiff if is_tiff else _read_other)(path, page))
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
    head = _first_bytes(path, 32)
    if head[:4] in _TIFF_MAGIC:
        with tifffile.TiffFile(path) as tiff:
            frame = _tiff_page(tiff, path, page).aspage()
            _refuse_truncated(frame, path)
            dtype = np.dtype(np.uint8) if frame.photometric.name == "PALETTE" else frame.dtype
            if dtype is None:
                msg = f"{path}: samples of {frame.bitspersample} bits cannot be read"
                raise InputError(msg)
            return (int(frame.imagelength), int(frame.imagewidth)), _grey_dtype(np.dtype(dtype))
    found = (_png_header(head) or _jpeg_header(path)) if page in {None, 0} else None
    if found is not None:
        _refuse_cut(path, path.read_bytes() if head.startswith(b"\xff\xd8") else head[:8] + _last_bytes(path, 64))
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
    found: tuple[tuple[int, int], np.dtype[Any]] = _translated(path, lambda: _header(path, page))
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


# --- the size of a pixel --------------------------------------------------------------------------------------------

_NM = {"m": 1e9, "cm": 1e7, "mm": 1e6, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3,
       "micrometer": 1e3, "nm": 1.0, "nanometer": 1.0, "pm": 1e-3, "fm": 1e-6, "å": 0.1, "angstrom": 0.1,
       "inch": 2.54e7, "in": 2.54e7}  # fmt: skip
_COARSEST_NM = 5000.0  # a resolution tag coarser than this (5080 dpi) is a printer's, not a microscope's


def _length(value: float, unit: str) -> tuple[float, str] | None:
    """Return a length as nm, or as µm from 1000 nm on; None for what is no length."""
    factor = _NM.get(unit.strip().replace("\\u00b5", "µ").replace("\\u00B5", "µ").lower())
    if factor is None or not 0 < value * factor < float("inf"):
        return None
    nm = float(f"{value * factor:.9g}")
    return (nm, "nm") if nm < 1000 else (float(f"{nm / 1000:.9g}"), "µm")


def _vendor_pixel_size(tiff: tifffile.TiffFile) -> tuple[float, str] | None:
    """Return the pixel size of Thermo Fisher (FEI), Zeiss and TESCAN headers."""
    fei = tiff.fei_metadata or {}
    for part in ("Scan", "EScan", "IScan"):
        if isinstance(width := fei.get(part, {}).get("PixelWidth"), int | float):
            return _length(width, "m")
    zeiss = tiff.sem_metadata or {}
    for name in ("ap_image_pixel_size", "ap_pixel_size"):
        if len(entry := zeiss.get(name, ())) == 3:
            return _length(float(entry[1]), str(entry[2]))
    tags = tiff.pages[0].aspage().tags
    if 50431 in tags and (found := re.search(rb"PixelSizeX=([0-9.eE+-]+)", bytes(tags[50431].value))):
        return _length(float(found[1]), "m")
    return None


def _ome_pixel_size(text: str) -> tuple[float, str] | None:
    if (value := re.search(r'PhysicalSizeX="([^"]+)"', text)) is None:
        return None
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text)
    return _length(float(value[1]), html.unescape(unit[1]) if unit else "µm")


def _resolution_pixel_size(tiff: tifffile.TiffFile) -> tuple[float, str] | None:
    """Return the pixel size of the TIFF resolution tags, in ImageJ's unit where it wrote one."""
    tags = tiff.pages[0].aspage().tags
    if "XResolution" not in tags or not (resolution := tags["XResolution"].value)[0]:
        return None
    side = resolution[1] / resolution[0]
    if "unit" in (imagej := tiff.imagej_metadata or {}):
        return _length(side, str(imagej["unit"]))
    unit = {2: "inch", 3: "cm"}.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 2, "")
    return _length(side, unit) if side * _NM.get(unit, 0.0) < _COARSEST_NM else None


def pixel_size(path: Path) -> tuple[float, str] | None:
    """Return the side of a pixel and its unit (nm, or µm from 1000 nm on) as the file says, or None.

    Looked for in this order: Thermo Fisher (FEI), Zeiss SmartSEM and TESCAN headers, OME-XML, ImageJ, and the TIFF
    resolution tags, which are believed only below 5 µm: coarser ones are a printer's or a screen's.

    Raises
    ------
    InputError
        When the file is missing or broken; it names the file.
    """
    path = Path(path)
    if _first_bytes(path, 4) not in _TIFF_MAGIC:
        return None

    def look() -> tuple[float, str] | None:
        with tifffile.TiffFile(path) as tiff:
            ome = _ome_pixel_size(tiff.ome_metadata) if tiff.ome_metadata else None
            return _vendor_pixel_size(tiff) or ome or _resolution_pixel_size(tiff)

    found: tuple[float, str] | None = _translated(path, look)
    return found


# --- where there is no data -----------------------------------------------------------------------------------------


def _grey_step(image: Grey) -> float:
    """Return 1/255 of the image's own range: the step that an 8-bit image would have."""
    low, high, *_ = cv2.minMaxLoc(image)
    return max((high - low) / 255.0, 1e-12)


def _data_bar_top(image: Grey) -> int:
    """Return the first row of a burnt-in data bar, or the number of rows when there is none.

    An opaque bar starts at a step that all columns share, reaches the bottom, and is mostly one grey value. Text drawn
    on the image itself is known by its scale bar: a rectangle of full white, wide and low, at the bottom.
    """
    rows, cols = int(image.shape[0]), int(image.shape[1])
    if rows < 64 or cols < 64:
        return rows
    start = int(rows * 0.75)
    step = _grey_step(image)
    part = image[start - 1 :].astype(np.float32) / step
    change = np.diff(part, axis=0)
    shared = np.maximum((change > 1.5).mean(1), (change < -1.5).mean(1))  # row i: from row start-1+i to start+i
    for i in np.flatnonzero(shared >= 0.95):
        bar = part[i + 1 :]
        values, counts = np.unique(np.rint(bar), return_counts=True)
        same = (np.abs(bar - values[counts.argmax()]) <= 3).mean()
        flat = (np.abs(np.diff(bar, axis=1)) <= 1.5).mean()
        if len(bar) >= 8 and same >= 0.5 and flat >= 0.75:
            return int(start + i)
    return _scale_bar_top(image, step)


def _scale_bar_top(image: Grey, step: float) -> int:
    """Return the top row of a white rectangle that can only be a scale bar, or the number of rows."""
    rows, cols = int(image.shape[0]), int(image.shape[1])
    start = int(rows * 0.85)
    white = (image[start:] >= image.max() - 4 * step).astype(np.uint8)
    kernel = np.ones((1, max(16, cols // 25)), np.uint8)
    long_runs = cv2.erode(white, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    count, _, stats, _ = cv2.connectedComponentsWithStats(long_runs, connectivity=4)
    for x, y, w, h, area in stats[1:count]:
        above, below = white[max(0, y - 6) : max(0, y - 3), x : x + w], white[y + h + 3 : y + h + 6, x : x + w]
        around = np.concatenate([above.ravel(), below.ravel()])
        if 2 <= h <= rows // 30 and area >= 0.97 * w * h and around.size and around.mean() < 0.3:
            ends = white[y : y + h].sum(1)
            if ends.max() - ends.min() <= 0.05 * cols:
                # ticks and letters stand a little higher than the bar: up to the first quiet row, two bars' heights
                return int(max(start, start + y - max(4, 2 * h)))
    return rows


def _corner_values(image: Grey) -> set[float]:
    """Return the grey values that fill a run of 16 px along a side, from a corner on."""
    found = set()
    for turned in (image, image[::-1], image[:, ::-1], image[::-1, ::-1]):
        for run in (turned[0, :16], turned[:16, 0]):
            if (run == run[0]).all():
                found.add(float(run[0]))
    return found


def _constant_border(image: Grey) -> Mask:
    """Return the pixels of exactly one value that reach in from a corner and leave a compact image inside.

    Tiles that were corrected for lens distortion, turned or shifted have such borders. The natural black between
    grains reaches the border too, but is ragged, or what it leaves does not fill its own convex hull: it stays data.
    """
    out = np.zeros(image.shape, bool)
    for value in _corner_values(image):
        same = (image == value).astype(np.uint8)
        _, label = cv2.connectedComponents(same, connectivity=4)
        for number in {int(label[r, c]) for r in (0, -1) for c in (0, -1)} - {0}:
            part = (label == number).astype(np.uint8)
            if _has_straight_sides(part):
                out |= part.astype(bool)
    if not out.any() or out.mean() > 0.6 or not _fills_its_hull(~out):
        return np.zeros(image.shape, bool)
    # the border's inner seam is interpolated (one pixel) or rung by JPEG (a block, where it is as dark as the border)
    seam = cv2.dilate(out.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if image[out].max() > image.min():
        return np.asarray(out | seam, bool)
    near = cv2.dilate(out.astype(np.uint8), np.ones((17, 17), np.uint8)).astype(bool)
    return np.asarray(out | seam | (near & (image <= image.min() + 6 * _grey_step(image))), bool)


def _has_straight_sides(part: NDArray[np.uint8]) -> bool:
    """Return whether outlines are polygons of few sides to 3 px; a natural hole has a corner every 20 to 40 px."""
    core = cv2.morphologyEx(part, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    if core.sum() < 0.7 * part.sum():
        return False
    outlines, _ = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = sum(len(cv2.approxPolyDP(o, 3, True)) for o in outlines)
    return corners <= 4 * len(outlines) + sum(len(o) for o in outlines) / 100


def _fills_its_hull(data: Mask) -> bool:
    """Return whether the largest part of ``data``, its holes filled, takes at least 97 % of its convex hull."""
    outlines, _ = cv2.findContours(data.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return False
    largest = max(outlines, key=cv2.contourArea)
    hull = cv2.contourArea(cv2.convexHull(largest))
    return bool(hull > 0.3 * data.size and cv2.contourArea(largest) >= 0.97 * hull)


def data_mask(image: Grey) -> Mask:
    """Return where an image has data: False on constant borders, on a burnt-in data bar and on NaN.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values.

    Returns
    -------
    ndarray of shape (H, W), bool
        An image of one grey value is all data: nothing tells its border from its inside.
    """
    finite: Mask = np.isfinite(image) if image.dtype.kind == "f" else np.ones(image.shape, bool)
    if not finite.any():
        return finite
    shown = image if finite.all() else np.where(finite, image, image[finite].min())
    if shown.min() == shown.max():
        return finite
    mask = finite.copy()
    top = _data_bar_top(shown)
    mask[top:] = False
    above = shown[:top]
    if above.size and above.min() < above.max():
        mask[:top] &= ~_constant_border(above)
    return mask


# --- normalising ----------------------------------------------------------------------------------------------------


def _grey_range(values: Grey, low: float, high: float) -> tuple[float, float]:
    """Return two percentiles; of a whole-number image from its histogram, of floats from at most 2^20 of them."""
    if values.dtype.kind == "f":
        some = values[:: max(1, values.size >> 20)]
        lo, hi = np.percentile(some, (low, high))
        return float(lo), float(hi)
    share = np.cumsum(np.bincount(values)) / values.size
    return float(np.searchsorted(share, low / 100)), float(np.searchsorted(share, high / 100))


def normalise(
    image: Grey, mask: Mask, *, low: float = 0.5, high: float = 99.5, clip: float = 0.5, grid: int = 4
) -> NDArray[np.uint8]:
    """Return an image with like brightness and contrast as every other tile: percentiles, then CLAHE, as in DEMIS.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values.
    mask : ndarray of shape (H, W), bool
        Where they are data. The rest is filled with the mean, so that it makes as little of an edge as can be.
    low, high : float
        Percentiles of the data that become 0 and 255.
    clip, grid : float, int
        Contrast limit and tiles a side of CLAHE (Zuiderveld 1994); a limit of 0 leaves it out.

    Returns
    -------
    ndarray of shape (H, W), uint8
        All 128 when there is no data or only one grey value.
    """
    values = image[mask]
    lo, hi = _grey_range(values, low, high) if values.size else (0.0, 0.0)
    if not hi > lo:
        return np.full(image.shape, 128, np.uint8)
    gain = 255.0 / (hi - lo)
    if image.dtype == np.uint8:
        table = np.clip(np.rint((np.arange(256) - lo) * gain), 0, 255).astype(np.uint8)
        out = cv2.LUT(image, table)
    else:
        clean = np.where(mask, image, image.dtype.type(lo))
        out = np.clip(np.rint((clean.astype(np.float32) - lo) * gain), 0, 255).astype(np.uint8)
    inside = mask.astype(np.uint8)
    holes = bool((inside == 0).any())
    if holes:
        out[~mask] = np.uint8(round(cv2.mean(out, inside)[0]))
    if clip > 0:
        out = cv2.createCLAHE(clip, (grid, grid)).apply(out)
        if holes:
            out[~mask] = np.uint8(round(cv2.mean(out, inside)[0]))
    return np.asarray(out, np.uint8)


# --- a store of tiles -----------------------------------------------------------------------------------------------


class TileStore:
    """Reads each tile once, while memory lasts: images, masks and normalised images; safe to use from threads.

    Parameters
    ----------
    max_bytes : int
        What may be kept; the least recently used goes first. One larger item is returned, not kept.
    clip : float
        Contrast limit of the normalisation.
    """

    def __init__(self, max_bytes: int = 1 << 29, *, clip: float = 0.5) -> None:
        self._max_bytes = max_bytes
        self._clip = clip
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, Path, int | None, Path | None], Grey] = OrderedDict()
        self._broken: dict[tuple[Path, int | None], str] = {}
        self._lock = threading.Lock()
        self._busy: dict[tuple[str, Path, int | None, Path | None], threading.Lock] = {}

    def image(self, tile: Tile) -> Grey:
        """Return the tile's grey values, read-only. Raises `InputError`, the same each time, when it cannot be read."""
        return self._get("image", tile, lambda: self._read(tile))

    def mask(self, tile: Tile) -> Mask:
        """Return where the tile has data: `data_mask` and the tile's own mask image. Raises `InputError`."""
        return self._get("mask", tile, lambda: self._mask(tile))

    def normalised(self, tile: Tile) -> NDArray[np.uint8]:
        """Return the tile as `normalise` makes it. Raises `InputError`."""
        return self._get("normalised", tile, lambda: normalise(self.image(tile), self.mask(tile), clip=self._clip))

    def _read(self, tile: Tile) -> Grey:
        key = (tile.path, tile.page)
        if key in self._broken:
            raise InputError(self._broken[key])
        try:
            return read(tile.path, tile.page)
        except InputError as error:
            self._broken[key] = str(error)
            raise

    def _mask(self, tile: Tile) -> Mask:
        image = self.image(tile)
        mask = data_mask(image)
        if tile.mask_path is None:
            return mask
        own = read(tile.mask_path)
        if own.shape != image.shape:
            sizes = f"{own.shape[1]}x{own.shape[0]} px, the tile {image.shape[1]}x{image.shape[0]}"
            msg = f"tile {tile.id}: the mask {tile.mask_path} is {sizes}"
            raise InputError(msg)
        return mask & (own > 0)

    def _get(self, kind: str, tile: Tile, make: Callable[[], Grey]) -> Grey:
        key = (kind, tile.path, tile.page, tile.mask_path)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:  # two threads that want one tile read it once
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            try:
                value = make()
                value.flags.writeable = False
                self._keep(key, value)
            finally:
                with self._lock:
                    self._busy.pop(key, None)
        return value

    def _keep(self, key: tuple[str, Path, int | None, Path | None], value: Grey) -> None:
        with self._lock:
            if value.nbytes > self._max_bytes or key in self._kept:
                return
            self._kept[key] = value
            self._bytes += value.nbytes
            while self._bytes > self._max_bytes:
                _, old = self._kept.popitem(last=False)
                self._bytes -= old.nbytes
