"""A lens: what all tiles of one camera have in common beyond a shift, a turn and a linear map.

``corrected = p + d(p)`` with the displacement

    d(p) = sum over 2 <= i + j <= degree of c_ij P_i(u) P_j(v),   (u, v) = (p - centre) / half,

P the Legendre polynomials and (u, v) in [-1, 1] over the tile's area. The products are orthogonal over the tile to 1,
u and v, so that a lens holds nothing that a tile's own affine transform could hold: of all ways to share a distortion
between lens and tiles it is the one that moves pixels least.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import hypot, isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.errors import InputError
from demis_ij.records.affine import Points

LEAST_DEGREE, MOST_DEGREE = 2, 5
REACH = 1.125
"""Beyond so many half sides from the tile's centre the displacement stays what it is there."""
MOST_STRETCH = 0.25
"""A lens that stretches or shears by more anywhere is none: it would soon fold."""
_INVERSE_STEPS = 60
_INVERSE_PX = 1e-9


@lru_cache
def lens_terms(degree: int) -> tuple[tuple[int, int], ...]:
    """Return the (i, j) of a lens of a degree, lower degrees first: the first three are those of degree 2."""
    return tuple((total - j, j) for total in range(LEAST_DEGREE, degree + 1) for j in range(total + 1))


@lru_cache
def _legendre_matrix(degree: int) -> Points:
    """Return (degree + 1, degree + 1): row i holds the coefficients of P_i for powers 0, 1, ..."""
    out = np.zeros((degree + 1, degree + 1))
    for i in range(degree + 1):
        out[i, : i + 1] = np.polynomial.legendre.leg2poly(np.eye(i + 1)[i])
    return out


