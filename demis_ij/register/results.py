"""What comes out of registering two images."""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees
from typing import Any

import numpy as np

from demis_ij.records import Affine

NEEDED = 8.5
"""Standard deviations that a place stands out by when it is believed; strangers were seen to reach 7.2."""


@dataclass(frozen=True)
class Attempt:
    """A place that was found, not yet believed; px of the looks.

    Attributes
    ----------
    to_moving : Affine
        Px of the fixed look to px of the moving one.
    score : float
        Correlation of what was compared, where both are, -1 to 1.
    overlap : float
        Share of the fixed image's data that the moving image covers.
    sigma_px : float
        Expected error of the fixed look's corners.
    standing : float
        By how many standard deviations the place stands out from other shifts.
    needed : float
        By how many it must, to be believed.
    """

    to_moving: Affine
    score: float
    overlap: float
    sigma_px: float
    standing: float
    needed: float = NEEDED


@dataclass(frozen=True)
class Registration:
    """How one image lies on another.

    Attributes
    ----------
    matched : bool
        Whether the two show the same; when not, ``to_moving`` is None.
    to_moving : Affine or None
        Px of the fixed image to px of the moving image.
    sigma_px : float
        Expected error at the corners of the fixed image (of the moving one, where that is a part of it), its px, root
        mean square; infinite when not matched.
    score : float
        Correlation of the structure where both are, -1 to 1; of the contrast where the marks are, if found so.
    standing : float
        By how many standard deviations that stands out from the same correlation at other shifts; some 6 by chance.
    overlap : float
        Share of the fixed image's data that the moving image covers.
    method : str
        What found it: network, near search, intensity search, wide search, a baseline, landmarks, or none when the
        images were taken to lie on each other. Of the last two sigma, score and standing are NaN.
    reason : str
        Why they do not match, or could not be compared; empty when matched.
    milliseconds : float
        All of it, from images in memory.
    needed : float
        What ``standing`` must be for a match.
    """

    matched: bool
    to_moving: Affine | None
    sigma_px: float
    score: float
    standing: float
    overlap: float
    method: str
    reason: str
    milliseconds: float
    needed: float = NEEDED

    @property
    def to_fixed(self) -> Affine | None:
        """Px of the moving image to px of the fixed one."""
        return None if self.to_moving is None else self.to_moving.inverse

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it; angle in degrees, x towards y, and scale are those of ``to_moving``."""
        there = self.to_moving
        return {
            "matched": self.matched,
            "to_moving": None if there is None else there.rows,
            "to_fixed": None if there is None else there.inverse.rows,
            "angle_deg": None if there is None else degrees(there.angle),
            "scale": None if there is None else there.scale,
            "sigma_px": self.sigma_px if np.isfinite(self.sigma_px) else None,
            "score": self.score if np.isfinite(self.score) else None,
            "standing": self.standing if np.isfinite(self.standing) else None,
            "overlap": self.overlap,
            "method": self.method,
            "reason": self.reason,
            "milliseconds": round(self.milliseconds, 1),
        }


def unmatched(reason: str, method: str, milliseconds: float = 0.0) -> Registration:
    """Return that two images do not match, and why."""
    return Registration(False, None, float("inf"), 0.0, 0.0, 0.0, method, reason, milliseconds)
