"""From motions and weights to a `Solution`: the same last step for every solver."""

from __future__ import annotations

import numpy as np

from demis_ij.records import Layout, Solution
from demis_ij.solvers.components import label_components, place_components
from demis_ij.solvers.measurements import Array, PairTable, TileTable, motions_to_world
from demis_ij.solvers.normal_equations import joined, squares
from demis_ij.solvers.uncertainty import Spread, estimate_spread

BELIEVED = 0.05  # final weight below which a pair no longer ties its tiles together


def conclude(
    layout: Layout,
    tiles: TileTable,
    pairs: PairTable,
    motion: Array,
    weight: Array,
    moments: Array,
    model: str,
    strain_weight: float = 0.0,
    *,
    uncertainty: bool = True,
) -> Solution:
    """Return the solution: components of the believed pairs, each in its place, with residuals and uncertainty.

    Parameters
    ----------
    layout, tiles, pairs
        The input.
    motion : ndarray of shape (n, 2, 3)
        Solved motions; the place of each component as a whole does not matter yet.
    weight : ndarray of shape (m,)
        Final robust weights in [0, 1].
    moments : ndarray of shape (m, 6, 6)
        The pairs' moments times what they are worth (inverse variance of a match, robust weight included).
    model : str
        translation, rigid, similarity or affine.
    strain_weight : float
        How stiff the tiles are (`demis_ij.solvers.normal_equations.build_equations`).
    uncertainty : bool
        Whether the spread is computed.
    """
    believed = weight > BELIEVED
    component = label_components(len(tiles), pairs.fixed[believed], pairs.moving[believed])
    placed = place_components(motion, tiles, component, turn=model != "translation")
    residual = np.sqrt(squares(joined(placed, pairs, tiles), pairs.moments) / pairs.count) * tiles.unit_px
    spread = Spread.unknown()
    if uncertainty:
        spread = estimate_spread(tiles, pairs, placed, moments, model, strain_weight, component)
    sigma = dict(zip(layout.ids, (spread.tile * tiles.unit_px).tolist(), strict=True)) if uncertainty else {}
    seam = dict(zip(pairs.keys, (spread.seam * tiles.unit_px).tolist(), strict=True)) if uncertainty else {}
    return Solution(
        layout=layout.moved(motions_to_world(layout, tiles, placed)),
        component=dict(zip(layout.ids, component.tolist(), strict=True)),
        sigma_px=sigma,
        pair_residual_px=dict(zip(pairs.keys, residual.tolist(), strict=True)),
        pair_sigma_px=seam,
        pair_weight=dict(zip(pairs.keys, weight.tolist(), strict=True)),
    )
