"""``train two-headed``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import Json_, Quiet_
from demis_ij.cli.telling import say_warnings
from demis_ij.cli.training import assigned, train
from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.jobs.networks.two_headed import kept_config, run_train_two_headed


def two_headed(
    *,
    images: Annotated[
        list[Path] | None, typer.Option("--images", help="Folder of your images, sub-folders too. Repeatable.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="CSV with columns fixed and moving: one field by two instruments, in register."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")],
    generated: Annotated[
        int | None, typer.Option("--generated", help="Made-up tissue specimens to add (default 24, 0 for none).")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps (default 2000).")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Pairs a step (default 16).")] = None,
    separate: Annotated[
        bool | None, typer.Option("--separate/--shared", help="Whether each head has weights of its own.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. --set materials=8. Repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything random (default 1).")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads; 0: torch decides.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Of the images, for the weights' card.")] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Make weights of the last checkpoint without another step.")
    ] = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Train the network that registers images of two instruments, on pairs made from your images as it goes.

    Run it again with the same --out to go on after an interruption.
    """
    named = {
        "generated": generated, "steps": steps, "batch": batch, "separate": separate, "seed": seed, "device": device,
        "threads": threads, "licence": licence,
    }  # fmt: skip
    given = {k: v for k, v in named.items() if v is not None} | assigned(setting or ())
    config = kept_config(out, given)
    with Bars(not (quiet or as_json)) as bars:
        facts = run_train_two_headed(
            out, images or [], pairs, config,
            command=shlex.join(["demis-ij", *sys.argv[1:]]), as_it_stands=finish, progress=bars,
            on_validated=lambda line: bars.say(validated_line(line, config)), warn=lambda line: say_warnings([line]),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(facts))
        return
    medians = ", ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in facts["twice"]["median_px"].items())
    typer.echo(f"step {facts['step']} of {facts['steps']}; median corner error of two passes, px of 512: {medians}")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


def validated_line(line: dict[str, Any], config: TwoHeadedConfig) -> str:
    """Return one line about where a training stands."""
    return (
        f"step {line['step']} of {config.steps} kept; loss {line['coarse'] + line['fine'] + line['place']:.3f}; one "
        f"pass: mono {line['mono']:.1f} px, xray {line['xray']:.1f}, light {line['light']:.1f}, hard "
        f"{line['xray_hard']:.1f} and {line['light_hard']:.1f}; {line['lost']:.0%} lost"
    )


def add_to(app: typer.Typer) -> None:
    """Add the command of this file to ``train``, which is in ``app`` already."""
    train.command("two-headed")(two_headed)
