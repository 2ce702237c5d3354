"""A training run: where it stands, how it takes a step, how it is judged and what is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import demis_ij
from demis_ij.config import TrainConfig
from demis_ij.errors import InputError
from demis_ij.nets.loftr import build
from demis_ij.nets.weights import save_weights, write_whole
from demis_ij.train import checkpoints
from demis_ij.train.card import card_page
from demis_ij.train.feeding import AHEAD, PAIR_STREAM, Feed, PairKey, plan
from demis_ij.train.losses import losses
from demis_ij.train.outcome import Outcome
from demis_ij.train.samples import Sample, draw_sample, source_pool
from demis_ij.train.scores import PairPicture, plain
from demis_ij.train.settings import TrainingSettings, difference, to_tables
from demis_ij.train.sources import Source, Sources
from demis_ij.train.starting import Start, start, teacher
from demis_ij.train.targets import Targets, coarse_truth, targets_of
from demis_ij.train.together import Team, share_batch_norms
from demis_ij.train.validation import draw_pairs, pictures, validate

WEIGHTS, LAST, CARD, SETTINGS, LOG = "loftr.safetensors", "last.safetensors", "loftr.md", "config.toml", "log.jsonl"
TRAINING_PICTURES, VALIDATION_PICTURES = 4, 8


def rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step: a straight rise, then half a cosine to a thousandth of the rate."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / config.steps))
    return config.learning_rate * warm * (0.001 + 0.999 * fall)


class Training:
    """One training run: where it stands, and how it takes a step.

    Parameters
    ----------
    out : Path
        Run folder.
    sources : Sources
        What pairs are cut from.
    settings : TrainingSettings
        All settings.
    team : Team
        This process and those beside it.
    command : str
        For the card.
    """

    def __init__(self, out: Path, sources: Sources, settings: TrainingSettings, team: Team, command: str) -> None:
        config = settings.train
        if config.batch % team.size:
            msg = f"batch: {config.batch} pairs cannot be shared evenly by {team.size} processes"
            raise InputError(msg)
        self.out, self.sources, self.settings, self.team, self.command = out, sources, settings, team, command
        self.begun: Start = start(config.init, settings.architecture, config.seed)
        _fitting_shapes(config, self.begun.stride)
        self.teacher = teacher(config.teacher, self.begun).to(team.device) if config.teacher else None
        self.half = None if config.precision == "float32" else getattr(torch, config.precision)
        self.run = self._fresh()
        self.draw = source_pool([image for s in sources.train for image in s.scales])
        self.feed: Feed[tuple[Sample, Targets]] = Feed(self.make_pair, config.workers)
        self.validation: list[Sample] = []
        if settings.validation.pairs and team.leads:
            held = source_pool([image for s in sources.validation for image in s.scales])
            self.validation = draw_pairs(held, settings.samples, config.shapes, settings.validation.pairs, config.seed)

    def _fresh(self) -> checkpoints.Run:
        config, device = self.settings.train, self.team.device
        net = build(self.begun.config).to(device)
        average = build(self.begun.config).to(device)
        for one in (net, average):
            one.load_state_dict(self.begun.net.state_dict())
        average.requires_grad_(False)
        if self.team.size > 1:
            share_batch_norms(net)
        optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        return checkpoints.Run(net, average, optimiser, scaler)

    def make_pair(self, key: PairKey) -> tuple[Sample, Targets]:
        """Return a pair and its truth; the same for the same key, whoever asks."""
        step, k, shape = key
        config = self.settings.train
        rng = np.random.default_rng((config.seed, step, k, PAIR_STREAM))
        sample = draw_sample(rng, self.draw, replace(self.settings.samples, shape=config.shapes[shape]))
        return sample, targets_of(sample, rng, self.begun.stride, self.begun.half_pixel)

    # --- going on ---------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> dict[str, Any]:
        """What says which run this is."""
        digests = [sorted(s.digest for s in side) for side in (self.sources.train, self.sources.validation)]
        return {"settings": to_tables(self.settings), "architecture": self.begun.config, "sources": digests}

    def resume(self) -> bool:
        """Go on from the run folder's checkpoint, if it has one. Raises `InputError` when it is of another run."""
        path = self.out / checkpoints.FILE
        if not path.is_file():
            return False
        content = checkpoints.load(path, self.team.device)
        before = content["facts"]
        other = difference(before["settings"], to_tables(self.settings))
        if not other and before["architecture"] != self.begun.config:
            other = "the weights to start from had another architecture"
        if not other and before["sources"] != self.facts["sources"]:
            other = "the images are not the same"
        if other:
            msg = f"{self.out} holds a run with other settings: {other}. Choose another --out, or those settings"
            raise InputError(msg)
        checkpoints.restore(self.run, content)
        return True

    # --- a step -----------------------------------------------------------------------------------------------------

    def plans(self) -> list[PairKey]:
        """Return the pairs of this step, and decide those of the steps to come."""
        run, config = self.run, self.settings.train
        while len(run.plans) <= AHEAD:
            step = run.step + len(run.plans)
            keys = plan(config.seed, step, config.batch, len(config.shapes), run.hard, config.mine)
            run.plans.append(keys)
        mine = self.team.share(config.batch)
        for keys in run.plans:
            self.feed.expect(keys[mine])
        return run.plans[0]

    def step(self) -> None:
        """Take one step: losses, gradients of all processes, optimiser, average."""
        run, config, team = self.run, self.settings.train, self.team
        keys = self.plans()
        mine = team.share(config.batch)
        pairs = self.feed.take(keys[mine])
        for group in run.optimiser.param_groups:
            group["lr"] = rate(run.step, config)
        run.net.train()
        told = losses(
            run.net,
            [s for s, _ in pairs],
            [t for _, t in pairs],
            team.device,
            half=self.half,
            teacher=self.teacher,
            total=team.total,
            want_each=config.mine > 0,
        )
        loss = told.coarse + config.fine_weight * told.fine + config.teacher_weight * told.imitation
        run.optimiser.zero_grad(set_to_none=True)
        run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        parameters = list(run.net.parameters())
        team.add_gradients(parameters)
        run.scaler.unscale_(run.optimiser)
        torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        run.scaler.step(run.optimiser)
        run.scaler.update()
        run.plans.pop(0)
        run.step += 1
        update_average(run, config.ema_decay)
        parts = team.total(torch.stack([told.coarse, told.fine, told.imitation]).detach())
        run.sums = [a + b for a, b in zip(run.sums, [*parts.tolist(), 1.0], strict=True)]
        if config.mine:
            each = torch.zeros(config.batch, dtype=torch.float64, device=team.device)
            each[mine] = torch.tensor(told.each, dtype=torch.float64, device=team.device)
            run.hard.add(keys, team.total(each).tolist())

    # --- what is kept -----------------------------------------------------------------------------------------------

    def note_losses(self) -> None:
        """Add a point to the loss curve."""
        run = self.run
        if not run.sums[3]:
            return
        coarse, fine, imitation = (round(s / run.sums[3], 6) for s in run.sums[:3])
        line = {"step": run.step, "coarse": coarse, "fine": fine, "rate": round(rate(run.step, self.settings.train), 9)}
        if self.teacher is not None:
            line["imitation"] = imitation
        self._note(line | {"seconds": round(run.seconds, 1)})
        run.sums = [0.0] * 4

    def _note(self, line: dict[str, Any]) -> None:
        self.run.history.append(line)
        if self.team.leads:
            with (self.out / LOG).open("a", encoding="utf-8") as sink:
                sink.write(json.dumps(line) + "\n")

    def is_judging_due(self) -> bool:
        """Whether the average is to be validated before the next step; weights to start from are, as they came."""
        run, settings = self.run, self.settings
        if not self.validation or (run.step == 0 and not settings.train.init):
            return False
        judged = next((h["step"] for h in reversed(run.history) if "validation" in h), -1)
        return judged != run.step and (run.step % settings.validation.every == 0 or run.step == settings.train.steps)

    def judge(self, stopped: Callable[[], bool]) -> bool:
        """Validate the average and keep it when it is the best; False when it was ``stopped`` in between."""
        run, config = self.run, self.settings.validation
        scores = validate(run.average, self.validation, config, self.begun.half_pixel, self.half, stopped)
        if scores is None:
            return False
        self._note({"step": run.step, "validation": plain(scores), "mean_auc": round(scores.mean_auc, 5)})
        # while nothing is found yet, later weights are the better ones, and nobody loses patience
        if scores.mean_auc > run.best_auc or run.best_auc <= 0:
            run.best_auc, run.best_step, run.stale = scores.mean_auc, run.step, 0
            run.best = {k: v.detach().clone() for k, v in run.average.state_dict().items()}
        else:
            run.stale += 1
            run.is_over = run.is_over or (0 < config.patience <= run.stale)
        return True

    def keep(self) -> None:
        """Write the weights, their card and the checkpoint, each all or nothing."""
        run, where = self.run, {"half_pixel": self.begun.half_pixel}
        card = self.card()
        save_weights(
            self.out / LAST, run.average.state_dict(), self.begun.config, card=card | {"step": run.step}, **where
        )
        best = run.best if run.best is not None else run.average.state_dict()
        save_weights(self.out / WEIGHTS, best, self.begun.config, card=card, **where)
        write_whole(self.out / CARD, card_page(card).encode())
        checkpoints.save(run, self.out / checkpoints.FILE, self.facts)

    def card(self) -> dict[str, Any]:
        """Return what is known about the weights, as plain values."""
        run = self.run
        step = run.best_step if run.best is not None else run.step
        scores = next((h["validation"] for h in run.history if h["step"] == step and "validation" in h), None)
        return {
            "version": demis_ij.__version__,
            "command": self.command,
            "settings": to_tables(self.settings),
            "architecture": self.begun.config,
            "parameters": sum(p.numel() for p in run.net.parameters()),
            "half_pixel": self.begun.half_pixel,
            "licence": self.settings.data.licence,
            "train": _counts(self.sources.train),
            "validation": _counts(self.sources.validation),
            "step": step,
            "seed": self.settings.train.seed,
            "processes": self.team.size,
            "scores": scores,
        }

    def outcome(self) -> Outcome:
        """Return where the run stands, with pictures."""
        run = self.run
        shapes = len(self.settings.train.shapes)
        seen = [self.make_pair((0, k, k % shapes))[0] for k in range(TRAINING_PICTURES)]
        shown = [true_picture(s, self.begun.stride) for s in seen]
        best = build(self.begun.config).to(self.team.device)
        best.load_state_dict(run.best if run.best is not None else run.average.state_dict())
        judged = pictures(best, self.validation[:VALIDATION_PICTURES], self.settings.validation, self.begun.half_pixel)
        return Outcome(
            weights=self.out / WEIGHTS,
            last=self.out / LAST,
            card=self.out / CARD,
            step=run.step,
            steps=self.settings.train.steps,
            best_step=run.best_step if run.best is not None else run.step,
            history=run.history,
            facts=self.card(),
            training_pairs=shown,
            validation_pairs=judged,
            stopped_early=run.is_over and run.step < self.settings.train.steps,
            is_over=run.is_over,
        )


