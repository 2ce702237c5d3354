"""What a network should say of a pair: which coarse cells belong together, and where their centres really lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Points
from demis_ij.train.samples import Sample

FINE_MATCHES = 160
"""True matches of a pair that the fine stage is trained on."""
WRONG_CELL_FRAC = 0.15
"""Share of them whose moving cell is one off, as a prediction may be."""

Cells = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Targets:
    """The truth of one pair.

    Attributes
    ----------
    i, j : ndarray of shape (M,), int64
        Numbers, row-major, of the coarse cells of fixed and moving that belong together.
    fine_i, fine_j : ndarray of shape (K,), int64
        Cells that the fine stage looks at.
    offset_px : ndarray of shape (K, 2), float32
        From the centre of the moving cell to the true place, (x, y).
    """

    i: Cells
    j: Cells
    fine_i: Cells
    fine_j: Cells
    offset_px: NDArray[np.float32]


def coarse_truth(sample: Sample, stride: int = 8, half_pixel: float = 0.0) -> tuple[Cells, Cells, NDArray[np.float32]]:
    """Return which coarse cells belong together and where each point really lies.

    A cell of the fixed crop and one of the moving crop belong together when each is the other's nearest.

    Parameters
    ----------
    sample : Sample
        The pair.
    stride : int
        Pixels a coarse cell.
    half_pixel : float
        What is subtracted from the network's points to reach pixel centres at integers: its cell (x, y) lies on
        pixel ``stride * (x, y) - half_pixel``.

    Returns
    -------
    i, j : ndarray of shape (M,), int64
        Cell numbers, row-major, in fixed and moving.
    at_xy : ndarray of shape (M, 2), float32
        The fixed cell's centre on the moving crop, in the network's frame (cells at multiples of the stride).
    """
    none = np.empty(0, np.int64)
    if sample.to_moving is None:
        return none, none, np.empty((0, 2), np.float32)
    grids = [(-(-image.shape[0] // stride), -(-image.shape[1] // stride)) for image in (sample.fixed, sample.moving)]

    def nearest(
        to: Callable[[Points], Points], source: tuple[int, int], target: tuple[int, int]
    ) -> tuple[Cells, Points]:
        yy, xx = np.mgrid[: source[0], : source[1]]
        at = to(np.stack([xx.ravel(), yy.ravel()], 1) * float(stride) - half_pixel) + half_pixel
        cell = np.rint(at / stride).astype(np.int64)
        inside = (cell >= 0).all(1) & (cell[:, 0] < target[1]) & (cell[:, 1] < target[0])
        return np.where(inside, cell[:, 1] * target[1] + cell[:, 0], -1), at

    there, at = nearest(sample.to_moving, grids[0], grids[1])
    back, _ = nearest(sample.to_moving.inverse, grids[1], grids[0])
    i = np.flatnonzero(there >= 0)
    i = i[back[there[i]] == i]
    return i, there[i], at[i].astype(np.float32)


def targets_of(sample: Sample, rng: np.random.Generator, stride: int = 8, half_pixel: float = 0.0) -> Targets:
    """Return the truth of a pair, with the cells that the fine stage is trained on drawn from it.

    Most are true matches; some have the moving cell one off, so that the fine stage learns to correct the coarse one.
    """
    i, j, at = coarse_truth(sample, stride, half_pixel)
    rows, cols = (-(-n // stride) for n in sample.moving.shape)
    some = rng.permutation(len(i))[:FINE_MATCHES]
    jy, jx = np.divmod(j[some], cols)
    off = rng.random(len(some)) < WRONG_CELL_FRAC
    jx = np.clip(jx + off * rng.integers(-1, 2, len(some)), 0, cols - 1)
    jy = np.clip(jy + off * rng.integers(-1, 2, len(some)), 0, rows - 1)
    offset = at[some] - np.stack([jx, jy], 1) * stride
    return Targets(i, j, i[some], jy * cols + jx, offset.astype(np.float32))
