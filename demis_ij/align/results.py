"""What comes out of aligning a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demis_ij.align import shown
from demis_ij.config.aligning import AlignConfig
from demis_ij.fields import at_nodes
from demis_ij.records import Affine, Field, Offsets, Warp


@dataclass(frozen=True, kw_only=True)
class SectionVerdict:
    """What is to be said of one section.

    Attributes
    ----------
    id : str
        The section's name.
    z : float
        Its number.
    usable : bool
        Whether it could be compared with others; one that could not lies where its neighbours say.
    data_frac : float
        Share of its pixels that are data.
    moved_coarsely : bool
        Whether it was turned or shifted before anything was bent.
    turn_deg, shift_px : float
        By how much; the shift is that of its middle.
    displacement_px, displacement_max_px : float
        Median and largest length of what its field adds, px.
    ncc_before, ncc_after : float
        Mean correlation with the next usable sections, grey values evened out: as the sections were given, and
        aligned; NaN without any.
    residual_before_px, residual_after_px : float
        Median displacement against sections that did not steer the alignment, px, as given and aligned; NaN without
        any.
    consistent_frac : float
        Share of the data where displacements there and back agree; the rest is damage, or tissue without likeness.
    min_jacobian : float
        Smallest area of input for an area of output; more than 0 folds nothing.
    unfolded_frac : float
        Share of the nodes that were changed because the section would have been folded, or nearly.
    no_better : bool
        Whether its field was dropped because it fits its neighbours no better than doing nothing.
    flags : tuple of str
        One line each: missing, mostly empty, no better than nothing, much damage.
    """

    id: str
    z: float
    usable: bool = True
    data_frac: float = 1.0
    moved_coarsely: bool = False
    turn_deg: float = 0.0
    shift_px: float = 0.0
    displacement_px: float = 0.0
    displacement_max_px: float = 0.0
    ncc_before: float = float("nan")
    ncc_after: float = float("nan")
    residual_before_px: float = float("nan")
    residual_after_px: float = float("nan")
    consistent_frac: float = float("nan")
    min_jacobian: float = 1.0
    unfolded_frac: float = 0.0
    no_better: bool = False
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairEvidence:
    """How two sections compare in the last round.

    Attributes
    ----------
    fixed, moving : int
        Numbers of the sections in the stack, from 0.
    consistent_frac : float
        Share of their common data where displacements there and back agree.
    displacement_px : float
        Median displacement that was still measured between them, px.
    misfit_px : float
        Median of what the joint solution leaves of it unexplained, px.
    """

    fixed: int
    moving: int
    consistent_frac: float
    displacement_px: float
    misfit_px: float


@dataclass(frozen=True)
class Round:
    """One round of the relaxation.

    Attributes
    ----------
    level : int
        The sections were compared at 1/level of their size.
    moved_px : float
        Root mean square of what the round moved the nodes by, px.
    misfit_px : float
        Median misfit of all pairs, px.
    consistent_frac : float
        Mean of the pairs.
    """

    level: int
    moved_px: float
    misfit_px: float
    consistent_frac: float


@dataclass(frozen=True, eq=False)
class AlignResult:
    """An aligned stack.

    Attributes
    ----------
    warps : tuple of Warp
        One a section, in order, all with the same canvas: output pixel to point of the section.
    sections : tuple of SectionVerdict
        What is to be said of each.
    pairs : tuple of PairEvidence
        The pairs that were compared.
    rounds : tuple of Round
        How the relaxation went; empty for other methods.
    warnings : tuple of str
        One line each.
    config : AlignConfig
        How it was done.
    timings_s : mapping of str to float
        Stage of the work to seconds.
    losses : tuple of tuple of float
        What a method that has a loss made smaller step by step, one a section in order; empty for other methods.
    """

    warps: tuple[Warp, ...]
    sections: tuple[SectionVerdict, ...]
    pairs: tuple[PairEvidence, ...]
    config: AlignConfig
    rounds: tuple[Round, ...] = ()
    warnings: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    losses: tuple[tuple[float, ...], ...] = ()

    def _repr_html_(self) -> str:
        return shown.align_card(self)

    @property
    def stride(self) -> float:
        """Distance of the nodes of the warps, px."""
        strides = [p.stride for w in self.warps for p in w.parts if isinstance(p, Field)]
        return min(strides, default=max(1.0, min(self.warps[0].shape) / 32))

    def offsets(self) -> Offsets:
        """Return the warps as one array (n, 2, rows, cols) of (dx, dy) at nodes `stride` px apart."""
        canvas, stride = self.warps[0].shape, self.stride
        return np.stack([at_nodes(w, canvas, stride).offsets for w in self.warps])

    @property
    def summary(self) -> dict[str, Any]:
        """What a program wants to know, as JSON types."""
        told = [s for s in self.sections if s.usable]
        return {
            "sections": len(self.sections),
            "bridged": [s.id for s in self.sections if not s.usable],
            "no_better": [s.id for s in self.sections if s.no_better],
            "moved_coarsely": sum(s.moved_coarsely for s in self.sections),
            "shape": list(self.warps[0].shape),
            "origin_xy": list(self.warps[0].origin_xy),
            "stride": self.stride,
            "method": self.config.method,
            "ncc_before": mean_of([s.ncc_before for s in told]),
            "ncc_after": mean_of([s.ncc_after for s in told]),
            "residual_before_px": mean_of([s.residual_before_px for s in told]),
            "residual_after_px": mean_of([s.residual_after_px for s in told]),
            "displacement_px": mean_of([s.displacement_px for s in told]),
            "min_jacobian": min((s.min_jacobian for s in self.sections), default=1.0),
            "seconds": {k: round(v, 2) for k, v in self.timings_s.items()},
        }


def mean_of(values: list[float]) -> float | None:
    """Return the mean of the finite values, None when there are none."""
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else None


def placed(field_: Field | None, placing: Affine, shape: tuple[int, int], origin_xy: tuple[float, float]) -> Warp:
    """Return the warp of a field over the canvas followed by the affine map from canvas to section."""
    parts = tuple(p for p in (field_, placing) if p is not None and p != Affine())
    return Warp(parts, shape, origin_xy)
