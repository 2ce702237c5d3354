"""Pairs shown to one matcher after another, in batches, by whoever there is to do it.

A batch is a patch of the section: pairs are taken along a Hilbert curve through the middles of their seams, so that
the tiles of a batch are few and lie together, and each is read once for it. Who does which batch, when, and how many
of them at once (`demis_ij.stitch.loads`) changes nothing: the batches depend on the pairs alone.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from demis_ij.config import StitchConfig
from demis_ij.errors import WeightsError
from demis_ij.images import TileStore
from demis_ij.pairs import match_pairs
from demis_ij.pools import Done, Kept, Pool
from demis_ij.pools.tasks import SerialPool
from demis_ij.protocols import Matcher
from demis_ij.records import Layout, Rejected
from demis_ij.stitch.loads import MOST_BATCHES, Loads, in_turn
from demis_ij.stitch.parts import AUTO, make_matcher
from demis_ij.stitch.results import Memory, Outcome, Pair, Progress

log = logging.getLogger(__name__)

FEWEST, MOST = 8, 32
"""Pairs of a batch: enough to share their tiles, few enough to be lost when something breaks."""
_CURVE_BITS = 16


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pairs, and all that a worker needs to match them.

    Attributes
    ----------
    layout : Layout
        Their tiles only.
    pairs : tuple of (str, str)
        Tile ids (fixed, moving).
    matcher : str
        Who is asked.
    config : StitchConfig
        How.
    stage_error_frac : float
        What the layout may be wrong by.
    tried : mapping
        Who was asked before, and what they said.
    keep_bytes : int
        What a worker may keep of tiles.
    run : str
        Another one for every call: a worker that serves many never takes an old image for a new one.
    """

    layout: Layout
    pairs: tuple[Pair, ...]
    matcher: str
    config: StitchConfig
    stage_error_frac: float
    tried: Mapping[Pair, tuple[tuple[str, str], ...]]
    keep_bytes: int
    run: str


Load = tuple[Batch, ...]
"""What a worker is given at once."""
_Told = tuple[list[Outcome], float]
_STORES: Kept[TileStore] = Kept(most=1)
_MATCHERS: Kept[Matcher] = Kept(most=1)


def match_batch(batch: Batch) -> list[Outcome]:
    """Return what the matcher says of each pair of a batch; runs in a worker, which keeps its tiles for the next."""
    clip = batch.config.clahe_clip
    key = (batch.run, batch.keep_bytes)
    store = _STORES.get(key, lambda: TileStore(batch.keep_bytes, clip=clip, keep_images=False))
    matcher = _MATCHERS.get((batch.run, batch.matcher), lambda: make_matcher(batch.matcher, batch.config))
    return matched(batch, store, matcher)


def matched(batch: Batch, store: TileStore, matcher: Matcher) -> list[Outcome]:
    """Return what a matcher says of each pair of a batch."""
    tried = dict(batch.tried)
    how = batch.stage_error_frac
    return match_pairs(store, batch.layout, batch.pairs, matcher, batch.config, stage_error_frac=how, tried=tried)


