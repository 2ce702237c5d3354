"""``evaluate style``: registration of light with electrons, raw and restyled, on pairs whose warp is known."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer

from demis_ij.cli import evaluation
from demis_ij.cli.evaluation import Anew_, Check_, Json_, Out_, Quiet_, Threads_, Write_
from demis_ij.cli.progress import Bars
from demis_ij.cli.telling import say_table, say_warnings
from demis_ij.config.correlative import CORRELATIVE_KINDS, EVALUATION_PAIRS, CorrelativeConfig
from demis_ij.errors import WeightsError
from demis_ij.evaluate.ledger import check as fallen
from demis_ij.evaluate.ledger import write_ledger
from demis_ij.evaluate.scores import StyleScore
from demis_ij.evaluate.style import DEFAULT, digests_of, evaluate_styles, load_styles, read_styles, registered
from demis_ij.evaluate.style_methods import (
    ENGINES,
    LOOKS,
    NOTHING,
    StyleMethod,
    Styles,
    engine_of,
    looked_at,
    read_method,
)
from demis_ij.evaluate.style_rows import style_rows
from demis_ij.evaluate.summary import ALL, Row
from demis_ij.evaluate.tables import csv_table, json_rows, score_table
from demis_ij.fiji import find_fiji
from demis_ij.metrics.tiers import TIERS
from demis_ij.report.style_evaluation import write_style_evaluation
from demis_ij.report.style_pictures import Pictured
from demis_ij.runs import write_json, write_text
from demis_ij.synth.correlative_views import views


def style(
    out: Out_,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help=f"LOOK+ENGINE, looks {', '.join(LOOKS)}, engines {', '.join(ENGINES)}; or {NOTHING}. elastic takes"
            f" [,SETTING=VALUE...]. Repeatable (default {', '.join(DEFAULT)}).",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--style", metavar="[KIND=]WEIGHTS", help="Style network, of one kind or all (those that ship)."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help=f"{', '.join(CORRELATIVE_KINDS)}. Repeatable (default both).")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="How many, all kinds together.")] = EVALUATION_PAIRS,
    size: Annotated[int, typer.Option("--size", min=128, max=4096, help="Side of the pictures, px.")] = 512,
    fiji: Annotated[Path | None, typer.Option("--fiji", help="Folder of a Fiji: bunwarpj runs its plugin.")] = None,
    threads: Threads_ = 1,
    check: Check_ = None,
    write: Write_ = None,
    anew: Anew_ = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> int:
    """Measure elastic registration of light with electrons on made-up steel and tissue: how many pairs are poor, bad,
    decent and good, raw and restyled.
    """  # noqa: D205
    ledger = evaluation.asked_ledger(check, write)
    config = CorrelativeConfig(kinds=tuple(kind) if kind else CORRELATIVE_KINDS, pairs=pairs, size_px=size)
    folder = "" if fiji is None else str(find_fiji(fiji))
    methods = [read_method(text, fiji=folder) for text in dict.fromkeys(method or DEFAULT)]
    methods, styles, chosen, notes = usable(methods, weights or [], config.kinds, threads, asked=bool(method))
    cv2.setNumThreads(threads)
    if styles or any(m.engine == "elastic" for m in methods):
        import_module("torch").set_num_threads(threads)
    kept = evaluation.results_folder(out, "style", anew)
    with Bars(not (quiet or as_json)) as bars:
        scores = evaluate_styles(config, methods, styles=styles, weights=digests_of(chosen), kept=kept, progress=bars)
    rows = style_rows(scores)
    files = {
        "page": out / "report.html", "table": out / "table.csv", "scores": out / "style.csv",
        "json": out / "evaluation.json",
    }  # fmt: skip
    facts: dict[str, Any] = {"what": "style", "styles": chosen, "table": json_rows(rows), "notes": notes}
    write_text(files["table"], csv_table("style", rows, {}))
    write_text(files["scores"], score_table(scores))
    write_json(files["json"], facts)
    write_style_evaluation(files["page"], scores, shown=pictured(scores, methods, styles, size), notes=notes)
    if write is not None:
        write_ledger(write, "style", rows)
    fell = fallen("style", rows, ledger) if ledger is not None else []
    if as_json:
        typer.echo(json.dumps({**facts, "fell": fell, "files": {k: str(p) for k, p in files.items()}}))
    else:
        say_table([_line(r) for r in rows])
        typer.echo("")
        say_warnings(notes)
        say_warnings([f"{s.scene} {s.pair}, {s.configuration}: {s.problem}" for s in scores if s.problem])
        for name, path in files.items():
            typer.echo(f"  {name:<6}  {path}")
    for line in fell:
        typer.echo(f"fell: {line}", err=True)
    return 1 if fell else 0


def usable(
    methods: Sequence[StyleMethod], weights: Sequence[str], kinds: Sequence[str], threads: int, *, asked: bool
) -> tuple[list[StyleMethod], Styles, dict[str, str], list[str]]:
    """Return methods that can be used, the styles of each kind, their weights, and what was left out and why.

    Raises
    ------
    InputError
        When a kind is unknown.
    WeightsError
        When weights that were asked for, or are needed by a method that was, cannot be used.
    """
    given = {kind: kind for kind in kinds} | read_styles(weights)  # styles that ship are called like the kinds
    if not any(m.look == "styled" for m in methods):
        return list(methods), {}, {}, []
    chosen = {kind: name for kind, name in given.items() if kind in kinds}
    try:
        return list(methods), load_styles(chosen, threads=threads), chosen, []
    except WeightsError as error:
        if asked or weights:
            raise
        return [m for m in methods if m.look != "styled"], {}, {}, [f"styled is left out: {error}"]


def pictured(scores: Sequence[StyleScore], methods: Sequence[StyleMethod], styles: Styles, size: int) -> list[Pictured]:
    """Return registrations to be looked at: of each tier one, and the worst of each styled method.

    Raises
    ------
    InputError
        When a style is missing.
    """
    chosen: list[tuple[str, StyleScore]] = []
    for tier in reversed(TIERS):
        of_tier = [s for s in scores if s.tier == tier]
        of_tier.sort(key=lambda s: (not s.configuration.startswith("styled"), s.mean_px or math.inf))
        if of_tier:
            first = [s for s in of_tier if s.configuration == of_tier[0].configuration]
            chosen.append((tier, first[len(first) // 2]))
    for method in methods:
        own = [s for s in scores if s.configuration == method.name and s.tier and method.look == "styled"]
        if own:
            chosen.append(("the worst", max(own, key=lambda s: s.mean_px or 0.0)))
    by_name = {m.name: m for m in methods}
    out = []
    for what, score in chosen:
        pair, method = views(score.scene, score.pair, size), by_name[score.configuration]
        said = (
            f"{score.tier}: mean residual {score.mean_px or 0:.2f} px (before {score.before_px or 0:.2f}), 95 % "
            f"{score.p95_px or 0:.1f} px, folded {score.folded_frac or 0:.1%}; without the truth {score.overlap_tier}"
        )
        title = f"{what}: {method.name}, {pair.kind} {pair.seed}"
        compared = looked_at(pair, method.look, styles)[1]
        found = registered(pair, method, engine_of(method), styles)
        out.append(Pictured(title, said, pair.sem, pair.lom, compared, found))
    return out


def _line(row: Row) -> dict[str, Any]:
    def told(key: str, digits: int, times: float = 1.0) -> str:
        value = row.values.get(key, math.nan)
        return f"{value * times:.{digits}f}" if math.isfinite(value) else "-"

    return {
        "kind": "both" if row.scene == ALL else row.scene,
        "method": row.configuration,
        **{t: told(t, 0) for t in TIERS},
        "residual px": told("median_residual_px", 2),
        "mean": told("mean_residual_px", 2),
        "before": told("before_px", 2),
        "same tier %": told("same_share", 0, 100),
        "s": told("wall_s", 2),
    }


def add_to(parent: typer.Typer) -> None:
    """Add the command of this file."""
    evaluation.app.command("style")(style)