def legendre(values: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Return (degree + 1, N): P_0 ... P_degree at ``values`` of shape (N,), by Bonnet's recursion."""
    out = np.empty((degree + 1, len(values)))
    out[0] = 1
    out[1] = values
    for n in range(1, degree):
        out[n + 1] = ((2 * n + 1) * values * out[n] - n * out[n - 1]) / (n + 1)
    return out


def _legendre_slopes(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivatives of P_0 ... P_degree, from their values: P'_{n+1} = P'_{n-1} + (2n + 1) P_n."""
    out = np.zeros_like(p)
    out[1] = 1
    for n in range(1, len(p) - 1):
        out[n + 1] = out[n - 1] + (2 * n + 1) * p[n]
    return out


@dataclass(frozen=True)
class Lens:
    """A polynomial distortion shared by the tiles of a camera: raw tile px to corrected tile px.

    Attributes
    ----------
    centre, half : tuple of float
        (x, y) of the tile's middle, and half of its (width, height), px of the raw tile.
    degree : int
        2 to 5.
    x, y : tuple of float
        Coefficients of the displacement, px, in the order of `lens_terms`.
    camera : str
        Whose lens it is; empty when the layout knows of one camera only.

    Raises
    ------
    InputError
        When numbers are missing or not finite, or the lens would fold the tile or stretch it by more than a quarter.

    Examples
    --------
    >>> lens = Lens.of_shape((100, 200), 2, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    >>> lens([[99.5, 49.5], [199.5, 49.5]])
    array([[ 99. ,  49.5],
           [200.5,  49.5]])
    """

    centre: tuple[float, float]
    half: tuple[float, float]
    degree: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    camera: str = ""

    def __post_init__(self) -> None:
        if not LEAST_DEGREE <= self.degree <= MOST_DEGREE:
            msg = f"a lens has degree {LEAST_DEGREE} to {MOST_DEGREE}, found {self.degree!r}"
            raise InputError(msg)
        needed = len(lens_terms(self.degree))
        if len(self.x) != needed or len(self.y) != needed:
            msg = (
                f"a lens of degree {self.degree} has {needed} coefficients an axis, found {len(self.x)}, {len(self.y)}"
            )
            raise InputError(msg)
        if not all(isfinite(v) for v in (*self.x, *self.y, *self.centre, *self.half)) or min(self.half) <= 0:
            msg = "a lens needs finite coefficients and a frame of positive size"
            raise InputError(msg)
        if self.stretch > MOST_STRETCH:
            most = f"{100 * MOST_STRETCH:.0f} % allowed"
            msg = f"a lens that stretches the tile by {100 * self.stretch:.0f} % is none ({most})"
            raise InputError(msg)

    @classmethod
    def of_shape(cls, shape: tuple[int, int], degree: int, x: ArrayLike, y: ArrayLike, camera: str = "") -> Lens:
        """Return the lens of tiles of ``shape`` (rows, cols)."""
        rows, cols = shape
        across, down = (tuple(float(v) for v in np.asarray(c, float)) for c in (x, y))
        return cls(((cols - 1) / 2, (rows - 1) / 2), (cols / 2, rows / 2), degree, across, down, camera)

    # --- maps ---------------------------------------------------------------------------------------------------------

    def __call__(self, points_xy: ArrayLike) -> Points:
        """Map raw tile px to corrected tile px: (N, 2) points, or one (2,) point."""
        p = np.asarray(points_xy, np.float64)
        return p + self.displacement(p)

    def displacement(self, points_xy: ArrayLike) -> Points:
        """Return corrected less raw px at raw points; beyond its reach, what it is at the nearest point within."""
        p = np.asarray(points_xy, np.float64)
        flat = p.reshape(-1, 2)
        across, down = self._polynomials(flat)
        out = np.empty((len(flat), 2))
        for axis in (0, 1):
            out[:, axis] = ((self._matrix[axis] @ down) * across).sum(0)
        return out.reshape(p.shape)

    def _polynomials(self, flat_xy: Points) -> tuple[Points, Points]:
        """Return P_0 ... P_degree of u and of v, (degree + 1, N) each, at the nearest points within reach."""
        u, v = (np.clip((flat_xy[:, k] - self.centre[k]) / self.half[k], -REACH, REACH) for k in (0, 1))
        return legendre(u, self.degree), legendre(v, self.degree)

    @cached_property
    def _matrix(self) -> NDArray[np.float64]:
        """(2, degree + 1, degree + 1): the coefficients [axis, i, j] of P_i(u) P_j(v)."""
        out = np.zeros((2, self.degree + 1, self.degree + 1))
        i, j = np.array(lens_terms(self.degree)).T
        out[0, i, j], out[1, i, j] = self.x, self.y
        return out

    def inverse(self, corrected_xy: ArrayLike) -> Points:
        """Return the raw px that are seen at corrected px, to 1e-9 px, by iterating ``raw = corrected - d(raw)``.

        The displacement changes by less than a quarter of a step (`MOST_STRETCH`), so that each round leaves a quarter
        of the error at most; lenses of instruments leave a hundredth.
        """
        target = np.asarray(corrected_xy, np.float64)
        raw = target.copy()
        for _ in range(_INVERSE_STEPS):
            after = target - self.displacement(raw)
            off = float(np.abs(after - raw).max(initial=0))
            raw = after
            if off < _INVERSE_PX:
                break
        return raw

    # --- what it is like ----------------------------------------------------------------------------------------------

    def jacobian(self, points_xy: ArrayLike) -> NDArray[np.float64]:
        """Return (N, 2, 2): how the displacement changes from px to px at raw points within reach."""
        across, down = self._polynomials(np.asarray(points_xy, np.float64).reshape(-1, 2))
        slopes = _legendre_slopes(across) / self.half[0], _legendre_slopes(down) / self.half[1]
        out = np.empty((across.shape[1], 2, 2))
        for axis in (0, 1):
            out[:, axis, 0] = ((self._matrix[axis] @ down) * slopes[0]).sum(0)
            out[:, axis, 1] = ((self._matrix[axis] @ slopes[1]) * across).sum(0)
        return out

    def lattice(self, steps: int = 33, reach: float = 1.0) -> Points:
        """Return (steps^2, 2) raw points, row by row, evenly over ``reach`` times the tile."""
        at = np.linspace(-reach, reach, steps)
        x, y = np.meshgrid(at * self.half[0] + self.centre[0], at * self.half[1] + self.centre[1])
        return np.stack([x.ravel(), y.ravel()], axis=1)

    @cached_property
    def stretch(self) -> float:
        """The most that a step of a pixel changes its length or turns by, as a fraction; a fold would be 1."""
        return float(np.linalg.norm(self.jacobian(self.lattice(25, REACH)), ord=2, axis=(1, 2)).max())

    @cached_property
    def largest_px(self) -> float:
        """The longest displacement over the tile, px."""
        return float(np.linalg.norm(self.displacement(self.lattice()), axis=1).max())

    @property
    def rms_px(self) -> float:
        """The root mean square displacement over the tile, px; exact, the terms are orthogonal."""
        weight = np.array([1 / ((2 * i + 1) * (2 * j + 1)) for i, j in lens_terms(self.degree)])
        return float(np.sqrt(weight @ (np.square(self.x) + np.square(self.y))))

    def rim(self, steps: int = 17) -> Points:
        """Return (4 steps, 2) raw px along the centres of the tile's outermost pixels."""
        at = np.linspace(-1, 1, steps)
        one = np.ones(steps)
        sides = np.concatenate([np.stack(s, 1) for s in ((at, -one), (at, one), (-one, at), (one, at))])
        return np.asarray(sides * (np.array(self.half) - 0.5) + self.centre)

    # --- as JSON ------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What it is called in a file: its camera, and a digest of what it does."""
        digest = hashlib.sha256(repr((self.centre, self.half, self.degree, self.x, self.y)).encode()).hexdigest()
        return f"{self.camera or 'lens'}-{digest[:12]}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "camera": self.camera,
            "degree": self.degree,
            "centre": list(self.centre),
            "half": list(self.half),
            "x": list(self.x),
            "y": list(self.y),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lens:
        """Return the lens of `to_json`. Raises `KeyError`, `TypeError`, `ValueError`, `InputError` when it is none."""
        centre, half, x, y = (tuple(float(v) for v in value[key]) for key in ("centre", "half", "x", "y"))
        return cls((centre[0], centre[1]), (half[0], half[1]), int(value["degree"]), x, y, str(value["camera"]))

    # --- other frames -------------------------------------------------------------------------------------------------

    def reduced(self, factor: float) -> Lens:
        """Return the same lens for tiles reduced by a factor, whose pixel q is at ``factor (q + 0.5) - 0.5``."""
        return _reduced(self, factor)

    def powers(self) -> NDArray[np.float64]:
        """Return (2, degree + 1, degree + 1): corrected x and y as polynomials; [a, i, j] goes with x^i y^j, raw px."""
        matrix = _legendre_matrix(self.degree)
        normalised = np.einsum("aij,ik,jl->akl", self._matrix, matrix, matrix)
        shift = [_shifted_powers(self.centre[k], self.half[k], self.degree) for k in (0, 1)]
        out = np.einsum("akl,ki,lj->aij", normalised, *shift)
        out[0, 1, 0] += 1
        out[1, 0, 1] += 1
        return np.asarray(out)

    def __str__(self) -> str:
        whose = f" of camera {self.camera}" if self.camera else ""
        return f"lens{whose}: degree {self.degree}, {self.rms_px:.2f} px rms, {self.largest_px:.2f} px at most"


@lru_cache(maxsize=256)
def _reduced(lens: Lens, factor: float) -> Lens:
    centre = (lens.centre[0] + 0.5) / factor - 0.5, (lens.centre[1] + 0.5) / factor - 0.5
    half = lens.half[0] / factor, lens.half[1] / factor
    x, y = (tuple(c / factor for c in axis) for axis in (lens.x, lens.y))
    return replace(lens, centre=centre, half=half, x=x, y=y)


def _shifted_powers(centre: float, half: float, degree: int) -> Points:
    """Return (degree + 1, degree + 1): row k holds ((t - centre) / half)^k for powers of t."""
    out = np.zeros((degree + 1, degree + 1))
    step = np.array([-centre / half, 1 / half])
    row = np.ones(1)
    for k in range(degree + 1):
        out[k, : k + 1] = row
        row = np.convolve(row, step)
    return out


def split_polynomial(
    source_xy: Points, target_xy: Points, shape: tuple[int, int], *, camera: str = "", most_px: float = 1e-6
) -> tuple[NDArray[np.float64], Lens | None, float]:
    """Return what a map does over a tile as an affine map after a lens, as far as it is one.

    Parameters
    ----------
    source_xy, target_xy : ndarray of shape (N, 2)
        Raw px, well spread over the tile (at least 21), and where the map takes them.
    shape : tuple of int
        (rows, cols) of the tile.
    camera : str
        The lens's camera.
    most_px : float
        What may be left.

    Returns
    -------
    affine : ndarray of shape (3, 3)
        What comes after the lens.
    lens : Lens or None
        The lens of least degree that leaves ``most_px`` at most; None when the map is affine, or no lens does.
    departure_px : float
        The largest distance that is left; of the nearest affine map where no lens does.
    """
    rows, cols = shape
    u, v = (source_xy[:, 0] - (cols - 1) / 2) / (cols / 2), (source_xy[:, 1] - (rows - 1) / 2) / (rows / 2)
    across, down = legendre(u, MOST_DEGREE), legendre(v, MOST_DEGREE)
    linear = ((0, 0), (1, 0), (0, 1))
    nearest = np.eye(3), hypot(rows, cols)
    for degree in (1, *range(LEAST_DEGREE, MOST_DEGREE + 1)):
        terms = linear if degree == 1 else (*linear, *lens_terms(degree))
        design = np.stack([across[i] * down[j] for i, j in terms], axis=1)
        found, *_ = np.linalg.lstsq(design, target_xy, rcond=None)
        left = float(np.linalg.norm(design @ found - target_xy, axis=1).max())
        affine = np.eye(3)
        linear_part = np.stack([found[1] / (cols / 2), found[2] / (rows / 2)], axis=1)
        affine[:2, :2] = np.where(np.abs(linear_part) < 1e-13, 0, linear_part)  # rounding of what was exactly 0
        affine[:2, 2] = found[0] - affine[:2, :2] @ ((cols - 1) / 2, (rows - 1) / 2)
        nearest = (affine, left) if degree == 1 else nearest
        if left > most_px or abs(np.linalg.det(affine[:2, :2])) < 1e-12:
            continue
        if degree == 1:
            return affine, None, 0.0 if left < 1e-9 else left
        bent = np.linalg.solve(affine[:2, :2], found[3:].T)
        try:
            return affine, Lens.of_shape(shape, degree, bent[0], bent[1], camera), left
        except InputError:
            break
    return nearest[0], None, nearest[1]
