"""From motions and weights to columns of results, and from those to a `Solution`: the last step for every solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from demis_ij.records import Layout, PairMatch, Solution
from demis_ij.solvers.components import label_components, place_components
from demis_ij.solvers.measurements import motions_to_world
from demis_ij.solvers.residuals import Worth, squares_of
from demis_ij.solvers.tables import Array, PairTable, Rows, TileTable
from demis_ij.solvers.threads import ALONE, Threads
from demis_ij.solvers.uncertainty import estimate_spread

BELIEVED = 0.05  # final weight below which a pair no longer ties its tiles together


@dataclass(frozen=True, eq=False)
class Solved:
    """What a solve found; pairs in the order in which the caller gave them.

    Attributes
    ----------
    motion : ndarray of shape (n, 2, 3)
        Of each tile about its centre, units of the tile table; `demis_ij.solvers.measurements.moved_places` makes
        places of them.
    component : ndarray of shape (n,)
        Component of the believed pairs that each tile belongs to, 0 the largest.
    sigma_px : ndarray of shape (n,)
        Standard deviation of a tile's centre along an axis within its component, world px; inf for a tile alone;
        empty if it was not asked for.
    weight : ndarray of shape (m,)
        Robust weight of each pair in [0, 1].
    residual_px : ndarray of shape (m,)
        Root mean square distance of each pair's points, world px.
    pair_sigma_px : ndarray of shape (m,)
        Standard deviation, along an axis, of one tile against the other at the seam, world px; empty if it was not
        asked for.
    """

    motion: Array
    component: Rows
    sigma_px: Array
    weight: Array
    residual_px: Array
    pair_sigma_px: Array


def conclude(
    tiles: TileTable,
    pairs: PairTable,
    motion: Array,
    worth: Worth,
    model: str,
    strain_weight: float = 0.0,
    *,
    uncertainty: bool = True,
    threads: Threads = ALONE,
    step_done: Callable[[int, int], None] = lambda done, of: None,
) -> Solved:
    """Return the components of the believed pairs, each in its place, with residuals and uncertainty.

    Parameters
    ----------
    tiles, pairs
        The input.
    motion : ndarray of shape (n, 2, 3)
        Solved motions; the place of each component as a whole does not matter yet.
    worth : Worth
        Final robust weights, and what the pairs are worth with them.
    model : str
        translation, rigid, similarity or affine.
    strain_weight : float
        How stiff the tiles are (`demis_ij.solvers.normal_equations.build_blocks`).
    uncertainty : bool
        Whether the spread is computed.
    threads : Threads
        Who works.
    step_done : callable
        Told (samples done, samples in all) of the spread.
    """
    believed = worth.weight > BELIEVED
    component = label_components(len(tiles), pairs.fixed[believed], pairs.moving[believed])
    placed = place_components(motion, tiles, component, turn=model != "translation")
    residual = np.sqrt(squares_of(placed, pairs, tiles, threads) / pairs.count) * tiles.unit_px
    tile_sigma, seam_sigma = np.zeros(0), np.zeros(0)
    if uncertainty:
        spread = estimate_spread(tiles, pairs, placed, worth, model, strain_weight, component, threads, step_done)
        tile_sigma = spread.tile * tiles.unit_px
        seam_sigma = pairs.in_callers_order(spread.seam * tiles.unit_px)
    back = pairs.in_callers_order
    return Solved(placed, component, tile_sigma, back(worth.weight), back(residual), seam_sigma)


def to_solution(
    layout: Layout, matches: Sequence[PairMatch], tiles: TileTable, pairs: PairTable, solved: Solved
) -> Solution:
    """Return the solved columns as a record; ``matches`` in the order that the pair table was made from."""
    names = [(matches[k].fixed, matches[k].moving) for k in pairs.row]

    def by_pair(column: Array) -> dict[tuple[str, str], float]:
        return dict(zip(names, column[pairs.row].tolist(), strict=True)) if len(column) else {}

    def by_tile(column: Array) -> dict[str, float]:
        return dict(zip(layout.ids, column.tolist(), strict=True)) if len(column) else {}

    return Solution(
        layout=layout.moved(motions_to_world(layout, tiles, solved.motion)),
        component=dict(zip(layout.ids, solved.component.tolist(), strict=True)),
        sigma_px=by_tile(solved.sigma_px),
        pair_residual_px=by_pair(solved.residual_px),
        pair_sigma_px=by_pair(solved.pair_sigma_px),
        pair_weight=by_pair(solved.weight),
    )