@torch.no_grad()
def update_average(run: checkpoints.Run, decay: float) -> None:
    """Move the averaged weights towards the network's, faster in the beginning."""
    keep = min(decay, (1 + run.step) / (10 + run.step))
    for mine, theirs in zip(run.average.parameters(), run.net.parameters(), strict=True):
        mine.lerp_(theirs, 1 - keep)
    for old, new in zip(run.average.buffers(), run.net.buffers(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)


def true_picture(sample: Sample, stride: int) -> PairPicture:
    """Return a training pair with the true places of one coarse cell in nine."""
    if sample.to_moving is None:
        none = np.empty((0, 2))
        return PairPicture(sample.fixed, sample.moving, none, none, np.empty(0), "two different places")
    i, _, _ = coarse_truth(sample, stride)
    cols = -(-sample.fixed.shape[1] // stride)
    cells = np.stack([i % cols, i // cols], 1)
    fixed = (cells[(cells % 3 == 1).all(1)] * float(stride)).astype(np.float64)
    share = len(i) / max(1, cols * -(-sample.fixed.shape[0] // stride))
    said = f"{share:.0%} of the crop is seen by both"
    return PairPicture(sample.fixed, sample.moving, fixed, sample.to_moving(fixed), np.zeros(len(fixed)), said)


def _fitting_shapes(config: TrainConfig, stride: int) -> None:
    wrong = next((s for s in config.shapes if s[0] % stride or s[1] % stride), None)
    if wrong:
        msg = f"shapes: {list(wrong)} is not a multiple of the coarse stride of {stride} px"
        raise InputError(msg)


def _counts(sources: Sequence[Source]) -> dict[str, Any]:
    """Return how many sources there are of each folder, and their names and digests."""
    folders: dict[str, int] = {}
    for s in sources:
        folders[s.folder] = folders.get(s.folder, 0) + 1
    return {"folders": folders, "images": {s.name: s.digest[:16] for s in sources if s.folder != "generated"}}
