"""What a turn, a scale and a shift leave over: two images that lie on each other are bent until their structures do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.elastic_landmarks import Landmarks
from demis_ij.aligners.structure import Mask
from demis_ij.config.elastic import ElasticSettings
from demis_ij.config.registering import RegisterConfig
from demis_ij.fields import dense, nodes
from demis_ij.formats.splines import CubicSpline
from demis_ij.geometry import Box
from demis_ij.metrics.overlap import Overlap, overlap_tier
from demis_ij.records import Affine, Field, Offsets, Warp
from demis_ij.register.looks import Look, looked_at

if TYPE_CHECKING:
    from demis_ij.aligners.elastic_results import ElasticResult

Progress = Callable[[str, int, int], None]
_LEAST_JUDGED_PX = 120  # a side: smaller images have too few blocks


@dataclass(frozen=True, eq=False)
class Bent:
    """How a moving image lies on a fixed one, bent.

    Attributes
    ----------
    fixed, moving : Look
        What was compared, reduced.
    start : Affine
        Px of the fixed look to px of the moving one, before anything was bent.
    found : ElasticResult
        In px of the looks.
    shape, moving_shape : tuple of int
        (rows, cols) of the images themselves.
    factors : tuple of float
        By how much the fixed and the moving image were reduced.
    """

    fixed: Look
    moving: Look
    start: Affine
    found: ElasticResult
    shape: tuple[int, int]
    moving_shape: tuple[int, int]
    factors: tuple[float, float]

    @property
    def better_than_nothing(self) -> bool:
        """Whether what did not steer has become more alike, too, and no one has found it worse since."""
        return self.found.better_than_nothing

    def dropped(self, reason: str) -> Bent:
        """Return the same without what was bent, and why."""
        return replace(self, found=replace(self.found, better_than_nothing=False, reason=reason))

    @property
    def to_moving(self) -> Warp:
        """Px of the fixed image to points of the moving one; without what was bent where that is no better."""
        bent = self.found.field if self.better_than_nothing else None
        return _whole(self.fixed, bent, self.start, self.moving, self.shape)

    @property
    def to_fixed(self) -> Warp:
        """Px of the moving image to points of the fixed one."""
        bent = self.found.inverse if self.better_than_nothing else None
        return _whole(self.moving, bent, self.start.inverse, self.fixed, self.moving_shape)

    @property
    def splines(self) -> tuple[CubicSpline, CubicSpline] | None:
        """What bUnwarpJ's files hold, to the moving image and back; None where images were reduced."""
        there, back = self.found.coefficients, self.found.inverse_coefficients
        whole = self.fixed.to_full == Affine() == self.moving.to_full
        if not (whole and self.better_than_nothing) or there is None or back is None:
            return None
        return CubicSpline(there[0], there[1], self.shape), CubicSpline(back[0], back[1], self.moving_shape)

    @cached_property
    def offsets(self) -> Offsets:
        """(2, rows, cols): what is bent at each px of the fixed look, without the start; px of that look."""
        box = Box.of_shape(self.fixed.image.shape)
        return dense(Warp((self.found.field, self.start.inverse), (box.height, box.width)), box)

    def judged(self, fixed: NDArray[Any], moving: NDArray[Any]) -> Overlap | None:
        """Return how well structures of both images lie on each other; None where they are too small to tell.

        Parameters
        ----------
        fixed, moving : ndarray
            The images themselves, or as they are compared; of the shapes that were registered.
        """
        if min(self.fixed.image.shape) < _LEAST_JUDGED_PX:
            return None
        one, two = (looked_at(np.asarray(i), None, f) for i, f in zip((fixed, moving), self.factors, strict=True))
        drawn, mask = drawn_at(two, self.start, one.image.shape)
        return overlap_tier(one.image, drawn, self.offsets, fixed_mask=one.mask, moving_mask=mask)

    @property
    def facts(self) -> dict[str, Any]:
        """What is to be told, as JSON types; lengths in px of the fixed image."""
        step, length = self.fixed.to_full.scale, np.hypot(*self.offsets)
        known = length[np.isfinite(length)]
        usual, most = (float(step * v) for v in np.percentile(known, (50, 100))) if known.size else (None, None)
        found = self.found
        return {
            "better_than_nothing": found.better_than_nothing,
            "reason": found.reason,
            "bent_px": usual,
            "bent_most_px": most,
            "folded_frac": found.folded_frac,
            "least_jacobian": _number(found.least_jacobian),
            "inverse_consistency_px": _number(step * found.consistency_px),
            "similarity_before": _number(found.similarity_before),
            "similarity_after": _number(found.similarity_after),
            "gain_standard_errors": _number(found.held_out_gain),
            "marks_stand_out": _number(found.standing),
        }


