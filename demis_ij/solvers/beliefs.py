"""What is known of the pairs before anything is solved: their noise, and which of them to start from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from demis_ij.geometry import DEGREES_OF_FREEDOM
from demis_ij.solvers.loops import TOLERANCE, closure_errors, confirmed_pairs, find_loops, typical_error
from demis_ij.solvers.pair_fits import own_motion, own_squares
from demis_ij.solvers.tables import ACROSS, IN_PLANE, Array, Complex, Flags, PairTable, Rows, TileTable

FINEST_PX = 5e-3  # no match is exact to less
FLOOR = 1e-6  # units: no loop needs to close better
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
    stage_sigma : ndarray of shape (2,)
        What the stage is wrong by between neighbours, for each class of pairs.
    loop_sigma : ndarray of shape (2,)
        What short loops of right pairs fail to close by: loops within a section, loops through two; inf without
        loops. A right seam is off by less.
    """

    turn: Complex
    shift: Complex
    own: Array
    noise_squared: Array
    weight: Array
    barred: Flags
    stage_sigma: Array
    loop_sigma: Array

    def only(self, rows: Rows) -> Beliefs:
        """Return what is known of some of the pairs."""
        columns = ("turn", "shift", "own", "noise_squared", "weight", "barred")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})


def learn_noise(count: Array, own: Array, unknowns: int, unit_px: float) -> Array:
    """Return each pair's variance of a match along an axis, drawn towards the layout's typical one.

    A pair's own residuals count by their degrees of freedom, the typical pair (the median) like ten more. Where no
    pair has points to spare, 1 px is taken.
    """
    spare = np.maximum(0, 2 * count - unknowns)
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
    noise = np.empty(len(pairs))
    turn, shift, _ = own_motion(pairs, tiles, scale=model in {"similarity", "affine"}, turn=model != "translation")
    lever = np.minimum(tiles.half[pairs.fixed], tiles.half[pairs.moving]) / 2
    off = np.sqrt(np.abs(shift) ** 2 + (lever * np.abs(turn - 1)) ** 2)
    sigma = np.full(2, stage_sigma_px / tiles.unit_px)
    for kind in (IN_PLANE, ACROSS):
        rows = pairs.kind == kind
        noise[rows] = learn_noise(pairs.count[rows], own[rows], DEGREES_OF_FREEDOM[model], tiles.unit_px)
        sigma[kind] = learn_stage_sigma(off[rows], float(sigma[kind]))
    if not robust or len(pairs) == 0:
        none = np.zeros(len(pairs), bool)
        return Beliefs(turn, shift, own, noise, np.ones(len(pairs)), none, sigma, np.full(2, np.inf))
    closes, looped, loop_sigma = _look_round(tiles, pairs, turn, shift)
    near_stage = (9 / (9 + (off / sigma[pairs.kind]) ** 2)) ** 2
    weight = np.where(closes, 1.0, np.where(looped, DOUBTED, 1.0) * near_stage)
    far = ~closes & (off > STAGE_LIMIT * sigma[pairs.kind])
    return Beliefs(turn, shift, own, noise, np.where(far, 0.0, weight), far & ~looped, sigma, loop_sigma)


def _look_round(tiles: TileTable, pairs: PairTable, turn: Complex, shift: Complex) -> tuple[Flags, Flags, Array]:
    """Return (pairs in a loop that closes, pairs in any loop, what loops fail to close by for each class (2,))."""
    loops = find_loops(len(tiles), pairs.fixed, pairs.moving)
    centre = tiles.complex_centre
    middle = (centre[pairs.fixed] + centre[pairs.moving]) / 2
    error = closure_errors(loops, pairs.fixed, turn, shift, middle, centre, float(np.median(tiles.half)))
    across = ((loops.pair >= 0) & (pairs.kind[loops.pair] == ACROSS)).any(1).astype(np.intp)
    sigma = np.array([typical_error(error[across == kind]) for kind in (IN_PLANE, ACROSS)])
    limit = np.maximum(FLOOR, TOLERANCE * np.where(np.isfinite(sigma), sigma, 0))
    return *confirmed_pairs(len(pairs), loops, error, limit[across]), sigma
