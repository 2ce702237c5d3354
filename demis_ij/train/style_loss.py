"""What a style network is trained by: grey values, gradients and local correlation, of partners roughly in register.

Partners in users' data are registered roughly (that is why a style is wanted). A plain difference of grey values then
teaches blurred edges. So the target is looked for some px around (`in_register`): where it fits the output best, window
by window, with a small toll on distance. Mirrored and turned crops leave the network no direction to drift in.

The idea of a registration inside the loss: Kong et al. 2021, arXiv:2110.06465, who train a second network for it;
a search over few shifts needs no training (ours). Least-squares critic: Mao et al. 2017, arXiv:1611.04076.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from demis_ij.nets.style_contrast import contrast_of

_WINDOW = 32  # px a side in which one shift is taken
_TOLL = 0.004  # of difference that a px of shift has to gain
_STRIDE = 8  # px; windows are twice that
_LEAST_VARIANCE = 1e-3
_CONTRAST_GAIN = 2.0  # local contrast spreads half as far as looks do


def in_register(output: Tensor, target: Tensor, mask: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Return target and mask moved, window by window, by at most ``reach`` px to where the output fits them best.

    Parameters
    ----------
    output, target : Tensor of shape (N, C, H, W)
    mask : Tensor of shape (N, 1, H, W)
    reach : int
        0 returns target and mask as they are.
    """
    if not reach:
        return target, mask
    with torch.no_grad():
        soft = [functional.avg_pool2d(x.detach().float(), 3, 1, 1) for x in (output, target)]
        around = functional.pad(soft[1], (reach,) * 4, mode="replicate")
        height, width = target.shape[-2:]
        window = min(_WINDOW, height, width)
        steps = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
        tolls = []
        for dy, dx in steps:
            there = around[..., reach + dy : reach + dy + height, reach + dx : reach + dx + width]
            off = ((soft[0] - there).abs().mean(1, keepdim=True)) * mask
            tolls.append(functional.avg_pool2d(off, window, ceil_mode=True) + _TOLL * (dy * dy + dx * dx) ** 0.5)
        best = torch.cat(tolls, 1).argmin(1)
        shift = torch.tensor(steps, dtype=torch.float32, device=target.device)[best].permute(0, 3, 1, 2)
        dense = functional.interpolate(shift, (height, width), mode="bilinear", align_corners=False)
        y = torch.arange(height, device=target.device)[:, None] + dense[:, 0]
        x = torch.arange(width, device=target.device)[None, :] + dense[:, 1]
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
        both = torch.cat([target.float(), mask.float()], 1)
        moved = functional.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[:, :-1], mask * (moved[:, -1:] > 0.99)


def difference(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean absolute difference of the data."""
    return ((output - target).abs() * mask).sum() / (mask.sum() * output.shape[1]).clamp(min=1)


def gradient_difference(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean absolute difference of gradients, over one px and over two of half the resolution."""
    total = output.new_zeros(())
    for _ in range(2):
        for axis in (-1, -2):
            total = total + difference(output.diff(dim=axis), target.diff(dim=axis), _both(mask, axis))
        output, target = functional.avg_pool2d(output, 2), functional.avg_pool2d(target, 2)
        mask = (functional.avg_pool2d(mask, 2) > 0.99).to(mask)
    return total / 2


def _both(mask: Tensor, axis: int) -> Tensor:
    count = mask.shape[axis] - 1
    return mask.narrow(axis, 0, count) * mask.narrow(axis, 1, count)


def local_correlation(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean correlation of two images in windows of 16 px that overlap by half, weighted by their data."""

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(functional.avg_pool2d(x, _STRIDE, ceil_mode=True), 2, 1)

    known = mean(mask)
    share = known.clamp(min=1e-3)
    a, b = output * mask, target * mask
    mean_a, mean_b = mean(a) / share, mean(b) / share
    joint = mean(a * b) / share - mean_a * mean_b
    var_a = (mean(a * a) / share - mean_a**2).clamp(min=0) + _LEAST_VARIANCE
    var_b = (mean(b * b) / share - mean_b**2).clamp(min=0) + _LEAST_VARIANCE
    found = joint * torch.rsqrt(var_a * var_b) * known
    return found.sum() / (known.sum() * output.shape[1]).clamp(min=1)


def unlikeness(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return 1 less the mean local correlation: grey values may differ in gain and offset."""
    return 1 - local_correlation(output, target, mask)


def moved_edges(output: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Return 1 less the local correlation of an output's local contrast with that of what it was made of.

    A step may become a line, and dark lines bright ones: neither moves anything.
    """
    first, second = (_CONTRAST_GAIN * contrast_of(x, mask) for x in (output, source))
    return unlikeness(first, second, mask)


def outside(values: Tensor, span: tuple[float, float]) -> Tensor:
    """Return how far values lie outside of a span, on average."""
    return (functional.relu(span[0] - values) + functional.relu(values - span[1])).mean()


def judged(found: Tensor, wanted: float) -> Tensor:
    """Return the squared distance of a critic's numbers from what is wanted."""
    return (found.float() - wanted).square().mean()


__all__ = [
    "difference", "gradient_difference", "in_register", "judged", "local_correlation", "moved_edges",
    "outside", "unlikeness",
]  # fmt: skip
