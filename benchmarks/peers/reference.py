"""What a pair of real tiles is measured against where no truth is known: a smooth displacement all matchers vote on.

Every family of matchers (LoFTR, SIFT, ...) has the same say, however many points it has: its inliers are gathered in
blocks, each block votes with the median displacement of its points, and the votes of a family share one unit of
weight. A cubic in the fixed tile's place is fitted to the votes, robustly (Tukey's weights; Beaton & Tukey 1974), its
curved part held back by a weak prior, so that a lens or a scan may bend the seam by a few px and no error of a single
matcher can. Refined points have no vote: they come from the same code whoever found the pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import apply
from demis_ij.protocols import View
from demis_ij.records import Points

BLOCK_PX = 32
_SAMPLE_PX = 4
_DEGREE = 3
_POWERS = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
_CURVED_PX, _VOTE_PX = 3.0, 0.5  # the prior: how far a seam is bent, how far a vote may be off
_GROSS_PX = 4.0  # as the pairs' own gate


@dataclass(frozen=True, eq=False)
class Answer:
    """What one matcher said of a pair: inliers, px of the tiles, and its transform.

    Attributes
    ----------
    fixed_xy, moving_xy : ndarray of shape (N, 2)
        Inliers.
    to_fixed : ndarray of shape (3, 3)
        Moving to fixed.
    """

    fixed_xy: Points
    moving_xy: Points
    to_fixed: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reference:
    """Where points of the fixed tile lie in the moving one.

    Attributes
    ----------
    to_moving : ndarray of shape (3, 3)
        The plain part.
    centre, half : ndarray of shape (2,)
        The frame of the curved part, px of the fixed tile.
    bend : ndarray of shape (10, 2)
        Its coefficients, px.
    families : tuple of str
        Whose votes it rests on.
    """

    to_moving: NDArray[np.float64]
    centre: Points
    half: Points
    bend: NDArray[np.float64]
    families: tuple[str, ...]

    def __call__(self, fixed_xy: Points) -> Points:
        """Map (N, 2) px of the fixed tile to px of the moving tile."""
        return apply(self.to_moving, fixed_xy) + _terms(fixed_xy, self.centre, self.half) @ self.bend

    def error_px(self, fixed_xy: Points, moving_xy: Points) -> NDArray[np.float64]:
        """Return how far (N,) matches are from the reference."""
        return np.asarray(np.linalg.norm(self(fixed_xy) - moving_xy, axis=1))


def _terms(fixed_xy: Points, centre: Points, half: Points) -> NDArray[np.float64]:
    # beyond the votes the bend stays what it is at their rim
    x, y = np.clip((fixed_xy - centre) / half, -1, 1).T
    return np.stack([x**i * y**j for i, j in _POWERS], 1)


def votes(answers: list[Answer], block_px: int = BLOCK_PX) -> tuple[Points, Points]:
    """Return one (fixed, moving) point for each block of the fixed tile that holds points of a family."""
    fixed = np.concatenate([a.fixed_xy for a in answers])
    shift = np.concatenate([a.moving_xy for a in answers]) - fixed
    block = np.floor((fixed + 0.5) / block_px).astype(int)
    _, which = np.unique(block, axis=0, return_inverse=True)
    at = [np.flatnonzero(which.ravel() == k) for k in range(int(which.max()) + 1)]
    place = np.array([fixed[k].mean(0) for k in at])
    return place, place + np.array([np.median(shift[k], axis=0) for k in at])


def reference(answers: Mapping[str, list[Answer]]) -> Reference | None:
    """Return the smooth displacement that the families' votes agree on; None when nobody has one.

    Parameters
    ----------
    answers : mapping of str to list of Answer
        Family to what its matchers said; families without an answer have an empty list.
    """
    said = {name: votes(some) for name, some in answers.items() if some}
    if not said:
        return None
    fixed = np.concatenate([v[0] for v in said.values()])
    moving = np.concatenate([v[1] for v in said.values()])
    weight = np.concatenate([np.full(len(v[0]), 1 / len(v[0])) for v in said.values()])
    plains = [np.asarray(np.linalg.inv(a.to_fixed), np.float64) for some in answers.values() for a in some]
    gross = [np.linalg.norm(apply(p, fixed) - moving, axis=1) < _GROSS_PX for p in plains]
    best = int(np.argmax([weight[g].sum() for g in gross]))
    held = gross[best]
    centre = (fixed[held].min(0) + fixed[held].max(0)) / 2
    half = np.maximum(np.ptp(fixed[held], axis=0) / 2, BLOCK_PX)
    terms, left = _terms(fixed, centre, half), moving - apply(plains[best], fixed)
    curved = np.array([i + j > 1 for i, j in _POWERS], float)
    share = weight * len(fixed) / weight.sum()
    bend = np.zeros((len(_POWERS), 2))
    robust = held.astype(float)
    for _ in range(20):
        w = share * robust
        normal = terms.T @ (w[:, None] * terms) + np.diag((_VOTE_PX / _CURVED_PX) ** 2 * curved + 1e-6)
        bend = np.linalg.solve(normal, terms.T @ (w[:, None] * left))
        miss = np.linalg.norm(left - terms @ bend, axis=1)
        reach = max(1.5, 4 * float(np.median(miss[held])))
        robust = np.where(miss < reach, (1 - (miss / reach) ** 2) ** 2, 0.0)
    agreeing = {name for name, (f, m) in said.items() if _agrees(plains[best], f, m)}
    return Reference(plains[best], centre, half, bend, tuple(sorted(agreeing)))


def _agrees(to_moving: NDArray[np.float64], fixed: Points, moving: Points) -> bool:
    return bool(np.median(np.linalg.norm(apply(to_moving, fixed) - moving, axis=1)) < 2 * _GROSS_PX)


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks that the true overlap is cut into, from its own first row and column on.

    Attributes
    ----------
    origin : ndarray of shape (2,)
        First pixel (x, y) of the first block, px of the fixed tile.
    shared : ndarray of shape (rows, cols), bool
        Blocks at least half of which are data in both tiles.
    """

    origin: Points
    shared: NDArray[np.bool_]

    @property
    def centres(self) -> Points:
        """(N, 2) px of the fixed tile."""
        row, col = np.nonzero(self.shared)
        return np.stack([col, row], 1) * float(BLOCK_PX) + (BLOCK_PX - 1) / 2 + self.origin

    def held(self, fixed_xy: Points) -> NDArray[np.bool_]:
        """Return the shared blocks that hold a point."""
        at = np.floor((fixed_xy + 0.5 - self.origin) / BLOCK_PX).astype(int)
        at = at[((at >= 0) & (at < self.shared.shape[::-1])).all(1)]
        out = np.zeros(self.shared.shape, bool)
        out[at[:, 1], at[:, 0]] = True
        return np.asarray(out & self.shared)


