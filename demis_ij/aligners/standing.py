"""Whether two images match: how far the correlation where they lie stands out from that elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import fft

from demis_ij.aligners.structure import Structure, turned
from demis_ij.records import Affine

STANDS_OUT = 8.5
"""Standard deviations from which a place is no chance; strangers were seen to reach 6.2, pairs at least 13."""
_FAR_FRAC = 1 / 12  # of the shorter side: shifts beyond that are elsewhere
_LEAST_COMMON = 0.4  # of the overlap, that a shift elsewhere must have


def standing(fixed: Structure, moving: Structure, to_moving: Affine) -> float:
    """Return by how many standard deviations a place stands out from all shifts elsewhere; 0 for no place at all.

    The correlation of images that have nothing in common scatters as one over the root of what is compared; it is
    weighted by that root, so that small overlaps do not count as far out.

    Parameters
    ----------
    fixed, moving : Structure
        Of one resolution.
    to_moving : Affine
        Fixed px to moving px, at that resolution.
    """
    rows, cols = fixed.shape
    drawn = cv2.warpAffine(
        moving.packed, to_moving.matrix[:2], (cols, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    planes = np.moveaxis(drawn, -1, 0)
    known = (planes[3] > 0.99).astype(np.float32)
    there = turned(planes[:3], to_moving.angle) * known
    size = tuple(int(fft.next_fast_len(2 * n, real=True)) for n in fixed.shape)
    own = np.concatenate([fixed.planes, fixed.known[None].astype(np.float32), fixed.energy[None]])
    other = np.concatenate([there, known[None], (there**2).sum(axis=0)[None]])
    one, two = fft.rfft2(own, size), np.conj(fft.rfft2(other, size))
    products = np.stack([(one[:3] * two[:3]).sum(axis=0), one[4] * two[3], one[3] * two[3], one[3] * two[4]])
    both, fixed_energy, common, moving_energy = fft.irfft2(products, size)
    length = np.sqrt(np.maximum(fixed_energy, 0) * np.maximum(moving_energy, 0))
    if not length[0, 0] > 0:
        return 0.0
    score = both / np.maximum(length, 1e-3 * length.max()) * np.sqrt(np.maximum(common, 0))
    y, x = (np.fft.fftfreq(n, 1 / n) for n in size)
    elsewhere = (common > _LEAST_COMMON * common[0, 0]) & (np.hypot(y[:, None], x) > _FAR_FRAC * min(fixed.shape))
    if elsewhere.sum() < 16:
        return 0.0
    return float((score[0, 0] - score[elsewhere].mean()) / max(float(score[elsewhere].std()), 1e-9))
