"""Sub-pixel refinement: points made as exact as the images allow, once a transform is known to a pixel or two.

Both views are warped half way towards each other, so that neither is favoured (swapping the views swaps the answer),
normalised by their local mean and contrast, and compared by a dense Lucas-Kanade step (Lucas & Kanade 1981; Baker &
Matthews 2004, doi:10.1023/B:VISI.0000011205.11775.fd) whose sums run over square windows. The best-textured place of
each cell of a grid is read off, the transform is fitted anew, and the views are warped again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import geometry
from demis_ij.protocols import View
from demis_ij.records import Affine, Correspondences

_Plane = NDArray[Any]  # float32


@dataclass(frozen=True)
class _Scale:
    """One way to look: low-pass (sigma, px), window side and the spacing of the points (px)."""

    sigma: float
    window: int
    spacing: int


_FINE = _Scale(1.0, 31, 32)
_COARSE = _Scale(3.0, 81, 56)
_MAX_STEP_PX = 3.0  # a point that wants to go farther is on something else
_MAX_SIGMA_PX = 0.7  # a point whose own noise leaves it less certain is left out


@dataclass(frozen=True, eq=False)
class Middle:
    """Both views, low-passed and warped to the frame half way between them, and the maps from there."""

    fixed: _Plane
    moving: _Plane
    valid: NDArray[np.bool_]
    to_fixed: Affine
    to_moving: Affine


def refine(fixed: View, moving: View, start: Correspondences, *, rounds: int = 3) -> Correspondences:
    """Return exact points spread over the overlap of two views.

    Parameters
    ----------
    fixed, moving : View
        Full-resolution crops.
    start : Correspondences
        Agreeing points, px of the views, off by up to about 3 px; at least two. They only serve to fit the first
        transform (affine where they hold one, else rigid).
    rounds : int
        How often the views are warped.

    Returns
    -------
    Correspondences
        New points, about one each 32 px; the score is the local correlation. Empty when the views do not resemble
        each other there.
    """
    if len(start) < 2:
        return Correspondences.none()
    for scale, first in ((_FINE, replace(_FINE, sigma=2 * _FINE.sigma)), (_COARSE, _COARSE)):
        points = start
        for round_ in range(rounds):
            # a wider look first: it draws points in from farther away
            look = first if round_ == 0 else scale
            middle = half_way(fixed, moving, _first_transform(points), look.sigma)
            points = Correspondences.none() if middle is None else _exact_points(middle, look)
            if len(points) < 6:
                break
        if len(points) >= 6:
            return points
    return Correspondences.none()


def _first_transform(points: Correspondences) -> Affine:
    """Return moving to fixed: affine where the points hold one to the pixel, else rigid."""
    rigid = Affine.from_matrix(geometry.fit_rigid(points.moving_xy, points.fixed_xy))
    if len(points) < 12:
        return rigid
    thin = np.sqrt(np.linalg.eigvalsh(np.cov(points.moving_xy.T))[0])
    affine = Affine.from_matrix(geometry.fit_affine(points.moving_xy, points.fixed_xy))
    error = np.sqrt(((affine(points.moving_xy) - points.fixed_xy) ** 2).sum(1).mean())
    return affine if 3 * error / np.sqrt(len(points)) < 0.02 * thin else rigid


def _half(transform: Affine) -> Affine:
    """Return the affine ``h`` with ``h @ h == transform`` (square root of a 2 x 2 matrix near the identity)."""
    linear = transform.matrix[:2, :2]
    root_det = np.sqrt(np.linalg.det(linear))
    half = (linear + root_det * np.eye(2)) / np.sqrt(np.trace(linear) + 2 * root_det)
    shift = np.linalg.solve(half + np.eye(2), [transform.tx, transform.ty])
    return Affine.from_matrix(np.column_stack([half, shift]))


def half_way(fixed: View, moving: View, to_fixed: Affine, sigma: float) -> Middle | None:
    """Return both views, low-passed (sigma, px), in the frame half way; None when they share less than 16 px there."""
    half = _half(to_fixed)
    back = half.inverse
    h, w = fixed.image.shape
    mh, mw = moving.image.shape
    seen_f = back(np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], float))
    seen_m = half(np.array([[0, 0], [mw - 1, 0], [mw - 1, mh - 1], [0, mh - 1]], float))
    low = np.ceil(np.maximum(seen_f.min(0), seen_m.min(0)))
    high = np.floor(np.minimum(seen_f.max(0), seen_m.max(0)))
    cols, rows = (int(v) for v in high - low + 1)
    if min(cols, rows) < 16:
        return None
    origin = Affine.translation(low[0], low[1])
    pull_f, pull_m = half @ origin, back @ origin
    planes = []
    valid: NDArray[Any] = np.ones((rows, cols), np.uint8)
    for seen, pull in ((fixed, pull_f), (moving, pull_m)):
        smooth = cv2.GaussianBlur(seen.image.astype(np.float32), (0, 0), sigma)
        flags = cv2.WARP_INVERSE_MAP
        planes.append(cv2.warpAffine(smooth, pull.matrix[:2], (cols, rows), flags=flags | cv2.INTER_LINEAR))
        inside: NDArray[Any] = seen.mask.astype(np.uint8)
        reach = 2 * math.ceil(2.5 * sigma) + 3  # what the low-pass and the interpolation mix with the outside
        inside = cv2.erode(inside, np.ones((reach, reach), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        valid = np.minimum(
            valid, cv2.warpAffine(inside, pull.matrix[:2], (cols, rows), flags=flags | cv2.INTER_NEAREST)
        )
    return Middle(planes[0], planes[1], valid.astype(bool), pull_f, pull_m)


def agreement(fixed: View, moving: View, to_fixed: Affine) -> float | None:
    """Return how far the likeness of two views under a transform stands out among wrong shifts of it.

    The correlation of the whole overlap, low-passed (sigma 4 px) so that the tiles' own noise does not hide weak
    structure, as Fisher's z (the inverse hyperbolic tangent: small strips correlate by chance, but not near 1), divided
    by the root mean square of the same at some 60 shifts of 24 px and more: about 1 for views that do not show the
    same, 4 and more when they do. (What ashlar learns from pairs that do not overlap, learnt from the
    pair itself.) None when they share too little to tell.
    """
    middle = half_way(fixed, moving, to_fixed, 4.0)
    if middle is None:
        return None
    valid = middle.valid[::4, ::4].astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(valid, (0, 0), 8), 1e-3)

    def band(plane: _Plane) -> _Plane:
        return (plane - cv2.GaussianBlur(plane * valid, (0, 0), 8) / share) * valid

    one, two = band(middle.fixed[::4, ::4]), band(middle.moving[::4, ::4])
    here = _ncc(one, two, valid, 0, 0)
    rows, cols = valid.shape
    along = max(rows, cols)
    elsewhere = []
    for far in range(6, along // 2, max(1, along // 32)):
        for across in (-4, 0, 4):
            for step in (-far, far):
                dy, dx = (step, across) if rows > cols else (across, step)
                elsewhere.append(_ncc(one, two, valid, dy, dx))
    wrong = np.arctanh(np.clip([v for v in elsewhere if v is not None], -0.999, 0.999))
    if here is None or len(wrong) < 12:
        return None
    return float(math.atanh(min(here, 0.999)) / max(1e-6, np.sqrt((wrong**2).mean())))


def _ncc(one: _Plane, two: _Plane, valid: _Plane, dy: int, dx: int) -> float | None:
    """Return the correlation of two planes of mean about zero, the second shifted; None when little is shared."""
    rows, cols = valid.shape
    a = (slice(max(0, dy), rows + min(0, dy)), slice(max(0, dx), cols + min(0, dx)))
    b = (slice(max(0, -dy), rows + min(0, -dy)), slice(max(0, -dx), cols + min(0, -dx)))
    both = valid[a] * valid[b]
    if both.sum() < 0.3 * valid.sum() or both.sum() < 64:
        return None
    p, q = one[a] * both, two[b] * both
    norm = math.sqrt(float((p * p).sum()) * float((q * q).sum()))
    return float((p * q).sum()) / norm if norm > 0 else None


def _exact_points(middle: Middle, scale: _Scale) -> Correspondences:
    """Return the points of the best-textured places, moved by one Lucas-Kanade step, px of the views."""
    size = (scale.window, scale.window)
    weight = middle.valid.astype(np.float32)

    def mean(plane: _Plane) -> _Plane:
        return cv2.boxFilter(plane, cv2.CV_32F, size, borderType=cv2.BORDER_CONSTANT)

    full = np.maximum(mean(weight), 1e-6)
    normal = []
    for plane in (middle.fixed, middle.moving):
        centre = mean(plane * weight) / full
        spread = np.sqrt(np.maximum(mean(plane * plane * weight) / full - centre * centre, 1e-2))
        normal.append((plane - centre) / spread)
    both = (normal[0] + normal[1]) / 2
    gx = cv2.Sobel(both, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8) * weight
    gy = cv2.Sobel(both, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8) * weight
    difference = (normal[0] - normal[1]) * weight
    xx, xy, yy = mean(gx * gx), mean(gx * gy), mean(gy * gy)
    bx, by = mean(gx * difference), mean(gy * difference)
    noise, likeness = mean(difference * difference) / full, mean(normal[0] * normal[1] * weight) / full
    strength = (xx + yy - np.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / 2  # the smaller eigenvalue
    strength[full < 0.7 * full.max()] = 0  # a thin strip fills no window
    return _read_off(middle, scale, strength, (xx, xy, yy, bx, by, noise, likeness))


def _read_off(middle: Middle, scale: _Scale, strength: _Plane, sums: tuple[_Plane, ...]) -> Correspondences:
    """Return one point for each cell of a grid, where the texture is strongest, if it is certain enough."""
    rows, cols = strength.shape
    # a small overlap has few cells: they are smaller there, down to half a window of new pixels each
    fair = math.sqrt(middle.valid.sum() / 24)
    step = round(min(scale.spacing, max(scale.spacing / 2, fair)))
    at = []
    for r in range(0, rows, step):
        for c in range(0, cols, step):
            cell = strength[r : r + step, c : c + step]
            best = int(cell.argmax())
            at.append((r + best // cell.shape[1], c + best % cell.shape[1]))
    row, col = np.array(at).T
    xx, xy, yy, bx, by, noise, likeness = (s[row, col].astype(np.float64) for s in sums)
    det = xx * yy - xy * xy
    good = (strength[row, col] > 1e-6) & (det > 1e-12)
    det = np.where(good, det, 1)
    # fixed(u + d/2) ~ moving(u - d/2)  =>  sum g g' d = -sum g (fixed - moving)
    dx, dy = -(yy * bx - xy * by) / det, -(xx * by - xy * bx) / det
    left = np.maximum(noise - (xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy), 1e-6)
    independent = scale.window**2 / max(1.0, 4 * np.pi * scale.sigma**2)  # pixels the low-pass left independent
    sigma = np.sqrt(np.where(good, left * (xx + yy) / det / independent, np.inf))
    good &= (sigma < _MAX_SIGMA_PX) & (np.hypot(dx, dy) < _MAX_STEP_PX) & (likeness > 0.1)
    u = np.stack([col, row], 1)[good].astype(np.float64)
    d = np.stack([dx, dy], 1)[good] / 2
    return Correspondences(middle.to_fixed(u + d), middle.to_moving(u - d), np.clip(likeness[good], 0, 1))
