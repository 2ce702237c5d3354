"""Training the two-headed network as a job: images in, a folder with weights, card, tables and a page out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.jobs.networks.runs import settings_begun_with, training_run
from demis_ij.report.two_headed import two_headed_page

PAGE = "report.html"
_KEPT = "specimens"


def run_train_two_headed(
    out: Path,
    folders: Sequence[Path],
    pairs: Path | None,
    config: TwoHeadedConfig,
    *,
    command: str = "",
    as_it_stands: bool = False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_validated: Callable[[dict[str, Any]], None] = lambda line: None,
    warn: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train the two-headed network, or go on, and write weights, card, predictions and a page.

    Parameters
    ----------
    out : Path
        Run folder; one that holds a training of the same settings and images goes on.
    folders : sequence of Path
        Images.
    pairs : Path or None
        CSV of registered pairs, columns ``fixed`` and ``moving``.
    config : TwoHeadedConfig
    command : str
        What was typed, for the card.
    as_it_stands : bool
        Make weights of the checkpoint without another step.
    progress, on_validated, warn : callable
        Told what is done, each validation, and what was left out.

    Returns
    -------
    dict
        What came out, for programs.

    Raises
    ------
    InputError
        When there is nothing to train on, or the folder holds something else.
    """
    from demis_ij.train import two_headed, two_headed_outcome  # torch, only when it is needed
    from demis_ij.train.interruptible import trained
    from demis_ij.train.two_headed_specimens import gather_specimens

    with training_run(out, (two_headed.SETTINGS, _KEPT), as_it_stands=as_it_stands):
        specimens = gather_specimens(folders, pairs, config, kept=out / _KEPT, progress=progress)
        for line in specimens.warnings:
            warn(line)
        training = trained(
            two_headed.TwoHeadedTraining(specimens, config), out, as_it_stands=as_it_stands, progress=progress,
            on_validated=on_validated,
        )  # fmt: skip
        outcome = two_headed_outcome.finish_training(training, out, command=command, progress=progress)
        (out / PAGE).write_text(two_headed_page(outcome), encoding="utf-8")
    files = {"weights": outcome.weights, "card": outcome.card, "predictions": outcome.predictions}
    files |= {"losses": out / two_headed.LOG, "report": out / PAGE}
    keys = ("step", "steps", "seconds", "once", "twice", "r2", "error_over_sigma")
    return {k: outcome.facts[k] for k in keys} | {"files": {name: str(path) for name, path in files.items()}}


def kept_config(out: Path, changed: dict[str, Any]) -> TwoHeadedConfig:
    """Return the settings of a run folder with some changed; the defaults with them when it holds none.

    Raises
    ------
    InputError
        When the settings of the folder cannot be read.
    """
    return settings_begun_with(TwoHeadedConfig, out / "two_headed.json", changed)


__all__ = ["PAGE", "kept_config", "run_train_two_headed"]
