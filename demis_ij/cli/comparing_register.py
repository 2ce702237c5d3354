"""``compare-register``: ways to register side by side on pairs of one's own; nothing need be known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer

from demis_ij.cli.evaluating_register import DEFAULT, usable_methods
from demis_ij.cli.evaluation import Json_, Quiet_, Threads_
from demis_ij.cli.progress import Bars
from demis_ij.cli.telling import say_table, say_warnings
from demis_ij.config.registering import METHODS, MODELS
from demis_ij.errors import InputError
from demis_ij.jobs.register.compared import compare_registrations, with_models
from demis_ij.jobs.register.pairs import Pair, read_pairs


def compare_register(
    fixed: Annotated[Path | None, typer.Argument(help="The image that the other is brought onto.")] = None,
    moving: Annotated[Path | None, typer.Argument(help="The image that is brought onto it.")] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for table, overlays and page: new, empty, or of this command.")
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help=f"{', '.join(METHODS)}, then [,SETTING=VALUE...]; several with commas between. Repeatable"
            f" (default {', '.join(DEFAULT)}).",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help=f"{', '.join(MODELS)} (default similarity).")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="CSV with columns fixed and moving; name and pixel sizes, where you like."),
    ] = None,
    threads: Threads_ = 1,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Register by several methods and show what each says side by side, with overlays; no truth is needed.

    A method that refuses says why. What several find by themselves is likely right: look at the overlays, too.
    """
    wanted = _pairs(fixed, moving, pairs)
    methods, notes = usable_methods(split_methods(method), threads)
    cv2.setNumThreads(threads)
    configs = with_models({m.name: m.config for m in methods}, model)
    with Bars(not (quiet or as_json)) as bars:
        found = compare_registrations(wanted, configs, out, progress=bars)
    found["notes"] = [*notes, *found["notes"]]
    if as_json:
        typer.echo(json.dumps(found))
        return
    say_table([_line(row, len(wanted) > 1) for row in found["table"]])
    say_warnings(found["notes"])
    say_warnings([f"{r['pair']}, {r['method']}: {r['said']}" for r in found["table"] if r["said"]])
    typer.echo("")
    width = max(map(len, found["files"]))
    for name, path in found["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


def split_methods(asked: list[str] | None) -> list[str] | None:
    """Return methods one by one: ``auto,sift,search,reach=near`` are three, the last with a setting.

    Examples
    --------
    >>> split_methods(["auto,sift,search,reach=near", "ecc"])
    ['auto', 'sift', 'search,reach=near', 'ecc']
    """
    if not asked:
        return None
    out: list[str] = []
    for text in asked:
        parts = [p.strip() for p in text.split(",")]
        for k, part in enumerate(parts):
            if k and "=" in part:
                out[-1] += f",{part}"
            else:
                out.append(part)
    return out


def _pairs(fixed: Path | None, moving: Path | None, pairs: Path | None) -> tuple[Pair, ...]:
    """Return the pairs asked for. Raises `InputError`."""
    if pairs is not None:
        if fixed is not None:
            msg = "FIXED does not go with --pairs"
            raise InputError(msg)
        return read_pairs(pairs)
    if fixed is None or moving is None:
        msg = "compare-register needs two images, FIXED and MOVING (or --pairs CSV)"
        raise InputError(msg)
    return (Pair(fixed, moving, f"{fixed.stem} {moving.stem}"),)


def _line(row: Mapping[str, Any], many: bool) -> dict[str, Any]:
    def told(key: str, digits: int) -> str:
        return "-" if row[key] is None else f"{row[key]:.{digits}f}"

    return {
        **({"pair": row["pair"]} if many else {}),
        "method": row["method"],
        "matched": "yes" if row["matched"] else "no",
        "turn deg": told("angle_deg", 3),
        "scale": told("scale", 5),
        "shift x": told("shift_x_px", 2),
        "shift y": told("shift_y_px", 2),
        "sigma px": told("sigma_px", 2),
        "stands out": told("standing", 1),
        "apart px": told("apart_px", 2),
        "ms": told("milliseconds", 0),
    }


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("compare-register")(compare_register)
