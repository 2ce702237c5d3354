"""One affine map for the whole section: key points first, then the map that correlates best."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.looks import Grey, Mask, check_sizes, data_of, evened, is_blank, unknown
from demis_ij.fields import at_nodes
from demis_ij.geometry import estimate
from demis_ij.records import Affine, Field

_STRIDE = 32  # px; an affine map is exact at any distance of its nodes
_RATIO = 0.85  # Lowe's ratio test; neighbouring sections are less alike than two views of one
_AGREE_PX = 0.02  # of the shorter side: how far a match may be off the map
_LEAST_INLIERS = 8
_AREA = (0.25, 4.0)  # what no section is shrunk or stretched by: such a map is a mistake


class AffineAligner:
    """SIFT and a robust affine fit, finished by ECC; the best of what SIFT, the identity and ECC from each say.

    Parameters
    ----------
    window_px : float
        Standard deviation of the window in which brightness and contrast are evened out; 0 is a thirteenth of the
        shorter side.
    blur_px : float
        Standard deviation of what the sections are blurred with before they are correlated.
    iterations : int
        Most steps of ECC.

    Notes
    -----
    Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94. ECC (enhanced correlation coefficient): Evangelidis & Psarakis
    2008, doi:10.1109/TPAMI.2008.113.
    """

    name = "affine"

    def __init__(self, window_px: float = 0.0, blur_px: float = 2.0, iterations: int = 100) -> None:
        self.window_px = window_px
        self.blur_px = blur_px
        self.iterations = iterations

    def __call__(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``; NaN when nothing is found."""
        shape = check_sizes(fixed, moving, fixed_mask, moving_mask)
        window = self.window_px or min(shape) / 13
        data = [data_of(fixed, fixed_mask), data_of(moving, moving_mask)]
        if any(is_blank(i, m) for i, m in zip((fixed, moving), data, strict=True)):
            return unknown(shape, _STRIDE)
        grey = [evened(i, m, window) for i, m in zip((fixed, moving), data, strict=True)]
        starts = [s for s in (_by_key_points(grey, data), Affine()) if s is not None]
        finished = [f for s in starts if (f := self._correlated(grey, data, s)) is not None]
        tried = [m for m in (*starts, *finished) if _AREA[0] < m.a * m.d - m.b * m.c < _AREA[1]]
        best = max(tried, key=lambda m: _likeness(grey, data, m))
        return unknown(shape, _STRIDE) if _likeness(grey, data, best) <= 0 else at_nodes(best, shape, _STRIDE)

    def _correlated(self, grey: list[Grey], data: list[Mask], start: Affine) -> Affine | None:
        """Return the map that ECC finds from a start; None when it does not converge."""
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, self.iterations, 1e-5)
        size = 2 * round(3 * self.blur_px) + 1
        first = np.array([[start.a, start.b, start.tx], [start.c, start.d, start.ty]], np.float32)
        mask = data[1].astype(np.uint8)
        try:
            _, found = cv2.findTransformECC(grey[0], grey[1], first, cv2.MOTION_AFFINE, stop, mask, size)
        except cv2.error:  # its word for "no convergence"
            return None
        (a, b, tx), (c, d, ty) = np.asarray(found, np.float64).tolist()
        return Affine(a, b, c, d, tx, ty)


def _by_key_points(grey: list[Grey], data: list[Mask]) -> Affine | None:
    """Return the affine map that most SIFT matches agree with; None when too few do."""
    sift = cv2.SIFT.create(contrastThreshold=0.02)
    points, descriptors = [], []
    for image, mask in zip(grey, data, strict=True):
        inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8))
        keys, described = sift.detectAndCompute(image, inner)
        if len(keys) < _LEAST_INLIERS:
            return None
        points.append(np.array([k.pt for k in keys], np.float64))
        descriptors.append(described)
    both = [cv2.BFMatcher().knnMatch(one, two, k=2) for one, two in (descriptors, descriptors[::-1])]
    there, back = ({m.queryIdx: m.trainIdx for m, n in pairs if m.distance < _RATIO * n.distance} for pairs in both)
    same = np.array([(i, j) for i, j in there.items() if back.get(j) == i], np.intp).reshape(-1, 2)
    found = estimate(points[0][same[:, 0]], points[1][same[:, 1]], "affine", max(2.0, _AGREE_PX * min(grey[0].shape)))
    if found is None or found.inlier.sum() < _LEAST_INLIERS:
        return None
    return Affine.from_matrix(found.to_fixed)


def _likeness(grey: list[Grey], data: list[Mask], pull: Affine) -> float:
    """Return the correlation of the fixed section and the moving one, warped; 0 when they share too little."""
    matrix = np.array([[pull.a, pull.b, pull.tx], [pull.c, pull.d, pull.ty]])
    rows, cols = grey[0].shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(grey[1], matrix, (cols, rows), flags=flags).astype(np.float32)
    shared = data[0] & (cv2.warpAffine(data[1].astype(np.float32), matrix, (cols, rows), flags=flags) > 0.99)
    if shared.mean() < 0.1:
        return 0.0
    one, two = (p[shared] - p[shared].mean() for p in (grey[0].astype(np.float32), image))
    size = float(np.sqrt((one**2).sum() * (two**2).sum()))
    return float((one * two).sum()) / size if size > 0 else 0.0
