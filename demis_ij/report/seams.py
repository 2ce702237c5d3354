"""A run as rows: one record a seam with everything the page says about it, and the same as a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demis_ij.records import OVERRULED_WEIGHT, Layout, PairMatch, Points, Rejected

if TYPE_CHECKING:
    from demis_ij.stitch import StitchResult


@dataclass(frozen=True, eq=False)
class Seam:
    """A believed pair after the global solve.

    Attributes
    ----------
    match : PairMatch
        The pair and its inliers.
    after_px : float
        Root mean square distance of the inliers in the solved layout.
    stage_px : float
        Median distance of the inliers where the stage put the two tiles.
    offset_px : float
        Length of the mean distance vector in the solved layout: the part of `after_px` that is a shift of one tile
        against the other, without the scatter of the single matches.
    sigma_px : float
        Expected error of the seam; NaN where the solver gave none.
    weight : float
        Final robust weight; 1 where the solver gave none.
    is_bridge : bool
        Whether it is believed and no other path of believed seams joins its two tiles, so that nothing cross-checks it.
    distances_px : ndarray of shape (N,)
        Distance of every inlier in the solved layout.
    fixed_world, moving_world : ndarray of shape (N, 2)
        The inliers in the solved layout, as each tile places them.
    """

    match: PairMatch
    after_px: float
    stage_px: float
    offset_px: float
    sigma_px: float
    weight: float
    is_bridge: bool
    fixed_world: Points
    moving_world: Points

    @cached_property
    def distances_px(self) -> Points:
        """Distance of every inlier in the solved layout, (N,)."""
        return np.asarray(np.linalg.norm(self.fixed_world - self.moving_world, axis=1))

    @property
    def key(self) -> tuple[str, str]:
        """(fixed, moving)."""
        return self.match.fixed, self.match.moving

    @property
    def is_overruled(self) -> bool:
        """Whether the solver did not believe the pair in the end."""
        return self.weight <= OVERRULED_WEIGHT


def seams_of(result: StitchResult) -> list[Seam]:
    """Return the believed pairs of a run, the largest residual first."""
    matches = [p for p in result.pairs if isinstance(p, PairMatch)]
    weight = result.solution.pair_weight
    keys = [(m.fixed, m.moving) for m in matches]
    alone = bridges(k for k in keys if weight.get(k, 1.0) > OVERRULED_WEIGHT)  # an overruled seam checks nothing
    seams = [_seam(result, m, is_bridge=(m.fixed, m.moving) in alone) for m in matches]
    return sorted(seams, key=lambda s: -s.after_px if math.isfinite(s.after_px) else -math.inf)


def _seam(result: StitchResult, match: PairMatch, *, is_bridge: bool) -> Seam:
    key, solution = (match.fixed, match.moving), result.solution
    fixed, moving = _in_world(solution.layout, match)
    stage_fixed, stage_moving = _in_world(result.layout, match)
    offset = (fixed - moving).mean(0) if len(fixed) else np.full(2, np.nan)
    stage = np.linalg.norm(stage_fixed - stage_moving, axis=1)
    return Seam(
        match,
        after_px=float(solution.pair_residual_px.get(key, math.nan)),
        stage_px=float(np.median(stage)) if len(stage) else math.nan,
        offset_px=float(np.hypot(*offset)),
        sigma_px=float(solution.pair_sigma_px.get(key, math.nan)),
        weight=float(solution.pair_weight.get(key, 1.0)),
        is_bridge=is_bridge,
        fixed_world=fixed,
        moving_world=moving,
    )


def _in_world(layout: Layout, match: PairMatch) -> tuple[Points, Points]:
    return layout[match.fixed].in_world(match.fixed_xy), layout[match.moving].in_world(match.moving_xy)


def rejected_of(result: StitchResult) -> list[Rejected]:
    """Return the pairs that were not believed, in the order they were tried."""
    return [p for p in result.pairs if isinstance(p, Rejected)]


def stage_tiles(result: StitchResult) -> list[str]:
    """Return the ids of the tiles that no seam holds."""
    return [t.id for t in result.layout if result.placed_by.get(t.id, "stage") == "stage"]


def bridges(edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the edges whose loss would cut their component in two (Tarjan 1974, doi:10.1016/0020-0190(74)90003-9).

    Examples
    --------
    >>> bridges([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])
    {('c', 'd')}
    """
    listed = list(edges)
    around: dict[str, list[tuple[str, int]]] = {}
    for i, (p, q) in enumerate(listed):
        around.setdefault(p, []).append((q, i))
        around.setdefault(q, []).append((p, i))
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    found: set[tuple[str, str]] = set()
    for root in around:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack: list[tuple[str, int, Iterator[tuple[str, int]]]] = [(root, -1, iter(around[root]))]
        while stack:
            node, came_by, rest = stack[-1]
            for other, edge in rest:
                if edge == came_by:
                    continue
                if other in order:
                    low[node] = min(low[node], order[other])
                else:
                    order[other] = low[other] = len(order)
                    stack.append((other, edge, iter(around[other])))
                    break
            else:
                stack.pop()
                if stack:
                    parent = stack[-1][0]
                    low[parent] = min(low[parent], low[node])
                    if low[node] > order[parent]:
                        found.add(listed[came_by])
    return found


# --- for programs ---------------------------------------------------------------------------------------------------

COLUMNS = (
    "fixed",
    "moving",
    "accepted",
    "matcher",
    "matches",
    "inliers",
    "stage_error_px",
    "pair_residual_px",
    "residual_px",
    "offset_px",
    "sigma_px",
    "weight",
    "only_link",
    "component",
    "reason",
    "tried",
)


def write_csv(path: Path, result: StitchResult) -> None:
    """Write one line a pair, believed or not, as a UTF-8 CSV file with a header line (RFC 4180), all or nothing.

    Parameters
    ----------
    path : Path
        The file. An existing one is replaced when the new one is whole.
    result : StitchResult
        One section. Numbers have their full precision; what is not known is empty.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
            out = csv.writer(file)
            out.writerow(COLUMNS)
            out.writerows(_csv_seam(result, s) for s in seams_of(result))
            out.writerows(_csv_rejected(result, r) for r in rejected_of(result))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _csv_seam(result: StitchResult, s: Seam) -> list[str]:
    m = s.match
    numbers = (s.stage_px, m.residual_px, s.after_px, s.offset_px, s.sigma_px, s.weight)
    values = ["" if not math.isfinite(v) else repr(float(v)) for v in numbers]
    component = str(result.solution.component.get(m.fixed, ""))
    link = "1" if s.is_bridge else "0"
    return [m.fixed, m.moving, "1", m.matcher, str(m.matches), str(m.inliers), *values, link, component, "", _tried(m)]


def _csv_rejected(result: StitchResult, r: Rejected) -> list[str]:
    nothing = [""] * 8
    return [r.fixed, r.moving, "0", r.matcher, str(r.matches), str(r.inliers), *nothing, r.reason, _tried(r)]


def _tried(pair: PairMatch | Rejected) -> str:
    return "; ".join(f"{name}: {why}" for name, why in pair.tried)
