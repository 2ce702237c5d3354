"""No warp folds a section over itself, nor shrinks any of it to nearly nothing.

Between four nodes a field is bilinear, and the Jacobian determinant of a bilinear map is linear along x and along y:
its smallest value in a cell is at a corner, from the two edges that meet there. So a field whose corners are all
positive folds nowhere, not only not at its nodes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.fields import affine_part, at_nodes
from demis_ij.records import Field, Offsets

_SMOOTHINGS = 40


def corner_jacobian(offsets: Offsets, stride: float) -> NDArray[np.float32]:
    """Return the smallest Jacobian determinant in every cell of a field, (rows - 1, cols - 1); empty for a line."""
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
