"""How much of a displacement is the section's own deformation, and how much the tissue's course.

Take the positions ``c_i`` that align every section with its neighbours perfectly. They are the sum of what each
section was deformed by, which has nothing to do with its neighbours (white along the stack, variance ``s``), and of
how the tissue itself goes on from section to section (a random walk, variance ``t`` a step), which must stay. In the
cosine transform along the stack the sum has, at frequency k of n, the variance ``s (1 + a / l_k)`` with
``l_k = 2 - 2 cos(pi k / n)`` and ``a = t / s``; so ``a`` follows from the data by maximum likelihood, and the best
estimate of the deformation is ``c`` times ``l_k / (l_k + a)`` (Wiener 1949): the joint least-squares solution with an
anchor of weight ``a``. Deformations are smooth and tissue is not, so each band of spatial frequencies has an anchor of
its own. Without any deformation ``a`` is large and nothing moves; the mean over the stack (k = 0) never moves.

Sections may have been misplaced by a random walk themselves, each relative to the one before; that looks like tissue.
But tissue does not jump as a whole: what is left between neighbours in the bands that span the canvas is held below a
bound, and the anchor lowered until it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, dctn, idct, idctn

from demis_ij.records import Offsets

_EDGES = (0, 1, 2, 4, 8, 16)
"""Lower ends of the bands, half waves over the canvas; the last goes on for ever."""
_LARGE = 3
"""As many bands hold the large structures."""
_CANDIDATES = np.geomspace(1e-3, 1e4, 141)


def released(
    positions: Offsets, *, anchor: float = 1.0, follow: float = 0.3, most_step_px: float = np.inf
) -> tuple[Offsets, tuple[float, ...]]:
    """Return the part of displacements that deformed the sections, and the anchor of each band.

    Parameters
    ----------
    positions : ndarray of shape (n, 2, rows, cols)
        Displacements that align every section with its neighbours.
    anchor : float
        Multiplies what the data say.
    follow : float
        The anchor of a band of small structures is at most that of the large ones, or this where that is less: there
        deformation and tissue can hardly be told apart, both are fractions of a pixel, and following costs nothing.
    most_step_px : float
        What may be left between neighbouring sections in each band of large structures, root mean square.

    Returns
    -------
    offsets : ndarray of shape (n, 2, rows, cols), float32
        Zero when there is one section only.
    anchors : tuple of float
        Coarse to fine; bands that the grid does not hold are left out.
    """
    count = len(positions)
    if count < 2:
        return np.zeros_like(positions), ()
    waves = dctn(positions, axes=(0, 2, 3), norm="ortho")[1:]
    stiffness = 2 - 2 * np.cos(np.pi * np.arange(1, count) / count)
    anchors: list[float] = []
    for band in _bands(positions.shape[2], positions.shape[3]):
        power = (waves[:, :, band] ** 2).reshape(count - 1, -1).sum(axis=1)
        found = _likeliest(power, stiffness) * anchor
        if len(anchors) < _LARGE:
            found = _stepping_little(found, power / positions[:, 0].size, stiffness, most_step_px)
        else:
            found = min(found, max(follow, float(np.median(anchors[:_LARGE]))))
        anchors.append(found)
        waves[:, :, band] *= (stiffness / (stiffness + found))[:, None, None]
    whole = np.concatenate([np.zeros_like(waves[:1]), waves])
    return np.asarray(idctn(whole, axes=(0, 2, 3), norm="ortho"), np.float32), tuple(anchors)


def released_motions(positions: NDArray[np.float64], *, anchor: float, most_step_px: float) -> NDArray[np.float64]:
    """Return the part of motions of whole sections that put them beside their place; as `released`, in one band.

    Parameters
    ----------
    positions : ndarray of shape (n, k)
        Motions that align every section with its neighbours, px.
    anchor : float
        Multiplies what the data say.
    most_step_px : float
        What may be left between neighbouring sections, root mean square.

    Returns
    -------
    ndarray of shape (n, k)
        Of mean 0 along the stack.
    """
    count = len(positions)
    if count < 2:
        return np.zeros_like(positions)
    waves = dct(positions, axis=0, norm="ortho")
    stiffness = 2 - 2 * np.cos(np.pi * np.arange(1, count) / count)
    power = (waves[1:] ** 2).sum(axis=1)
    found = _stepping_little(_likeliest(power, stiffness) * anchor, power / count, stiffness, most_step_px)
    waves[0] = 0
    waves[1:] *= (stiffness / (stiffness + found))[:, None]
    return np.asarray(idct(waves, axis=0, norm="ortho"))


def _bands(rows: int, cols: int) -> list[NDArray[np.bool_]]:
    """Return the waves (rows, cols) of each band that holds any."""
    y, x = np.mgrid[0:rows, 0:cols]
    radius = np.hypot(y, x)
    ends = (*_EDGES[1:], np.inf)
    bands = [(radius >= low) & (radius < high) for low, high in zip(_EDGES, ends, strict=True)]
    return [b for b in bands if b.any()]


def _likeliest(power: NDArray[np.floating], stiffness: NDArray[np.float64]) -> float:
    """Return the anchor for which the squares of a band's waves along the stack are most likely."""
    if not power.max() > 1e-9:
        return float(_CANDIDATES[-1])
    shape = 1 + _CANDIDATES[:, None] / stiffness
    scale = (power / shape).mean(axis=1)
    cost = len(power) * np.log(scale) + np.log(shape).sum(axis=1)
    return float(_CANDIDATES[int(np.argmin(cost))])


def _stepping_little(
    anchor: float, power: NDArray[np.floating], stiffness: NDArray[np.float64], most_step_px: float
) -> float:
    """Return the largest anchor, up to the one given, that leaves steps between neighbours below a bound."""

    def left(a: float) -> float:
        return float(np.sqrt((stiffness * (a / (stiffness + a)) ** 2 * power).sum()))

    while left(anchor) > most_step_px:
        anchor *= 0.8
    return anchor
