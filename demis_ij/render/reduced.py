"""Tiles at low resolution, each made once while memory lasts."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Affine, Layout, Tile
from demis_ij.render.placed import TileSource
from demis_ij.sinks.reduction import area_mean, to_dtype


class ReducedStore:
    """Gives tiles reduced by a whole factor, the mean of the data in each square; bounded in bytes, safe for threads.

    The tiles it is asked for are those of `Layout` s made by `reduced`: their shapes and transforms are of the reduced
    images, their paths of the real ones.

    Parameters
    ----------
    source : TileSource
        The tiles at full resolution.
    full : Layout
        The layout at full resolution.
    factor : int
        Px of the tile per px here.
    max_bytes : int
        What may be kept; the least recently used goes first.
    """

    def __init__(self, source: TileSource, full: Layout, factor: int, max_bytes: int = 1 << 28) -> None:
        self._source = source
        self._full = full
        self._factor = factor
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[NDArray[Any], NDArray[np.bool_]]] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, tile: Tile) -> NDArray[Any]:
        """Return the reduced grey values, in the tile's own dtype. Raises `InputError` as the source does."""
        return self._get(tile)[0]

    def mask(self, tile: Tile) -> NDArray[np.bool_]:
        """Return where at least half of the square was data. Raises `InputError` as the source does."""
        return self._get(tile)[1]

    def _get(self, tile: Tile) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        with self._lock:
            if tile.id in self._kept:
                self._kept.move_to_end(tile.id)
                return self._kept[tile.id]
        full = self._full[tile.id]
        image, mask = self._source.image(full), self._source.mask(full)
        values, inside = area_mean(image, None if mask.all() else mask, self._factor)
        made = to_dtype(values, image.dtype), inside
        with self._lock:
            if tile.id not in self._kept:
                self._kept[tile.id] = made
                self._bytes += made[0].nbytes + made[1].nbytes
            while self._bytes > self._max_bytes:
                _, old = self._kept.popitem(last=False)
                self._bytes -= old[0].nbytes + old[1].nbytes
        return made


def reduced(layout: Layout, factor: int) -> Layout:
    """Return the layout whose tiles are the reduced images, in the same world."""
    enlarge = Affine(a=factor, d=factor, tx=0.5 * factor - 0.5, ty=0.5 * factor - 0.5)
    tiles = tuple(
        replace(
            t,
            shape=(-(-t.shape[0] // factor), -(-t.shape[1] // factor)),
            to_world=t.to_world @ enlarge,
            lens=None if t.lens is None else t.lens.reduced(factor),
        )
        for t in layout
    )
    return replace(layout, tiles=tiles)
