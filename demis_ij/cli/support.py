"""``demo`` and ``doctor``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from demis_ij import demo as demonstration
from demis_ij import jobs
from demis_ij.cli.progress import Bars
from demis_ij.cli.telling import say_table


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything the demo makes.")] = Path("demis-ij-demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another section.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Show the whole job: make a section, cut it into misplaced tiles, stitch it by LoFTR and by SIFT, compare with
    the truth.
    """  # noqa: D205
    with Bars(not (quiet or as_json)) as bars:
        facts = demonstration.run_demo(
            out, seed=seed, progress=bars, on_stage=lambda name: setattr(bars, "prefix", f"{name}: " if name else "")
        )
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_table(facts["table"])
    typer.echo("")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    java: Annotated[bool, typer.Option("--java", help="Start ImageJ, too, and run a script in it.")] = False,
) -> int:
    """Check the installation: packages, device, weights, Java. Exit code 1 when a needed part is missing."""
    found = [*jobs.examine(), *([jobs.try_imagej()] if java else [])]
    if as_json:
        typer.echo(json.dumps([asdict(f) for f in found]))
    else:
        width = max(len(f.part) for f in found)
        for f in found:
            typer.echo(f"{'ok ' if f.ok else 'BAD'}  {f.part:<{width}}  {f.found}")
            if f.remedy:
                typer.echo(f"     {'':<{width}}  remedy: {f.remedy}")
    return 0 if all(f.ok for f in found) else 1


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(demo)
    app.command()(doctor)
