"""The regressor on top of finished features: the last part of a step, how far to believe it, and "these do not match".

The features are fixed; what both passes say of training pairs, and of pairs of strangers, is gathered once, and a small
network learns from that table by the negative logarithm of a Gaussian likelihood (Kendall and Gal 2017,
arXiv:1703.04977) and by cross-entropy.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.nets.two_headed import TwoHeaded
from demis_ij.nets.two_headed_geometry import composed, inverted, matrices, parameters_in
from demis_ij.nets.two_headed_passes import find, look_again
from demis_ij.synth.correlative_pairs import TransformRange
from demis_ij.synth.specimens import Specimen
from demis_ij.train.two_headed_pairs import make_batch
from demis_ij.train.two_headed_validation import LOST_PX, corner_errors

_BATCH = 8
_LOOK_EVERY = 20  # steps; the best by the held-out lines is kept
_OUTLIER = 9.0  # squared standard errors beyond which a wrong estimate counts no more


@dataclass(frozen=True, eq=False)
class Table:
    """What the regressor learns from, a line a pair and pass.

    Attributes
    ----------
    estimates, stats : Tensor
        What it is given: (N, 4), and (N, STATS).
    truth : Tensor of shape (N, 4)
        What the estimate should have been.
    state : Tensor of shape (N,)
        1 found, 0 strangers, -1 the estimate is lost: nothing is learned of a match from it.
    """

    estimates: Tensor
    stats: Tensor
    truth: Tensor
    state: Tensor

    def __len__(self) -> int:
        return len(self.state)


@torch.no_grad()
def gather_table(
    net: TwoHeaded,
    specimens: Sequence[Specimen],
    count: int,
    seed: int,
    range_: TransformRange,
    *,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Table:
    """Return lines for ``count`` pairs by one and by two passes, and for half as many pairs of strangers.

    Parameters
    ----------
    net : TwoHeaded
        In evaluation mode.
    specimens : sequence of Specimen
    count, seed : int
    range_ : TransformRange
    progress : callable
    """
    lines: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    device = net.mean.device
    for k in range(0, count, _BATCH):
        rng = np.random.default_rng((seed, 2, k))
        batch = make_batch(specimens, rng, min(_BATCH, count - k), net.form.side, range_)
        pictures = [torch.from_numpy(p).to(device) for p in batch.pictures]
        truth = matrices(torch.from_numpy(batch.parameters).to(device))
        lines += _lines(net, pictures, truth, rng)
        half = max(1, len(batch.kinds) // 2)
        strange = [p[:half] if n % 2 == 0 else p.roll(-1, 0)[:half] for n, p in enumerate(pictures)]
        lines += _lines(net, strange, None, rng)
        progress("looking at pairs for the regressor", min(k + _BATCH, count), count)
    estimates, stats, wanted, state = (torch.cat(column) for column in zip(*lines, strict=True))
    return Table(estimates, stats, wanted, state)


def _lines(
    net: TwoHeaded, pictures: list[Tensor], truth: Tensor | None, rng: np.random.Generator
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return a line for each pair by each pass; without a truth they are strangers.

    The second pass of a pair that was found begins a step or less from the truth, at random: began it where the first
    one ended, the regressor would learn the first one's mean error instead of the second one's.
    """
    once = find(net, *pictures, passes=1)
    if truth is None:
        twice = find(net, *pictures, passes=2)
        none = torch.zeros(len(once.sigma)).to(once.sigma)
        return [(seen.estimates, seen.stats, seen.estimates, none) for seen in (once, twice)]
    lost = corner_errors(once.transforms, truth) > LOST_PX
    first = (once.estimates, once.stats, parameters_in(truth), torch.where(lost, -1.0, 1.0).to(once.sigma))
    off = torch.from_numpy(rng.uniform(-1, 1, (len(truth), 4)).astype(np.float32)).to(truth) * net.fine_steps()
    start = composed(truth, matrices(off))
    estimates, stats = look_again(net, pictures, start, once.stats)
    wanted = parameters_in(inverted(matrices(off)))
    second = (estimates, stats, wanted, torch.ones_like(once.sigma))
    return [first, tuple(x[~lost] for x in second)]  # type: ignore[list-item]


def fit_regressor(net: TwoHeaded, table: Table, config: TwoHeadedConfig) -> dict[str, float]:
    """Fit the regressor of a network, in place, and return its losses on a held-out eighth of the table.

    Returns
    -------
    dict
        ``likelihood`` (negative logarithm, of a parameter), ``match`` (cross-entropy), ``wrong`` (share of matches and
        strangers told wrongly).
    """
    net.stats_mean.copy_(table.stats.mean(0))
    net.stats_deviation.copy_(table.stats.std(0).clamp(min=1e-4))
    chance = np.random.default_rng((config.seed, 3))
    held = torch.from_numpy(chance.random(len(table)) < 1 / 8)
    part = {side: _rows(table, held if side else ~held) for side in (True, False)}
    net.regressor.requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        for layer in net.regressor:
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        for values in net.regressor[-1].parameters():
            torch.nn.init.zeros_(values)
        adam = torch.optim.AdamW(net.regressor.parameters(), lr=3e-3, weight_decay=1e-2)
        best, kept = math.inf, copy.deepcopy(net.regressor.state_dict())
        for step in range(config.finish_steps):
            for group in adam.param_groups:
                group["lr"] = 3e-3 * 0.5 * (1 + np.cos(np.pi * step / config.finish_steps)) + 1e-5
            likelihood, match, _ = _judge(net, part[False])
            adam.zero_grad()
            (likelihood + match).backward()  # type: ignore[no-untyped-call]
            adam.step()
            if step % _LOOK_EVERY == _LOOK_EVERY - 1:
                with torch.no_grad():
                    held_likelihood, held_match, _ = _judge(net, part[True])
                if float(held_likelihood + held_match) < best:
                    best = float(held_likelihood + held_match)
                    kept = copy.deepcopy(net.regressor.state_dict())
        net.regressor.load_state_dict(kept)
    net.regressor.requires_grad_(False)
    with torch.no_grad():
        likelihood, match, wrong = _judge(net, part[True])
    return {"likelihood": float(likelihood), "match": float(match), "wrong": float(wrong)}


def _rows(table: Table, chosen: Tensor) -> Table:
    return Table(table.estimates[chosen], table.stats[chosen], table.truth[chosen], table.state[chosen])


def _judge(net: TwoHeaded, table: Table) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of a table, and the share of lines whose match is told wrongly."""
    said = net.judged(table.estimates, table.stats)
    off = (said[:, :4] - (table.truth - net.mean) / net.deviation) ** 2
    spread = said[:, 4:8]
    real = table.state != 0
    squared = (off * (-spread).exp())[real]
    likelihood = 0.5 * (torch.where(squared < _OUTLIER, squared, _OUTLIER + 0.1 * (squared - _OUTLIER)) + spread[real])
    known = table.state >= 0
    match = functional.binary_cross_entropy_with_logits(said[known, 8], table.state[known])
    wrong = ((said[known, 8] > 0) != (table.state[known] > 0.5)).float().mean()
    return likelihood.mean(), match, wrong


__all__ = ["Table", "fit_regressor", "gather_table"]
