"""Training a style network as a job: two folders of images in, a folder with weights, card, log and a page out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from demis_ij.config.style import StyleConfig
from demis_ij.jobs.networks.runs import settings_begun_with, training_run
from demis_ij.jobs.register.style_images import read_channels
from demis_ij.report.style_training import style_training_page
from demis_ij.runs import write_text

PAGE, SETTINGS = "report.html", "style.json"
_KEPT = "looks"


def run_train_style(
    out: Path,
    source: Path,
    target: Path,
    config: StyleConfig,
    *,
    command: str = "",
    as_it_stands: bool = False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_validated: Callable[[dict[str, Any]], None] = lambda line: None,
    warn: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train a style network, or go on, and write weights, card and a page.

    Parameters
    ----------
    out : Path
        Run folder; one that holds a training of the same settings and images goes on.
    source, target : Path
        Folders of images of two instruments; partners have one name, unless the method is ``cycle``.
    config : StyleConfig
    command : str
        What was typed, for the card.
    as_it_stands : bool
        Make weights of the checkpoint without another step.
    progress, on_validated, warn : callable
        Told what is done, each validation, and what was changed or left out.

    Returns
    -------
    dict
        What came out, for programs.

    Raises
    ------
    InputError
        When there is nothing to train on, partners do not fit, or the folder holds something else.
    """
    from demis_ij.train import style, style_outcome  # torch, only when it is needed
    from demis_ij.train.interruptible import trained
    from demis_ij.train.style_pairs import gather_examples

    with training_run(out, (SETTINGS, _KEPT), as_it_stands=as_it_stands):
        examples = gather_examples(source, target, config, read_channels, kept=out / _KEPT, progress=progress)
        for line in examples.warnings:
            warn(line)
        begun = style.StyleTraining(examples, config, goes_on=(out / style.CHECKPOINT).is_file())
        training = trained(begun, out, as_it_stands=as_it_stands, progress=progress, on_validated=on_validated)
        outcome = style_outcome.finish_style(training, out, command=command, progress=progress)
        write_text(out / PAGE, style_training_page(outcome))
    files = {"weights": outcome.weights, "card": outcome.card, "losses": out / style.LOG, "report": out / PAGE}
    keys = ("method", "source", "target", "step", "steps", "seconds", "images", "held_out", "scores")
    return {k: outcome.facts[k] for k in keys} | {"files": {name: str(path) for name, path in files.items()}}


def kept_style_config(out: Path, changed: dict[str, Any]) -> StyleConfig:
    """Return the settings of a run folder with some changed; the defaults with them when it holds none.

    Raises
    ------
    InputError
        When the settings of the folder cannot be read.
    """
    return settings_begun_with(StyleConfig, out / SETTINGS, changed)


__all__ = ["PAGE", "kept_style_config", "run_train_style"]
