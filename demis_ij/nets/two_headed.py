"""The two-headed network: two pictures of different instruments in, the four numbers that bring them together out.

After Luo et al., "Real-Time Image Registration via A Deep Learning Approach for Correlative X-ray and Electron
Microscopy" (a network with a head for each image predicts angle, scale and both shifts at once, its targets
standardised). A regressor on two encodings placed side by side learns that slowly; this one is told what a similarity
does (ours)::

    fixed  ─ head ─ features ─ turned and scaled by each of a grid of hypotheses ─┐
                                                                                  ├─ correlation at each shift: a volume
    moving ─ head ─ features ─────────────────────────────────────────────────────┘      over (angle, scale, x, y)
                                                                                              │ its peak
    finer features, hypotheses around the peak ─ a finer volume ─ softmax, its mean and spread┤
                                                                     joint regressor ─────────┴─ four standardised
                                                         numbers, their log-variances, a logit "they match"

All-pairs correlation in front of a regressor: Rocco et al. 2017, doi:10.1109/CVPR.2017.12. Log-variances:
Kendall and Gal 2017, arXiv:1703.04977. The mean of a softmax as an estimate: Chen et al. 2020, arXiv:2008.09474.

The transform, in the network's frame, a square whose middle is the origin and whose side is 1::

    moving = exp(log_scale) R(angle) fixed + shift,     R(angle) turns x towards y

Pictures of any size are reduced to that frame by `frames`, and the answer is brought back to their own pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from demis_ij.errors import InputError
from demis_ij.nets.two_headed_geometry import turned, volume

KIND = "two-headed"
_CONFIDENT = 6.0  # log-variances begin at exp(-6)
PARAMETERS = ("angle", "log_scale", "shift_x", "shift_y")
"""What is predicted: radians, natural logarithm, parts of the field."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a two-headed network is made of; kept with its weights.

    Attributes
    ----------
    side : int
        Px of the square frame, a multiple of 8.
    widths : tuple of int
        Channels at a half, a quarter and an eighth of the frame.
    coarse, fine : int
        Channels of the features that are correlated: at a quarter, and at half the frame.
    separate : bool
        Whether each head has weights of its own; else they share them.
    angles, scales : int
        Hypotheses of the coarse volume, odd.
    angle_step, scale_step : float
        From one to the next: radians, natural logarithm.
    reach : int
        Shifts that the coarse volume covers to each side, coarse cells.
    fine_count, fine_reach : int
        Hypotheses to an axis of the fine volume, odd, and shifts to each side in fine cells.
    fine_angle_step, fine_scale_step : float
    """

    side: int = 128
    widths: tuple[int, int, int] = (24, 48, 64)
    coarse: int = 16
    fine: int = 12
    separate: bool = False
    angles: int = 11
    scales: int = 7
    angle_step: float = math.radians(7.5)
    scale_step: float = 0.13
    reach: int = 5
    fine_count: int = 5
    fine_reach: int = 3
    fine_angle_step: float = math.radians(2.0)
    fine_scale_step: float = 0.035

    def __post_init__(self) -> None:
        widths = [int(w) for w in self.widths]
        odd = all(n % 2 and n > 0 for n in (self.angles, self.scales, self.fine_count))
        if self.side % 8 or self.side < 32 or not odd or len(widths) != 3 or min(widths) < 1:
            msg = f"a two-headed network has a side that is a multiple of 8, odd hypotheses, three widths: found {self}"
            raise InputError(msg)
        object.__setattr__(self, "widths", tuple(widths))


KNOWN, STATS = 7, 18
"""Numbers that the regressor sees beside the estimate: of the coarse volume, and of both."""


@dataclass(frozen=True, eq=False)
class Features:
    """Levelled features of both pictures: coarse (N, C, side / 4, side / 4), fine (N, C, side / 2, side / 2)."""

    fixed: Tensor
    moving: Tensor
    fine_fixed: Tensor
    fine_moving: Tensor


class Residual(nn.Module):
    """Two convolutions around which the input goes by."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _block(width, width, dilation=dilation)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        return torch.relu(x + self.second(self.first(x)))


