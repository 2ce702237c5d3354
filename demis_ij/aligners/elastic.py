"""Our own elastic registration: cubic B-splines, there and back at once, by Gauss-Newton.

The idea is bUnwarpJ's (Arganda-Carreras et al. 2006, doi:10.1007/11889762_8): two splines, one for either direction,
that make the images alike, are smooth in divergence and curl, and are each other's inverse. The measures of likeness,
the solver and the check of folds are our own; see docs/decisions/0009-elastic-by-gauss-newton.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij.aligners.elastic_landmarks import Landmarks
from demis_ij.aligners.elastic_levels import Level, pyramid
from demis_ij.aligners.elastic_results import (
    ElasticResult,
    coefficients_of,
    field_of,
    fitted,
    missed_px,
    started,
    unfolded,
    way_back,
)  # fmt: skip
from demis_ij.aligners.elastic_solving import solved
from demis_ij.aligners.elastic_verdict import verdict
from demis_ij.aligners.looks import Mask, check_sizes, data_of, is_blank, unknown
from demis_ij.config.elastic import ElasticSettings
from demis_ij.errors import InputError
from demis_ij.fields import folded_frac, least_jacobian
from demis_ij.records import Affine, Field

Progress = Callable[[str, int, int], None]

_LEAST_SIDE = 32  # px
_LEAST_DATA_FRAC = 0.02
_ROUNDING = 1e-7  # of the largest value
_REDUCED = 1.2  # px of the moving image to one of the fixed from where it is smoothed before it is drawn


class ElasticAligner:
    """Consistent elastic registration by cubic B-splines.

    Parameters
    ----------
    settings : ElasticSettings, optional

    Raises
    ------
    InputError
        The device that the settings name is not there.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.add.outer(np.sin(np.arange(64) / 3), np.cos(np.arange(64) / 4)) * 100
    >>> found = ElasticAligner().register(image, image)
    >>> bool(np.abs(found.field.offsets).max() < 0.1)
    True
    """

    name = "spline"

    def __init__(self, settings: ElasticSettings | None = None) -> None:
        self.settings = settings or ElasticSettings()
        self._device = _device(self.settings.device)

    def __call__(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``; NaN when either shows nothing.

        Raises
        ------
        InputError
            When the four arrays are not of one shape.
        """
        shape = check_sizes(fixed, moving, fixed_mask, moving_mask)
        data, stride = (data_of(fixed, fixed_mask), data_of(moving, moving_mask)), self._stride(shape)
        if min(shape) < _LEAST_SIDE or is_blank(fixed, data[0]) or is_blank(moving, data[1]):
            return unknown(shape, stride)
        _, splines, _ = self._solved((fixed, moving), data, None, lambda what, done, total: None)
        return field_of(splines[0], shape, stride)

    def register(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        fixed_mask: Mask | None = None,
        moving_mask: Mask | None = None,
        *,
        start: Affine | None = None,
        landmarks: Landmarks | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> ElasticResult:
        """Return how the moving image lies on the fixed one.

        Parameters
        ----------
        fixed, moving : ndarray of shape (H, W) and (H2, W2)
            Grey values of any type, 32 px or more along each side; of different shapes only with a start.
        fixed_mask, moving_mask : ndarray of the same shapes, bool, optional
            True where there is data; NaN is never data.
        start : Affine, optional
            Fixed px to moving px: about how they lie. The bending comes on top of it.
        landmarks : Landmarks, optional
            Points that are known to be the same.
        progress : callable
            What is being done, how much of it is, and how much there is.

        Raises
        ------
        InputError
            The images are not grey, are too small or of different shapes without a start, a mask has another shape
            than its image, the start cannot be undone, or a landmark lies outside.
        """
        data = _checked(fixed, moving, fixed_mask, moving_mask, start)
        shape, moving_shape = _shape(fixed), _shape(moving)
        if landmarks is not None:
            landmarks.check_inside(shape, moving_shape)
        begin = start or Affine()
        drawn, drawn_mask = _drawn(moving, data[1], begin, shape) if start else (moving, data[1])
        stride = self._stride(shape)
        if _is_flat(fixed, data[0]) or _is_flat(drawn, drawn_mask):
            return _nothing(shape, moving_shape, stride)
        levels, splines, smoothed = self._solved(
            (fixed, drawn), (data[0], drawn_mask), self._points(landmarks, begin), progress
        )
        return self._result(levels, splines, smoothed, begin, shape, moving_shape)

    def _solved(
        self,
        images: tuple[NDArray[Any], NDArray[Any]],
        masks: tuple[Mask, Mask],
        points: tuple[torch.Tensor, torch.Tensor] | None,
        progress: Progress,
    ) -> tuple[list[Level], torch.Tensor, bool]:
        """Return the levels of two images of one shape, their splines, and whether these had to be smoothed."""
        shape = _shape(images[0])
        levels = pyramid(self._tensor(_centred(images, masks)), self._tensor(masks), self.settings)
        splines = solved(levels, shape, self.settings, points, progress)
        return levels, *unfolded(splines, shape, self._stride(shape), self.settings.least_jacobian)

    def _result(
        self,
        levels: list[Level],
        splines: torch.Tensor,
        smoothed: bool,
        start: Affine,
        shape: tuple[int, int],
        moving_shape: tuple[int, int],
    ) -> ElasticResult:
        """Return splines over the fixed image's canvas as a result, with what is to be known of them."""
        stride, intervals = self._stride(shape), splines.shape[-1] - 3
        bent = field_of(splines[0], shape, stride)
        field = started(bent, start)
        back = way_back(splines, bent, start, shape, moving_shape, stride)
        exact = len(splines) == 2 and start == Affine() and shape == moving_shape
        before, after = levels[-1].score(torch.zeros_like(splines)), levels[-1].score(splines)
        held = verdict(levels, shape, self.settings)
        missed, most_missed = missed_px(field, back, shape, moving_shape)
        return ElasticResult(
            field=field,
            inverse=back,
            coefficients=coefficients_of(splines[0], start, shape),
            inverse_coefficients=(
                coefficients_of(splines[1], start, shape) if exact else fitted(back, moving_shape, intervals)
            ),
            folded_frac=folded_frac(bent),
            least_jacobian=min(least_jacobian(field_of(s, shape, stride).offsets, stride) for s in splines),
            smoothed=smoothed,
            consistency_px=missed,
            consistency_95_px=most_missed,
            similarity_before=before,
            similarity_after=after,
            held_out_gain=held.gain,
            standing=held.standing,
            better_than_nothing=not held.reason,
            reason=held.reason,
        )

    def _stride(self, shape: tuple[int, int]) -> int:
        return self.settings.stride_px or max(1, max(shape) // (4 * self.settings.intervals_for(shape)))

    def _tensor(self, planes: Sequence[NDArray[Any]]) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(p, np.float32) for p in planes])).to(self._device)

    def _points(self, landmarks: Landmarks | None, start: Affine) -> tuple[torch.Tensor, torch.Tensor] | None:
        if landmarks is None:
            return None
        pairs = [np.asarray(landmarks.fixed_xy), start.inverse(np.asarray(landmarks.moving_xy))]
        return self._tensor(pairs), self._tensor([np.asarray(landmarks.weights)])[0]


