"""``register``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import Json_, Quiet_
from demis_ij.cli.telling import say_table, say_warnings
from demis_ij.cli.training import assigned
from demis_ij.config import from_dict, read_toml
from demis_ij.config.registering import METHODS, MODELS, RegisterConfig
from demis_ij.errors import InputError
from demis_ij.jobs.register.pairs import PairOutcome, pairs_table, read_pairs, run_pairs
from demis_ij.jobs.register.registering import register_files
from demis_ij.jobs.register.runs import run_register
from demis_ij.jobs.register.watch import Arrival, watch

NO_RESULT = 4
"""Exit code: done, but images do not match."""


def settings_of(config: Path | None, settings: list[str] | None, **named: str | None) -> RegisterConfig:
    """Return the config: defaults, then the TOML file, then ``--set``, then the options that have a name."""
    tables = read_toml(config) if config else {}
    wrong = next((name for name, t in tables.items() if name != "register" or not isinstance(t, dict)), None)
    if wrong is not None:
        msg = f"{config}: {wrong} is not the table [register]"
        raise InputError(msg)
    values = {**tables.get("register", {}), **assigned(settings or ())}
    return from_dict(RegisterConfig, values | {k: v for k, v in named.items() if v is not None})


def register(
    fixed: Annotated[Path | None, typer.Argument(help="The image that the other is brought onto.")] = None,
    moving: Annotated[Path | None, typer.Argument(help="The image that is brought onto it.")] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder: registered image, overlays, transforms, report.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help=f"{', '.join(METHODS)} (default auto).")] = None,
    model: Annotated[str | None, typer.Option("--model", help=f"{', '.join(MODELS)} (default similarity).")] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Of the network: shipped, none, or a path (default shipped).")
    ] = None,
    style: Annotated[
        str | None,
        typer.Option("--style", help="Make one image look like the other first: tissue, steel, fluorescence, a path."),
    ] = None,
    landmarks: Annotated[
        Path | None, typer.Option("--landmarks", help="With --model elastic: points known to be the same, a CSV.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. --set reach=near. Repeatable.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML with the table [register].")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="CSV with columns fixed and moving; name and pixel sizes, where you like."),
    ] = None,
    watch_folder: Annotated[
        Path | None, typer.Option("--watch", help="Register each image as it arrives in this folder.")
    ] = None,
    fixed_image: Annotated[Path | None, typer.Option("--fixed", help="With --watch: the fixed image.")] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="With --watch: names, such as '*.tif' (default: all images).")
    ] = None,
    append: Annotated[
        Path | None,
        typer.Option("--append", help="With --watch: file of one JSON line an image (default beside the folder)."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="With --watch: what is there now, then end.")] = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> int:
    """Register MOVING to FIXED: turn, scale and shift between images of one specimen, from whatever instruments.

    --model elastic bends, too; --style compares images in one look. What is registered is the image as it came.
    Exit code 4 when they do not match. --pairs registers a list of pairs, --watch images as they arrive.
    """
    points = None if landmarks is None else str(landmarks)
    named = {"method": method, "model": model, "weights": weights, "style": style, "landmarks": points}
    wanted = settings_of(config, setting, **named)
    if watch_folder is not None:
        _refuse("--watch", fixed=fixed, moving=moving, **{"--pairs": pairs, "--out": out})
        if fixed_image is None:
            msg = "--watch needs --fixed IMAGE: what each image is registered to"
            raise InputError(msg)
        return _watch(watch_folder, fixed_image, wanted, pattern, append, once, as_json, quiet)
    live = {"--fixed": fixed_image, "--pattern": pattern, "--append": append, "--once": once or None}
    if pairs is not None:
        _refuse("--pairs", fixed=fixed, moving=moving, **live)
        return _pairs(pairs, out, wanted, as_json, quiet)
    _refuse("two images (without --watch)", **live)
    if fixed is None or moving is None:
        msg = "register needs two images, FIXED and MOVING (or --pairs CSV, or --watch FOLDER --fixed IMAGE)"
        raise InputError(msg)
    return _one(fixed, moving, out, wanted, as_json, quiet)


def _refuse(what: str, **given: object) -> None:
    """Raise `InputError` when something was given that does not go with the rest."""
    wrong = next((name for name, value in given.items() if value is not None), None)
    if wrong is not None:
        msg = f"{wrong if wrong.startswith('--') else wrong.upper()} does not go with {what}"
        raise InputError(msg)


def _one(fixed: Path, moving: Path, out: Path | None, config: RegisterConfig, as_json: bool, quiet: bool) -> int:
    if out is None:
        with Bars(not (quiet or as_json)) as bars:
            facts = register_files(fixed, moving, config, bars).facts
    else:
        with Bars(not (quiet or as_json)) as bars:
            facts = run_register(fixed, moving, out, config, progress=bars).summary
    if as_json:
        typer.echo(json.dumps(facts))
        return 0 if facts["matched"] else NO_RESULT
    for line in facts["notes"]:
        typer.echo(f"note: {line}", err=True)
    if facts.get("resumed"):
        typer.echo("the run was there already: nothing was done again")
    for line in told(facts):
        typer.echo(line)
    files = facts.get("files", {})
    width = max(map(len, files), default=0)
    for name, path in files.items():
        typer.echo(f"  {name:<{width}}  {path}")
    return 0 if facts["matched"] else NO_RESULT


def told(facts: dict[str, Any]) -> list[str]:
    """Return what a registration says to people, in one to three lines."""
    if not facts["matched"]:
        return [f"not matched: {facts['reason']}"]
    x, y = facts["shift_px"]
    how = {"landmarks": "matched by landmarks", "none": "taken to lie on each other"}
    lines = [
        f"{how.get(facts['method'], 'matched by ' + facts['method'])}: turn {facts['angle_deg']:.3f} degrees, "
        f"scale {facts['scale']:.5f}, shift of the middle ({x:.2f}, {y:.2f}) px"
    ]
    if facts["sigma_px"] is not None:
        lines += [
            f"expected error {facts['sigma_px']:.2f} px; stands out by {facts['standing']:.1f} standard deviations; "
            f"overlap {facts['overlap']:.0%}",
            f"{facts['milliseconds']:.0f} ms to place it, and {facts['read_milliseconds']:.0f} ms to read the "
            "moving image",
        ]
    if facts.get("elastic", {}).get("better_than_nothing"):
        bent = facts["elastic"]
        lines.append(
            f"bent by {bent['bent_px']:.2f} px (median), {bent['bent_most_px']:.2f} px at most; "
            f"{bent['folded_frac']:.2%} folded; there and back misses by {bent['inverse_consistency_px']:.2f} px; "
            f"{bent['milliseconds'] / 1000:.1f} s to bend it"
        )
        if bent["tier"]:
            lines.append(f"structures lie on each other: {bent['tier']} ({bent['tier_reason']})")
    return lines


# --- pairs ------------------------------------------------------------------------------------------------------------


def _pairs(path: Path, out: Path | None, config: RegisterConfig, as_json: bool, quiet: bool) -> int:
    wanted = read_pairs(path)
    done: list[PairOutcome] = []
    with Bars(not (quiet or as_json)) as bars:
        try:
            for outcome in run_pairs(wanted, config, out, tell=lambda line: say_warnings([line])):
                done.append(outcome)
                bars("pairs registered", len(done), len(wanted))
        finally:
            _say_pairs(done, as_json)
    return 0 if all(o.facts.get("matched") for o in done) else NO_RESULT


def _say_pairs(done: list[PairOutcome], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([o.facts for o in done]))
        return
    say_table(pairs_table(done))
    say_warnings([f"{o.pair.name}: {o.facts['error']}" for o in done if o.facts.get("error")])
    typer.echo(f"{sum(bool(o.facts.get('matched')) for o in done)} of {len(done)} pairs matched")


# --- watch ------------------------------------------------------------------------------------------------------------


def _watch(
    folder: Path,
    fixed: Path,
    config: RegisterConfig,
    pattern: str | None,
    append: Path | None,
    once: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    counts = {"matched": 0, "not matched": 0, "not registered": 0}
    try:
        for arrival in watch(folder, fixed, config, pattern=pattern, append=append, once=once):
            if arrival.outcome:
                counts[arrival.outcome] += 1
            _say_arrival(arrival, as_json, quiet)
    except KeyboardInterrupt:
        pass  # the way to end a watch
    if not as_json:
        typer.echo("; ".join(f"{n} {what}" for what, n in counts.items()))
    return NO_RESULT if once and sum(counts.values()) > counts["matched"] else 0


def _say_arrival(arrival: Arrival, as_json: bool, quiet: bool) -> None:
    if as_json and arrival.line is not None:
        typer.echo(json.dumps(arrival.line))
    elif not arrival.outcome or arrival.outcome != "matched":
        typer.echo(arrival.said, err=as_json or not arrival.outcome)
    elif not quiet:
        typer.echo(arrival.said)


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(register)
