"""Whether two images match: how far the correlation where they lie stands out from that elsewhere.

What images that have nothing in common correlate by at some shift comes from the few coarse waves that hold most of
their structure. *Whitened*, every wave counts by what it tells of the place and not by its strength (the phase
correlation of Kuglin & Hines 1975, with the mean spectra of rings in place of each wave's own, so that noise of one
wave is not blown up). Strangers stand out no further by that, right places further where fine structure is left, and
less far where blur and noise took it, so that both ways are asked.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from demis_ij.aligners.structure import Structure, turned
from demis_ij.records import Affine

STANDS_OUT = 8.5
"""Standard deviations from which a place is no chance; strangers were seen to reach 6.2, pairs at least 13."""
_FAR_FRAC = 1 / 12  # of the shorter side: shifts beyond that are elsewhere
_LEAST_COMMON = 0.4  # of the overlap, that a shift elsewhere must have
_FINEST = 0.1  # cycles a px: what is finer counts less, for a place is not known to a px (Gaussian)
_RINGS = 64  # of the spectrum, from none to half a cycle a px
_FAINTEST = 1e-3  # of the strongest ring: what is weaker is noise

Waves = NDArray[np.complex64]
Plane = NDArray[np.float32]


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
    there, known = _brought(moving, to_moving, fixed.shape)
    size = _size(fixed)
    own = np.concatenate([fixed.planes, fixed.known[None].astype(np.float32), fixed.energy[None]])
    other = np.concatenate([there, known[None], (there**2).sum(axis=0)[None]])
    one, two = fft.rfft2(own, size), np.conj(fft.rfft2(other, size))
    products = np.stack([(one[:3] * two[:3]).sum(axis=0), one[4] * two[3], one[3] * two[3], one[3] * two[4]])
    both, fixed_energy, common, moving_energy = fft.irfft2(products, size)
    length = np.sqrt(np.maximum(fixed_energy, 0) * np.maximum(moving_energy, 0))
    if not length[0, 0] > 0:
        return 0.0
    score = both / np.maximum(length, 1e-3 * length.max()) * np.sqrt(np.maximum(common, 0))
    return _stands_out(score, common, fixed.shape)


def whitened_standing(fixed: Structure, moving: Structure, to_moving: Affine) -> float:
    """Return the same where every wave of the structure counts by what it tells of the place; 0 for no place at all.

    It takes a place that is right to about a px and a half of this resolution.

    Parameters
    ----------
    fixed, moving : Structure
        Of one resolution.
    to_moving : Affine
        Fixed px to moving px, at that resolution.
    """
    there, known = _brought(moving, to_moving, fixed.shape)
    size = _size(fixed)
    own, other = (fft.rfft2(planes, size) for planes in (fixed.planes, there))
    shares = [fft.rfft2(share, size) for share in (fixed.known.astype(np.float32), known)]
    across, down = np.fft.rfftfreq(size[1]), np.fft.fftfreq(size[0])
    finest = np.hypot(down[:, None], across).astype(np.float32)
    strength = _by_rings(own, finest) * _by_rings(other, finest)
    if not strength.any():
        return 0.0
    strength += _FAINTEST * strength.max(axis=(1, 2), keepdims=True) + np.finfo(np.float32).tiny
    told = (own * np.conj(other) / np.sqrt(strength)).sum(axis=0) * np.exp(-((finest / _FINEST) ** 2) / 2)
    both, common = fft.irfft2(np.stack([told, shares[0] * np.conj(shares[1])]), size)
    return _stands_out(both / np.sqrt(np.maximum(common, 1)), common, fixed.shape)


def _brought(moving: Structure, to_moving: Affine, shape: tuple[int, int]) -> tuple[Plane, Plane]:
    """Return the moving planes as they lie on the fixed image, and where they are known (1)."""
    drawn = cv2.warpAffine(
        moving.packed, to_moving.matrix[:2], shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    planes = np.moveaxis(drawn, -1, 0)
    known = (planes[3] > 0.99).astype(np.float32)
    return turned(planes[:3], to_moving.angle) * known, known


def _size(fixed: Structure) -> tuple[int, ...]:
    """Return the size of a transform at which no shift falls onto another."""
    return tuple(int(fft.next_fast_len(2 * n, real=True)) for n in fixed.shape)


def _by_rings(waves: Waves, cycles: Plane) -> Plane:
    """Return the mean power of waves of like length, for each plane, at each wave."""
    ring = np.minimum((cycles * (2 * _RINGS)).astype(np.intp), _RINGS).ravel()
    count = np.maximum(np.bincount(ring), 1)
    power = (np.bincount(ring, (np.abs(plane) ** 2).ravel()) / count for plane in waves)
    return np.stack([np.asarray(mean, np.float32)[ring].reshape(cycles.shape) for mean in power])


def _stands_out(score: Plane, common: Plane, shape: tuple[int, int]) -> float:
    """Return by how many standard deviations no shift at all scores above shifts elsewhere; ``common`` in px."""
    y, x = (np.fft.fftfreq(n, 1 / n) for n in score.shape)
    elsewhere = (common > _LEAST_COMMON * common[0, 0]) & (np.hypot(y[:, None], x) > _FAR_FRAC * min(shape))
    if elsewhere.sum() < 16:
        return 0.0
    return float((score[0, 0] - score[elsewhere].mean()) / max(float(score[elsewhere].std()), 1e-9))


__all__ = ["STANDS_OUT", "standing", "whitened_standing"]
