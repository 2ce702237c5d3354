"""Scores to one row a configuration and scene, with 95 % intervals by the bootstrap.

A row holds plain numbers; NaN is what is not known, for instance the corner error of weak pairs when there are none.
Failed pairs count: their corner errors are infinite, their coverage is 0. What accepted pairs alone can have
(reprojection of inliers, pictures) is averaged over the textured pairs that have it; ``pictures`` says how many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from demis_ij.evaluate.scores import AUC_PX, GridScore, PairScore
from demis_ij.metrics import error_auc

Number = float
S = TypeVar("S")
P = TypeVar("P", PairScore, GridScore)
RESAMPLES = 500
"""Bootstrap samples; the ends of a 95 % interval then wobble by about a tenth of its width."""
ALL = "all scenes"
"""Name of the rows that pool several scenes."""


@dataclass(frozen=True)
class Row:
    """One configuration on one scene.

    Attributes
    ----------
    scene, configuration : str
    values : mapping of str to float
        Name of the figure to its value.
    intervals : mapping of str to (float, float)
        Ends of the 95 % interval of some figures, from resampling pairs (percentile bootstrap, Efron 1979,
        doi:10.1214/aos/1176344552). Pairs of a grid share tiles, so the true ones are a little wider.
    """

    scene: str
    configuration: str
    values: Mapping[str, Number]
    intervals: Mapping[str, tuple[Number, Number]] = field(default_factory=dict)


def pair_rows(scores: Sequence[PairScore], *, resamples: int = RESAMPLES) -> list[Row]:
    """Return a row for each scene and configuration, and for all scenes together when there are several."""
    return [_pair_row(*key, some, resamples) for key, some in _groups(scores).items()]


def grid_rows(scores: Sequence[GridScore], *, resamples: int = RESAMPLES) -> list[Row]:
    """Return a row for each scene and configuration, and for all scenes together when there are several."""
    return [_grid_row(*key, some, resamples) for key, some in _groups(scores).items()]


def _groups(scores: Sequence[P]) -> dict[tuple[str, str], list[P]]:
    several = len({s.scene for s in scores}) > 1
    out: dict[tuple[str, str], list[P]] = {}
    for s in scores:
        out.setdefault((s.scene, s.configuration), []).append(s)
    if several:
        for s in scores:
            out.setdefault((ALL, s.configuration), []).append(s)
    return out


def _mean(values: Sequence[float | None], weights: Sequence[float] | None = None) -> float:
    """Return the mean of what is known, NaN when nothing is."""
    held = [(v, 1.0 if weights is None else weights[i]) for i, v in enumerate(values) if v is not None]
    total = sum(w for _, w in held)
    return sum(v * w for v, w in held) / total if total else math.nan


def _median(values: NDArray[np.float64]) -> float:
    if not values.size:
        return math.nan
    ordered = np.sort(values.ravel())  # of an even number the upper middle: a mean with infinity says nothing
    return float(ordered[len(ordered) // 2])


# --- pairs ----------------------------------------------------------------------------------------------------------


def _pair_row(scene: str, configuration: str, scores: Sequence[PairScore], resamples: int) -> Row:
    textured, weak = ([s for s in scores if s.kind == kind] for kind in ("textured", "weak"))
    accepted = [s for s in scores if s.accepted]
    values: dict[str, Number] = {
        "pairs": len(scores),
        "cpu_s": _mean([s.cpu_s for s in scores]),
        "wall_s": _mean([s.wall_s for s in scores]),
        "matches": _mean([s.matches for s in textured]),
        "outliers": _mean([s.outliers for s in textured]),
        "inliers": _mean([s.inliers for s in textured]),
        "reprojection_all_px": _mean([s.reprojection_all_px for s in textured], [s.matches for s in textured]),
        "reprojection_inliers_px": _mean([s.reprojection_inliers_px for s in textured], [s.inliers for s in textured]),
        "textured_pairs": len(textured),
        "textured_failed": sum(s.failed for s in textured),
        "weak_pairs": len(weak),
        "weak_failed": sum(s.failed for s in weak),
        "wrong": sum(s.wrong for s in accepted),
    }
    values |= _pair_figures(textured, np.arange(len(textured)))
    values |= {f"weak_{k}": v for k, v in _pair_figures(weak, np.arange(len(weak))).items()}
    values |= {f"all_{k}": v for k, v in _pair_figures(scores, np.arange(len(scores))).items()}
    values |= _measured(textured)  # of weak ones, who solves more would be charged for it
    ranges = _intervals(_pair_figures, textured, resamples)
    ranges |= {f"weak_{k}": ends for k, ends in _intervals(_pair_figures, weak, resamples).items()}
    return Row(scene, configuration, values, ranges)


def _pair_figures(scores: Sequence[PairScore], pick: NDArray[np.intp]) -> dict[str, float]:
    """Return the figures that get an interval, of some pairs."""
    some = [scores[i] for i in pick]
    corners = np.array([s.corners_px for s in some], np.float64).reshape(-1, 4)
    out = {"corner_median_px": _median(corners)}
    out |= _areas(corners.ravel())
    out["coverage"] = _mean([s.coverage for s in some])
    out["failure_rate"] = _mean([float(s.failed) for s in some])
    return out


def _areas(errors_px: NDArray[np.float64]) -> dict[str, float]:
    return {f"auc_{t:g}px": float(a) for t, a in zip(AUC_PX, error_auc(errors_px, AUC_PX), strict=True)}


def _measured(scores: Sequence[PairScore] | Sequence[GridScore]) -> dict[str, float]:
    """Return the means of the picture measures, and how many pictures there were."""
    having = [s.measures for s in scores if s.measures]
    names = list(dict.fromkeys(name for m in having for name in m))
    return {"pictures": float(len(having))} | {name: _mean([m.get(name) for m in having]) for name in names}


# --- grids ----------------------------------------------------------------------------------------------------------


def _grid_row(scene: str, configuration: str, scores: Sequence[GridScore], resamples: int) -> Row:
    tiles = sum(s.tiles for s in scores)
    errors = np.concatenate([np.array(s.textured_px + s.other_px) for s in scores])
    textured = np.concatenate([np.array(s.textured_px) for s in scores])
    pairs = [p for s in scores for p in s.pair_corner_px]
    values: dict[str, Number] = {
        "grids": len(scores),
        "failed_grids": sum(bool(s.problem) for s in scores),
        "tiles": tiles,
        "by_stage": sum(s.by_stage for s in scores),
        "islands": sum(max(0, s.components - 1) for s in scores),
        "cpu_s_per_tile": sum(s.cpu_s for s in scores) / max(1, tiles),
        "wall_s_per_tile": sum(s.wall_s for s in scores) / max(1, tiles),
        "global_median_px": _quantile(errors, 0.5),
        "global_90_px": _quantile(errors, 0.9),
        "global_max_px": _quantile(errors, 1),
        "textured_global_median_px": _quantile(textured, 0.5),
        "textured_global_90_px": _quantile(textured, 0.9),
        "textured_global_max_px": _quantile(textured, 1),
        "textured_pairs": sum(s.textured_pairs for s in scores),
        "textured_failed": sum(s.textured_failed for s in scores),
        "weak_pairs": sum(s.weak_pairs for s in scores),
        "weak_failed": sum(s.weak_failed for s in scores),
    }
    values |= _neighbour_figures(pairs, np.arange(len(pairs)))
    values |= _measured(scores)
    return Row(scene, configuration, values, _intervals(_neighbour_figures, pairs, resamples))


def _quantile(values: NDArray[np.float64], share: float) -> float:
    return float(np.quantile(values, share)) if values.size else math.nan


def _neighbour_figures(pairs: Sequence[tuple[float, ...]], pick: NDArray[np.intp]) -> dict[str, float]:
    corners = np.array([pairs[i] for i in pick], np.float64).reshape(-1, 4)
    return {"corner_median_px": _median(corners)} | _areas(corners.ravel())


# --- intervals ------------------------------------------------------------------------------------------------------


def _intervals(
    figures: Callable[[Sequence[S], NDArray[np.intp]], dict[str, float]], scores: Sequence[S], resamples: int
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of some figures; none of fewer than five scores, which say nothing about more."""
    if len(scores) < 5 or resamples < 1:
        return {}
    rng = np.random.default_rng(20120814)
    drawn = [figures(scores, rng.integers(0, len(scores), len(scores))) for _ in range(resamples)]
    out = {}
    for name in drawn[0]:
        column = np.sort([d[name] for d in drawn])
        low, high = column[int(0.025 * (len(column) - 1))], column[math.ceil(0.975 * (len(column) - 1))]
        out[name] = (float(low), float(high))
    return out


