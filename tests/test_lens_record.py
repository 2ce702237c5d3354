"""The record of a lens: its map, its way back, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lens_grids import barrel, some_lens

from demis_ij.errors import InputError
from demis_ij.records import Affine, Lens, Tile
from demis_ij.records.lens import split_polynomial

SHAPE = (300, 400)
rng = np.random.default_rng(1)
INSIDE = rng.uniform(-0.5, 0.5, (400, 2)) * (400, 300) + (199.5, 149.5)


@pytest.mark.parametrize("degree", [2, 3, 4, 5])
def test_the_way_back_through_a_lens_undoes_it(degree):
    lens = some_lens(SHAPE, degree, 0.4)
    np.testing.assert_allclose(lens.inverse(lens(INSIDE)), INSIDE, atol=1e-8)  # px
    np.testing.assert_allclose(lens(lens.inverse(INSIDE)), INSIDE, atol=1e-8)


def test_a_lens_holds_nothing_that_an_affine_map_could_hold():
    lens = some_lens(SHAPE, 5, 0.4)
    moved = lens.displacement(lens.lattice(400))
    u = (lens.lattice(400) - lens.centre) / lens.half
    assert np.abs(np.linalg.lstsq(np.c_[np.ones(len(u)), u], moved, rcond=None)[0]).max() < 0.02  # px


def test_its_root_mean_square_is_that_of_its_displacements():
    lens = some_lens(SHAPE, 4, 0.4)
    y, x = np.indices(SHAPE)
    every = lens.displacement(np.stack([x.ravel(), y.ravel()], 1).astype(float))
    assert lens.rms_px == pytest.approx(np.sqrt((every**2).sum(1).mean()), rel=1e-3)


def test_its_derivative_is_that_of_its_displacements():
    lens, step = some_lens(SHAPE, 5, 0.4), 1e-4
    inner = INSIDE[np.abs((INSIDE - lens.centre) / lens.half).max(1) < 0.99]
    for axis, by in ((0, (step, 0)), (1, (0, step))):
        slope = (lens.displacement(inner + by) - lens.displacement(inner - by)) / (2 * step)
        np.testing.assert_allclose(lens.jacobian(inner)[:, :, axis], slope, atol=1e-7)


def test_as_powers_of_pixels_it_is_the_same_map():
    lens = some_lens(SHAPE, 5, 0.4)
    power = np.arange(6)
    x, y = INSIDE[:, :1] ** power, INSIDE[:, 1:] ** power
    np.testing.assert_allclose(np.einsum("aij,ni,nj->na", lens.powers(), x, y), lens(INSIDE), atol=1e-8)


def test_reduced_it_does_the_same_to_a_reduced_tile():
    lens = some_lens(SHAPE, 3, 0.4)
    small = (INSIDE + 0.5) / 4 - 0.5
    np.testing.assert_allclose((lens.reduced(4)(small) + 0.5) * 4 - 0.5, lens(INSIDE), atol=1e-9)


def test_outside_the_tile_the_displacement_stays_what_it_is_nearby():
    lens = barrel(SHAPE)
    far = lens.displacement([[4000.0, 149.5], [-9000.0, 149.5]])
    assert np.abs(far).max() < 2 * lens.largest_px


def test_a_lens_that_folds_or_says_nothing_clear_is_refused():
    with pytest.raises(InputError, match=r"stretches the tile by \d+ % is none \(25 % allowed\)"):
        Lens.of_shape((100, 100), 2, (40.0, 0, 0), (0, 0, 0))
    with pytest.raises(InputError, match="3 coefficients an axis, found 2, 3"):
        Lens.of_shape((100, 100), 2, (0.0, 0), (0, 0, 0))
    with pytest.raises(InputError, match="degree 2 to 5, found 6"):
        Lens.of_shape((100, 100), 6, (), ())
    with pytest.raises(InputError, match="finite"):
        Lens.of_shape((100, 100), 2, (np.nan, 0, 0), (0, 0, 0))


def test_as_json_and_back_it_is_itself():
    lens = some_lens(SHAPE, 4, 0.4, camera="cam1")
    assert Lens.from_json(lens.to_json()) == lens
    assert lens.name.startswith("cam1-")
    assert lens.name != replace(lens, x=(*lens.x[:-1], 0.5)).name


def test_a_tile_goes_to_the_world_and_back_through_its_lens():
    tile = Tile("a", Path("a"), SHAPE, Affine.rigid(0.1, 5, 6), lens=some_lens(SHAPE, 3, 0.4))
    assert np.abs(tile.in_world(INSIDE) - tile.to_world(INSIDE)).max() > 0.1  # px
    np.testing.assert_allclose(tile.from_world(tile.in_world(INSIDE)), INSIDE, atol=1e-8)
    np.testing.assert_allclose(tile.bent(tile.straight(INSIDE)), INSIDE, atol=1e-8)


def test_a_polynomial_map_is_an_affine_map_after_a_lens_of_least_degree():
    lens, after = some_lens(SHAPE, 3, 0.4), Affine(1.02, 0.01, -0.02, 0.98, 3, 4)
    matrix, found, left = split_polynomial(INSIDE, after(lens(INSIDE)), SHAPE)
    assert found is not None
    assert found.degree == 3
    assert left < 1e-9
    np.testing.assert_allclose(found.x, lens.x, atol=1e-9)
    np.testing.assert_allclose(matrix, after.matrix, atol=1e-9)


def test_a_map_that_is_no_polynomial_has_no_lens_and_says_how_far_it_is_from_affine():
    kink = INSIDE + np.abs(INSIDE - 150) * 0.05
    _, found, left = split_polynomial(INSIDE, kink, SHAPE)
    assert found is None
    assert left > 1
