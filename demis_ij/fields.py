"""Displacement fields: dense, composed, inverted, resized, unfolded; how they stretch, and how affine they are.

All are pull maps (see `demis_ij.records.Field`): output pixel to input point. NaN means that nothing is known there,
and comes out of every function where it matters.
"""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RBFInterpolator

from demis_ij.errors import InputError
from demis_ij.geometry import Box, fit_affine
from demis_ij.records import Affine, Field, Offsets, Points, Warp

_STRIP = 2048
"""Rows that are worked on at once where points are needed in float64."""

_SMOOTHINGS = 40  # turns, each wider


def grid_of(shape: tuple[int, int], stride: float) -> tuple[int, int]:
    """Return how many (rows, cols) of nodes cover a canvas: the last ones stand on or beyond its last pixel.

    Examples
    --------
    >>> grid_of((100, 129), 32)
    (5, 5)
    >>> grid_of((100, 129), 1)
    (100, 129)
    """
    return ceil((shape[0] - 1) / stride) + 1, ceil((shape[1] - 1) / stride) + 1


def nodes(grid: tuple[int, int], stride: float) -> Points:
    """Return the output pixels (rows, cols, 2) on which the nodes of a field stand."""
    y, x = np.mgrid[0 : grid[0], 0 : grid[1]]
    return np.stack([x, y], axis=-1) * float(stride)


def at_nodes(transform: Affine | Field | Warp, shape: tuple[int, int], stride: float) -> Field:
    """Return any transform as a field over a canvas, exact at the nodes.

    Parameters
    ----------
    transform : Affine, Field or Warp
        Output pixel to input point.
    shape : tuple of int
        (rows, cols) of the canvas.
    stride : float
        Of the field, px.
    """
    at = nodes(grid_of(shape, stride), stride)
    found = transform(at.reshape(-1, 2)).reshape(at.shape) - at
    return Field(np.moveaxis(found, -1, 0).astype(np.float32), stride)


def dense(transform: Affine | Field | Warp, box: Box) -> Offsets:
    """Return the offsets (2, rows, cols) at every output pixel of a box; NaN where nothing is known."""
    if isinstance(transform, Warp) and len(transform.parts) == 1:
        transform = transform.parts[0]
    if isinstance(transform, Field):
        return _interpolated(transform, np.arange(box.x0, box.x1), np.arange(box.y0, box.y1))
    out = np.empty((2, box.height, box.width), np.float32)
    for top in range(0, box.height, _STRIP):
        y = np.arange(box.y0 + top, min(box.y1, box.y0 + top + _STRIP))
        at = np.stack(np.meshgrid(np.arange(box.x0, box.x1), y), axis=-1).astype(np.float64)
        out[:, top : top + len(y)] = np.moveaxis(transform(at) - at, -1, 0)
    return out


def _interpolated(field: Field, x: NDArray[np.int_], y: NDArray[np.int_]) -> Offsets:
    """Return the offsets (2, len(y), len(x)) of a field at the pixels of a box: along y first, then along x."""
    rows, cols = field.grid
    u, v = np.clip(x / field.stride, 0, cols - 1), np.clip(y / field.stride, 0, rows - 1)
    left, right, top, below = (k.astype(np.intp) for k in (np.floor(u), np.ceil(u), np.floor(v), np.ceil(v)))
    fu, fv = (u - left).astype(np.float32), (v - top).astype(np.float32)[:, None]
    lines = field.offsets[:, top] * (1 - fv) + field.offsets[:, below] * fv
    return np.asarray(lines[..., left] * (1 - fu) + lines[..., right] * fu, np.float32)


def composed(first: Affine | Field | Warp, then: Affine | Field | Warp, shape: tuple[int, int], stride: float) -> Field:
    """Return ``p -> then(first(p))`` as a field over a canvas, exact at its nodes.

    For pull maps: ``first`` leads from the final output to an image that ``then`` has made, ``then`` from there to the
    original.
    """
    at = nodes(grid_of(shape, stride), stride)
    found = then(first(at.reshape(-1, 2))).reshape(at.shape) - at
    return Field(np.moveaxis(found, -1, 0).astype(np.float32), stride)


