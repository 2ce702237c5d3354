"""Plane geometry: fits, boxes, crops and robust estimation.

Every fit maps ``moving_xy`` onto ``fixed_xy`` and returns a (3, 3) homogeneous matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.records import Affine, Points

Model = Literal["translation", "rigid", "similarity", "affine", "homography"]
MODELS: tuple[Model, ...] = ("translation", "rigid", "similarity", "affine", "homography")
MINIMUM_POINTS: dict[str, int] = {
    "translation": 1,
    "rigid": 2,
    "similarity": 2,
    "affine": 3,
    "homography": 4,
}
DEGREES_OF_FREEDOM: dict[str, int] = {
    "translation": 2,
    "rigid": 3,
    "similarity": 4,
    "affine": 6,
    "homography": 8,
}


# --- boxes and crops ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Box:
    """Whole pixels ``x0 <= x < x1``, ``y0 <= y < y1``; empty when a side is not positive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Columns, at least 0."""
        return max(0, self.x1 - self.x0)

    @property
    def height(self) -> int:
        """Rows, at least 0."""
        return max(0, self.y1 - self.y0)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.height, self.width

    @property
    def is_empty(self) -> bool:
        """Whether no pixel lies inside."""
        return self.width == 0 or self.height == 0

    def __and__(self, other: Box) -> Box:
        """Return the common pixels."""
        return Box(
            max(self.x0, other.x0),
            max(self.y0, other.y0),
            min(self.x1, other.x1),
            min(self.y1, other.y1),
        )

    def grown(self, margin_px: int) -> Box:
        """Return the box with a margin on every side."""
        return Box(self.x0 - margin_px, self.y0 - margin_px, self.x1 + margin_px, self.y1 + margin_px)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in a ``[row, col]`` array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @classmethod
    def of_shape(cls, shape: tuple[int, int]) -> Box:
        """Return the box of a whole image of (rows, cols)."""
        return cls(0, 0, shape[1], shape[0])

    @classmethod
    def around(cls, points_xy: Points) -> Box:
        """Return the smallest box whose pixels' areas hold all points."""
        p = np.asarray(points_xy, float)
        lo = np.floor(p.min(0) + 0.5).astype(int)
        hi = np.ceil(p.max(0) + 0.5).astype(int)
        return cls(int(lo[0]), int(lo[1]), int(hi[0]), int(hi[1]))


@dataclass(frozen=True)
class Crop:
    """A box cut out of a tile and resampled; the only way from a matcher's pixels back to the tile's.

    Both frames have pixel centres at integers, hence the halves:
    ``tile = (crop + 0.5) / scale - 0.5 + origin``, per axis.

    Attributes
    ----------
    box : Box
        What was cut, whole px of the tile.
    scale_xy : tuple of float
        Size of the resampled crop over the size of the box, per axis (the exact ratio of whole px).
    """

    box: Box
    scale_xy: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def resized(cls, box: Box, shape: tuple[int, int]) -> Crop:
        """Return the crop of ``box`` resampled to (rows, cols)."""
        return cls(box, (shape[1] / box.width, shape[0] / box.height))

    def to_tile(self, crop_xy: Points) -> Points:
        """Map (N, 2) px of the resampled crop to px of the tile."""
        s = np.asarray(self.scale_xy)
        return np.asarray((np.asarray(crop_xy, np.float64) + 0.5) / s - 0.5 + (self.box.x0, self.box.y0))

    def from_tile(self, tile_xy: Points) -> Points:
        """Map (N, 2) px of the tile to px of the resampled crop."""
        s = np.asarray(self.scale_xy)
        return np.asarray((np.asarray(tile_xy, np.float64) - (self.box.x0, self.box.y0) + 0.5) * s - 0.5)


# --- fits -----------------------------------------------------------------------------------------------------------


def apply(matrix: NDArray[np.float64], points_xy: Points) -> Points:
    """Map (N, 2) points by a (3, 3) homogeneous matrix."""
    p = np.asarray(points_xy, np.float64)
    q = p @ matrix[:2, :2].T + matrix[:2, 2]
    w = p @ matrix[2, :2] + matrix[2, 2]
    return np.asarray(q / w[..., None])


def _centred(
    moving_xy: Points, fixed_xy: Points, weight: NDArray[np.float64] | None
) -> tuple[Points, Points, Points, Points, NDArray[np.float64]]:
    m, f = np.asarray(moving_xy, np.float64), np.asarray(fixed_xy, np.float64)
    w = np.ones(len(m)) if weight is None else np.asarray(weight, np.float64)
    total = w.sum()
    mc, fc = (w @ m) / total, (w @ f) / total
    return m - mc, f - fc, mc, fc, w


