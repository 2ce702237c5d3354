"""What was found, said of each section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import degrees, hypot
from typing import Any

import numpy as np

from demis_ij.align.grids import Grid
from demis_ij.align.results import SectionVerdict
from demis_ij.align.sections import Looked, Sections
from demis_ij.align.verdicts import Judged
from demis_ij.fields import least_jacobian
from demis_ij.geometry import Box
from demis_ij.records import Affine, Offsets

_UNLIKE = 0.5  # times the stack's usual correlation of neighbours: less is hardly a likeness
_LEAST_SERIES = 4  # sections that tell what is usual


def section_verdicts(
    sections: Sections, looked: Sequence[Looked], motion: Sequence[Affine], offsets: Offsets, verdict: Judged,
    changed_frac: Sequence[float], usable: Sequence[int], grid: Grid, canvas: Box,
) -> tuple[SectionVerdict, ...]:  # fmt: skip
    """Return what is to be said of every section, in order."""
    middle = np.array([(canvas.x0 + canvas.x1 - 1) / 2, (canvas.y0 + canvas.y1 - 1) / 2])
    out = []
    for index, seen in enumerate(looked):
        length = np.hypot(*offsets[index])
        shift = motion[index](middle) - middle
        common: dict[str, Any] = {
            "id": sections.ids[index],
            "z": sections.z[index],
            "data_frac": seen.data_frac,
            "moved_coarsely": motion[index] != Affine(),
            "turn_deg": degrees(motion[index].angle),
            "shift_px": hypot(*shift),
            "displacement_px": float(np.nanmedian(length)),
            "displacement_max_px": float(np.nanmax(length)),
            "min_jacobian": least_jacobian(offsets[index], grid.stride),
        }
        if seen.problem:
            out.append(
                SectionVerdict(**common, usable=False, flags=(f"{seen.problem}; it lies where its neighbours say",))
            )
            continue
        place = usable.index(index)
        out.append(SectionVerdict(**common, **_of_usable(verdict, place, changed_frac[place])))
    return tuple(out)


def _of_usable(verdict: Judged, place: int, changed_frac: float) -> dict[str, Any]:
    """Return what only a section that was compared has."""
    flags = []
    if verdict.no_better[place]:
        flags.append("no better than doing nothing: what would have bent it is dropped")
    usual, own = float(np.nanmedian(verdict.ncc_after)), float(verdict.ncc_after[place])
    if len(verdict.ncc_after) >= _LEAST_SERIES and own < _UNLIKE * usual:
        flags.append(f"hardly like its neighbours: correlation {own:.2f}, {usual:.2f} is usual here")
    return {
        "ncc_before": float(verdict.ncc_before[place]),
        "ncc_after": float(verdict.ncc_after[place]),
        "residual_before_px": float(verdict.residual_before_px[place]),
        "residual_after_px": float(verdict.residual_after_px[place]),
        "consistent_frac": float(verdict.consistent_frac[place]),
        "unfolded_frac": changed_frac,
        "no_better": bool(verdict.no_better[place]),
        "flags": tuple(flags),
    }


def warnings_of(sections: Sequence[SectionVerdict]) -> tuple[str, ...]:
    """Return one line for each flagged section, and one for many with the same flag."""
    lines = [(s.id, flag) for s in sections for flag in s.flags]
    often = {flag for flag, n in Counter(flag for _, flag in lines).items() if n > 3}
    single = [f"section {name}: {flag}" for name, flag in lines if flag not in often]
    several = [f"{sum(f == flag for _, f in lines)} sections are {flag}" for flag in sorted(often)]
    return (*single, *several)