def _shape(image: NDArray[Any]) -> tuple[int, int]:
    rows, cols = np.shape(image)
    return int(rows), int(cols)


def _checked(
    fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask | None, moving_mask: Mask | None, start: Affine | None
) -> tuple[Mask, Mask]:
    """Return where either image has data. Raises `InputError` for what cannot be registered."""
    masks: list[Mask] = []
    for name, image, mask in (("fixed", fixed, fixed_mask), ("moving", moving, moving_mask)):
        if np.ndim(image) != 2 or min(np.shape(image)) < _LEAST_SIDE:
            msg = f"the {name} image is {np.shape(image)}: a grey one of {_LEAST_SIDE} px or more a side is needed"
            raise InputError(msg)
        if mask is not None and np.shape(mask) != np.shape(image):
            msg = f"the {name} mask has the shape {np.shape(mask)}, its image {np.shape(image)}: they must be the same"
            raise InputError(msg)
        masks.append(data_of(image, np.ones(np.shape(image), bool) if mask is None else mask))
    if start is None and np.shape(fixed) != np.shape(moving):
        msg = (
            f"images of {np.shape(fixed)} and {np.shape(moving)} px need a start, which says how one lies on the other"
        )
        raise InputError(msg)
    if start is not None and abs(start.determinant) < 1e-9:
        msg = "the start maps all of the fixed image to one line: it cannot be undone"
        raise InputError(msg)
    return masks[0], masks[1]


