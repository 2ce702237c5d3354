"""How far two layouts of the same tiles are apart: against the truth, or one matcher against another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from demis_ij.geometry import apply, fit_rigid
from demis_ij.records import Layout, PairMatch, Points
from demis_ij.report.verdict import parts_of

if TYPE_CHECKING:
    from demis_ij.stitch import StitchResult


def corner_distances(found: Layout, wanted: Layout, ids: list[str]) -> Points:
    """Return (N,) mean distances in px of the four corners of every tile, after the best common turn and shift.

    Where a mosaic lies as a whole, and how it is turned, is the frame's choice and no error. ``ids`` must be in both.
    """
    here = np.concatenate([found[i].world_corners for i in ids])
    there = np.concatenate([wanted[i].world_corners for i in ids])
    distances = np.linalg.norm(apply(fit_rigid(here, there), here) - there, axis=1)
    return np.asarray(distances.reshape(-1, 4).mean(1))


def tile_errors(result: StitchResult, truth: Layout) -> dict[str, float]:
    """Return the corner error in px of every tile that hangs together with another, each component by itself."""
    out: dict[str, float] = {}
    for part in parts_of(result):
        ids = [i for i in part if i in truth and all(truth[i].shape)]
        if len(ids) > 1:
            out.update(zip(ids, map(float, corner_distances(result.solution.layout, truth, ids)), strict=True))
    return out


def pair_errors(result: StitchResult, truth: Layout) -> dict[tuple[str, str], float]:
    """Return the corner error in px of every believed pair before the global solve.

    Mean distance of the moving tile's corners between where the pair and where the truth puts them in the fixed tile
    (the measure of DEMIS).
    """
    out = {}
    for pair in result.pairs:
        if isinstance(pair, PairMatch) and pair.fixed in truth and pair.moving in truth:
            moving = truth[pair.moving]
            wanted = (truth[pair.fixed].to_world.inverse @ moving.to_world)(moving.corners)
            found = apply(pair.to_fixed, moving.corners)
            out[pair.fixed, pair.moving] = float(np.linalg.norm(found - wanted, axis=1).mean())
    return out


def disagreement(one: StitchResult, other: StitchResult) -> Points:
    """Return (N,) corner distances in px of the tiles that lie in the largest component of both runs; maybe empty."""
    parts = parts_of(one)[:1], parts_of(other)[:1]
    if not all(parts):
        return np.empty(0)
    theirs = set(parts[1][0])
    ids = [i for i in parts[0][0] if i in theirs]
    if len(ids) < 2:
        return np.empty(0)
    return corner_distances(one.solution.layout, other.solution.layout, ids)
