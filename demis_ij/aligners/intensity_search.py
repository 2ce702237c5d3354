"""Where a picture of few marks lies on another one: turns, scales, all shifts.

As `demis_ij.aligners.structure_search` does it, but by local contrast, of which nobody knows whether bright marks
are bright or dark in the other picture; and with the marks as the template: only what they cover counts, so the empty
part of the picture costs neither evidence nor time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from demis_ij.aligners.intensity import Contrast
from demis_ij.aligners.structure_search import Place, distinct
from demis_ij.records import Affine

LEAST_COVERED = 0.5
"""Share of the marks that must lie on the other picture's data."""


@dataclass(frozen=True)
class SignedPlace(Place):
    """One way that the marks may lie.

    Attributes
    ----------
    to_moving : Affine
        Px of the marks' picture to px of the other.
    score : float
        Absolute normalised correlation of the contrast where the marks are, times the root of their share that is on
        data; about 0.2 by chance on 128 px.
    sign : int
        1 where bright marks are bright in the other picture, -1 where they are dark.
    """

    sign: int


def marked_places(
    marks: Contrast,
    other: Contrast,
    turns: Sequence[float],
    scales: Sequence[float] = (1.0,),
    *,
    least_covered: float = LEAST_COVERED,
    keep: int = 8,
) -> list[SignedPlace]:
    """Return the best places of a picture of marks on another picture, the best first, no two of them alike.

    The middle of the box around the marks lies on the other picture in all of them.

    Parameters
    ----------
    marks, other : Contrast
        Of small pictures of about the same px, of any shapes.
    turns : sequence of float
        Radians, x towards y, of the map from px of the marks to px of the other.
    scales : sequence of float
        Of that map.
    least_covered : float
        Share of the marks that must lie on data of the other.
    keep : int
        How many places, at most.

    Returns
    -------
    list of SignedPlace
        Empty when either picture says nothing, or nothing overlaps so much.
    """
    if not marks.loud.any() or not other.loud.any():
        return []
    field = _Searched(marks, other, least_covered)
    found = [p for turn in turns for scale in scales if (p := field.best(turn, scale)) is not None]
    ordered = sorted(found, key=lambda p: -p.score)
    kept = distinct(ordered, (int(marks.plane.shape[0]), int(marks.plane.shape[1])), keep)
    return [p for p in kept if isinstance(p, SignedPlace)]


class _Searched:
    """The other picture's spectra, made once for each size that is needed."""

    def __init__(self, marks: Contrast, other: Contrast, least_covered: float) -> None:
        self.least_covered, self.shape = least_covered, other.plane.shape
        self.own = np.stack([other.plane, other.plane**2, other.known.astype(np.float32)])
        rows, cols = (np.flatnonzero(marks.loud.any(axis=k)) for k in (1, 0))
        box = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        loud = marks.loud[box].astype(np.float32)
        plane = marks.plane[box] * loud
        self.corner = (float(cols[0]), float(rows[0]))
        self.packed = np.dstack([plane, loud, plane**2])
        self._spectra: dict[tuple[int, int], NDArray[np.complex64]] = {}

    def best(self, turn: float, scale: float) -> SignedPlace | None:
        """Return the best shift at a turn and a scale, or None where the marks are never covered enough."""
        drawn, to_drawn = self._drawn(turn, scale)
        size, own = self._spectra_for(drawn.shape[1:])
        template = np.conj(fft.rfft2(drawn, size))
        products = np.stack([own[0] * template[0], own[1] * template[1], own[2] * template[2], own[2] * template[1]])
        both, other_energy, own_energy, covered = fft.irfft2(products, size)
        most = float(drawn[1].sum())
        enough = covered > max(1.0, self.least_covered * most)
        if not enough.any():
            return None
        length = np.sqrt(np.maximum(other_energy, 0) * np.maximum(own_energy, 0))
        floor = 1e-3 * float(length.max()) + 1e-12
        score = np.where(enough, both / np.maximum(length, floor) * np.sqrt(np.maximum(covered, 0) / most), 0)
        at = np.array(np.unravel_index(int(np.argmax(np.abs(score))), score.shape))
        rows, cols = np.where(at >= self.shape, at - size, at)
        value = float(score[tuple(at)])
        to_other = Affine.translation(float(cols), float(rows)) @ to_drawn
        return SignedPlace(to_other, abs(value), 1 if value > 0 else -1)

    def _spectra_for(self, box: tuple[int, ...]) -> tuple[tuple[int, int], NDArray[np.complex64]]:
        """Return a size and the spectra at it.

        The size leaves room for half of the template: where its middle is on the picture, what wraps around meets
        nothing.
        """
        rows, cols = (int(fft.next_fast_len(n + m // 2 + 1, real=True)) for n, m in zip(self.shape, box, strict=True))
        if (rows, cols) not in self._spectra:
            self._spectra[rows, cols] = fft.rfft2(self.own, (rows, cols))
        return (rows, cols), self._spectra[rows, cols]

    def _drawn(self, turn: float, scale: float) -> tuple[NDArray[np.float32], Affine]:
        """Return the marks, where they are and their energy (3, rows, cols), turned and scaled; the map to there."""
        rows, cols = self.packed.shape[:2]
        linear = Affine.similarity(scale, turn)
        wide = int(np.ceil(abs(linear.a) * cols + abs(linear.b) * rows)) + 2
        high = int(np.ceil(abs(linear.c) * cols + abs(linear.d) * rows)) + 2
        to_drawn = (
            Affine.translation((wide - 1) / 2, (high - 1) / 2)
            @ linear
            @ Affine.translation(-(cols - 1) / 2, -(rows - 1) / 2)
        )
        drawn = cv2.warpAffine(self.packed, to_drawn.matrix[:2], (wide, high), flags=cv2.INTER_LINEAR)
        return np.moveaxis(np.asarray(drawn, np.float32), -1, 0), to_drawn @ Affine.translation(
            -self.corner[0], -self.corner[1]
        )
