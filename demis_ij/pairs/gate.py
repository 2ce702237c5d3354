"""Whether a matcher's answer is believed: the estimate of a pair and what it must satisfy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from demis_ij import geometry
from demis_ij.config import StitchConfig
from demis_ij.geometry import Estimate, Model
from demis_ij.pairs.overlap import clipped, expected_to_fixed
from demis_ij.records import Correspondences, PairMatch, Points, Rejected, Tile


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a pair must satisfy before it is believed.

    Attributes
    ----------
    max_error_px : float
        A match agrees with the transform below this distance.
    estimator : str
        Robust estimator: ransac, usac or lmeds.
    min_inliers : int
        Matches that must agree.
    min_inlier_ratio : float
        Share of the matches (of those within the stage's error) that must agree.
    stage_error_px : float
        What the tiles may be shifted by against each other, along either axis, apart from their own turns.
    max_rotation : float
        What it may be turned by against the expected layout, radians.
    max_scale_frac : float
        What it may be scaled by against the expected layout.
    max_seam_error_px : float
        Largest expected error (one standard deviation) of the transform anywhere in the overlap: too few or too
        clustered points cannot hold a seam.
    rival_share : float
        A second, different transform with this share of the first's inliers makes the pair ambiguous.
    """

    max_error_px: float = 4.0
    estimator: str = "ransac"
    min_inliers: int = 8
    min_inlier_ratio: float = 0.15
    stage_error_px: float = 64.0
    max_rotation: float = math.radians(8)
    max_scale_frac: float = 0.06
    max_seam_error_px: float = 2.0
    min_agreement: float = 4.0
    rival_share: float = 0.5

    @classmethod
    def of(cls, config: StitchConfig, fixed: Tile, moving: Tile, stage_error_frac: float | None = None) -> Gate:
        """Return the gate that a config means for two tiles; ``stage_error_frac`` replaces the config's."""
        frac = config.stage_error_frac if stage_error_frac is None else stage_error_frac
        return cls(
            max_error_px=config.max_error_px,
            estimator=config.estimator,
            min_inliers=config.min_inliers,
            min_inlier_ratio=config.min_inlier_ratio,
            stage_error_px=frac * max(*fixed.shape, *moving.shape),
            max_rotation=math.radians(config.max_rotation_deg),
            max_scale_frac=config.max_scale_frac,
        )


def within_stage_error(fixed: Tile, moving: Tile, found: Correspondences, gate: Gate) -> Correspondences:
    """Return the matches whose displacement a shift, turn and scale within the gate can explain."""
    expected = expected_to_fixed(fixed, moving)
    offset = np.abs(found.fixed_xy - expected(found.moving_xy)).max(1, initial=0)
    # each tile may be turned about its own centre by half of what the pair may be turned by
    arms = np.linalg.norm(found.fixed_xy - _centre(fixed), axis=1) + np.linalg.norm(
        found.moving_xy - _centre(moving), axis=1
    )
    reach = gate.stage_error_px + arms * (gate.max_rotation + gate.max_scale_frac) / 2 + gate.max_error_px
    return found.where(offset <= reach)


def _centre(tile: Tile) -> Points:
    return np.array([(tile.shape[1] - 1) / 2, (tile.shape[0] - 1) / 2])


