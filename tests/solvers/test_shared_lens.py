"""The lens that tiles share: found where it is, not made up where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lens_grids import SIDE, barrel, grid_behind, rms_apart, some_lens

from demis_ij.errors import InputError
from demis_ij.records import Lens
from demis_ij.solvers.lens import fit_lenses, fit_of, straightened, with_lenses
from demis_ij.solvers.sparse import SparseSolver
from demis_ij.testing.grids import corner_errors

KEYSTONE = Lens.of_shape((SIDE, SIDE), 2, (0, 2.0, 0), (0, 0, 0))
BEND = Lens.of_shape((SIDE, SIDE), 2, (0, 0, 0), (1.4, 0, 0))


@pytest.mark.parametrize("lens", [barrel(), KEYSTONE, BEND], ids=["barrel", "keystone", "bend"])
def test_a_known_lens_is_found_to_a_tenth_of_a_pixel(lens):
    grid = grid_behind(lens, 6, 6)
    fit = fit_of(SparseSolver()(grid.layout, grid.pairs), grid.pairs)
    assert fit.used, fit.reason
    (found,) = fit.lenses.values()
    assert rms_apart(found, lens) < 0.1  # px, of 0.6 to 0.8
    assert fit.after_px < 0.3 < fit.before_px


@pytest.mark.parametrize("noise_px", [0.1, 0.5])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_no_lens_is_made_up_where_there_is_none(rows, noise_px):
    grid = grid_behind(None, rows, 5, noise_px)
    fit = fit_of(SparseSolver()(grid.layout, grid.pairs), grid.pairs)
    assert not fit.used
    assert fit.reason
    assert with_lenses(grid.layout, fit) is grid.layout


def test_wrong_pairs_do_not_bend_the_lens():
    grid = grid_behind(barrel(), 6, 6, wrong=0.05)
    assert grid.wrong
    fit = fit_of(SparseSolver()(grid.layout, grid.pairs), grid.pairs)
    assert fit.used, fit.reason
    assert rms_apart(next(iter(fit.lenses.values())), barrel()) < 0.1  # px


def test_behind_the_lens_tiles_lie_where_they_are():
    grid = grid_behind(barrel(), 6, 6)
    before = SparseSolver()(grid.layout, grid.pairs)
    bent = with_lenses(grid.layout, fit_of(before, grid.pairs))
    after = SparseSolver()(bent, straightened(bent, grid.pairs))
    wrong, right = (float(np.median(corner_errors(s.layout, grid.truth))) for s in (before, after))
    assert right < 0.3 < 1.5 < wrong  # px: the error of a row adds up
    assert after.layout.tiles[0].lens is not None


def test_the_same_lens_is_found_whatever_the_order_of_the_pairs():
    grid = grid_behind(barrel(), 4, 4)
    one = fit_lenses(grid.layout, grid.pairs, {})
    two = fit_lenses(grid.layout, grid.pairs[::-1], {})
    assert one.used
    assert two.used
    assert rms_apart(next(iter(one.lenses.values())), next(iter(two.lenses.values()))) < 0.02  # px; folds differ


def test_every_camera_has_a_lens_of_its_own():
    other = some_lens((SIDE, SIDE), 2, 1.0, seed=4)
    grid = grid_behind(None, 4, 6, noise_px=0.02)
    camera = {t.id: ("left" if int(t.id.split("_")[1]) < 3 else "right") for t in grid.layout}
    lens = {"left": barrel(), "right": other}
    pairs = [
        replace(
            p, fixed_xy=lens[camera[p.fixed]].inverse(p.fixed_xy), moving_xy=lens[camera[p.moving]].inverse(p.moving_xy)
        )
        for p in grid.pairs
    ]
    layout = replace(grid.layout, tiles=tuple(replace(t, camera=camera[t.id]) for t in grid.layout))
    fit = fit_lenses(SparseSolver()(layout, pairs).layout, pairs, {})
    assert fit.used, fit.reason
    assert {key for key, _ in fit.lenses} == {"left", "right"}
    for (name, _), found in fit.lenses.items():
        assert rms_apart(found, lens[name]) < 0.15  # px
        assert found.camera == name


def test_too_few_pairs_and_tiles_with_a_lens_are_told():
    grid = grid_behind(None, 1, 3)
    assert "a lens needs 4" in fit_lenses(grid.layout, grid.pairs, {}).reason
    bent = replace(grid.layout, tiles=tuple(replace(t, lens=KEYSTONE) for t in grid.layout))
    with pytest.raises(InputError, match="have a lens already"):
        fit_lenses(bent, grid.pairs, {})


def test_of_a_large_section_patches_are_looked_at(monkeypatch):
    monkeypatch.setattr("demis_ij.solvers.lens.MOST_PAIRS", 90)
    grid = grid_behind(KEYSTONE, 10, 10)
    fit = fit_lenses(SparseSolver(uncertainty=False)(grid.layout, grid.pairs).layout, grid.pairs, {})
    assert fit.used, fit.reason
    assert fit.pairs <= 90 < len(grid.pairs)
    assert rms_apart(next(iter(fit.lenses.values())), KEYSTONE) < 0.1  # px
