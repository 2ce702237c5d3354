"""The live page of tiles that are still coming: every section, how fast it goes, the worst seams, what was said."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from demis_ij.display.pace import Pace
from demis_ij.jobs.watch.section import WatchedSection
from demis_ij.report.live import LiveFacts, LivePlan, live_page
from demis_ij.runs import write_text

PAGE = "live.html"
WORST = 10
"""Seams named on the page."""
PAGE_EVERY_S = 3.0
SHARE = 10
"""Solving, drawing the page and saving take at most this part of the time: one in so many."""


def counts(sections: Sequence[WatchedSection]) -> dict[str, int]:
    """Return how many tiles and seams sections have, by their state."""
    seams = [seam for s in sections for seam in s.seams.values()]
    return {
        "tiles": sum(map(len, sections)),
        "there": sum(len(s.ready) for s in sections),
        "problems": sum(len(s.problems) for s in sections),
        "seams": sum(len(s.expected) for s in sections),
        "matched": sum(seam.sums is not None for seam in seams),
        "failed": sum(seam.sums is None for seam in seams),
        "bad": sum(seam.is_told for seam in seams),
    }


def counts_said(n: Mapping[str, int]) -> str:
    """Return `counts` in words."""
    said = f"{n['there']} of {n['tiles']} tiles are there; {n['matched']} of {n['seams']} seams matched"
    more = [f"{n[what]} {what}" for what in ("failed", "bad") if n[what]]
    return "; ".join([said, *more])


class LivePage:
    """How things stand with tiles that are still coming: how fast, what was said; written as a page now and then.

    Parameters
    ----------
    run : Path
        The run folder.
    folder : str
        What is watched.
    clock : callable
        Seconds on a clock.
    """

    def __init__(self, run: Path, folder: str, clock: Callable[[], float]) -> None:
        self._run, self._folder, self._clock = run, folder, clock
        self._lines: list[str] = []
        self._paces: dict[str, Pace] = {}
        self._next = clock()

    def begin(self, sections: Sequence[WatchedSection]) -> None:
        """Count the pace from here: tiles and seams are all to come."""
        n, now = counts(sections), self._clock()
        self._paces = {name: Pace(now, 0, n[name]) for name in ("tiles", "seams")}

    def say(self, line: str) -> None:
        """Keep a line for the page; the last hundred are shown."""
        self._lines = [*self._lines[-99:], f"{time.strftime('%H:%M:%S')} {line}"]

    def paces(self, sections: Sequence[WatchedSection]) -> dict[str, Pace]:
        """Return how fast tiles come and seams are matched."""
        n, now = counts(sections), self._clock()
        for name, done, total in (("tiles", n["there"], n["tiles"]), ("seams", n["matched"] + n["failed"], n["seams"])):
            self._paces[name].tell(now, done, total)
        return self._paces

    def write_if_due(self, sections: Sequence[WatchedSection]) -> None:
        """Write the page when the last one is old enough; it takes a small part of the time."""
        if self._clock() >= self._next:
            began = self._clock()
            self.write(sections)
            self._next = self._clock() + max(PAGE_EVERY_S, SHARE * (self._clock() - began))

    def write(self, sections: Sequence[WatchedSection], *, is_over: bool = False) -> None:
        """Write the page; ``is_over`` when nothing more will come."""
        measured = [(seam.pair, seam.error_px) for s in sections for seam in s.seams.values()]
        worst = sorted((m for m in measured if np.isfinite(m[1])), key=lambda m: -m[1])[:WORST]
        paces, seconds = self.paces(sections), self._clock()
        facts = LiveFacts(
            title=f"Watching {self._folder}",
            now=("Ended: " if is_over else "") + counts_said(counts(sections)),
            written=time.strftime("%Y-%m-%d %H:%M:%S"),
            is_over=is_over,
            stages=[(name, p.done, p.total, "" if is_over else p.said(seconds)) for name, p in paces.items()],
            worst=[(*pair, error) for pair, error in worst],
            lines=self._lines,
        )
        write_text(self._run / PAGE, live_page(_side_by_side([s.plan() for s in sections]), facts))


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


__all__ = ["PAGE", "SHARE", "LivePage", "counts", "counts_said"]
