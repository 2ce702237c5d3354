from __future__ import annotations

import numpy as np
import pytest

from demis_ij.records import Affine, Layout, PairMatch, Tile
from demis_ij.solvers.sparse import SparseSolver


def strip_of_tiles(jitter_px: float) -> tuple[Layout, list[PairMatch]]:
    """One row of tiles with thin common strips: nothing closes a loop, turns are held by the strip alone."""
    rng = np.random.default_rng(3)
    places = [(1170.0 * k, 0.0) for k in range(8)]
    truth = [(x, float(rng.uniform(-jitter_px, jitter_px))) for x, _ in places]
    tiles = tuple(Tile(str(k), f"{k}.tif", (1024, 1280), Affine.translation(*p)) for k, p in enumerate(places))  # type: ignore[arg-type]
    pairs = []
    for k in range(7):
        fixed_xy = np.stack([rng.uniform(1172, 1278, 60), rng.uniform(60, 960, 60)], 1)
        moving_xy = fixed_xy + np.subtract(truth[k], truth[k + 1]) + rng.normal(0, 0.3, (60, 2))
        shift = np.eye(3)
        shift[:2, 2] = np.subtract(truth[k + 1], truth[k])
        pairs.append(PairMatch(str(k), str(k + 1), fixed_xy, moving_xy, shift, "rigid", np.eye(3) * 1e-3, 0.4))
    return Layout(tiles), pairs


@pytest.mark.parametrize("stage_sigma_px", [10.0, 38.4, 300.0, 1e4])
def test_a_strip_without_loops_is_solved_whatever_the_stage_is_worth(stage_sigma_px):
    layout, pairs = strip_of_tiles(70.0)

    solution = SparseSolver(stage_sigma_px=stage_sigma_px)(layout, pairs)

    assert max(solution.pair_residual_px.values()) < 0.6  # px: the points' own noise is 0.42 px
    assert min(solution.pair_weight.values()) > 0.9
