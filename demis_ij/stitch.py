"""The story of stitching: a layout goes in, a solved layout comes out, with a reason for every pair.

::

    neighbours ─▶ match (loftr, else sift, else correlation) ─▶ solve ─▶ second pass: search wider, where the
    solved neighbours say, and at the neighbours nobody expected ─▶ solve
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from demis_ij import display
from demis_ij.config import StitchConfig
from demis_ij.errors import InputError, WeightsError
from demis_ij.images import TileStore, with_shapes
from demis_ij.pairs import match_pairs, neighbours
from demis_ij.protocols import MATCHERS, SOLVERS, Matcher, Solver
from demis_ij.records import Affine, Layout, PairMatch, Points, Rejected, Solution, Suspect, Tile
from demis_ij.records.shown import links_drawing, solution_facts
from demis_ij.solvers.lens import LensFit, fit_of, straightened, with_lenses

log = logging.getLogger(__name__)

Pair = tuple[str, str]
Outcome = PairMatch | Rejected
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, how many there are)."""

AUTO: tuple[str, ...] = ("loftr", "sift", "correlation")
"""The order in which ``auto`` asks; then the stage."""


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


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - began


def make_matcher(name: str, config: StitchConfig) -> Matcher:
    """Return a matcher by name, set up as the config says."""
    kind = MATCHERS[name]
    if name == "loftr":
        return kind(  # type: ignore[no-any-return]
            resolution=config.resolution, weights=config.weights, device=config.device, fine=not config.fast
        )
    if name == "sift":
        return kind(resolution=config.resolution)  # type: ignore[no-any-return]
    return kind()  # type: ignore[no-any-return]


def make_solver(config: StitchConfig, stage_sigma_px: float = 30.0) -> Solver:
    """Return the solver of the config; the paper's graph knows no prior and takes none.

    Raises
    ------
    InputError
        When the solver does not know the model, or a package is missing.
    """
    kind = SOLVERS[config.solver]
    if config.solver == "slam":
        return kind(model=config.model)  # type: ignore[no-any-return]
    return kind(model=config.model, stage_sigma_px=stage_sigma_px)  # type: ignore[no-any-return]


