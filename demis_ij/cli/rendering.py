"""``render`` and ``report``: what a solved run shows, drawn and written anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from demis_ij import jobs
from demis_ij.cli.layouts import Relink_
from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import Config_, Json_, Mosaic_, Quiet_, Section_, Set_, Strict_, configs
from demis_ij.cli.telling import say_warnings
from demis_ij.cli.workers import Dask_, Memory_, Workers_, size_in_bytes
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.jobs.rendering import drawable
from demis_ij.pools import open_pool


def render(
    source: Annotated[Path, typer.Argument(metavar="RUN_OR_LAYOUT", help="A run folder, a solution.json or a layout.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the mosaics.")],
    mosaic: Mosaic_ = None,
    replace_text: Annotated[
        str | None,
        typer.Option("--replace", help="OLD=NEW in the tiles' paths: the same solution for another channel."),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="X,Y,W,H", help="Only this part, in pixels of the whole mosaic.")
    ] = None,
    scale: Annotated[float, typer.Option("--scale", help="Smaller, e.g. 0.25: a quarter of the width.")] = 1.0,
    section: Section_ = None,
    config: Config_ = None,
    setting: Set_ = None,
    workers: Workers_ = 1,
    dask: Dask_ = None,
    memory: Memory_ = None,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
    strict: Strict_ = False,
    relink: Relink_ = None,
) -> int:
    """Draw the mosaic of a solved run (or of any layout as it stands), also with another channel's images.

    When it is stopped, the same command goes on with it.
    """
    _, render_config = configs(config, setting, mosaic)
    box, memory_bytes = _box(region), size_in_bytes(memory)
    found = drawable(source, sections=section or (), replaced=replace_text, relink=relink)
    with Bars(not (quiet or as_json)) as bars, open_pool(workers, dask, memory_bytes=memory_bytes) as pool:
        files, warnings = jobs.run_render(
            found.layouts, out, render_config, progress=bars, keep_frame=found.is_solution, region=box, scale=scale,
            pool=pool,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"files": [str(path) for path in files], "warnings": warnings}))
    else:
        say_warnings(warnings)
        for path in files:
            typer.echo(str(path))
    return 3 if strict and warnings else 0


def _box(text: str | None) -> Box | None:
    """Return the pixels that ``--region`` names. Raises `InputError`."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(n) for n in text.split(","))
    except ValueError:
        x = y = width = height = 0
    if min(width, height) < 1:
        msg = f"--region {text}: needed X,Y,W,H in whole pixels, for instance 0,0,2048,1024"
        raise InputError(msg)
    return Box(x, y, x + width, y + height)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder made by stitch.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page (default: report.html in RUN).")] = None,
) -> None:
    """Write the report of a finished run anew."""
    if out is not None and out.exists():
        msg = f"{out} exists already: choose another --out"
        raise InputError(msg)
    if out is not None and not out.absolute().parent.is_dir():
        msg = f"--out {out}: there is no folder {out.absolute().parent}"
        raise InputError(msg)
    path = jobs.rebuild_report(run, out or run / "report.html")
    typer.echo(str(path))


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(render)
    app.command()(report)
