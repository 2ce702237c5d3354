"""How well layouts of the same tiles fit at their seams, measured for all of them in the same way.

Two measures. *Witnesses*: the points that agreed in any of the runs; a layout is asked how far apart it puts them. A
run was fitted to its own points, so every matcher's points count the same at a seam, whose ever layout is asked.
*Likeness*: the correlation of the two tiles' greys where the layout lays one over the other, which needs no points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demis_ij.errors import InputError
from demis_ij.geometry import Box, Crop
from demis_ij.images import TileStore
from demis_ij.matchers.refine import half_way
from demis_ij.pairs import expected_to_fixed, overlap_crops, view
from demis_ij.records import Affine, Layout, PairMatch
from demis_ij.stitch import StitchResult

Pair = tuple[str, str]

WINDOW_PX = 1024
"""Of an overlap, so much of the middle is compared by its greys."""
SMOOTH_SIGMA_PX = 1.0
LEAST_PX = 256


@dataclass(frozen=True)
class SeamFit:
    """How well one layout fits.

    Attributes
    ----------
    seams : int
        Pairs with points that agree in any run.
    median_px, max_px : float
        Of the seams: how far apart the layout puts those points. NaN without any seam.
    likeness : float
        Median correlation of the greys over the seams, at most 1. NaN when no overlap can be compared.
    """

    seams: int
    median_px: float
    max_px: float
    likeness: float


def witnesses(results: Iterable[StitchResult]) -> dict[Pair, list[PairMatch]]:
    """Return, for each pair of tiles, what the runs that believed it found there."""
    found: dict[Pair, list[PairMatch]] = {}
    for r in results:
        for p in r.pairs:
            if isinstance(p, PairMatch) and r.solution.believes(p.fixed, p.moving):
                there = (p.moving, p.fixed) if (p.moving, p.fixed) in found else (p.fixed, p.moving)
                found.setdefault(there, []).append(p)
    return found


def seam_fit(layout: Layout, seen: Mapping[Pair, Sequence[PairMatch]], store: TileStore) -> SeamFit:
    """Return how well a layout fits at the seams that have witnesses.

    Parameters
    ----------
    layout : Layout
        Pairs with a tile that it lacks are left out.
    seen : mapping
        From `witnesses`.
    store : TileStore
        The images; pairs with one that cannot be read have no likeness.
    """
    pairs = [p for p in seen if p[0] in layout and p[1] in layout]
    apart = [float(np.mean([apart_px(layout, match) for match in seen[p]])) for p in pairs]
    alike = [v for p in pairs if (v := likeness(layout, p, store)) is not None]
    return SeamFit(
        len(pairs),
        float(np.median(apart)) if apart else float("nan"),
        max(apart, default=float("nan")),
        float(np.median(alike)) if alike else float("nan"),
    )


def apart_px(layout: Layout, match: PairMatch) -> float:
    """Return the root mean square distance at which a layout puts the points of a pair that belong together."""
    off = layout[match.fixed].in_world(match.fixed_xy) - layout[match.moving].in_world(match.moving_xy)
    return float(np.sqrt((off**2).sum(1).mean()))


def likeness(layout: Layout, pair: Pair, store: TileStore) -> float | None:
    """Return the correlation of two tiles' greys in the middle of their overlap, None when there is nothing to compare.

    Both are resampled by half of the way, so that neither is the smoother one, and low-passed by 1 px.
    """
    fixed, moving = layout[pair[0]], layout[pair[1]]
    crops = overlap_crops(fixed, moving, 0.0)
    if crops is None:
        return None
    one, two = (_middle(crop) for crop in crops)
    try:
        views = view(store, fixed, one), view(store, moving, two)
    except InputError:
        return None  # named where tiles are read
    into_fixed = Affine.translation(-one.box.x0, -one.box.y0)
    to_fixed = into_fixed @ expected_to_fixed(fixed, moving) @ Affine.translation(two.box.x0, two.box.y0)
    both = half_way(*views, to_fixed, SMOOTH_SIGMA_PX)
    if both is None or both.valid.sum() < LEAST_PX:
        return None
    a, b = both.fixed[both.valid].astype(np.float64), both.moving[both.valid].astype(np.float64)
    if a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _middle(crop: Crop) -> Crop:
    """Return at most `WINDOW_PX` a side from the middle of a crop."""
    box = crop.box
    left, top = box.x0 + max(0, box.width - WINDOW_PX) // 2, box.y0 + max(0, box.height - WINDOW_PX) // 2
    return Crop(Box(left, top, left + WINDOW_PX, top + WINDOW_PX) & box)
