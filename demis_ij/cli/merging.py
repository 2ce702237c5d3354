"""``merge``, and what ``stitch --part`` says: pairs matched by several computers that share nothing but a disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import Json_, Quiet_, Strict_
from demis_ij.cli.telling import say_warnings
from demis_ij.jobs.merging import merge_runs


def merge(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run folder that gets it all: one of stitch, or a new one.")
    ],
    others: Annotated[
        list[Path], typer.Argument(metavar="OTHER...", help="Run folders of the same layout and settings; only read.")
    ],
    as_json: Json_ = False,
    quiet: Quiet_ = False,
    strict: Strict_ = False,
) -> int:
    """Put what several runs of one layout have matched into RUN, so that 'stitch --out RUN' matches none of it again.

    For computers that each matched a part ('stitch --part 2/5'). Layout, tiles and settings must be the same.
    """
    with Bars(not (quiet or as_json)) as bars:
        done = merge_runs(run, others, progress=bars)
    if as_json:
        typer.echo(json.dumps(done.to_json()))
    else:
        say_warnings(done.warnings)
        for other, count in done.taken.items():
            typer.echo(f"{other}: {count} new")
        finish = f"finish with 'stitch {done.layout} --out {run}', as before"
        typer.echo(f"{run}: {done.pairs} pairs are known; {finish} (for other mosaics: 'redo {run} --mosaic png')")
    return 3 if strict and done.warnings else 0


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(merge)
