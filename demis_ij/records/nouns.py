"""The nouns, and the coordinate conventions.

Images are ``[row, col]``. Points are ``(x, y)`` float64 with **pixel centres at integers**, in full-resolution tile
pixels. World is mosaic pixels, y down. Angles are radians. Any other unit is a suffix (``_nm``, ``_deg``).
``fixed`` and ``moving`` everywhere; a transform is named by where it leads (``to_world``, ``to_fixed``).

Records are frozen values: changing one makes a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import atan2, cos, hypot, isfinite, sin
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.errors import InputError
from demis_ij.records import shown
from demis_ij.records.lens import Lens

Points = NDArray[np.float64]

OVERRULED_WEIGHT = 0.05
"""A pair of at most this robust weight was not believed by the solver: its neighbours contradict it."""


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


@dataclass(frozen=True)
class Tile:
    """One image and where it lies.

    Attributes
    ----------
    id : str
        The layout's own name for the tile (TrakEM2 oid, Render tileId, the path of a text list as written).
    path : Path
        The image file.
    shape : tuple of int
        (rows, cols) in px; (0, 0) while unknown, until `demis_ij.images.with_shapes` has looked.
    to_world : Affine
        Tile pixel (corrected, where there is a lens) to world pixel.
    section : str
        The section (layer, z) the tile belongs to.
    page : int or None
        0-based page of a multi-page file; None when the file is one image.
    locked, visible : bool
        A locked tile must not move; an invisible one is left alone unless asked for.
    mask_path : Path or None
        An image of the tile's size whose zeros mean "no data".
    lens : Lens or None
        What comes before ``to_world``: raw tile px to corrected tile px, the same for all tiles of a camera. Without
        one, corrected px are the raw ones.
    camera : str
        The camera that took the tile; empty where the layout does not tell.
    """

    id: str
    path: Path
    shape: tuple[int, int]
    to_world: Affine = field(default_factory=Affine)
    section: str = "0"
    page: int | None = None
    locked: bool = False
    visible: bool = True
    mask_path: Path | None = None
    lens: Lens | None = None
    camera: str = ""

    def straight(self, points_xy: ArrayLike) -> Points:
        """Map raw tile px through the lens, to corrected tile px: (N, 2) points, or one (2,) point."""
        p = np.asarray(points_xy, np.float64)
        return p if self.lens is None else self.lens(p)

    def bent(self, corrected_xy: ArrayLike) -> Points:
        """Map corrected tile px back to raw tile px, the inverse of `straight`."""
        p = np.asarray(corrected_xy, np.float64)
        return p if self.lens is None else self.lens.inverse(p)

    def in_world(self, points_xy: ArrayLike) -> Points:
        """Map raw tile px to world px, through the lens: (N, 2) points, or one (2,) point."""
        return self.to_world(self.straight(points_xy))

    def from_world(self, world_xy: ArrayLike) -> Points:
        """Map world px back to raw tile px. Raises `InputError` when `to_world` cannot be inverted."""
        return self.bent(self.to_world.inverse(world_xy))

    @property
    def corners(self) -> Points:
        """(4, 2) outer corners in tile px, half a pixel outside the centres of the corner pixels."""
        h, w = self.shape
        return np.array([[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]])

    @property
    def world_corners(self) -> Points:
        """(4, 2) `corners` in world px."""
        return self.in_world(self.corners)

    def _repr_html_(self) -> str:
        return shown.tile_card(self)


@dataclass(frozen=True)
class Layout:
    """The tiles of one section.

    Attributes
    ----------
    tiles : tuple of Tile
        Ids differ.
    section : str
        Name of the section.
    pixel_size : tuple of (float, str) or None
        Side of a pixel and its unit, for instance ``(4.0, "nm")``.
    source : Path or None
        The file it was read from.
    """

    tiles: tuple[Tile, ...]
    section: str = "0"
    pixel_size: tuple[float, str] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tiles", tuple(self.tiles))
        if len(self._row) != len(self.tiles):
            seen: set[str] = set()
            twice = next(t.id for t in self.tiles if t.id in seen or seen.add(t.id))  # type: ignore[func-returns-value]
            msg = f"tile id {twice!r} occurs twice in section {self.section!r}: ids must differ"
            raise InputError(msg)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {t.id: i for i, t in enumerate(self.tiles)}

    def __getitem__(self, tile_id: str) -> Tile:
        return self.tiles[self._row[tile_id]]

    def __contains__(self, tile_id: object) -> bool:
        return tile_id in self._row

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.tiles)

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def ids(self) -> tuple[str, ...]:
        """Tile ids in layout order."""
        return tuple(t.id for t in self.tiles)

    def index(self, tile_id: str) -> int:
        """Row of a tile in layout order."""
        return self._row[tile_id]

    def moved(self, to_world: Mapping[str, Affine]) -> Layout:
        """Return the layout with some tiles moved; the others stay."""
        tiles = tuple(replace(t, to_world=to_world[t.id]) if t.id in to_world else t for t in self.tiles)
        return replace(self, tiles=tiles)

    def bounds(self) -> tuple[float, float, float, float]:
        """Return (x0, y0, x1, y1), the world px that hold every tile's outer corners."""
        if not self.tiles:
            msg = "a layout without tiles has no bounds"
            raise InputError(msg)
        c = np.concatenate([t.world_corners for t in self.tiles])
        return (*map(float, c.min(0)), *map(float, c.max(0)))  # type: ignore[return-value]

    def _repr_html_(self) -> str:
        return shown.layout_card(self)


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Points seen in two images, before anyone has judged them.

    Attributes
    ----------
    fixed_xy, moving_xy : ndarray of shape (N, 2), float64
        Row i of one is the same tissue point as row i of the other, px of the image it was found in.
    score : ndarray of shape (N,), float64
        The matcher's own confidence in [0, 1], 1 best. Comparable within one call only.
    """

    fixed_xy: Points
    moving_xy: Points
    score: Points

    def __post_init__(self) -> None:
        for name in ("fixed_xy", "moving_xy"):
            value = np.asarray(getattr(self, name), dtype=np.float64).reshape(-1, 2)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "score", np.asarray(self.score, dtype=np.float64).reshape(-1))
        if not len(self.fixed_xy) == len(self.moving_xy) == len(self.score):
            msg = f"lengths differ: {len(self.fixed_xy)}, {len(self.moving_xy)}, {len(self.score)}"
            raise InputError(msg)
        if not all(np.isfinite(v).all() for v in (self.fixed_xy, self.moving_xy, self.score)):
            msg = "correspondences must be finite"
            raise InputError(msg)

    @classmethod
    def none(cls) -> Correspondences:
        """Return no points at all."""
        return cls(np.empty((0, 2)), np.empty((0, 2)), np.empty(0))

    def __len__(self) -> int:
        return len(self.score)

    @property
    def swapped(self) -> Correspondences:
        """The same points with fixed and moving exchanged."""
        return Correspondences(self.moving_xy, self.fixed_xy, self.score)

    def where(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Correspondences:
        """Return the points selected by a mask or by indices."""
        return Correspondences(self.fixed_xy[keep], self.moving_xy[keep], self.score[keep])

    def _repr_html_(self) -> str:
        return shown.points_card(self)


@dataclass(frozen=True, eq=False)
class PairMatch:
    """A pair of tiles that agree, with the points that say so.

    Attributes
    ----------
    fixed, moving : str
        Tile ids.
    fixed_xy, moving_xy : ndarray of shape (N, 2), float64
        Inliers, full-resolution px of their tiles.
    to_fixed : ndarray of shape (3, 3), float64
        Moving tile px to fixed tile px, homogeneous; corrected px where the tiles had a lens when they were matched.
        `model` says how free it was.
    model : str
        translation, rigid, similarity, affine or homography.
    covariance : ndarray of shape (3, 3), float64
        Of (shift x, shift y, turn) of the moving tile, px and radians, about the centre of the fixed inliers.
    residual_px : float
        Root mean square distance of the inliers after `to_fixed`.
    matcher : str
        Who found it.
    matches : int
        How many points were offered before outliers were removed.
    tried : tuple of (str, str)
        Matchers that were tried before and why each was rejected.
    agreeing : int
        How many of the matcher's matches agree, where that is not the number of ``fixed_xy``: refinement replaces
        them by points that do not share each other's errors.
    every : Correspondences or None
        Those matches, each made exact. To look at and to measure coverage by; not kept in a run folder.
    """

    fixed: str
    moving: str
    fixed_xy: Points
    moving_xy: Points
    to_fixed: NDArray[np.float64]
    model: str
    covariance: NDArray[np.float64]
    residual_px: float
    matcher: str = ""
    matches: int = 0
    tried: tuple[tuple[str, str], ...] = ()
    agreeing: int = 0
    every: Correspondences | None = None

    @property
    def inliers(self) -> int:
        """Number of matches that agree."""
        return self.agreeing or len(self.fixed_xy)

    def _repr_html_(self) -> str:
        return shown.match_card(self)


@dataclass(frozen=True)
class Rejected:
    """A pair that was looked at and not believed. A failure is data; it is never the identity.

    Attributes
    ----------
    fixed, moving : str
        Tile ids.
    reason : str
        One sentence.
    matcher : str
        Who was asked last.
    matches, inliers : int
        What was found.
    tried : tuple of (str, str)
        Matchers that were tried before and why each was rejected.
    """

    fixed: str
    moving: str
    reason: str
    matcher: str = ""
    matches: int = 0
    inliers: int = 0
    tried: tuple[tuple[str, str], ...] = ()

    def _repr_html_(self) -> str:
        return shown.rejected_card(self)


@dataclass(frozen=True, eq=False)
class Solution:
    """A solved layout and how far to trust it.

    Attributes
    ----------
    layout : Layout
        Every tile of the input, where it now lies.
    component : mapping of str to int
        Tile id to the number of its connected component; 0 is the largest.
    sigma_px : mapping of str to float
        Tile id to one standard deviation of its position in px, relative to its component; ``inf`` when only the
        stage holds it.
    pair_residual_px : mapping of (str, str) to float
        (fixed, moving) to the root mean square distance of the pair's inliers after the global solve.
    pair_sigma_px : mapping of (str, str) to float
        (fixed, moving) to the expected error of the seam in px.
    pair_weight : mapping of (str, str) to float
        (fixed, moving) to the final robust weight in [0, 1]; near 0 means the solver did not believe the pair.
    """

    layout: Layout
    component: Mapping[str, int]
    sigma_px: Mapping[str, float]
    pair_residual_px: Mapping[tuple[str, str], float]
    pair_sigma_px: Mapping[tuple[str, str], float] = field(default_factory=dict)
    pair_weight: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def believes(self, fixed: str, moving: str) -> bool:
        """Return whether a pair that was given to the solver has weight; a solver that gives none believes all."""
        return self.pair_weight.get((fixed, moving), 1.0) > OVERRULED_WEIGHT

    @property
    def component_sizes(self) -> list[int]:
        """Tiles per component, component 0 first."""
        numbers = Counter(self.component.values())
        return [numbers[i] for i in range(max(numbers, default=-1) + 1)]

    def _repr_html_(self) -> str:
        return shown.solution_card(self)
