"""SIFT: the paper's baseline, done well.

Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94; RootSIFT: Arandjelovic & Zisserman 2012,
doi:10.1109/CVPR.2012.6248018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import Box, Crop
from demis_ij.protocols import View
from demis_ij.records import Correspondences, Points

_Descriptors = NDArray[np.float32]
_CHUNK = 4096  # rows of the similarity matrix held at once
_ROUNDING = 1e-6  # nearer to 1 than this, likenesses are the same: single precision sums in a machine's own order


class SiftMatcher:
    """SIFT key points, matched both ways with a ratio test.

    Parameters
    ----------
    resolution : float
        Scale at which the views are looked at.
    ratio : float
        The best match must be nearer than this share of the second best's distance, seen from either image.
    contrast : float
        OpenCV's contrast threshold.
    features : int
        At most so many key points a view, the strongest; 0 keeps all.
    border_px : int
        Key points nearer to "no data" than this, px of the view, are left out: their descriptor would see the edge.
    thinnest_px : int
        A view whose shorter side would become less than this is looked at in more detail, up to full resolution:
        a thin strip has too few key points to lose.
    """

    name = "sift"

    def __init__(
        self,
        resolution: float = 0.5,
        ratio: float = 0.75,
        contrast: float = 0.03,
        features: int = 0,
        border_px: int = 8,
        thinnest_px: int = 64,
    ) -> None:
        self.resolution = resolution
        self.ratio = ratio
        self.features = features
        self.border_px = border_px
        self.contrast = contrast
        self.thinnest_px = thinnest_px

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        """Return the points seen in both views, px of the views."""
        thin = min(*fixed.image.shape, *moving.image.shape)
        resolution = min(1.0, max(self.resolution, self.thinnest_px / thin))
        fixed_xy, fixed_d = self._describe(fixed, resolution)
        moving_xy, moving_d = self._describe(moving, resolution)
        if len(fixed_xy) < 2 or len(moving_xy) < 2:
            return Correspondences.none()
        rows, cols, score = match_descriptors(fixed_d, moving_d, self.ratio)
        return _without_doubles(Correspondences(fixed_xy[rows], moving_xy[cols], score))

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        """Return `__call__` of each pair."""
        return [self(fixed, moving) for fixed, moving in pairs]

    def _describe(self, view: View, resolution: float) -> tuple[Points, _Descriptors]:
        """Return key points, (N, 2) px of the view, and their RootSIFT descriptors, (N, 128) of length 1."""
        none = np.empty((0, 2)), np.empty((0, 128), np.float32)
        rows, cols = (max(1, round(n * resolution)) for n in view.image.shape)
        if min(rows, cols) < 16 or not view.mask.any():
            return none
        crop = Crop.resized(Box.of_shape((view.image.shape[0], view.image.shape[1])), (rows, cols))
        image: NDArray[Any] = view.image
        mask: NDArray[Any] = view.mask.astype(np.uint8)
        if not view.mask.all():
            mask = cv2.erode(mask, np.ones((2 * self.border_px + 1,) * 2, np.uint8))  # the view's own rim stays
        if (rows, cols) != view.image.shape:
            image = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, (cols, rows), interpolation=cv2.INTER_NEAREST)
        # precise upscaling: without it OpenCV's key points lie a quarter of a pixel off
        sift = cv2.SIFT.create(nfeatures=self.features, contrastThreshold=self.contrast, enable_precise_upscale=True)
        points, descriptors = sift.detectAndCompute(image, mask)
        if not len(points):
            return none
        d = np.asarray(descriptors, np.float32)
        d = np.sqrt(d / np.maximum(d.sum(1, keepdims=True), 1e-12))
        return crop.to_tile(np.array([p.pt for p in points], np.float64)), d


def match_descriptors(
    fixed: _Descriptors, moving: _Descriptors, ratio: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return rows of ``fixed``, rows of ``moving`` and scores of the matches that are best both ways.

    Parameters
    ----------
    fixed, moving : ndarray of shape (N, 128) and (M, 128)
        Descriptors of length 1; at least two each.
    ratio : float
        Largest allowed distance of the best over that of the second best, from either side.

    Returns
    -------
    tuple of ndarray of shape (K,)
        Indices, and ``1 - worse of the two ratios`` as score.
    """
    best_f, ratio_f = _best_and_ratio(fixed, moving)
    best_m, ratio_m = _best_and_ratio(moving, fixed)
    rows = np.arange(len(fixed))
    worse = np.maximum(ratio_f, ratio_m[best_f])
    keep = (best_m[best_f] == rows) & (worse < ratio)
    return rows[keep], best_f[keep], 1.0 - worse[keep]


def _best_and_ratio(queries: _Descriptors, others: _Descriptors) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return for each query the nearest other and the ratio of its distance to the second nearest's."""
    best, ratio = [], []
    for start in range(0, len(queries), _CHUNK):
        part = queries[start : start + _CHUNK]
        likeness = part @ others.T
        row = np.arange(len(part))
        first = likeness.argmax(1)
        top = likeness[row, first].astype(np.float64)
        likeness[row, first] = -2
        second = likeness.max(1).astype(np.float64)
        best.append(first)
        ratio.append(np.sqrt(np.maximum(1 - top, _ROUNDING) / np.maximum(1 - second, _ROUNDING)))
    return np.concatenate(best), np.minimum(np.concatenate(ratio), 1.0)


def _without_doubles(found: Correspondences) -> Correspondences:
    """Return the matches less those that say the same twice: a key point with two orientations counts once."""
    if not len(found):
        return found
    order = np.argsort(-found.score, kind="stable")
    rounded = np.rint(np.hstack([found.fixed_xy, found.moving_xy])[order] * 2).astype(np.int64)
    _, first = np.unique(rounded, axis=0, return_index=True)
    return found.where(np.sort(order[first]))
