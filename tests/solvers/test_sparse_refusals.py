"""What the sparse solver refuses, and by what name; what it takes although it is little."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from demis_ij.errors import InputError
from demis_ij.records import Layout, PairMatch
from demis_ij.solvers.sparse import SparseSolver
from demis_ij.testing.grids import make_grid


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": "elastic"}, "elastic"),
        ({"stage_sigma_px": 0.0}, "stage_sigma_px"),
        ({"stage_sigma_px": math.nan}, "stage_sigma_px"),
        ({"deformation_frac": -1.0}, "deformation_frac"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SparseSolver(**arguments)  # type: ignore[arg-type]


def bad_pairs(pair: PairMatch) -> list[tuple[list[PairMatch], str]]:
    nan = pair.fixed_xy.copy()
    nan[0, 0] = math.nan
    return [
        ([pair, pair], "given twice"),
        ([pair, replace(pair, fixed=pair.moving, moving=pair.fixed)], "given twice"),
        ([replace(pair, moving=pair.fixed)], "itself"),
        ([replace(pair, fixed_xy=np.empty((0, 2)), moving_xy=np.empty((0, 2)))], "points"),
        ([replace(pair, fixed_xy=nan)], "finite"),
    ]


@pytest.mark.parametrize("case", range(5))
def test_pairs_that_make_no_sense_are_refused_by_name(case: int) -> None:
    grid = make_grid(1, 2, np.random.default_rng(0))
    pairs, said = bad_pairs(grid.pairs[0])[case]

    with pytest.raises(InputError, match=f"0_[01].*{said}"):
        SparseSolver()(grid.layout, pairs)


def test_a_single_point_a_pair_and_unknown_tile_sizes_still_end() -> None:
    grid = make_grid(2, 2, np.random.default_rng(1), turn_deg=0)
    layout = Layout(tuple(replace(t, shape=(0, 0)) for t in grid.layout))
    pairs = [replace(p, fixed_xy=p.fixed_xy[:1], moving_xy=p.moving_xy[:1]) for p in grid.pairs]

    solution = SparseSolver()(layout, pairs)

    assert all(np.isfinite(t.to_world.matrix).all() for t in solution.layout)
    assert max(solution.pair_residual_px.values()) < 3  # px: four points of 0.5 px in a loop
