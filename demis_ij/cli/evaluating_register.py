"""``evaluate register``: ways to register images of unlike instruments, on pairs whose truth is known."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

import cv2
import typer

from demis_ij.aligners.bspline import elastix
from demis_ij.cli import evaluation
from demis_ij.cli.evaluation import Anew_, Check_, Json_, Out_, Quiet_, Threads_, Write_
from demis_ij.cli.progress import Bars
from demis_ij.cli.telling import say_table, say_warnings
from demis_ij.errors import InputError, MissingPart
from demis_ij.evaluate.ledger import check as fallen
from demis_ij.evaluate.ledger import write_ledger
from demis_ij.evaluate.register import (
    METHODS,
    SCENES,
    STRANGERS,
    RegisterMethod,
    evaluate_registrations,
    read_method,
)
from demis_ij.evaluate.register_rows import PARAMETERS, pooled_rows, register_rows
from demis_ij.evaluate.summary import ALL, Row
from demis_ij.evaluate.tables import csv_table, json_rows, score_table
from demis_ij.register.network import network_guess
from demis_ij.report.registration_evaluation import write_register_evaluation
from demis_ij.runs import write_json, write_text

DEFAULT = ("auto", "network", "search", "sift", "ecc", "log-polar", "elastix")


def usable_methods(asked: Sequence[str] | None, threads: int) -> tuple[list[RegisterMethod], list[str]]:
    """Return the methods asked for, each once, and what is left out of the default ones because a package is missing.

    Raises
    ------
    InputError
        When there is no such method or setting.
    MissingPart
        When a method that was asked for by name needs a package that is not installed.
    """
    methods = [read_method(text, threads=threads) for text in dict.fromkeys(asked or DEFAULT)]
    if any(m.config.method == "elastix" for m in methods):
        try:
            elastix()  # seconds, which no pair's time is to hold
        except MissingPart as error:
            if asked:
                raise
            return [m for m in methods if m.config.method != "elastix"], [f"elastix is left out: {error}"]
    return methods, []


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
    methods, notes = usable_methods(method, threads)
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
    rows = [*register_rows(scores), *pooled_rows(scores)]
    files = {
        "page": out / "report.html",
        "plots": out / "parameters.png",
        "table": out / "table.csv",
        "scores": out / "register.csv",
        "json": out / "evaluation.json",
    }
    facts: dict[str, Any] = {"what": "register", "table": json_rows(rows), "notes": notes}
    write_text(files["table"], csv_table("register", rows, {}))
    write_text(files["scores"], score_table(scores))
    write_json(files["json"], facts)
    write_register_evaluation(files["page"], files["plots"], scores, notes=notes)
    if write is not None:
        write_ledger(write, "register", rows)
    fell = fallen("register", rows, ledger) if ledger is not None else []
    if as_json:
        typer.echo(json.dumps({**facts, "fell": fell, "files": {k: str(p) for k, p in files.items()}}))
    else:
        say_table([_line(r) for r in rows if "/" in r.scene or r.scene in {STRANGERS, ALL}])
        typer.echo("")
        say_warnings(notes)
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
        "least R2": _least_r2(row),
        "ms": told("wall_ms", 0),
        "CPU ms": told("cpu_ms", 0),
        "of SIFT's": told("of_sift", 2),
    }


def _least_r2(row: Row) -> str:
    """Return the least R^2 of the four parameters."""
    known = [row.values.get(f"r2_{name}", math.nan) for name in PARAMETERS]
    return f"{min(known):.4f}" if all(map(math.isfinite, known)) else "-"


def add_to(parent: typer.Typer) -> None:
    """Add the command of this file."""
    evaluation.app.command("register")(register)
