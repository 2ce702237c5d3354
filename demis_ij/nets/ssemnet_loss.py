"""What ssEMnet minimises: errors of features where there is data, and the size and roughness of the vector map.

Yoo et al. 2017, arXiv:1707.07833, section 2.2::

    L_v(I_0, I_1)      = ||f(I_1) - f(T_v(I_0))||^2
                         + alpha ||v||^2 + beta ||grad v_x||^2 + gamma ||grad v_y||^2                 (4)
    L_v(I_0, ..., I_n) = sum_i w_i M(T_v) ||f(I_i) - f(T_v(I_0))||^2
                         + alpha ||v||^2 + beta ||grad v_x||^2 + gamma ||grad v_y||^2                 (5)

Eq. 4 is eq. 5 with one neighbour of weight 1 and a mask of ones. Every function takes many sections at once as well:
axes before those that are named are sections, and what comes out has the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Weights:
    """The weights of eq. 4 and 5 on the vector map: alpha (px^-2), beta and gamma."""

    alpha: float
    beta: float
    gamma: float


def smoothness(vectors: Tensor, spacing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return ||v||^2, ||grad v_x||^2 and ||grad v_y||^2 of a vector map (..., 2, rows, cols).

    The gradient is the difference of neighbouring nodes over their distance, px per px.
    """
    down, right = (torch.diff(vectors, dim=k) / spacing for k in (-2, -1))
    rough = (down**2).sum(dim=(-2, -1)) + (right**2).sum(dim=(-2, -1))
    return (vectors**2).sum(dim=(-3, -2, -1)), rough[..., 0], rough[..., 1]


def resized_mask(mask: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return M: a mask of the image (..., H, W) at the size of the feature map, by bilinear interpolation."""
    planes = mask.reshape(1, -1, *mask.shape[-2:])
    small = functional.interpolate(planes, size=shape, mode="bilinear", align_corners=False)
    return small.reshape(*mask.shape[:-2], *shape)


def feature_errors(found: Tensor, wanted: Tensor) -> Tensor:
    """Return ||f(I_i) - f(T_v(I_0))||^2 at every place (..., rows, cols) of two feature maps (..., C, rows, cols)."""
    return ((wanted - found) ** 2).sum(dim=-3)


def kept_by_loss_drop(errors: Tensor, mask: Tensor, drop: float) -> Tensor:
    """Return which places of a feature map count, 1 or 0, after the largest errors are dropped.

    Parameters
    ----------
    errors, mask : Tensor of shape (..., rows, cols)
        Only places whose mask is above 0 are ranked and dropped.
    drop : float
        Share of these that is dropped, 0 to 1: their number times this, rounded down.
    """
    keep = torch.ones_like(errors)
    ranked = (mask > 0).flatten(-2)
    counts = torch.tensor([int(drop * n) for n in ranked.sum(dim=-1).flatten().tolist()], device=errors.device)
    most = int(counts.max())
    if most:
        ordered = torch.where(ranked, errors.detach().flatten(-2), -torch.inf)
        worst = torch.topk(ordered, most, dim=-1).indices
        stays = torch.arange(most, device=errors.device) >= counts.reshape(*ranked.shape[:-1], 1)
        keep.view(ranked.shape).scatter_(-1, worst, stays.to(keep.dtype))
    return keep


def drop_share(start: float, iteration: int) -> float:
    """Return the share that loss drop takes in an iteration, from 0: ``start``, halved with each one."""
    return start * 0.5**iteration


def registration_loss(
    found: Tensor,
    wanted: Sequence[Tensor],
    neighbour_weights: Sequence[float | Tensor],
    masks: Sequence[Tensor],
    vectors: Tensor,
    spacing: float,
    weights: Weights,
    drop: float = 0.0,
) -> Tensor:
    """Return L_v of eq. 5, as it is printed: sums, not means.

    Parameters
    ----------
    found : Tensor of shape (..., C, rows, cols)
        f(T_v(I_0)).
    wanted : sequence of Tensor of shape (..., C, rows, cols)
        f(I_i), one for each neighbour.
    neighbour_weights : sequence of float or Tensor of shape (...)
        w_i.
    masks : sequence of Tensor of shape (..., rows, cols)
        M at the size of the feature map, one for each neighbour, as neighbours have places without data, too.
    vectors : Tensor of shape (..., 2, ., .)
        v.
    spacing : float
        From node to node of it, px.
    weights : Weights
        alpha, beta and gamma.
    drop : float
        Share of the feature errors that loss drop takes, for each neighbour by itself.
    """
    size, rough_x, rough_y = smoothness(vectors, spacing)
    total = weights.alpha * size + weights.beta * rough_x + weights.gamma * rough_y
    for features, weight, mask in zip(wanted, neighbour_weights, masks, strict=True):
        errors = feature_errors(found, features)
        total = total + weight * (kept_by_loss_drop(errors, mask, drop) * mask * errors).sum(dim=(-2, -1))
    return total


__all__ = [
    "Weights", "drop_share", "feature_errors", "kept_by_loss_drop", "registration_loss", "resized_mask", "smoothness",
]  # fmt: skip
