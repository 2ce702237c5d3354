"""Affine maps of the plane."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, isfinite, sin

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.errors import InputError

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """A plane affine map ``x' = a x + b y + tx``, ``y' = c x + d y + ty``.

    Composition follows functions: ``(f @ g)(p) == f(g(p))``.

    Examples
    --------
    >>> shift = Affine.translation(3, 4)
    >>> (shift @ shift.inverse)([[1.0, 2.0]])
    array([[1., 2.]])
    """

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 1.0
    tx: float = 0.0
    ty: float = 0.0

    def __post_init__(self) -> None:
        if not all(isfinite(v) for v in (self.a, self.b, self.c, self.d, self.tx, self.ty)):
            msg = f"a transform needs six finite numbers, found {self.rows}"
            raise InputError(msg)

    @classmethod
    def identity(cls) -> Affine:
        """Return the map that moves nothing."""
        return cls()

    @classmethod
    def translation(cls, tx: float, ty: float) -> Affine:
        """Return a shift by (tx, ty) px."""
        return cls(tx=float(tx), ty=float(ty))

    @classmethod
    def rigid(cls, angle: float, tx: float = 0.0, ty: float = 0.0) -> Affine:
        """Return a turn by ``angle`` radians (x towards y) about the origin, then a shift by (tx, ty) px."""
        return cls(cos(angle), -sin(angle), sin(angle), cos(angle), float(tx), float(ty))

    @classmethod
    def similarity(cls, scale: float, angle: float, tx: float = 0.0, ty: float = 0.0) -> Affine:
        """Return a turn by ``angle`` radians (x towards y) and a scaling about the origin, then a shift, px."""
        c, s = scale * cos(angle), scale * sin(angle)
        return cls(c, -s, s, c, float(tx), float(ty))

    @classmethod
    def about(cls, linear: Affine, centre_xy: ArrayLike) -> Affine:
        """Return ``linear`` (its translation included) done about ``centre_xy`` instead of the origin."""
        x, y = (float(v) for v in np.asarray(centre_xy, float))
        return cls.translation(x, y) @ linear @ cls.translation(-x, -y)

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Affine:
        """Return the affine of a (2, 3) or (3, 3) matrix; the last row, if given, must be (0, 0, 1)."""
        m = np.asarray(matrix, float)
        if m.shape == (3, 3) and not np.allclose(m[2], (0, 0, 1)):
            msg = f"not an affine matrix: last row {m[2].tolist()}"
            raise InputError(msg)
        if m.shape not in {(2, 3), (3, 3)}:
            msg = f"an affine matrix is (2, 3) or (3, 3), found {m.shape}"
            raise InputError(msg)
        return cls(*(float(v) for v in (m[0, 0], m[0, 1], m[1, 0], m[1, 1], m[0, 2], m[1, 2])))

    def __call__(self, points_xy: ArrayLike) -> Points:
        """Map (N, 2) points, or one (2,) point."""
        p = np.asarray(points_xy, dtype=np.float64)
        return np.stack(
            [
                self.a * p[..., 0] + self.b * p[..., 1] + self.tx,
                self.c * p[..., 0] + self.d * p[..., 1] + self.ty,
            ],
            axis=-1,
        )

    def __matmul__(self, other: Affine) -> Affine:
        """Compose: ``(self @ other)(p) == self(other(p))``."""
        return Affine(
            self.a * other.a + self.b * other.c,
            self.a * other.b + self.b * other.d,
            self.c * other.a + self.d * other.c,
            self.c * other.b + self.d * other.d,
            self.a * other.tx + self.b * other.ty + self.tx,
            self.c * other.tx + self.d * other.ty + self.ty,
        )

    @property
    def determinant(self) -> float:
        """Area of the image of the unit square, negative when mirrored."""
        return self.a * self.d - self.b * self.c

    @property
    def inverse(self) -> Affine:
        """The map back. Raises `InputError` when there is none."""
        det = self.determinant
        if det == 0 or not isfinite(1 / det):
            msg = f"a transform that flattens the plane has no inverse: {self.rows}"
            raise InputError(msg)
        a, b, c, d = self.d / det, -self.b / det, -self.c / det, self.a / det
        return Affine(a, b, c, d, -(a * self.tx + b * self.ty), -(c * self.tx + d * self.ty))

    @property
    def rows(self) -> list[list[float]]:
        """``[[a, b, tx], [c, d, ty]]``, as ``solution.json`` holds it."""
        return [[self.a, self.b, self.tx], [self.c, self.d, self.ty]]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The (3, 3) matrix for column vectors (x, y, 1)."""
        return np.array([*self.rows, [0.0, 0.0, 1.0]])

    @property
    def angle(self) -> float:
        """Rotation in radians, x towards y, of the nearest similarity."""
        return atan2(self.c - self.b, self.a + self.d)

    @property
    def scale(self) -> float:
        """Scale of the nearest similarity; exact for similarities."""
        return hypot(self.a + self.d, self.c - self.b) / 2
