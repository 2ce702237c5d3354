"""Sections of even brightness and contrast, whole or block by block.

What a section's windows look like is told by sums over small cells, which are taken while it is read once; the windows
are Gaussians over these sums. A section that does not fit into memory is read a second time to be evened out, and its
blocks join without a seam, because both times nothing but the pixel and the cells counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
_MIDDLE, _CONTRAST = 128.0, 45.0  # what mean and standard deviation of a window become
_LEAST_CONTRAST = 1 / 85  # of the section's range: flatter than that is noise
_CELLS = 6  # to the standard deviation of a window
_MOST_CELLS = 4096  # along a side: they are held in memory
_NO_DATA = 1e-3  # weight of "no data" against a pixel of data


class Evening:
    """Makes mean and contrast of a section the same everywhere: 128 +- 45 in a Gaussian window of its data.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of the section.
    window_px : float
        Standard deviation of the window.

    Attributes
    ----------
    low, high : float
        Smallest and largest value of the data that was seen; ``inf`` and ``-inf`` before there is any.
    count : int
        Pixels of data that were seen.

    Notes
    -----
    Call `see` for boxes that tile the section, then `evened` for any boxes.
    """

    def __init__(self, shape: tuple[int, int], window_px: float) -> None:
        self.shape, self.window_px = shape, float(window_px)
        self.low, self.high, self.count = np.inf, -np.inf, 0
        self._step = max(1, int(window_px / _CELLS), ceil(max(shape) / _MOST_CELLS))  # px from cell to cell
        self._sums = np.zeros((3, *(ceil(n / self._step) for n in shape)))  # of 1, of grey, of its square
        self._window: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def see(self, image: NDArray[Any], mask: Mask, box: Box) -> None:
        """Take note of the grey values in a box of the section, and of where they are data."""
        values = image[mask]
        if not values.size:
            return
        self.count += values.size
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        grey = np.where(mask, image, 0).astype(np.float64)
        rows, cols = (range(a // self._step, ceil(b / self._step)) for a, b in ((box.y0, box.y1), (box.x0, box.x1)))
        top = [max(k * self._step - box.y0, 0) for k in rows]
        left = [max(k * self._step - box.x0, 0) for k in cols]
        for total, plane in zip(self._sums, (mask.astype(np.float64), grey, grey**2), strict=True):
            cells = np.add.reduceat(np.add.reduceat(plane, top, axis=0), left, axis=1) if self._step > 1 else plane
            total[rows.start : rows.stop, cols.start : cols.stop] += cells
        self._window = None

    def evened(self, image: NDArray[Any], mask: Mask, box: Box) -> Grey:
        """Return the box of the evened section; 128 where there is no data.

        Parameters
        ----------
        image : ndarray of shape ``box.shape``
            Grey values.
        mask : ndarray of the same shape, bool
            Where they are data.
        box : Box
            Where in the section that is.
        """
        if not self.count:
            return np.full(image.shape, int(_MIDDLE), np.uint8)
        if self._window is None:
            self._window = self._windows()
        mean, gain = (self._spread(a, box) for a in self._window)
        grey = np.where(mask, (image.astype(np.float32) - self.low) / self._range, 0).astype(np.float32)
        return np.where(mask, np.clip(np.rint(_MIDDLE + (grey - mean) * gain), 0, 255), _MIDDLE).astype(np.uint8)

    @property
    def _range(self) -> float:
        return max(self.high - self.low, 1e-12)

    def _windows(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and gain at each cell, for grey values of 0 to 1."""
        area = self._step**2
        known, grey, square = self._sums / area
        square = (square - 2 * self.low * grey + self.low**2 * known) / self._range**2
        grey = (grey - self.low * known) / self._range
        weight = self._blurred(known) + _NO_DATA
        mean = self._blurred(grey) / weight
        spread = np.maximum(square - 2 * mean * grey + mean**2 * known, 0)
        variance = self._blurred(spread) / weight
        gain = _CONTRAST / np.sqrt(np.maximum(variance, _LEAST_CONTRAST**2))
        return mean.astype(np.float32), gain.astype(np.float32)

    def _blurred(self, cells: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(cells, (0, 0), self.window_px / self._step), np.float64)

    def _spread(self, cells: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
        """Return cells at each pixel of a box, linearly between their centres."""
        if self._step == 1:
            return cells[box.slices]
        down, across = (
            np.clip((np.arange(a, b) + 0.5) / self._step - 0.5, 0, n - 1).astype(np.float32)
            for (a, b), n in zip(((box.y0, box.y1), (box.x0, box.x1)), cells.shape, strict=True)
        )
        lines = _between(cells, down)
        return np.ascontiguousarray(_between(np.ascontiguousarray(lines.T), across).T)


def _between(cells: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of an array at places between them."""
    before = np.minimum(at.astype(np.intp), len(cells) - 1)
    after = np.minimum(before + 1, len(cells) - 1)
    share = (at - before)[:, None]
    return np.asarray(cells[before] * (1 - share) + cells[after] * share, np.float32)


def evened(image: NDArray[Any], mask: Mask, window_px: float) -> Grey:
    """Return an image whose mean and contrast are the same everywhere: 128 +- 45 in a Gaussian window of the data.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values.
    mask : ndarray of shape (H, W), bool
        Where they are data; the result is 128 elsewhere.
    window_px : float
        Standard deviation of the window.
    """
    rows, cols = np.shape(image)
    evening, whole = Evening((rows, cols), window_px), Box(0, 0, cols, rows)
    evening.see(image, mask, whole)
    return evening.evened(image, mask, whole)


def blocks_of(shape: tuple[int, int], side: int) -> Iterator[Box]:
    """Yield the boxes of ``side`` px, smaller at the far edges, that tile an image of ``shape``, row by row."""
    for y in range(0, shape[0], side):
        for x in range(0, shape[1], side):
            yield Box(x, y, min(x + side, shape[1]), min(y + side, shape[0]))
