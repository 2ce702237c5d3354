"""Trainings that can be interrupted: one loop, one kind of checkpoint, for style networks and the two-headed one.

All that is random follows from the seed and the step, so that a run that was interrupted ends with the same weights.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import nn

from demis_ij.config.reading import to_dict
from demis_ij.errors import InputError
from demis_ij.nets.weights import UNREADABLE, write_whole
from demis_ij.train.loftr import stop_flag

LOG, CHECKPOINT = "log.csv", "checkpoint.pt"
_PLAIN = ("step", "seconds", "sums", "history")
_RATE_LEFT = 0.01  # of the rate, at the last step


class Settings(Protocol):
    """What the loop reads of the settings of a training."""

    @property
    def steps(self) -> int:
        """How many steps there are."""
        ...

    @property
    def validate_every(self) -> int:
        """Steps between validations."""
        ...

    @property
    def threads(self) -> int:
        """Of the CPU; 0 leaves it to torch."""
        ...

    @property
    def device(self) -> str:
        """auto, cpu or cuda."""
        ...


class Interruptible(ABC):
    """One training: where it stands, and how it takes a step.

    Parameters
    ----------
    config : Settings
        A dataclass.
    digest : str
        Of what is trained on.

    Attributes
    ----------
    step, seconds : int, float
        Steps done, and the time they took.
    history : list of dict
        The loss curve and the validations, by ``columns``.
    sums : list of float
        Of the losses since the last validation, and how many there were.
    """

    config: Settings
    settings_file: ClassVar[str]
    """What the settings are called in the run folder."""
    columns: ClassVar[Sequence[str]]
    """Of the log."""
    losses: ClassVar[Sequence[str]]
    """Those columns that are means over the steps since the last line."""
    states: ClassVar[Sequence[str]]
    """Attributes with a ``state_dict`` that a checkpoint holds."""
    free: ClassVar[Sequence[str]]
    """Settings that may change when a run goes on."""

    def __init__(self, config: Settings, digest: str) -> None:
        if config.device == "cuda" and not torch.cuda.is_available():
            msg = "device: there is no GPU that torch can use; choose cpu or auto"
            raise InputError(msg)
        self.device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
        self.config, self._digest = config, digest
        self.step, self.seconds = 0, 0.0
        self.sums = [0.0] * (len(self.losses) + 1)
        self.history: list[dict[str, Any]] = []

    @abstractmethod
    def take_step(self) -> None:
        """Take one step; it calls `_count` at its end."""

    @abstractmethod
    def _validated(self) -> dict[str, Any]:
        """Return what the networks do on what is held out, by columns."""

    @abstractmethod
    def rate(self) -> float:
        """Return the learning rate of this step, or by what the rates are multiplied."""

    def validate(self) -> dict[str, Any]:
        """Return what the networks do on what is held out, with the losses since; it is added to the history."""
        count = max(self.sums[-1], 1)
        line: dict[str, Any] = {"step": self.step, "seconds": self.seconds, "rate": self.rate()}
        line |= {name: self.sums[k] / count for k, name in enumerate(self.losses)}
        line |= self._validated()
        self.history.append({k: v if k == "step" else float(f"{v:.5g}") for k, v in line.items()})
        self.sums = [0.0] * len(self.sums)
        return self.history[-1]

    def _count(self, *losses: float) -> None:
        self.sums = [a + b for a, b in zip(self.sums, [*losses, 1.0], strict=True)]

    def facts(self) -> dict[str, Any]:
        """Return what says which run this is."""
        config = {k: v for k, v in to_dict(self.config).items() if k not in self.free}
        return {"config": json.loads(json.dumps(config)), "data": self._digest}

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the log, all or nothing."""
        content: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN} | {"facts": self.facts()}
        content |= {name: getattr(self, name).state_dict() for name in self.states}
        kept = io.BytesIO()
        torch.save(content, kept)
        write_whole(folder / CHECKPOINT, kept.getbuffer())
        lines = [",".join(self.columns), *(",".join(f"{line[c]:g}" for c in self.columns) for line in self.history)]
        write_whole(folder / LOG, ("\n".join(lines) + "\n").encode())

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. Raises `InputError` when it is damaged or of another run."""
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            other = _difference(content["facts"], self.facts())
        except (*UNREADABLE, pickle.UnpicklingError) as error:
            msg = f"{path} cannot be read as a checkpoint; delete it to begin anew"
            raise InputError(msg) from error
        if other:
            msg = f"{path.parent} holds another training: {other}. Choose another --out, or those settings"
            raise InputError(msg)
        try:
            for name in self.states:
                getattr(self, name).load_state_dict(content[name])
            for name in _PLAIN:
                setattr(self, name, content[name])
        except UNREADABLE as error:
            msg = f"{path} is a checkpoint of another version: delete it to begin anew, or choose another --out"
            raise InputError(msg) from error

    def run(
        self, out: Path, *, progress: Callable[[str, int, int], None], on_validated: Callable[[dict[str, Any]], None]
    ) -> None:
        """Take all steps that are left, and keep what is needed to go on in a folder."""
        config = self.config
        with stop_flag() as stopped:
            began = time.perf_counter() - self.seconds
            while self.step < config.steps and not stopped():
                self.take_step()
                self.seconds = time.perf_counter() - began
                progress("steps", self.step, config.steps)
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    self.validate()
                    self.save(out)
                    on_validated(self.history[-1])
            if self.step < config.steps:
                self.save(out)
            if stopped():  # in the last step, too: what comes after the steps may take long
                raise KeyboardInterrupt


T = TypeVar("T", bound=Interruptible)


def trained(
    training: T,
    out: Path,
    *,
    as_it_stands: bool = False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_validated: Callable[[dict[str, Any]], None] = lambda line: None,
) -> T:
    """Return a training that is over, or at its last checkpoint.

    Parameters
    ----------
    training : Interruptible
        At its beginning.
    out : Path
        Folder for settings, ``log.csv`` (losses and validations) and ``checkpoint.pt``; where there is a checkpoint it
        goes on from there.
    as_it_stands : bool
        Whether no further step is taken.
    progress : callable
        What is being done, how much of it is, and how much there is.
    on_validated : callable
        Told each line of the history.

    Raises
    ------
    InputError
        When the folder holds another training, or no checkpoint to take it as it stands.
    KeyboardInterrupt
        After Ctrl-C, once the step is finished and the checkpoint is written.
    """
    config = training.config
    if config.threads:
        torch.set_num_threads(config.threads)
    if as_it_stands or (out / CHECKPOINT).is_file():
        training.resume(out / CHECKPOINT)
    if not as_it_stands:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / training.settings_file, (json.dumps(to_dict(config), indent=1) + "\n").encode())
        training.run(out, progress=progress, on_validated=on_validated)
    return training


def rate_left(step: int, steps: int, warm_steps: int) -> float:
    """Return by what learning rates are multiplied: they rise, then fall as a cosine."""
    rise = min(1.0, (step + 1) / max(1, warm_steps))
    done = min(1.0, step / steps)
    return rise * (_RATE_LEFT + (1 - _RATE_LEFT) * 0.5 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def average_into(kept: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Bring a running average of weights up to date; it follows faster in the first steps."""
    held = min(decay, step / (step + 10))
    for old, new in zip(kept.state_dict().values(), net.state_dict().values(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(new.to(old.dtype), 1 - held)
        else:
            old.copy_(new)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what differs, in words; empty when nothing does."""
    first, second = before["config"], now["config"]
    names = sorted(k for k in {*first, *second} if first.get(k) != second.get(k))
    if names:
        return f"{names[0]} was {first.get(names[0])!r}, now {second.get(names[0])!r}"
    return "" if before["data"] == now["data"] else "the images are not the same"


__all__ = ["CHECKPOINT", "LOG", "Interruptible", "Settings", "average_into", "rate_left", "trained"]
