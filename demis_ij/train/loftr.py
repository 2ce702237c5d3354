"""Train a LoFTR on pairs cut from images: the loop, and when it ends.

An interrupted run goes on from its checkpoint to the same weights: everything random follows from the seed and the
step, and all else (optimiser, averaged weights, hard pairs, early stopping) is in the checkpoint. One process or
several (`demis_ij.train.together`) compute the same, up to the order of sums.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from demis_ij.errors import InputError
from demis_ij.nets.weights import write_whole
from demis_ij.train import checkpoints
from demis_ij.train.outcome import Outcome, Watcher
from demis_ij.train.settings import TrainingSettings, to_toml
from demis_ij.train.sources import Sources
from demis_ij.train.together import Team
from demis_ij.train.training import LOG, SETTINGS, Training


@contextmanager
def stop_flag() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C (or SIGTERM) came: a step is finished first; a second ends at once."""
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {
        s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN
    }
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_loftr(
    out: Path,
    sources: Sources,
    settings: TrainingSettings | None = None,
    *,
    team: Team | None = None,
    watcher: Watcher | None = None,
    command: str = "",
) -> Outcome | None:
    """Train and save weights; run again with the same arguments to go on where it stopped.

    Parameters
    ----------
    out : Path
        Folder for everything the run leaves: ``loftr.safetensors`` (the best averaged weights), its card
        ``loftr.md``, ``last.safetensors``, ``config.toml``, ``log.jsonl`` and ``checkpoint.pt``.
    sources : Sources
        What pairs are cut from.
    settings : TrainingSettings, optional
        All settings.
    team : Team, optional
        This process and those beside it; alone on the CPU when not given.
    watcher : Watcher, optional
        Who is told.
    command : str
        For the card.

    Returns
    -------
    Outcome or None
        None in processes that do not lead.

    Raises
    ------
    InputError
        When the folder holds something else or a run with other settings, or there is no space for checkpoints.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the step is finished and the checkpoint is written.
    """
    settings, team, watcher = settings or TrainingSettings(), team or Team(torch.device("cpu")), watcher or Watcher()
    training = Training(out, sources, settings, team, command)
    try:
        return _train(training, watcher)
    finally:
        training.feed.close()


def prepare_folder(out: Path) -> None:
    """Make the run folder. Raises `InputError` when it holds something that is not a training run."""
    if out.exists() and not out.is_dir():
        msg = f"--out {out} is a file, needed a folder"
        raise InputError(msg)
    if out.is_dir() and any(out.iterdir()) and not (out / SETTINGS).is_file():
        msg = f"--out {out} is not empty and holds no training run: choose another folder"
        raise InputError(msg)
    out.mkdir(parents=True, exist_ok=True)


def _train(training: Training, watcher: Watcher) -> Outcome | None:
    run, team = training.run, training.team
    if team.leads:
        prepare_folder(training.out)
        checkpoints.refuse_full_disk(training.out, sum(p.numel() for p in run.net.parameters()))
    training.resume()
    team.any(False)  # nobody writes before all have read
    if team.leads:
        write_whole(training.out / SETTINGS, to_toml(training.settings).encode())
        log = "".join(json.dumps(line) + "\n" for line in run.history)
        write_whole(training.out / LOG, log.encode())  # what came after the checkpoint is done again
    if run.is_over:  # nothing is written anew but the page
        if team.leads:
            watcher.on_kept(training.outcome())
    else:
        with stop_flag() as stopped:
            _loop(training, watcher, stopped)
    return training.outcome() if team.leads else None


def _loop(training: Training, watcher: Watcher, stopped: Callable[[], bool]) -> None:
    """Judge and take steps until all are done, validation gets no better, or somebody asks to stop."""
    run, team, config = training.run, training.team, training.settings.train
    began = time.perf_counter() - run.seconds
    while True:
        watcher.progress("training", run.step, config.steps)
        due = team.leads and not run.is_over and training.is_judging_due()
        judged = due and training.judge(stopped)
        run.is_over = team.any(team.leads and (run.is_over or (run.step >= config.steps and judged == due)))
        interrupted = team.any(stopped())
        if team.leads and (judged or run.is_over or interrupted or (run.step and run.step % config.save_every == 0)):
            training.keep()
            watcher.on_kept(training.outcome())
        if run.is_over:
            return
        if interrupted:
            raise KeyboardInterrupt
        training.step()
        run.seconds = time.perf_counter() - began
        if run.step % config.log_every == 0 or run.step == config.steps:
            training.note_losses()


__all__ = ["Outcome", "Watcher", "prepare_folder", "train_loftr"]
