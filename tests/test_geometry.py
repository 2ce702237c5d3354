"""Laws of affines, fits, crops and robust estimation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.errors import InputError
from demis_ij.geometry import FITS, MODELS, Box, Crop, apply, estimate, nearest_affine
from demis_ij.records import Affine, Correspondences, Layout, Tile

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
angles = st.floats(-3.1, 3.1)
shifts = st.floats(-1e4, 1e4)


def some_affine(rng: np.random.Generator) -> Affine:
    return Affine(*(np.array([1, 0, 0, 1]) + rng.uniform(-0.3, 0.3, 4)), *rng.uniform(-1e3, 1e3, 2))


@few
@given(seed=seeds)
def test_composition_is_applying_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    f, g, p = some_affine(rng), some_affine(rng), rng.uniform(-1e3, 1e3, (7, 2))

    np.testing.assert_allclose((f @ g)(p), f(g(p)), atol=1e-9)  # px: rounding of 1e3-sized numbers
    np.testing.assert_allclose(f.inverse(f(p)), p, atol=1e-8)
    np.testing.assert_allclose((f @ g).matrix, f.matrix @ g.matrix, atol=1e-9)


@few
@given(angle=angles, x=shifts, y=shifts)
def test_a_rigid_map_turns_x_towards_y_and_keeps_lengths(angle, x, y):
    rigid = Affine.rigid(angle, x, y)

    assert rigid.angle == pytest.approx(angle, abs=1e-12)
    assert rigid.scale == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(rigid([1.0, 0.0]) - rigid([0.0, 0.0]), [np.cos(angle), np.sin(angle)], atol=1e-9)


def test_about_leaves_the_centre_where_it_is():
    np.testing.assert_allclose(Affine.about(Affine.rigid(0.3), (50, 20))([50, 20]), [50, 20], atol=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_transform_of_numbers_that_are_none_is_refused(bad):
    with pytest.raises(InputError, match="finite"):
        Affine(a=bad)


def test_a_transform_that_flattens_the_plane_has_no_inverse():
    with pytest.raises(InputError, match="no inverse"):
        _ = Affine(1, 2, 2, 4).inverse


@few
@given(seed=seeds, model=st.sampled_from(MODELS))
def test_a_fit_recovers_what_moved_the_points(seed, model):
    rng = np.random.default_rng(seed)
    moving = rng.uniform(0, 1024, (12, 2))
    truth = {
        "translation": Affine.translation(*rng.uniform(-100, 100, 2)).matrix,
        "rigid": Affine.rigid(rng.uniform(-3, 3), *rng.uniform(-100, 100, 2)).matrix,
        "similarity": (Affine.rigid(rng.uniform(-3, 3), 5, 6) @ Affine(a=1.2, d=1.2)).matrix,
        "affine": some_affine(rng).matrix,
        "homography": some_affine(rng).matrix + np.array([[0, 0, 0], [0, 0, 0], [*rng.uniform(-1e-4, 1e-4, 2), 0]]),
    }[model]

    found = FITS[model](moving, apply(truth, moving))

    np.testing.assert_allclose(apply(found, moving), apply(truth, moving), atol=1e-5)  # px: 1e-8 of the coordinates


def test_a_weight_of_zero_takes_a_point_out():
    moving = np.random.default_rng(1).uniform(0, 100, (9, 2))
    fixed = moving + 5
    fixed[3] += 1000
    weight = np.ones(9)
    weight[3] = 0

    for model in ("translation", "rigid", "similarity", "affine"):
        np.testing.assert_allclose(FITS[model](moving, fixed, weight)[:2, 2], [5, 5], atol=1e-9)


def test_an_affine_of_points_on_one_line_keeps_the_free_direction():
    moving = np.stack([np.zeros(10), np.linspace(0, 900, 10)], 1)

    found = FITS["affine"](moving, moving + 3)

    np.testing.assert_allclose(found[:2, :2], np.eye(2), atol=1e-9)


@few
@given(seed=seeds, scale_x=st.floats(0.1, 3), scale_y=st.floats(0.1, 3))
def test_a_crop_leads_there_and_back(seed, scale_x, scale_y):
    points = np.random.default_rng(seed).uniform(0, 500, (5, 2))
    crop = Crop(Box(17, 40, 517, 400), (scale_x, scale_y))

    np.testing.assert_allclose(crop.to_tile(crop.from_tile(points)), points, atol=1e-9)


def test_a_crop_at_half_size_puts_pixel_zero_between_the_first_two_of_the_tile():
    crop = Crop.resized(Box(100, 0, 300, 50), (25, 100))

    np.testing.assert_allclose(crop.to_tile(np.array([[0.0, 0.0]])), [[100.5, 0.5]])


@few
@given(seed=seeds, model=st.sampled_from(MODELS), method=st.sampled_from(["ransac", "usac", "lmeds"]))
def test_an_estimate_is_not_moved_by_wrong_points(seed, model, method):
    rng = np.random.default_rng(seed)
    moving = rng.uniform(0, 1000, (80, 2))
    truth = Affine.rigid(0.03, 12, -7) if model != "translation" else Affine.translation(12, -7)
    fixed = truth(moving)
    wrong = rng.permutation(80)[:25]
    fixed[wrong] += rng.uniform(60, 200, (25, 2)) * rng.choice([-1, 1], (25, 2))

    found = estimate(moving, fixed, model, 3.0, method=method)

    assert found is not None
    assert found.inlier.sum() == 55
    np.testing.assert_allclose(apply(found.to_fixed, moving), truth(moving), atol=1e-4)


def test_too_few_points_are_no_estimate():
    assert estimate(np.zeros((1, 2)), np.zeros((1, 2)), "rigid", 3.0) is None


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="translation, rigid"):
        estimate(np.zeros((5, 2)), np.zeros((5, 2)), "wobbly", 3.0)  # type: ignore[arg-type]


def test_the_nearest_affine_of_an_affine_is_itself():
    affine = Affine(1.1, 0.1, -0.05, 0.95, 3, 4)

    assert nearest_affine(affine.matrix, np.zeros((4, 2))) == affine


def test_two_tiles_of_one_name_are_refused():
    tile = Tile("a", "a.tif", (10, 10))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'a' occurs twice"):
        Layout((tile, tile))


def test_correspondences_of_unequal_length_are_refused():
    with pytest.raises(InputError, match="lengths differ"):
        Correspondences(np.zeros((2, 2)), np.zeros((3, 2)), np.zeros(2))
