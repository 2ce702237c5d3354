"""One pass of the two-headed network over pairs, or two: the second looks at the moving picture brought near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from demis_ij.nets.two_headed import KNOWN, TwoHeaded
from demis_ij.nets.two_headed_geometry import brought, composed, matrices, parameters_in


@dataclass(frozen=True, eq=False)
class Found:
    """What came out of one or two passes over N pairs.

    Attributes
    ----------
    transforms : Tensor of shape (N, 2, 3)
        Fixed to moving, in a frame from -1 to 1.
    sigma : Tensor of shape (N,)
        Expected error of a corner, as a part of the frame's side.
    match : Tensor of shape (N,)
        Logit that the pictures show one thing.
    parameters : Tensor of shape (N, 4)
        Angle, logarithm of the scale, shifts.
    estimates, stats : Tensor
        What the regressor was given by the last pass: (N, 4) and (N, `STATS`).
    before : Tensor of shape (N, 2, 3)
        What was known before the last pass.
    """

    transforms: Tensor
    sigma: Tensor
    match: Tensor
    parameters: Tensor
    estimates: Tensor
    stats: Tensor
    before: Tensor


def find(
    net: TwoHeaded, fixed: Tensor, moving: Tensor, fixed_masks: Tensor, moving_masks: Tensor, *, passes: int = 2
) -> Found:
    """Return where moving pictures lie; the second pass looks at the moving picture brought near the fixed one.

    Parameters
    ----------
    net : TwoHeaded
    fixed, moving, fixed_masks, moving_masks : Tensor of shape (N, 1, side, side)
        Of `demis_ij.nets.two_headed_frames.prepared`.
    passes : int
        1 or 2.
    """
    estimate, stats = net.look(net.features(fixed, moving, fixed_masks, moving_masks))
    transforms = torch.zeros(len(fixed), 2, 3).to(fixed)
    transforms[:, 0, 0] = transforms[:, 1, 1] = 1
    for number in range(passes):
        if number:
            estimate, stats = look_again(net, (fixed, moving, fixed_masks, moving_masks), transforms, stats)
        said = net.judged(estimate, stats)
        before = transforms
        transforms = composed(before, matrices(net.parameters_of(said[:, :4])))
    return Found(transforms, sigma_of(net, said), said[:, 8], parameters_in(transforms), estimate, stats, before)


def look_again(net: TwoHeaded, pictures: Sequence[Tensor], transforms: Tensor, stats: Tensor) -> tuple[Tensor, Tensor]:
    """Return the estimate of what is left (N, 4), and what is known of it, of moving pictures brought near.

    Parameters
    ----------
    net : TwoHeaded
    pictures : sequence of Tensor
        Fixed and moving pictures and their masks, as in `find`.
    transforms : Tensor of shape (N, 2, 3)
        What is known so far.
    stats : Tensor of shape (N, `STATS`)
        Of the first pass.
    """
    fixed, moving, fixed_masks, moving_masks = pictures
    nearer, masks = brought(moving, transforms, "bicubic"), brought(moving_masks, transforms, "bilinear")
    found = net.features(fixed, nearer, fixed_masks, masks)
    return net.look_closely(found, torch.zeros(len(fixed), 4).to(fixed), stats[:, :KNOWN])


def sigma_of(net: TwoHeaded, said: Tensor) -> Tensor:
    """Return the expected error of a corner of the frame, as a part of its side, of what the regressor said."""
    variance = said[:, 4:8].exp() * net.deviation**2
    return (0.5 * (variance[:, 0] + variance[:, 1]) + variance[:, 2] + variance[:, 3]).sqrt()
