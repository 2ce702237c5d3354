"""The live page of a run of ``stitch`` that takes long: stages with rate and time left, tiles and seams by state."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from demis_ij import images
from demis_ij.display.colours import grade
from demis_ij.display.pace import Pace
from demis_ij.errors import DemisError
from demis_ij.formats import Document
from demis_ij.formats.document import LayoutsOnDemand
from demis_ij.jobs.watch.page import PAGE, SHARE
from demis_ij.pairs import neighbours
from demis_ij.records import Layout
from demis_ij.report.live import BY_STAGE, FAILED_SEAM, MATCHED, OPEN_SEAM, THERE, LiveFacts, LivePlan, live_page
from demis_ij.runs import RunFolder, write_text
from demis_ij.stitch import Pair, Progress

FIRST_S, EVERY_S = 20.0, 10.0
"""When the page is first written, and how often; it takes at most a tenth of the time."""
MOST_TILES = 50_000
"""Of larger layouts, and of stacks, only the stages are shown."""
NO_TILES = LivePlan(np.empty((0, 4)), np.empty(0, np.int64), np.empty((0, 2), np.int64), np.empty(0, np.int64))


class LiveRun:
    """Passes on how far a run is, and shows it on a page in the run folder; a context manager.

    A run that is finished has a report, and its page is taken away. One that was interrupted keeps it.

    Parameters
    ----------
    out : Path
        The run folder; nothing is written before it is there.
    document : Document
        What is stitched.
    progress : callable
        Told, too.
    clock : callable
        Seconds.
    """

    def __init__(
        self, out: Path, document: Document, progress: Progress, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._progress, self._clock = out, progress, clock
        self._title = f"Stitching {document.path.name}"
        on_demand = isinstance(document.layouts, LayoutsOnDemand)
        sections = () if on_demand else tuple(document.layouts)
        self._layout = sections[0] if len(sections) == 1 and len(sections[0]) <= MOST_TILES else None
        self._paces: dict[str, Pace] = {}
        self._next = clock() + FIRST_S
        self._pairs: list[Pair] = []
        self._is_mine = False

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        page = self._path / PAGE
        with suppress(OSError):  # the page is only to look at, what went wrong with the run is said elsewhere
            if kind is None:
                page.unlink(missing_ok=True)
            elif self._is_mine:  # else it is that of another process, whose run this one was refused to take part in
                self._write("interrupted", is_over=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Pass on that ``done`` of ``total`` are done, and write the page when it is time."""
        self._progress(what, done, total)
        now = self._clock()
        pace = self._paces.get(what)
        if pace is None or done < pace.done:
            pace = self._paces[what] = Pace(now, done, total)
        pace.tell(now, done, total)
        if now >= self._next and self._path.is_dir():
            with suppress(OSError):  # no run ends because its page cannot be written
                self._write(what)
            self._next = self._clock() + max(EVERY_S, SHARE * (self._clock() - now))

    def _write(self, now: str, *, is_over: bool = False) -> None:
        seconds = self._clock()
        facts = LiveFacts(
            title=self._title,
            now=now,
            written=time.strftime("%Y-%m-%d %H:%M:%S"),
            is_over=is_over,
            stages=[(name, p.done, p.total, p.said(seconds)) for name, p in self._paces.items()],
        )
        write_text(self._path / PAGE, live_page(self._plan(), facts))
        self._is_mine = True

    def _plan(self) -> LivePlan:
        """Return tiles and seams by what the run folder knows of them so far."""
        if self._layout is None:
            return NO_TILES
        if not self._pairs:
            self._layout = images.with_shapes(self._layout)[0]
            self._pairs = neighbours(self._layout)
        layout = self._layout
        number = {tile.id: n for n, tile in enumerate(layout)}
        boxes = np.array([[*t.world_corners.min(0), *t.world_corners.max(0)] for t in layout])
        known = _known(self._path, layout)
        tiles = np.full(len(layout), THERE)
        seams = np.full(len(self._pairs), OPEN_SEAM)
        for row, pair in enumerate(self._pairs):
            if pair in known:
                residual = known[pair]
                seams[row] = FAILED_SEAM if residual is None else grade(residual)
                for tile in pair:
                    state = BY_STAGE if residual is None else MATCHED
                    tiles[number[tile]] = MATCHED if tiles[number[tile]] == MATCHED else state
        ends = np.array([[number[a], number[b]] for a, b in self._pairs], np.int64).reshape(-1, 2)
        return LivePlan(boxes, tiles, ends, seams)


def _known(path: Path, layout: Layout) -> dict[Pair, float | None]:
    """Return the residual of each pair that was matched, None where the last one that was asked could not match it."""
    try:
        table = RunFolder.remembered(path, layout.section).columns(("fixed", "moving", "accepted", "residual_px"))
    except DemisError:
        return {}  # the store says so itself, where it is used
    found: dict[Pair, float | None] = {}
    columns = (table.column(name).to_pylist() for name in ("fixed", "moving", "accepted", "residual_px"))
    for fixed, moving, accepted, residual in zip(*columns, strict=True):
        if accepted or (fixed, moving) not in found:
            found[(fixed, moving)] = residual if accepted else None
    return found


__all__ = ["LiveRun"]
