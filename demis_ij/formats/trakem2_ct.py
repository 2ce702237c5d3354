"""TrakEM2's coordinate transforms: what a patch does to its pixels before its affine matrix.

A coordinate transform maps pixel centres (integers) of the raw image. Data strings and formulas are those of
``mpicbg.trakem2.transform``; numbers that TrakEM2 parses as float32 are rounded to float32 here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from demis_ij.formats.splines import CubicSpline
from demis_ij.geometry import apply, fit_affine
from demis_ij.records import Affine, Points

Map = Callable[[Points], Points]
Spec = tuple[str, str]


class UnknownTransformError(ValueError):
    """A class of coordinate transform that is not known here."""


@dataclass(frozen=True)
class CoordinateTransform:
    """Transforms one after the other, the first one first.

    Attributes
    ----------
    steps : tuple of callables
        Each maps (N, 2) points; `Affine` where it is one.
    """

    steps: tuple[Map, ...]

    def __call__(self, points_xy: Points) -> Points:
        """Map (N, 2) points."""
        for step in self.steps:
            points_xy = step(points_xy)
        return points_xy

    @property
    def affine(self) -> Affine | None:
        """The same as one affine, None when it is not affine."""
        out = Affine()
        for step in self.steps:
            if not isinstance(step, Affine):
                return None
            out = step @ out
        return out


def parse_transforms(specs: Sequence[Spec]) -> CoordinateTransform:
    """Return the transform of (class name, data) pairs in order of application.

    Raises
    ------
    UnknownTransformError
        When a class is not known.
    ValueError
        When the data are not what the class needs.
    """
    return CoordinateTransform(tuple(_parse(name, data) for name, data in specs))


def _parse(class_name: str, data: str) -> Map:
    name = class_name.rpartition(".")[2]
    if name not in PARSERS:
        msg = f"coordinate transform {class_name!r} is not known; known: {', '.join(PARSERS)}"
        raise UnknownTransformError(msg)
    try:
        return PARSERS[name](data.split())
    except (ValueError, IndexError, OverflowError) as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from error


def _numbers(fields: Sequence[str], count: int | None = None, *, single: bool = False) -> list[float]:
    if count is not None and len(fields) != count:
        msg = f"{len(fields)} number(s), {count} were needed"
        raise ValueError(msg)
    with np.errstate(over="ignore"):
        out = [float(np.float32(f)) if single else float(f) for f in fields]
    if not all(isfinite(v) for v in out):
        msg = f"a number is not finite in {' '.join(fields)[:80]!r}"
        raise ValueError(msg)
    return out


def _translation(fields: Sequence[str]) -> Map:
    return Affine.translation(*_numbers(fields, 2, single=True))


def _rigid(fields: Sequence[str]) -> Map:
    angle, tx, ty = _numbers(fields, 3, single=True)
    return Affine.rigid(angle, tx, ty)


def _similarity(fields: Sequence[str]) -> Map:
    c, s, tx, ty = _numbers(fields, 4, single=True)
    return Affine(c, -s, s, c, tx, ty)


def _affine(fields: Sequence[str]) -> Map:
    m00, m10, m01, m11, m02, m12 = _numbers(fields, 6)
    return Affine(m00, m01, m10, m11, m02, m12)


def _homography(fields: Sequence[str]) -> Map:
    matrix = np.array(_numbers(fields, 9)).reshape(3, 3)
    if np.allclose(matrix[2, :2], 0, atol=0) and matrix[2, 2] != 0:
        return Affine.from_matrix(matrix / matrix[2, 2])
    return partial(apply, matrix)


def _polynomial(fields: Sequence[str]) -> Map:
    """Return a polynomial: terms 1, x, y, x^2, xy, y^2 ...; the x' coefficients, then the y' ones."""
    values = _numbers(fields)
    terms = len(values) // 2
    order = round((sqrt(8 * terms + 1) - 3) / 2)
    if len(values) % 2 or (order + 1) * (order + 2) // 2 != terms or terms == 0:
        msg = f"{len(values)} coefficient(s) are no polynomial of two variables"
        raise ValueError(msg)
    cx, cy = np.array(values[:terms]), np.array(values[terms:])
    if order == 0:
        msg = "a polynomial of order 0 maps everything to one point"
        raise ValueError(msg)
    if order == 1:
        return Affine(cx[1], cx[2], cy[1], cy[2], cx[0], cy[0])
    powers = [(n - k, k) for n in range(order + 1) for k in range(n + 1)]

    def polynomial(points_xy: Points) -> Points:
        x, y = points_xy[:, 0], points_xy[:, 1]
        design = np.stack([x**i * y**k for i, k in powers], axis=1)
        return np.stack([design @ cx, design @ cy], axis=1)

    return polynomial


def _nonlinear(fields: Sequence[str]) -> Map:
    """Return a lens correction (Kaynig 2010, doi:10.1016/j.jsb.2010.04.012): normalised powers; the constant is 100."""
    order = int(fields[0])
    terms = int(fields[1])
    if order < 1 or terms != (order + 1) * (order + 2) // 2:
        msg = f"order {order} does not go with {terms} terms"
        raise ValueError(msg)
    values = np.array(_numbers(fields[2:], 4 * terms + 2))
    beta = values[: 2 * terms].reshape(terms, 2)
    mean, deviation = values[2 * terms : 3 * terms], values[3 * terms : 4 * terms]
    if np.any(deviation[:-1] == 0):
        msg = "a term has no variance"
        raise ValueError(msg)
    powers = [(n - k, k) for n in range(1, order + 1) for k in range(n + 1)]

    def correct(points_xy: Points) -> Points:
        x, y = points_xy[:, 0], points_xy[:, 1]
        design = np.stack([x**i * y**k for i, k in powers], axis=1)
        design = (design - mean[:-1]) / deviation[:-1]
        return np.asarray(design @ beta[:-1] + 100 * beta[-1])

    return correct


def _moving_least_squares(fields: Sequence[str]) -> Map:
    """Return moving least squares (Schaefer 2006, doi:10.1145/1141911.1141920), weights w / d^(2 alpha)."""
    model, dim = fields[0], int(fields[1])
    if dim != 2 or model not in {"translation", "rigid", "similarity", "affine"}:
        msg = f"model {model!r} in {dim} dimensions"
        raise ValueError(msg)
    alpha = _numbers(fields[2:3], 1, single=True)[0]
    values = _numbers(fields[3:], single=True)
    if not values or len(values) % 5:
        msg = f"{len(values)} number(s) are no (px py qx qy weight) rows"
        raise ValueError(msg)
    rows = np.array(values).reshape(-1, 5)
    p, q, w = rows[:, :2], rows[:, 2:4], rows[:, 4]

    def move(points_xy: Points) -> Points:
        d2 = ((points_xy[:, None] - p) ** 2).sum(2)
        at = d2 == 0
        weight = w / np.where(at, 1.0, d2) ** alpha
        out = _fit_each(model, p, q, weight, points_xy)
        hit = at.any(1)
        out[hit] = q[at[hit].argmax(1)]
        return out

    return move


def _fit_each(model: str, p: Points, q: Points, weight: NDArray[np.float64], points_xy: Points) -> Points:
    """Return each point moved by its own weighted fit of p onto q; ``weight`` is (points, controls)."""
    weight = weight / weight.sum(1, keepdims=True)
    pc, qc = weight @ p, weight @ q
    dp, dq = p[None] - pc[:, None], q[None] - qc[:, None]
    if model == "translation":
        return np.asarray(points_xy + qc - pc)
    away = points_xy - pc
    if model == "affine":
        left = np.einsum("nk,nki,nkj->nij", weight, dp, dp)
        right = np.einsum("nk,nki,nkj->nij", weight, dp, dq)
        return np.asarray(np.einsum("ni,nij->nj", away, np.linalg.solve(left, right)) + qc)
    cos = np.einsum("nk,nki,nki->n", weight, dp, dq)
    sin = np.einsum("nk,nk->n", weight, dp[..., 0] * dq[..., 1] - dp[..., 1] * dq[..., 0])
    size = np.hypot(cos, sin) if model == "rigid" else np.einsum("nk,nki,nki->n", weight, dp, dp)
    c, s = cos / size, sin / size
    turned = np.stack([c * away[:, 0] - s * away[:, 1], s * away[:, 0] + c * away[:, 1]], axis=1)
    return np.asarray(turned + qc)


def _cubic_b_spline(fields: Sequence[str]) -> Map:
    """Return a cubic B-spline: width, height, intervals, then the x and the y coefficients, row by row."""
    cols, rows, intervals = (int(f) for f in fields[:3])
    if min(cols, rows, intervals) < 1:
        msg = f"{intervals} interval(s) over {cols}x{rows} px"
        raise ValueError(msg)
    side = intervals + 3
    values = np.array(_numbers(fields[3:], 2 * side * side)).reshape(2, side, side)
    return CubicSpline(values[0], values[1], (rows, cols))


PARSERS: dict[str, Callable[[Sequence[str]], Map]] = {
    "AffineModel2D": _affine,
    "TranslationModel2D": _translation,
    "RigidModel2D": _rigid,
    "SimilarityModel2D": _similarity,
    "HomographyModel2D": _homography,
    "PolynomialTransform2D": _polynomial,
    "CubicBSplineTransform": _cubic_b_spline,
    "MovingLeastSquaresTransform2": _moving_least_squares,
    "NonLinearCoordinateTransform": _nonlinear,
    "NonLinearTransform": _nonlinear,
}


# --- the box, and the nearest affine ---------------------------------------------------------------------------------


def mesh_points(columns: int, shape: tuple[int, int]) -> Points:
    """Return the vertices of TrakEM2's transform mesh of an image of ``shape`` (rows, cols): (N, 2) px.

    Rows of ``columns`` vertices, near equilateral triangles, and a vertex in the middle of each cell.
    """
    height, width = shape
    nx = max(2, columns)
    dy = sqrt(3) * width / (nx - 1)
    ny = max(2, int(height / dy + 0.5) + 1)
    x, y = np.linspace(0, width - 1, nx), np.linspace(0, height - 1, ny)
    outer = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    inner = np.stack(np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2), axis=-1).reshape(-1, 2)
    return np.concatenate([outer, inner])


def bounding_box(transform: CoordinateTransform, columns: int, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return TrakEM2's (x, y, width, height) of a transformed image: origin truncated toward zero, extent rounded up.

    Raises
    ------
    ValueError
        When the transform sends a vertex of its mesh to infinity.
    """
    with np.errstate(all="ignore"):  # what becomes infinite is refused below
        moved = transform(mesh_points(columns, shape))
    if not np.isfinite(moved).all():
        msg = "sends part of the image to infinity"
        raise ValueError(msg)
    low, high = moved.min(0), moved.max(0)
    return int(low[0]), int(low[1]), ceil(high[0] - low[0]), ceil(high[1] - low[1])


def nearest_affine(transform: CoordinateTransform, shape: tuple[int, int]) -> tuple[Affine, float]:
    """Return the affine nearest to a transform over an image, and the largest departure from it in px.

    Least squares over a grid of 17 x 17 pixels; exact, with departure 0, when the transform is affine.
    """
    exact = transform.affine
    if exact is not None:
        return exact, 0.0
    height, width = shape
    x, y = np.linspace(0, width - 1, 17), np.linspace(0, height - 1, 17)
    at = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    with np.errstate(all="ignore"):
        to = transform(at)
    if not np.isfinite(to).all():
        msg = "sends part of the image to infinity"
        raise ValueError(msg)
    found = Affine.from_matrix(fit_affine(at, to))
    return found, float(np.linalg.norm(found(at) - to, axis=1).max())
