"""``watch``: tiles matched while the microscope is still writing."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij import jobs
from demis_ij.cli.layouts import Axes_, Cols_, Format_, Order_, Overlap_, Pattern_, Rows_, Start_
from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import (
    Config_,
    Device_,
    Matcher_,
    Model_,
    Mosaic_,
    Quiet_,
    Set_,
    Solver_,
    Strict_,
    Weights_,
    configs,
)
from demis_ij.cli.workers import Workers_
from demis_ij.errors import InputError
from demis_ij.jobs.watch.events import Event
from demis_ij.jobs.watch.plan import GridPlan, ListedPlan, TilePlan
from demis_ij.jobs.watch.watching import Watch, WatchJob


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the microscope writes its tiles.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")],
    layout: Annotated[
        Path | None, typer.Option("--layout", help="A layout file that names the tiles to come; else a plain grid.")
    ] = None,
    format: Format_ = None,  # noqa: A002
    rows: Rows_ = None,
    cols: Cols_ = None,
    overlap: Overlap_ = None,
    order: Order_ = None,
    start: Start_ = None,
    pattern: Pattern_ = None,
    stage_axes: Axes_ = None,
    matcher: Matcher_ = None,
    model: Model_ = None,
    solver: Solver_ = None,
    weights: Weights_ = None,
    device: Device_ = None,
    mosaic: Mosaic_ = None,
    config: Config_ = None,
    setting: Set_ = None,
    worse_than: Annotated[
        float, typer.Option("--worse-than", min=0, help="A seam whose error is larger is named, px of the tiles.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there is done.")] = False,
    idle: Annotated[
        float | None, typer.Option("--idle", min=0, help="End when no tile has come for so many seconds.")
    ] = None,
    workers: Workers_ = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for all that happens.")] = False,
    quiet: Quiet_ = False,
    strict: Strict_ = False,
) -> int:
    """Match tiles while the microscope is still writing them, and name a bad seam within seconds.

    Ends when all tiles are there, by Ctrl-C, --once or --idle. live.html in the run folder shows the mosaic and its
    seams and loads itself anew. 'demis-ij stitch' with the same options finishes the run and matches nothing again.
    """
    stitch_config, render_config = configs(
        config, setting, mosaic, matcher=matcher, model=model, solver=solver, weights=weights, device=device
    )
    options = {
        "format_name": format,
        "rows": rows,
        "cols": cols,
        "overlap": overlap,
        "order": order,
        "start": start,
        "pattern": pattern,
    }
    plan = _plan(folder, layout, options)
    job = jobs.StitchJob(
        config=stitch_config,
        render=render_config,
        stage_axes=stage_axes,
        relink=plan.relink if isinstance(plan, ListedPlan) else None,
        write_mosaic=bool(render_config.formats),
        read_options=options,
        workers=workers,
    )
    watching = Watch(plan, folder, out, WatchJob(job=job, worse_than=worse_than, once=once, idle_s=idle))
    with closing(watching), Bars(not (quiet or as_json)) as bars:
        try:
            for event in watching.loop():
                _say(event, as_json, bars)
                _bars(watching, bars)
        except KeyboardInterrupt:
            pass  # the way to end a watch
        for event in watching.ending():
            _say(event, as_json, bars)
    if not as_json:
        given = _given(
            matcher=matcher, model=model, solver=solver, weights=weights, device=device, config=config,
            stage_axes=stage_axes, set=setting, mosaic=mosaic,
        )  # fmt: skip
        typer.echo(f"finish with: {shlex.join([*watching.stitch_command(), *given])}")
    counts = watching.counts()
    return 3 if strict and (counts["failed"] or counts["bad"] or counts["problems"]) else 0


def _plan(folder: Path, layout: Path | None, options: dict[str, Any]) -> TilePlan:
    """Return which tiles are expected. Raises `InputError` when the options do not say."""
    if not folder.is_dir():
        msg = f"{folder}: there is no such folder to watch"
        raise InputError(msg)
    if layout is None:
        if options["format_name"]:
            msg = "--format belongs to a --layout: leave it out, or name the layout file"
            raise InputError(msg)
        return GridPlan(folder, options)
    given = next((name for name, value in options.items() if value is not None and name != "format_name"), None)
    if given:
        msg = f"--{given} describes a plain grid, and --layout names a file: leave one of them out"
        raise InputError(msg)
    if layout.is_dir() or not layout.exists():
        msg = f"--layout {layout}: {'is a folder' if layout.is_dir() else 'no such file'}: name a layout file"
        raise InputError(msg)
    return ListedPlan(layout, folder, options)


def _given(**options: Any) -> list[str]:
    """Return the words of the options that were given, as they belong to ``stitch``, too."""
    words = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                words += [f"--{name.replace('_', '-')}", str(one)]
    return words


def _say(event: Event, as_json: bool, bars: Bars) -> None:
    if as_json:
        typer.echo(json.dumps({"event": event.kind, **event.facts}))
    elif event.kind == "end":
        typer.echo(event.said)
    elif event.said and event.is_bad:
        bars.say_always(event.said)
    elif event.said:
        bars.say(event.said)


def _bars(watching: Watch, bars: Bars) -> None:
    for name, pace in watching.paces().items():
        bars(name, pace.done, pace.total)


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(watch)
