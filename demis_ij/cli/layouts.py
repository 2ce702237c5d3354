"""Layouts on the command line: the options by which one is read (files and plain grids), and ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from demis_ij import jobs
from demis_ij.stitch import AXES

GRID = "Plain grid (LAYOUT is a folder)"

Layout_ = Annotated[Path, typer.Argument(metavar="LAYOUT", help="A layout file, or a folder of tiles (a plain grid).")]
Format_ = Annotated[str | None, typer.Option("--format", help="trakem2, tileconfig, render or text; found by itself.")]
Relink_ = Annotated[Path | None, typer.Option("--relink", help="Folder where moved images are found by their names.")]
Rows_ = Annotated[int | None, typer.Option("--rows", min=1, help=f"{GRID}: rows.")]
Cols_ = Annotated[int | None, typer.Option("--cols", min=1, help=f"{GRID}: columns.")]
Overlap_ = Annotated[
    float | None,
    typer.Option("--overlap", help=f"{GRID}: fraction of the tile that neighbours share (default 0.1)."),
]
Order_ = Annotated[
    str | None, typer.Option("--order", help=f"{GRID}: row, column, snake-row or snake-column (default row).")
]
Start_ = Annotated[str | None, typer.Option("--start", help=f"{GRID}: corner of the first tile (default top-left).")]
Pattern_ = Annotated[
    str | None, typer.Option("--pattern", help=f"{GRID}: file names, e.g. 'tile_{{row}}_{{col}}.tif' or '{{i}}.png'.")
]
Each_ = Annotated[
    str | None,
    typer.Option("--each", metavar="PATTERN", help="LAYOUT is a folder with a layout file a section: '*.txt'."),
]
Axes_ = Annotated[
    str | None,
    typer.Option("--stage-axes", help=f"Flips and swaps of the positions: {', '.join(AXES)}; tried if not given."),
]


def convert(
    layout: Layout_,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New layout file; its name says the format.")],
    to: Annotated[str | None, typer.Option("--to", help="Format of OUT: trakem2, tileconfig, render or text.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Write even what OUT's format cannot hold.")] = False,
    format: Format_ = None,  # noqa: A002
    relink: Relink_ = None,
    rows: Rows_ = None,
    cols: Cols_ = None,
    overlap: Overlap_ = None,
    order: Order_ = None,
    start: Start_ = None,
    pattern: Pattern_ = None,
    stage_axes: Axes_ = None,
) -> None:
    """Convert a layout from any format to any other. OUT must not exist."""
    document = jobs.read_layout(
        layout,
        format_name=format,
        relink=relink,
        rows=rows,
        cols=cols,
        overlap=overlap,
        order=order,
        start=start,
        pattern=pattern,
    )
    done = jobs.convert_layout(document, out, to=to, allow_lossy=lossy, stage_axes=stage_axes)
    for line in done.warnings:
        typer.echo(f"warning: {line}", err=True)
    counts = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((done.tiles, "tile"), (done.sections, "section"))]
    typer.echo(f"{done.path}: {' in '.join(counts)}")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(convert)
