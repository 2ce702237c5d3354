"""A whole training: sources, the processes that share the work, the loop."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import torch

from demis_ij.train.loftr import prepare_folder, train_loftr
from demis_ij.train.outcome import Outcome, Watcher
from demis_ij.train.settings import TrainingSettings
from demis_ij.train.sources import gather
from demis_ij.train.together import Team, assembled


def run_training(out: Path, settings: TrainingSettings, *, watcher: Watcher, command: str = "") -> Outcome | None:
    """Train in as many processes as asked for; return what came out, None in processes that do not lead.

    Parameters
    ----------
    out : Path
        Run folder; one that holds a run of the same settings goes on.
    settings : TrainingSettings
        All settings.
    watcher : Watcher
        Who is told.
    command : str
        For the card.

    Raises
    ------
    InputError
        Everything that the user can put right.
    KeyboardInterrupt
        After Ctrl-C, when the checkpoint is written.
    """
    prepare_folder(out)  # before an hour of reading and generating
    work = partial(_member, out, settings)
    with assembled(settings.train.gpus, settings.train.device, work) as team:
        return _train(team, out, settings, watcher if team.leads else Watcher(), command)


def _member(out: Path, settings: TrainingSettings, team: Team) -> None:
    _train(team, out, settings, Watcher(), "")


def _train(team: Team, out: Path, settings: TrainingSettings, watcher: Watcher, command: str) -> Outcome | None:
    config = settings.train
    if config.threads:
        torch.set_num_threads(config.threads)
        cv2.setNumThreads(config.threads)
    sources = gather(
        settings.data,
        least_px=min(min(shape) for shape in config.shapes),
        seed=config.seed,
        hold_out=settings.validation.pairs > 0,
        progress=watcher.progress,
    )
    for line in sources.warnings:
        watcher.warn(line)
    return train_loftr(out, sources, settings, team=team, watcher=watcher, command=command)
