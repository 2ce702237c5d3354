"""How good the matches of validation pairs are, and the records that a training leaves for its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.config import ValidationConfig
from demis_ij.geometry import apply, estimate
from demis_ij.metrics.points import coverage, error_auc, reprojection_error_px
from demis_ij.records import Correspondences, Points
from demis_ij.train.samples import Sample

AUC_PX = (1.0, 3.0, 5.0, 10.0)
"""Bounds of the corner error up to which the area under the curve is taken, px."""


@dataclass(frozen=True, eq=False)
class PairScore:
    """One validation pair.

    Attributes
    ----------
    matches, inliers : int
        Of the network; that agree with the affine fitted to them.
    corner_px : float
        Mean distance of the crop's corners, by the fit, from the truth; ``inf`` when nothing was found.
    right_1px, right_3px : float
        Share of the matches within 1 and 3 px of the truth; NaN without matches.
    coverage : float
        Share of the 32 px blocks of the overlap that hold a match right to 1 px; NaN without overlap.
    is_blank : bool
        The two crops show different places: a fit is a mistake, and the other numbers mean nothing.
    """

    matches: int
    inliers: int
    corner_px: float
    right_1px: float
    right_3px: float
    coverage: float
    is_blank: bool


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a validation found, over all pairs. NaN where there is nothing to average.

    Attributes
    ----------
    pairs, blank_pairs : int
        Pairs with a truth, and pairs that show two different places.
    auc_1px, auc_3px, auc_5px, auc_10px : float
        Area under the curve of the corner error.
    right_1px, right_3px : float
        Mean share of matches within 1 and 3 px.
    inliers : float
        Mean number a pair.
    coverage : float
        Mean share of covered blocks.
    failed : float
        Share of pairs without a fit, or with corners off by over 10 px.
    false_pairs : int
        Blank pairs for which a fit was found.
    """

    pairs: int
    blank_pairs: int
    auc_1px: float
    auc_3px: float
    auc_5px: float
    auc_10px: float
    right_1px: float
    right_3px: float
    inliers: float
    coverage: float
    failed: float
    false_pairs: int

    @property
    def mean_auc(self) -> float:
        """Mean of the four areas: what early stopping looks at."""
        return float(np.mean([self.auc_1px, self.auc_3px, self.auc_5px, self.auc_10px]))


@dataclass(frozen=True, eq=False)
class PairPicture:
    """A pair with matches, for the page.

    Attributes
    ----------
    fixed, moving : ndarray of shape (H, W), uint8
        The crops.
    fixed_xy, moving_xy : ndarray of shape (N, 2)
        Matches, px of the crops.
    error_px : ndarray of shape (N,)
        Distance from the truth; 0 for true matches.
    said : str
        One line about it.
    """

    fixed: NDArray[np.uint8]
    moving: NDArray[np.uint8]
    fixed_xy: Points
    moving_xy: Points
    error_px: NDArray[np.float64]
    said: str


def score_pair(sample: Sample, found: Correspondences, config: ValidationConfig) -> PairScore:
    """Return how good the matches of a pair are, by themselves and by the affine that most agree with."""
    fit = estimate(found.moving_xy, found.fixed_xy, "affine", config.max_error_px)
    inliers = 0 if fit is None else int(fit.inlier.sum())
    believed = fit is not None and inliers >= max(config.min_inliers, config.min_inlier_ratio * len(found))
    if sample.to_moving is None:
        return PairScore(len(found), inliers if believed else 0, np.inf, np.nan, np.nan, np.nan, True)
    truth = np.asarray(sample.to_moving.inverse.matrix, np.float64)
    corner = np.inf
    if fit is not None and believed:
        h, w = sample.moving.shape
        corners = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], float)
        corner = float(np.linalg.norm(apply(fit.to_fixed, corners) - apply(truth, corners), axis=1).mean())
    errors = match_errors_px(sample, found)
    shares = [float((errors <= bound).mean()) if len(errors) else np.nan for bound in (1, 3)]
    covered = coverage(found.fixed_xy, found.moving_xy, truth, sample.fixed.shape, sample.moving.shape)
    return PairScore(len(found), inliers if believed else 0, corner, shares[0], shares[1], covered, False)


def match_errors_px(sample: Sample, found: Correspondences) -> NDArray[np.float64]:
    """Return how far each match is from the truth; ``inf`` when the crops show different places."""
    if sample.to_moving is None:
        return np.full(len(found), np.inf)
    if not len(found):
        return np.empty(0)
    return reprojection_error_px(found.fixed_xy, found.moving_xy, sample.to_moving.inverse.matrix)


def summarise(pairs: Sequence[PairScore]) -> Scores:
    """Return the scores of all pairs together."""
    true = [p for p in pairs if not p.is_blank]
    areas = error_auc([p.corner_px for p in true], AUC_PX)
    return Scores(
        pairs=len(true),
        blank_pairs=len(pairs) - len(true),
        auc_1px=float(areas[0]),
        auc_3px=float(areas[1]),
        auc_5px=float(areas[2]),
        auc_10px=float(areas[3]),
        right_1px=_mean([p.right_1px for p in true]),
        right_3px=_mean([p.right_3px for p in true]),
        inliers=_mean([float(p.inliers) for p in true]),
        coverage=_mean([p.coverage for p in true]),
        failed=_mean([float(not p.corner_px <= AUC_PX[-1]) for p in true]),
        false_pairs=sum(p.inliers > 0 for p in pairs if p.is_blank),
    )


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def plain(scores: Scores) -> dict[str, Any]:
    """Return the scores as plain rounded numbers; what is not known is None."""
    out = {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(scores).items()}
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in out.items()}
