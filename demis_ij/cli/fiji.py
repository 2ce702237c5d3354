"""``fiji install``, ``fiji uninstall``, ``fiji status`` and ``fiji where``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from demis_ij import fiji

Fiji_ = Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a Fiji: the one with jars/ and plugins/.")]
DryRun_ = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]

WORDS = {fiji.ADD: "new", fiji.REPLACE: "replaced", fiji.REMOVE: "removed"}


def install(
    path: Fiji_,
    python: Annotated[
        Path | None,
        typer.Option("--python", help="Interpreter or environment with demis_ij (default: the one that runs this)."),
    ] = None,
    dry_run: DryRun_ = False,
) -> None:
    """Put the DEMIS commands into the menu of a Fiji, and store the Python they use.

    A second time brings them up to date. Files that are not ours, or that were changed, are left and named.
    """
    changes = fiji.install(path, python=python, dry_run=dry_run)
    _say(changes, dry_run)
    typer.echo(f"Python of the menu: {changes.python}")
    if not dry_run:
        typer.echo("Start Fiji anew: Plugins > DEMIS; Check Installation there says whether all is well")


def uninstall(path: Fiji_, dry_run: DryRun_ = False) -> None:
    """Take the DEMIS commands out of a Fiji again. Files that were changed are kept and named."""
    _say(fiji.uninstall(path, dry_run=dry_run), dry_run)


def _say(changes: fiji.Changes, dry_run: bool) -> None:
    for step in changes.steps:
        if step.what in WORDS and dry_run:
            typer.echo(f"would be {WORDS[step.what]}  {step.path}")
    for step in changes.left:
        typer.echo(f"warning: left as it is: {step.path} {step.why}", err=True)
    counts = [f"{n} {word}" for what, word in WORDS.items() if (n := changes.count(what))]
    kept = changes.count(fiji.SAME)
    counts += [f"{kept} up to date"] if kept else []
    typer.echo(f"{changes.folder}: {', '.join(counts) or 'nothing to do'}")
    if dry_run:
        typer.echo("dry run: nothing was written")


def status(path: Fiji_) -> None:
    """Say what is installed below a Fiji, and which Python its menu uses."""
    found = fiji.status(path)
    typer.echo(f"{found.fiji}: {'scripts of demis_ij ' + found.version if found.version else 'no scripts of demis_ij'}")
    typer.echo(
        f"Python of the menu: {found.python or 'none stored there'}{f' ({found.stored})' if found.stored else ''}"
    )
    for word, files in (("changed", found.changed), ("missing", found.missing)):
        for file in files:
            typer.echo(f"{word}  {file}")


def where() -> None:
    """Say where the scripts are, for copying them by hand below the folder scripts of a Fiji."""
    typer.echo(str(fiji.scripts_folder()))


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(name="fiji", no_args_is_help=True, help="The DEMIS commands in the menu of a Fiji.")
    for command in (install, uninstall, status, where):
        group.command()(command)
    app.add_typer(group)


__all__ = ["add_to", "install", "status", "uninstall", "where"]
