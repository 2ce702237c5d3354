"""How far two layouts of the same tiles are apart: against the truth, or one matcher against another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from demis_ij.metrics import corner_error_px, global_error_px
from demis_ij.records import Layout, PairMatch, Points
from demis_ij.report.verdict import parts_of

if TYPE_CHECKING:
    from demis_ij.stitch import StitchResult


def tile_errors(result: StitchResult, truth: Layout) -> dict[str, Points]:
    """Return the errors (4,) in px of the corners of every tile that hangs together with another.

    Each component is laid onto the truth by itself: where a mosaic lies as a whole, and how it is turned, is the
    frame's choice and no error, and what lies between components is the stage's. Tiles without truth are left out.
    """
    out: dict[str, Points] = {}
    for part in parts_of(result):
        out.update(_corner_distances(result.solution.layout, truth, [i for i in part if i in truth]))
    return out


def _corner_distances(found: Layout, wanted: Layout, ids: Sequence[str]) -> dict[str, Points]:
    if len(ids) < 2:
        return {}
    return global_error_px(replace(found, tiles=tuple(found[i] for i in ids)), wanted)


def pair_errors(result: StitchResult, truth: Layout) -> dict[tuple[str, str], Points]:
    """Return the corner errors (4,) in px of every believed pair before the global solve, the measure of DEMIS."""
    return {
        (p.fixed, p.moving): corner_error_px(p.to_fixed, truth, p.fixed, p.moving)
        for p in result.pairs
        if isinstance(p, PairMatch) and p.fixed in truth and p.moving in truth
    }


def disagreement(one: StitchResult, other: StitchResult) -> Points:
    """Return the distances (N,) in px of the corners that lie in the largest component of both runs.

    Empty when the runs are of different sections or share fewer than two such tiles.
    """
    parts = parts_of(one)[:1], parts_of(other)[:1]
    if one.layout.section != other.layout.section or not all(parts):
        return np.empty(0)
    theirs = set(parts[1][0])
    ids = [i for i in parts[0][0] if i in theirs]
    return pooled(_corner_distances(one.solution.layout, other.solution.layout, ids).values())


def pooled(errors: Iterable[Points]) -> Points:
    """Return the corners of many tiles or pairs as one array (N,)."""
    listed = list(errors)
    return np.concatenate(listed) if listed else np.empty(0)