def _from_linear(linear: NDArray[np.float64], mc: Points, fc: Points) -> NDArray[np.float64]:
    out = np.eye(3)
    out[:2, :2] = linear
    out[:2, 2] = fc - linear @ mc
    return out


def fit_translation(
    moving_xy: Points, fixed_xy: Points, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the least-squares shift, from one point or more."""
    _, _, mc, fc, _ = _centred(moving_xy, fixed_xy, weight)
    return _from_linear(np.eye(2), mc, fc)


def fit_rigid(moving_xy: Points, fixed_xy: Points, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the least-squares turn and shift, from two points or more (closed form of the 2-D Procrustes problem)."""
    m, f, mc, fc, w = _centred(moving_xy, fixed_xy, weight)
    cos_part = float(w @ (m * f).sum(1))
    sin_part = float(w @ (m[:, 0] * f[:, 1] - m[:, 1] * f[:, 0]))
    norm = np.hypot(cos_part, sin_part)
    c, s = (1.0, 0.0) if norm == 0 else (cos_part / norm, sin_part / norm)
    return _from_linear(np.array([[c, -s], [s, c]]), mc, fc)


def fit_similarity(
    moving_xy: Points, fixed_xy: Points, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the least-squares turn, scale and shift, from two different points or more."""
    m, f, mc, fc, w = _centred(moving_xy, fixed_xy, weight)
    size = float(w @ (m * m).sum(1))
    if size == 0:
        return _from_linear(np.eye(2), mc, fc)
    a = float(w @ (m * f).sum(1)) / size
    b = float(w @ (m[:, 0] * f[:, 1] - m[:, 1] * f[:, 0])) / size
    return _from_linear(np.array([[a, -b], [b, a]]), mc, fc)


def fit_affine(moving_xy: Points, fixed_xy: Points, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the least-squares affine; points on one line leave the free direction unchanged in length."""
    m, f, mc, fc, w = _centred(moving_xy, fixed_xy, weight)
    root = np.sqrt(w)[:, None]
    # departures from the best similarity, so that the minimum-norm answer of a degenerate set is that similarity
    start = fit_similarity(m, f, w)[:2, :2]
    extra, *_ = np.linalg.lstsq(root * m, root * (f - m @ start.T), rcond=1e-9)
    return _from_linear(start + extra.T, mc, fc)


def fit_homography(
    moving_xy: Points, fixed_xy: Points, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the homography by the normalised DLT (Hartley 1997, doi:10.1109/34.601246), from four points or more."""
    m, f, mc, fc, w = _centred(moving_xy, fixed_xy, weight)
    scale_m = np.sqrt(2) / max(1e-12, float(np.sqrt((m**2).sum(1)).mean()))
    scale_f = np.sqrt(2) / max(1e-12, float(np.sqrt((f**2).sum(1)).mean()))
    p, q, root = m * scale_m, f * scale_f, np.sqrt(w)
    zero, one = np.zeros(len(p)), np.ones(len(p))
    rows_x = np.stack(
        [p[:, 0], p[:, 1], one, zero, zero, zero, -q[:, 0] * p[:, 0], -q[:, 0] * p[:, 1], -q[:, 0]],
        1,
    )
    rows_y = np.stack(
        [zero, zero, zero, p[:, 0], p[:, 1], one, -q[:, 1] * p[:, 0], -q[:, 1] * p[:, 1], -q[:, 1]],
        1,
    )
    system = np.concatenate([rows_x * root[:, None], rows_y * root[:, None]])
    h = np.linalg.svd(system.T @ system)[2][-1].reshape(3, 3)
    to_norm = np.array([[scale_m, 0, -scale_m * mc[0]], [0, scale_m, -scale_m * mc[1]], [0, 0, 1]])
    from_norm = np.array([[1 / scale_f, 0, fc[0]], [0, 1 / scale_f, fc[1]], [0, 0, 1]])
    out = from_norm @ h @ to_norm
    return np.asarray(out / out[2, 2])


FITS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "translation": fit_translation,
    "rigid": fit_rigid,
    "similarity": fit_similarity,
    "affine": fit_affine,
    "homography": fit_homography,
}


def nearest_affine(matrix: NDArray[np.float64], at_xy: Points) -> Affine:
    """Return the affine that agrees with a homography best at the points ``at_xy`` (N, 2)."""
    if np.allclose(matrix[2], (0, 0, 1), atol=1e-15):
        return Affine.from_matrix(matrix)
    return Affine.from_matrix(fit_affine(at_xy, apply(matrix, at_xy)))


# --- robust estimation ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Estimate:
    """A transform found among wrong points.

    Attributes
    ----------
    to_fixed : ndarray of shape (3, 3)
        Moving to fixed.
    inlier : ndarray of shape (N,), bool
        Who agrees.
    residual_px : float
        Root mean square distance of the inliers.
    """

    to_fixed: NDArray[np.float64]
    inlier: NDArray[np.bool_]
    residual_px: float


_METHODS = {"ransac": cv2.RANSAC, "usac": cv2.USAC_MAGSAC, "lmeds": cv2.LMEDS}
ESTIMATORS: tuple[str, ...] = tuple(_METHODS)
"""Robust estimators by name."""


def _hypothesis(
    moving_xy: Points, fixed_xy: Points, model: str, max_error_px: float, method: str
) -> NDArray[np.float64] | None:
    """Return a first transform by OpenCV's robust estimators, None when they find none."""
    if model == "translation" or len(moving_xy) < max(3, MINIMUM_POINTS[model]):
        return _best_shift(moving_xy, fixed_xy, max_error_px)
    m = moving_xy.astype(np.float64).reshape(-1, 1, 2)
    f = fixed_xy.astype(np.float64).reshape(-1, 1, 2)
    cv2.setRNGSeed(7)
    flag = _METHODS[method]
    found: Any  # None, whatever OpenCV's stubs say, when nothing was found
    if model == "homography":
        found, _ = cv2.findHomography(m, f, flag, max_error_px, maxIters=2000, confidence=0.999)
        return None if found is None else np.asarray(found, np.float64)
    if model == "affine":
        found, _ = cv2.estimateAffine2D(
            m, f, method=flag, ransacReprojThreshold=max_error_px, maxIters=2000, confidence=0.999
        )
    else:  # OpenCV's partial affine is a similarity; the scale is dropped in the finish
        partial = cv2.RANSAC if method == "usac" else flag
        found, _ = cv2.estimateAffinePartial2D(
            m,
            f,
            method=partial,
            ransacReprojThreshold=max_error_px,
            maxIters=2000,
            confidence=0.999,
        )
    if found is None or not np.isfinite(found).all():
        return None
    return np.vstack([np.asarray(found, np.float64), (0, 0, 1)])


def _best_shift(moving_xy: Points, fixed_xy: Points, max_error_px: float) -> NDArray[np.float64]:
    """Return the shift that most points agree with: exhaustive, one hypothesis a point (at most 500)."""
    shifts = fixed_xy - moving_xy
    step = max(1, len(shifts) // 500)
    tried = shifts[::step]
    votes = (np.linalg.norm(shifts[None] - tried[:, None], axis=2) < max_error_px).sum(1)
    out = np.eye(3)
    out[:2, 2] = tried[int(np.argmax(votes))]
    return out


def estimate(
    moving_xy: Points,
    fixed_xy: Points,
    model: Model,
    max_error_px: float,
    *,
    method: str = "ransac",
    weight: NDArray[np.float64] | None = None,
) -> Estimate | None:
    """Return the transform that most points agree with, finished by least squares on its inliers.

    Parameters
    ----------
    moving_xy, fixed_xy : ndarray of shape (N, 2)
        Matches, right and wrong.
    model : str
        translation, rigid, similarity, affine or homography.
    max_error_px : float
        A point agrees when its residual is below this (TrakEM2's *maximal alignment error*).
    method : str
        ``ransac`` (OpenCV's default; Fischler & Bolles 1981, doi:10.1145/358669.358692), ``usac`` (MAGSAC++, Barath
        2020, arXiv:1912.05909) or ``lmeds``.
    weight : ndarray of shape (N,), optional
        Weights of the finish.

    Returns
    -------
    Estimate or None
        None when there are too few points for the model or nothing agrees.

    Raises
    ------
    InputError
        When the model or the method is unknown.
    """
    if model not in FITS:
        msg = f"no model {model!r}; known: {', '.join(MODELS)}"
        raise InputError(msg)
    if method not in _METHODS:
        msg = f"no robust method {method!r}; known: {', '.join(_METHODS)}"
        raise InputError(msg)
    if len(moving_xy) < MINIMUM_POINTS[model]:
        return None
    matrix = _hypothesis(moving_xy, fixed_xy, model, max_error_px, method)
    if matrix is None:
        return None
    fit = FITS[model]
    inlier = np.linalg.norm(apply(matrix, moving_xy) - fixed_xy, axis=1) < max_error_px
    for _ in range(10):
        if inlier.sum() < MINIMUM_POINTS[model]:
            return None
        w = None if weight is None else weight[inlier]
        matrix = fit(moving_xy[inlier], fixed_xy[inlier], w)
        now = np.linalg.norm(apply(matrix, moving_xy) - fixed_xy, axis=1) < max_error_px
        if (now == inlier).all():
            break
        inlier = now
    if inlier.sum() < MINIMUM_POINTS[model]:
        return None
    residual = apply(matrix, moving_xy[inlier]) - fixed_xy[inlier]
    return Estimate(matrix, inlier, float(np.sqrt((residual**2).sum(1).mean())))
