"""The spatial transformer of ssEMnet: a coarse vector map, offsets at every pixel, the warped image.

Jaderberg et al. 2015, arXiv:1506.02025; Yoo et al. 2017, arXiv:1707.07833, section 2.2. All of it is differentiable
in the vector map, which is the only thing that is optimised.

A vector map is a tensor (2, rows, cols) of (dx, dy) px, output pixel to input point, whose node (r, c) stands on pixel
``spacing * (c, r)``: the offsets of a `demis_ij.records.Field`, whose bilinear values are those of ``bilinear`` here.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from demis_ij.errors import InputError
from demis_ij.fields import grid_of

_TPS_CELLS = 8  # places between two nodes at which a thin-plate spline is evaluated; bilinear between these
_TPS_LARGEST = 2**27  # values in its matrix: 512 MB


class Interpolation:
    """Turns a vector map into offsets at every pixel; linear in the map.

    Parameters
    ----------
    kind : str
        ``bilinear`` (the paper's best), ``tps`` (thin-plate spline through the vectors, Bookstein 1989,
        doi:10.1109/34.24792) or ``bspline`` (uniform cubic B-spline whose coefficients the vectors are; beyond the
        border they go on in a straight line, so that an affine map stays one).
    shape : tuple of int
        (rows, cols) of the image.
    spacing : float
        From node to node, px; 1 at least.
    device : torch.device or str
        Of the vector map.

    Raises
    ------
    InputError
        When the vector map would be finer than the image, or a thin-plate spline has too many nodes.
    """

    def __init__(self, kind: str, shape: tuple[int, int], spacing: float, device: torch.device | str = "cpu") -> None:
        if not spacing >= 1:
            msg = f"nodes {spacing:g} px apart make a vector map finer than the image: 1 px at least"
            raise InputError(msg)
        self.kind, self.shape, self.spacing = kind, shape, float(spacing)
        self.grid = grid_of(shape, spacing)
        to_device = [torch.from_numpy(m).to(device) for m in _matrices(kind, shape, self.grid, self.spacing)]
        self._spline = to_device[0] if kind == "tps" else None
        self._rows, self._cols = to_device[-2:]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the offsets (..., 2, H, W) px of a vector map (..., 2, rows, cols)."""
        if tuple(vectors.shape[-3:]) != (2, *self.grid):
            msg = f"the vector map has the shape {tuple(vectors.shape)}, needed {(2, *self.grid)}"
            raise InputError(msg)
        values = vectors
        if self._spline is not None:
            fine = vectors.flatten(-2) @ self._spline.T  # (..., 2, places)
            values = fine.reshape(*vectors.shape[:-2], self._rows.shape[1], self._cols.shape[1])
        return self._rows @ values @ self._cols.T


@lru_cache(maxsize=8)
def _matrices(
    kind: str, shape: tuple[int, int], grid: tuple[int, int], spacing: float
) -> tuple[NDArray[np.float32], ...]:
    """Return the matrices of an interpolation: for a thin-plate spline its own, then rows and columns."""
    if kind == "bilinear":
        return tuple(_hat(n, k, spacing) for n, k in zip(shape, grid, strict=True))
    if kind == "bspline":
        return tuple(_cubic(n, k, spacing) for n, k in zip(shape, grid, strict=True))
    if kind != "tps":
        msg = f"no interpolation {kind!r} of a vector map: bilinear, tps or bspline"
        raise InputError(msg)
    step = max(1.0, spacing / _TPS_CELLS)
    fine = grid_of(shape, step)
    if fine[0] * fine[1] * grid[0] * grid[1] > _TPS_LARGEST:
        msg = f"a thin-plate spline through {grid[0]} x {grid[1]} nodes takes too much memory: set nodes further apart"
        raise InputError(msg)
    spline = _thin_plate(_places(fine, step), _places(grid, spacing))
    return (spline, *(_hat(n, k, step) for n, k in zip(shape, fine, strict=True)))


