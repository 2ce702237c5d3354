"""Which sections are like each other, beyond what the flow makes of any two; and which are like none.

The flow makes any two sections somewhat alike. How much, is seen where every other section is turned by half: what
is far above that shows the same tissue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demis_ij.align.evidence import Comparison, Series
from demis_ij.align.relaxing import Measured
from demis_ij.align.verdicts import correlation
from demis_ij.geometry import Box
from demis_ij.records import Affine

Compare = Callable[[Series], Comparison]
Pair = tuple[int, int]
_ABOVE_CHANCE = 0.15  # correlation above that of sections turned wrongly, once the flow has done what it can
_SPREADS = 6.0  # or so many times what the upper half of that spreads, where this is more
_HARDLY = 0.5  # of the way from chance to enough: below, two sections show nothing of each other
_MOST_FOREIGN = 3  # in a row: further apart tissue is no longer like itself


@dataclass(frozen=True)
class Likeness:
    """Correlations after the flow that tell sections of one tissue from others.

    Attributes
    ----------
    hardly, enough : float
        Below the first, two sections show nothing of each other; above the second, they show the same.
    """

    hardly: float
    enough: float

    @classmethod
    def of(cls, series: Series, compare: Compare) -> Likeness:
        """Return what chance does to the sections of a series."""
        rows, cols = series.grid.shape
        half = Affine(-1, 0, 0, -1, cols - 1, rows - 1)
        turned = replace(series, placing=tuple(p @ half if k % 2 else p for k, p in enumerate(series.placing)))
        chance = np.array([c for _, c in alike(turned, compare, next_ones(series)) if np.isfinite(c)] or [0.0])
        chance = np.sort(chance)[chance.size // 2 :]  # sections that are like nothing at all do not tell
        middle = float(np.median(chance))
        spread = 1.4826 * float(np.median(np.abs(chance - middle)))
        above = max(_ABOVE_CHANCE, _SPREADS * spread)
        return cls(middle + _HARDLY * above, middle + above)


def next_ones(series: Series) -> list[Pair]:
    """Return the pairs of neighbours of a series."""
    return [(i, i + 1) for i in range(len(series.index) - 1)]


def alike(series: Series, compare: Compare, pairs: Sequence[Pair]) -> list[tuple[Measured, float]]:
    """Return what the flow says of pairs of sections, and the correlation of each two that it brought together.

    The correlation is NaN where they have nothing in common.
    """
    if not pairs:
        return []
    count, comparison = len(series.index), compare(series)
    still = np.zeros((count, 2, *series.grid.nodes), np.float32)
    box = Box.of_shape(series.grid.level_shape(comparison.level))
    out = []
    for told in comparison.measure(still, [(i, j, 1.0) for i, j in pairs]):
        brought = series.warped(told.fixed, told.offsets, comparison.level, box)
        out.append((told, correlation(*brought, *series.warped(told.moving, None, comparison.level, box))))
    return out


def foreign_sections(series: Series, compare: Compare) -> tuple[int, ...]:
    """Return the sections that show something else: like none near them, while those around them are like each other.

    A section that is somewhat like any section up to three further never is foreign, and no section is in a stack most
    of which is like nothing.

    Parameters
    ----------
    series : Series
        The usable sections, put in place.
    compare : callable
        Returns what measures pairs of a series at the coarsest level.

    Returns
    -------
    tuple of int
        Places in the series, rising.
    """
    count, near = len(series.index), next_ones(series)
    said = {p: c for p, (_, c) in zip(near, alike(series, compare, near), strict=True)}
    likeness = Likeness.of(series, compare)

    def like_none(place: int) -> bool:
        return all(not said[p] > likeness.hardly for p in said if place in p)

    alone = [k for k in range(count) if like_none(k)]
    if 2 * len(alone) > count:
        return ()
    about = {k: _about(k, count) for k in alone}
    further = sorted({p for pairs in about.values() for p in pairs} - set(near))
    said |= {p: c for p, (_, c) in zip(further, alike(series, compare, further), strict=True)}
    return tuple(k for k in alone if like_none(k) and any(said[p] > likeness.enough for p in about[k] if k not in p))


def _about(place: int, count: int) -> list[Pair]:
    """Return the pairs that a section is in, and those that step over it; of a section at an end, those beside it."""
    reach = _MOST_FOREIGN
    low, high = max(0, place - reach), min(count - 1, place + reach)
    near = [(i, j) for i in range(low, high + 1) for j in range(i + 1, min(high, i + reach + 1) + 1)]
    if place in (low, high):
        return near
    return [(i, j) for i, j in near if i <= place <= j]


def runs_of(places: Sequence[int]) -> list[list[int]]:
    """Return the runs of consecutive numbers among rising ones, but for those longer than tissue is like itself.

    Examples
    --------
    >>> runs_of([1, 3, 4, 6, 7, 8, 9])
    [[1], [3, 4]]
    """
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return [r for r in runs if len(r) <= _MOST_FOREIGN]
