"""Which sections stay, and where the others go, by what pairs of sections say.

Sections that fit each other as they lie are a group: it moves as a whole, or not at all. The largest group stays. Then
one group after the other is placed by all pairs that lead to it from sections already placed: those that agree with
each other vote together, and the group with the most votes is next. So no error is passed on inside a group, one wrong
pair is outvoted, and what nothing leads to stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import degrees

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import fit_rigid
from demis_ij.records import Affine

_ENOUGH = 0.5  # weight of a pair that is believed alone
_TOGETHER = 0.3  # of several that agree: chance does not hit the same turn and shift twice
_AGREE_FRAC = 0.08  # of the shorter side: pairs that put the corners this near to each other agree
_REACH_FRAC = 0.06  # of the shorter side: shifts up to this the flow between neighbours finds by itself
_CORNER_FRAC = 0.13  # of the shorter side: what a turn may move the corners by for that
_LEAST_TURN_DEG = 4.0  # less is the deformation of the sections


@dataclass(frozen=True)
class Said:
    """What a pair of sections says of how they lie.

    Attributes
    ----------
    fixed, moving : int
        Places in the series.
    motion : Affine
        World px to world px: moves the moving section onto the fixed one, as that lies.
    weight : float
        How far it is to be believed: `_ENOUGH` and more by itself.
    """

    fixed: int
    moving: int
    motion: Affine
    weight: float


def corners_of(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the four corners of a canvas of (rows, cols), as (x, y)."""
    rows, cols = shape
    return np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], np.float64)


def is_near(motion: Affine, shape: tuple[int, int]) -> bool:
    """Return whether a motion is so small that the flow between two sections of a shape finds it by itself."""
    corners = corners_of(shape)
    middle, side = corners.mean(axis=0), min(shape)
    off = np.linalg.norm(motion(corners) - corners, axis=1)
    shift = float(np.linalg.norm(motion(middle) - middle))
    return shift < _REACH_FRAC * side and float(np.sqrt((off**2).mean())) < _CORNER_FRAC * side


def groups_of(count: int, fitting: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Return the sections that pairs connect, group by group, the first sections first; every section is in one.

    Examples
    --------
    >>> groups_of(5, [(0, 1), (1, 3)])
    [(0, 1, 3), (2,), (4,)]
    """
    group = [{place} for place in range(count)]
    for one, two in fitting:
        merged = group[one] | group[two]
        for place in merged:
            group[place] = merged
    return sorted({tuple(sorted(g)) for g in group})


def motions_of(
    groups: Sequence[tuple[int, ...]], said: Sequence[Said], shape: tuple[int, int]
) -> tuple[tuple[Affine, ...], tuple[bool, ...]]:
    """Return how each section moves in the world, and whether anything leads to it.

    Parameters
    ----------
    groups : sequence of tuple of int
        Sections that move together; each section is in one.
    said : sequence of Said
        What pairs say.
    shape : tuple of int
        (rows, cols) of the sections.

    Returns
    -------
    motion : tuple of Affine
        The identity for sections of the group that stays, and for those that nothing leads to.
    reached : tuple of bool
    """
    group = {place: number for number, places in enumerate(groups) for place in places}
    staying = max(range(len(groups)), key=lambda g: (len(groups[g]), -abs(np.mean(groups[g]) - (len(group) - 1) / 2)))
    placed: dict[int, Affine] = {staying: Affine()}
    while True:
        offers: dict[int, list[tuple[Affine, float]]] = {}
        for pair in said:
            one, two = group[pair.fixed], group[pair.moving]
            if one in placed and two not in placed:
                offers.setdefault(two, []).append((placed[one] @ pair.motion, pair.weight))
            elif two in placed and one not in placed:
                offers.setdefault(one, []).append((placed[two] @ pair.motion.inverse, pair.weight))
        best = _most_believed(offers, shape)
        if best is None:
            break
        number, motion = best
        placed[number] = Affine() if is_near(motion, shape) else motion
    found = tuple(placed.get(group[place], Affine()) for place in range(len(group)))
    return found, tuple(group[place] in placed for place in range(len(group)))


def _most_believed(
    offers: Mapping[int, Sequence[tuple[Affine, float]]], shape: tuple[int, int]
) -> tuple[int, Affine] | None:
    """Return the group with the most votes, and where they put it; None where none has enough."""
    corners, best, most = corners_of(shape), None, 0.0
    for number, motions in offers.items():
        at = np.stack([m(corners) for m, _ in motions])
        weight = np.array([w for _, w in motions])
        agrees = np.linalg.norm(at[:, None] - at[None], axis=-1).max(axis=-1) < _AGREE_FRAC * min(shape)
        votes = agrees @ weight
        first = int(np.argmax(votes))
        alone = agrees[first].sum() == 1
        if votes[first] >= (_ENOUGH if alone else _TOGETHER) and votes[first] > most:
            together = np.average(at[agrees[first]], axis=0, weights=weight[agrees[first]])
            best, most = (number, _upright(Affine.from_matrix(fit_rigid(corners, together)), corners)), votes[first]
    return best


def _upright(motion: Affine, corners: NDArray[np.float64]) -> Affine:
    """Return a motion without its turn where that is no more than deformation makes."""
    if abs(degrees(motion.angle)) >= _LEAST_TURN_DEG:
        return motion
    middle = corners.mean(axis=0)
    return Affine.translation(*(motion(middle) - middle))
