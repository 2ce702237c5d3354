"""What a notebook shows of an aligned stack, as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demis_ij import display

if TYPE_CHECKING:
    from demis_ij.jobs.align.aligning import AlignJobResult


def aligned_card(result: AlignJobResult) -> display.Html:
    """Return what an alignment left: how the neighbours fit, what to look at first, and files."""
    told = result.result.summary
    pairs = [
        (name, told[before], told[after])
        for name, before, after in (
            ("correlation of neighbours", "ncc_before", "ncc_after"),
            ("displacement left, px", "residual_before_px", "residual_after_px"),
        )
    ]
    lines: list[tuple[str, object]] = [
        ("sections", told["sections"]),
        ("method", told["method"]),
        *((n, f"{b:.2f} before, {a:.2f} after") for n, b, a in pairs if b is not None and a is not None),
        ("gone on with", "an earlier run" if result.resumed else None),
        *((name, path) for name, path in result.files.items()),
    ]
    return display.card("Aligned", display.facts(lines), display.listed(result.warnings), display.listed(result.notes))
