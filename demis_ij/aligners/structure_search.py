"""Where one image lies on another when nothing is known: all turns, all scales, all shifts.

For each turn and scale that is asked for the moving image is drawn so, and its structure is correlated with that of
the fixed image at all shifts at once (masked normalised correlation by the fast Fourier transform: Padfield 2012,
doi:10.1109/TIP.2011.2181402, of three planes together). It is done on small images: 64 px a side find a place to some
four px of them, which `demis_ij.aligners.structure_fit` makes exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, exp, hypot, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from demis_ij.aligners.structure import Structure, turned
from demis_ij.records import Affine

LEAST_OVERLAP = 0.3
_FAR_FRAC = 0.08  # of the fixed image's diagonal: corners this far apart on average make another place


@dataclass(frozen=True)
class Place:
    """One way that the moving image may lie.

    Attributes
    ----------
    to_moving : Affine
        Fixed px to moving px.
    score : float
        Normalised correlation of the structure over the overlap, times the root of the overlap's share; about 0.1 by
        chance on 64 px.
    """

    to_moving: Affine
    score: float


def places(
    fixed: Structure,
    moving: Structure,
    turns: Sequence[float],
    scales: Sequence[float] = (1.0,),
    *,
    least_overlap: float = LEAST_OVERLAP,
    keep: int = 4,
) -> list[Place]:
    """Return the best places of one image on another, the best first, no two of them alike.

    Parameters
    ----------
    fixed, moving : Structure
        Of small images of about the same px, of any shapes.
    turns : sequence of float
        Radians, x towards y, of the map from fixed to moving px.
    scales : sequence of float
        Of that map.
    least_overlap : float
        Share of the smaller image's data that must lie on data of the other.
    keep : int
        How many places, at most.

    Returns
    -------
    list of Place
        Empty when either image is blank, or nothing overlaps so much.
    """
    if fixed.is_blank or moving.is_blank:
        return []
    field = _Searched(fixed, moving, least_overlap)
    found = [p for turn in turns for scale in scales if (p := field.best(turn, scale)) is not None]
    return distinct(sorted(found, key=lambda p: -p.score), fixed.shape, keep)


def distinct(ordered: Sequence[Place], shape: tuple[int, int], keep: int) -> list[Place]:
    """Return the first places that lie apart from all before them."""
    corners = np.array([[0, 0], [shape[1] - 1, 0], [shape[1] - 1, shape[0] - 1], [0, shape[0] - 1]], np.float64)
    far = _FAR_FRAC * hypot(*shape)
    out: list[Place] = []
    for place in ordered:
        at = place.to_moving(corners)
        apart = (float(np.linalg.norm(at - other.to_moving(corners), axis=1).mean()) for other in out)
        if all(d > far * place.to_moving.scale for d in apart):
            out.append(place)
        if len(out) == keep:
            break
    return out


class _Searched:
    """The fixed image's spectra, made once for each size that a moving image asks for."""

    def __init__(self, fixed: Structure, moving: Structure, least_overlap: float) -> None:
        self.fixed, self.moving, self.least_overlap = fixed, moving, least_overlap
        self.own = np.concatenate([fixed.planes, fixed.known[None].astype(np.float32), fixed.energy[None]])
        self.area = float(fixed.known.sum())
        self.packed = np.dstack([moving.packed, moving.energy])
        self._spectra: dict[tuple[int, ...], NDArray[np.complex64]] = {}

    def _size(self, shape: tuple[int, ...], least: float) -> tuple[int, ...]:
        """Return the smallest size of a transform at which no shift that counts falls onto another.

        Where two shifts fall together, the widths in common add up to both images' widths less the size. So much less
        is asked for that what they then have in common is too little to count, for both together.
        """
        (rows, cols), (high, wide) = self.fixed.shape, shape
        lengths = rows + high - int(least / min(cols, wide)), cols + wide - int(least / min(rows, high))
        return tuple(int(fft.next_fast_len(n, real=True)) for n in lengths)

    def spectra(self, size: tuple[int, ...]) -> NDArray[np.complex64]:
        """Return the fixed image's spectra at a size."""
        if size not in self._spectra:
            self._spectra[size] = fft.rfft2(self.own, size)
        return self._spectra[size]

    def best(self, turn: float, scale: float) -> Place | None:
        """Return the best shift of the moving image at a turn and a scale, or None where nothing overlaps enough."""
        drawn, to_moving = self._drawn(turn, scale)
        most = min(self.area, float(drawn[3].sum()))
        least = max(1.0, self.least_overlap * most)
        size = self._size(drawn.shape[1:], least)
        own, other = self.spectra(size), fft.rfft2(drawn, size)
        np.conj(other, out=other)
        products = np.empty((4, *other.shape[1:]), np.complex64)
        np.einsum("kij,kij->ij", own[:3], other[:3], out=products[0])
        np.multiply(own[[4, 3, 3]], other[[3, 3, 4]], out=products[1:])
        both, fixed_energy, overlap, moving_energy = fft.irfft2(products, size)
        enough = overlap > least
        if not enough.any():
            return None
        square = np.maximum(fixed_energy, 0) * np.maximum(moving_energy, 0)
        floor = (1e-3 * float(np.sqrt(square.max())) + 1e-12) ** 2
        signed = np.where(enough, both * np.abs(both) * overlap / np.maximum(square, np.float32(floor)), -most)
        at = np.array(np.unravel_index(int(np.argmax(signed)), signed.shape))
        found = float(signed[tuple(at)]) / most  # the score's square, and its sign
        rows, cols = np.where(at >= self.fixed.shape, at - size, at)
        return Place(to_moving @ Affine.translation(-float(cols), -float(rows)), copysign(sqrt(abs(found)), found))

    def _drawn(self, turn: float, scale: float) -> tuple[NDArray[np.float32], Affine]:
        """Return the moving image's planes, what is known and its energy (5, rows, cols), and the map into it."""
        rows, cols = self.moving.shape
        linear = Affine.similarity(scale, turn)
        wide = int(np.ceil((abs(linear.a) * cols + abs(linear.c) * rows) / scale**2))
        high = int(np.ceil((abs(linear.b) * cols + abs(linear.d) * rows) / scale**2))
        to_moving = (
            Affine.translation((cols - 1) / 2, (rows - 1) / 2)
            @ linear
            @ Affine.translation(-(wide - 1) / 2, -(high - 1) / 2)
        )
        drawn = cv2.warpAffine(
            self.packed, to_moving.matrix[:2], (wide, high), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        planes = np.moveaxis(drawn, -1, 0)
        known = (planes[3] > 0.5).astype(np.float32)
        return np.concatenate([turned(planes[:3], turn) * known, known[None], planes[4:] * known]), to_moving


def turns_between(low_deg: float, high_deg: float, step_deg: float) -> list[float]:
    """Return turns, radians, evenly from one to the other, not further apart than a step.

    Examples
    --------
    >>> [round(np.degrees(t)) for t in turns_between(-30, 30, 16)]
    [-30, -15, 0, 15, 30]
    """
    count = max(1, int(np.ceil((high_deg - low_deg) / step_deg - 1e-9)))
    return [float(t) for t in np.radians(np.linspace(low_deg, high_deg, count + 1))]


def scales_between(low: float, high: float, step: float) -> list[float]:
    """Return scales, evenly in their logarithm from one to the other, no step larger than a factor.

    Examples
    --------
    >>> [round(s, 3) for s in scales_between(0.5, 2, 2.0)]
    [0.5, 1.0, 2.0]
    """
    count = max(1, int(np.ceil(np.log(high / low) / np.log(step) - 1e-9)))
    return [exp(v) for v in np.linspace(np.log(low), np.log(high), count + 1)]
