"""Train the two-headed network on pairs made on the fly; an interrupted run goes on from its checkpoint.

Two parts: the heads learn features whose correlation peaks at the truth (`demis_ij.train.two_headed_loss`); then, on
the finished features, the regressor learns how far the peak can be believed (`demis_ij.train.two_headed_finish`). All
that is random follows from the seed and the step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.nets.two_headed import Form, TwoHeaded
from demis_ij.synth.correlative_pairs import KINDS, TransformRange
from demis_ij.train.interruptible import CHECKPOINT, LOG, Interruptible, average_into, rate_left, trained
from demis_ij.train.two_headed_loss import losses
from demis_ij.train.two_headed_pairs import Batch, make_batch
from demis_ij.train.two_headed_specimens import Specimens
from demis_ij.train.two_headed_validation import validate, validation_pairs

SETTINGS = "two_headed.json"
COLUMNS = ("step", "seconds", "rate", "coarse", "fine", "place", *KINDS, "lost")


def range_of(config: TwoHeadedConfig) -> TransformRange:
    """Return the range of transforms that is learned."""
    return TransformRange(config.angle_deg, config.scale, config.shift_frac)


def form_of(config: TwoHeadedConfig) -> Form:
    """Return a network whose hypotheses reach one step beyond the range that is learned."""
    plain = Form(side=config.side, separate=config.separate)
    angle, log_scale, shift, _ = range_of(config).spans
    angles, scales = (
        2 * math.ceil(span / step - 0.05) + 3
        for span, step in ((angle, plain.angle_step), (log_scale, plain.scale_step))
    )
    reach = math.ceil(shift * config.side / 4) + 1
    return Form(side=config.side, separate=config.separate, angles=angles, scales=scales, reach=reach)


class TwoHeadedTraining(Interruptible):
    """One training: where it stands, and how it takes a step.

    Parameters
    ----------
    specimens : Specimens
    config : TwoHeadedConfig

    Attributes
    ----------
    net, average : TwoHeaded
        What is trained, and the running average of its weights, which is what is kept.
    """

    config: TwoHeadedConfig
    settings_file, columns, losses = SETTINGS, COLUMNS, ("coarse", "fine", "place")
    states = ("net", "average", "optimiser")
    free = ("steps", "device", "threads", "validate_every", "licence", "finish_pairs", "finish_steps")

    def __init__(self, specimens: Specimens, config: TwoHeadedConfig) -> None:
        super().__init__(config, specimens.digest)
        self.specimens, self.range = specimens, range_of(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.net = TwoHeaded(form_of(config)).to(memory_format=torch.channels_last).to(self.device)
        self.net.deviation.copy_(torch.from_numpy(self.range.spans / math.sqrt(3)))
        self.average = copy.deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.validation = validation_pairs(specimens.validation, config.validation_pairs, config.side, self.range)

    def rate(self) -> float:
        """Return the learning rate of this step."""
        return self.config.learning_rate * rate_left(self.step, self.config.steps, self.config.warmup_steps)

    def batch(self) -> Batch:
        """Return the pairs of this step."""
        rng = np.random.default_rng((self.config.seed, 1, self.step))
        return make_batch(
            self.specimens.train, rng, self.config.batch, self.config.side, self.range, self.config.small_share
        )

    def take_step(self) -> None:
        """Take one step of AdamW."""
        batch = self.batch()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        pictures = [torch.from_numpy(p).to(self.device) for p in batch.pictures]
        self.net.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            found = self.net.features(*pictures)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        parts = losses(self.net, found, torch.from_numpy(batch.parameters).to(self.device), generator)
        self.optimiser.zero_grad()
        parts.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        self.optimiser.step()
        self.step += 1
        average_into(self.average, self.net, self.config.ema_decay, self.step)
        self._count(*(float(x.detach()) for x in (parts.coarse, parts.fine, parts.place)))

    def _validated(self) -> dict[str, Any]:
        scores = validate(self.average, self.validation)
        return scores.median_px | {"lost": scores.lost}


def train_features(
    out: Path,
    specimens: Specimens,
    config: TwoHeadedConfig,
    *,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_validated: Callable[[dict[str, Any]], None] = lambda line: None,
) -> TwoHeadedTraining:
    """Train the heads, or go on where an earlier run in this folder stopped.

    Parameters
    ----------
    out : Path
        Folder for ``two_headed.json`` (settings), ``log.csv`` (losses and validations) and ``checkpoint.pt``.
    specimens : Specimens
    config : TwoHeadedConfig
    progress : callable
        What is being done, how much of it is, and how much there is.
    on_validated : callable
        Told each line of the history.

    Raises
    ------
    InputError
        When the folder holds another training.
    KeyboardInterrupt
        After Ctrl-C, once the step is finished and the checkpoint is written.
    """
    return trained(TwoHeadedTraining(specimens, config), out, progress=progress, on_validated=on_validated)


__all__ = ["CHECKPOINT", "COLUMNS", "LOG", "SETTINGS", "TwoHeadedTraining", "form_of", "range_of", "train_features"]
