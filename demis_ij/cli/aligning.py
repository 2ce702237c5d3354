"""``align``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij import jobs
from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import unknown_setting
from demis_ij.cli.telling import say_notes, say_warnings
from demis_ij.config import from_dict, read_toml, to_dict
from demis_ij.config.aligning import METHODS, AlignConfig
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.fiji import find_fiji
from demis_ij.formats.stacks import FORMATS, read_stack

TABLES: dict[str, type[Any]] = {"align": AlignConfig, "ssemnet": SsemnetConfig}
Fiji_ = Annotated[
    Path | None, typer.Option("--fiji", help="Folder of a Fiji: chain:bunwarpj and chain:elastic run its plugins.")
]


def configs(
    config: Path | None, settings: list[str] | None, method: str | None, fiji: Path | None = None
) -> tuple[AlignConfig, SsemnetConfig]:
    """Return the configs: defaults, then the TOML file, then ``--set``, then ``--method`` and ``--fiji``."""
    tables = read_toml(config) if config else {}
    wrong = next((name for name, t in tables.items() if name not in TABLES or not isinstance(t, dict)), None)
    if wrong is not None:
        msg = f"{config}: {wrong} is not one of the tables [align], [ssemnet]"
        raise InputError(msg)
    values: dict[str, dict[str, Any]] = {name: dict(tables.get(name, {})) for name in TABLES}
    defaults = {name: to_dict(kind()) for name, kind in TABLES.items()}
    for item in settings or []:
        key, equals, text = (part.strip() for part in item.partition("="))
        if not equals:
            msg = f"--set {item}: needed NAME=VALUE"
            raise InputError(msg)
        table, name = _table_of(key, defaults)
        values[table][name] = _value(text, defaults[table][name])
    if method is not None:
        values["align"]["method"] = method
    if fiji is not None:
        values["align"]["fiji"] = str(find_fiji(fiji))
    return from_dict(AlignConfig, values["align"]), from_dict(SsemnetConfig, values["ssemnet"])


def _table_of(key: str, defaults: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Return the table and the name of a setting; those of ssEMnet are ``ssemnet.NAME``. Raises `InputError`."""
    table, dot, name = key.rpartition(".")
    table = table if dot else "align"
    if name in defaults.get(table, {}):
        return table, name
    known = [*defaults["align"], *(f"ssemnet.{name}" for name in defaults["ssemnet"])]
    raise unknown_setting(key, known)


def _value(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [_value(part, 0) for part in text.split(",")] if isinstance(default, tuple) else text


def _span(text: str | None) -> tuple[float, float] | None:
    """Return the first and last number of ``FIRST:LAST``. Raises `InputError`."""
    if text is None:
        return None
    first, colon, last = text.partition(":")
    try:
        return float(first or "-inf"), float(last or "inf") if colon else float(first)
    except ValueError:
        msg = f"--range {text}: needed FIRST:LAST, section numbers"
        raise InputError(msg) from None


def align(
    stack: Annotated[
        Path,
        typer.Argument(
            metavar="STACK",
            help="Folder of images, multi-page TIFF, OME-Zarr, layout with one image a section, or a run of stitch.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")],
    method: Annotated[
        str | None, typer.Option("--method", help=f"{', '.join(METHODS)} or chain:ALIGNER (default joint).")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, e.g. --set neighbours=3 or --set ssemnet.steps=90. Repeatable."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML with tables [align] and [ssemnet].")] = None,
    fiji: Fiji_ = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Labels of the sections, to be aligned with them.")
    ] = None,
    channel: Annotated[
        list[Path] | None, typer.Option("--channel", help="Another channel of the sections. Repeatable.")
    ] = None,
    masks: Annotated[Path | None, typer.Option("--masks", help="Folder of masks: 0 is no data.")] = None,
    volume: Annotated[
        list[str] | None, typer.Option("--volume", help="ome-zarr, tiff or none. Repeatable (default ome-zarr).")
    ] = None,
    warps: Annotated[
        list[str] | None,
        typer.Option("--warps", help="Besides npz: trakem2, rvss, bunwarpj. Repeatable, or with commas."),
    ] = None,
    section: Annotated[list[str] | None, typer.Option("--section", help="Only this section. Repeatable.")] = None,
    span: Annotated[str | None, typer.Option("--range", help="Only section numbers FIRST:LAST.")] = None,
    format: Annotated[  # noqa: A002
        str | None, typer.Option("--format", help=f"What STACK is: {', '.join(FORMATS)} (default: found by itself).")
    ] = None,
    pattern: Annotated[str | None, typer.Option("--pattern", help="Names in a folder, such as slice_{i}.png.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when there is any warning.")] = False,
) -> int:
    """Align the sections of STACK: one warp a section, the aligned volume, a verdict for each section."""
    align_config, ssemnet_config = configs(config, setting, method, fiji)
    found = read_stack(stack, format=format, pattern=pattern, masks=masks)
    chosen = jobs.chosen_of_stack(found, sections=tuple(section or ()), span=_span(span))
    job = jobs.AlignJob(
        config=align_config,
        ssemnet=ssemnet_config,
        volumes=tuple(volume or ("ome-zarr",)),
        warps=tuple(w for item in warps or () for w in item.split(",")),
        labels=None if labels is None else jobs.companion_of(read_stack(labels), found, chosen),
        channels=jobs.channels_of(channel or (), found, chosen),
    )
    if dry_run:
        facts = jobs.plan_align(chosen, out, job)
        _say_plan(facts, as_json)
        return 3 if strict and facts["warnings"] else 0
    with Bars(not (quiet or as_json)) as bars:
        result = jobs.run_align(chosen, out, job, progress=bars)
    _say_result(result, as_json)
    return 3 if strict and result.warnings else 0


def _say_plan(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_warnings(facts["warnings"])
    sizes = ", ".join(f"{w}x{h}" for w, h in facts["sizes_px"][:3])
    typer.echo(f"{facts['sections']} sections of {sizes} px, method {facts['method']}")
    typer.echo(f"{'goes on with the run in' if facts['resumes'] else 'would write the run folder'}  {facts['out']}")
    for path in facts["files"]:
        typer.echo(f"would write  {path}")
    typer.echo("dry run: nothing was written")


def _say_result(result: jobs.AlignJobResult, as_json: bool) -> None:
    facts = jobs.align_summary(result)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_warnings(result.warnings)
    say_notes(result.notes)
    if facts["resumed"]:
        typer.echo("went on with the run that was there: what was finished is kept")
    typer.echo(f"{facts['sections']} sections aligned by {facts['method']}, {len(facts['bridged'])} bridged")
    for what, unit in (("ncc", ""), ("residual", "_px")):
        before, after = facts[f"{what}_before{unit}"], facts[f"{what}_after{unit}"]
        if before is not None and after is not None:
            name = "correlation of neighbours" if what == "ncc" else "displacement against sections further away, px"
            typer.echo(f"  {name}: {before:.2f} before, {after:.2f} after")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(align)
