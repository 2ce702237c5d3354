"""Training the two-headed network as a job: images in, a folder with weights, card, tables and a page out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demis_ij.config.reading import from_dict
from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.errors import InputError
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
    from demis_ij.train.two_headed_specimens import gather_specimens

    _prepared(out, (two_headed.SETTINGS, _KEPT))
    if as_it_stands and not (out / two_headed.CHECKPOINT).is_file():
        msg = f"{out} holds no checkpoint to make weights of: train first"
        raise InputError(msg)
    specimens = gather_specimens(folders, pairs, config, kept=out / _KEPT, progress=progress)
    for line in specimens.warnings:
        warn(line)
    if as_it_stands:
        training = two_headed.TwoHeadedTraining(specimens, config)
        training.resume(out / two_headed.CHECKPOINT)
    else:
        training = two_headed.train_features(out, specimens, config, progress=progress, on_validated=on_validated)
    trained = two_headed_outcome.finish_training(training, out, command=command, progress=progress)
    (out / PAGE).write_text(two_headed_page(trained), encoding="utf-8")
    files = {"weights": trained.weights, "card": trained.card, "predictions": trained.predictions}
    files |= {"losses": out / two_headed.LOG, "report": out / PAGE}
    keys = ("step", "steps", "seconds", "once", "twice", "r2", "error_over_sigma")
    return {k: trained.facts[k] for k in keys} | {"files": {name: str(path) for name, path in files.items()}}


def kept_config(out: Path, changed: dict[str, Any]) -> TwoHeadedConfig:
    """Return the settings of a run folder with some changed; the defaults with them when it holds none.

    Raises
    ------
    InputError
        When the settings of the folder cannot be read.
    """
    path = out / "two_headed.json"
    if not path.is_file():
        return from_dict(TwoHeadedConfig, changed)
    try:
        before = from_dict(TwoHeadedConfig, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as the settings of a training; delete it to begin anew"
        raise InputError(msg) from error
    from_dict(TwoHeadedConfig, changed)  # unknown names are refused with the nearest one
    return replace(before, **changed)


def _prepared(out: Path, own: tuple[str, ...]) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in own)):
        msg = f"--out {out} is a file, or a folder that holds something else: choose another"
        raise InputError(msg)
    out.mkdir(parents=True, exist_ok=True)


__all__ = ["PAGE", "kept_config", "run_train_two_headed"]
