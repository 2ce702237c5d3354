"""The live page of tiles that are still coming: every section, how fast it goes, the worst seams, what was said."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from demis_ij.display.pace import Pace
from demis_ij.jobs.watch_section import WatchedSection
from demis_ij.report.live import LiveFacts, LivePlan, live_page
from demis_ij.runs import write_text

PAGE = "live.html"
WORST = 10
"""Seams named on the page."""


def write_page(
    run: Path,
    folder: str,
    sections: Sequence[WatchedSection],
    paces: Mapping[str, Pace],
    *,
    now: tuple[str, float],
    lines: Sequence[str],
    is_over: bool,
) -> None:
    """Write the page.

    Parameters
    ----------
    run : Path
        The run folder.
    folder : str
        What is watched.
    sections : sequence of WatchedSection
    paces : mapping of str to Pace
        How fast tiles come and seams are matched.
    now : (str, float)
        How things stand, and the seconds on the clock of ``paces``.
    lines : sequence of str
        What was said, the latest last.
    is_over : bool
        Whether nothing more will come.
    """
    said, seconds = now
    measured = [(seam.pair, seam.error_px) for s in sections for seam in s.seams.values()]
    worst = sorted((m for m in measured if np.isfinite(m[1])), key=lambda m: -m[1])[:WORST]
    facts = LiveFacts(
        title=f"Watching {folder}",
        now=("Ended: " if is_over else "") + said,
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
        is_over=is_over,
        stages=[(name, p.done, p.total, "" if is_over else p.said(seconds)) for name, p in paces.items()],
        worst=[(*pair, error) for pair, error in worst],
        lines=lines,
    )
    write_text(run / PAGE, live_page(_side_by_side([s.plan() for s in sections]), facts))


def _side_by_side(plans: list[LivePlan]) -> LivePlan:
    """Return several sections as one plan, each right of the one before."""
    boxes, ends, right, count = [], [], 0.0, 0
    for plan in plans:
        low, high = plan.boxes[:, :2].min(0), plan.boxes[:, 2:].max(0)
        shift = np.array([right - low[0], -low[1]])
        boxes.append(plan.boxes + np.tile(shift, 2))
        ends.append(plan.ends + count)
        right, count = right + 1.1 * float(high[0] - low[0]), count + len(plan.boxes)
    return LivePlan(
        np.concatenate(boxes),
        np.concatenate([p.tiles for p in plans]),
        np.concatenate(ends),
        np.concatenate([p.seams for p in plans]),
    )


__all__ = ["PAGE", "write_page"]
