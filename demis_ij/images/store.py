"""Normalised grey values, and a bounded store of tiles."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.images.reading import (
    Grey,
    Mask,
    read,
)
from demis_ij.images.sections import tile_mask
from demis_ij.records import Tile


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


_Stamp = tuple[int, int] | None
_Key = tuple[str, Path, int | None, _Stamp, tuple[Path, _Stamp] | None]


def _stamp(path: Path) -> _Stamp:
    """Return size and time of a file, None where there is none: whoever reads it says so."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a third faster, and asked for each time
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


class TileStore:
    """Reads each tile once, while memory lasts: images, masks and normalised images; safe to use from threads.

    A file that was replaced, by its size and time, is another tile. One that was not there when it was asked for stays
    away: a run does not see a tile come and go.

    Parameters
    ----------
    max_bytes : int
        What may be kept; the least recently used goes first. One larger item is returned, not kept.
    clip : float
        Contrast limit of the normalisation.
    keep_images : bool
        Whether grey values are kept beside the normalised image that was made of them. Without them there is room for
        more tiles, where nobody asks for grey values.
    """

    def __init__(self, max_bytes: int = 1 << 29, *, clip: float = 0.5, keep_images: bool = True) -> None:
        self._max_bytes = max_bytes
        self._clip = clip
        self._keep_images = keep_images
        self._bytes = 0
        self._kept: OrderedDict[_Key, Grey] = OrderedDict()
        self._broken: dict[_Key, str] = {}
        self._absent: dict[tuple[Path, int | None], str] = {}
        self._lock = threading.Lock()
        self._busy: dict[_Key, threading.Lock] = {}

    @property
    def max_bytes(self) -> int:
        """What may be kept."""
        return self._max_bytes

    def image(self, tile: Tile) -> Grey:
        """Return the tile's grey values, read-only. Raises `InputError`, the same each time, when it cannot be read."""
        return self._get("image", tile, lambda: self._read(tile))

    def mask(self, tile: Tile) -> Mask:
        """Return where the tile has data: `data_mask` and the tile's own mask image. Raises `InputError`."""
        return self._get("mask", tile, lambda: self._mask(tile))

    def normalised(self, tile: Tile) -> NDArray[np.uint8]:
        """Return the tile as `normalise` makes it. Raises `InputError`."""
        return self._get("normalised", tile, lambda: self._normalised(tile))

    def _normalised(self, tile: Tile) -> NDArray[np.uint8]:
        made = normalise(self.image(tile), self.mask(tile), clip=self._clip)
        if not self._keep_images:
            with self._lock:
                image = self._kept.pop(self._key("image", tile), None)
                self._bytes -= 0 if image is None else image.nbytes
        return made

    def _read(self, tile: Tile) -> Grey:
        key, place = self._key("image", tile), (tile.path, tile.page)
        told = self._absent.get(place) or self._broken.get(key)
        if told:
            raise InputError(told)
        try:
            return read(tile.path, tile.page)
        except InputError as error:
            if _stamp(tile.path) is None:
                self._absent[place] = str(error)
            else:
                self._broken[key] = str(error)
            raise

    def _mask(self, tile: Tile) -> Mask:
        return tile_mask(tile, self.image(tile))

    def _get(self, kind: str, tile: Tile, make: Callable[[], Grey]) -> Grey:
        key = self._key(kind, tile)
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

    @staticmethod
    def _key(kind: str, tile: Tile) -> _Key:
        mask = None if tile.mask_path is None else (tile.mask_path, _stamp(tile.mask_path))
        return kind, tile.path, tile.page, _stamp(tile.path), mask

    def _keep(self, key: _Key, value: Grey) -> None:
        with self._lock:
            if value.nbytes > self._max_bytes or key in self._kept:
                return
            self._kept[key] = value
            self._bytes += value.nbytes
            while self._bytes > self._max_bytes:
                _, old = self._kept.popitem(last=False)
                self._bytes -= old.nbytes
