"""How far tiles are stretched or sheared: the Green strain (G^T G - 1) / 2, which no turn, however large, adds to."""

from __future__ import annotations

import numpy as np

from demis_ij.solvers.tables import Array

STRETCHED = ("similarity", "affine")
"""Models whose tiles may be stretched; their strain is held by a weight."""


def strains(motion: Array) -> Array:
    """Return (n, 4): the entries of each motion's strain."""
    linear = motion[:, :, :2]
    return np.asarray(((linear.transpose(0, 2, 1) @ linear - np.eye(2)) / 2).reshape(-1, 4))


def strain_changes(motion: Array, basis: Array) -> Array:
    """Return (n, d, 4): how each strain changes along each of the tile's tangents (n, d, 2, 3)."""
    change = motion[:, :, :2].transpose(0, 2, 1)[:, None] @ basis[..., :2]
    return np.asarray(((change + change.transpose(0, 1, 3, 2)) / 2).reshape(len(motion), basis.shape[1], 4))


def strain_squares(motion: Array) -> float:
    """Return the sum of the squares of all strains."""
    values = strains(motion)
    return float(np.einsum("na,na->", values, values))