def stitch(
    layout: Layout,
    config: StitchConfig | None = None,
    *,
    store: TileStore | None = None,
    memory: Memory | None = None,
    progress: Progress | None = None,
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

    Raises
    ------
    InputError
        When no tile can be read. A single unreadable tile is a warning; it is left out.
    """
    config = config or StitchConfig()
    store = store or TileStore(clip=config.clahe_clip)
    memory = memory or Memory()
    tell = progress or (lambda _what, _done, _all: None)
    timings: dict[str, float] = {}
    with _timed(timings, "read"):
        layout, warnings = usable(layout, config)
    work = _Work(layout, config, store, memory, tell, timings)
    with _timed(timings, "match"):
        outcomes = work.match(layout, neighbours(layout), "first", config.stage_error_frac)
    solution = work.solve(layout, outcomes)
    solution, lens = work.behind_lens(solution, outcomes)
    with _timed(timings, "second pass"):
        found, solution = work.search(layout, solution, outcomes)
    if found != outcomes:
        outcomes = found
        solution, lens = work.behind_lens(solution, outcomes)
    if config.largest_graph_only:
        solution = _only_largest(layout, solution)
    placed = _placed_by(solution, outcomes)
    warnings += _warnings(layout, solution, outcomes, placed)
    if lens is not None:
        warnings.append(f"{'shared' if lens.used else 'no shared'} lens: {lens.reason}")
    return StitchResult(layout, solution, tuple(outcomes), placed, tuple(warnings), timings, config, lens=lens)


def match_first(
    layout: Layout,
    pairs: Sequence[Pair],
    config: StitchConfig,
    *,
    store: TileStore,
    memory: Memory,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Return what the first pass of `stitch` makes of some pairs, and remember it where `stitch` will look for it.

    Parameters
    ----------
    layout : Layout
        Expected positions, with shapes: at least the tiles of these pairs.
    pairs : sequence of (str, str)
        Fixed and moving tiles, as `demis_ij.pairs.neighbours` names them.
    config : StitchConfig
        How to work.
    store : TileStore
        Where images come from.
    memory : Memory
        Pairs that it knows are not matched again.
    progress : callable, optional
        Told how far the work is.
    """
    work = _Work(layout, config, store, memory, progress or (lambda _what, _done, _all: None), {})
    return work.match(layout, pairs, "first", config.stage_error_frac)


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
    store: TileStore
    memory: Memory
    tell: Progress
    timings: dict[str, float]

    def chain(self) -> tuple[str, ...]:
        return AUTO if self.config.matcher == "auto" else (self.config.matcher,)

    def match(self, layout: Layout, pairs: Sequence[Pair], stage: str, stage_error_frac: float) -> list[Outcome]:
        """Return one outcome a pair: each matcher is asked only about what the one before could not match."""
        outcome: dict[Pair, Outcome] = {}
        pending = list(pairs)
        for name in self.chain():
            if not pending:
                break
            known = {p: o for p in pending if (o := self.memory.get(f"{stage}-{name}", p)) is not None}
            missing = [p for p in pending if p not in known]
            if missing:
                known |= self._ask(layout, missing, name, stage, stage_error_frac, outcome)
            outcome |= known
            pending = [p for p in pending if isinstance(outcome[p], Rejected)]
        return [outcome[p] for p in pairs]

    def _ask(
        self,
        layout: Layout,
        pairs: list[Pair],
        name: str,
        stage: str,
        stage_error_frac: float,
        before: dict[Pair, Outcome],
    ) -> dict[Pair, Outcome]:
        try:
            matcher = make_matcher(name, self.config)
        except WeightsError as error:
            if self.config.matcher != "auto" or self.config.weights != "shipped":
                raise
            log.warning("loftr cannot be used: %s", error)
            return {p: Rejected(*p, reason=f"loftr cannot be used: {error}", matcher=name) for p in pairs}
        found: dict[Pair, Outcome] = {}
        label = name if stage == "first" else f"{name}, searching wider"
        self.tell(label, 0, len(pairs))
        step = 16
        for start in range(0, len(pairs), step):
            some = pairs[start : start + step]
            tried = {p: _history(before[p]) for p in some if p in before}
            new = match_pairs(
                self.store, layout, some, matcher, self.config, stage_error_frac=stage_error_frac, tried=tried
            )
            self.memory.put(f"{stage}-{name}", new)
            found |= {(o.fixed, o.moving): o for o in new}
            self.tell(label, min(start + step, len(pairs)), len(pairs))
        return found

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
                for new in self.match(solution.layout, pairs, f"search {number}", frac) if pairs else ():
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
        seen[pair] = replace(new, tried=_first(old) + new.tried)
        return True
    if old is None:
        return False  # it was not expected to overlap, and does not
    if isinstance(old, PairMatch) and not _believed(old, solution):
        return False  # the solver's word on it stands
    seen[pair] = replace(new, tried=_first(old) + new.tried)
    return False


def _history(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    if isinstance(outcome, Rejected):
        return (*outcome.tried, (outcome.matcher, outcome.reason))
    return outcome.tried


def _first(outcome: Outcome | None) -> tuple[tuple[str, str], ...]:
    return () if outcome is None else _history(outcome)


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


AXES: tuple[str, ...] = ("+x+y", "-x+y", "+x-y", "-x-y", "+y+x", "-y+x", "+y-x", "-y-x")
"""What a stage may call right and down: the world's x, then y, in terms of the stage's."""


def with_axes(layout: Layout, axes: str) -> Layout:
    """Return the layout with its positions flipped or swapped, the images as they are.

    Parameters
    ----------
    layout : Layout
        Positions of tiles' centres count.
    axes : str
        For instance ``+x-y``: the stage's y points up; ``+y+x``: x and y are exchanged.

    Raises
    ------
    InputError
        When the name of the axes is not one of the eight.
    """
    if axes not in AXES:
        msg = f"stage axes {axes!r}: needed one of {', '.join(AXES)}"
        raise InputError(msg)
    sign = {"+": 1.0, "-": -1.0}
    rows = {"x": (1.0, 0.0), "y": (0.0, 1.0)}
    (a, b), (c, d) = (tuple(sign[axes[k]] * v for v in rows[axes[k + 1]]) for k in (0, 2))
    turn = Affine(a, b, c, d)
    moved = {}
    for t in layout:
        middle = ((t.shape[1] - 1) / 2, (t.shape[0] - 1) / 2)
        here = t.to_world(middle)
        there = turn(here)
        moved[t.id] = Affine.translation(*(there - here)) @ t.to_world
    return layout.moved(moved)


def find_axes(
    layout: Layout, config: StitchConfig, store: TileStore, *, sample: int = 8, progress: Progress | None = None
) -> tuple[str, dict[str, float]]:
    """Return the axes under which neighbouring tiles agree best, and the share of agreeing pairs of those tried.

    The axes as given are kept when at least half of a sample of pairs agrees.

    Parameters
    ----------
    layout : Layout
        With shapes.
    sample : int
        Pairs tried for each of the eight.
    """
    scores: dict[str, float] = {}
    quick = replace(config, matcher="sift", stage_error_frac=max(config.stage_error_frac, 0.1), refine=False)
    matcher = make_matcher("sift", quick)
    for n, axes in enumerate(AXES):
        there = with_axes(layout, axes)
        if progress:
            progress("stage axes", n, len(AXES))
        shares = []
        for pairs in _by_direction(there):
            some = pairs[:: max(1, len(pairs) // max(1, sample // 2))][: max(1, sample // 2)]
            found = match_pairs(store, there, some, matcher, quick, stage_error_frac=quick.stage_error_frac, tried={})
            shares.append(sum(isinstance(o, PairMatch) for o in found) / len(some))
        # a flip of one axis leaves the neighbours along the other as they were: both must agree
        scores[axes] = min(shares, default=0.0)
        if axes == AXES[0] and (scores[axes] >= 0.5 or not shares):
            break
    if progress:
        progress("stage axes", len(AXES), len(AXES))
    best = max(scores, key=lambda a: (scores[a], a == AXES[0]))
    return (best if scores[best] >= 0.25 and scores[best] > 2 * scores[AXES[0]] else AXES[0]), scores


def _by_direction(layout: Layout) -> list[list[Pair]]:
    """Return the neighbours side by side and those above each other; a direction without any is left out."""
    beside: list[Pair] = []
    above: list[Pair] = []
    for pair in neighbours(layout):
        x, y = np.abs(np.subtract(*(_middle(layout[tile_id]) for tile_id in pair)))
        (beside if x >= y else above).append(pair)
    return [pairs for pairs in (beside, above) if pairs]


def _middle(tile: Tile) -> Points:
    return tile.to_world(((tile.shape[1] - 1) / 2, (tile.shape[0] - 1) / 2))
