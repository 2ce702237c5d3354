"""``stitch``, ``compare``, ``render`` and ``report``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from demis_ij.cli.workers import Dask_, Memory_, Workers_, size_in_bytes
from demis_ij.config import (
    MATCHER_CHOICES,
    SOLVER_CHOICES,
    RenderConfig,
    StitchConfig,
    from_dict,
    read_toml,
    to_dict,
)
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.geometry import MODELS, Box
from demis_ij.jobs.live_run import LiveRun
from demis_ij.jobs.parts import PartDone, part_of_text, run_part
from demis_ij.pools import open_pool
from demis_ij.records import Layout
from demis_ij.runs import read_solution

Out_ = Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")]
Matcher_ = Annotated[str | None, typer.Option("--matcher", help=f"{', '.join(MATCHER_CHOICES)} (default auto).")]
Model_ = Annotated[
    str | None, typer.Option("--model", help=f"What a tile may do: {', '.join(MODELS)} (default rigid).")
]
Solver_ = Annotated[str | None, typer.Option("--solver", help=f"{', '.join(SOLVER_CHOICES)} (default sparse).")]
Weights_ = Annotated[
    str | None, typer.Option("--weights", help="LoFTR weights: shipped, a checkpoint, outdoor or indoor_new.")
]
Device_ = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Config_ = Annotated[Path | None, typer.Option("--config", help="TOML with tables [stitch] and [render].")]
Set_ = Annotated[list[str] | None, typer.Option("--set", help="One setting, e.g. --set max_error_px=6. Repeatable.")]
Mosaic_ = Annotated[
    list[str] | None,
    typer.Option("--mosaic", help="ome-tiff, ome-zarr, png, imagej or none. Repeatable (default ome-tiff, png)."),
]
Section_ = Annotated[list[str] | None, typer.Option("--section", help="Only this section. Repeatable.")]
Json_ = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")]
Quiet_ = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Strict_ = Annotated[bool, typer.Option("--strict", help="Exit with 3 when there is any warning.")]


def configs(
    config: Path | None,
    settings: list[str] | None,
    mosaic: list[str] | None,
    before: tuple[StitchConfig, RenderConfig] | None = None,
    **named: Any,
) -> tuple[StitchConfig, RenderConfig]:
    """Return the configs: defaults (or ``before``), then the TOML file, then ``--set``, then the named options."""
    tables = read_toml(config) if config else {}
    unknown = set(tables) - {"stitch", "render"}
    if unknown:
        msg = f"{config}: unknown table [{sorted(unknown)[0]}]; known: [stitch], [render]"
        raise InputError(msg)
    wrong = next((name for name, table in tables.items() if not isinstance(table, dict)), None)
    if wrong:
        msg = f"{config}: {wrong} is {tables[wrong]!r}, needed a table [{wrong}]"
        raise InputError(msg)
    defaults = {"stitch": to_dict(StitchConfig()), "render": to_dict(RenderConfig())}
    given = {} if before is None else {"stitch": to_dict(before[0]), "render": to_dict(before[1])}
    values = {name: {**given.get(name, {}), **tables.get(name, {})} for name in defaults}
    for item in settings or []:
        key, equals, text = item.partition("=")
        if not equals:
            msg = f"--set {item}: needed NAME=VALUE"
            raise InputError(msg)
        table = _table_of(key.strip(), defaults)
        values[table][key.strip()] = _value(text, defaults[table][key.strip()])
    values["stitch"] |= {k: v for k, v in named.items() if v is not None}
    if mosaic:
        values["render"]["formats"] = () if mosaic == ["none"] else tuple(mosaic)
    return from_dict(StitchConfig, values["stitch"]), from_dict(RenderConfig, values["render"])


def _table_of(key: str, defaults: dict[str, dict[str, Any]]) -> str:
    """Return the table that holds a setting. Raises `InputError` with the nearest name."""
    for table, known in defaults.items():
        if key in known:
            return table
    names = [name for known in defaults.values() for name in known]
    near = difflib.get_close_matches(key, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    msg = f"--set {key}: unknown setting; {hint}"
    raise InputError(msg)


def _value(text: str, default: Any) -> Any:
    """Return a setting's value from its text: as it stands where text is needed, else as JSON (and TOML) write it."""
    if isinstance(default, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.split(",") if isinstance(default, tuple) else text


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
        _say_plan(facts, as_json)
        warned = facts["warnings"] or any(e["warnings"] for e in facts["sections"])
        return 3 if strict and warned else 0
    wanted = None if part is None else part_of_text(part)
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
    for line in done.notes:
        typer.echo(f"note: {line}", err=True)
    typer.echo(f"part {done.part}: {done.agree} of {done.pairs} pairs agree; join parts with 'merge RUN {out} ...'")


def _say_plan(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_warnings([*facts["warnings"], *(w for e in facts["sections"] for w in e["warnings"])])
    for e in facts["sections"]:
        wide, high = e["mosaic_px"]
        typer.echo(f"section {e['section']}: {e['tiles']} tiles, {e['pairs']} pairs, mosaic about {wide} x {high} px")
    typer.echo(f"{'goes on with the run in' if facts['resumes'] else 'would write the run folder'}  {facts['out']}")
    typer.echo(f"would write the solved layout  {facts['project']}")
    typer.echo("dry run: nothing was written")


def say_warnings(lines: Sequence[str]) -> None:
    """Print warnings to standard error, one line each."""
    for line in lines:
        typer.echo(f"warning: {' '.join(line.split())}", err=True)


def say_result(result: jobs.JobResult, as_json: bool) -> None:
    """Say what came out, for people or for programs."""
    facts = jobs.summary(result)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_warnings(result.warnings)
    for line in result.notes:
        typer.echo(f"note: {line}", err=True)
    how = ", ".join(f"{n} by {name}" for name, n in facts["placed_by"].items())
    residual = facts["median_residual_px"]
    seams = f", median residual {residual:.2f} px" if residual is not None else ""
    typer.echo(f"{facts['tiles']} tiles ({how}); {facts['pairs_accepted']} of {facts['pairs']} pairs agree{seams}")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


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


def say_table(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a plain table."""
    if not rows:
        return
    heads = list(rows[0])
    text = [[_cell(r[h]) for h in heads] for r in rows]
    widths = [max(len(h), *(len(t[k]) for t in text)) for k, h in enumerate(heads)]
    for line in [heads, *text]:
        typer.echo(
            "  ".join(f"{c:<{w}}" if k == 0 else f"{c:>{w}}" for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
    is_run = source.is_dir() or source.name == "solution.json"
    found = read_solution(source)[0] if is_run else list(jobs.read_layout(source, relink=relink).layouts)
    if is_run and relink is not None:
        msg = "--relink belongs to a layout; the paths of a run are changed by --replace OLD=NEW"
        raise InputError(msg)
    names = [s.section for s in found]
    unknown = next((name for name in section or () if name not in names), None)
    if unknown is not None:
        msg = f"{source}: no section {unknown!r}; there are {', '.join(names)}"
        raise InputError(msg)
    chosen = [s for s in found if not section or s.section in section]
    if replace_text:
        chosen = [_replaced(s, replace_text) for s in chosen]
    with Bars(not (quiet or as_json)) as bars, open_pool(workers, dask, memory_bytes=memory_bytes) as pool:
        files, warnings = jobs.run_render(
            chosen, out, render_config, progress=bars, keep_frame=is_run, region=box, scale=scale, pool=pool
        )
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


def _replaced(layout: Layout, text: str) -> Layout:
    old, equals, new = text.partition("=")
    if not equals or not old:
        msg = f"--replace {text}: needed OLD=NEW"
        raise InputError(msg)
    if not any(old in str(t.path) for t in layout):
        msg = f"--replace {text}: no tile's path holds {old!r}; for instance {layout.tiles[0].path}"
        raise InputError(msg)
    return replace(layout, tiles=tuple(replace(t, path=Path(str(t.path).replace(old, new))) for t in layout))


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
    app.command()(stitch)
    app.command()(compare)
    app.command()(render)
    app.command()(report)


__all__ = ["add_to", "compare", "configs", "render", "report", "say_result", "say_table", "stitch"]
