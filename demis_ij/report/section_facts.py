"""What a volume's report says of one section, as plain values that a run folder keeps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from demis_ij.records import Rejected, Suspect
from demis_ij.report.pictures import Preview, data_uri, shrink
from demis_ij.report.seams import seams_of
from demis_ij.report.verdict import judge

if TYPE_CHECKING:
    from demis_ij.stitch import StitchResult

THUMBNAIL_SIDE = 128
THUMBNAIL_BYTES = 5_000
"""What the small picture of a section may take: a thousand of them are 5 MB."""


@dataclass(frozen=True)
class AcrossFacts:
    """What ties a section to another one.

    Attributes
    ----------
    other : str
        The other section.
    pairs, believed : int
        Pairs of their tiles that were compared, and those that the solver believed.
    median_px : float or None
        Median residual of those after the solve.
    """

    other: str
    pairs: int
    believed: int
    median_px: float | None

    @classmethod
    def of(cls, other: str, pairs: int, residuals_px: Sequence[float]) -> AcrossFacts:
        """Return the facts from the residuals of the pairs that were believed."""
        return cls(other, pairs, len(residuals_px), float(np.median(residuals_px)) if residuals_px else None)


@dataclass(frozen=True, kw_only=True)
class SectionFacts:
    """One section of a volume in numbers; a section that could not be done has a `problem` and nothing else.

    Attributes
    ----------
    section : str
    tiles : int
        Tiles whose images could be used.
    placed_by : mapping of str to int
        Matcher, or ``stage``, to tiles.
    pairs, failed : int
        Pairs of tiles that were looked at, and those that were not believed.
    overruled : int
        Pairs that agree with themselves and that the others contradict.
    residuals_px : tuple of float
        Of every seam after the solve.
    worst_px : float
        The largest residual of a believed seam; NaN where there is none.
    components : tuple of int
        Tiles of each connected part, the largest first.
    level, sentence : str
        The verdict.
    origin, shape : tuple of int
        What the mosaic of this section alone covers: world (x, y) of its first pixel, and (rows, cols).
    pixel_size : tuple of (float, str) or None
    suspects : tuple of Suspect
        Tiles that are not what their place says.
    warnings : tuple of str
    notes : tuple of str
        What is good to know and no flaw.
    seconds : mapping of str to float
        Stage of the work to seconds.
    thumbnail : str
        A small picture of the mosaic as a ``data:`` address.
    state : str
        Fingerprint of the section's solution.
    problem : str
        Why there is no result.
    across : tuple of AcrossFacts
        What ties it to other sections; empty where sections are kept apart.
    """

    section: str
    tiles: int = 0
    placed_by: Mapping[str, int] = field(default_factory=dict)
    pairs: int = 0
    failed: int = 0
    overruled: int = 0
    residuals_px: tuple[float, ...] = ()
    worst_px: float = math.nan
    components: tuple[int, ...] = ()
    level: str = "bad"
    sentence: str = ""
    origin: tuple[int, int] = (0, 0)
    shape: tuple[int, int] = (0, 0)
    pixel_size: tuple[float, str] | None = None
    suspects: tuple[Suspect, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    thumbnail: str = ""
    state: str = ""
    problem: str = ""
    across: tuple[AcrossFacts, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON types."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "worst_px": self.worst_px if math.isfinite(self.worst_px) else None,
            "suspects": [[s.tile, s.kind, s.said, s.other] for s in self.suspects],
            "across": [[a.other, a.pairs, a.believed, a.median_px] for a in self.across],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SectionFacts:
        """Return the facts that `to_json` made. Raises `KeyError`, `TypeError` or `ValueError` where it did not."""
        kept: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
        worst = math.nan if value["worst_px"] is None else float(value["worst_px"])
        kept |= {
            "worst_px": worst,
            "suspects": tuple(Suspect(*s) for s in value["suspects"]),
            "across": tuple(AcrossFacts(*a) for a in value["across"]),
        }
        return cls(**kept)


def facts_of(
    result: StitchResult,
    preview: Preview,
    *,
    origin: tuple[int, int],
    shape: tuple[int, int],
    warnings: tuple[str, ...],
    state: str,
    across: tuple[AcrossFacts, ...] = (),
    notes: tuple[str, ...] = (),
) -> SectionFacts:
    """Return what there is to say of a solved section.

    Parameters
    ----------
    result : StitchResult
        The section.
    preview : Preview
        Its mosaic, small.
    origin, shape : tuple of int
        What its mosaic covers.
    warnings : tuple of str
        What else was said of it.
    state : str
        Fingerprint of its solution.
    across : tuple of AcrossFacts
        What ties it to other sections.
    notes : tuple of str
        What is good to know and no flaw.
    """
    seams = seams_of(result)
    verdict = judge(result, seams)
    believed = [s.after_px for s in seams if not s.is_overruled and math.isfinite(s.after_px)]
    return SectionFacts(
        section=result.layout.section,
        tiles=len(result.placed_by),
        placed_by=dict(Counter(result.placed_by.values())),
        pairs=len(result.pairs),
        failed=sum(isinstance(p, Rejected) for p in result.pairs),
        overruled=sum(s.is_overruled for s in seams),
        residuals_px=tuple(float(v) for v in result.solution.pair_residual_px.values() if np.isfinite(v)),
        worst_px=max(believed, default=math.nan),
        components=tuple(result.solution.component_sizes),
        level=verdict.level,
        sentence=verdict.sentence,
        origin=origin,
        shape=shape,
        pixel_size=result.layout.pixel_size,
        suspects=result.suspects,
        warnings=warnings,
        seconds=dict(result.timings_s),
        thumbnail=data_uri(shrink(preview.image, THUMBNAIL_SIDE), THUMBNAIL_BYTES),
        state=state,
        across=across,
        notes=notes,
    )
