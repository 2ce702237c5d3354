"""The engine: tables of tiles and pairs in, columns out.

places = np.zeros((n, 2, 3))                                   # tile px to world px
tiles = tile_table_of_arrays(places, shape=(4096, 4096))       # `demis_ij.solvers.sums`
pairs = pair_table_of_sums(tiles, places, fixed, moving, sums)
solved = solve_columns(tiles, pairs, SolveSettings(model="rigid"))
new_places = moved_places(places, tiles, solved.motion)        # `demis_ij.solvers.measurements`
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from demis_ij.solvers.outcome import Solved, conclude
from demis_ij.solvers.robust import robust_solution
from demis_ij.solvers.sections import composed, restage
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.tables import PairTable, TileTable
from demis_ij.solvers.threads import Threads

FEWEST_FOR_THREADS = 5_000  # tiles

Progress = Callable[[str, int, int], None]
"""Told (what is done: "steps" or "spread", how much, of how much): the number of steps is a guess until they end."""


def say_nothing(what: str, done: int, of: int) -> None:
    """Take a word of progress, and keep it to itself."""


def solve_columns(
    tiles: TileTable,
    pairs: PairTable,
    settings: SolveSettings | None = None,
    *,
    workers: int = 0,
    progress: Progress = say_nothing,
) -> Solved:
    """Return where every tile goes, and what every pair is worth.

    Parameters
    ----------
    tiles : TileTable
        By `demis_ij.solvers.sums.tile_table_of_arrays`; of one section or of a whole volume.
    pairs : PairTable
        By `demis_ij.solvers.sums.pair_table_of_sums`. Noise and misfit of pairs within and across sections are learnt
        apart, and sections that the stage has shifted or turned as a whole are put on each other first.
    settings : SolveSettings, optional
        Model, what the stage is worth.
    workers : int
        Threads; 0 for one a core. What comes out does not depend on it.
    progress : callable
        Told after every step. What it raises ends the solve.

    Raises
    ------
    SolveError
        When the solve diverges.
    """
    how = settings or SolveSettings()
    motion = np.tile(np.eye(2, 3), (len(tiles), 1, 1))
    with Threads(workers if len(tiles) > FEWEST_FOR_THREADS else 1) as threads:
        there, moved, start = restage(tiles, pairs, turn=how.tile_model != "translation")
        used = np.zeros(len(tiles), bool)
        used[pairs.fixed] = used[pairs.moving] = True
        rows = np.flatnonzero(used)
        motion[rows], worth = robust_solution(
            there.where(rows), moved.renumbered(rows), how, threads, lambda done, of: progress("steps", done, of)
        )
        del moved
        return conclude(
            tiles,
            pairs,
            composed(motion, start),
            worth,
            how.tile_model,
            how.strain_weight,
            uncertainty=how.uncertainty,
            threads=threads,
            step_done=lambda done, of: progress("spread", done, of),
        )