def estimate_pair(
    fixed: Tile,
    moving: Tile,
    found: Correspondences,
    *,
    model: Model,
    gate: Gate,
    matcher: str,
    tried: Iterable[tuple[str, str]] = (),
) -> PairMatch | Rejected:
    """Return the transform that most matches agree with, or why it is not believed.

    Points are judged behind the tiles' lenses, where they have any: ``to_fixed`` is from corrected px to corrected px.
    Only matches that the stage's error can explain are considered. The transform with most inliers that turns, scales
    and shifts within the gate is judged by number, share and spread of its inliers (the expected error of the seam,
    from their covariance), and by whether a second, different transform explains nearly as many (repeated texture).

    Parameters
    ----------
    fixed, moving : Tile
        The pair.
    found : Correspondences
        Full-resolution px of the tiles.
    model : str
        translation, rigid, similarity, affine or homography.
    gate : Gate
        What must hold.
    matcher : str
        Who found the points.
    tried : iterable of (str, str)
        Matchers tried before and why each was rejected.
    """
    tried = tuple(tried)
    found = replace(found, fixed_xy=fixed.straight(found.fixed_xy), moving_xy=moving.straight(found.moving_xy))

    def rejected(reason: str, inliers: int = 0) -> Rejected:
        return Rejected(fixed.id, moving.id, reason, matcher, len(found), inliers, tried)

    needed = max(gate.min_inliers, geometry.MINIMUM_POINTS[model] + 1)
    if len(found) < needed:
        return rejected(f"{len(found)} matches found, {needed} needed")
    near = within_stage_error(fixed, moving, found, gate)
    if len(near) < needed:
        return rejected(f"{len(near)} of {len(found)} matches lie within the stage's error, {needed} needed")
    best, reason, rest = _best_within_gate(fixed, moving, near, model, gate, needed)
    if best is None:
        return rejected(reason, 0)
    count = int(best.inlier.sum())
    if count < needed:
        return rejected(f"{count} of {len(near)} matches agree, {needed} needed", count)
    if count < gate.min_inlier_ratio * len(near):
        share = f"{count} of {len(near)} matches agree ({count / len(near):.0%})"
        return rejected(f"{share}, {gate.min_inlier_ratio:.0%} needed", count)
    inliers = near.where(best.inlier)
    covariance = shift_turn_covariance(inliers.fixed_xy, best.residual_px)
    seam = _seam_error(fixed, moving, inliers.fixed_xy, covariance, best.to_fixed)
    if seam > gate.max_seam_error_px:
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(inliers.fixed_xy.T)))[::-1]
        where = f"{count} inliers spread over only {spread[0]:.0f} x {spread[1]:.0f} px (standard deviation)"
        return rejected(f"{where} leave the seam uncertain by {seam:.1f} px, {gate.max_seam_error_px:g} allowed", count)
    if rival := _rival(fixed, moving, rest, best, model, gate, count):
        return rejected(rival, count)
    return PairMatch(
        fixed.id,
        moving.id,
        fixed.bent(inliers.fixed_xy),
        moving.bent(inliers.moving_xy),
        best.to_fixed,
        model,
        covariance,
        best.residual_px,
        matcher,
        len(found),
        tried,
    )


def shift_turn_covariance(fixed_xy: Points, residual_px: float) -> NDArray[np.float64]:
    """Return the (3, 3) covariance of (shift x, shift y, turn) about the centre of the inliers, px and radians.

    Least squares of a rigid motion on N points with residuals of ``residual_px`` root mean square (both axes together)
    over 2 N - 3 degrees of freedom. Residuals below 0.1 px are not taken at their word: real images share noise and
    interpolation errors that neighbouring points have in common.
    """
    n = len(fixed_xy)
    variance = max(residual_px**2 * n / max(1, 2 * n - 3), 0.1**2 / 2)
    arms = float(((fixed_xy - fixed_xy.mean(0)) ** 2).sum())
    return np.diag([variance / n, variance / n, variance / max(arms, 1e-9)])


def _overlap_corners(fixed: Tile, moving: Tile, to_fixed: NDArray[np.float64]) -> Points:
    """Return the corners of the two tiles' overlap in fixed px; of the fixed tile's nearest part when there is none."""
    seen = clipped(geometry.apply(to_fixed, moving.corners), fixed.shape)
    return fixed.corners if seen is None else seen


def _seam_error(
    fixed: Tile, moving: Tile, fixed_xy: Points, covariance: NDArray[np.float64], to_fixed: NDArray[np.float64]
) -> float:
    """Return the largest standard deviation of a point of the overlap, px."""
    arms = _overlap_corners(fixed, moving, to_fixed) - fixed_xy.mean(0)
    return float(np.sqrt(covariance[0, 0] + covariance[1, 1] + covariance[2, 2] * (arms**2).sum(1).max()))


