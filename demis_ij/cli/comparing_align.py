"""``evaluate align`` and ``compare-align``: ways to align a stack side by side, with and without a known truth."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer

from demis_ij import __version__
from demis_ij.cli import evaluation
from demis_ij.cli.aligning import Fiji_
from demis_ij.cli.evaluation import Anew_, Check_, Json_, Out_, Quiet_, Threads_, Write_
from demis_ij.cli.progress import Bars
from demis_ij.cli.telling import say_table, say_warnings
from demis_ij.evaluate.align import METHODS, Method, evaluate_stacks, read_method, stack_rows, stack_sources
from demis_ij.evaluate.align_compared import Compared, compare_methods, cross_sections
from demis_ij.evaluate.ledger import check as fallen
from demis_ij.evaluate.ledger import write_ledger
from demis_ij.evaluate.summary import Row
from demis_ij.evaluate.tables import csv_table, json_rows, score_table
from demis_ij.fiji import find_fiji
from demis_ij.formats.stacks import read_stack
from demis_ij.protocols import ALIGNERS
from demis_ij.runs import check_folder, make_folder, occupied, write_json, write_text

Method_ = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="METHOD",
        help=f"joint, ssemnet or chain:NAME ({', '.join(ALIGNERS.names)}), then [,SETTING=VALUE...]. Repeatable"
        f" (default {', '.join(METHODS)}).",
    ),
]


def methods_of(asked: Sequence[str] | None, threads: int, fiji: Path | None = None) -> tuple[Method, ...]:
    """Return the methods asked for, each once; threads as asked for. Raises `InputError`."""
    folder = "" if fiji is None else str(find_fiji(fiji))
    found = tuple(read_method(text, threads=threads, fiji=folder) for text in dict.fromkeys(asked or METHODS))
    cv2.setNumThreads(threads)
    if any(m.config.method.endswith("ssemnet") for m in found) or "torch" in sys.modules:
        import_module("torch").set_num_threads(threads)
    return found


def align(
    stacks: Annotated[
        list[Path], typer.Argument(metavar="STACKS...", help="Made by 'synth stack': folders, or folders of them.")
    ],
    *,
    out: Out_,
    method: Method_ = None,
    fiji: Fiji_ = None,
    threads: Threads_ = 1,
    check: Check_ = None,
    write: Write_ = None,
    anew: Anew_ = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> int:
    """Measure ways to align on stacks whose truth is known: Dice, drift, residual, correlation, folding, time."""
    ledger = evaluation.asked_ledger(check, write)
    sources, methods = stack_sources(stacks), methods_of(method, threads, fiji)
    kept = evaluation.results_folder(out, "align", anew)
    with Bars(not (quiet or as_json)) as bars:
        scores = evaluate_stacks(sources, methods, kept=kept, progress=bars)
    rows = stack_rows(scores)
    files = {"table": out / "table.csv", "scores": out / "align.csv", "json": out / "evaluation.json"}
    facts: dict[str, Any] = {"what": "align", "table": json_rows(rows)}
    write_text(files["table"], csv_table("align", rows, {}))
    write_text(files["scores"], score_table(scores))
    write_json(files["json"], facts)
    if write is not None:
        write_ledger(write, "align", rows)
    fell = fallen("align", rows, ledger) if ledger is not None else []
    if as_json:
        typer.echo(json.dumps({**facts, "fell": fell, "files": {k: str(p) for k, p in files.items()}}))
    else:
        say_table([_line(r) for r in rows])
        typer.echo("")
        say_warnings([f"{s.scene}, {s.configuration}: {s.problem}" for s in scores if s.problem])
        for name, path in files.items():
            typer.echo(f"  {name:<6}  {path}")
    for line in fell:
        typer.echo(f"fell: {line}", err=True)
    return 1 if fell else 0


def _line(row: Row) -> dict[str, Any]:
    def told(key: str, digits: int) -> str:
        value = row.values.get(key, math.nan)
        return f"{value:.{digits}f}" if math.isfinite(value) else "-"

    return {
        "stack": row.scene,
        "method": row.configuration,
        "score": told("dice_score", 2),
        "Dice": told("dice", 3),
        "(before": told("dice_before", 3),
        "true)": told("dice_true", 3),
        "drift": told("drift_dice", 3),
        "(before)": told("drift_dice_before", 3),
        "residual px": told("residual_px", 2),
        "95 %": told("residual_95_px", 1),
        "NCC": told("ncc", 3),
        "folded": told("folded_frac", 4),
        "s/section": told("wall_s_per_section", 2),
    }


def compare_align(
    stack: Annotated[
        Path, typer.Argument(metavar="STACK", help="A folder, multi-page TIFF, OME-Zarr, layout, or run of stitch.")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for table and pictures: new, empty, or of this command.")],
    method: Method_ = None,
    fiji: Fiji_ = None,
    masks: Annotated[Path | None, typer.Option("--masks", help="Folder of masks: 0 is no data.")] = None,
    pattern: Annotated[str | None, typer.Option("--pattern", help="Of file names in a folder: slice_{i}.png.")] = None,
    threads: Threads_ = 1,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Align a stack by several methods and show them side by side; nothing need be known of it.

    Correlation alone misleads: look at the cross-sections, too.
    """
    sections, methods = read_stack(stack, masks=masks, pattern=pattern), methods_of(method, threads, fiji)
    settings = {"compare_align": str(stack.absolute())}  # the same stack by other methods is made anew
    check_folder(out, settings)
    with occupied(out), Bars(not (quiet or as_json)) as bars:
        make_folder(out)
        write_json(out / "run.json", {"demis_ij": __version__, **settings})
        found = compare_methods(sections, methods, progress=bars)
        pictures = cross_sections(sections, found, out)
        lines = [_compared_line(c) for c in found]
        write_json(out / "comparison.json", {"stack": str(stack), "table": lines})
    if as_json:
        typer.echo(json.dumps({"table": lines, "files": [str(p) for p in pictures]}))
        return
    say_warnings(sections.warnings)
    say_table([{k: v for k, v in line.items() if k != "problem"} for line in lines])
    say_warnings([f"{c.name}: {c.problem}" for c in found if c.problem])
    typer.echo("")
    for path in (*pictures, out / "comparison.json"):
        typer.echo(f"  {path}")


def _compared_line(found: Compared) -> dict[str, Any]:
    return {
        "method": found.name,
        "NCC before": found.ncc_before,
        "after": found.ncc_after,
        "residual px before": found.residual_before_px,
        " after": found.residual_after_px,
        "moved px": found.displacement_px,
        "smallest Jacobian": found.min_jacobian,
        "no better": found.no_better,
        "s/section": found.wall_s_per_section,
        "problem": found.problem,
    }


def add_to(parent: typer.Typer) -> None:
    """Add the commands of this file."""
    evaluation.app.command("align")(align)
    parent.command("compare-align")(compare_align)