def inverse(field: Field, shape: tuple[int, int], *, stride: float | None = None, steps: int = 100) -> Field:
    """Return the field that leads back, over a canvas of ``shape`` on the input's side.

    Fixed-point iteration (Chen et al. 2008, doi:10.1118/1.2816107) with half steps, ``q <- q + (p - field(q)) / 2``,
    which converges where the field stretches by less than four and folds nothing. NaN where it does not converge, and
    where the field does not know.

    Parameters
    ----------
    field : Field
    shape : tuple of int
        (rows, cols) of the input's canvas.
    stride : float, optional
        Of the result; that of ``field`` when not given.
    steps : int
        Most iterations.
    """
    step = stride or field.stride
    at = nodes(grid_of(shape, step), step)
    back, error = at.copy(), np.full(at.shape[:2], np.inf)
    for _ in range(steps):
        missed = at - field(back)
        back = back + missed / 2
        error = np.abs(missed).max(axis=-1)
        if not np.nanmax(error, initial=0.0) > 1e-4:
            break
    offsets = np.where((error < 1e-2)[..., None], back - at, np.nan)  # NaN is not below anything
    return Field(np.moveaxis(offsets, -1, 0).astype(np.float32), step)


def resized(field: Field, shape: tuple[int, int], stride: float) -> Field:
    """Return a field over a canvas with another distance of its nodes, exact where the old grid is.

    A coarser one is smoothed first, so that what it cannot hold does not come back as something else; unknown nodes
    neither count nor get known by this.
    """
    if stride <= field.stride:
        return at_nodes(field, shape, stride)
    known = field.known.astype(np.float32)
    sigma = 0.5 * stride / field.stride
    weight = cv2.GaussianBlur(known, (0, 0), sigma)
    blurred = np.stack([cv2.GaussianBlur(np.nan_to_num(o), (0, 0), sigma) for o in field.offsets])
    with np.errstate(divide="ignore", invalid="ignore"):
        smooth = np.where(field.known, blurred / weight, np.nan)
    return at_nodes(Field(smooth.astype(np.float32), field.stride), shape, stride)


def jacobian(field: Field) -> NDArray[np.float32]:
    """Return the Jacobian determinant at every node (rows, cols): area of input for each area of output.

    1 where nothing is stretched; 0 or less where the section would be folded over itself; NaN where unknown. A grid of
    one row or one column counts as not stretched along it.
    """
    dx, dy = field.offsets / np.float32(field.stride)
    along = [np.gradient(d, axis=k) if d.shape[k] > 1 else np.zeros_like(d) for d in (dx, dy) for k in (1, 0)]
    xx, xy, yx, yy = along
    return np.asarray((1 + xx) * (1 + yy) - xy * yx, np.float32)


def folded_frac(field: Field) -> float:
    """Return the share of the known nodes where the Jacobian is not positive."""
    found = jacobian(field)
    known = found[~np.isnan(found)]
    return float((known <= 0).mean()) if known.size else 0.0


def affine_part(field: Field) -> Affine:
    """Return the affine map that fits a field best over its known nodes; the identity where fewer than three are.

    Nodes on one line hold no affine map: their mean shift is returned.
    """
    at = nodes(field.grid, field.stride)[field.known]
    offsets = np.moveaxis(field.offsets, 0, -1)[field.known].astype(np.float64)
    if not len(at):
        return Affine()
    if len(at) < 3 or min(np.ptp(at, axis=0)) == 0:
        return Affine.translation(*offsets.mean(axis=0))
    return Affine.from_matrix(fit_affine(at, at + offsets))


def thin_plate(points_xy: ArrayLike, vectors_xy: ArrayLike, shape: tuple[int, int], stride: float) -> Field:
    """Return the thin-plate spline that moves points by vectors, over a canvas.

    Parameters
    ----------
    points_xy : array_like of shape (N, 2)
        Output px; three or more, not all on one line.
    vectors_xy : array_like of shape (N, 2)
        What the field adds at each.
    shape : tuple of int
        (rows, cols) of the canvas.
    stride : float
        Of the field, px.

    Raises
    ------
    InputError
        When the points do not hold a thin-plate spline.

    Notes
    -----
    Bookstein 1989, doi:10.1109/34.24792.
    """
    points, vectors = np.asarray(points_xy, np.float64), np.asarray(vectors_xy, np.float64)
    try:
        spline = RBFInterpolator(points, vectors, kernel="thin_plate_spline", degree=1)
    except (ValueError, np.linalg.LinAlgError) as error:
        msg = f"a thin-plate spline needs three points or more that are not on one line: {error}"
        raise InputError(msg) from error
    at = nodes(grid_of(shape, stride), stride)
    offsets = spline(at.reshape(-1, 2)).reshape(at.shape)
    return Field(np.moveaxis(offsets, -1, 0).astype(np.float32), stride)


