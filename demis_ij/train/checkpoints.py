"""The checkpoint of a training run: all that is needed to go on to the same result, in one file, all or nothing."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from kornia.feature.loftr.loftr import LoFTR

from demis_ij.errors import InputError
from demis_ij.nets.weights import UNREADABLE, first_line, write_whole
from demis_ij.train.feeding import HardPairs, PairKey

FILE = "checkpoint.pt"
_COPIES = 5
"""Of the parameters in a checkpoint: the network, its average, the best one, the optimiser's two moments."""


@dataclass
class Run:
    """The state of a training; everything random in it follows from the seed and the step.

    Attributes
    ----------
    net, average : LoFTR
        The network and its running average.
    optimiser, scaler : torch's
        AdamW, and the scale of gradients in float16.
    step : int
        Steps done.
    plans : list of list of PairKey
        Pairs of the next steps.
    hard : HardPairs
        For mining.
    history : list of dict
        Points of the loss curve and validations.
    sums : list of float
        Coarse, fine and imitation loss and count since the last point of the curve.
    best, best_step, best_auc : dict or None, int, float
        The best averaged weights so far.
    stale : int
        Validations since then.
    seconds : float
        Spent so far.
    is_over : bool
        Nothing more is to be done.
    """

    net: LoFTR
    average: LoFTR
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    plans: list[list[PairKey]] = field(default_factory=list)
    hard: HardPairs = field(default_factory=HardPairs)
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    best: dict[str, torch.Tensor] | None = None
    best_step: int = 0
    best_auc: float = -1.0
    stale: int = 0
    seconds: float = 0.0
    is_over: bool = False


_PLAIN = ("step", "history", "sums", "best", "best_step", "best_auc", "stale", "seconds", "is_over")
_STATES = ("net", "average", "optimiser", "scaler")


def save(run: Run, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint; the one that was there stays until the new one is whole.

    Parameters
    ----------
    run : Run
        The state.
    path : Path
        The file.
    facts : mapping
        Plain values that say which run this is; `load` returns them.
    """
    content: dict[str, Any] = {name: getattr(run, name) for name in _PLAIN}
    content |= {name: getattr(run, name).state_dict() for name in _STATES}
    content |= {
        "plans": [[list(k) for k in keys] for keys in run.plans],
        "hard": run.hard.entries,
        "facts": dict(facts),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Return the content of a checkpoint. Raises `InputError` when it is damaged."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict) or not {*_PLAIN, *_STATES, "plans", "hard", "facts"} <= set(content):
            msg = "it lacks parts of a training run"
            raise ValueError(msg)
    except (*UNREADABLE, pickle.UnpicklingError) as error:
        first = first_line(error)[:120]
        msg = f"{path}: not a whole checkpoint of this version ({first}): choose another --out, or delete it"
        raise InputError(msg) from error
    return content


def restore(run: Run, content: Mapping[str, Any]) -> None:
    """Bring a run, in place, to where a checkpoint was written."""
    for name in _PLAIN:
        setattr(run, name, content[name])
    for name in _STATES:
        getattr(run, name).load_state_dict(content[name])
    run.plans = [[(k[0], k[1], k[2]) for k in keys] for keys in content["plans"]]
    run.hard = HardPairs(content["hard"])


def refuse_full_disk(folder: Path, parameters: int) -> None:
    """Raise `InputError` when there is no space for two checkpoints (the old one stays until the new one is whole)."""
    needed = 2 * _COPIES * 4 * parameters + 4 * 4 * parameters + 16_000_000  # the last: page, logs and cards
    free = shutil.disk_usage(folder).free
    if free < needed:
        msg = (
            f"{folder}: no space for checkpoints: {free / 1e6:.0f} MB are free, needed {needed / 1e6:.0f} MB: free "
            "some space, or choose another --out"
        )
        raise InputError(msg)
