"""What a notebook shows of an aligned stack, as HTML."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from demis_ij import display

if TYPE_CHECKING:
    from demis_ij.align.results import AlignResult

MOST_SECTIONS = 20
"""Rows of the table."""
_HEAD = ("section", "NCC before", "after", "left before, px", "after, px", "turned, °", "shifted, px", "bent, px",
         "smallest area", "to beware of")  # fmt: skip


def align_card(result: AlignResult) -> display.Html:
    """Return the whole in a few lines, the verdict of each section, and warnings."""
    told = result.summary
    rows, cols = told["shape"]
    lines: list[tuple[str, object]] = [
        ("sections", told["sections"]),
        ("canvas", f"{cols} x {rows} px"),
        ("method", told["method"]),
        ("correlation of neighbours", _two(told["ncc_before"], told["ncc_after"], "")),
        ("displacement left", _two(told["residual_before_px"], told["residual_after_px"], " px")),
        ("smallest area", f"{told['min_jacobian']:.2f} (0 would fold)"),
        ("bridged", ", ".join(told["bridged"]) or None),
        ("no better than doing nothing", ", ".join(told["no_better"]) or None),
    ]
    table = [
        (s.id, _number(s.ncc_before), _number(s.ncc_after), _number(s.residual_before_px),
         _number(s.residual_after_px), _number(s.turn_deg), _number(s.shift_px), _number(s.displacement_px),
         _number(s.min_jacobian), "; ".join(s.flags))
        for s in result.sections
    ]  # fmt: skip
    return display.card(
        "Aligned stack",
        display.facts(lines),
        display.table(_HEAD, table, noun="section", most=MOST_SECTIONS),
        display.listed(result.warnings),
    )


def _two(before: float | None, after: float | None, unit: str) -> str | None:
    return None if before is None or after is None else f"{before:.2f} before, {after:.2f} after{unit}"


def _number(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