def corner_jacobian(offsets: Offsets, stride: float) -> NDArray[np.float32]:
    """Return the smallest Jacobian determinant in every cell of offsets (2, rows, cols); empty for a line of nodes.

    Between four nodes a field is bilinear, and the Jacobian determinant of a bilinear map is linear along x and along
    y: its smallest value in a cell is at a corner, from the two edges that meet there. So a field whose corners are all
    positive folds nowhere, not only not at its nodes.
    """
    dx, dy = offsets / np.float32(stride)
    across, down = (np.diff(dx, axis=1), np.diff(dy, axis=1)), (np.diff(dx, axis=0), np.diff(dy, axis=0))
    least = np.full((offsets.shape[1] - 1, offsets.shape[2] - 1), np.inf, np.float32)
    for edge in (slice(None, -1), slice(1, None)):  # the upper and the lower edge of a cell
        for side in (slice(None, -1), slice(1, None)):  # its left and its right one
            xx, yx = across[0][edge], across[1][edge]
            xy, yy = down[0][:, side], down[1][:, side]
            least = np.minimum(least, (1 + xx) * (1 + yy) - xy * yx)
    return least


def least_jacobian(offsets: Offsets, stride: float) -> float:
    """Return the smallest Jacobian determinant anywhere; 1 for a field of one row or column of nodes."""
    found = corner_jacobian(offsets, stride)
    return float(found.min()) if found.size else 1.0


def unfolded(offsets: Offsets, stride: float, least: float) -> tuple[Offsets, float]:
    """Return a field whose Jacobian determinant is above a bound everywhere, and the share of nodes that it changed.

    Where the field violates the bound it is smoothed, wider and wider; if that does not suffice, the whole field is
    drawn towards its own affine part as far as needed, and to no displacement if that folds itself.

    Parameters
    ----------
    offsets : ndarray of shape (2, rows, cols)
        Known everywhere.
    stride : float
        Distance of the nodes, px.
    least : float
        The bound.
    """
    out = offsets
    for turn in range(_SMOOTHINGS):
        bad = corner_jacobian(out, stride) <= least
        if not bad.any():
            return out, _changed(offsets, out)
        out = _smoothed_there(out, bad, reach=2 + turn // 4)
    return _drawn_in(out, stride, least), 1.0


def _smoothed_there(offsets: Offsets, bad: NDArray[np.bool_], reach: int) -> Offsets:
    """Return a field that is smoothed around some cells, and goes over smoothly into what it was."""
    there = np.zeros(offsets.shape[1:], np.float32)
    there[:-1, :-1][bad] = there[1:, 1:][bad] = there[:-1, 1:][bad] = there[1:, :-1][bad] = 1
    side = 2 * reach + 1
    share = cv2.GaussianBlur(cv2.dilate(there, np.ones((side, side), np.uint8)), (0, 0), reach / 2)
    smooth = np.stack([cv2.GaussianBlur(o, (0, 0), reach / 2, borderType=cv2.BORDER_REPLICATE) for o in offsets])
    return np.asarray(offsets + share * (smooth - offsets), np.float32)


def _drawn_in(offsets: Offsets, stride: float, least: float) -> Offsets:
    rows, cols = offsets.shape[1:]
    canvas = (int((rows - 1) * stride) + 1, int((cols - 1) * stride) + 1)
    whole = at_nodes(affine_part(Field(offsets, stride)), canvas, stride).offsets[:, :rows, :cols]
    if least_jacobian(whole, stride) <= least:
        return np.zeros_like(offsets)
    kept = 1.0
    while kept > 1e-3:
        kept *= 0.8
        out = np.asarray(whole + np.float32(kept) * (offsets - whole), np.float32)
        if least_jacobian(out, stride) > least:
            return out
    return np.asarray(whole, np.float32)


def _changed(before: Offsets, after: Offsets) -> float:
    return float((np.abs(after - before).max(axis=0) > 0.01).mean())
