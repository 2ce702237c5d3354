"""What was measured on a pair of tiles, a grid, a stack, pairs from unlike instruments: plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

FAIL_PX = 10.0
"""A pair fails when its root mean square error over the true overlap is above this, or when it is rejected."""
OUTLIER_PX = 3.0
"""A match is an outlier when it lies farther from the truth than this."""
AUC_PX = (1.0, 3.0, 5.0, 10.0)
"""Thresholds of the areas under the recall curve."""

T = TypeVar("T", "PairScore", "GridScore", "StackScore", "RegisterScore", "StyleScore")


@dataclass(frozen=True, kw_only=True)
class PairScore:
    """One pair by one configuration. What is not known is None.

    Attributes
    ----------
    scene, configuration : str
    fixed, moving : str
        Tile ids.
    kind : str
        textured or weak.
    accepted : bool
        Whether the gate believed it.
    reason : str
        Why not.
    matcher : str
        Who answered; of ``auto`` the last one asked.
    matches : int
        What the matcher offered, before the gate.
    outliers : int
        Those of them farther than 3 px from the truth.
    inliers : int
        Matches that agree with the accepted pair's transform, made exact where the configuration refines; 0 when
        rejected.
    reprojection_all_px, reprojection_inliers_px : float
        Mean distance from the truth of what was offered, and of the inliers.
    corner_px : tuple of float
        Error of the moving tile's four corners; None when rejected, which counts as infinite.
    overlap_error_px : float
        Root mean square error over the true overlap; None when rejected.
    overlap_share : float
        True overlap as a share of the tile.
    coverage : float
        Share of the 32 px blocks of the true overlap that hold an inlier within 1 px of the truth.
    cpu_s, wall_s : float
        Features, matching, gate and refinement; images were loaded and normalised before. Pairs are shown to the
        matcher in batches, whose time is shared out evenly.
    measures : mapping of str to float
        Picture measures, where they were taken.
    drawn : tuple of (x, y, x, y, error)
        Some matches for a picture: fixed and moving px, px from the truth.
    """

    scene: str
    configuration: str
    fixed: str
    moving: str
    kind: str
    accepted: bool
    reason: str = ""
    matcher: str = ""
    matches: int = 0
    outliers: int = 0
    inliers: int = 0
    reprojection_all_px: float | None = None
    reprojection_inliers_px: float | None = None
    corner_px: tuple[float, ...] | None = None
    overlap_error_px: float | None = None
    overlap_share: float = 0.0
    coverage: float | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    measures: Mapping[str, float | None] = field(default_factory=dict)
    drawn: tuple[tuple[float, ...], ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """(fixed, moving)."""
        return self.fixed, self.moving

    @property
    def error_px(self) -> float:
        """The error over the overlap; infinite when rejected."""
        return math.inf if self.overlap_error_px is None else self.overlap_error_px

    @property
    def failed(self) -> bool:
        """Whether it is rejected, or off by more than 10 px."""
        return not self.error_px <= FAIL_PX

    @property
    def wrong(self) -> bool:
        """Whether it was believed and is off by more than 10 px."""
        return self.accepted and self.failed

    @property
    def corners_px(self) -> tuple[float, ...]:
        """The corner errors, infinite when rejected."""
        return (math.inf,) * 4 if self.corner_px is None else self.corner_px


@dataclass(frozen=True, kw_only=True)
class GridScore:
    """One grid by one configuration. What is not known is None.

    Attributes
    ----------
    scene, configuration : str
    tiles : int
    by_stage : int
        Tiles that no pair holds.
    components : int
        Connected parts; islands are all but one.
    problem : str
        Why there is no result; the rest is empty then.
    textured_px, other_px : tuple of float
        Corner errors of the tiles that have a textured neighbour, and of the others, after one rigid move of each
        connected part onto the truth. (Single tiles move with the largest part.)
    pair_corner_px : tuple of tuple
        Corner errors of neighbours, relative to each other, in the solved layout: textured pairs.
    textured_failed, weak_failed, textured_pairs, weak_pairs : int
        Neighbours whose solved overlap error is above 10 px, and how many there are.
    cpu_s, wall_s : float
        All of stitching, without drawing.
    measures : mapping of str to float
        The mosaic against the mosaic drawn at the true places.
    """

    scene: str
    configuration: str
    tiles: int
    by_stage: int = 0
    components: int = 0
    problem: str = ""
    textured_px: tuple[float, ...] = ()
    other_px: tuple[float, ...] = ()
    pair_corner_px: tuple[tuple[float, ...], ...] = ()
    textured_pairs: int = 0
    weak_pairs: int = 0
    textured_failed: int = 0
    weak_failed: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    measures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StackScore:
    """One misaligned stack by one method. What is not known is None.

    Attributes
    ----------
    scene, configuration : str
        The stack and the method.
    sections : int
    problem : str
        Why there is no result; the rest is empty then.
    no_better, bridged : int
        Sections of which the method says that its answer is no better than doing nothing, and that it bridged.
    cpu_s, wall_s : float
        All of the alignment, images in memory.
    measures : mapping of str to float
        ``dice``, ``drift_dice``, ``ncc``, ``residual_px``, ``residual_95_px`` with ``_before`` and ``_true`` (but the
        residual's: 0), ``folded_frac``, ``shown_frac`` and ``dice_score``; see `demis_ij.evaluate.align`.
    """

    scene: str
    configuration: str
    sections: int
    problem: str = ""
    no_better: int = 0
    bridged: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    measures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RegisterScore:
    """One pair of images from unlike instruments by one method. What is not known is None.

    Attributes
    ----------
    scene, configuration : str
        Kind and range of the pair, and the method.
    pair : int
        Its number in the scene.
    stranger : bool
        Whether the two have nothing in common.
    problem : str
        Why there is no result; the rest is empty then.
    matched : bool
        Whether the method says that they match.
    error_px : float
        Mean error of the corners; None when refused.
    sigma_px : float
        What the method expected.
    standing : float
        By how much the place stood out.
    route : str
        What found it.
    wall_s, cpu_s : float
        All of it, images in memory.
    true, found : tuple of float
        Angle (degrees), logarithm of the scale, shifts x and y (parts of the field); empty where there is none.
    """

    scene: str
    configuration: str
    pair: int
    stranger: bool = False
    problem: str = ""
    matched: bool = False
    error_px: float | None = None
    sigma_px: float | None = None
    standing: float = 0.0
    route: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    true: tuple[float, ...] = ()
    found: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StyleScore:
    """One pair of pictures, by light and by electrons, by one method. What is not known is None.

    Attributes
    ----------
    scene, configuration : str
        Kind of specimen, and the method.
    pair : int
        Its seed.
    problem : str
        Why there is no result; the rest is empty then.
    tier, overlap_tier : str
        With truth (`demis_ij.metrics.tiers`) and without (`demis_ij.metrics.overlap`).
    mean_px, p95_px, before_px : float
        Residual, and its mean when nothing is done.
    folded_frac, known_frac : float
    shift_px, strain, edges_gained, information_gained : float
        What was looked at without truth.
    wall_s, cpu_s : float
        Look and registration, pictures in memory.
    """

    scene: str
    configuration: str
    pair: int
    problem: str = ""
    tier: str = ""
    overlap_tier: str = ""
    mean_px: float | None = None
    p95_px: float | None = None
    before_px: float | None = None
    folded_frac: float | None = None
    known_frac: float | None = None
    shift_px: float | None = None
    strain: float | None = None
    edges_gained: float | None = None
    information_gained: float | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0


def number(value: float, digits: int = 6) -> float | None:
    """Return a number that JSON can hold: None for what is not finite."""
    return round(float(value), digits) if math.isfinite(value) else None


def to_json(score: PairScore | GridScore | StackScore | RegisterScore | StyleScore) -> dict[str, Any]:
    """Return a score as plain values."""
    return asdict(score)


def from_json(kind: type[T], value: Mapping[str, Any]) -> T:
    """Return a score from plain values. Raises `KeyError` or `TypeError` when they are not one."""
    known = {f.name for f in fields(kind)}
    return kind(**{k: _tuples(v) for k, v in value.items() if k in known})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
