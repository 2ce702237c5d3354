"""A training as a job: settings in, a run folder with weights, their card and a page out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from demis_ij.report.training import write_training_report
from demis_ij.train.outcome import Outcome, Watcher
from demis_ij.train.settings import TrainingSettings

PAGE = "report.html"


def run_train(
    out: Path,
    settings: TrainingSettings,
    *,
    command: str = "",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_kept: Callable[[Outcome], None] = lambda outcome: None,
    warn: Callable[[str], None] = lambda line: None,
) -> dict[str, Any] | None:
    """Train LoFTR; the page is written anew whenever weights are kept.

    Parameters
    ----------
    out : Path
        Run folder.
    settings : TrainingSettings
        All settings.
    command : str
        What was typed, for the card.
    progress, on_kept, warn : callable
        As in `Watcher`.

    Returns
    -------
    dict or None
        What came out, for programs; None in processes that do not lead.
    """
    from demis_ij.train.running import run_training  # torch, only when it is needed

    def kept(outcome: Outcome) -> None:
        write_training_report(out / PAGE, outcome)
        on_kept(outcome)

    watcher = Watcher(progress=progress, on_kept=kept, warn=warn)
    outcome = run_training(out, settings, watcher=watcher, command=command)
    return None if outcome is None else summary(outcome)


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return a training's outcome as plain values."""
    files = {"weights": outcome.weights, "card": outcome.card, "last": outcome.last}
    files["report"] = outcome.weights.parent / PAGE
    return {
        "step": outcome.step,
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "stopped_early": outcome.stopped_early,
        "scores": outcome.facts["scores"],
        "files": {name: str(path) for name, path in files.items()},
    }


__all__ = ["PAGE", "run_train", "summary"]
