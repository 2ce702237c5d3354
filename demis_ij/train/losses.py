"""The losses of LoFTR (Sun et al. 2021, arXiv:2104.00680, section 3.5).

Coarse: the focal loss (Lin et al. 2017, arXiv:1708.02002) on the dual-softmax confidence (eq. 6), as the paper's
published code has it for dense supervision: the mean over the true cells plus the mean over all others. Fine: the
squared offset weighted by its predicted certainty (eq. 8); the paper divides by the variance, its code by the standard
deviation with the weights' mean set to one, and so does this.

Every mean is over the pairs of all processes together, so that several processes do what one does: each returns its
share, and the shares add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from kornia.feature.loftr.loftr import LoFTR

from demis_ij.train.samples import Sample
from demis_ij.train.targets import Targets

Total = Callable[[torch.Tensor], torch.Tensor]
"""Adds a number up over all processes, without a gradient."""


def alone(value: torch.Tensor) -> torch.Tensor:
    """Return the number itself: the total of a single process."""
    return value.detach()


@dataclass(frozen=True, eq=False)
class Losses:
    """What one step is told.

    Attributes
    ----------
    coarse, fine, imitation : Tensor
        Scalars; this process's share of each loss. ``imitation`` is 0 without a teacher.
    each : list of float
        Coarse loss of each pair of this process, to find the hard ones; empty unless asked for.
    """

    coarse: torch.Tensor
    fine: torch.Tensor
    imitation: torch.Tensor
    each: list[float]


@dataclass(frozen=True, eq=False)
class Coarse:
    """What the coarse stage makes of N pairs.

    Attributes
    ----------
    similarity : Tensor of shape (N, L, S)
        Before the softmax.
    tokens : (Tensor, Tensor) of shape (N, L, C)
        Of fixed and moving.
    fine_maps : Tensor of shape (2 N, C, H, W)
        Fixed first.
    hw : (int, int)
        Rows and columns of coarse cells.
    """

    similarity: torch.Tensor
    tokens: tuple[torch.Tensor, torch.Tensor]
    fine_maps: torch.Tensor
    hw: tuple[int, int]


def stacked(samples: Sequence[Sample], device: torch.device) -> torch.Tensor:
    """Return the crops of N pairs of one shape as (2 N, 1, H, W) in [0, 1], all fixed ones first."""
    both = np.stack([s.fixed for s in samples] + [s.moving for s in samples])[:, None]
    return torch.from_numpy(both).to(device).float() / 255


def coarse_stage(net: LoFTR, images: torch.Tensor, half: torch.dtype | None = None) -> Coarse:
    """Return the coarse stage of pairs of crops; ``half`` is the precision of the backbone, the rest is float32."""
    n = len(images) // 2
    with torch.autocast(images.device.type, half, enabled=half is not None):
        maps = net.backbone(images)
    coarse = net.pos_encoding(maps[0].float())
    tokens = coarse.flatten(2).transpose(1, 2)
    c0, c1 = net.loftr_coarse(tokens[:n], tokens[n:])
    # features are divided by the root of the width, as kornia does before its matching
    similarity = torch.einsum("nlc,nsc->nls", c0, c1) / (c0.shape[-1] * net.coarse_matching.temperature)
    return Coarse(similarity, (c0, c1), maps[1].float(), (int(coarse.shape[2]), int(coarse.shape[3])))


def confidence(similarity: torch.Tensor) -> torch.Tensor:
    """Return the dual softmax (eq. 2): in [0, 1], high where two cells choose each other."""
    return similarity.softmax(1) * similarity.softmax(2)


def focal_loss(
    confidence: torch.Tensor,
    positive: torch.Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    total: Total = alone,
) -> torch.Tensor:
    """Return the focal loss of a dual-softmax confidence.

    Parameters
    ----------
    confidence : Tensor of shape (N, L, S)
        In [0, 1].
    positive : Tensor of shape (N, L, S), bool
        Cells that belong together.
    alpha, gamma : float
        Weight, and how little easy cells count.
    total : callable
        Adds counts up over all processes.
    """
    p = confidence.clamp(1e-6, 1 - 1e-6)
    # as LoFTR does it, the negatives are averaged over all of them: nearly all are easy
    every = -alpha * p**gamma * torch.log1p(-p)
    hit = p[positive]
    hits = total(torch.tensor(float(len(hit)), device=p.device))
    others = total(torch.tensor(float(p.numel()), device=p.device)) - hits
    wrong = (every.sum() - every[positive].sum()) / others.clamp(min=1)
    return (-alpha * (1 - hit) ** gamma * hit.log()).sum() / hits.clamp(min=1) + wrong


def fine_loss(expected: torch.Tensor, truth: torch.Tensor, total: Total = alone) -> torch.Tensor:
    """Return the squared offset, weighted by the inverse of the predicted spread (eq. 8).

    Parameters
    ----------
    expected : Tensor of shape (M, 3)
        Predicted offset (x, y) in half windows, and its standard deviation.
    truth : Tensor of shape (M, 2)
        True offset in half windows; points outside the window (over 1) do not count.
    total : callable
        Adds counts up over all processes.
    """
    inside = truth.abs().amax(1) < 1
    weight = 1 / expected[inside, 2].detach().clamp(min=1e-6)
    points = total(torch.tensor(float(len(weight)), device=expected.device)).clamp(min=1)
    mean = (total(weight.sum()) / points).clamp(min=1e-12)
    return (((expected[inside, :2] - truth[inside]) ** 2).sum(1) * (weight / mean)).sum() / points


def imitation_loss(
    similarity: torch.Tensor, taught: torch.Tensor, positive: torch.Tensor, total: Total = alone
) -> torch.Tensor:
    """Return the divergence (Kullback-Leibler) of the coarse rows from a teacher's, where the truth has a match.

    Parameters
    ----------
    similarity, taught : Tensor of shape (N, L, S)
        Before the softmax, of the network and of its teacher (Hinton et al. 2015, arXiv:1503.02531, temperature 1).
    positive : Tensor of shape (N, L, S), bool
        Cells that belong together; rows and columns with none do not count.
    """
    parts = []
    for axis in (1, 2):
        seen = positive.any(axis)
        mine = similarity.log_softmax(axis).movedim(axis, -1)[seen]
        theirs = taught.log_softmax(axis).movedim(axis, -1)[seen]
        count = total(seen.sum().float()).clamp(min=1)
        parts.append(torch.nn.functional.kl_div(mine, theirs, reduction="sum", log_target=True) / count)
    return (parts[0] + parts[1]) / 2


def _positive(similarity: torch.Tensor, targets: Sequence[Targets]) -> torch.Tensor:
    positive = torch.zeros(similarity.shape, dtype=torch.bool, device=similarity.device)
    for k, target in enumerate(targets):
        positive[k, torch.from_numpy(target.i).to(positive.device), torch.from_numpy(target.j).to(positive.device)] = (
            True
        )
    return positive


def fine_stage(net: LoFTR, seen: Coarse, targets: Sequence[Targets]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted (M, 3) and true (M, 2) offsets, in half windows, of the cells of `Targets`."""
    stride, fine_stride = net.config["resolution"]
    device, n = seen.similarity.device, len(targets)
    picked = np.concatenate([np.full(len(t.fine_i), k) for k, t in enumerate(targets)])
    if not len(picked):
        nothing = seen.fine_maps.sum() * 0
        return nothing.expand(0, 3), nothing.detach().expand(0, 2)
    zero = torch.zeros(len(picked), 2, device=device)
    data: dict[str, Any] = {
        "b_ids": torch.from_numpy(picked).to(device),
        "i_ids": torch.from_numpy(np.concatenate([t.fine_i for t in targets])).to(device),
        "j_ids": torch.from_numpy(np.concatenate([t.fine_j for t in targets])).to(device),
        "stride_c": stride,
        "stride_f": fine_stride,
        "hw0_c": seen.hw,
        "hw1_c": seen.hw,
        "mkpts0_c": zero,
        "mkpts1_c": zero,
        "mconf": torch.ones(len(picked), device=device),
    }
    w0, w1 = net.fine_preprocess(seen.fine_maps[:n], seen.fine_maps[n:], *seen.tokens, data)
    w0, w1 = net.loftr_fine(w0, w1)
    net.fine_matching(w0, w1, data)
    reach = (net.config["fine_window_size"] // 2) * fine_stride
    truth = torch.from_numpy(np.concatenate([t.offset_px for t in targets])).to(device) / reach
    return data["expec_f"], truth


def losses(
    net: LoFTR,
    samples: Sequence[Sample],
    targets: Sequence[Targets],
    device: torch.device,
    *,
    half: torch.dtype | None = None,
    teacher: LoFTR | None = None,
    total: Total = alone,
    want_each: bool = False,
) -> Losses:
    """Return the losses of a batch of one shape; ``want_each`` asks for the coarse loss of each pair, too."""
    images = stacked(samples, device)
    seen = coarse_stage(net, images, half)
    sure = confidence(seen.similarity)
    positive = _positive(sure, targets)
    imitation = torch.zeros((), device=device)
    if teacher is not None:
        with torch.no_grad():
            taught = coarse_stage(teacher, images, half).similarity
        imitation = imitation_loss(seen.similarity, taught, positive, total)
    expected, truth = fine_stage(net, seen, targets)
    with torch.no_grad():
        pairs = range(len(samples) if want_each else 0)
        each = [float(focal_loss(sure[k : k + 1], positive[k : k + 1])) for k in pairs]
    return Losses(focal_loss(sure, positive, total=total), fine_loss(expected, truth, total), imitation, each)
