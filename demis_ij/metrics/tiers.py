"""Poor, bad, decent, good: how well an elastic registration did, judged by numbers instead of the eye.

With truth (`residual_tier`), by the distance from where each pixel belongs, over the central part of the image::

    poor     worse than doing nothing, or more than 1 % folded
    good     mean at most 2 px, and 95 % of pixels within 6 px
    decent   mean at most 4 px
    bad      the rest

Without truth see `demis_ij.metrics.overlap`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError

TIERS = ("poor", "bad", "decent", "good")
"""From worst to best."""

CENTRAL = 0.9
"""Share of each side of the image that is judged, in its middle: beyond it a warp may lead out of the picture."""

Offsets = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TierLimits:
    """Where one tier ends and the next begins.

    Attributes
    ----------
    good_px, good_95_px : float
        Most mean residual, and most 95th percentile, of what is good.
    decent_px : float
        Most mean residual of what is decent.
    folded_frac : float
        What folds more is poor.
    """

    good_px: float = 2.0
    good_95_px: float = 6.0
    decent_px: float = 4.0
    folded_frac: float = 0.01


LIMITS = TierLimits()


@dataclass(frozen=True, kw_only=True)
class Residual:
    """How far a registration is from the truth, over the central part of the image.

    Attributes
    ----------
    tier : str
        Of `TIERS`.
    mean_px, p95_px : float
        Distance of each pixel from where it belongs. Where the registration knows nothing it counts as leaving the
        pixel where it is.
    before_px : float
        Mean distance when nothing is done.
    folded_frac : float
        Share of the known part where the Jacobian determinant is not positive.
    known_frac : float
        Share that the registration knows.
    """

    tier: str
    mean_px: float
    p95_px: float
    before_px: float
    folded_frac: float
    known_frac: float


def central(plane: NDArray[np.float32], share: float = CENTRAL) -> NDArray[np.float32]:
    """Return the middle of an array (..., rows, cols), ``share`` of each side."""
    rows, cols = (round(n * (1 - share) / 2) for n in plane.shape[-2:])
    return plane[..., rows : plane.shape[-2] - rows, cols : plane.shape[-1] - cols]


def residual_tier(found: Offsets, truth: Offsets, *, limits: TierLimits = LIMITS) -> Residual:
    """Return how far offsets are from the true ones, and the tier that follows.

    Parameters
    ----------
    found, truth : ndarray of shape (2, rows, cols)
        (dx, dy) px at every pixel of the fixed image; NaN in ``found`` is not known, the truth is known everywhere.
    limits : TierLimits

    Raises
    ------
    InputError
        When the shapes differ, or the truth is not known everywhere.
    """
    if found.shape != truth.shape or found.ndim != 3 or found.shape[0] != 2 or min(found.shape[1:]) < 4:
        msg = f"two fields of one shape (2, rows, cols) are compared, found {found.shape} and {truth.shape}"
        raise InputError(msg)
    seen, true = central(found).astype(np.float64), central(truth).astype(np.float64)
    if not np.isfinite(true).all():
        msg = "the truth is not known at every pixel of the image: it must be, to be judged against"
        raise InputError(msg)
    known = np.isfinite(seen).all(axis=0)
    away = np.hypot(*(np.where(known, seen, 0.0) - true))
    before = float(np.hypot(*true).mean())
    mean, p95 = float(away.mean()), float(np.percentile(away, 95))
    folded = folded_frac(seen)
    tier = tier_of(mean, p95, before, folded, limits=limits)
    return Residual(
        tier=tier, mean_px=mean, p95_px=p95, before_px=before, folded_frac=folded, known_frac=float(known.mean())
    )


def tier_of(mean_px: float, p95_px: float, before_px: float, folded_frac: float, *, limits: TierLimits = LIMITS) -> str:
    """Return the tier of a residual.

    Examples
    --------
    >>> tier_of(1.0, 3.0, 6.7, 0.0), tier_of(1.0, 9.0, 6.7, 0.0), tier_of(6.7, 14.0, 6.7, 0.0), tier_of(1, 3, 6.7, 0.02)
    ('good', 'decent', 'bad', 'poor')
    """
    if mean_px > before_px * (1 + 1e-6) or folded_frac > limits.folded_frac:
        return "poor"
    if mean_px <= limits.good_px and p95_px <= limits.good_95_px:
        return "good"
    return "decent" if mean_px <= limits.decent_px else "bad"


def folded_frac(offsets: NDArray[np.float64]) -> float:
    """Return the share of pixels whose Jacobian determinant is not positive, of those where it is known; else 0."""
    found = jacobian(offsets)
    known = np.isfinite(found)
    return float((found[known] <= 0).mean()) if known.any() else 0.0


def jacobian(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Jacobian determinant (rows, cols) of offsets (2, rows, cols) at every pixel; NaN beside unknown."""
    xx, yx = np.gradient(offsets[0], axis=1), np.gradient(offsets[1], axis=1)
    xy, yy = np.gradient(offsets[0], axis=0), np.gradient(offsets[1], axis=0)
    return np.asarray((1 + xx) * (1 + yy) - xy * yx)


__all__ = [
    "CENTRAL", "LIMITS", "TIERS", "Residual", "TierLimits", "central", "folded_frac", "jacobian", "residual_tier",
    "tier_of",
]  # fmt: skip
