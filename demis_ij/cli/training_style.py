"""``train style`` and ``restyle``."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import Json_, Quiet_
from demis_ij.cli.telling import say_warnings
from demis_ij.cli.training import assigned, train
from demis_ij.config.style import STYLE_METHODS, StyleConfig
from demis_ij.errors import InputError
from demis_ij.jobs.styles.applying import run_restyle
from demis_ij.jobs.styles.training import kept_style_config, run_train_style


def style(
    source: Annotated[Path, typer.Argument(help="Folder of images to be restyled later, e.g. by light.")],
    target: Annotated[Path, typer.Argument(help="Folder of images of the other instrument, e.g. by electrons.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")],
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="The images have no partners: CycleGAN. Else partners have one name.")
    ] = False,
    unaligned: Annotated[
        bool, typer.Option("--unaligned", help="Partners do not lie on each other yet: bring them into register first.")
    ] = False,
    method: Annotated[
        str | None, typer.Option("--method", help=f"{', '.join(STYLE_METHODS)} (default unet; gan is slower).")
    ] = None,
    both: Annotated[bool | None, typer.Option("--both/--one-way", help="Learn the way back, too.")] = None,
    crop: Annotated[int | None, typer.Option("--crop", help="Side of the squares learned from (default 512).")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps (default 4000).")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Crops a step (default 4).")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. --set tolerance_px=4. Repeatable.")
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
    """Train a network that makes images of one instrument look like another's, on your pairs or on two folders.

    Run it again with the same --out to go on after an interruption.
    """
    if unpaired and method not in {None, "cycle"}:
        msg = f"--unpaired is method cycle, found --method {method}: leave one of them out"
        raise InputError(msg)
    named = {
        "method": "cycle" if unpaired else method, "unaligned": unaligned or None, "both": both, "crop_px": crop,
        "steps": steps, "batch": batch, "seed": seed, "device": device, "threads": threads, "licence": licence,
    }  # fmt: skip
    config = kept_style_config(out, {k: v for k, v in named.items() if v is not None} | assigned(setting or ()))
    if unpaired and config.method != "cycle":
        msg = f"--unpaired is method cycle, found --set method={config.method}: leave one of them out"
        raise InputError(msg)
    with Bars(not (quiet or as_json)) as bars:
        facts = run_train_style(
            out, source, target, config, command=shlex.join(["demis-ij", *sys.argv[1:]]), as_it_stands=finish,
            progress=bars, on_validated=lambda line: bars.say(validated_line(line, config)),
            warn=lambda line: say_warnings([line]),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(_plain(facts)))
        return
    said = ", ".join(f"{name.replace('_', ' ')} {v:.3g}" for name, v in facts["scores"].items() if math.isfinite(v))
    judged = "held-out images" if facts["held_out"] else "images that it was trained on"
    typer.echo(f"{facts['source']} to {facts['target']}, step {facts['step']} of {facts['steps']}; {judged}: {said}")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


_FATE = {"invented": "without a cause", "lost": "lost"}


def validated_line(line: dict[str, Any], config: StyleConfig) -> str:
    """Return one line about where a training stands."""
    parts = [f"step {line['step']} of {config.steps} kept; loss {line['loss']:.3f}"]
    if math.isfinite(line["likeness"]):
        parts.append(f"local correlation {line['likeness']:.2f}")
    if math.isfinite(line["cycle"]):
        parts.append(f"there and back {line['cycle']:.3f}")
    parts += [f"{what} {line[k]:.0%}" for k, what in _FATE.items() if math.isfinite(line[k])]
    return ", ".join(parts)


def restyle(
    image: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    *,
    style: Annotated[str, typer.Option("--style", help="tissue, steel, fluorescence, or the path of weights.")],
    out: Annotated[Path, typer.Option("--out", help="The PNG or TIFF to write; a folder for a folder.")],
    back: Annotated[bool, typer.Option("--back", help="The other way, where the weights hold it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", help="CPU threads; 0: torch decides.")] = 0,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Make an image look as if another instrument had taken it; says how much of its structure has a cause."""
    with Bars(not (quiet or as_json)) as bars:
        facts = run_restyle(
            image, style, out, back=back, device=device, threads=threads, overwrite=overwrite, progress=bars
        )
    if as_json:
        typer.echo(json.dumps(_plain(facts)))
        return
    say_warnings([f"left out: {one['reason']}" for one in facts["left_out"]])
    for one in facts["images"]:
        typer.echo(f"{one['restyled']}: {one['said']}")


def _plain(value: Any) -> Any:
    """Return values as JSON knows them: what is unknown is null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file; ``train`` is in ``app`` already."""
    train.command("style")(style)
    app.command("restyle")(restyle)
