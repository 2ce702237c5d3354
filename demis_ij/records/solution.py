"""Where all tiles lie at last, and how far to trust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from demis_ij.records import shown
from demis_ij.records.tiles import Layout

OVERRULED_WEIGHT = 0.05
"""A pair of at most this robust weight was not believed by the solver: its neighbours contradict it."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A solved layout and how far to trust it.

    Attributes
    ----------
    layout : Layout
        Every tile of the input, where it now lies.
    component : mapping of str to int
        Tile id to the number of its connected component; 0 is the largest.
    sigma_px : mapping of str to float
        Tile id to one standard deviation of its position in px, relative to its component; ``inf`` when only the
        stage holds it.
    pair_residual_px : mapping of (str, str) to float
        (fixed, moving) to the root mean square distance of the pair's inliers after the global solve.
    pair_sigma_px : mapping of (str, str) to float
        (fixed, moving) to the expected error of the seam in px.
    pair_weight : mapping of (str, str) to float
        (fixed, moving) to the final robust weight in [0, 1]; near 0 means the solver did not believe the pair.
    """

    layout: Layout
    component: Mapping[str, int]
    sigma_px: Mapping[str, float]
    pair_residual_px: Mapping[tuple[str, str], float]
    pair_sigma_px: Mapping[tuple[str, str], float] = field(default_factory=dict)
    pair_weight: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def believes(self, fixed: str, moving: str) -> bool:
        """Return whether a pair that was given to the solver has weight; a solver that gives none believes all."""
        return self.pair_weight.get((fixed, moving), 1.0) > OVERRULED_WEIGHT

    @property
    def component_sizes(self) -> list[int]:
        """Tiles per component, component 0 first."""
        numbers = Counter(self.component.values())
        return [numbers[i] for i in range(max(numbers, default=-1) + 1)]

    def _repr_html_(self) -> str:
        return shown.solution_card(self)
