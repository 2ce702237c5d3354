"""What stitching gives, and what it remembers on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from demis_ij import display
from demis_ij.config import StitchConfig
from demis_ij.records import Layout, PairMatch, Rejected, Solution, Suspect
from demis_ij.records.shown import links_drawing, solution_facts
from demis_ij.solvers.lens import LensFit

Pair = tuple[str, str]
Outcome = PairMatch | Rejected
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, how many there are)."""


@dataclass(frozen=True, eq=False)
class StitchResult:
    """One solved section.

    Attributes
    ----------
    layout : Layout
        As read (stage positions), shapes filled in, without the tiles that cannot be read.
    solution : Solution
        Where the tiles lie.
    pairs : tuple of PairMatch or Rejected
        Every pair that was looked at, once.
    placed_by : mapping of str to str
        Tile id to the matcher that holds it, or ``stage``.
    warnings : tuple of str
        One line each.
    timings_s : mapping of str to float
        Stage of the work to seconds.
    config : StitchConfig
        How it was done.
    suspects : tuple of Suspect
        Tiles that no neighbour agrees with, and what they look like instead.
    lens : LensFit or None
        What was found of the lens that tiles share; None when it was not looked for.
    notes : tuple of str
        What is good to know and no flaw, one line each.
    """

    layout: Layout
    solution: Solution
    pairs: tuple[Outcome, ...]
    placed_by: Mapping[str, str]
    warnings: tuple[str, ...]
    timings_s: Mapping[str, float]
    config: StitchConfig
    suspects: tuple[Suspect, ...] = ()
    lens: LensFit | None = None
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        lost = [(p.fixed, p.moving) for p in self.pairs if isinstance(p, Rejected)]
        placed = Counter(self.placed_by.values())
        lines = [
            ("matcher", self.config.matcher),
            ("tiles placed by", ", ".join(f"{how} {n}" for how, n in placed.most_common())),
            ("pairs that agree", f"{len(self.pairs) - len(lost)} of {len(self.pairs)}"),
            *solution_facts(self.solution)[1:],
            ("seconds", f"{sum(self.timings_s.values()):.1f}"),
        ]
        return display.card(
            f"Stitched section {self.layout.section}",
            display.facts(lines),
            links_drawing(self.solution, lost),
            display.listed(self.warnings),
            display.listed(self.notes),
        )


class Memory:
    """Remembers outcomes of pairs, so that an interrupted run goes on. This one forgets at the end of the process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], Outcome] = {}

    def get(self, stage: str, pair: Pair) -> Outcome | None:
        """Return what a stage of the work made of a pair, None when it has not come to it."""
        return self._kept.get((stage, *pair))

    def get_many(self, stage: str, pairs: Iterable[Pair]) -> dict[Pair, Outcome]:
        """Return what a stage made of those of the pairs that it has come to."""
        return {pair: known for pair in pairs if (known := self.get(stage, pair)) is not None}

    def finish(self) -> None:
        """Take note that the section is finished."""

    def put(self, stage: str, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes."""
        for o in outcomes:
            self._kept[(stage, o.fixed, o.moving)] = o
