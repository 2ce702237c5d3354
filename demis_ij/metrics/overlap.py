"""Poor, bad, decent, good where no truth is known: by structures that lie on each other.

Images of unlike instruments share outlines, not greys. Three things are looked at:

**Edges.** Gradient magnitudes, evened out, of the fixed and of the registered image. Block by block it is asked how far
the registered edges would have to be shifted to fit best. A block says a px or so even where all is right, for its
pixels are noisy; the mean over blocks follows the true residual (see docs/howto/tiers.md).

**Mutual information** of greys and the correlation of edges, before and after: who loses edges is worse than doing
nothing, and who loses information is bad at best.

**Jacobian.** Who folds, or stretches and shrinks without end, has bent the image onto noise: edges then agree for the
wrong reason. The strain is the standard deviation of the logarithm of the Jacobian determinant.

::

    poor     more than 1 % folded, or edges are less alike than before
    good     blocks off by at most 2 px on average, strain at most 0.3
    decent   blocks off by at most 3.8 px on average, strain at most 0.45
    bad      the rest
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.metrics.tiers import LIMITS as RESIDUAL_LIMITS
from demis_ij.metrics.tiers import Offsets, central, jacobian

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

BLOCK_PX, STEP_PX, REACH_PX = 96, 48, 10
"""Side of a block, from block to block, and how far a better place is looked for."""
_EDGE_PX = 1.0  # sigma that edges are taken at
_EVEN_PX = 24.0  # of the window in which they are evened out
_MOST_EDGE = 4.0  # times what is usual around
_GREY_PX = 2.0  # sigma that greys are compared at
_BINS = 32
_LEAST_KNOWN = 0.6  # of a block
_LEAST_BLOCKS = 4


@dataclass(frozen=True, kw_only=True)
class OverlapLimits:
    """Where one tier ends and the next begins, without truth; see the module.

    Attributes
    ----------
    good_px, decent_px : float
        Most mean shift of blocks.
    good_strain, decent_strain : float
        Most strain.
    folded_frac : float
        What folds more is poor.
    """

    good_px: float = 2.0
    decent_px: float = 3.8
    good_strain: float = 0.3
    decent_strain: float = 0.45
    folded_frac: float = RESIDUAL_LIMITS.folded_frac


LIMITS = OverlapLimits()


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How well structures of a fixed and a registered image lie on each other.

    Attributes
    ----------
    tier : str
        Of `demis_ij.metrics.tiers.TIERS`.
    reason : str
        What decided.
    shift_px : float
        How far blocks of edges are from where they would fit best, mean; NaN when there are too few.
    blocks : int
        How many were compared.
    edges_before, edges_after : float
        Correlation of evened edges.
    information_before, information_after : float
        Mutual information of smoothed greys, nats.
    strain : float
        Standard deviation of the logarithm of the Jacobian determinant.
    folded_frac : float
        Share of the known part where the Jacobian determinant is not positive.
    known_frac : float
        Share of the fixed image's middle where both show something.
    """

    tier: str
    reason: str
    shift_px: float
    blocks: int
    edges_before: float
    edges_after: float
    information_before: float
    information_after: float
    strain: float
    folded_frac: float
    known_frac: float


def overlap_tier(
    fixed: NDArray[np.generic], moving: NDArray[np.generic], offsets: Offsets, *, fixed_mask: Mask | None = None,
    moving_mask: Mask | None = None, limits: OverlapLimits = LIMITS,
) -> Overlap:  # fmt: skip
    """Return how well a moving image lies on a fixed one by offsets, and the tier that follows.

    Parameters
    ----------
    fixed, moving : ndarray of shape (rows, cols), of one shape
        Grey values.
    offsets : ndarray of shape (2, rows, cols)
        (dx, dy) px: ``registered(x, y) = moving(x + dx, y + dy)``; NaN where nothing is known.
    fixed_mask, moving_mask : ndarray of shape (rows, cols), bool, optional
        True where there is data.
    limits : OverlapLimits

    Raises
    ------
    InputError
        When the shapes differ, or the image is smaller than a block and its surroundings.
    """
    shape = _checked(fixed, moving, offsets)
    own = np.ones(shape, bool) if fixed_mask is None else np.asarray(fixed_mask, bool)
    theirs = np.ones(shape, bool) if moving_mask is None else np.asarray(moving_mask, bool)
    greys = [np.nan_to_num(np.asarray(image, np.float32)) for image in (fixed, moving)]
    registered, shown = _registered(greys[1], theirs, offsets)
    after, before = own & shown, own & theirs
    edges = [_edges(plane, mask) for plane, mask in ((greys[0], own), (registered, shown), (greys[1], theirs))]
    shifts = _shifts(edges[0], edges[1], after)
    area = jacobian(central(offsets).astype(np.float64))
    known = np.isfinite(area)
    folded = float((area[known] <= 0).mean()) if known.any() else 0.0
    strain = float(np.log(np.clip(area[known], 0.05, 20)).std()) if known.any() else 0.0
    found = {
        "shift_px": float(shifts.mean()) if len(shifts) >= _LEAST_BLOCKS else float("nan"),
        "edges_before": _correlation(edges[0], edges[2], before),
        "edges_after": _correlation(edges[0], edges[1], after),
        "information_before": _information(greys[0], greys[1], before),
        "information_after": _information(greys[0], registered, after),
        "strain": strain,
        "folded_frac": folded,
        "known_frac": float(central(after.astype(np.float32)).mean()),
    }
    tier, reason = _tier(found, limits)
    return Overlap(tier=tier, reason=reason, blocks=len(shifts), **found)