# --- differences ----------------------------------------------------------------------------------------------------


def pair_differences(scores: Sequence[PairScore], *, resamples: int = RESAMPLES) -> list[Row]:
    """Return how every other configuration differs from the first on the same textured pairs, all scenes pooled.

    Both are resampled together, pair by pair, so that what makes a pair hard for both does not widen the interval: a
    difference is real when its interval does not hold 0. A median that is infinite on either side has no difference.
    """
    by_name: dict[str, dict[tuple[str, str, str], PairScore]] = {}
    for s in scores:
        if s.kind == "textured":
            by_name.setdefault(s.configuration, {})[(s.scene, *s.pair)] = s
    names = list(by_name)
    rows = []
    for name in names[1:]:
        shared = [key for key in by_name[names[0]] if key in by_name[name]]
        both = [(by_name[names[0]][key], by_name[name][key]) for key in shared]
        if both:
            values = _difference(both, np.arange(len(both)))
            rows.append(Row(f"less {names[0]}", name, values, _intervals(_difference, both, resamples)))
    return rows


def _difference(both: Sequence[tuple[PairScore, PairScore]], pick: NDArray[np.intp]) -> dict[str, float]:
    first, second = (_pair_figures([pair[k] for pair in both], pick) for k in (0, 1))
    with np.errstate(invalid="ignore"):
        return {k: float(np.subtract(second[k], first[k])) for k in first}