def overlap_blocks(fixed: View, moving: View, where: Reference) -> Blocks | None:
    """Return the blocks that two whole tiles share, None when there is none."""
    rows, cols = (-(-n // _SAMPLE_PX) for n in fixed.mask.shape)
    row, col = np.mgrid[:rows, :cols]
    at = np.stack([col.ravel(), row.ravel()], 1) * float(_SAMPLE_PX) + (_SAMPLE_PX - 1) / 2
    seen = (_data(fixed, at) & _data(moving, where(at))).reshape(rows, cols)
    if not seen.any():
        return None
    up, left = int(np.nonzero(seen.any(1))[0][0]), int(np.nonzero(seen.any(0))[0][0])
    seen = seen[up:, left:]
    side = BLOCK_PX // _SAMPLE_PX
    seen = np.pad(seen, [(0, -n % side) for n in seen.shape])
    share = seen.reshape(seen.shape[0] // side, side, seen.shape[1] // side, side).mean((1, 3))
    shared = share >= 0.5
    return Blocks(np.array([left, up], float) * _SAMPLE_PX, shared) if shared.any() else None


def _data(view: View, at_xy: Points) -> NDArray[np.bool_]:
    rows, cols = view.mask.shape
    at = np.rint(at_xy).astype(int)
    inside = ((at >= 0) & (at < (cols, rows))).all(1)
    x, y = np.clip(at, 0, (cols - 1, rows - 1)).T
    return np.asarray(inside & view.mask[y, x])
