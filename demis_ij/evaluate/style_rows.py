"""Scores of registrations between light and electrons to rows: how many of each tier, by kind and in all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from demis_ij.evaluate.scores import StyleScore
from demis_ij.evaluate.summary import ALL, Row
from demis_ij.metrics.tiers import TIERS


def style_rows(scores: Sequence[StyleScore]) -> list[Row]:
    """Return a row for each kind and method, and, of several kinds, for all together."""
    methods = list(dict.fromkeys(s.configuration for s in scores))
    kinds = list(dict.fromkeys(s.scene for s in scores))
    out = []
    for scene in (*kinds, ALL) if len(kinds) > 1 else kinds:
        for method in methods:
            some = [s for s in scores if s.configuration == method and scene in (s.scene, ALL)]
            if some:
                out.append(Row(scene, method, _values(some)))
    return out


def _values(scores: Sequence[StyleScore]) -> dict[str, float]:
    """Return the figures of some scores; a pair without a result is poor and has no residual."""
    count = len(scores)
    tiers = {t: sum(tier_of(s) == t for s in scores) for t in TIERS}
    judged = [s for s in scores if s.tier]
    out = {"pairs": float(count), **{t: float(n) for t, n in tiers.items()}}
    out["good_share"], out["lost_share"] = tiers["good"] / count, (tiers["poor"] + tiers["bad"]) / count
    out["median_residual_px"] = _median([s.mean_px for s in judged])
    out["mean_residual_px"] = _mean([s.mean_px for s in judged])
    out["residual_p95_px"] = _median([s.p95_px for s in judged])
    out["before_px"] = _mean([s.before_px for s in judged])
    out["most_folded_frac"] = max((s.folded_frac or 0.0 for s in judged), default=math.nan)
    out["same_share"] = _mean([float(s.tier == s.overlap_tier) for s in judged])
    out["flattered_share"] = _mean([float(flattered(s)) for s in judged])
    out["wall_s"], out["cpu_s"] = _median([s.wall_s for s in judged]), _median([s.cpu_s for s in judged])
    return out


def tier_of(score: StyleScore) -> str:
    """Return the tier of a score; what has no result is poor."""
    return score.tier or TIERS[0]


def flattered(score: StyleScore) -> bool:
    """Return whether a registration is called decent or good without truth that is bad or poor by it."""
    return TIERS.index(score.tier) < 2 <= TIERS.index(score.overlap_tier)


def _median(values: Sequence[float | None]) -> float:
    held = [v for v in values if v is not None]
    return float(np.median(held)) if held else math.nan


def _mean(values: Sequence[float | None]) -> float:
    held = [v for v in values if v is not None]
    return float(np.mean(held)) if held else math.nan


__all__ = ["flattered", "style_rows", "tier_of"]
