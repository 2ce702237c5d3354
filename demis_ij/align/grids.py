"""The grid of nodes that all warps share, and sections at several reductions.

A section reduced by ``q`` has pixel ``(x, y)`` over the ``q x q`` pixels around ``(x + 0.5) q - 0.5``; what is said of
lengths and places between nodes is always in px of the sections, not of a level.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.fields import grid_of
from demis_ij.geometry import Box
from demis_ij.records import Offsets

Float = NDArray[np.float32]
_WELL_KNOWN = 0.02


@dataclass(frozen=True)
class Grid:
    """Nodes ``stride`` px apart over a canvas of ``shape``; node (row, col) stands on pixel ``stride * (col, row)``."""

    shape: tuple[int, int]
    stride: float

    @property
    def nodes(self) -> tuple[int, int]:
        """(rows, cols) of nodes."""
        return grid_of(self.shape, self.stride)

    def level_shape(self, level: int) -> tuple[int, int]:
        """Return (rows, cols) of the canvas reduced by ``level``."""
        return -(-self.shape[0] // level), -(-self.shape[1] // level)

    def at_level(self, level: int) -> tuple[Float, Float]:
        """Return (x of each column, y of each row) of nodes, px of the level, kept inside the canvas."""
        rows, cols = self.level_shape(level)
        x, y = (((np.arange(k) * self.stride + 0.5) / level - 0.5) for k in reversed(self.nodes))
        return np.clip(x, 0, cols - 1).astype(np.float32), np.clip(y, 0, rows - 1).astype(np.float32)

    def spread(self, offsets: Offsets, level: int, box: Box) -> Offsets:
        """Return offsets at nodes (2, rows, cols) at each pixel of a box of a level; still px of the sections."""
        x, y = ((np.arange(a, b) + 0.5) * level - 0.5 for a, b in ((box.x0, box.x1), (box.y0, box.y1)))
        u = np.clip(x / self.stride, 0, offsets.shape[2] - 1)
        v = np.clip(y / self.stride, 0, offsets.shape[1] - 1)
        left, right, top, below = (k.astype(np.intp) for k in (np.floor(u), np.ceil(u), np.floor(v), np.ceil(v)))
        fu, fv = (u - left).astype(np.float32), (v - top).astype(np.float32)[:, None]
        lines = offsets[:, top] * (1 - fv) + offsets[:, below] * fv
        return np.asarray(lines[..., left] * (1 - fu) + lines[..., right] * fu, np.float32)


def pulled(offsets: Offsets, step: Offsets, stride: float) -> Offsets:
    """Return ``step(x) + offsets(x + step(x))`` at nodes: first the step, then what was there."""
    rows, cols = np.mgrid[0 : offsets.shape[1], 0 : offsets.shape[2]].astype(np.float32)
    x, y = cols + step[0] / np.float32(stride), rows + step[1] / np.float32(stride)
    known = [cv2.remap(o, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for o in offsets]
    return np.asarray(step + np.stack(known), np.float32)


def continued(offsets: Offsets, weight: Float) -> Offsets:
    """Return offsets that go on smoothly where they are hardly known, and stay what they are where they are known.

    From wide to narrow, the mean of the surroundings takes over as far as these are known (normalised convolution,
    Knutsson & Westin 1993, doi:10.1109/CVPR.1993.341081): no data, folds and tears get what lies around them.

    Parameters
    ----------
    offsets : ndarray of shape (2, rows, cols)
    weight : ndarray of shape (rows, cols)
        How well each node is known; what is far below `_WELL_KNOWN` is taken from around.
    """
    rows, cols = weight.shape
    held = offsets * weight
    total = float(weight.sum())
    base = np.zeros_like(offsets) + (held.sum(axis=(1, 2)) / max(total, 1e-9))[:, None, None].astype(np.float32)
    sigma = max(rows, cols) / 4
    while sigma > 0.7:
        share = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        mean = np.stack([cv2.GaussianBlur(h, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for h in held])
        mean /= np.maximum(share, 1e-9)
        base += (mean - base) * (share / (share + _WELL_KNOWN))
        sigma /= 2
    return np.asarray(base + (offsets - base) * (weight / (weight + _WELL_KNOWN)), np.float32)


def reduced(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image and its mask (0 or 255) at half the size: the mean of the data; data where half of it is."""
    rows, cols = grey.shape
    pad = (0, rows % 2, 0, cols % 2)
    known = cv2.copyMakeBorder(mask, *pad, cv2.BORDER_CONSTANT, value=(0,)).astype(np.float32) / 255
    image = cv2.copyMakeBorder(grey, *pad, cv2.BORDER_REPLICATE).astype(np.float32) * known
    size = ((cols + 1) // 2, (rows + 1) // 2)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(image, size, interpolation=cv2.INTER_AREA) / np.maximum(weight, 1e-3)
    small = np.where(weight >= 0.5, np.rint(mean), 128).astype(np.uint8)
    return small, ((weight >= 0.5) * 255).astype(np.uint8)


def levels_of(shape: tuple[int, int], largest_px: int, coarsest_px: int) -> tuple[int, ...]:
    """Return the reductions to compare sections at, the coarsest first, each half of the one before.

    Examples
    --------
    >>> levels_of((512, 512), 2048, 60)
    (8, 4, 2, 1)
    >>> levels_of((250, 250), 2048, 60)
    (4, 2, 1)
    >>> levels_of((20000, 30000), 2048, 60)[-1]
    16
    """
    finest = 1
    while -(-max(shape) // finest) > largest_px:
        finest *= 2
    levels = [finest]
    while min(shape) // (2 * levels[0]) >= coarsest_px:
        levels.insert(0, 2 * levels[0])
    return tuple(levels)
