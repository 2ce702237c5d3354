"""Layouts on the command line: how one is read (files and plain grids), and ``convert``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij import formats
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.images import with_shapes
from demis_ij.stitch import AXES, with_axes

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
Axes_ = Annotated[
    str | None,
    typer.Option("--stage-axes", help=f"Flips and swaps of the positions: {', '.join(AXES)}; tried if not given."),
]


def read_layout(
    path: Path,
    *,
    format_name: str | None = None,
    relink: Path | None = None,
    rows: int | None = None,
    cols: int | None = None,
    overlap: float | None = None,
    order: str | None = None,
    start: str | None = None,
    pattern: str | None = None,
) -> Document:
    """Return what a user means by LAYOUT: a layout file, or a folder with a grid's description.

    Raises
    ------
    InputError
        When it is neither, or an option does not belong to it.
    """
    grid = {"rows": rows, "cols": cols, "overlap": overlap, "order": order, "start": start, "pattern": pattern}
    given = {name: value for name, value in grid.items() if value is not None}
    if path.is_dir():
        return _read_grid(path, given, {"format": format_name, "relink": relink})
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise InputError(msg)
    if given:
        msg = f"--{next(iter(given))} describes a folder of tiles, and {path} is a file: leave it out, or give a folder"
        raise InputError(msg)
    return formats.read(path, format=format_name, relink=relink)


def _read_grid(path: Path, given: dict[str, Any], other: dict[str, Any]) -> Document:
    from demis_ij.formats.grid import grid_layout

    wrong = next((name for name, value in other.items() if value is not None), None)
    if wrong:
        msg = f"--{wrong} belongs to a layout file, and {path} is a folder of tiles: leave it out"
        raise InputError(msg)
    if not given.keys() & {"rows", "cols", "pattern"}:
        msg = f"{path} is a folder: say how the tiles lie, with --rows and --cols, or with --pattern"
        raise InputError(msg)
    return Document((grid_layout(path, **given),), "grid", path)


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
    document = read_layout(
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
    warnings = list(document.warnings)
    ready = []
    for section in document.layouts:
        known, found, bad = with_shapes(section)
        warnings += found
        if bad:
            known = replace(known, tiles=tuple(section[t.id] if t.id in bad else t for t in known))
        ready.append(with_axes(known, stage_axes) if stage_axes else known)
    written = formats.write(out, ready, format=to, allow_lossy=lossy)
    for line in warnings:
        typer.echo(f"warning: {line}", err=True)
    tiles = sum(map(len, ready))
    counts = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((tiles, "tile"), (len(ready), "section"))]
    typer.echo(f"{written}: {' in '.join(counts)}")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(convert)
