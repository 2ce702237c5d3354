"""What commands say when they are done: warnings, tables, what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer

from demis_ij import jobs


def say_warnings(lines: Sequence[str]) -> None:
    """Print warnings to standard error, one line each."""
    for line in lines:
        typer.echo(f"warning: {' '.join(line.split())}", err=True)


def say_notes(lines: Sequence[str]) -> None:
    """Print what is told besides to standard error, one line each."""
    for line in lines:
        typer.echo(f"note: {line}", err=True)


def say_result(result: jobs.JobResult, as_json: bool) -> None:
    """Say what came out, for people or for programs."""
    facts = jobs.summary(result)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_warnings(result.warnings)
    say_notes(result.notes)
    how = ", ".join(f"{n} by {name}" for name, n in facts["placed_by"].items())
    residual = facts["median_residual_px"]
    seams = f", median residual {residual:.2f} px" if residual is not None else ""
    typer.echo(f"{facts['tiles']} tiles ({how}); {facts['pairs_accepted']} of {facts['pairs']} pairs agree{seams}")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


def say_table(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a plain table."""
    if not rows:
        return
    heads = list(rows[0])
    text = [[_cell(r[h]) for h in heads] for r in rows]
    widths = [max(len(h), *(len(t[k]) for t in text)) for k, h in enumerate(heads)]
    for line in [heads, *text]:
        typer.echo(
            "  ".join(f"{c:<{w}}" if k == 0 else f"{c:>{w}}" for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


__all__ = ["say_notes", "say_result", "say_table", "say_warnings"]
