"""What all tiles of a camera have in common: one lens, found from the points of all pairs, used only if it is real.

The tiles' motions and the lenses are solved for together (`demis_ij.solvers.lens_equations`), for each degree. Which
degree, and whether any, is decided by pairs that took no part: each in turn is left out, the rest say where its tiles
lie and what the lens is, and its points say how far off that is. A lens that does not bring pairs left out nearer, or
that the overlaps leave too uncertain inside the tiles, is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from demis_ij.errors import InputError, SolveError
from demis_ij.records import Layout, Lens, PairMatch, Solution
from demis_ij.records.lens import LEAST_DEGREE, MOST_DEGREE, lens_terms
from demis_ij.solvers.lens_equations import (
    Array,
    LensState,
    LensTable,
    Rows,
    lens_sigma,
    lens_table,
    own_squares,
    pair_squares,
    solve_lenses,
)

MOST_PAIRS = 800
"""Of a larger section whole patches of tiles with about so many pairs are looked at: a lens has 36 numbers at most."""
PATCHES = 6
FOLDS = 5
EACH_ALONE = 16  # up to so many pairs each is left out by itself
LEAST_PAIRS = 4
POINTS_A_NUMBER = 8  # points that a lens needs for each of its numbers
BETTER = 0.95  # pairs left out must come nearer to this share, typically
SIMPLER = 0.98  # a higher degree must be better than a lower one by so much
CHANCE = 0.01  # how likely so many pairs may come nearer by chance
FEW_BETTER = 0.8  # with pairs too few for that: all of them must, to this share
CERTAIN_FRAC = 0.5  # the lens must be known to this share of what it moves


@dataclass(frozen=True, eq=False)
class LensFit:
    """What was found of the lenses of a section.

    Attributes
    ----------
    lenses : mapping of (str, (int, int)) to Lens
        Camera and shape of its tiles to the lens; empty when none is used.
    used : bool
        Whether there are any.
    reason : str
        One sentence: why they are used, or why not.
    held_out_px : mapping of int to float
        Degree (0: no lens) to the typical distance (geometric mean of the pairs' root mean squares) at pairs that
        took no part in it.
    before_px, after_px : float
        The same without, and with the lenses that were chosen; equal when none are.
    own_before_px, own_after_px : float
        Median root mean square distance of a pair's points when the pair alone is moved rigidly.
    improved_frac : float
        Share of pairs left out that come nearer.
    sigma_px : float
        Standard deviation of the lens, root mean square over the tile; of the worst camera.
    tiles, pairs : int
        Looked at.
    """

    lenses: Mapping[tuple[str, tuple[int, int]], Lens]
    reason: str
    held_out_px: Mapping[int, float]
    before_px: float
    after_px: float
    own_before_px: float
    own_after_px: float
    improved_frac: float
    sigma_px: float
    tiles: int
    pairs: int

    @property
    def used(self) -> bool:
        """Whether there is a lens."""
        return bool(self.lenses)

    @classmethod
    def none(cls, reason: str, tiles: int = 0, pairs: int = 0) -> LensFit:
        """Return that nothing could be looked at."""
        nan = float("nan")
        return cls({}, reason, {}, nan, nan, nan, nan, 0.0, nan, tiles, pairs)


def straightened(layout: Layout, matches: Sequence[PairMatch]) -> list[PairMatch]:
    """Return the pairs with their points in corrected px, which is what a solver takes."""
    if all(t.lens is None for t in layout):
        return list(matches)
    out = []
    for m in matches:
        fixed, moving = layout[m.fixed], layout[m.moving]
        if fixed.lens is None and moving.lens is None:
            out.append(m)
        else:
            out.append(replace(m, fixed_xy=fixed.straight(m.fixed_xy), moving_xy=moving.straight(m.moving_xy)))
    return out


def with_lenses(layout: Layout, fit: LensFit) -> Layout:
    """Return the layout behind the lenses that were found; tiles that had one of their own keep it."""
    if not fit.used:
        return layout
    tiles = (t if t.lens is not None else replace(t, lens=fit.lenses.get((t.camera, t.shape))) for t in layout)
    return replace(layout, tiles=tuple(tiles))


def fit_lenses(
    layout: Layout, matches: Sequence[PairMatch], weight: Mapping[tuple[str, str], float], model: str = "rigid"
) -> LensFit:
    """Return the lenses of the cameras of a section, where there are any.

    Parameters
    ----------
    layout : Layout
        Tiles about where they lie, a solution without lenses; none may have a lens yet.
    matches : sequence of PairMatch
        Pairs that agree, raw px.
    weight : mapping of (str, str) to float
        How far the solver believed each; 1 where it does not say.
    model : str
        What a tile may do by itself: translation, rigid, similarity or affine.

    Raises
    ------
    InputError
        When a tile has a lens already.
    """
    if any(t.lens is not None for t in layout):
        msg = f"section {layout.section!r}: its tiles have a lens already; a second one cannot be told from it"
        raise InputError(msg)
    known = [m for m in matches if weight.get((m.fixed, m.moving), 1.0) > 0.3 and len(m.fixed_xy) >= 4]
    known = [m for m in known if min(layout[m.fixed].shape) > 0 and min(layout[m.moving].shape) > 0]
    if len(known) < LEAST_PAIRS:
        return LensFit.none(f"{len(known)} pairs agree, a lens needs {LEAST_PAIRS}", len(layout), len(known))
    names, known = _looked_at(layout, known)
    part = replace(layout, tiles=tuple(t for t in layout if t.id in names))
    keys = sorted({(t.camera, t.shape) for t in part})
    number = {key: i for i, key in enumerate(keys)}
    camera = np.array([number[t.camera, t.shape] for t in part], np.intp)
    trust = np.array([weight.get((m.fixed, m.moving), 1.0) for m in known])
    table = lens_table(part, camera, known, trust)
    return _chosen(table, keys, "affine" if model == "homography" else model)


def fit_of(solution: Solution, matches: Sequence[PairMatch], model: str = "rigid") -> LensFit:
    """Return `fit_lenses` from a solution of the section without lenses.

    Tiles are held rigid whatever they may do at last: tiles that may shear take a bend of the lens for their own, each
    neighbour sheared a little more than the one before.
    """
    believed = [m for m in matches if solution.believes(m.fixed, m.moving)]
    held = "translation" if model == "translation" else "rigid"
    return fit_lenses(solution.layout, believed, solution.pair_weight, held)


def _looked_at(layout: Layout, matches: list[PairMatch]) -> tuple[set[str], list[PairMatch]]:
    """Return tiles and pairs that are looked at: all, or of a large section patches spread over it."""
    if len(matches) <= MOST_PAIRS:
        return {name for m in matches for name in (m.fixed, m.moving)}, matches
    centre = np.array([t.in_world(((t.shape[1] - 1) / 2, (t.shape[0] - 1) / 2)) for t in layout])
    row = {name: i for i, name in enumerate(layout.ids)}
    middle = np.array([(centre[row[m.fixed]] + centre[row[m.moving]]) / 2 for m in matches])
    low, high = centre.min(0), centre.max(0)
    seeds = low + (high - low) * (np.array([[1, 1], [3, 1], [2, 2], [1, 3], [3, 3], [2, 0.5]]) / 4)
    chosen: set[int] = set()
    for seed in seeds[:PATCHES]:
        near = np.argsort(((middle - seed) ** 2).sum(1), kind="stable")[: MOST_PAIRS // PATCHES]
        chosen.update(near.tolist())
    kept = [matches[k] for k in sorted(chosen)]
    return {name for m in kept for name in (m.fixed, m.moving)}, kept


# --- choosing ---------------------------------------------------------------------------------------------------------


def _chosen(table: LensTable, keys: Sequence[tuple[str, tuple[int, int]]], model: str) -> LensFit:
    """Return the lens of the degree that pairs left out speak for, or none."""
    n, tiles = len(table.fixed), len(table.half)
    degrees = [d for d in range(LEAST_DEGREE, MOST_DEGREE + 1) if _enough(table, d)]
    if not degrees:
        return LensFit.none(f"{int(table.count.sum())} points are too few for a lens", tiles, n)
    folds = _folds(n)
    off: dict[int, Array] = {}
    for degree in (0, *degrees):
        try:
            off[degree] = _held_out(table, folds, degree, model)
        except (SolveError, np.linalg.LinAlgError, RuntimeError):
            if degree == 0:
                raise
            continue
    typical = {d: float(np.exp(np.log(v).mean())) for d, v in off.items()}
    alone = _own(table, None)
    fit = LensFit({}, "", typical, typical[0], typical[0], alone, alone, 0.0, 0.0, tiles, n)
    reasons = []
    for degree in _in_order(typical):
        found = _judged(table, keys, model, degree, off, fit)
        if found.used:
            return found
        reasons.append(found)
    none = f"no lens brings pairs left out nearer than {typical[0]:.2f} px"
    return reasons[0] if reasons else replace(fit, reason=none)


def _in_order(typical: Mapping[int, float]) -> list[int]:
    """Return the degrees that are better than no lens, the best first; of nearly as good ones the lowest."""
    better = sorted(d for d in typical if d and typical[d] < typical[0])
    best = better[0] if better else 0
    for degree in better:
        best = degree if typical[degree] < SIMPLER * typical[best] else best
    return [best, *sorted((d for d in better if d != best), key=lambda d: typical[d])] if better else []


def _judged(
    table: LensTable,
    keys: Sequence[tuple[str, tuple[int, int]]],
    model: str,
    degree: int,
    off: Mapping[int, Array],
    fit: LensFit,
) -> LensFit:
    """Return the lens of a degree where it is real and known well enough, else why not."""
    pairs = len(off[0])
    nearer = int((off[degree] < off[0]).sum())
    typical = fit.held_out_px
    change = f"pairs left out come from {typical[0]:.2f} to {typical[degree]:.2f} px, {nearer} of {pairs} nearer"
    if not _is_real(typical[degree] / typical[0], nearer, pairs):
        return replace(fit, reason=f"a lens of degree {degree} is not sure to be there: {change}")
    state, worth = solve_lenses(table, degree, model)
    sigma = float(lens_sigma(table, state, worth, model).max())
    try:
        lenses = {
            (camera, shape): Lens.of_shape(shape, degree, state.lens[i, 0], state.lens[i, 1], camera)
            for i, (camera, shape) in enumerate(keys)
        }
    except InputError as error:
        return replace(fit, reason=f"a lens of degree {degree} is none: {error}")
    moves = max(lens.rms_px for lens in lenses.values())
    if sigma > CERTAIN_FRAC * moves:
        told = (
            f"it would move pixels by {moves:.2f} px, give or take {sigma:.2f} px: the overlaps are too few or too thin"
        )
        return replace(fit, sigma_px=sigma, reason=f"a lens of degree {degree} cannot be told inside the tiles: {told}")
    return replace(
        fit,
        lenses=lenses,
        reason=f"degree {degree}: {change}",
        after_px=typical[degree],
        own_after_px=_own(table, state),
        improved_frac=nearer / pairs,
        sigma_px=sigma,
    )


def _enough(table: LensTable, degree: int) -> bool:
    """Return whether every camera's pairs have points enough for a degree."""
    points = np.zeros(int(table.camera.max()) + 1)
    for side in (table.fixed, table.moving):
        np.add.at(points, table.camera[side], table.count / 2)
    return bool(points.min() >= POINTS_A_NUMBER * 2 * len(lens_terms(degree)))


def _is_real(ratio: float, nearer: int, pairs: int) -> bool:
    """Return whether pairs come nearer by more, and more of them, than chance would have it (sign test)."""
    by_chance = sum(comb(pairs, k) for k in range(nearer, pairs + 1)) / 2**pairs
    return (ratio < BETTER and by_chance < CHANCE) or (ratio < FEW_BETTER and nearer == pairs)


def _folds(pairs: int) -> Rows:
    """Return the number of the fold that each pair is left out in."""
    count = pairs if pairs <= EACH_ALONE else FOLDS
    return np.asarray(np.random.default_rng(0).permutation(pairs) % count)


def _held_out(table: LensTable, folds: Rows, degree: int, model: str) -> Array:
    """Return (m,) how far off each pair is, root mean square px, where it took no part.

    A pair whose tiles the others do not hold together is judged moved rigidly by itself, behind the lens of the others.
    """
    out = np.empty(len(folds))
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        train = table.only(~held)
        state, _ = solve_lenses(train, degree, model)
        test = table.only(held)
        together = _together(train, len(table.half))
        squares = np.where(
            together[test.fixed] == together[test.moving], pair_squares(test, state), own_squares(test, state.lens)
        )
        out[held] = np.sqrt(np.maximum(squares / test.count, 1e-8))
    return out


def _together(table: LensTable, tiles: int) -> NDArray[np.intp]:
    graph = coo_matrix((np.ones(len(table.fixed)), (table.fixed, table.moving)), shape=(tiles, tiles))
    return np.asarray(connected_components(graph, directed=False)[1])


def _own(table: LensTable, state: LensState | None) -> float:
    lens = np.zeros((int(table.camera.max()) + 1, 2, 0)) if state is None else state.lens
    return float(np.median(np.sqrt(own_squares(table, lens) / table.count)))