@dataclass(frozen=True, eq=False)
class Asker:
    """Who asks the matchers of a config about pairs of one section, and remembers what they said."""

    config: StitchConfig
    store: TileStore
    memory: Memory
    tell: Progress
    pool: Pool
    most: int | None = None
    """Pairs of a batch at the most; by their number when None."""

    def match(self, layout: Layout, pairs: Sequence[Pair], stage: str, stage_error_frac: float) -> list[Outcome]:
        """Return one outcome a pair: each matcher is asked only about what the one before could not match."""
        outcome: dict[Pair, Outcome] = {}
        pending = list(pairs)
        for name in AUTO if self.config.matcher == "auto" else (self.config.matcher,):
            if not pending:
                break
            known = self.memory.get_many(f"{stage}-{name}", pending)
            if len(known) < len(pending):
                known |= self._ask(layout, pending, known, name, stage, stage_error_frac, outcome)
            outcome |= known
            pending = [p for p in pending if isinstance(outcome[p], Rejected)]
        return [outcome[p] for p in pairs]

    def _ask(
        self,
        layout: Layout,
        pairs: Sequence[Pair],
        known: Mapping[Pair, Outcome],
        name: str,
        stage: str,
        stage_error_frac: float,
        before: Mapping[Pair, Outcome],
    ) -> dict[Pair, Outcome]:
        """Return what one matcher says of those of the pairs that it has said nothing of."""
        label = name if stage == "first" else f"{name}, searching wider"
        run = secrets.token_hex(8)

        def batch_of(some: Sequence[Pair]) -> Batch:
            ids = dict.fromkeys(tile for pair in some for tile in pair)
            there = replace(layout, tiles=tuple(layout[tile] for tile in ids))
            tried = {p: history(before[p]) for p in some if p in before}
            keep = self.store.max_bytes
            return Batch(there, tuple(some), name, self.config, stage_error_frac, tried, keep, run)

        groups = [[p for p in group if p not in known] for group in in_batches(layout, pairs, self.most)]
        loads = Loads(
            list(filter(None, groups)), lambda: self.pool.workers, 1 if self.most is not None else MOST_BATCHES
        )
        found: dict[Pair, Outcome] = {}
        given_up: list[Done[Load, _Told]] = []
        self.tell(label, len(known), len(pairs))
        try:
            do = partial(in_turn, self._function(name))
            first = (tuple(map(batch_of, load)) for load in loads)
            for tasks in (first, self._one_by_one(given_up, batch_of)):
                with closing(self.pool.unordered(do, tasks)) as loop:  # type: ignore[type-var]
                    for done in loop:
                        if done.problem is None:
                            outcomes, seconds = done.value
                            loads.took(len(outcomes), seconds)
                            self.memory.put(f"{stage}-{name}", outcomes)
                            found |= {(o.fixed, o.moving): o for o in outcomes}
                            self.tell(label, len(known) + len(found), len(pairs))
                        else:
                            given_up.append(done)
        except WeightsError as error:
            if self.config.matcher != "auto" or self.config.weights != "shipped":
                raise
            log.warning("loftr cannot be used: %s", error)
            missing = [p for p in pairs if p not in known]
            return {p: Rejected(*p, reason=f"loftr cannot be used: {error}", matcher=name) for p in missing}
        return found | _untold(given_up, found, name)

    def _function(self, name: str) -> Callable[[Batch], list[Outcome]]:
        """Return what does a batch: here with the store of the caller, elsewhere with one of the worker's own."""
        if not isinstance(self.pool, SerialPool):
            return match_batch
        matcher = make_matcher(name, self.config)
        return lambda batch: matched(batch, self.store, matcher)

    @staticmethod
    def _one_by_one(given_up: list[Done[Load, _Told]], batch_of: Callable[[Sequence[Pair]], Batch]) -> Iterator[Load]:
        """Yield each pair of the loads that were given up by itself: most likely one of them is to blame."""
        pairs = {id(done): [p for batch in done.task for p in batch.pairs] for done in given_up}
        large = [done for done in given_up if len(pairs[id(done)]) > 1]
        given_up[:] = [done for done in given_up if len(pairs[id(done)]) == 1]
        for done in large:
            for pair in pairs[id(done)]:
                yield (batch_of([pair]),)


