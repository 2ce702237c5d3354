"""Where mosaic pixels are seen in a tile behind a lens: mosaic px to corrected tile px to raw tile px.

The way back through a lens is worked out exactly at a few points of a cell, and between them by the polynomial through
these, which a lens is smooth enough for to a millionth of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.records import Affine, Lens
from demis_ij.records.lens import REACH

_NODES = 9  # an axis: where the way back through a lens is worked out


@dataclass(frozen=True, eq=False)
class RawPlaces:
    """Where each pixel of a box is seen in a tile behind a lens: raw tile px, (rows, cols), float64."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


def raw_places(lens: Lens, to_tile: Affine, box: Box) -> RawPlaces:
    """Return where each pixel of ``box`` is seen in a tile; ``to_tile`` leads to the tile's corrected px."""
    height, width = box.shape
    across, down = _nodes(width), _nodes(height)
    corrected = _placed_at(to_tile, across + box.x0, down + box.y0)
    if _within_reach(lens, corrected):
        at = lens.inverse(corrected.reshape(-1, 2)).reshape(corrected.shape)
        x, y = (_between(height) @ at[..., k] @ _between(width).T for k in (0, 1))
        return RawPlaces(x, y)
    every = _placed_at(to_tile, np.arange(box.x0, box.x1), np.arange(box.y0, box.y1))
    raw = lens.inverse(every.reshape(-1, 2)).reshape(every.shape)
    return RawPlaces(raw[..., 0], raw[..., 1])


def _placed_at(to_tile: Affine, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """Return (len(y), len(x), 2): where a map takes a lattice of points."""
    return np.asarray(to_tile(np.stack(np.meshgrid(x, y), axis=-1)))


def _within_reach(lens: Lens, corrected: NDArray[np.float64]) -> bool:
    """Return whether a lens is one polynomial over all of a box, (rows, cols, 2): none of it is beyond its `REACH`."""
    far = np.abs((corrected[[0, 0, -1, -1], [0, -1, 0, -1]] - lens.centre) / lens.half).max()
    return bool(far < REACH * (1 - lens.largest_px / min(lens.half)))


@lru_cache(maxsize=1024)
def _nodes(size: int) -> NDArray[np.float64]:
    """Return Chebyshev's points of the second kind over 0 ... size - 1; every pixel where there are few."""
    if size <= _NODES:
        return np.arange(size, dtype=np.float64)
    return (1 - np.cos(np.pi * np.arange(_NODES) / (_NODES - 1))) / 2 * (size - 1)


@lru_cache(maxsize=1024)
def _between(size: int) -> NDArray[np.float64]:
    """Return (size, nodes): the polynomial through values at `_nodes`, at every pixel (barycentric form)."""
    nodes = _nodes(size)
    if size <= _NODES:
        return np.eye(size)
    weight = np.where(np.arange(_NODES) % 2, -1.0, 1.0)
    weight[[0, -1]] /= 2
    away = np.arange(size, dtype=np.float64)[:, None] - nodes
    hit = np.abs(away) < 1e-9
    away[hit] = 1
    out = weight / away
    on = hit.any(1)
    out[on] = hit[on]
    return np.asarray(out / out.sum(1, keepdims=True))
