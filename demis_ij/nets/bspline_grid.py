"""Uniform cubic B-splines over an image as tensors: values and derivatives on lattices and at any points.

A spline of N intervals has N + 3 coefficients along either side, and coefficient k stands at ``(k - 1) (size - 1) / N``
px: the lattice of bUnwarpJ's files (Arganda-Carreras et al. 2006, doi:10.1007/11889762_8), so that what is solved for
is what is written. On a lattice the basis is a product of one matrix for rows and one for columns, so a spline costs
two small matrix products, and so does the gradient with respect to its coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ORDERS = 3  # the value, the first and the second derivative


def taps(at: Tensor, size: int, intervals: int, order: int = 0) -> tuple[Tensor, Tensor]:
    """Return which four coefficients enter at each coordinate, and their weights: both (..., 4).

    Parameters
    ----------
    at : Tensor of shape (...)
        Coordinates, px; beyond the image the outermost polynomial goes on.
    size : int
        Px of that side of the image.
    intervals : int
        N.
    order : int
        0 for the value, 1 and 2 for derivatives with respect to px.
    """
    per_px = intervals / max(size - 1, 1)
    u = at * per_px
    first = u.floor().clamp(0, intervals - 1)
    t = u - first
    s = 1 - t
    if order == 0:
        weights = [s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3]
    elif order == 1:
        weights = [-3 * s**2, 9 * t**2 - 12 * t, 12 * s - 9 * s**2, 3 * t**2]
    else:
        weights = [6 * s, 18 * t - 12, 18 * s - 12, 6 * t]
    index = first.long()[..., None] + torch.arange(4, device=at.device)
    return index, torch.stack(weights, dim=-1) * (per_px**order / 6)


def basis(at: Tensor, size: int, intervals: int, order: int = 0) -> Tensor:
    """Return (len(at), N + 3): the weight of each coefficient at each coordinate, as in `taps`."""
    index, weights = taps(at, size, intervals, order)
    out = torch.zeros(len(at), intervals + 3, dtype=at.dtype, device=at.device)
    return out.scatter_(1, index, weights)


@dataclass(frozen=True, eq=False)
class Lattice:
    """Splines at the crossings of some rows and columns.

    Attributes
    ----------
    down, across : tuple of Tensor, each (rows, N + 3) or (cols, N + 3)
        The basis and its first and second derivative along y and along x.
    """

    down: tuple[Tensor, ...]
    across: tuple[Tensor, ...]

    @classmethod
    def at(cls, y: Tensor, x: Tensor, shape: tuple[int, int], intervals: int) -> Lattice:
        """Return the lattice of rows ``y`` and columns ``x``, px, over an image of ``shape`` (rows, cols)."""
        down, across = (
            tuple(basis(v, n, intervals, k) for k in range(ORDERS)) for v, n in zip((y, x), shape, strict=True)
        )
        return cls(down, across)

    @property
    def size(self) -> tuple[int, int]:
        """How many (rows, cols) cross."""
        return len(self.down[0]), len(self.across[0])

    def __call__(self, coefficients: Tensor, dy: int = 0, dx: int = 0) -> Tensor:
        """Return (..., rows, cols) values, or derivatives of these orders, of splines (..., N + 3, N + 3)."""
        return self.down[dy] @ coefficients @ self.across[dx].T

    def pulled(self, values: Tensor, dy: int = 0, dx: int = 0) -> Tensor:
        """Return the adjoint: (..., N + 3, N + 3), what values (..., rows, cols) say of each coefficient."""
        return self.down[dy].T @ values @ self.across[dx]


@dataclass(frozen=True, eq=False)
class Places:
    """Splines at any points, with the Jacobian there.

    Attributes
    ----------
    index : Tensor of shape (M, 16), int64
        Coefficients that enter, in a plane laid out row by row.
    weights : Tensor of shape (3, M, 16)
        For the value, the derivative along x and the derivative along y.
    """

    index: Tensor
    weights: Tensor

    @classmethod
    def at(cls, points_xy: Tensor, shape: tuple[int, int], intervals: int) -> Places:
        """Return the places of points (M, 2), px of an image of ``shape``; what lies beyond it is as at its edge."""
        (left, across), (top, down) = (_held(points_xy[:, k], shape[1 - k], intervals) for k in (0, 1))
        index = (top[:, :, None] * (intervals + 3) + left[:, None, :]).flatten(1)
        products = [(down[dy][:, :, None] * across[dx][:, None, :]).flatten(1) for dy, dx in ((0, 0), (0, 1), (1, 0))]
        return cls(index, torch.stack(products))

    def __call__(self, coefficients: Tensor, kind: int = 0) -> Tensor:
        """Return (K, M): splines (K, N + 3, N + 3) there; ``kind`` 1 and 2 are the derivatives along x and y."""
        return (coefficients.flatten(1)[:, self.index] * self.weights[kind]).sum(-1)

    def pulled(self, values: Tensor, side: int) -> Tensor:
        """Return the adjoint: (K, side, side), what values (K, M) say of each coefficient."""
        spread = (values[..., None] * self.weights[0]).flatten(1)
        out = torch.zeros(len(values), side * side, dtype=values.dtype, device=values.device)
        return out.index_add_(1, self.index.flatten(), spread).reshape(-1, side, side)


def _held(at: Tensor, size: int, intervals: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the coefficients that enter, with weights for the value and the slope, which is 0 beyond the image."""
    within = at.clamp(0, size - 1)
    index, value = taps(within, size, intervals)
    return index, (value, taps(within, size, intervals, 1)[1] * (within == at)[:, None])


def refined(coefficients: Tensor) -> Tensor:
    """Return the same splines with twice the intervals: (..., N + 3, N + 3) to (..., 2 N + 3, 2 N + 3), exactly."""
    side = coefficients.shape[-1]
    intervals = side - 3
    halves = torch.zeros(2 * intervals + 3, side, dtype=coefficients.dtype, device=coefficients.device)
    for j in range(2 * intervals + 3):
        i = (j + 1) // 2
        if j % 2:
            halves[j, i - 1 : i + 2] = torch.tensor([1, 6, 1], dtype=halves.dtype, device=halves.device) / 8
        else:
            halves[j, i : i + 2] = 0.5
    return halves @ coefficients @ halves.T


def identity(shape: tuple[int, int], intervals: int, like: Tensor) -> Tensor:
    """Return the coefficients (2, N + 3, N + 3) of x and y themselves over an image of ``shape``."""
    x, y = ((torch.arange(-1, intervals + 2) * ((n - 1) / intervals)).to(like) for n in shape[::-1])
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))])


__all__ = ["Lattice", "Places", "basis", "identity", "refined", "taps"]