def bent(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    start: Affine,
    config: RegisterConfig,
    *,
    fixed_mask: Mask | None = None,
    moving_mask: Mask | None = None,
    landmarks: Landmarks | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Bent:
    """Return how two images that lie on each other must be bent.

    Parameters
    ----------
    fixed, moving : ndarray of shape (H, W) and (H2, W2)
        Grey values of any type.
    start : Affine
        Fixed px to moving px.
    config : RegisterConfig
        ``similarity``, ``stiffness``, ``bend_side_px``, ``device``.
    fixed_mask, moving_mask : ndarray of bool, optional
        True where there is data.
    landmarks : Landmarks, optional
        Points known to be the same, px of the images.
    progress : callable
        What is being done, how much of it is, and how much there is.

    Raises
    ------
    InputError
        When an image is too small, or a landmark lies outside.
    """
    from demis_ij.aligners.elastic import ElasticAligner  # torch, only when it is needed

    (rows, cols), (moving_rows, moving_cols) = np.shape(fixed), np.shape(moving)
    shape, moving_shape = (int(rows), int(cols)), (int(moving_rows), int(moving_cols))
    first = max(1.0, max(shape) / config.bend_side_px)
    second = max(1.0, first * start.scale)
    one, two = looked_at(np.asarray(fixed), fixed_mask, first), looked_at(np.asarray(moving), moving_mask, second)
    begin = two.to_full.inverse @ start @ one.to_full
    points = landmarks
    if landmarks is not None:
        landmarks.check_inside(shape, moving_shape)
        there, back = one.to_full.inverse(landmarks.fixed_xy), two.to_full.inverse(landmarks.moving_xy)
        points = replace(landmarks, fixed_xy=there, moving_xy=back)
    aligner = ElasticAligner(settings_of(config))
    # where nothing is turned, scaled or shifted the way back is as exact as the way there
    lies_on_it = begin == Affine() and one.image.shape == two.image.shape
    found = aligner.register(
        one.image, two.image, one.mask, two.mask, start=None if lies_on_it else begin, landmarks=points,
        progress=progress,
    )  # fmt: skip
    return Bent(one, two, begin, found, shape, moving_shape, (first, second))


def settings_of(config: RegisterConfig) -> ElasticSettings:
    """Return the settings of the elastic registration."""
    usual = ElasticSettings()
    return ElasticSettings(
        similarity=config.similarity,
        divergence_weight=usual.divergence_weight * config.stiffness,
        curl_weight=usual.curl_weight * config.stiffness,
        device="cpu" if config.device == "mps" else config.device,
    )


def drawn_at(look: Look, at: Affine, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], Mask]:
    """Return a look on another grid, ``at`` leading from there to its px, and where it has data."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    share = look.mask.astype(np.float32)
    drawn, known = (cv2.warpAffine(a, at.matrix[:2], shape[::-1], flags=flags) for a in (look.image * share, share))
    return np.asarray(drawn / np.maximum(known, 1e-6), np.float32), np.asarray(known > 0.99)


def _whole(one: Look, bent: Field | None, start: Affine, two: Look, shape: tuple[int, int]) -> Warp:
    """Return how one image lies on another, from how their looks do.

    The outermost px of an image lie beyond the outermost centres of its look, where the nearest node of a field counts:
    there the bending is kept as it is, and the start goes on.
    """
    alone: tuple[Field, ...] = ()
    if bent is not None:
        at = nodes(bent.grid, bent.stride)
        moved = start.inverse(bent(at)) - at
        alone = (Field(np.moveaxis(moved, -1, 0).astype(np.float32), bent.stride),)
    parts: tuple[Field | Affine, ...] = (one.to_full.inverse, *alone, start, two.to_full)
    return Warp(tuple(p for p in parts if not (isinstance(p, Affine) and p == Affine())), shape)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


__all__ = ["Bent", "bent", "drawn_at", "settings_of"]
