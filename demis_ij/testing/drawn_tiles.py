"""Tiles drawn from a known function of the world, and a store that keeps them in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.records import Affine, Layout, Tile

World = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


class MemoryStore:
    """Tiles' images and masks, by tile id; counts how often each image was asked for.

    Parameters
    ----------
    images : mapping of str to ndarray
        Grey values. A tile that is not in it cannot be read.
    masks : mapping of str to ndarray of bool, optional
        Tiles that are not in it are all data.
    """

    def __init__(
        self, images: Mapping[str, NDArray[Any]], masks: Mapping[str, NDArray[np.bool_]] | None = None
    ) -> None:
        self._images = dict(images)
        self._masks = dict(masks or {})
        self.reads: Counter[str] = Counter()

    def image(self, tile: Tile) -> NDArray[Any]:
        """Return the tile's grey values. Raises `InputError` when there are none."""
        if tile.id not in self._images:
            msg = f"tile {tile.id}: no image"
            raise InputError(msg)
        self.reads[tile.id] += 1
        return self._images[tile.id]

    def mask(self, tile: Tile) -> NDArray[np.bool_]:
        """Return where the tile has data."""
        if tile.id in self._masks:
            return self._masks[tile.id]
        return np.ones(self.image(tile).shape, bool)


def draw_tiles(
    world: World,
    to_world: Sequence[Affine],
    shape: tuple[int, int],
    dtype: np.dtype[Any] | type[Any] = np.float32,
) -> tuple[Layout, MemoryStore]:
    """Return a layout of tiles "0", "1", ... and a store with ``world(x, y)`` sampled at every pixel's centre.

    Parameters
    ----------
    world : callable
        Grey value at world x and y (arrays of one shape).
    to_world : sequence of Affine
        One a tile.
    shape : tuple of int
        (rows, cols) of every tile.
    dtype : numpy.dtype
        Values are rounded and clipped when it is a whole-number type.
    """
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    images, tiles = {}, []
    for number, transform in enumerate(to_world):
        at = transform(np.stack([x, y], -1))
        values = world(at[..., 0], at[..., 1])
        kind = np.dtype(dtype)
        if kind.kind != "f":
            values = np.clip(np.rint(values), np.iinfo(kind).min, np.iinfo(kind).max)
        images[str(number)] = values.astype(kind)
        tiles.append(Tile(str(number), Path(f"{number}.tif"), shape, transform))
    return Layout(tuple(tiles)), MemoryStore(images)