def _hat(pixels: int, count: int, spacing: float) -> NDArray[np.float32]:
    """Return (pixels, count): what each node says at each pixel, linearly between two."""
    away = np.abs(np.arange(pixels)[:, None] / spacing - np.arange(count))
    return np.maximum(0.0, 1.0 - away).astype(np.float32)


def _cubic(pixels: int, count: int, spacing: float) -> NDArray[np.float32]:
    """Return (pixels, count): the weight of each coefficient of a uniform cubic B-spline at each pixel."""
    away = np.abs(np.arange(pixels)[:, None] / spacing - np.arange(-1, count + 1))
    near, far = 2 / 3 - away**2 + away**3 / 2, (2 - np.minimum(away, 2)) ** 3 / 6
    weights = np.where(away < 1, near, far)
    inner = weights[:, 1:-1].copy()
    if count == 1:
        return np.ones((pixels, 1), np.float32)
    for outer, edge, next_one in ((0, 0, 1), (-1, -1, -2)):  # a ghost node: twice the edge less the next one
        inner[:, edge] += 2 * weights[:, outer]
        inner[:, next_one] -= weights[:, outer]
    return inner.astype(np.float32)


def _places(grid: tuple[int, int], spacing: float) -> NDArray[np.float64]:
    y, x = np.mgrid[0 : grid[0], 0 : grid[1]]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64) * spacing


def _thin_plate(at: NDArray[np.float64], nodes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return (M, N): what a value of 1 at a node adds to the thin-plate spline at each place."""
    scale = max(float(np.ptp(nodes)), 1.0)
    at, nodes = at / scale, nodes / scale  # the spline does not depend on the unit; the conditioning does
    count = len(nodes)
    flat = np.hstack([np.ones((count, 1)), nodes])
    system = np.zeros((count + 3, count + 3))
    system[:count, :count], system[:count, count:], system[count:, :count] = _kernel(nodes, nodes), flat, flat.T
    basis = np.linalg.pinv(system) if np.ptp(nodes, axis=0).min() == 0 else np.linalg.inv(system)
    lifted = np.hstack([_kernel(at, nodes), np.ones((len(at), 1)), at])
    return np.asarray(lifted @ basis[:, :count], np.float32)


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return r^2 log r between all points of two sets."""
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(0.5 * squared * np.log(squared), nan=0.0, neginf=0.0))


def transformed(image: Tensor, mask: Tensor, offsets: Tensor, fill: float = 0.5) -> tuple[Tensor, Tensor]:
    """Return T_v(I): an image looked up at every pixel moved by its offset, and where that was data.

    Parameters
    ----------
    image, mask : Tensor of shape (..., H, W), float32
        The mask is 1 where there is data, 0 elsewhere. Axes before these are images that are transformed at once.
    offsets : Tensor of shape (..., 2, H, W)
        (dx, dy) px, output pixel to input point.
    fill : float
        Grey of what comes from outside; the mask says so.

    Returns
    -------
    image, mask : Tensor of shape (..., H, W)
        The mask is binary and carries no gradient: 1 where all that was looked up is data.
    """
    rows, cols = image.shape[-2:]
    y = torch.arange(rows, device=image.device, dtype=offsets.dtype)[:, None] + offsets[..., 1, :, :]
    x = torch.arange(cols, device=image.device, dtype=offsets.dtype) + offsets[..., 0, :, :]
    at = torch.stack([2 * x / max(cols - 1, 1) - 1, 2 * y / max(rows - 1, 1) - 1], dim=-1)
    both = torch.stack([(image - fill) * mask, mask], dim=-3)  # outside, grid_sample adds nothing
    planes, places = both.reshape(-1, 2, rows, cols), at.reshape(-1, rows, cols, 2)
    found = functional.grid_sample(planes, places, mode="bilinear", padding_mode="zeros", align_corners=True)
    found = found.reshape(both.shape)
    return found[..., 0, :, :] + fill, (found[..., 1, :, :].detach() > 0.999).to(image.dtype)


__all__ = ["Interpolation", "transformed"]
