"""One section of tiles that arrive: who is there, which seams that makes, what became of them, how they fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij.config import StitchConfig
from demis_ij.display.colours import grade
from demis_ij.pairs import neighbours
from demis_ij.records import Layout, PairMatch, Rejected, Tile
from demis_ij.report.live import BY_STAGE, FAILED_SEAM, MATCHED, OPEN_SEAM, PROBLEM, THERE, WAITING, LivePlan
from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.outcome import BELIEVED
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.sums import pair_table_of_sums, sums_of_points, tile_table_of_arrays
from demis_ij.stitch import Outcome, Pair

Slots = tuple[int, int]


@dataclass(slots=True)
class SeamNow:
    """What is known of a seam.

    Attributes
    ----------
    pair : (str, str)
        Fixed and moving tile.
    matcher, reason : str
        Who found it or was asked last; why it failed, empty when it did not.
    sums : ndarray of shape (15,) or None
        Of its points, for the solver.
    residual_px : float
        Of the pair alone; NaN when it failed.
    is_beside : bool
        Whether its tiles lie beside each other where the stage puts them; else above each other.
    error_px : float
        In the last solve; NaN before.
    is_believed : bool
        Whether the last solve gave it weight.
    is_told : bool
        Whether it was said that its error is large.
    """

    pair: Pair
    matcher: str
    reason: str
    sums: NDArray[np.float64] | None
    residual_px: float
    is_beside: bool
    error_px: float = float("nan")
    is_believed: bool = True
    is_told: bool = False


class WatchedSection:
    """Tiles of one section in slots, those that are there, and their seams.

    Parameters
    ----------
    name : str
    tiles : dict of int to Tile
        By slot: every tile that is expected, where the stage will put it.
    config : StitchConfig
    """

    def __init__(self, name: str, tiles: dict[int, Tile], config: StitchConfig) -> None:
        self.name, self.config = name, config
        self._numbers = {slot: number for number, slot in enumerate(tiles)}
        self._tiles = list(tiles.values())
        self._slots = list(tiles)
        self.ready: dict[int, Tile] = {}
        self.problems: dict[int, str] = {}
        self.seams: dict[Slots, SeamNow] = {}
        self.queue: deque[Slots] = deque()
        self._order: dict[int, object] = {}
        boxes = [_box(tile) for tile in self._tiles]
        self._boxes = np.array(boxes).reshape(-1, 4)
        self.expected = self._expected()

    def _expected(self) -> NDArray[np.int64]:
        """Return the seams that there will be, (M, 2) numbers of tiles."""
        named = Layout(tuple(replace(t, id=str(n)) for n, t in enumerate(self._tiles)), self.name)
        pairs = neighbours(named)
        return np.array([[int(a), int(b)] for a, b in pairs], np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._tiles)

    # --- tiles ------------------------------------------------------------------------------------------------------

    def planned(self, slot: int) -> Tile:
        """Return a tile as it is expected."""
        return self._tiles[self._numbers[slot]]

    def arrive(self, slot: int, tile: Tile, order: object) -> None:
        """Take a tile in, and put its seams with those that are there at the end of the queue."""
        self.ready[slot], self._order[slot] = tile, order
        self.problems.pop(slot, None)
        number = self._numbers[slot]
        self._boxes[number] = _box(tile)
        near = sorted((s for s in self._near(number) if s in self.ready), key=lambda s: self._order[s])  # type: ignore[arg-type,return-value]
        by_id = {self.ready[s].id: s for s in near}
        layout = Layout(tuple(self.ready[s] for s in near), self.name)
        for fixed, moving in neighbours(layout):
            slots = by_id[fixed], by_id[moving]
            if slot in slots and slots not in self.seams:
                self.queue.append(slots)

    def _near(self, number: int) -> list[int]:
        """Return the slots whose tiles touch one, and its own."""
        x0, y0, x1, y1 = self._boxes[number]
        b = self._boxes
        touching = (b[:, 0] <= x1) & (b[:, 2] >= x0) & (b[:, 1] <= y1) & (b[:, 3] >= y0)
        return [self._slots[n] for n in np.flatnonzero(touching)]

    def leave(self, slot: int) -> list[Pair]:
        """Take a tile out; return the pairs that it was part of."""
        self.ready.pop(slot, None)
        gone = [slots for slots in self.seams if slot in slots]
        pairs = [self.seams.pop(slots).pair for slots in gone]
        self.queue = deque(slots for slots in self.queue if slot not in slots)
        return pairs

    def spoil(self, slot: int, problem: str) -> None:
        """Remember that a tile cannot be used."""
        self.problems[slot] = problem

    # --- seams ------------------------------------------------------------------------------------------------------

    def next_pairs(self, most: int) -> tuple[Layout, list[Pair]]:
        """Return the next seams in the queue, which stay there, and the tiles that they need."""
        some = [self.queue[n] for n in range(min(most, len(self.queue)))]
        slots = sorted({s for pair in some for s in pair}, key=lambda s: self._order[s])  # type: ignore[arg-type,return-value]
        layout = Layout(tuple(self.ready[s] for s in slots), self.name)
        return layout, [(self.ready[a].id, self.ready[b].id) for a, b in some]

    def take(self, outcomes: Iterable[Outcome]) -> Iterator[SeamNow]:
        """Take the outcomes of the next seams in the queue, in its order, and yield what is known of each."""
        for outcome in outcomes:
            slots = self.queue.popleft()
            seam = self.seams[slots] = _seam(outcome, self.ready[slots[0]], self.ready[slots[1]])
            yield seam

    def solve(self) -> bool:
        """Find where the tiles lie that are there, and what error each seam has; return whether there was any seam."""
        agreed = [(slots, seam) for slots, seam in self.seams.items() if seam.sums is not None]
        if not agreed:
            return False
        slots = list(self.ready)
        number = {slot: n for n, slot in enumerate(slots)}
        tiles = [self.ready[slot] for slot in slots]
        places = np.array([tile.to_world.rows for tile in tiles])
        shapes = np.array([tile.shape for tile in tiles])
        table = tile_table_of_arrays(places, shapes, np.array([tile.locked for tile in tiles]))
        ends = np.array([[number[a], number[b]] for (a, b), _ in agreed])
        sums = np.array([seam.sums for _, seam in agreed])
        pairs = pair_table_of_sums(table, places, ends[:, 0], ends[:, 1], sums)
        sigma = max(self.config.stage_error_frac * float(shapes.max()) / 2, 1.0)
        how = SolveSettings(model=self.config.model, stage_sigma_px=sigma, uncertainty=False)
        solved = solve_columns(table, pairs, how)
        for (_, seam), error, weight in zip(agreed, solved.residual_px, solved.weight, strict=True):
            seam.error_px, seam.is_believed = float(error), bool(weight > BELIEVED)
        return True

    # --- to look at -------------------------------------------------------------------------------------------------

    def plan(self, shift: tuple[float, float] = (0.0, 0.0)) -> LivePlan:
        """Return tiles and seams as the live page shows them, moved by ``shift``."""
        tiles = np.full(len(self), WAITING)
        tiles[[self._numbers[slot] for slot in self.ready]] = THERE
        held: set[int] = set()
        failed: set[int] = set()
        states = {}
        for (a, b), seam in self.seams.items():
            bad = seam.sums is None
            (failed if bad else held).update((a, b))
            error = seam.error_px if np.isfinite(seam.error_px) else seam.residual_px
            states[frozenset((self._numbers[a], self._numbers[b]))] = FAILED_SEAM if bad else grade(error)
        open_ones = {s for slots in self.queue for s in slots}
        tiles[[self._numbers[s] for s in failed - held - open_ones if s in self.ready]] = BY_STAGE
        tiles[[self._numbers[s] for s in held if s in self.ready]] = MATCHED
        tiles[[self._numbers[s] for s in self.problems]] = PROBLEM
        seams = np.array([states.get(frozenset((int(a), int(b))), OPEN_SEAM) for a, b in self.expected], np.int64)
        return LivePlan(self._boxes + np.array([*shift, *shift]), tiles, self.expected, seams)


def _seam(outcome: Outcome, fixed: Tile, moving: Tile) -> SeamNow:
    pair = outcome.fixed, outcome.moving
    x, y = np.abs(fixed.world_corners.mean(0) - moving.world_corners.mean(0))
    if isinstance(outcome, Rejected):
        return SeamNow(pair, outcome.matcher, outcome.reason, None, float("nan"), bool(x >= y))
    match: PairMatch = outcome
    seen = fixed.straight(match.fixed_xy), moving.straight(match.moving_xy)
    sums = sums_of_points(*seen, fixed.shape, moving.shape)
    return SeamNow(pair, match.matcher, "", sums, float(match.residual_px), bool(x >= y))


def _box(tile: Tile) -> tuple[float, float, float, float]:
    corners = tile.world_corners
    low, high = corners.min(0), corners.max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def paths_of(section: WatchedSection) -> dict[Path, int]:
    """Return the slots of the tiles that are there, by their files."""
    return {tile.path: slot for slot, tile in section.ready.items()}


__all__ = ["SeamNow", "WatchedSection", "paths_of"]
