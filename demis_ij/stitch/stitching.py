"""From a layout to a solved one: first pass, solve, what failed asked again, solve."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.images import TileStore, with_shapes
from demis_ij.pairs import neighbours
from demis_ij.pools import Pool
from demis_ij.pools.tasks import SerialPool
from demis_ij.records import Layout, PairMatch, Points, Rejected, Solution
from demis_ij.solvers.lens import LensFit, fit_of, straightened, with_lenses
from demis_ij.stitch.asking import Asker, history
from demis_ij.stitch.parts import make_solver
from demis_ij.stitch.results import Memory, Outcome, Pair, Progress, StitchResult


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - began


def stitch(
    layout: Layout,
    config: StitchConfig | None = None,
    *,
    store: TileStore | None = None,
    memory: Memory | None = None,
    progress: Progress | None = None,
    pool: Pool | None = None,
) -> StitchResult:
    """Return where the tiles of one section lie.

    Parameters
    ----------
    layout : Layout
        Expected positions.
    config : StitchConfig, optional
        How to work.
    store : TileStore, optional
        Where images come from.
    memory : Memory, optional
        Outcomes of an earlier run.
    progress : callable, optional
        Told how far the work is.
    pool : Pool, optional
        Who matches the pairs; this process when not given. The result is the same. Each worker keeps as much of
        tiles as the store may.

    Raises
    ------
    InputError
        When no tile can be read. A single unreadable tile is a warning; it is left out.
    """
    config = config or StitchConfig()
    store = TileStore(clip=config.clahe_clip) if store is None else store
    memory = Memory() if memory is None else memory  # one that is empty is false
    tell = progress or (lambda _what, _done, _all: None)
    timings: dict[str, float] = {}
    with _timed(timings, "read"):
        layout, warnings = usable(layout, config)
    asker = Asker(config, store, memory, tell, SerialPool() if pool is None else pool)
    work = _Work(layout, config, asker, tell, timings)
    with _timed(timings, "match"):
        outcomes = asker.match(layout, neighbours(layout), "first", config.stage_error_frac)
    solution = work.solve(layout, outcomes)
    solution, lens = work.behind_lens(solution, outcomes)
    with _timed(timings, "second pass"):
        found, solution = work.search(layout, solution, outcomes)
    if found != outcomes:
        outcomes = found
        solution, lens = work.behind_lens(solution, outcomes)
    if config.largest_graph_only:
        solution = _only_largest(layout, solution)
    memory.finish()
    placed = _placed_by(solution, outcomes)
    warnings += _warnings(layout, solution, outcomes, placed)
    notes: tuple[str, ...] = ()
    if lens is not None and lens.used:
        notes = (f"tiles share a lens, corrected: {lens.reason}",)
    elif lens is not None:
        warnings.append(f"no lens is used: {lens.reason}")
    return StitchResult(
        layout, solution, tuple(outcomes), placed, tuple(warnings), timings, config, lens=lens, notes=notes
    )


def usable(layout: Layout, config: StitchConfig) -> tuple[Layout, list[str]]:
    """Return the layout with shapes filled in, without hidden and unreadable tiles, and a warning for each of those."""
    hidden = [t for t in layout if not t.visible]
    warnings: list[str] = []
    if hidden and not config.include_hidden:
        layout = replace(layout, tiles=tuple(t for t in layout if t.visible))
        warnings.append(f"{len(hidden)} hidden tiles are left alone (--include-hidden takes them in)")
    if not len(layout):
        msg = f"section {layout.section!r} has no tile to stitch"
        raise InputError(msg)
    layout, found, bad = with_shapes(layout)
    warnings += found
    if bad:
        layout = replace(layout, tiles=tuple(t for t in layout if t.id not in bad))
    if not len(layout):
        msg = f"section {layout.section!r}: no tile can be read; the first: {found[0] if found else '?'}"
        raise InputError(msg)
    return layout, warnings


@dataclass(frozen=True, eq=False)
class _Work:
    """What every step of one section needs."""

    layout: Layout
    config: StitchConfig
    asker: Asker
    tell: Progress
    timings: dict[str, float]

    def solve(self, layout: Layout, outcomes: Sequence[Outcome], stage_error_frac: float | None = None) -> Solution:
        """Return the solved layout; the stage may be wrong by ``stage_error_frac`` of a tile (two sigma)."""
        with _timed(self.timings, "solve"):
            self.tell("solve", 0, 1)
            frac = self.config.stage_error_frac if stage_error_frac is None else stage_error_frac
            sigma = frac * max((max(t.shape) for t in layout), default=1) / 2
            solver = make_solver(self.config, max(sigma, 1.0))
            solution = solver(layout, straightened(layout, [o for o in outcomes if isinstance(o, PairMatch)]))
            self.tell("solve", 1, 1)
        return solution

    def behind_lens(self, solution: Solution, outcomes: Sequence[Outcome]) -> tuple[Solution, LensFit | None]:
        """Return the solution behind the lens that its tiles share, if they do, and what was found of it."""
        if self.config.lens == "none":
            return solution, None
        own = sum(t.lens is not None for t in self.layout)
        if own:
            reason = f"{own} tiles come with a lens correction of the layout file, which is used as it is"
            return solution, LensFit.none(reason, len(self.layout))
        with _timed(self.timings, "lens"):
            self.tell("lens", 0, 1)
            plain = replace(solution.layout, tiles=tuple(replace(t, lens=None) for t in solution.layout))
            matches = [o for o in outcomes if isinstance(o, PairMatch)]
            fit = fit_of(replace(solution, layout=plain), matches, self.config.model)
            self.tell("lens", 1, 1)
        behind = with_lenses(plain, fit)
        if all(t.lens == behind[t.id].lens for t in solution.layout):
            return solution, fit
        return self.solve(behind, outcomes, self.config.stage_search_frac), fit

    def search(self, layout: Layout, solution: Solution, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], Solution]:
        """Return outcomes and solution after further looks at what failed or was overruled.

        Tiles that hang apart are looked for within ``stage_search_frac`` of where the solution puts them; pairs within
        one component are asked again where the solution has moved them since; so are pairs that overlap in the
        solution but were not expected to. Each round solves anew, until nothing more is found.
        """
        seen = {(o.fixed, o.moving): o for o in outcomes}
        asked: dict[Pair, tuple[Points, bool]] = {p: (_offset(layout, p), False) for p in seen}
        for number in range(MAX_SEARCHES):
            near, far = self._lost(solution, seen, asked)
            usual = _usual_residual(seen.values())
            found = False
            for pairs, frac in ((near, self.config.stage_error_frac), (far, self.config.stage_search_frac)):
                asked |= {p: (_offset(solution.layout, p), frac != self.config.stage_error_frac) for p in pairs}
                for new in self.asker.match(solution.layout, pairs, f"search {number}", frac) if pairs else ():
                    found |= _take(seen, _as_exact(new, usual), solution)
            if not found:
                break
            solution = self.solve(layout, list(seen.values()), self.config.stage_search_frac)
        return list(seen.values()), solution

    def _lost(
        self, solution: Solution, seen: Mapping[Pair, Outcome], asked: Mapping[Pair, tuple[Points, bool]]
    ) -> tuple[list[Pair], list[Pair]]:
        """Return the pairs worth asking again: nearby, and within the wide search."""
        open_pairs = [p for p, o in seen.items() if not _believed(o, solution)]
        fresh = [p for p in neighbours(solution.layout) if p not in seen and p[::-1] not in seen]
        near, far = [], []
        for pair in open_pairs + fresh:
            side = max(solution.layout[pair[0]].shape)
            where, was_far = asked.get(pair, (np.full(2, np.inf), False))
            moved = float(np.abs(_offset(solution.layout, pair) - where).max())
            moved_on = moved > 0.25 * self.config.stage_error_frac * side
            if solution.component[pair[0]] == solution.component[pair[1]]:
                if moved_on:
                    near.append(pair)
            elif self.config.stage_search_frac > self.config.stage_error_frac and (moved_on or not was_far):
                far.append(pair)
        return near, far


MAX_SEARCHES = 4
"""Rounds of looking for what the first pass did not find."""


def _offset(layout: Layout, pair: Pair) -> Points:
    """Return where the moving tile's centre lies in px of the fixed tile."""
    fixed, moving = layout[pair[0]], layout[pair[1]]
    centre = ((moving.shape[1] - 1) / 2, (moving.shape[0] - 1) / 2)
    return fixed.to_world.inverse(moving.to_world(centre))


