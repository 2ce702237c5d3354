"""``evaluate``: configurations side by side on pairs or grids whose truth is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer

from demis_ij import __version__
from demis_ij.cli.progress import Bars
from demis_ij.errors import InputError
from demis_ij.evaluate import (
    Configuration,
    GridScore,
    Kept,
    PairScore,
    Source,
    evaluate_grids,
    evaluate_pairs,
    generated,
    of_path,
    read_configurations,
)
from demis_ij.evaluate.ledger import Ledger, read_ledger, write_ledger
from demis_ij.evaluate.ledger import check as fallen
from demis_ij.evaluate.pairs import BATCH, PICTURES
from demis_ij.evaluate.summary import ALL, Row, grid_rows, pair_rows
from demis_ij.evaluate.tables import csv_table, json_rows, score_table, terminal_table
from demis_ij.metrics import missing_measures
from demis_ij.report.evaluation import write_evaluation
from demis_ij.runs import check_folder, make_folder, write_json, write_text
from demis_ij.synth import SETS

Data_ = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[DATA...]", help="Folders with truth: of a scene, or a dataset of 'synth grids'."),
]
Out_ = Annotated[Path, typer.Option("--out", help="Folder for tables and page: new, empty, or one to go on with.")]
Matcher_ = Annotated[
    list[str] | None,
    typer.Option(
        "--matcher",
        metavar="CONFIGURATION",
        help="MATCHER[@RESOLUTION][,SETTING=VALUE...], e.g. loftr@0.5,refine=false. Repeatable (default loftr, sift).",
    ),
]
Sets_ = Annotated[
    list[str] | None,
    typer.Option("--sets", help=f"Generated sets, e.g. --sets A,B,E. Repeatable. There are {', '.join(SETS)}."),
]
Seed_ = Annotated[int, typer.Option("--seed", min=0, help="Of the generated sets.")]
Split_ = Annotated[str | None, typer.Option("--split", help="Only the grids of train, val or test of a dataset.")]
Threads_ = Annotated[int, typer.Option("--threads", min=1, max=256, help="Threads of OpenCV and torch.")]
Check_ = Annotated[Path | None, typer.Option("--check", help="Exit with 1 when a figure fell against this ledger.")]
Write_ = Annotated[Path | None, typer.Option("--write", help="Put the figures into this ledger.")]
Anew_ = Annotated[bool, typer.Option("--anew", help="Measure again what the folder remembers.")]
Json_ = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")]
Quiet_ = Annotated[bool, typer.Option("--quiet", help="No progress.")]

_SCENES_SHOWN = 6
"""With more scenes than these, the terminal shows them pooled only."""

app = typer.Typer(
    name="evaluate",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure matchers side by side on data whose truth is known: accuracy, failures, time, pictures.",
)


def sources_of(data: Sequence[Path], sets: Sequence[str], seed: int, split: str | None) -> list[Source]:
    """Return what is measured on, names made unique. Raises `InputError`, also when nothing is given."""
    names = [name.strip() for text in sets for name in text.split(",") if name.strip()]
    found = [(source, path) for path in data for source in of_path(path, split)]
    out = [(s, None) for s in generated(names, seed)]
    if split is not None and not data:
        msg = f"--split {split} needs a dataset folder, and none is given"
        raise InputError(msg)
    if not found and not out:
        msg = "nothing to measure on: name folders with truth, or generated sets by --sets, for instance --sets A,B,E"
        raise InputError(msg)
    every = [*out, *found]
    same = [s.name for s, _ in every]
    return [
        Source(f"{path.name}/{s.name}" if path and same.count(s.name) > 1 else s.name, s.fingerprint, s.load)
        for s, path in every
    ]


def _ready(matchers: list[str] | None, threads: int) -> tuple[Configuration, ...]:
    """Return configurations that can be used: weights load, packages are there; threads as asked for."""
    configurations = read_configurations(matchers or ["loftr", "sift"])
    cv2.setNumThreads(threads)
    for c in configurations:
        c.matchers()
    if "torch" in sys.modules:
        import_module("torch").set_num_threads(threads)
    return configurations


def results_folder(out: Path, what: str, anew: bool) -> Kept:
    """Return the memory of a folder for results, made when it is not there. Raises `InputError`."""
    settings = {"evaluate": what}
    check_folder(out, settings)
    make_folder(out)
    write_json(out / "run.json", {"demis_ij": __version__, **settings})
    kept = out / "measured"
    if anew and kept.is_dir():
        for path in kept.glob("*.json"):
            path.unlink()
    return Kept(kept)


def asked_ledger(check: Path | None, write: Path | None) -> Ledger | None:
    """Return the ledger to check against, before anything is measured. Raises `FormatError`."""
    if write is not None and write.exists():
        read_ledger(write)
    return None if check is None else read_ledger(check)


def _finish(
    what: str,
    out: Path,
    rows: Sequence[Row],
    scores: Sequence[PairScore] | Sequence[GridScore],
    sources: Sequence[Source],
    as_json: bool,
    ledger: Ledger | None,
    write: Path | None,
) -> int:
    missing = missing_measures()
    files = {
        "page": out / "report.html",
        "table": out / "table.csv",
        "scores": out / f"{what}.csv",
        "json": out / "evaluation.json",
    }
    facts: dict[str, Any] = {"what": what, "table": json_rows(rows), "not_installed": missing}
    write_text(files["table"], csv_table(what, rows, missing))
    write_text(files["scores"], score_table(scores))
    write_json(files["json"], facts)
    write_evaluation(files["page"], what, rows, scores, sources=sources, missing=missing)
    if write is not None:
        write_ledger(write, what, rows)
    fell = fallen(what, rows, ledger) if ledger is not None else []
    if as_json:
        typer.echo(json.dumps({**facts, "fell": fell, "files": {k: str(p) for k, p in files.items()}}))
    else:
        scenes = {r.scene for r in rows}
        shown = rows if len(scenes) <= _SCENES_SHOWN else [r for r in rows if r.scene == ALL]
        typer.echo(terminal_table(what, shown, missing))
        typer.echo("")
        for why in dict.fromkeys(missing.values()):
            typer.echo(f"note: {why}", err=True)
        for name, path in files.items():
            typer.echo(f"  {name:<6}  {path}")
    for line in fell:
        typer.echo(f"fell: {line}", err=True)
    return 1 if fell else 0


def pairs(
    data: Data_ = None,
    *,
    out: Out_,
    matcher: Matcher_ = None,
    sets: Sets_ = None,
    seed: Seed_ = 1,
    split: Split_ = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=4096, help="Pairs shown together.")] = BATCH,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, help="Pairs of a scene and kind whose stitched pictures are measured.")
    ] = PICTURES,
    threads: Threads_ = 1,
    check: Check_ = None,
    write: Write_ = None,
    anew: Anew_ = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> int:
    """Measure configurations on pairs of neighbours: time, matches, errors, AUC, coverage, failures, pictures."""
    ledger = asked_ledger(check, write)
    sources = sources_of(data or [], sets or [], seed, split)
    configurations = _ready(matcher, threads)
    kept = results_folder(out, "pairs", anew)
    with Bars(not (quiet or as_json)) as bars:
        scores = evaluate_pairs(sources, configurations, batch=batch, pictures=pictures, kept=kept, progress=bars)
    return _finish("pairs", out, pair_rows(scores), scores, sources, as_json, ledger, write)


def grids(
    data: Data_ = None,
    *,
    out: Out_,
    matcher: Matcher_ = None,
    sets: Sets_ = None,
    seed: Seed_ = 1,
    split: Split_ = None,
    threads: Threads_ = 1,
    check: Check_ = None,
    write: Write_ = None,
    anew: Anew_ = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> int:
    """Measure configurations on whole grids: global error, neighbours' error, failures, time, the mosaic's picture."""
    ledger = asked_ledger(check, write)
    sources = sources_of(data or [], sets or [], seed, split)
    configurations = _ready(matcher, threads)
    kept = results_folder(out, "grids", anew)
    with Bars(not (quiet or as_json)) as bars:
        scores = evaluate_grids(sources, configurations, kept=kept, progress=bars)
    return _finish("grids", out, grid_rows(scores), scores, sources, as_json, ledger, write)


app.command()(pairs)
app.command()(grids)


def add_to(parent: typer.Typer) -> None:
    """Add the commands of this file."""
    parent.add_typer(app)
