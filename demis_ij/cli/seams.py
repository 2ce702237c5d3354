"""``seams``: the seams of a run, worst first."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij.cli.progress import Bars
from demis_ij.cli.settings import Quiet_
from demis_ij.cli.telling import say_table, say_warnings
from demis_ij.errors import InputError
from demis_ij.jobs.seams.looks import draw_seams
from demis_ij.jobs.seams.tables import write_csv, write_json
from demis_ij.jobs.seams.worst import FAILED, OVERRULED, RunSeams, SeamChoice, SeamRow

SHOWN = 20
"""Rows of the table in the terminal when nothing else is said."""

LARGE_BYTES = 100 << 20

Run_ = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder made by stitch or watch.")]
WorseThan_ = Annotated[
    float | None, typer.Option("--worse-than", min=0, help="Only seams whose error is larger, px of the tiles.")
]
Failed_ = Annotated[bool, typer.Option("--failed", help="The pairs that could not be matched, with their reasons.")]


def seams(
    run: Run_,
    worse_than: WorseThan_ = None,
    section: Annotated[str | None, typer.Option("--section", help="Only this section.")] = None,
    failed: Failed_ = False,
    most: Annotated[
        int | None,
        typer.Option("--most", min=0, help=f"At most so many, the worst (default: {SHOWN} in the terminal, else all)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON, for programs.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write them as this new file, for a spreadsheet.")] = None,
    look: Annotated[
        int | None,
        typer.Option("--look", min=1, help="Draw so many of them, the worst: red and cyan, grey where they fit."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Folder for those pictures (default: seams in RUN).")
    ] = None,
    quiet: Quiet_ = False,
) -> None:
    """List the seams of a run, worst first: their error in the mosaic and the error to expect, in pixels.

    The error is the root mean square distance of a seam's matched points where the tiles lie now. Pairs that could not
    be matched have none: --failed lists them.
    """
    if as_json and csv is not None:
        msg = "--json and --csv: choose one of them"
        raise InputError(msg)
    if failed and worse_than is not None:
        msg = "--failed and --worse-than: a seam that failed has no error; choose one of them"
        raise InputError(msg)
    shown = SHOWN if most is None and not as_json and csv is None else most
    choice = SeamChoice(worse_than=worse_than, section=section, failed=failed, most=shown)
    with Bars(_is_large(run) and not (quiet or as_json)) as bars:
        found = RunSeams(run, choice, bars)
    more: dict[str, Any] = {}
    if look is not None or picture is not None:
        files, problems = draw_seams(
            found, list(islice(found.rows(), look or 10)), picture or found.path.parent / "seams"
        )
        more = {"pictures": [str(path) for path in files], "warnings": problems}
    if as_json:
        write_json(found, sys.stdout, more)
        return
    if csv is not None:
        number = write_csv(found, csv)
        typer.echo(f"{csv}: {number} seam{'' if number == 1 else 's'}")
    else:
        rows = [_shown(row, failed, len(found.sections) > 1) for row in found.rows()]
        silent = not any(row["said"] for row in rows)
        say_table([{head: cell for head, cell in row.items() if head != "said" or not silent} for row in rows])
        typer.echo(_counted(found))
    say_warnings(more.get("warnings", ()))
    for path in more.get("pictures", ()):
        typer.echo(f"  {path}")


def _is_large(run: Path) -> bool:
    """Return whether reading the solution takes so long that a bar is wanted."""
    path = run / "solution.json" if run.is_dir() else run
    return path.is_file() and path.stat().st_size > LARGE_BYTES


def _shown(row: SeamRow, failed: bool, several: bool) -> dict[str, Any]:
    """Return what a line of the table says."""
    out: dict[str, Any] = {"section": row.section} if several else {}
    out |= {"fixed": row.fixed, "moving": row.moving}
    if not failed:
        error = "?" if row.error_px is None else f"{row.error_px:.2f}"
        out |= {"error px": error, "expected px": None if row.sigma_px is None else f"{row.sigma_px:.2f}"}
    out |= {"matcher": row.matcher, "inliers": row.inliers}
    out |= {axis: None if value is None else f"{value:.0f}" for axis, value in (("x", row.x), ("y", row.y))}
    out["said"] = row.reason if failed else "" if row.state != OVERRULED else OVERRULED
    return out


def _counted(found: RunSeams) -> str:
    """Return the last line: how many there are, and how to see the others."""
    counts, choice = found.counts, found.choice
    total = sum(counts.values())
    parts = [f"{total} seam{'' if total == 1 else 's'}"]
    if choice.worse_than is not None:
        parts.append(f"{found.chosen} worse than {choice.worse_than:g} px")
    parts.append(f"{counts[OVERRULED]} not believed")
    hint = " (--failed lists them)" if counts[FAILED] and not choice.failed else ""
    parts.append(f"{counts[FAILED]} failed{hint}")
    if choice.most is not None and found.chosen > choice.most:
        parts.append(f"the worst {choice.most} are shown (--most shows more, --csv FILE writes all)")
    return "; ".join(parts)


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(seams)