def _believed(outcome: Outcome, solution: Solution) -> bool:
    """Return whether a pair agrees and the solver gave it weight."""
    return isinstance(outcome, PairMatch) and solution.believes(outcome.fixed, outcome.moving)


def _usual_residual(outcomes: Iterable[Outcome]) -> float | None:
    """Return the median residual of the pairs that agree, None while there are fewer than five."""
    known = [o.residual_px for o in outcomes if isinstance(o, PairMatch)]
    return float(np.median(known)) if len(known) >= 5 else None


def _as_exact(outcome: Outcome, usual_px: float | None) -> Outcome:
    """Return a pair found by a wide search only if it is as exact as pairs of this section are; else its rejection."""
    if not isinstance(outcome, PairMatch) or usual_px is None:
        return outcome
    limit = max(1.0, 4 * usual_px)
    if outcome.residual_px <= limit:
        return outcome
    reason = (
        f"{outcome.inliers} matches agree within {outcome.residual_px:.1f} px only, {limit:.1f} px needed: "
        f"pairs of this section agree within {usual_px:.2f} px"
    )
    return Rejected(
        outcome.fixed, outcome.moving, reason, outcome.matcher, outcome.matches, outcome.inliers, outcome.tried
    )


def _take(seen: dict[Pair, Outcome], new: Outcome, solution: Solution) -> bool:
    """Put a new outcome of a pair in the place of the old one where it says more; return whether it agrees."""
    pair = (new.fixed, new.moving)
    old = seen.get(pair)
    if isinstance(new, PairMatch):
        seen[pair] = replace(new, tried=history(old) + new.tried)
        return True
    if old is None:
        return False  # it was not expected to overlap, and does not
    if isinstance(old, PairMatch) and not _believed(old, solution):
        return False  # the solver's word on it stands
    seen[pair] = replace(new, tried=history(old) + new.tried)
    return False