def _is_flat(image: NDArray[Any], mask: Mask) -> bool:
    """Return whether an image of any range has too little data, or one grey value but for rounding."""
    values = np.asarray(image)[mask].astype(np.float64)
    if mask.mean() < _LEAST_DATA_FRAC:
        return True
    rounding = 1.0 if np.issubdtype(np.asarray(image).dtype, np.integer) else _ROUNDING * float(np.abs(values).max())
    return not float(values.std()) > rounding


def _centred(images: Sequence[NDArray[Any]], masks: Sequence[Mask]) -> list[NDArray[np.float64]]:
    """Return images about 0 by one shift and one gain for both, and 0 where there is no data."""
    values = [np.asarray(i)[m].astype(np.float64) for i, m in zip(images, masks, strict=True)]
    middle = float(np.mean([v.mean() for v in values]))
    spread = float(np.mean([v.std() for v in values]))
    return [
        np.where(m, (np.where(m, i, 0).astype(np.float64) - middle) / spread, 0.0)
        for i, m in zip(images, masks, strict=True)
    ]


def _drawn(image: NDArray[Any], mask: Mask, start: Affine, shape: tuple[int, int]) -> tuple[NDArray[np.float32], Mask]:
    """Return the moving image and its mask on the fixed one's canvas, smoothed first where it is reduced."""
    grey, data = np.where(mask, image, 0).astype(np.float32), mask.astype(np.float32)
    reduced = float(np.sqrt(abs(start.determinant)))
    if reduced > _REDUCED:
        sigma = 0.5 * float(np.sqrt(reduced**2 - 1))
        weight = np.maximum(cv2.GaussianBlur(data, (0, 0), sigma), 1e-6)
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma) / weight, np.float32)
    rows, cols = shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn, there = (
        cv2.warpAffine(plane, start.matrix[:2], (cols, rows), flags=flags, borderMode=cv2.BORDER_CONSTANT)
        for plane in (grey * data, data)
    )
    return np.asarray(drawn, np.float32), np.asarray(there > 0.99)


def _nothing(shape: tuple[int, int], moving_shape: tuple[int, int], stride: float) -> ElasticResult:
    """Return the answer when one of the images shows nothing."""
    nan = float("nan")
    return ElasticResult(
        field=unknown(shape, stride), inverse=unknown(moving_shape, stride), coefficients=None,
        inverse_coefficients=None, folded_frac=0.0, least_jacobian=nan, smoothed=False, consistency_px=nan,
        consistency_95_px=nan, similarity_before=nan, similarity_after=nan, held_out_gain=nan,
        standing=nan, better_than_nothing=False, reason="one of the images shows nothing where both have data",
    )  # fmt: skip


def _device(name: str) -> torch.device:
    """Return a device by name. Raises `InputError` when it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        msg = "device: there is no GPU that torch can use; choose cpu or auto"
        raise InputError(msg)
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


__all__ = ["ElasticAligner", "ElasticResult", "ElasticSettings", "Landmarks"]
