"""``compare``: the same layout by several matchers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from demis_ij import jobs
from demis_ij.cli.layouts import Axes_, Cols_, Format_, Layout_, Order_, Overlap_, Pattern_, Relink_, Rows_, Start_
from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import (
    Config_,
    Device_,
    Json_,
    Model_,
    Out_,
    Quiet_,
    Section_,
    Set_,
    Solver_,
    Weights_,
    configs,
)
from demis_ij.cli.telling import say_table, say_warnings


def compare(
    layout: Layout_,
    out: Out_,
    matcher: Annotated[list[str] | None, typer.Option("--matcher", help="Repeatable; default loftr and sift.")] = None,
    model: Model_ = None,
    solver: Solver_ = None,
    weights: Weights_ = None,
    device: Device_ = None,
    section: Section_ = None,
    config: Config_ = None,
    setting: Set_ = None,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
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
    """Stitch the same layout by several matchers and show them side by side. Nothing is written outside --out."""
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
    names = list(dict.fromkeys(matcher or ["loftr", "sift"]))
    ready = [
        configs(config, setting, ["none"], matcher=n, model=model, solver=solver, weights=weights, device=device)[0]
        for n in names
    ]
    with Bars(not (quiet or as_json)) as bars:
        facts = jobs.run_compare(
            document,
            out,
            [
                jobs.StitchJob(config=c, sections=tuple(section or ()), stage_axes=stage_axes, relink=relink)
                for c in ready
            ],
            progress=bars,
            on_matcher=lambda name: setattr(bars, "prefix", f"{name}: " if name else ""),
        )
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_warnings(facts["warnings"])
    say_table(facts["table"])
    typer.echo(f"report  {facts['report']}")


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(compare)
