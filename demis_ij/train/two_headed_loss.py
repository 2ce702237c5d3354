"""What the two-headed network is trained by: both volumes should peak at the truth.

Each volume is taken as the logits of a softmax over its cells, as in classification, and compared with a small Gaussian
around the true cell: every wrong angle, scale and shift is an example of what does not match. The coarse volume is
seen at some of its hypotheses only, those around the truth and others drawn at random, whose share is put right by the
logarithm of how many they stand for (sampled softmax, Bengio and Senecal 2008, doi:10.1109/TNN.2007.912312).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from demis_ij.nets.two_headed import Features, TwoHeaded

_SPREAD = 0.5  # of the Gaussian around the truth, steps
_OTHERS = 12  # hypotheses that are drawn
_NEAR = 9  # three angles by three scales


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of a batch, each a mean over pairs.

    Attributes
    ----------
    coarse, fine : Tensor
        Cross-entropies of the two volumes, nats.
    place : Tensor
        Mean absolute distance of the fine softmax's mean from the truth, fine steps (a Huber loss).
    """

    coarse: Tensor
    fine: Tensor
    place: Tensor

    @property
    def total(self) -> Tensor:
        """What is made small."""
        return self.coarse + self.fine + self.place


def losses(net: TwoHeaded, found: Features, truth: Tensor, generator: torch.Generator) -> Losses:
    """Return the losses of pairs whose features are known.

    Parameters
    ----------
    net : TwoHeaded
    found : Features
    truth : Tensor of shape (N, 4)
    generator : torch.Generator
        Of the hypotheses that are looked at, and of where the fine volume is centred.
    """
    coarse = coarse_loss(net, found, truth, generator)
    reach = torch.tensor([1.6, 1.6, net.form.fine_reach - 0.6, net.form.fine_reach - 0.6])
    off = (2 * torch.rand(truth.shape, generator=generator) - 1) * reach.to(truth)  # steps, as a coarse peak is off
    volume = net.fine_volume(found, truth - off * net.fine_steps())
    target = fine_target(volume, off)
    fine = -(target * (volume * net.sharpness[1].exp()).flatten(1).log_softmax(1)).sum(1).mean()
    mean, _ = net.fine_estimate(volume)
    place = torch.nn.functional.smooth_l1_loss(mean, off, beta=0.3)
    return Losses(coarse, fine, place)


def coarse_loss(net: TwoHeaded, found: Features, truth: Tensor, generator: torch.Generator) -> Tensor:
    """Return the cross-entropy of the coarse volume, of sampled hypotheses."""
    form = net.form
    at = truth / net.coarse_steps()  # steps from the middle of the volume
    angle = (at[:, 0] + form.angles // 2).round().clamp(1, form.angles - 2).long()
    scale = (at[:, 1] + form.scales // 2).round().clamp(1, form.scales - 2).long()
    around = torch.arange(-1, 2)
    near = ((angle[:, None] + around)[:, :, None] * form.scales + (scale[:, None] + around)[:, None]).flatten(1)
    count = form.angles * form.scales
    score = torch.rand(len(truth), count, generator=generator).scatter_(1, near, -1.0)
    others = min(_OTHERS, count - _NEAR)
    chosen = torch.cat([near, score.topk(others, 1).indices], 1)
    hypotheses = net.hypotheses()[chosen]
    logits = net.coarse_volume(found, hypotheses) * net.sharpness[0].exp()
    stands_for = torch.zeros(chosen.shape[1])
    stands_for[_NEAR:] = math.log((count - _NEAR) / max(others, 1))
    logits = logits + stands_for[:, None, None]
    away = hypotheses[..., :2] / net.coarse_steps()[:2] - at[:, None, :2]
    own = torch.exp(-(away**2).sum(-1) / (2 * _SPREAD**2))
    target = own[:, :, None, None] * _shift_weight(at[:, 2:], form.reach)[:, None]
    target = (target / target.sum((1, 2, 3), keepdim=True)).flatten(1)
    return -(target * logits.flatten(1).log_softmax(1)).sum(1).mean()


def fine_target(volume: Tensor, at: Tensor) -> Tensor:
    """Return the wanted softmax (N, cells) of a fine volume whose truth lies ``at`` steps (N, 4) from its middle."""
    count, reach = volume.shape[1], volume.shape[3] // 2
    k = torch.arange(count).to(volume) - count // 2
    angle = torch.exp(-((k - at[:, :1]) ** 2) / (2 * _SPREAD**2))
    scale = torch.exp(-((k - at[:, 1:2]) ** 2) / (2 * _SPREAD**2))
    shift = _shift_weight(at[:, 2:], reach)
    target = (angle[:, :, None] * scale[:, None])[:, :, :, None, None] * shift[:, None, None]
    return (target / target.sum((1, 2, 3, 4), keepdim=True)).flatten(1)


def _shift_weight(at_xy: Tensor, reach: int) -> Tensor:
    """Return the weights (N, dy, dx) of whole shifts when the truth is at (N, 2) cells."""
    k = torch.arange(-reach, reach + 1).to(at_xy)
    x = torch.exp(-((k - at_xy[:, :1]) ** 2) / (2 * _SPREAD**2))
    y = torch.exp(-((k - at_xy[:, 1:]) ** 2) / (2 * _SPREAD**2))
    return y[:, :, None] * x[:, None]