def _tier(found: dict[str, float], limits: OverlapLimits) -> tuple[str, str]:
    shift, strain = found["shift_px"], found["strain"]
    if found["folded_frac"] > limits.folded_frac:
        return "poor", f"{found['folded_frac']:.1%} is folded"
    if np.isnan(shift):
        return "bad", "too little is shown by both to be judged"
    if found["edges_after"] < found["edges_before"]:
        return "poor", "edges are less alike than before"
    if found["information_after"] < found["information_before"]:
        return "bad", "greys say less of each other than before"
    said = f"edges are off by {shift:.1f} px, strain {strain:.2f}"
    if shift <= limits.good_px and strain <= limits.good_strain:
        return "good", said
    return ("decent" if shift <= limits.decent_px and strain <= limits.decent_strain else "bad"), said


def _checked(fixed: NDArray[np.generic], moving: NDArray[np.generic], offsets: Offsets) -> tuple[int, int]:
    least = BLOCK_PX + 2 * REACH_PX
    if fixed.ndim != 2 or fixed.shape != moving.shape or offsets.shape != (2, *fixed.shape) or min(fixed.shape) < least:
        msg = (
            f"needed two grey images of one shape, {least} px or more a side, and offsets (2, rows, cols) for each px, "
            f"found {fixed.shape}, {moving.shape} and {offsets.shape}"
        )
        raise InputError(msg)
    return int(fixed.shape[0]), int(fixed.shape[1])


def _registered(moving: Plane, mask: Mask, offsets: Offsets) -> tuple[Plane, Mask]:
    """Return the moving image as offsets show it, and where it shows data."""
    y, x = np.mgrid[: moving.shape[0], : moving.shape[1]].astype(np.float32)
    at = [np.where(np.isfinite(o), o + p, -9).astype(np.float32) for o, p in zip(offsets, (x, y), strict=True)]
    seen = cv2.remap(mask.astype(np.float32), at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.99
    return np.asarray(cv2.remap(moving, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)), seen


def _edges(plane: Plane, mask: Mask) -> Plane:
    """Return gradient magnitudes over what is usual around, 0 where there is no data, nor within some px of it."""
    smooth = cv2.GaussianBlur(plane, (0, 0), _EDGE_PX)
    found = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    side = int(2 * np.ceil(3 * _EDGE_PX) + 3)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8), borderValue=1) > 0
    found = np.where(inner, found, 0).astype(np.float32)
    weight = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), _EVEN_PX)
    usual = cv2.GaussianBlur(found, (0, 0), _EVEN_PX) / np.maximum(weight, 1e-3)
    least = 1e-3 * max(float(found.max()), 1e-6)
    return np.minimum(found / (usual + least), np.float32(_MOST_EDGE)).astype(np.float32)


def _shifts(fixed: Plane, registered: Plane, known: Mask) -> NDArray[np.float64]:
    """Return how far each block of edges would have to be shifted to fit best, px."""
    out = []
    rows, cols = fixed.shape
    for top in range(REACH_PX, rows - BLOCK_PX - REACH_PX + 1, STEP_PX):
        for left in range(REACH_PX, cols - BLOCK_PX - REACH_PX + 1, STEP_PX):
            box = slice(top, top + BLOCK_PX), slice(left, left + BLOCK_PX)
            if known[box].mean() < _LEAST_KNOWN or fixed[box].std() == 0:
                continue
            around = registered[
                top - REACH_PX : top + BLOCK_PX + REACH_PX, left - REACH_PX : left + BLOCK_PX + REACH_PX
            ]
            fit = cv2.matchTemplate(around, fixed[box], cv2.TM_CCOEFF_NORMED)
            best = np.unravel_index(int(fit.argmax()), fit.shape)
            out.append(float(np.hypot(best[0] - REACH_PX, best[1] - REACH_PX)))
    return np.array(out)


def _correlation(one: Plane, other: Plane, known: Mask) -> float:
    """Return the correlation of two planes where both are known; 0 where one is flat."""
    a, b = (central(p)[central(known.astype(np.float32)) > 0].astype(np.float64) for p in (one, other))
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))


def _information(one: Plane, other: Plane, known: Mask) -> float:
    """Return the mutual information of smoothed greys, nats; 0 where nothing is known."""
    inside = central(known.astype(np.float32)) > 0
    if inside.sum() < 2:
        return 0.0
    a, b = (central(np.asarray(cv2.GaussianBlur(p, (0, 0), _GREY_PX), np.float32))[inside] for p in (one, other))
    joint, _, _ = np.histogram2d(a, b, _BINS)
    joint /= joint.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / apart[there])).sum())


__all__ = ["LIMITS", "Overlap", "OverlapLimits", "overlap_tier"]
