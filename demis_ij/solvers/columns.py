"""The engine: tables of tiles and pairs in, columns out.

places = np.zeros((n, 2, 3))                                   # tile px to world px
tiles = tile_table_of_arrays(places, shape=(4096, 4096))       # `demis_ij.solvers.sums`
pairs = pair_table_of_sums(tiles, places, fixed, moving, sums)
solved = solve_columns(tiles, pairs, SolveSettings(model="rigid"))
new_places = moved_places(places, tiles, solved.motion)        # `demis_ij.solvers.measurements`
"""

from __future__ import annotations

import numpy as np

from demis_ij.solvers.beliefs import form_beliefs
from demis_ij.solvers.outcome import Solved, conclude
from demis_ij.solvers.robust import RobustSolve
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.tables import PairTable, TileTable


def solve_columns(tiles: TileTable, pairs: PairTable, settings: SolveSettings | None = None) -> Solved:
    """Return where every tile goes, and what every pair is worth.

    Parameters
    ----------
    tiles : TileTable
        By `demis_ij.solvers.sums.tile_table_of_arrays`.
    pairs : PairTable
        By `demis_ij.solvers.sums.pair_table_of_sums`.
    settings : SolveSettings, optional
        Model, what the stage is worth.
    """
    how = settings or SolveSettings()
    beliefs = form_beliefs(tiles, pairs, how.tile_model, how.stage_sigma_px, robust=how.robust)
    used = np.zeros(len(tiles), bool)
    used[pairs.fixed] = used[pairs.moving] = True
    rows = np.flatnonzero(used)
    motion = np.tile(np.eye(2, 3), (len(tiles), 1, 1))
    solve = RobustSolve(how, tiles.where(rows), pairs.renumbered(rows), beliefs)
    motion[rows] = solve.run()
    return conclude(tiles, pairs, motion, solve.worth(), how.tile_model, how.strain_weight, uncertainty=how.uncertainty)
