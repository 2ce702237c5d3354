"""``evaluate register``: ways to register images of unlike instruments, on pairs whose truth is known."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import cv2
import typer

from demis_ij.cli import evaluation
from demis_ij.cli.evaluation import Anew_, Check_, Json_, Out_, Quiet_, Threads_, Write_
from demis_ij.cli.progress import Bars
from demis_ij.cli.stitching import say_table, say_warnings
from demis_ij.errors import InputError
from demis_ij.evaluate.ledger import check as fallen
from demis_ij.evaluate.ledger import write_ledger
from demis_ij.evaluate.register import (
    METHODS,
    SCENES,
    evaluate_registrations,
    read_method,
    register_rows,
)
from demis_ij.evaluate.summary import Row
from demis_ij.evaluate.tables import csv_table, json_rows, score_table
from demis_ij.register.network import network_guess
from demis_ij.runs import write_json, write_text

DEFAULT = ("auto", "network", "search", "sift", "ecc", "log-polar")


def register(
    out: Out_,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help=f"{', '.join(METHODS)}, then [,SETTING=VALUE...]. Repeatable (default {', '.join(DEFAULT)}).",
        ),
    ] = None,
    scene: Annotated[
        list[str] | None,
        typer.Option("--scene", help=f"Kind and range: {', '.join(SCENES)}. Repeatable (default all)."),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of each scene.")] = 20,
    side: Annotated[int, typer.Option("--side", min=128, help="Px of the images.")] = 512,
    threads: Threads_ = 1,
    check: Check_ = None,
    write: Write_ = None,
    anew: Anew_ = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> int:
    """Measure ways to register images of unlike instruments on made-up pairs: failures, error, strangers, time."""
    ledger = evaluation.asked_ledger(check, write)
    methods = [read_method(text, threads=threads) for text in dict.fromkeys(method or DEFAULT)]
    scenes = tuple(dict.fromkeys(scene or SCENES))
    unknown = [s for s in scenes if s not in SCENES]
    if unknown:
        msg = f"--scene {unknown[0]}: there is none; there are {', '.join(SCENES)}"
        raise InputError(msg)
    cv2.setNumThreads(threads)
    kept = evaluation.results_folder(out, "register", anew)
    with Bars(not (quiet or as_json)) as bars:
        scores = evaluate_registrations(
            scenes, pairs, methods, guesser=network_guess, kept=kept, side=side, progress=bars
        )
    rows = register_rows(scores)
    files = {"table": out / "table.csv", "scores": out / "register.csv", "json": out / "evaluation.json"}
    facts: dict[str, Any] = {"what": "register", "table": json_rows(rows)}
    write_text(files["table"], csv_table("register", rows, {}))
    write_text(files["scores"], score_table(scores))
    write_json(files["json"], facts)
    if write is not None:
        write_ledger(write, "register", rows)
    fell = fallen("register", rows, ledger) if ledger is not None else []
    if as_json:
        typer.echo(json.dumps({**facts, "fell": fell, "files": {k: str(p) for k, p in files.items()}}))
    else:
        say_table([_line(r) for r in rows])
        typer.echo("")
        say_warnings([f"{s.scene} {s.pair}, {s.configuration}: {s.problem}" for s in scores if s.problem])
        for name, path in files.items():
            typer.echo(f"  {name:<6}  {path}")
    for line in fell:
        typer.echo(f"fell: {line}", err=True)
    return 1 if fell else 0


def _line(row: Row) -> dict[str, Any]:
    def told(key: str, digits: int, times: float = 1.0) -> str:
        value = row.values.get(key, math.nan)
        return f"{value * times:.{digits}f}" if math.isfinite(value) else "-"

    return {
        "scene": row.scene,
        "method": row.configuration,
        "failed %": told("failed", 0, 100),
        "refused %": told("refused", 0, 100),
        "wrong %": told("wrong", 0, 100),
        "error px": told("error_px", 2),
        "95 %": told("error_95_px", 2),
        "error / sigma": told("error_per_sigma", 2),
        "strangers known %": told("recognised", 0, 100),
        "ms": told("wall_ms", 0),
    }


def add_to(parent: typer.Typer) -> None:
    """Add the command of this file."""
    evaluation.app.command("register")(register)
