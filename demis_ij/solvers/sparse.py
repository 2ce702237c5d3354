"""Least squares on the matched points themselves, robust by pairs; the default solver.

1. Every pair is reduced once to the moments of its points (`measurements`).
2. Short loops of pairs that close tell which pairs to start from (`loops`).
3. Gauss-Newton on the tiles' motions with weights a pair: Geman-McClure on how far the seam lies from what the pair
   alone says, its width learnt from all pairs and narrowed step by step (graduated non-convexity, Yang 2020,
   doi:10.1109/LRA.2020.2965893).
4. Tiles that a wrong pair may have got hold of are looked at once more (`contested`).
5. A component keeps the stage's place and turn as a whole; tiles that no believed pair holds, and small components,
   follow their neighbours (`components`).
6. Spread of tiles and seams from the normal matrix (`uncertainty`).
"""

from __future__ import annotations

from collections.abc import Sequence

from demis_ij.records import Layout, PairMatch, Solution
from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.measurements import pair_table, tile_table
from demis_ij.solvers.outcome import to_solution
from demis_ij.solvers.settings import SolveSettings


class SparseSolver:
    """Robust least squares on the matched points: translation, rigid, similarity or affine tiles.

    Parameters
    ----------
    model : str
        What a tile may do. ``homography`` is a model of pairs; its tiles are affine.
    stage_sigma_px : float
        What the stage is expected to be wrong by between neighbours, world px. Only decides for tiles and pairs that
        nothing else decides for; corrected by what the pairs show.
    robust : bool
        Whether pairs may lose weight. False gives plain least squares.
    deformation_frac : float
        What a similarity or affine tile is expected to be stretched or sheared by; holds the shape of tiles that the
        matches hold weakly.
    uncertainty : bool
        Whether `sigma_px` and `pair_sigma_px` are computed (about a third of the time); left empty otherwise.

    Raises
    ------
    InputError
        When the model is unknown or a sigma is not positive.
    """

    def __init__(
        self,
        model: str = "rigid",
        stage_sigma_px: float = 30.0,
        robust: bool = True,
        deformation_frac: float = 0.01,
        uncertainty: bool = True,
    ) -> None:
        self.settings = SolveSettings(
            model=model,
            stage_sigma_px=stage_sigma_px,
            robust=robust,
            deformation_frac=deformation_frac,
            uncertainty=uncertainty,
        )

    def __call__(self, layout: Layout, matches: Sequence[PairMatch]) -> Solution:
        """Return the solved layout. Raises `InputError` for pairs that do not fit the layout."""
        tiles = tile_table(layout)
        pairs = pair_table(layout, matches, tiles)
        return to_solution(layout, matches, tiles, pairs, solve_columns(tiles, pairs, self.settings))
