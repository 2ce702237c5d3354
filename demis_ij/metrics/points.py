"""Matched points against their truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.geometry import apply
from demis_ij.records import Points

Floats = NDArray[np.float64]


def reprojection_error_px(fixed_xy: Points, moving_xy: Points, to_fixed: Floats) -> Floats:
    """Return how far each moving point, carried by the true transform, lies from its fixed point.

    Parameters
    ----------
    fixed_xy, moving_xy : ndarray of shape (N, 2)
        Matched points, px of the tiles.
    to_fixed : ndarray of shape (3, 3)
        The truth, moving to fixed px.

    Returns
    -------
    ndarray of shape (N,), px
    """
    return np.asarray(np.linalg.norm(apply(np.asarray(to_fixed, np.float64), moving_xy) - fixed_xy, axis=1))


def error_auc(errors_px: ArrayLike, thresholds_px: Sequence[float] = (1, 3, 5, 10)) -> Floats:
    """Return the area under the curve of recall against error up to each threshold, as a share of the best.

    As LoFTR and SuperGlue report it (Sarlin et al. 2020, arXiv:1911.11763, section 5.2): the curve runs from (0, 0)
    through (error of rank k, k / N) by straight lines, and holds its last height up to the threshold.

    Parameters
    ----------
    errors_px : array_like of shape (N,)
        ``inf`` for what failed. NaN counts as failed.
    thresholds_px : sequence of float

    Returns
    -------
    ndarray of shape (thresholds,)
        In [0, 1]; NaN where there are no errors at all.

    Examples
    --------
    >>> error_auc([0.0, 0.0], [1.0])
    array([1.])
    >>> error_auc([0.5, float("inf")], [1.0])
    array([0.375])
    """
    errors = np.sort(np.nan_to_num(np.asarray(errors_px, np.float64).ravel(), nan=np.inf))
    if not len(errors):
        return np.full(len(thresholds_px), np.nan)
    x = np.concatenate([[0.0], errors])
    y = np.arange(len(errors) + 1) / len(errors)
    out = []
    for threshold in thresholds_px:
        last = int(np.searchsorted(x, threshold, side="left"))
        height = y[last - 1] if last else 0.0
        if not last:  # every error is above, or the threshold is nil
            out.append(0.0)
            continue
        out.append(float(np.trapezoid(np.append(y[:last], height), np.append(x[:last], threshold))) / threshold)
    return np.array(out)


def coverage(
    fixed_xy: Points,
    moving_xy: Points,
    to_fixed: Floats,
    fixed_shape: tuple[int, int],
    moving_shape: tuple[int, int],
    *,
    block_px: int = 32,
    within_px: float = 1.0,
) -> float:
    """Return the share of the blocks of the true overlap that hold a correct match.

    Parameters
    ----------
    fixed_xy, moving_xy : ndarray of shape (N, 2)
        Matched points, px of the tiles.
    to_fixed : ndarray of shape (3, 3)
        The truth, moving to fixed px.
    fixed_shape, moving_shape : (int, int)
        (rows, cols) of the tiles.
    block_px : int
        Side of a block. Blocks tile the fixed image from its first pixel; those whose centre the moving tile shows
        make up the overlap.
    within_px : float
        A match is correct up to this distance from the truth.

    Returns
    -------
    float
        In [0, 1]; NaN when no block is shared.
    """
    matrix = np.asarray(to_fixed, np.float64)
    counts = tuple(-(-n // block_px) for n in fixed_shape)
    row, col = np.mgrid[: counts[0], : counts[1]]
    middle: Floats = np.stack([col.ravel(), row.ravel()], 1) * float(block_px) + (block_px - 1) / 2
    middle = np.minimum(middle, np.array(fixed_shape[::-1], np.float64) - 1)
    seen = apply(np.asarray(np.linalg.inv(matrix), np.float64), middle)
    shared = ((seen >= 0) & (seen <= np.array(moving_shape[::-1]) - 1)).all(1).reshape(counts)
    if not shared.any():
        return float("nan")
    right = reprojection_error_px(fixed_xy, moving_xy, matrix) <= within_px if len(fixed_xy) else np.empty(0, bool)
    block = (np.floor(fixed_xy[right] + 0.5) // block_px).astype(int)
    inside = ((block >= 0) & (block < counts[::-1])).all(1)
    held = np.zeros(counts, bool)
    held[block[inside, 1], block[inside, 0]] = True
    return float((held & shared).sum() / shared.sum())
