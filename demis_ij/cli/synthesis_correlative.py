"""``synth correlative``: pictures of made-up steel and tissue by light and by electrons."""

from __future__ import annotations

import json
from typing import Annotated

import cv2
import typer

from demis_ij.cli import synthesis
from demis_ij.cli.progress import Bars
from demis_ij.cli.synthesis import Json_, Out_, Quiet_
from demis_ij.config.correlative import CORRELATIVE_KINDS, EVALUATION_PAIRS, SPLITS, CorrelativeConfig
from demis_ij.errors import InputError
from demis_ij.synth.correlative_dataset import write_pairs


def correlative(
    out: Out_,
    split: Annotated[
        str, typer.Option("--split", help="test: the evaluation's pairs. train: others, to train on.")
    ] = SPLITS[0],
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help=f"{', '.join(CORRELATIVE_KINDS)}. Repeatable (default both).")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="How many, all kinds together.")] = EVALUATION_PAIRS,
    size: Annotated[int, typer.Option("--size", min=64, max=4096, help="Side of the pictures, px.")] = 512,
    deformed: Annotated[
        bool | None,
        typer.Option("--deformed/--aligned", help="Deformed or in register (test: deformed; train: in register)."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of a training set (default 1).")] = None,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Make pairs of pictures of one microstructure: SEM-like (fixed) and LOM-like (moving, colour), deformed by a
    known elastic warp.

    The same settings give the same files.
    """  # noqa: D205
    if split == "test" and seed is not None:
        msg = "--seed belongs to --split train: the evaluation's pairs have seeds of their own"
        raise InputError(msg)
    config = CorrelativeConfig(
        split=split,
        kinds=tuple(kind) if kind else CORRELATIVE_KINDS,
        pairs=pairs,
        size_px=size,
        deformed=split == "test" if deformed is None else deformed,
        seed=1 if seed is None else seed,
    )
    cv2.setNumThreads(1)
    with Bars(not (quiet or as_json)) as bars:
        made = write_pairs(out, config, progress=bars)
    if as_json:
        facts = {"folder": str(out), "pairs": len(made.names), "kept": made.kept, "mean_px": made.mean_px}
        typer.echo(json.dumps(facts))
        return
    there = f", {made.kept} were there already" if made.kept else ""
    count = len(made.names)
    moved = f"moved by {made.mean_px:.1f} px on average" if made.mean_px else "in register"
    typer.echo(f"{out}: {count} pair{'s' * (count != 1)} of {size} x {size} px, {moved}{there}")
    for file in ("pairs.csv", "examples.png"):
        typer.echo(f"  {out / file}")


def add_to(parent: typer.Typer) -> None:
    """Add the command of this file."""
    synthesis.app.command("correlative")(correlative)
