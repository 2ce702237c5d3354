"""Train the two-headed network on pairs made on the fly; an interrupted run goes on from its checkpoint.

Two parts: the heads learn features whose correlation peaks at the truth (`demis_ij.train.two_headed_loss`); then, on
the finished features, the regressor learns how far the peak can be believed (`demis_ij.train.two_headed_finish`). All
that is random follows from the seed and the step.
"""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demis_ij.config.reading import to_dict
from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.errors import InputError
from demis_ij.nets.two_headed import Form, TwoHeaded
from demis_ij.nets.weights import UNREADABLE, write_whole
from demis_ij.synth.correlative_pairs import KINDS, TransformRange
from demis_ij.train.loftr import stop_flag
from demis_ij.train.two_headed_loss import losses
from demis_ij.train.two_headed_pairs import Batch, make_batch
from demis_ij.train.two_headed_specimens import Specimens
from demis_ij.train.two_headed_validation import Scores, validate, validation_pairs

SETTINGS, LOG, CHECKPOINT = "two_headed.json", "log.csv", "checkpoint.pt"
COLUMNS = ("step", "seconds", "rate", "coarse", "fine", "place", *KINDS, "lost")
_FREE = ("steps", "device", "threads", "validate_every", "licence", "finish_pairs", "finish_steps")
_PLAIN = ("step", "seconds", "sums", "history")
_RATE_LEFT = 0.01  # of the rate, at the last step


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


class TwoHeadedTraining:
    """One training: where it stands, and how it takes a step.

    Parameters
    ----------
    specimens : Specimens
    config : TwoHeadedConfig

    Attributes
    ----------
    net, average : TwoHeaded
        What is trained, and the running average of its weights, which is what is kept.
    history : list of dict
        The loss curve and the validations, by `COLUMNS`.
    """

    def __init__(self, specimens: Specimens, config: TwoHeadedConfig) -> None:
        if config.device == "cuda" and not torch.cuda.is_available():
            msg = "device: there is no GPU that torch can use; choose cpu or auto"
            raise InputError(msg)
        self.config, self.specimens, self.range = config, specimens, range_of(config)
        self.device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.net = TwoHeaded(form_of(config)).to(memory_format=torch.channels_last).to(self.device)
        self.net.deviation.copy_(torch.from_numpy(self.range.spans / math.sqrt(3)))
        self.average = copy.deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.validation = validation_pairs(specimens.validation, config.validation_pairs, config.side, self.range)
        self.step, self.seconds, self.sums = 0, 0.0, [0.0] * 4
        self.history: list[dict[str, Any]] = []

    def rate(self) -> float:
        """Return the learning rate of this step: it rises, then falls as a cosine."""
        done = self.step / self.config.steps
        rise = min(1.0, (self.step + 1) / max(1, self.config.warmup_steps))
        return self.config.learning_rate * rise * (_RATE_LEFT + (1 - _RATE_LEFT) * 0.5 * (1 + math.cos(math.pi * done)))

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
        lost = losses(self.net, found, torch.from_numpy(batch.parameters).to(self.device), generator)
        self.optimiser.zero_grad()
        lost.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        self.optimiser.step()
        self.step += 1
        self._average()
        parts = [float(x.detach()) for x in (lost.coarse, lost.fine, lost.place)]
        self.sums = [a + b for a, b in zip(self.sums, [*parts, 1.0], strict=True)]

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema_decay, self.step / (self.step + 10))
        for kept, new in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new.to(kept.dtype), 1 - decay)
            else:
                kept.copy_(new)

    def validate(self) -> Scores:
        """Return what one pass of the averaged network does on held-out pairs, and add a line to the history."""
        scores = validate(self.average, self.validation)
        count = max(self.sums[3], 1)
        line: dict[str, Any] = {"step": self.step, "seconds": round(self.seconds, 1), "rate": self.rate()}
        line |= {name: self.sums[k] / count for k, name in enumerate(("coarse", "fine", "place"))}
        line |= scores.median_px | {"lost": scores.lost}
        self.history.append({k: v if k == "step" else float(f"{v:.5g}") for k, v in line.items()})
        self.sums = [0.0] * 4
        return scores

    # --- what is kept -----------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Return what says which run this is."""
        config = {k: v for k, v in to_dict(self.config).items() if k not in _FREE}
        return {"config": config, "data": self.specimens.digest}

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the loss curve, all or nothing."""
        content: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        content |= {"net": self.net.state_dict(), "average": self.average.state_dict()}
        content |= {"optimiser": self.optimiser.state_dict(), "facts": self.facts()}
        kept = io.BytesIO()
        torch.save(content, kept)
        write_whole(folder / CHECKPOINT, kept.getbuffer())
        lines = [",".join(COLUMNS), *(",".join(f"{line[c]:g}" for c in COLUMNS) for line in self.history)]
        write_whole(folder / LOG, ("\n".join(lines) + "\n").encode())

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. Raises `InputError` when it is damaged or of another run."""
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            before = content["facts"]["config"] = {
                k: v for k, v in content["facts"]["config"].items() if k not in _FREE
            }
            other = _difference(before, self.facts()["config"])
            other = other or ("" if content["facts"] == self.facts() else "the images are not the same")
        except (*UNREADABLE, pickle.UnpicklingError) as error:
            msg = f"{path} cannot be read as a checkpoint; delete it to begin anew"
            raise InputError(msg) from error
        if other:
            msg = f"{path.parent} holds another training: {other}. Choose another --out, or those settings"
            raise InputError(msg)
        for name in ("net", "average", "optimiser"):
            getattr(self, name).load_state_dict(content[name])
        for name in _PLAIN:
            setattr(self, name, content[name])


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return which setting differs, in words; empty when none does."""
    names = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    return f"{names[0]} was {before.get(names[0])!r}, now {now.get(names[0])!r}" if names else ""


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
    if config.threads:
        torch.set_num_threads(config.threads)
    training = TwoHeadedTraining(specimens, config)
    if (out / CHECKPOINT).is_file():
        training.resume(out / CHECKPOINT)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / SETTINGS, (json.dumps(to_dict(config), indent=1) + "\n").encode())
    with stop_flag() as stopped:
        began = time.perf_counter() - training.seconds
        while training.step < config.steps and not stopped():
            training.take_step()
            training.seconds = time.perf_counter() - began
            progress("steps", training.step, config.steps)
            if training.step % config.validate_every == 0 or training.step == config.steps:
                training.validate()
                training.save(out)
                on_validated(training.history[-1])
        if training.step < config.steps:
            training.save(out)
            raise KeyboardInterrupt
    return training


__all__ = ["CHECKPOINT", "COLUMNS", "LOG", "SETTINGS", "TwoHeadedTraining", "form_of", "range_of", "train_features"]