def _disagreement(fixed: Tile, moving: Tile, near: Correspondences, best: Estimate, gate: Gate) -> str:
    """Return how a transform contradicts the stage, or an empty string when it does not."""
    inliers = near.where(best.inlier)
    expected = expected_to_fixed(fixed, moving)
    similar = geometry.fit_similarity(expected(inliers.moving_xy), inliers.fixed_xy)
    turn = math.atan2(similar[1, 0], similar[0, 0])
    scale = math.hypot(similar[1, 0], similar[0, 0])
    # a few points on a thin strip measure scale badly: allow what their own scatter explains
    spread = math.sqrt(float(((inliers.fixed_xy - inliers.fixed_xy.mean(0)) ** 2).sum()))
    slack = 3 * best.residual_px / max(spread, 1e-9)
    if abs(turn) > gate.max_rotation + slack:
        allowed = math.degrees(gate.max_rotation)
        return f"turned by {math.degrees(turn):.1f} degrees against the layout, {allowed:.1f} allowed"
    if abs(scale - 1) > gate.max_scale_frac + slack:
        return f"scaled by {scale:.3f} against the layout, 1 +- {gate.max_scale_frac:.3f} allowed"
    # The shift is measured half way between the two centres, so that neither tile is favoured. Each may be turned about
    # its centre by up to half the pair's bound; both turned alike move the moving tile across the fixed one.
    rigid = geometry.fit_rigid(inliers.moving_xy, inliers.fixed_xy)
    half_way = (expected.inverse(_centre(fixed)) + _centre(moving)) / 2
    off = np.abs(geometry.apply(rigid, half_way[None]) - expected(half_way)).max()
    arm = np.linalg.norm(half_way - _centre(moving))
    common = arm * max(0.0, gate.max_rotation - abs(turn))
    reach = (
        gate.stage_error_px + common + gate.max_error_px + slack * np.linalg.norm(inliers.moving_xy.mean(0) - half_way)
    )
    if off > reach:
        return f"{off:.0f} px from where the layout expects it, {reach:.0f} allowed"
    return ""


def _best_within_gate(
    fixed: Tile, moving: Tile, near: Correspondences, model: Model, gate: Gate, needed: int
) -> tuple[Estimate | None, str, Correspondences]:
    """Return the transform with most inliers that agrees with the stage, else the reason, and the points it leaves.

    A transform that does not agree (the same content seen turned, say) takes its inliers with it, and the rest are
    asked again.
    """
    left = np.ones(len(near), bool)
    reason = f"the {len(near)} matches within the stage's error agree on nothing"
    for _ in range(4):
        index = np.flatnonzero(left)
        if len(index) < needed:
            break
        some = near.where(index)
        found = geometry.estimate(some.moving_xy, some.fixed_xy, model, gate.max_error_px, method=gate.estimator)
        if found is None:
            break
        contradiction = _disagreement(fixed, moving, some, found, gate)
        error = np.linalg.norm(geometry.apply(found.to_fixed, near.moving_xy) - near.fixed_xy, axis=1)
        inlier = error < gate.max_error_px
        if not contradiction:
            residual = float(np.sqrt((error[inlier] ** 2).mean()))
            rest = near.where(~inlier)
            return Estimate(found.to_fixed, inlier, residual), "", rest
        if found.inlier.sum() >= needed:
            reason = f"the {int(found.inlier.sum())} matches that agree are {contradiction}"
        left &= ~inlier
    return None, reason, near


def _rival(
    fixed: Tile, moving: Tile, rest: Correspondences, best: Estimate, model: Model, gate: Gate, count: int
) -> str:
    """Return why a second transform makes the first doubtful, or an empty string."""
    enough = max(gate.min_inliers, math.ceil(gate.rival_share * count))
    if len(rest) < enough:
        return ""
    free: Model = "rigid" if model == "homography" else model
    second = geometry.estimate(rest.moving_xy, rest.fixed_xy, free, gate.max_error_px, method=gate.estimator)
    if second is None or second.inlier.sum() < enough or _disagreement(fixed, moving, rest, second, gate):
        return ""
    corners = _overlap_corners(moving, fixed, np.asarray(np.linalg.inv(best.to_fixed), np.float64))
    apart = np.linalg.norm(geometry.apply(second.to_fixed, corners) - geometry.apply(best.to_fixed, corners), axis=1)
    if np.median(apart) <= 4 * gate.max_error_px:  # bent, not repeated
        return ""
    number = int(second.inlier.sum())
    return f"repeated texture: {count} matches agree, and {number} others on a place {np.median(apart):.0f} px away"