def _only_largest(layout: Layout, solution: Solution) -> Solution:
    stay = {t.id: t.to_world for t in layout if solution.component[t.id] != 0}
    return replace(solution, layout=solution.layout.moved(stay))


def _placed_by(solution: Solution, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return for each tile the matcher with most weight among its believed pairs, else ``stage``."""
    votes: dict[str, Counter[str]] = {t.id: Counter() for t in solution.layout}
    for o in outcomes:
        if isinstance(o, PairMatch):
            weight = solution.pair_weight.get((o.fixed, o.moving), 1.0)
            if solution.believes(o.fixed, o.moving):
                for tile in (o.fixed, o.moving):
                    votes[tile][o.matcher] += weight  # type: ignore[assignment]
    return {tile: (v.most_common(1)[0][0] if v else "stage") for tile, v in votes.items()}


def _warnings(layout: Layout, solution: Solution, outcomes: Sequence[Outcome], placed: Mapping[str, str]) -> list[str]:
    """Return what a user must know about the result, one line each."""
    lines = []
    if not outcomes and len(layout) > 1:
        lines.append("no two tiles overlap where the layout puts them: nothing was matched, all stay at the stage")
    for tile, how in placed.items():
        if how == "stage" and len(layout) > 1:
            lines.append(f"tile {tile}: matched with no neighbour, placed by the stage")
    sizes = solution.component_sizes
    islands = [n for n in sizes[1:] if n > 1]
    if islands:
        lines.append(f"{len(islands) + 1} groups of tiles are not connected; the smaller ones are placed by the stage")
    for o in outcomes:
        if isinstance(o, PairMatch) and not solution.believes(o.fixed, o.moving):
            lines.append(f"pair {o.fixed} - {o.moving}: contradicts its neighbours and was not believed")
    return lines
