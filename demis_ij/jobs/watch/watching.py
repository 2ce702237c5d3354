"""A microscope that is still writing: its tiles are matched as they come, and bad seams are named within seconds.

What is found is kept in a run folder as ``stitch`` keeps it, under the same names and settings: when all tiles are
there, ``stitch`` finishes the run and matches nothing again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.display.pace import Pace
from demis_ij.errors import InputError
from demis_ij.formats.grid import IMAGE_SUFFIXES
from demis_ij.images import TileStore
from demis_ij.jobs.plans import check_parts
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.jobs.watch.axes import AxesSearch
from demis_ij.jobs.watch.events import Event, seam_facts
from demis_ij.jobs.watch.files import Folders, Stamp, look_at
from demis_ij.jobs.watch.page import PAGE, SHARE, LivePage, counts, counts_said
from demis_ij.jobs.watch.plan import GridPlan, TilePlan
from demis_ij.jobs.watch.run import WatchedRun
from demis_ij.jobs.watch.section import SeamNow, WatchedSection
from demis_ij.pools import open_pool
from demis_ij.records import Layout
from demis_ij.stitch import match_first, with_axes

EVERY_S = 0.2
"""Between two looks at the folder while there is nothing to do."""
AT_ONCE = 8
"""Pairs that a worker matches between two looks."""
SOLVE_EVERY_S = 5.0
STRANGE_S = 10.0
"""For so long images may lie in the folder of which none fits the pattern."""
UNKNOWN_SHAPE = (1000, 1000)


@dataclass(frozen=True, kw_only=True)
class WatchJob:
    """What to watch for, and for how long.

    Attributes
    ----------
    job : StitchJob
        How tiles are matched: the run's settings.
    worse_than : float
        A seam whose error is larger is named, px.
    once : bool
        Whether to end when all that is there is done.
    idle_s : float or None
        Whether to end when nothing has come for so long.
    """

    job: StitchJob
    worse_than: float = 2.0
    once: bool = False
    idle_s: float | None = None


class Watch:
    """Tiles taken as they come, until somebody stops.

    `loop` yields what happens and ends by itself when all tiles are there and matched; `ending`, to be called in any
    case, writes what is known; `close` ends the workers and lets others work in the run folder.

    Parameters
    ----------
    plan : TilePlan
        Which tiles are expected.
    folder, out : Path
        Where tiles arrive, and the run folder.
    how : WatchJob
    wait, clock : callable
        Wait for so many seconds; seconds on a clock.

    Raises
    ------
    InputError
        When the folder is not there, the run folder holds another run, or a matcher cannot be had.
    """

    def __init__(
        self,
        plan: TilePlan,
        folder: Path,
        out: Path,
        how: WatchJob,
        *,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not folder.is_dir():
            msg = f"{folder}: there is no such folder to watch"
            raise InputError(msg)
        check_parts(how.job.config)
        self.plan, self.folder, self.how = plan, folder, how
        self.run = WatchedRun(out, how.job)
        self._pool = open_pool(how.job.workers)
        self._axes = AxesSearch(how.job, self.run)
        self._wait, self._clock = wait, clock
        self._files = Folders(plan.folders)
        self._store = TileStore(clip=how.job.config.clahe_clip)
        self._shape: tuple[int, int] | None = None
        self._said_of: dict[Path, Stamp] = {}
        self._page = LivePage(self.run.path, folder.name, clock)
        self._began = self._came = clock()
        self._next_solve = self._began + SOLVE_EVERY_S
        self._changed = False
        self._open()

    def _open(self) -> None:
        """Make the sections anew from the plan."""
        tiles = self.plan.tiles(self._shape or UNKNOWN_SHAPE)
        self._planned = dict(enumerate(tiles))
        self.sections: dict[str, WatchedSection] = {}
        self._section_of: dict[int, WatchedSection] = {}
        for name in self.plan.sections:
            chosen = {slot: tile for slot, tile in enumerate(tiles) if tile.section == name}
            if axes := self._axes.of(name):
                turned = with_axes(Layout(tuple(chosen.values()), name), axes)
                chosen = dict(zip(chosen, turned.tiles, strict=True))
            section = self.sections[name] = WatchedSection(name, chosen, self.how.job.config)
            self._section_of |= dict.fromkeys(chosen, section)
        self._stamps: dict[int, Stamp] = {}
        self._page.begin(list(self.sections.values()))

    # --- the loop ---------------------------------------------------------------------------------------------------

    def loop(self) -> Iterator[Event]:
        """Yield what happens until all is there and matched, nothing has come for long, or all is done (once)."""
        n = self.counts()
        yield self._event(
            "note", f"watching {self.folder} for {n['tiles']} tiles and {n['seams']} seams; "
            f"the page is {self.run.path / PAGE}; Ctrl-C ends it"
        )  # fmt: skip
        while True:
            growing = yield from self._look()
            worked = yield from self._match()
            yield from self._turn_if_needed()
            yield from self._solve_if_due()
            self._page.write_if_due(list(self.sections.values()))
            if not worked and not growing and self._is_done():
                return
            if not worked:
                self._wait(EVERY_S)

    def _is_done(self) -> bool:
        sections = self.sections.values()
        if all(len(s.ready) == len(s) for s in sections) or self.how.once:
            return True
        quiet = self._clock() - self._came
        return self.how.idle_s is not None and quiet >= self.how.idle_s

    def _look(self) -> Generator[Event, None, bool]:
        """Take in the tiles that are whole; return whether others are still growing."""
        found, said = self._files.listed()
        for line in said:
            yield self._event("note", line, is_bad=True)
        if isinstance(self.plan, GridPlan) and self.plan.recount(list(found)):
            yield from self._begin_anew()
        growing = False
        now = self._clock()
        slots = {path: self._slot(path, stamp) for path, stamp in found.items()}
        for path in sorted(found, key=lambda p: found[p][1]):  # as they were written
            slot = slots[path]
            if isinstance(slot, str):
                yield self._event("note", slot, is_bad=True)
            elif isinstance(slot, int) and self._stamps.get(slot) != found[path]:
                if self._said_of.get(path) == found[path]:
                    continue  # it could not be read, and has not changed since
                if self._files.still(path, found[path], now):
                    yield from self._arrived(slot, path, found[path])
                else:
                    growing = True
        if not self._files.are_gone:
            yield from self._vanished({slot for slot in slots.values() if isinstance(slot, int)})
        self._refuse_strangers(list(found), slots)
        return growing

    def _slot(self, path: Path, stamp: Stamp) -> int | str | None:
        slot = self.plan.slot(path)
        if isinstance(slot, str):
            if self._said_of.get(path) == stamp:
                return None
            self._said_of[path] = stamp
        return slot

    def _refuse_strangers(self, found: list[Path], slots: Mapping[Path, int | str | None]) -> None:
        """Raise `InputError` when there are images, and none of them is a tile."""
        images = sorted(p.name for p in found if p.suffix.lower() in IMAGE_SUFFIXES)
        known = any(slot is not None for slot in slots.values()) or self._said_of
        if not images or known or self._stamps:
            return
        if self.how.once or self._clock() - self._began >= STRANGE_S:
            wanted = f"the pattern {self.plan.pattern!r}" if isinstance(self.plan, GridPlan) else "the layout"
            msg = f"{self.folder}: none of {len(images)} image(s) fits {wanted}; the first is {images[0]!r}"
            raise InputError(msg)

    def _begin_anew(self) -> Iterator[Event]:
        """Take all tiles in again where numbers turn out to count from elsewhere."""
        if self._stamps:
            yield self._event("note", "numbers count from elsewhere than it seemed: all tiles are placed anew")
            if isinstance(self.plan, GridPlan) and self.plan.numbered:
                for section in self.sections.values():
                    self.run.forget(section.name, [seam.pair for seam in section.seams.values()])
        self._said_of.clear()
        self._open()

    # --- tiles ------------------------------------------------------------------------------------------------------

    def _arrived(self, slot: int, path: Path, stamp: Stamp) -> Iterator[Event]:
        section = self._section_of[slot]
        looked = look_at(replace(section.planned(slot), path=path), self._shape)
        if looked.shape is None:
            self._said_of[path] = stamp
            section.spoil(slot, looked.problem)
            said = f"tile {path.name} cannot be read yet: {looked.problem}; it is tried again when it changes"
            yield self._tile(path, "problem", said, looked.problem)
            return
        self._said_of.pop(path, None)
        self._came = self._clock()
        if self._shape is None:
            self._shape = looked.shape
            if section.planned(slot).shape != looked.shape:
                self._open()
                section = self._section_of[slot]
        tile = replace(section.planned(slot), path=path, shape=looked.shape)
        if isinstance(self.plan, GridPlan):
            tile = replace(tile, id=path.name)
        was_there = slot in section.ready
        gone = section.leave(slot)
        before = self.run.stamp(section.name, tile.id)
        if before is not None and before != stamp:
            self._store = TileStore(clip=self.how.job.config.clahe_clip)
            self.run.forget_tile(section.name, tile.id, gone)
            yield self._tile(path, "replaced", f"tile {path.name} was written anew: its seams are matched again", "")
        self.run.remember(section.name, tile.id, stamp)
        self._stamps[slot] = stamp
        section.arrive(slot, tile, self.plan.order(slot, path))
        self._changed = True
        if looked.problem:
            yield self._tile(path, "odd", f"tile {path.name}: {looked.problem}", looked.problem)
        elif not was_there:
            yield self._tile(path, "there", "", "")

    def _vanished(self, there: set[int]) -> Iterator[Event]:
        for slot in [s for s in self._stamps if s not in there]:
            section = self._section_of[slot]
            path = section.ready[slot].path
            del self._stamps[slot]
            section.leave(slot)
            section.spoil(slot, "it is gone")
            self._changed = True
            yield self._tile(path, "gone", f"tile {path.name} is gone: waiting for it", "it is gone")

    def _tile(self, path: Path, state: str, said: str, problem: str) -> Event:
        return self._event("tile", said, {"tile": path.name, "state": state, "problem": problem}, state != "there")

    # --- seams ------------------------------------------------------------------------------------------------------

    def _match(self) -> Generator[Event, None, bool]:
        """Match the next seams; return whether there were any."""
        for section in self.sections.values():
            if not section.queue:
                continue
            layout, pairs = section.next_pairs(AT_ONCE * self._pool.workers)
            memory, share = self.run.memory(section.name), -(-len(pairs) // self._pool.workers)
            found = match_first(
                layout, pairs, self.how.job.config, store=self._store, memory=memory, pool=self._pool, most=share
            )
            for seam in section.take(found):
                yield self._matched(section, seam)
            self._changed = True
            return True
        return False

    def _matched(self, section: WatchedSection, seam: SeamNow) -> Event:
        self._axes.count(section.name, seam)
        state = "failed" if seam.sums is None else "matched"
        said = f"seam {seam.pair[0]} - {seam.pair[1]} failed: {seam.reason}" if seam.sums is None else ""
        return self._event("seam", said, seam_facts(section.name, seam, state), seam.sums is None)

    def _turn_if_needed(self) -> Iterator[Event]:
        """Look for the stage's axes where most seams fail, and take all tiles in again under those that are found."""
        for section in self.sections.values():
            found = self._axes.searched(section, self._planned, self._store)
            if found is None:
                continue
            self.run.save(self.plan.document())
            self.run.remember_axes(section.name, found)
            self.run.forget(section.name, [seam.pair for seam in section.seams.values()])
            said = f"section {section.name}: most seams fail, so stage axes {found[0]} are used ({found[1]}; "
            yield self._event("note", said + "--stage-axes decides): all tiles are placed anew", is_bad=True)
            self._said_of.clear()
            self._open()
            return

    def _solve_if_due(self, *, last: bool = False) -> Iterator[Event]:
        began = self._clock()
        if not self._changed or (began < self._next_solve and not last):
            return
        self._changed = False
        for section in self.sections.values():
            if section.solve():
                yield from self._judged(section)
        self.run.save(self.plan.document())
        self._next_solve = self._clock() + max(SOLVE_EVERY_S, SHARE * (self._clock() - began))

    def _judged(self, section: WatchedSection) -> Iterator[Event]:
        """Yield the seams that turn out to be bad, each once."""
        errors = []
        for seam in section.seams.values():
            if seam.sums is None:
                continue
            errors.append(seam.error_px)
            bad = seam.error_px > self.how.worse_than or not seam.is_believed
            if bad and not seam.is_told:
                why = f"{seam.error_px:.1f} px after the solve"
                why += "" if seam.is_believed else ", it contradicts its neighbours"
                said = f"seam {seam.pair[0]} - {seam.pair[1]} is bad: {why}"
                yield self._event("seam", said, seam_facts(section.name, seam, "bad"), is_bad=True)
            seam.is_told = bad
        median, worst = float(np.median(errors)), float(np.max(errors))
        facts = {"section": section.name, "seams": len(errors), "median_px": median, "max_px": worst}
        yield self._event("solve", "", facts)

    # --- the end, and what is shown ---------------------------------------------------------------------------------

    def ending(self) -> Iterator[Event]:
        """Write what is known, and yield what there is to say of it. Raises `InputError` when no tile ever came."""
        if not self._stamps:
            self.run.abandon()
            msg = f"{self.folder}: no tile came"
            raise InputError(msg)
        self._changed = True
        yield from self._solve_if_due(last=True)
        self._page.write(list(self.sections.values()), is_over=True)
        n = self.counts()
        yield self._event("end", counts_said(n), {**n, "stitch": self.stitch_command()})

    def close(self) -> None:
        """End the workers, and let others work in the run folder."""
        self._pool.close()
        self.run.close()

    def counts(self) -> dict[str, int]:
        """Return how many tiles and seams there are, by their state."""
        return counts(list(self.sections.values()))

    def paces(self) -> dict[str, Pace]:
        """Return how fast tiles come and seams are matched."""
        return self._page.paces(list(self.sections.values()))

    def stitch_command(self) -> list[str]:
        """Return the words of the command that finishes this run."""
        return ["demis-ij", "stitch", *self.plan.words(), "--out", str(self.run.path)]

    def _event(self, kind: str, said: str = "", facts: Mapping[str, Any] | None = None, is_bad: bool = False) -> Event:
        if said:
            self._page.say(said)
        return Event(kind, said, facts or {"said": said}, is_bad)
