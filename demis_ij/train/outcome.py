"""What a training tells those who watch it. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demis_ij.train.scores import PairPicture


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A training so far.

    Attributes
    ----------
    weights, last, card : Path
        The best averaged weights, the last ones, and the card of the best.
    step, steps, best_step : int
        Done, to do, and at which the best weights were found.
    history : list of dict
        Points of the loss curve and validations.
    facts : dict
        What the card says, as plain values.
    training_pairs, validation_pairs : list of PairPicture
        Pictures for the page.
    stopped_early, is_over : bool
        Validation got no better; nothing more is to be done.
    """

    weights: Path
    last: Path
    card: Path
    step: int
    steps: int
    best_step: int
    history: list[dict[str, Any]]
    facts: dict[str, Any]
    training_pairs: list[PairPicture]
    validation_pairs: list[PairPicture]
    stopped_early: bool
    is_over: bool


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Who is told how a training goes; each does nothing by default.

    Attributes
    ----------
    progress : callable
        What is being done, how much of it is, and how much there is.
    on_kept : callable
        Told the outcome so far, each time it was written: validations, checkpoints, a Ctrl-C, the end.
    warn : callable
        Told what was left out, one line each.
    """

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    on_kept: Callable[[Outcome], None] = lambda outcome: None
    warn: Callable[[str], None] = lambda line: None
