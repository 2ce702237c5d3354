"""Sections that could not be compared: they lie where their neighbours say."""

from __future__ import annotations

from collections.abc import Sequence
from math import remainder, tau

import numpy as np

from demis_ij.geometry import Box
from demis_ij.records import Affine, Offsets


def _between(index: int, usable: Sequence[int], z: Sequence[float]) -> tuple[int, int, float]:
    """Return the places of the usable sections before and after one, and how far it lies towards the second."""
    after = int(np.searchsorted(usable, index))
    if after == 0:
        return 0, 0, 0.0
    if after == len(usable):
        return after - 1, after - 1, 0.0
    low, high = z[usable[after - 1]], z[usable[after]]
    return after - 1, after, (z[index] - low) / (high - low)


def bridged_offsets(offsets: Offsets, usable: Sequence[int], z: Sequence[float]) -> Offsets:
    """Return the fields of all sections: what was found, and linear interpolation along z between.

    Parameters
    ----------
    offsets : ndarray of shape (k, 2, rows, cols)
        Of the usable sections.
    usable : sequence of int
        Their numbers in the stack, rising.
    z : sequence of float
        Section numbers of all.
    """
    out = np.empty((len(z), *offsets.shape[1:]), np.float32)
    for index in range(len(z)):
        if index in usable:
            out[index] = offsets[usable.index(index)]
        else:
            before, after, share = _between(index, usable, z)
            out[index] = (1 - share) * offsets[before] + share * offsets[after]
    return out


def bridged_motions(
    motion: Sequence[Affine], usable: Sequence[int], z: Sequence[float], canvas: Box
) -> tuple[Affine, ...]:
    """Return the motions of all sections: turn, and shift of the middle, interpolated along z between usable ones."""
    middle = np.array([(canvas.x0 + canvas.x1 - 1) / 2, (canvas.y0 + canvas.y1 - 1) / 2])
    out = []
    for index in range(len(z)):
        if index in usable:
            out.append(motion[usable.index(index)])
            continue
        before, after, share = _between(index, usable, z)
        one, two = motion[before], motion[after]
        turn = one.angle + share * remainder(two.angle - one.angle, tau)
        shift = (1 - share) * one(middle) + share * two(middle) - middle
        out.append(Affine.translation(*shift) @ Affine.about(Affine.rigid(turn), middle))
    return tuple(out)
