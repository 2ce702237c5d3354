"""What is known of the pairs before anything is solved: their noise, and which of them to start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import DEGREES_OF_FREEDOM
from demis_ij.solvers.loops import closure_errors, confirmed_pairs, find_loops, typical_error
from demis_ij.solvers.pair_fits import own_motion, own_squares
from demis_ij.solvers.tables import Array, Complex, PairTable, TileTable

FINEST_PX = 5e-3  # no match is exact to less
DOUBTED = 1e-3  # first weight of a pair whose loops all fail
STAGE_LIMIT = 6.0  # a pair that nothing else speaks for is not believed further from the stage than so many sigmas
STAGE_OPINIONS = 8.0  # the given stage sigma counts like so many pairs when the real one is learnt


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is known of the pairs before the layout is solved; lengths in units.

    Attributes
    ----------
    turn, shift : ndarray of shape (m,), complex
        What each pair alone says (`demis_ij.solvers.pair_fits.own_motion`).
    own : ndarray of shape (m,)
        Sum of squares that is left when a pair is fitted alone.
    noise_squared : ndarray of shape (m,)
        Variance of a match along an axis.
    weight : ndarray of shape (m,)
        First weights in [0, 1].
    barred : ndarray of shape (m,), bool
        Pairs that must not be believed: too far from the stage, and in no loop that could speak for them.
    stage_sigma : float
        What the stage is wrong by between neighbours.
    loop_sigma : float
        What short loops of right pairs fail to close by; inf without loops. A right seam is off by less.
    """

    turn: Complex
    shift: Complex
    own: Array
    noise_squared: Array
    weight: Array
    barred: NDArray[np.bool_]
    stage_sigma: float
    loop_sigma: float


def learn_noise(pairs: PairTable, own: Array, unknowns: int, unit_px: float) -> Array:
    """Return each pair's variance of a match along an axis, drawn towards the layout's typical one.

    A pair's own residuals count by their degrees of freedom, the typical pair (the median) like ten more. Where no
    pair has points to spare, 1 px is taken.
    """
    spare = np.maximum(0, 2 * pairs.count - unknowns)
    known = spare > 0
    floor = (FINEST_PX / unit_px) ** 2
    typical = float(np.median(own[known] / spare[known])) if known.any() else 1 / unit_px**2
    return np.asarray(np.maximum(floor, (10 * max(typical, floor) + own) / (10 + spare)))


def learn_stage_sigma(off: Array, given: float) -> float:
    """Return what the stage is wrong by: the given sigma, corrected by how far the pairs typically are from it."""
    typical = float(np.median(off)) / 1.1774 if len(off) else given  # the median of a 2-D normal law is 1.1774 sigma
    squared = (STAGE_OPINIONS * given**2 + len(off) * typical**2) / (STAGE_OPINIONS + len(off))
    return float(np.sqrt(squared))


def form_beliefs(tiles: TileTable, pairs: PairTable, model: str, stage_sigma_px: float, *, robust: bool) -> Beliefs:
    """Return noise, first weights and bars of all pairs.

    A pair that closes a short loop starts with weight 1; one that closes none of its loops with nearly nothing; one
    that is in no loop, and all doubted ones, by how well they agree with the stage.
    """
    own = own_squares(pairs, tiles, model)
    noise = learn_noise(pairs, own, DEGREES_OF_FREEDOM[model], tiles.unit_px)
    turn, shift, _ = own_motion(pairs, tiles, scale=model in {"similarity", "affine"}, turn=model != "translation")
    lever = np.minimum(tiles.half[pairs.fixed], tiles.half[pairs.moving]) / 2
    off = np.sqrt(np.abs(shift) ** 2 + (lever * np.abs(turn - 1)) ** 2)
    sigma = learn_stage_sigma(off, stage_sigma_px / tiles.unit_px)
    if not robust or len(pairs) == 0:
        return Beliefs(turn, shift, own, noise, np.ones(len(pairs)), np.zeros(len(pairs), bool), sigma, np.inf)
    loops = find_loops(len(tiles), pairs.fixed, pairs.moving)
    centre: Complex = tiles.centre[:, 0] + 1j * tiles.centre[:, 1]
    middle = (centre[pairs.fixed] + centre[pairs.moving]) / 2
    error = closure_errors(loops, pairs.fixed, turn, shift, middle, centre, float(np.median(tiles.half)))
    closes, looped = confirmed_pairs(len(pairs), loops, error, floor=1e-6)
    near_stage = (9 / (9 + (off / sigma) ** 2)) ** 2
    weight = np.where(closes, 1.0, np.where(looped, DOUBTED, 1.0) * near_stage)
    far = ~closes & (off > STAGE_LIMIT * sigma)
    return Beliefs(turn, shift, own, noise, np.where(far, 0.0, weight), far & ~looped, sigma, typical_error(error))
