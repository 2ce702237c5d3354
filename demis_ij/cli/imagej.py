"""``imagej``: the embedded ImageJ of notebooks and scripts."""

from __future__ import annotations

import typer

from demis_ij import jobs
from demis_ij.errors import DemisError
from demis_ij.imagej import jars

group = typer.Typer(
    name="imagej", help="The ImageJ inside Python: fetch its jars, check that it starts.", no_args_is_help=True
)


@group.command()
def fetch() -> None:
    """Fetch the jars of the embedded ImageJ into ~/.m2/repository, so that it starts without a network from then on.

    For a machine that never has one: run it elsewhere and copy that folder.
    """
    wanted = jars.jars_of()
    absent = jars.missing(wanted)
    for path in jars.fetch(wanted):
        typer.echo(str(path))
    typer.echo(f"{len(absent)} fetched, {len(wanted) - len(absent)} were there")


@group.command()
def check() -> None:
    """Start the embedded ImageJ, run a script in it, and say what runs. Exit code 1 when it does not start."""
    finding = jobs.try_imagej()
    if not finding.ok:
        raise DemisError(finding.found)
    typer.echo(finding.found)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="imagej")
