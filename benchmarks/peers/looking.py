"""How a peer looks at a view: resampled, "no data" hidden, padded; and which pixels are worth a point."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box, Crop
from demis_ij.pairs import overlap_crops
from demis_ij.protocols import Matcher, View
from demis_ij.records import Correspondences, Points, Tile

_WINDOW = 17  # px: what a point is judged by
_LEAST_SPREAD = 0.5  # grey values: below, a window shows nothing that could be matched


def weights_file(folder: str, name: str) -> Path:
    """Return a file of weights beside the real images (``DEMIS_IJ_DATA``); ends the program when it is not there."""
    data = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    path = data / folder / name
    if not path.is_file():
        raise SystemExit(f"no weights at {path}: set DEMIS_IJ_DATA to the folder that holds {folder}/{name}")
    return path


@dataclass(frozen=True, eq=False)
class Look:
    """A view as a network sees it.

    Attributes
    ----------
    image : ndarray of shape (H, W), uint8
        Resampled; where there is no data, the mean of the rest.
    worth : ndarray of shape (H, W), bool
        Where there is data, and not of one grey value only.
    crop : Crop
        The way back to px of the view.
    """

    image: NDArray[np.uint8]
    worth: NDArray[np.bool_]
    crop: Crop

    def holds(self, points_xy: Points) -> NDArray[np.bool_]:
        """Return which of (N, 2) points, px of `image`, lie on a pixel that is worth a point."""
        rows, cols = self.worth.shape
        at = np.rint(points_xy).astype(int)
        inside = ((at >= 0) & (at < (cols, rows))).all(1)
        x, y = np.clip(at, 0, (cols - 1, rows - 1)).T
        return np.asarray(inside & self.worth[y, x])


def look(view: View, resolution: float) -> Look:
    """Return a view at another resolution."""
    h, w = view.image.shape
    shape = (max(1, round(h * resolution)), max(1, round(w * resolution)))
    image: NDArray[Any] = view.image.copy()
    mask: NDArray[Any] = view.mask.astype(np.uint8)
    if not view.mask.all():
        image[~view.mask] = round(cv2.mean(image, mask)[0]) if view.mask.any() else 128
    if shape != (h, w):
        way = cv2.INTER_AREA if resolution < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, shape[::-1], interpolation=way)
        mask = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST)
    grey = image.astype(np.float64)
    mean = cv2.blur(grey, (_WINDOW, _WINDOW))
    spread = np.sqrt(np.maximum(cv2.blur(grey * grey, (_WINDOW, _WINDOW)) - mean * mean, 0))
    worth = mask.astype(bool) & (spread > _LEAST_SPREAD)
    return Look(image, worth, Crop.resized(Box(0, 0, w, h), shape))


def padded(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image with its last row and column repeated up to ``shape``; pixels keep their places."""
    h, w = image.shape
    return np.pad(image, ((0, shape[0] - h), (0, shape[1] - w)), mode="edge")


class Within:
    """A matcher that is shown less of one pair of tiles than the package shows: the expected overlap, little more.

    Parameters
    ----------
    matcher : Matcher
        Who is asked.
    fixed, moving : Tile
        The pair.
    shown_px : float
        What the views that will come are grown by, beyond the expected overlap.
    margin_px : float
        What the matcher's own are to be grown by instead.
    placed : Tile, optional
        The moving tile where a first look found it.
    """

    def __init__(
        self,
        matcher: Matcher,
        fixed: Tile,
        moving: Tile,
        shown_px: float,
        margin_px: float,
        placed: Tile | None = None,
    ) -> None:
        self.name = matcher.name
        self._matcher = matcher
        outer = overlap_crops(fixed, moving, shown_px)
        inner = overlap_crops(fixed, placed or moving, margin_px)
        # where the expected overlap alone is too thin to be shown, the matcher sees what all see
        inner = outer if inner is None else inner
        self._boxes = []
        if outer is not None and inner is not None:
            self._boxes = [(i.box & o.box, o.box) for i, o in zip(inner, outer, strict=True)]

    def differs_from(self, other: Within, by_px: int) -> bool:
        """Return whether it shows a side of a view that lies so far, or farther, from where the other's does."""
        ours, theirs = (np.array([(b.x0, b.y0, b.x1, b.y1) for b, _ in w._boxes]).reshape(-1, 4) for w in (self, other))
        return len(ours) == len(theirs) and bool((np.abs(ours - theirs) >= by_px).any())

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        """Return the points seen in both views."""
        first = [np.array([i.x0 - o.x0, i.y0 - o.y0]) for i, o in self._boxes]
        views = []
        for seen, (x, y), (box, _) in zip((fixed, moving), first, self._boxes, strict=True):
            part = slice(y, y + box.height), slice(x, x + box.width)
            views.append(View(np.ascontiguousarray(seen.image[part]), np.ascontiguousarray(seen.mask[part])))
        found = self._matcher(views[0], views[1])
        return Correspondences(found.fixed_xy + first[0], found.moving_xy + first[1], found.score)

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        """Return `__call__` of each pair."""
        return [self(fixed, moving) for fixed, moving in pairs]
