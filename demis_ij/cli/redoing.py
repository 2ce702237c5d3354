"""``redo``: a run done anew only where something has changed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij import jobs
from demis_ij.cli.progress import Bars
from demis_ij.cli.seams import Failed_, Run_, WorseThan_
from demis_ij.cli.settings import (
    Config_,
    Device_,
    Json_,
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
from demis_ij.cli.telling import say_result
from demis_ij.cli.workers import Memory_, Workers_, size_in_bytes
from demis_ij.errors import InputError
from demis_ij.jobs.redo.plan import RedoPlan, Wish
from demis_ij.jobs.redo.redoing import check_job, opened, prepare
from demis_ij.jobs.redo.redoing import redo as do_again
from demis_ij.jobs.seams.tables import pairs_of_csv
from demis_ij.runs import redone


def redo(
    run: Run_,
    worse_than: WorseThan_ = None,
    failed: Failed_ = False,
    pair: Annotated[
        list[str] | None, typer.Option("--pair", help="This seam, as it is printed: 'FIXED - MOVING'. Repeatable.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="The seams of this table (columns fixed and moving, as seams --csv).")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", min=0, max=1, help="Of these seams: how far off tiles may lie, as a part of a tile."),
    ] = None,
    matcher: Matcher_ = None,
    model: Model_ = None,
    solver: Solver_ = None,
    weights: Weights_ = None,
    device: Device_ = None,
    mosaic: Mosaic_ = None,
    config: Config_ = None,
    setting: Set_ = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    workers: Workers_ = 1,
    memory: Memory_ = None,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
    strict: Strict_ = False,
) -> int:
    """Do a run anew, only where it has to be: tiles replaced on disk, other settings, or single seams.

    Settings given (--set, --matcher ...) become the run's: what does not depend on them stays; those not given are as
    the run has them. Where seams are chosen (--worse-than, --failed, --pair, --pairs), only these are matched again,
    with the settings given, and the run keeps its own. With neither, tiles that have changed are looked for.
    """
    memory_bytes = size_in_bytes(memory)
    before = opened(run)[1]
    named = {"matcher": matcher, "model": model, "solver": solver, "weights": weights, "device": device}
    found = configs(config, setting, mosaic, before=(before.config, before.render), **named)
    chosen = [_pair_of(text) for text in pair or ()] + (pairs_of_csv(pairs) if pairs else [])
    says = config or setting or any(value is not None for value in named.values())
    wish = Wish(
        config=found[0] if says else None,  # also what the run has already, which is not what was interrupted
        render=found[1] if found[1] != before.render else None,
        worse_than=worse_than,
        failed=failed,
        pairs=chosen,
        margin=margin,
    )
    if margin is not None and not wish.is_of_seams:
        msg = "--margin belongs to seams: choose them, with --worse-than, --failed, --pair or --pairs"
        raise InputError(msg)
    document, job, plan = prepare(run, wish)
    if dry_run or (plan.is_empty and not redone.is_open(run)):
        _say_nothing_done(plan, dry_run, as_json)
        return 0
    if memory_bytes is not None:  # what is refused is refused before anything is announced
        check_job(document, replace(job, workers=workers, memory_bytes=memory_bytes))
    with Bars(not (quiet or as_json), memory_bytes=memory_bytes) as bars:
        for line in _shortened(plan.lines()) or ["the redoing that was interrupted goes on"]:
            bars.say(line)
        done = do_again(run, wish, progress=bars, workers=workers, memory_bytes=memory_bytes)
    if done.result is None:
        return 0
    more: dict[str, Any] = {"redo": plan.facts()}
    if plan.seams:
        more |= {"seams_matched": done.better, "seams_as_before": done.worse}
    if done.again is not None:
        more["again"] = asdict(done.again)
    if as_json:
        typer.echo(json.dumps({**jobs.summary(done.result), **more}))
    else:
        say_result(done.result, as_json=False)
        if plan.seams:
            typer.echo(f"seams matched again by themselves: {done.better} agree now, {done.worse} stay as they were")
        if done.again is not None:
            typer.echo(done.again.said())
    return 3 if strict and done.result.warnings else 0


SHOWN = 20


def _shortened(lines: list[str]) -> list[str]:
    """Return lines without the middle of a long list."""
    if len(lines) <= SHOWN:
        return lines
    return [*lines[: SHOWN - 5], f"... and {len(lines) - SHOWN + 1} more like these ...", *lines[-4:]]


def _say_nothing_done(plan: RedoPlan, dry_run: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, "redo": plan.facts(), "lines": plan.lines()}))
        return
    for line in _shortened(plan.lines()):
        typer.echo(line)
    typer.echo("nothing has changed: there is nothing to do" if plan.is_empty else "dry run: nothing was changed")


def _pair_of(text: str) -> tuple[str, str]:
    """Return the tiles of a seam as it is printed."""
    fixed, dash, moving = text.partition(" - ")
    if not (fixed and dash and moving):
        msg = f"--pair {text!r}: needed the two tiles of a seam, as 'FIXED - MOVING'"
        raise InputError(msg)
    return fixed, moving


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(redo)
