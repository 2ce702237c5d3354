"""Similarities on batches of feature maps: their matrices, maps turned by them, correlations at whole shifts.

The frame is a square whose middle is the origin; matrices count it from -1 to 1, as torch's grids do, parameters count
its side as 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def matrices(parameters: Tensor) -> Tensor:
    """Return (..., 2, 3) transforms fixed to moving of (..., 4) parameters, in a frame from -1 to 1."""
    angle, log_scale = parameters[..., 0], parameters[..., 1]
    c, s = log_scale.exp() * angle.cos(), log_scale.exp() * angle.sin()
    x, y = 2 * parameters[..., 2], 2 * parameters[..., 3]
    return torch.stack([torch.stack([c, -s, x], -1), torch.stack([s, c, y], -1)], -2)


def inverted(found: Tensor) -> Tensor:
    """Return the (..., 2, 3) inverses of similarities."""
    a, b, c, d = found[..., 0, 0], found[..., 0, 1], found[..., 1, 0], found[..., 1, 1]
    x, y = found[..., 0, 2], found[..., 1, 2]
    det = a * d - b * c
    a, b, c, d = d / det, -b / det, -c / det, a / det
    upper = torch.stack([a, b, -(a * x + b * y)], -1)
    return torch.stack([upper, torch.stack([c, d, -(c * x + d * y)], -1)], -2)


def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """Return (N, 2, 3) transforms that do the inner one first."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return torch.cat([linear, shift], -1)


def parameters_in(transforms: Tensor) -> Tensor:
    """Return the (N, 4) parameters of similarities (N, 2, 3): the inverse of `matrices`."""
    a, c = transforms[..., 0, 0], transforms[..., 1, 0]
    angle, log_scale = torch.atan2(c, a), torch.log(torch.hypot(a, c))
    return torch.stack([angle, log_scale, transforms[..., 0, 2] / 2, transforms[..., 1, 2] / 2], -1)


def turned(features: Tensor, parameters: Tensor, *, every: int = 1) -> Tensor:
    """Return fixed features as hypotheses say that they lie in the moving frame.

    Parameters
    ----------
    features : Tensor of shape (N, C, h, w)
    parameters : Tensor of shape (N, H, 4)
    every : int
        Only every second cell is computed when it is 2.

    Returns
    -------
    Tensor of shape (N, H, C, h / every, w / every)
    """
    n, c, h, w = features.shape
    count = parameters.shape[1]
    back = inverted(matrices(parameters))  # where a moving cell looks in the fixed frame
    x = ((torch.arange(0, w, every) + 0.5) * (2 / w) - 1).to(features)
    y = ((torch.arange(0, h, every) + 0.5) * (2 / h) - 1).to(features)
    h, w = len(y), len(x)
    cells = torch.stack([x.expand(h, w), y[:, None].expand(h, w), torch.ones(h, w).to(features)], -1).reshape(-1, 3)
    # all hypotheses of a picture one above the other: it is read once
    grid = torch.matmul(cells, back.transpose(-1, -2)).reshape(n, count * h, w, 2)
    out = functional.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return out.reshape(n, c, count, h, w).transpose(1, 2)


def brought(pictures: Tensor, transforms: Tensor, mode: str) -> Tensor:
    """Return moving pictures (N, C, h, w) sampled where (N, 2, 3) transforms say that fixed pixels lie."""
    grid = functional.affine_grid(transforms, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, mode=mode, padding_mode="zeros", align_corners=False)


def volume(fixed: Tensor, moving: Tensor, reach: int, *, every: int = 1) -> Tensor:
    """Return correlations of turned fixed features with moving ones at each whole shift.

    Parameters
    ----------
    fixed : Tensor of shape (N, H, C, h / every, w / every)
    moving : Tensor of shape (N, C, h, w)
    reach : int
        Shifts to each side, cells.
    every : int
        1 when all cells of the fixed features are at hand, 2 when every second one to both sides is.

    Returns
    -------
    Tensor of shape (N, H, 2 reach + 1, 2 reach + 1)
        Row dy, column dx: the mean over cells q and channels of fixed(q) moving(q + d).
    """
    n, count, c, h, w = fixed.shape
    spare = every - 1  # what the last window would lack on its far side
    shifted = functional.unfold(functional.pad(moving, (reach, reach + spare) * 2), (h, w), dilation=every)
    side = 2 * reach + 1
    wide = round(math.sqrt(shifted.shape[-1]))
    found = torch.bmm(fixed.reshape(n, count, c * h * w), shifted) / (c * h * w)
    return found.reshape(n, count, wide, wide)[..., :side, :side]
