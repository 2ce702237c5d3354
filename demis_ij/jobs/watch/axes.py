"""Under which axes the stage has placed tiles that are still coming: looked for as soon as most seams fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from demis_ij.images import TileStore
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.jobs.watch.run import WatchedRun
from demis_ij.jobs.watch.section import SeamNow, WatchedSection
from demis_ij.records import Layout, Tile
from demis_ij.stitch import AXES, find_axes

FEWEST = 4
"""Seams of one direction that must be known before anything is concluded of it."""


@dataclass
class _Tally:
    """Seams of one section: those beside each other (True) and above each other that agree, and all of them."""

    agree: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    known: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    def bad(self) -> dict[bool, int]:
        """Return the seams of each direction of which less than half agree."""
        return {way: n for way, n in self.known.items() if 2 * self.agree[way] < n}


class AxesSearch:
    """Which axes each section has, as far as is known.

    A search costs a few seconds. It is made when less than half of at least `FEWEST` seams of one direction agree,
    and once more whenever there are twice as many: what a first row shows leaves open how the rows follow.

    Parameters
    ----------
    job : StitchJob
        Where axes are given, nothing is looked for.
    run : WatchedRun
        Remembers what was found.
    """

    def __init__(self, job: StitchJob, run: WatchedRun) -> None:
        self._job, self._run = job, run
        self._next: dict[tuple[str, bool], int] = {}
        self._tally: dict[str, _Tally] = {}

    def of(self, section: str) -> str | None:
        """Return the axes of a section, None for those of the layout."""
        return self._job.stage_axes or next(iter(self._run.axes(section)), None)

    def count(self, section: str, seam: SeamNow) -> None:
        """Take note of what became of a seam."""
        tally = self._tally.setdefault(section, _Tally())
        tally.known[seam.is_beside] += 1
        tally.agree[seam.is_beside] += seam.sums is not None

    def searched(self, section: WatchedSection, planned: Mapping[int, Tile], store: TileStore) -> list[str] | None:
        """Return other axes under which the tiles of a section agree, and how well they do in words.

        None when there is no need to look, or those that it has are the best.

        Parameters
        ----------
        section : WatchedSection
        planned : mapping of int to Tile
            By slot, the tiles where the layout, or the grid, has them.
        store : TileStore
            Where images come from.
        """
        name = section.name
        bad = {} if self._job.stage_axes or name not in self._tally else self._tally[name].bad()
        due = {way: n for way, n in bad.items() if n >= self._next.get((name, way), FEWEST)}
        if not due:
            return None
        if any(tile.locked for tile in section.ready.values()):
            return None  # locked tiles say where they lie: nothing is to be flipped
        self._next |= {(name, way): 2 * n for way, n in due.items()}
        tiles = (replace(tile, to_world=planned[slot].to_world) for slot, tile in section.ready.items())
        axes, scores = find_axes(Layout(tuple(tiles), name), self._job.config, store)
        if axes == (self.of(name) or AXES[0]):
            return None
        del self._tally[name]
        return [axes, f"{100 * scores[axes]:.0f} % of neighbours agree, {100 * scores[AXES[0]]:.0f} % as written"]


__all__ = ["FEWEST", "AxesSearch"]
