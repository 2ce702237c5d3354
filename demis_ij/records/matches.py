"""What two tiles have in common: points that nobody has judged yet, a pair that agrees, one that was rejected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.records import shown
from demis_ij.records.affine import Points


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