def _block(inside: int, outside: int, *, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


def _halving(inside: int, outside: int, side: int) -> nn.Sequential:
    # an even kernel keeps cells centred between pixels, so that turning a picture turns its features
    conv = nn.Conv2d(inside, outside, side, stride=2, padding=side // 2 - 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class Head(nn.Module):
    """What looks at one of the two pictures: features at a quarter and at half of its side.

    Parameters
    ----------
    form : Form
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        a, b, c = form.widths
        self.to_half = nn.Sequential(_halving(1, a, 6), _block(a, a))
        self.to_quarter = nn.Sequential(_halving(a, b, 4), Residual(b))
        self.to_eighth = nn.Sequential(_halving(b, c, 4), Residual(c), Residual(c, 2))
        self.up_quarter, self.at_quarter = nn.Conv2d(c, b, 1), _block(b, b)
        self.up_half, self.at_half = nn.Conv2d(b, a, 1), _block(a, a)
        self.coarse, self.fine = nn.Conv2d(b, form.coarse, 1), nn.Conv2d(a, form.fine, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return coarse and fine features of pictures (N, 1, side, side)."""
        half = self.to_half(images)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        quarter = self.at_quarter(quarter + _doubled(self.up_quarter(eighth)))
        half = self.at_half(half + _doubled(self.up_half(quarter)))
        return self.coarse(quarter), self.fine(half)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def levelled(features: Tensor, masks: Tensor) -> Tensor:
    """Return features of mean 0 in each channel and mean square 1 over all, 0 where there is no data.

    Parameters
    ----------
    features : Tensor of shape (N, C, h, w)
    masks : Tensor of shape (N, 1, H, W)
        Share of data in each pixel of the frame.
    """
    features = features.float()
    known = functional.adaptive_avg_pool2d(masks, (features.shape[-2], features.shape[-1])).clamp(0, 1)
    area = known.sum((2, 3), keepdim=True).clamp(min=1)
    x = (features - (features * known).sum((2, 3), keepdim=True) / area) * known
    energy = (x * x).sum((1, 2, 3), keepdim=True) / (area * features.shape[1])
    return x * torch.rsqrt(energy + 1e-6)


class TwoHeaded(nn.Module):
    """The network.

    Parameters
    ----------
    form : Form

    Attributes
    ----------
    mean, deviation : Tensor of shape (4,)
        Of the transforms that it was trained with, in the order of `PARAMETERS`: the unit of the regressor.
    """

    mean: Tensor
    deviation: Tensor
    stats_mean: Tensor
    stats_deviation: Tensor

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        self.fixed_head = Head(form)
        self.moving_head = Head(form) if form.separate else self.fixed_head
        self.sharpness = nn.Parameter(torch.tensor([4.0, 4.0]))  # logarithm: of the coarse softmax, and the fine one
        self.regressor = nn.Sequential(nn.Linear(STATS, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 9))
        for values in self.regressor[-1].parameters():
            nn.init.zeros_(values)
        for name, value in (("mean", 0.0), ("deviation", 1.0)):
            self.register_buffer(name, torch.full((4,), value))
            self.register_buffer(f"stats_{name}", torch.full((STATS,), value))

    def features(self, fixed: Tensor, moving: Tensor, fixed_masks: Tensor, moving_masks: Tensor) -> Features:
        """Return the levelled features of both pictures, each (N, 1, side, side) with its mask."""
        if self.form.separate:
            (fc, ff), (mc, mf) = self.fixed_head(fixed), self.moving_head(moving)
        else:
            coarse, fine = self.fixed_head(torch.cat([fixed, moving]))
            (fc, mc), (ff, mf) = coarse.chunk(2), fine.chunk(2)
        return Features(
            levelled(fc, fixed_masks), levelled(mc, moving_masks), levelled(ff, fixed_masks), levelled(mf, moving_masks)
        )

    def hypotheses(self) -> Tensor:
        """Return the (H, 4) angles and scales of the coarse volume, shifts 0; the scale runs fastest."""
        form = self.form
        angle = (torch.arange(form.angles) - form.angles // 2) * form.angle_step
        scale = (torch.arange(form.scales) - form.scales // 2) * form.scale_step
        a, s = torch.meshgrid(angle, scale, indexing="ij")
        zero = torch.zeros_like(a)
        return torch.stack([a, s, zero, zero], -1).reshape(-1, 4).to(self.mean)

    def coarse_volume(self, found: Features, hypotheses: Tensor) -> Tensor:
        """Return correlations (N, H, dy, dx) of hypotheses (H, 4) or (N, H, 4)."""
        each = hypotheses.expand(len(found.fixed), -1, -1)
        return volume(turned(found.fixed, each), found.moving, self.form.reach)

    def coarse_peak(self, correlations: Tensor) -> Tensor:
        """Return parameters (N, 4) at the highest place of whole coarse volumes, to a part of a step."""
        form = self.form
        n, wide = len(correlations), 2 * form.reach + 1
        grid = correlations.reshape(n, form.angles, form.scales, wide, wide) * self.sharpness[0].exp()
        at = grid.reshape(n, -1).argmax(1)
        # not torch.unravel_index, whose first call imports sympy for two seconds
        rest, x = at // wide, at % wide
        rest, y = rest // wide, rest % wide
        place = torch.stack([rest // form.scales, rest % form.scales, y, x], -1)
        offset = torch.stack([_around(g, p) for g, p in zip(grid, place, strict=True)])
        middle = torch.tensor([form.angles // 2, form.scales // 2, form.reach, form.reach]).to(place)
        steps = (place - middle + offset)[:, [0, 1, 3, 2]]  # dx before dy
        return steps * self.coarse_steps()

    def coarse_steps(self) -> Tensor:
        """Return how far it is from one cell of the coarse volume to the next, (4,)."""
        cell = 4 / self.form.side
        return torch.tensor([self.form.angle_step, self.form.scale_step, cell, cell]).to(self.mean)

    def fine_steps(self) -> Tensor:
        """Return how far it is from one cell of the fine volume to the next, (4,)."""
        cell = 2 / self.form.side
        return torch.tensor([self.form.fine_angle_step, self.form.fine_scale_step, cell, cell]).to(self.mean)

    def fine_volume(self, found: Features, centre: Tensor) -> Tensor:
        """Return correlations (N, angle, scale, dy, dx) around parameters (N, 4)."""
        form = self.form
        k = torch.arange(form.fine_count).to(self.mean) - form.fine_count // 2
        a, s = torch.meshgrid(k * form.fine_angle_step, k * form.fine_scale_step, indexing="ij")
        zero = torch.zeros_like(a)
        around = torch.stack([a, s, zero, zero], -1).reshape(1, -1, 4)
        fixed = turned(found.fine_fixed, centre[:, None] + around, every=2)
        seen = volume(fixed, found.fine_moving, form.fine_reach, every=2)
        return seen.reshape(-1, form.fine_count, form.fine_count, *seen.shape[-2:])

    def fine_estimate(self, correlations: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the deviation, (N, 4) in steps of the fine volume, of its softmax."""
        weight = (correlations * self.sharpness[1].exp()).flatten(1).softmax(1).reshape(correlations.shape)
        means, spreads = [], []
        for axis in (1, 2, 4, 3):
            size = correlations.shape[axis]
            at = torch.arange(size).to(weight) - size // 2
            share = weight.sum([k for k in (1, 2, 3, 4) if k != axis])
            mean = (share * at).sum(1)
            means.append(mean)
            spreads.append(((share * at**2).sum(1) - mean**2).clamp(min=1e-6).sqrt())
        return torch.stack(means, -1), torch.stack(spreads, -1)

    def look(self, found: Features) -> tuple[Tensor, Tensor]:
        """Return the estimate (N, 4), and what is known of it (N, `STATS`) before the regressor judges it."""
        coarse = self.coarse_volume(found, self.hypotheses())
        centre = self.coarse_peak(coarse)
        facts = _facts(coarse.flatten(1), self.sharpness[0])
        return self.look_closely(found, centre, torch.cat([facts, centre.abs()], -1))

    def look_closely(self, found: Features, centre: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return the estimate near parameters (N, 4), and what is known of it.

        Parameters
        ----------
        found : Features
        centre : Tensor of shape (N, 4)
        known : Tensor of shape (N, `KNOWN`)
            What the coarse volume said: the first numbers of the (N, `STATS`) of `look`.
        """
        fine = self.fine_volume(found, centre)
        mean, spread = self.fine_estimate(fine)
        facts = _facts(fine.flatten(1), self.sharpness[1])
        return centre + mean * self.fine_steps(), torch.cat([known, facts, mean, spread.log()], -1)

    def judged(self, estimate: Tensor, stats: Tensor) -> Tensor:
        """Return (N, 9): standardised parameters, their log-variances and the logit of a match."""
        said = self.regressor((stats - self.stats_mean) / self.stats_deviation)
        standard = (estimate - self.mean) / self.deviation
        moved = 0.5 * torch.tanh(said[:, :4]) * self.fine_steps() / self.deviation
        return torch.cat([standard + moved, said[:, 4:8] - _CONFIDENT, said[:, 8:]], -1)

    def forward(self, fixed: Tensor, moving: Tensor, fixed_masks: Tensor, moving_masks: Tensor) -> Tensor:
        """Return `judged` of the pictures: one pass."""
        return self.judged(*self.look(self.features(fixed, moving, fixed_masks, moving_masks)))

    def parameters_of(self, standard: Tensor) -> Tensor:
        """Return (..., 4) parameters of standardised ones."""
        return standard * self.deviation + self.mean


def _around(grid: Tensor, place: Tensor) -> Tensor:
    """Return the mean offset, steps, of the softmax over the neighbours of a place in a four-dimensional grid."""
    low = [max(0, int(p) - 1) for p in place]
    near = grid[tuple(slice(a, int(p) + 2) for a, p in zip(low, place, strict=True))]
    weight = near.flatten().softmax(0).reshape(near.shape)
    out = []
    for axis in range(4):
        share = weight.sum([k for k in range(4) if k != axis])
        at = torch.arange(len(share)).to(grid) + (low[axis] - int(place[axis]))
        out.append((share * at).sum())
    return torch.stack(out)


def _facts(flat: Tensor, sharpness: Tensor) -> Tensor:
    """Return (N, 3), of (N, K) correlations: the highest, how many deviations it stands out, logarithm of its share."""
    top = flat.max(1).values
    out = (top - flat.mean(1)) / flat.std(1).clamp(min=1e-6)
    return torch.stack([top, out, (flat * sharpness.exp()).log_softmax(1).max(1).values], -1)
