"""Train style networks on pairs or on two folders; an interrupted run goes on from its checkpoint to the same weights.

Three ways, one generator (`demis_ij.nets.style`):

``unet``    the difference of grey values, gradients and local correlation, of partners roughly in register
``gan``     that, and a critic that is shown the source, too (pix2pix, Isola et al. 2017, arXiv:1611.07004)
``cycle``   no partners: two critics, the way there and back, and edges that stay where they are (CycleGAN, Zhu et al.
            2017, arXiv:1703.10593; the last part is ours: what moves edges moves a registration)

All that is random follows from the seed and the step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from demis_ij.config.style import StyleConfig
from demis_ij.errors import InputError
from demis_ij.nets.style import Critic, Generator
from demis_ij.nets.style_contrast import polarity_of
from demis_ij.nets.style_weights import LoadedStyle, load_style
from demis_ij.train.interruptible import CHECKPOINT, LOG, Interruptible, average_into, rate_left, trained
from demis_ij.train.style_crops import Crops, paired_crops, single_crops, varied
from demis_ij.train.style_earlier import Earlier
from demis_ij.train.style_loss import (
    difference,
    gradient_difference,
    in_register,
    judged,
    moved_edges,
    outside,
    unlikeness,
)
from demis_ij.train.style_pairs import Examples
from demis_ij.train.style_polarity import polarities
from demis_ij.train.style_validation import COLUMNS, validate

SETTINGS = "style.json"
_WARM_STEPS = 50
_BETAS = {"unet": (0.9, 0.99), "gan": (0.5, 0.99), "cycle": (0.5, 0.99)}


class StyleTraining(Interruptible):
    """One training: where it stands, and how it takes a step.

    Parameters
    ----------
    examples : Examples
    config : StyleConfig
    goes_on : bool
        Whether a checkpoint is gone on with: weights to begin with are not needed any more, and may be gone.

    Attributes
    ----------
    nets, average : ModuleDict
        Generators ``there`` and, where they are learned, ``back`` and ``plain``; the running average of their weights
        is kept.
    critics : ModuleDict
        One for what each generator makes; empty for ``unet``.
    earlier : ModuleDict of Earlier
        What each generator of ``cycle`` made some steps ago.
    """

    config: StyleConfig
    settings_file, columns, losses = SETTINGS, COLUMNS, ("loss", "adversarial", "critic")
    states = ("nets", "average", "critics", "earlier", "optimiser", "critic_optimiser")
    free = ("steps", "device", "threads", "validate_every", "licence", "validation_crops")

    def __init__(self, examples: Examples, config: StyleConfig, *, goes_on: bool = False) -> None:
        super().__init__(config, examples.digest)
        self.examples = examples
        forms = {"there": examples.form}
        if config.both or config.method == "cycle":
            forms["back"] = examples.form.reversed
        if config.plain and examples.paired:
            forms["plain"] = examples.form.plain
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.nets = _placed(nn.ModuleDict({k: Generator(f) for k, f in forms.items()}), self.device)
            shown = {k: f.target_channels + (examples.paired * f.source_channels) for k, f in forms.items()}
            critics = {} if config.method == "unet" else {k: Critic(c) for k, c in shown.items() if k != "plain"}
            self.critics = _placed(nn.ModuleDict(critics), self.device)
        kept = {} if examples.paired else {k: Earlier(c, examples.crop_px) for k, c in shown.items()}
        self.earlier = nn.ModuleDict(kept).to(self.device)
        self.polarities = {} if examples.paired else {
            "there": polarities(examples.target.train), "back": polarities(examples.source.train)
        }  # fmt: skip
        if config.init and not goes_on:
            self._begin_with(load_style(config.init))
        self.average = copy.deepcopy(self.nets).eval().requires_grad_(False)
        betas = _BETAS[config.method]
        self.optimiser = torch.optim.AdamW(
            self.nets.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=betas
        )
        self.critic_optimiser = torch.optim.Adam(
            self.critics.parameters() if critics else [torch.zeros(1)], lr=config.critic_rate, betas=betas
        )

    def _begin_with(self, loaded: LoadedStyle) -> None:
        """Take over weights. Raises `InputError` when they are of networks of another form."""
        if loaded.forward.form != self.examples.form:
            pairs = zip(asdict(loaded.forward.form).items(), asdict(self.examples.form).values(), strict=True)
            name, had, has = next((name, had, has) for (name, had), has in pairs if had != has)
            msg = f"init: {loaded.name} has {name} {had!r}, this training {has!r}: make them the same, or begin anew"
            raise InputError(msg)
        for name, net in (("there", loaded.forward), ("back", loaded.back), ("plain", loaded.plain)):
            if net is not None and name in self.nets:
                self.nets[name].load_state_dict(net.state_dict())

    @property
    def generators(self) -> dict[str, Generator]:
        """The averaged generators: ``there``, and ``back`` and ``plain`` where they are learned."""
        return {k: m for k, m in self.average.items() if isinstance(m, Generator)}

    def rate(self) -> float:
        """Return by what the learning rates of this step are multiplied."""
        return rate_left(self.step, self.config.steps, _WARM_STEPS)

    def crops(self) -> tuple[Crops, Crops]:
        """Return the crops of this step: of both instruments, in register when they are paired."""
        config, rng = self.config, np.random.default_rng((self.config.seed, 1, self.step))
        sides = self.examples.source.train, self.examples.target.train
        if self.examples.paired:
            return paired_crops(*sides, rng, config.batch, self.examples.crop_px, config.scale)
        first, second = (single_crops(s, rng, config.batch, self.examples.crop_px, config.scale) for s in sides)
        return first, second

    def take_step(self) -> None:
        """Take one step of the generators, and one of the critics where there are any."""
        first, second = self.crops()
        rng = np.random.default_rng((self.config.seed, 2, self.step))
        batch = {"source": self._given(first), "target": self._given(second)}
        batch["seen"] = self._given(varied(first, rng))
        batch["seen back"] = self._given(varied(second, rng)) if len(self.nets) > 1 else batch["target"]
        self._set_rates()
        self.nets.train()
        self.critics.requires_grad_(False)
        made, loss, fooled = self._paired(batch) if self.examples.paired else self._cycled(batch)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.nets.parameters(), 1.0)
        self.optimiser.step()
        told = self._teach_critics(batch, made) if self.critics else 0.0
        self.step += 1
        average_into(self.average, self.nets, self.config.ema_decay, self.step)
        self._count(float(loss.detach()), float(fooled.detach()), told)

    def _given(self, crops: Crops) -> tuple[Tensor, Tensor]:
        looks, masks = (torch.from_numpy(x).to(self.device) for x in (crops.looks, crops.masks))
        return looks.contiguous(memory_format=torch.channels_last), masks

    def _set_rates(self) -> None:
        factor = self.rate()
        for optimiser, rate in (
            (self.optimiser, self.config.learning_rate), (self.critic_optimiser, self.config.critic_rate),
        ):  # fmt: skip
            for group in optimiser.param_groups:
                group["lr"] = factor * rate

    def _made(self, way: str, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            found: Tensor = self.nets[way](images)
        return found.float()

    def _judge(self, way: str, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            found: Tensor = self.critics[way](images)
        return found.float()

    def _paired(self, batch: dict[str, tuple[Tensor, Tensor]]) -> tuple[dict[str, Any], Tensor, Tensor]:
        """Return what generators made of aligned crops, their loss, and the critics' part in it."""
        made: dict[str, Any] = {}
        loss = fooled = torch.zeros((), device=self.device)
        ways = {"there": ("source", "seen", "target"), "back": ("target", "seen back", "source")}
        for way in (w for w in self.nets if w in ways):
            given, seen, wanted = (batch[name] for name in ways[way])
            output = self._made(way, seen[0])
            target, mask = in_register(output, wanted[0], given[1] * wanted[1], self.config.tolerance_px)
            loss = loss + self._unlike(output, target, mask)
            if self.critics:
                shown = torch.cat([seen[0], output * mask], 1)
                fooled = fooled + judged(self._judge(way, shown), 1.0)
                made[way] = (shown.detach(), torch.cat([seen[0], target * mask], 1))
            if way == "there" and "plain" in self.nets:
                left = self._made("plain", batch["seen back"][0])
                wished, known = in_register(left, output.detach(), mask, self.config.tolerance_px)
                loss = loss + self._unlike(left, wished, known)
        return made, loss + self.config.adversarial_weight * fooled, fooled

    def _unlike(self, output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        c = self.config
        total = c.pixel_weight * difference(output, target, mask)
        if c.gradient_weight:
            total = total + c.gradient_weight * gradient_difference(output, target, mask)
        return total + c.likeness_weight * unlikeness(output, target, mask) if c.likeness_weight else total

    def _cycled(self, batch: dict[str, tuple[Tensor, Tensor]]) -> tuple[dict[str, Any], Tensor, Tensor]:
        """Return what generators made of crops without partners, their loss, and the critics' part in it."""
        c, made = self.config, {}
        loss = fooled = torch.zeros((), device=self.device)
        for way, other, name, wanted in (("there", "back", "source", "target"), ("back", "there", "target", "source")):
            images, mask = batch[name]
            output = self._made(way, images)
            self.nets[other].eval()  # its statistics are those of images, not of what it is shown by the other one
            loss = loss + c.cycle_weight * difference(self._made(other, output * mask), images, mask)
            self.nets[other].train()
            if c.edge_weight:
                loss = loss + c.edge_weight * moved_edges(output, images, mask)
            if c.polarity_weight:
                loss = loss + c.polarity_weight * outside(polarity_of(output, mask), self.polarities[way])
            if c.identity_weight and images.shape[1] == output.shape[1]:
                loss = loss + c.identity_weight * difference(self._made(way, batch[wanted][0]), *batch[wanted])
            fooled = fooled + judged(self._judge(way, output * mask), 1.0)
            made[way] = (self._and_earlier(way, (output * mask).detach()), batch[wanted][0])
        return made, loss + fooled, fooled

    def _and_earlier(self, way: str, made: Tensor) -> Tensor:
        """Return what a critic is shown of what a generator made, some of it earlier."""
        earlier = self.earlier[way]
        if not isinstance(earlier, Earlier):
            msg = f"what was made earlier is kept by Earlier, found {type(earlier).__name__}"
            raise TypeError(msg)
        return earlier.exchanged(made, np.random.default_rng((self.config.seed, 3, self.step, len(way))))

    def _teach_critics(self, batch: dict[str, tuple[Tensor, Tensor]], made: dict[str, Any]) -> float:
        self.critics.train().requires_grad_(True)
        loss = torch.zeros((), device=self.device)
        for way, (false, true) in made.items():
            loss = loss + 0.5 * (judged(self._judge(way, true), 1.0) + judged(self._judge(way, false), 0.0))
        self.critic_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimiser.step()
        return float(loss.detach())

    def _validated(self) -> dict[str, Any]:
        return dict(validate(self.generators, self.examples, self.config))


def _placed(nets: nn.ModuleDict, device: torch.device) -> nn.ModuleDict:
    return nets.to(memory_format=torch.channels_last).to(device)


def train_style(
    out: Path,
    examples: Examples,
    config: StyleConfig,
    *,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_validated: Callable[[dict[str, Any]], None] = lambda line: None,
) -> StyleTraining:
    """Train, or go on where an earlier run in this folder stopped.

    Parameters
    ----------
    out : Path
        Folder for ``style.json`` (settings), ``log.csv`` (losses and validations) and ``checkpoint.pt``.
    examples : Examples
    config : StyleConfig
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
    training = StyleTraining(examples, config, goes_on=(out / CHECKPOINT).is_file())
    return trained(training, out, progress=progress, on_validated=on_validated)


__all__ = ["CHECKPOINT", "COLUMNS", "LOG", "SETTINGS", "StyleTraining", "train_style"]
