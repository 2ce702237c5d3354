"""``train loftr`` and ``train autoencoder``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import Json_, Quiet_
from demis_ij.cli.telling import say_warnings
from demis_ij.config import PRECISIONS, from_dict
from demis_ij.config.autoencoder import AutoencoderConfig
from demis_ij.errors import InputError
from demis_ij.jobs.networks.autoencoders import run_train_autoencoder
from demis_ij.jobs.networks.loftr import run_train
from demis_ij.train.outcome import Outcome
from demis_ij.train.settings import read_settings

train = typer.Typer(
    name="train",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train what matches or aligns on your own images. 'demis-ij train loftr --help' says how.",
)


@train.callback()
def _train() -> None:
    """Train what matches or aligns on your own images."""


@train.command("loftr")
def loftr(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDERS", help="Folders of images to cut pairs from.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML with tables [data], [train], [samples], [validation] and [architecture]."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. --set learning_rate=1e-4. Repeatable.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option("--init", help="Weights to start from: shipped, a checkpoint, outdoor or indoor_new."),
    ] = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option("--validation", help="Folder of images to validate on instead of a share. Repeatable."),
    ] = None,
    generated: Annotated[
        int | None, typer.Option("--generated", help="Sections of the built-in generator to add (default 40).")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps (default 20000).")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Pairs a step, over all processes (default 4).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything random (default 1).")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", help="Processes that share the work, each with a GPU of its own.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help=f"Of the backbone: {', '.join(PRECISIONS)}.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads (default: torch decides).")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Of the images, for the weights' card.")] = None,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Train LoFTR on pairs cut from your images: weights, their card, and a page of curves and pictures.

    Run it again with the same --out to go on after an interruption.
    """
    named: dict[str, dict[str, Any]] = {
        "data": {
            "folders": [str(f) for f in folders] if folders else None,
            "validation_folders": [str(f) for f in validation] if validation else None,
            "generated": generated,
            "licence": licence,
        },
        "train": {
            "init": init,
            "steps": steps,
            "batch": batch,
            "seed": seed,
            "device": device,
            "gpus": gpus,
            "precision": precision,
            "threads": threads,
        },
    }
    left = out / "config.toml"
    if not (folders or config or left.is_file() or generated or any("generated" in one for one in setting or ())):
        msg = f"nothing to train on: give folders, --config or --generated; {out} holds no run to go on with"
        raise InputError(msg)
    settings = read_settings(config or (left if left.is_file() else None), setting or (), named)
    shown = not (quiet or as_json)
    with Bars(shown) as bars:
        facts = run_train(
            out,
            settings,
            command=shlex.join(["demis-ij", *sys.argv[1:]]),
            progress=bars,
            on_kept=lambda outcome: bars.say(kept_line(outcome)),
            warn=lambda line: say_warnings([line]),
        )
    if facts is not None:
        say_outcome(facts, as_json)


@train.command("autoencoder")
def autoencoder(
    stacks: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STACKS", help="Your sections: folder, multi-page TIFF, OME-Zarr or layout."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")],
    form: Annotated[
        str, typer.Option("--form", help="tem (deep, 3 x 3 filters) or sem (six layers of 7 x 7).")
    ] = AutoencoderConfig.form,
    generated: Annotated[
        int, typer.Option("--generated", help="Sections of the built-in generator to add.")
    ] = AutoencoderConfig.generated,
    steps: Annotated[int, typer.Option("--steps", help="Optimiser steps.")] = AutoencoderConfig.steps,
    minutes: Annotated[
        float, typer.Option("--minutes", help="The end, if it comes first.")
    ] = AutoencoderConfig.minutes,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. --set learning_rate=5e-4. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = AutoencoderConfig.seed,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = AutoencoderConfig.device,
    threads: Annotated[
        int, typer.Option("--threads", help="CPU threads; 0: torch decides.")
    ] = AutoencoderConfig.threads,
    licence: Annotated[str, typer.Option("--licence", help="Of the images, for the weights' card.")] = "",
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Train the autoencoder of ssEMnet on your own stack, in minutes: its features are what sections are aligned by.

    Run it again with the same --out to go on after an interruption.
    """
    named = {
        "form": form, "generated": generated, "steps": steps, "minutes": minutes, "seed": seed, "device": device,
        "threads": threads, "licence": licence,
    }  # fmt: skip
    config = from_dict(AutoencoderConfig, named | assigned(setting or ()))
    if not stacks and not config.generated:
        msg = "nothing to train on: give a stack, or --generated 20"
        raise InputError(msg)
    with Bars(not (quiet or as_json)) as bars:
        command = shlex.join(["demis-ij", *sys.argv[1:]])
        facts = run_train_autoencoder(out, stacks or [], config, command=command, progress=bars)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(
        f"best weights: step {facts['best_step']} of {facts['steps']}, ended by {facts['ended_by']} after "
        f"{facts['seconds']:.0f} s; {1 - facts['error'] / facts['grey_variance']:.1%} of the grey variance is told"
    )
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<7}  {path}")


def assigned(items: Sequence[str]) -> dict[str, Any]:
    """Return the settings of ``NAME=VALUE``, values as JSON writes them, else text. Raises `InputError`."""
    out: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            msg = f"--set {item}: needed NAME=VALUE"
            raise InputError(msg)
        try:
            out[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            out[name.strip()] = value
    return out


def kept_line(outcome: Outcome) -> str:
    """Return one line about where a training stands."""
    losses = next((line for line in reversed(outcome.history) if "coarse" in line), None)
    judged = next((line for line in reversed(outcome.history) if "validation" in line), None)
    said = [f"step {outcome.step} of {outcome.steps} kept"]
    if losses:
        said.append(f"losses {losses['coarse']:.4f} coarse, {losses['fine']:.4f} fine")
    if judged:
        scores = judged["validation"]
        said.append(
            f"validation of step {judged['step']}: AUC {scores['auc_1px']:.3f} to 1 px, "
            f"{scores['auc_10px']:.3f} to 10 px, {scores['failed']:.0%} failed"
        )
    return "; ".join(said)


def say_outcome(facts: dict[str, Any], as_json: bool) -> None:
    """Say what came out, for people or for programs."""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    scores = facts["scores"]
    early = f", stopped early at step {facts['step']}" if facts["stopped_early"] else ""
    if scores:
        typer.echo(
            f"best weights: step {facts['best_step']} of {facts['steps']}{early}; AUC {scores['auc_1px']:.3f} to 1 px, "
            f"{scores['auc_10px']:.3f} to 10 px; {scores['failed']:.0%} of {scores['pairs']} pairs failed"
        )
    else:
        typer.echo(f"weights of step {facts['step']} of {facts['steps']}, not validated")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(train)
