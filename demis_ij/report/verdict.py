"""A run in one plain sentence: can the mosaic be trusted, and if not, why not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from demis_ij.display.markup import count, px, px_at_most
from demis_ij.report.seams import Seam, rejected_of, stage_tiles

if TYPE_CHECKING:
    from demis_ij.stitch import StitchResult

VISIBLE_PX = 1.0
"""A seam that fits better than this cannot be seen: a step under one pixel."""
STAGE_SHARE = 1 / 3
"""With more tiles than this held by the stage alone, the mosaic is the stage's, not the images'."""

Level = Literal["good", "check", "bad"]


@dataclass(frozen=True)
class Verdict:
    """What a reader must know first.

    Attributes
    ----------
    level : str
        good, check or bad.
    sentence : str
        One sentence with the numbers.
    remarks : tuple of str
        What else may matter, a sentence each.
    """

    level: Level
    sentence: str
    remarks: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The judgement in a few words."""
        return {"good": "Can be trusted", "check": "Look before you trust it", "bad": "Do not trust it"}[self.level]


def parts_of(result: StitchResult) -> list[list[str]]:
    """Return the tile ids of every component of two tiles or more, the largest first."""
    parts: dict[int, list[str]] = {}
    for tile in result.layout:
        parts.setdefault(result.solution.component.get(tile.id, -1), []).append(tile.id)
    return sorted((ids for ids in parts.values() if len(ids) > 1), key=lambda ids: -len(ids))


def loops_in(tiles: int, seams: int) -> int:
    """Return how many independent loops a connected graph has: seams that are not needed to hold it together."""
    return max(0, seams - tiles + 1)


def judge(result: StitchResult, seams: Sequence[Seam]) -> Verdict:
    """Return the verdict on a run.

    Good: every seam fits within one pixel, no seam was overruled, every tile is held by a seam and all hang together.
    Bad: nothing matched, a third of the tiles is where the stage put them, or a seam is off by more than a match may
    be. Anything between is worth a look.
    """
    tiles, alone, parts = len(result.layout), stage_tiles(result), parts_of(result)
    if tiles < 2:
        return Verdict("good", "One tile: there is nothing to stitch." if tiles else "There are no tiles.")
    if not seams:
        return Verdict("bad", f"No two tiles could be matched: all {tiles} tiles lie where the stage put them.")
    pieces = [_seam_clause(seams)]
    overruled = sum(s.is_overruled for s in seams)
    if overruled:
        verb = "contradicts" if overruled == 1 else "contradict"
        was = "was" if overruled == 1 else "were"
        pieces.append(f"{count(overruled, 'seam')} {verb} the others and {was} overruled")
    if alone:
        lies = "lies where the stage put it" if len(alone) == 1 else "lie where the stage put them"
        pieces.append(f"{count(len(alone), 'tile')} could not be matched and {lies}")
    if len(parts) > 1:
        pieces.append(f"the mosaic is in {len(parts)} parts, placed against each other by the stage only")
    level = _level(result, seams, alone, parts)
    return Verdict(level, "; ".join(pieces) + ".", tuple(_remarks(result, seams)))


def _fits(seam: Seam) -> bool:
    return seam.after_px <= VISIBLE_PX and not seam.is_overruled


def _seam_clause(seams: Sequence[Seam]) -> str:
    believed = [s for s in seams if not s.is_overruled]
    fit = [s for s in believed if _fits(s)]
    said = f"{len(fit)} of {count(len(seams), 'seam')} {'agrees' if len(fit) == 1 else 'agree'} within"
    worst = max((s.after_px for s in believed if math.isfinite(s.after_px)), default=math.nan)
    if fit and len(fit) == len(believed):
        return f"{said} {px_at_most(worst)} px"
    return f"{said} {VISIBLE_PX:g} px" + (f", the worst is off by {px(worst)} px" if math.isfinite(worst) else "")


def _level(result: StitchResult, seams: Sequence[Seam], alone: Sequence[str], parts: Sequence[Sequence[str]]) -> Level:
    limit = max(VISIBLE_PX, result.config.max_error_px)
    believed = [s for s in seams if not s.is_overruled]
    if not believed or len(alone) > STAGE_SHARE * len(result.layout) or any(s.after_px > limit for s in believed):
        return "bad"
    uncertain = any(s.sigma_px > VISIBLE_PX for s in seams)
    if alone or len(parts) > 1 or uncertain or not all(_fits(s) for s in seams):
        return "check"
    return "good"


def _remarks(result: StitchResult, seams: Sequence[Seam]) -> list[str]:
    out = []
    bridges = sum(s.is_bridge for s in seams)
    if bridges == len(seams):
        out.append("No loop of tiles cross-checks these seams: a wrong one would not show in the residuals.")
    elif bridges:
        hangs = "1 seam is the only link" if bridges == 1 else f"{bridges} seams are each the only link"
        out.append(f"{hangs} between two parts of the mosaic, so nothing cross-checks {_it(bridges)}.")
    uncertain = sum(s.sigma_px > VISIBLE_PX for s in seams)
    if uncertain:
        has = "has" if uncertain == 1 else "have"
        why = "(few matches, or close together)"
        out.append(f"{count(uncertain, 'seam')} {has} an expected error above {VISIBLE_PX:g} px {why}.")
    rejected = len(rejected_of(result))
    if rejected:
        was = "was" if rejected == 1 else "were"
        out.append(f"{count(rejected, 'pair')} of neighbouring tiles {was} not believed; the reasons are listed below.")
    if result.warnings:
        out.append(f"The run gave {count(len(result.warnings), 'warning')}.")
    return out


def _it(number: int) -> str:
    return "it" if number == 1 else "them"
