"""What a stage calls right and down: the eight ways to flip and swap its axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.pairs import match_pairs, neighbours
from demis_ij.records import Affine, Layout, PairMatch, Points, Tile
from demis_ij.stitch.parts import make_matcher
from demis_ij.stitch.results import Pair, Progress

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
