"""What a job came to in numbers, whether it was one section or a thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from demis_ij.jobs.stitch_job import JobResult
    from demis_ij.stitch import StitchResult


def totals(result: JobResult) -> dict[str, Any]:
    """Return tiles, pairs, residuals, parts and seconds of all sections together, as JSON types."""
    if result.sections or not result.results:
        return _of_volume(result)
    return _of_section(result.results[0])


def _of_section(result: StitchResult) -> dict[str, Any]:
    residual = [v for v in result.solution.pair_residual_px.values() if np.isfinite(v)]
    return _told(
        Counter(result.placed_by.values()), len(result.pairs), residual, [result.solution.component_sizes],
        result.timings_s,
    )  # fmt: skip


def _of_volume(result: JobResult) -> dict[str, Any]:
    sections = [s for s in result.sections if not s.problem]
    placed: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for s in sections:
        placed.update(s.placed_by)
        seconds |= {name: seconds.get(name, 0.0) + value for name, value in s.seconds.items()}
    residual = [v for s in sections for v in s.residuals_px]
    pairs = sum(s.pairs for s in sections)
    return _told(placed, pairs, residual, [list(s.components) for s in sections], seconds)


def _told(
    placed: Mapping[str, int],
    pairs: int,
    residual: list[float],
    components: list[list[int]],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    return {
        "tiles": sum(placed.values()),
        "placed_by": dict(sorted(placed.items())),
        "pairs": pairs,
        "pairs_accepted": len(residual),
        "median_residual_px": float(np.median(residual)) if residual else None,
        "components": components,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
