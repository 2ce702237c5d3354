"""Warps the other way round: image pixel to output pixel, everywhere, as TrakEM2 needs them.

The files of TrakEM2 know no "unknown": where a warp says nothing, and beyond its canvas, it goes on as its affine part
does, with the rest that the nearest known node has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from demis_ij import fields
from demis_ij.records import Affine, Field, Points, Warp

LARGEST_GRID = 1024
"""Most nodes along a side when parts are made one field."""

_STEPS = 60
_NEAR_PX = 1e-3


def stride_of(warp: Warp) -> float:
    """Return the distance of the nodes at which a warp is kept: that of its finest field; px."""
    finest = min((p.stride for p in warp.parts if isinstance(p, Field)), default=max(warp.shape) / 8)
    return max(finest, max(warp.shape) / LARGEST_GRID, 1.0)


def affine_of(warp: Warp) -> Affine | None:
    """Return a warp as one affine map, None when a part of it is a field."""
    out = Affine()
    for part in warp.parts:
        if isinstance(part, Field):
            return None
        out = part @ out
    return out


@dataclass(frozen=True, eq=False)
class Completed:
    """A warp that is known everywhere: (N, 2) output px to image px.

    Attributes
    ----------
    rest : Field
        What is left of the warp without its affine part, over the canvas.
    affine : Affine
        The map that fits the warp best.
    shape : tuple of int
        (rows, cols) of the canvas.
    unknown_frac : float
        Share of the nodes that were filled in.
    """

    rest: Field
    affine: Affine
    shape: tuple[int, int]
    unknown_frac: float = 0.0

    def __call__(self, points_xy: Points) -> Points:
        """Map (N, 2) points."""
        p = np.asarray(points_xy, np.float64)
        return self.affine(p) + (self.rest(p) - p)

    def pushed(self, points_xy: Points) -> Points:
        """Return where (N, 2) image px go. Where a warp folds it is one of the places, or the nearest to one."""
        return inverted(self, points_xy, self.affine)[0]


def inverted(
    mapping: Callable[[Points], Points], points_xy: Points, near: Affine
) -> tuple[Points, NDArray[np.float64]]:
    """Return the points that a map sends to (N, 2) points, by Newton's method, and how far they miss, px.

    Parameters
    ----------
    mapping : callable
        (N, 2) points to (N, 2) points.
    points_xy : ndarray of shape (N, 2)
        What is to be reached.
    near : Affine
        About what the map does: its inverse starts the search, and takes over where the map folds.
    """
    target = np.asarray(points_xy, np.float64)
    at = near.inverse(target)
    missed = mapping(at) - target
    pace = np.ones(len(target))
    for _ in range(_STEPS):
        error = np.linalg.norm(missed, axis=1)
        todo = (error > _NEAR_PX) & (pace > 1e-3)
        if not todo.any():
            break
        tried = at[todo] - pace[todo, None] * _newton_steps(mapping, at[todo], missed[todo], near)
        left = mapping(tried) - target[todo]
        nearer = np.linalg.norm(left, axis=1) < error[todo]
        where = np.flatnonzero(todo)
        at[where[nearer]], missed[where[nearer]] = tried[nearer], left[nearer]
        pace[where] = np.where(nearer, np.minimum(2 * pace[where], 1), pace[where] / 2)
    return at, np.linalg.norm(missed, axis=1)


def _newton_steps(mapping: Callable[[Points], Points], at: Points, missed: Points, near: Affine) -> Points:
    across, down = (mapping(at + v) - mapping(at - v) for v in (np.array([0.25, 0]), np.array([0, 0.25])))
    jacobian = np.stack([across, down], axis=-1) * 2
    folds = np.linalg.det(jacobian) * np.sign(near.determinant) < 0.1 * abs(near.determinant)
    jacobian[folds] = near.matrix[:2, :2]
    return np.asarray(np.linalg.solve(jacobian, missed[..., None])[..., 0])


def completed(warp: Warp) -> Completed:
    """Return a warp as a map that is known everywhere."""
    stride = stride_of(warp)
    field = fields.at_nodes(warp, warp.shape, stride)
    affine = affine_of(warp) or fields.affine_part(field)
    at = fields.nodes(field.grid, stride)
    rest = np.moveaxis(field.offsets.astype(np.float64), 0, -1) + at - affine(at)
    filled = _filled(rest, field.known)
    small = Field(np.moveaxis(filled, -1, 0).astype(np.float32), stride)
    return Completed(small, affine, warp.shape, 1 - float(field.known.mean()))


def _filled(rest: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return offsets (rows, cols, 2) with unknown nodes filled from the nearest known ones, then smoothed."""
    if known.all():
        return rest
    if not known.any():
        return np.zeros_like(rest)
    away, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    filled: NDArray[np.float64] = rest[tuple(nearest)]
    for sigma in (2.0, 1.0):  # a seam of nearest nodes is a crease
        smooth = np.stack([ndimage.gaussian_filter(filled[..., k], sigma) for k in (0, 1)], axis=-1)
        share = np.clip(away / 4, 0, 1)[..., None]
        filled = np.where(known[..., None], filled, filled + share * (smooth - filled))
    return filled
