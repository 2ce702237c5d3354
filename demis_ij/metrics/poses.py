"""Transforms of pairs and positions of tiles against their truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import apply, fit_rigid
from demis_ij.records import Layout, Points


def true_to_fixed(truth: Layout, fixed: str, moving: str) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that takes px of the moving tile to px of the fixed tile in truth."""
    return (truth[fixed].to_world.inverse @ truth[moving].to_world).matrix


def corner_error_px(to_fixed: NDArray[np.float64], truth: Layout, fixed: str, moving: str) -> NDArray[np.float64]:
    """Return how far a pair's transform puts the moving tile's four corners from where they belong.

    The corner error of DEMIS (Šilling and Španěl 2025,
    https://scitepress.org/publishedPapers/2025/133149/pdf/index.html): its table pools all corners of all pairs.

    Parameters
    ----------
    to_fixed : ndarray of shape (3, 3)
        Moving tile px to fixed tile px, as `PairMatch` holds it.

    Returns
    -------
    ndarray of shape (4,), px
    """
    corners = truth[moving].corners
    off = apply(np.asarray(to_fixed, np.float64), corners) - apply(true_to_fixed(truth, fixed, moving), corners)
    return np.asarray(np.linalg.norm(off, axis=1))


def overlap_points(truth: Layout, fixed: str, moving: str, *, count: int = 64) -> Points:
    """Return (N, 2) px of the moving tile, on a lattice of ``count`` x ``count``, that the fixed tile shows as well."""
    rows, cols = truth[moving].shape
    x, y = np.meshgrid(np.linspace(0, cols - 1, count), np.linspace(0, rows - 1, count))
    points = np.stack([x.ravel(), y.ravel()], 1)
    seen = apply(true_to_fixed(truth, fixed, moving), points)
    h, w = truth[fixed].shape
    return np.asarray(points[((seen >= 0) & (seen <= (w - 1, h - 1))).all(1)])


def overlap_error_px(to_fixed: NDArray[np.float64], truth: Layout, fixed: str, moving: str) -> float:
    """Return the root mean square error of a pair's transform over the true overlap, px; NaN when there is none."""
    points = overlap_points(truth, fixed, moving)
    if not len(points):
        return float("nan")
    off = apply(np.asarray(to_fixed, np.float64), points) - apply(true_to_fixed(truth, fixed, moving), points)
    return float(np.sqrt((off**2).sum(1).mean()))


def global_error_px(
    solved: Layout, truth: Layout, *, components: tuple[tuple[str, ...], ...] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return the corner errors of every tile after one robust rigid alignment of a solution onto the truth.

    Parameters
    ----------
    solved, truth : Layout
        Ids of ``solved`` must be in ``truth``.
    components : tuple of tuple of str, optional
        Sets of tiles that are aligned each by itself; all together when not given.

    Returns
    -------
    dict of str to ndarray (4,), px

    Raises
    ------
    InputError
        When a tile has no truth.
    """
    strange = [t for t in solved.ids if t not in truth]
    if strange:
        msg = f"tile {strange[0]!r} has no truth"
        raise InputError(msg)
    out = {}
    for ids in components or (solved.ids,):
        frame = onto_truth(solved, truth, ids)
        ours = np.stack([solved[i].to_world(truth[i].corners) for i in ids])
        true = np.stack([truth[i].world_corners for i in ids])
        out.update(dict(zip(ids, np.linalg.norm(apply(frame, ours) - true, axis=2), strict=True)))
    return out


def onto_truth(solved: Layout, truth: Layout, ids: Sequence[str]) -> NDArray[np.float64]:
    """Return the (3, 3) rigid move of the solved world that lays some of its tiles onto the truth.

    Tiles that are far off must not drag the frame: Cauchy weights on the median error, 20 rounds.

    Parameters
    ----------
    solved, truth : Layout
    ids : sequence of str
        The tiles that count, at least one; they must be in both.
    """
    ours = np.stack([solved[i].to_world(truth[i].corners) for i in ids])
    true = np.stack([truth[i].world_corners for i in ids])
    weight = np.ones(len(ids))
    for _ in range(20):
        frame = fit_rigid(ours.reshape(-1, 2), true.reshape(-1, 2), np.repeat(weight, 4))
        size = np.linalg.norm(apply(frame, ours) - true, axis=2).mean(1)
        weight = 1 / (1 + (size / max(float(np.median(size)), 1e-6)) ** 2)
    return frame