def match_first(
    layout: Layout,
    pairs: Sequence[Pair],
    config: StitchConfig,
    *,
    store: TileStore | None = None,
    memory: Memory | None = None,
    progress: Progress | None = None,
    pool: Pool | None = None,
    most: int | None = None,
) -> list[Outcome]:
    """Return what the first pass of `stitch` makes of some pairs, in their order, remembered as it does.

    Parameters
    ----------
    layout : Layout
        With shapes, at the expected positions.
    pairs : sequence of (str, str)
        Tile ids (fixed, moving).
    config : StitchConfig
        How.
    store, memory, progress, pool
        As for `stitch`.
    most : int, optional
        No worker gets more pairs than so many at once: fewer are shared out at the price of reading tiles twice.
    """
    asker = Asker(
        config,
        TileStore(clip=config.clahe_clip) if store is None else store,
        Memory() if memory is None else memory,
        progress or (lambda _what, _done, _all: None),
        SerialPool() if pool is None else pool,
        most,
    )
    return asker.match(layout, pairs, "first", config.stage_error_frac)


def _untold(given_up: Sequence[Done[Load, _Told]], found: Mapping[Pair, Outcome], name: str) -> dict[Pair, Outcome]:
    """Return the pairs that no worker survived as rejected; they are not remembered, and tried again on resume."""
    return {
        pair: Rejected(*pair, done.problem or "", name, tried=batch.tried.get(pair, ()))
        for done in given_up
        for batch in done.task
        for pair in batch.pairs
        if pair not in found
    }


def history(outcome: Outcome | None) -> tuple[tuple[str, str], ...]:
    """Return who was asked about a pair so far, the author of this outcome last if it failed."""
    if outcome is None:
        return ()
    if isinstance(outcome, Rejected):
        return (*outcome.tried, (outcome.matcher, outcome.reason))
    return outcome.tried


def in_batches(layout: Layout, pairs: Sequence[Pair], most: int | None = None) -> list[list[Pair]]:
    """Return the pairs in batches of neighbours; they depend on the pairs, and not on their order."""
    if not pairs:
        return []
    given = sorted(pairs)
    middle = {tile: _middle(layout, tile) for tile in {tile for pair in given for tile in pair}}
    seams = np.array([(middle[one] + middle[two]) / 2 for one, two in given])
    order = np.argsort(along_curve(seams), kind="stable")
    size = most or min(MOST, max(FEWEST, -(-len(given) // 16)))
    return [[given[i] for i in order[start : start + size]] for start in range(0, len(given), size)]


def part_of(layout: Layout, pairs: Sequence[Pair], number: int, parts: int) -> list[Pair]:
    """Return one of several parts of the pairs: each is a patch of the section, they are of one size, together all.

    Parameters
    ----------
    layout : Layout
        With shapes.
    pairs : sequence of (str, str)
        Tile ids (fixed, moving).
    number, parts : int
        Which, from 1, and of how many.
    """
    along = [pair for batch in in_batches(layout, pairs) for pair in batch]
    return along[(number - 1) * len(along) // parts : number * len(along) // parts]


def _middle(layout: Layout, tile_id: str) -> NDArray[np.float64]:
    tile = layout[tile_id]
    return tile.to_world(((tile.shape[1] - 1) / 2, (tile.shape[0] - 1) / 2))


def along_curve(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return where points lie along a Hilbert curve through their bounding square.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
        In any unit.

    Returns
    -------
    ndarray of shape (n,), int64
        Neighbours on the curve are neighbours in the plane (Hilbert 1891, doi:10.1007/BF01199431).
    """
    low = points.min(0)
    side = max(float((points.max(0) - low).max()), 1e-9)
    x, y = np.minimum((points - low) / side * (1 << _CURVE_BITS), (1 << _CURVE_BITS) - 1).astype(np.int64).T
    place = np.zeros(len(points), np.int64)
    for bit in reversed(range(_CURVE_BITS)):
        right, down = (x >> bit) & 1, (y >> bit) & 1
        place = (place << 2) | ((3 * right) ^ down)
        # a quarter's own curve is the whole one, turned over so that its ends meet those beside it
        flip = (down == 0) & (right == 1)
        mask = (1 << bit) - 1
        x, y = np.where(flip, mask - (x & mask), x & mask), np.where(flip, mask - (y & mask), y & mask)
        x, y = np.where(down == 0, y, x), np.where(down == 0, x, y)
    return place
