"""``stitch``: the tiles of a layout put together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij import jobs
from demis_ij.cli.layouts import (
    Axes_,
    Cols_,
    Each_,
    Format_,
    Layout_,
    Order_,
    Overlap_,
    Pattern_,
    Relink_,
    Rows_,
    Start_,
)
from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import (
    Config_,
    Device_,
    Json_,
    Matcher_,
    Model_,
    Mosaic_,
    Out_,
    Quiet_,
    Section_,
    Set_,
    Solver_,
    Strict_,
    Weights_,
    configs,
)
from demis_ij.cli.telling import say_notes, say_result, say_warnings
from demis_ij.cli.workers import Dask_, Memory_, Workers_, size_in_bytes
from demis_ij.formats import Document
from demis_ij.jobs.parts import Part, PartDone, part_of_text, run_part
from demis_ij.jobs.watch.live_run import LiveRun
from demis_ij.records import Layout


def stitch(
    layout: Layout_,
    out: Out_,
    matcher: Matcher_ = None,
    model: Model_ = None,
    solver: Solver_ = None,
    weights: Weights_ = None,
    device: Device_ = None,
    section: Section_ = None,
    mosaic: Mosaic_ = None,
    images_only: Annotated[
        bool, typer.Option("--images-only", help="Move tiles although annotations stay behind (TrakEM2).")
    ] = False,
    include_hidden: Annotated[bool, typer.Option("--include-hidden", help="Take hidden tiles in.")] = False,
    project_out: Annotated[
        Path | None, typer.Option("--project-out", help="Folder or file of the solved layout; paths in it stay true.")
    ] = None,
    config: Config_ = None,
    setting: Set_ = None,
    across_z: Annotated[
        int | None,
        typer.Option(
            "--across-z", min=0, help="Match tiles with those of so many sections above and below, solve all together."
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--part", metavar="N/M", help="Match only this part of the pairs, then end; merge joins them."),
    ] = None,
    workers: Workers_ = 1,
    dask: Dask_ = None,
    memory: Memory_ = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
    strict: Strict_ = False,
    format: Format_ = None,  # noqa: A002
    relink: Relink_ = None,
    rows: Rows_ = None,
    cols: Cols_ = None,
    overlap: Overlap_ = None,
    order: Order_ = None,
    start: Start_ = None,
    pattern: Pattern_ = None,
    each: Each_ = None,
    stage_axes: Axes_ = None,
) -> int:
    """Stitch the tiles of LAYOUT: solved layout, mosaic and report.

    A TrakEM2 project gets its solved copy NAME.demis.xml beside it; the original is never changed.
    """
    wanted = None if part is None else part_of_text(part)
    stitch_config, render_config = configs(
        config,
        setting,
        mosaic,
        matcher=matcher,
        model=model,
        solver=solver,
        weights=weights,
        device=device,
        include_hidden=include_hidden or None,
        across_z=across_z,
    )
    options: dict[str, Any] = {
        "format_name": format,
        "rows": rows,
        "cols": cols,
        "overlap": overlap,
        "order": order,
        "start": start,
        "pattern": pattern,
    }
    if each is not None:
        options["each"] = each
    document = jobs.read_layout(layout, relink=relink, **options)
    job = jobs.StitchJob(
        config=stitch_config,
        render=render_config,
        sections=tuple(section or ()),
        stage_axes=stage_axes,
        images_only=images_only,
        project_out=project_out,
        relink=relink,
        write_mosaic=bool(render_config.formats),
        read_options=options,
        workers=workers,
        dask=dask,
        memory_bytes=size_in_bytes(memory),
    )
    if dry_run:
        facts = jobs.plan(document, job, out)
        _say_plan(facts if wanted is None else _of_part(facts, wanted), as_json)
        warned = facts["warnings"] or any(e["warnings"] for e in facts["sections"])
        return 3 if strict and warned else 0
    with Bars(not (quiet or as_json), memory_bytes=job.memory_bytes) as bars:
        if wanted is not None:
            done = run_part(document, out, job, wanted, progress=bars, on_section=_named(document, bars))
            _say_part(done, out, as_json)
            return 3 if strict and done.warnings else 0
        result = _run(document, out, job, bars)
    say_result(result, as_json)
    return 3 if strict and result.warnings else 0


def _run(document: Document, out: Path, job: jobs.StitchJob, bars: Bars, truth: Layout | None = None) -> jobs.JobResult:
    with LiveRun(out, document, bars) as live:
        return jobs.run_stitch(document, out, job, progress=live, on_section=_named(document, bars), truth=truth)


def _named(document: Document, bars: Bars) -> Callable[[str], None]:
    """Return what lets the bars name the section that is worked on, where there are several."""
    many = len(document.layouts) > 1
    return lambda name: setattr(bars, "prefix", f"section {name}: " if many and name else "")


def _say_part(done: PartDone, out: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(done.to_json()))
        return
    say_warnings(done.warnings)
    say_notes(done.notes)
    typer.echo(f"part {done.part}: {done.agree} of {done.pairs} pairs agree; join parts with 'merge RUN {out} ...'")


def _of_part(facts: dict[str, Any], part: Part) -> dict[str, Any]:
    """Return a plan of which only a part of the pairs is matched: nothing is solved, drawn or written besides."""

    def share(pairs: int) -> int:  # as `demis_ij.stitch.part_of` has it
        return part.number * pairs // part.of - (part.number - 1) * pairs // part.of

    sections = [{**e, "pairs": share(e["pairs"])} for e in facts["sections"]]
    return {**facts, "part": str(part), "sections": sections, "project": None, "mosaics": []}


def _say_plan(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_warnings([*facts["warnings"], *(w for e in facts["sections"] for w in e["warnings"])])
    for e in facts["sections"]:
        wide, high = e["mosaic_px"]
        pairs = f"{e['pairs']} pairs" + (f" in part {facts['part']}" if "part" in facts else "")
        typer.echo(f"section {e['section']}: {e['tiles']} tiles, {pairs}, mosaic about {wide} x {high} px")
    typer.echo(f"{'goes on with the run in' if facts['resumes'] else 'would write the run folder'}  {facts['out']}")
    if facts["project"] is not None:
        typer.echo(f"would write the solved layout  {facts['project']}")
    typer.echo("dry run: nothing was written")


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(stitch)


__all__ = ["add_to", "stitch"]
