"""The recipe: which grids are sane, and what the sets A to H hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from demis_ij.errors import InputError
from demis_ij.synth import DEMO, SETS, GridSpec


def _components(spec, *, textured=False):
    index = {p: i for i, p in enumerate(spec.positions)}
    weak = set(spec.resin) if textured else set()
    edges = [(index[a], index[b]) for a, b in spec.neighbours if a not in weak and b not in weak]
    i, j = np.array(edges).T
    return connected_components(coo_array((np.ones(len(edges)), (i, j)), shape=(len(index),) * 2), directed=False)[0]


def _counts(spec):
    weak = set(spec.resin)
    resin = sum(a in weak or b in weak for a, b in spec.neighbours)
    return len(spec.neighbours) - resin, resin


@pytest.mark.parametrize(
    ("name", "tiles", "textured", "resin", "components"),
    [
        ("A", 36, 54, 6, 1),
        ("B", 36, 53, 7, 1),
        ("C", 21, 20, 7, 1),
        ("D", 4, 4, 0, 1),
        ("D512", 16, 24, 0, 1),
        ("E", 36, 53, 7, 1),
        ("F", 16, 24, 0, 1),
        ("G", 16, 24, 0, 1),
        ("H", 12, 14, 0, 2),
    ],
)
def test_the_sets_have_the_tiles_and_pairs_of_the_table(name, tiles, textured, resin, components):
    spec = SETS[name]
    assert len(spec.positions) == tiles
    assert _counts(spec) == (textured, resin)
    assert _components(spec) == components


def test_set_c_has_a_textured_tile_without_a_textured_neighbour():
    spec = SETS["C"]
    weak = set(spec.resin)
    rich = {p for a, b in spec.neighbours if a not in weak and b not in weak for p in (a, b)}
    assert set(spec.positions) - weak - rich == {(4, 4)}


def test_set_d_fits_into_one_camera_frame():
    assert max(SETS["D"].source_shape) <= 2048
    assert max(SETS["D512"].source_shape) <= 2048


def test_the_demo_has_what_it_shows():
    assert DEMO.rotation_deg == 1.5
    assert DEMO.stage_error_frac == 0.03
    assert _counts(DEMO)[1] >= 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 0}, "rows is 0"),
        ({"rows": 2.5}, "rows is 2.5"),
        ({"cols": True}, "cols is True"),
        ({"tile_px": 8}, "tile_px is 8"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"noise_sd": -1}, "noise_sd is -1"),
        ({"noise_sd": "5"}, "noise_sd is '5'"),
        ({"rotation_deg": 90}, "rotation_deg is 90"),
        ({"overlap": 0.05, "shift_frac": 0.03}, "can part neighbours"),
        ({"resin": ((2, 0),)}, r"resin tile \(2, 0\) is outside"),
        ({"missing": ((0, -1),)}, r"missing tile \(0, -1\) is outside"),
        ({"resin": ((0, 0),), "missing": ((0, 0),)}, "both resin and missing"),
        ({"missing": ((0, 0), (0, 1), (1, 0), (1, 1))}, "all 4 tiles"),
        ({"decoy": True, "resin": ((0, 0), (1, 1))}, "a decoy needs"),
        ({"style": "oil painting"}, "no style 'oil painting'"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(change, says):
    with pytest.raises(InputError, match=says):
        GridSpec(**({"rows": 2, "cols": 2} | change))
