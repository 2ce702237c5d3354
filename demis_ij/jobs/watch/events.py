"""What happens while tiles come: for people one line, for programs JSON types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demis_ij.jobs.watch.section import SeamNow


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    kind : str
        note, tile, seam, solve or end.
    said : str
        One line; empty when people need not be told.
    facts : mapping
        The same for programs, as JSON types.
    is_bad : bool
        Whether somebody should look.
    """

    kind: str
    said: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_bad: bool = False


def seam_facts(section: str, seam: SeamNow, state: str) -> dict[str, Any]:
    """Return what there is to say of a seam as JSON types."""
    return {
        "section": section,
        "fixed": seam.pair[0],
        "moving": seam.pair[1],
        "state": state,
        "matcher": seam.matcher,
        "residual_px": _number(seam.residual_px),
        "error_px": _number(seam.error_px),
        "reason": seam.reason,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


__all__ = ["Event", "seam_facts"]
