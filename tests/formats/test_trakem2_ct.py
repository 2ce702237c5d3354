"""TrakEM2's coordinate transforms against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.formats.trakem2_ct import (
    UnknownTransformError,
    bounding_box,
    mesh_points,
    nearest_affine,
    parse_transforms,
)
from demis_ij.geometry import apply
from demis_ij.records import Affine

PACKAGE = "mpicbg.trakem2.transform."
GRID = np.stack(np.meshgrid(np.linspace(0, 99, 7), np.linspace(0, 79, 5)), -1).reshape(-1, 2)
small = st.floats(-0.3, 0.3).map(lambda v: round(v, 4))
shift = st.floats(-500, 500).map(lambda v: round(v, 2))


def one(name, data):
    return parse_transforms([(PACKAGE + name, data)])


def test_the_linear_classes_read_their_numbers_in_trakem2s_order():
    cases = {
        "TranslationModel2D": ("3.5 -2", Affine.translation(3.5, -2)),
        "RigidModel2D": ("0.5 3 4", Affine.rigid(0.5, 3, 4)),
        "SimilarityModel2D": ("0.75 0.5 3 4", Affine(0.75, -0.5, 0.5, 0.75, 3, 4)),
        "AffineModel2D": ("1 2 3 4 5 6", Affine(1, 3, 2, 4, 5, 6)),
        "HomographyModel2D": ("2 4 10 6 8 12 0 0 2", Affine(1, 2, 3, 4, 5, 6)),
        "PolynomialTransform2D": ("5 1 3 6 2 4", Affine(1, 3, 2, 4, 5, 6)),
    }
    for name, (data, wanted) in cases.items():
        assert one(name, data).affine == wanted, name


def test_numbers_that_trakem2_keeps_as_float32_are_float32_here():
    assert one("TranslationModel2D", "0.1 0").affine.tx == float(np.float32(0.1))
    assert one("AffineModel2D", "1 0 0 1 0.1 0").affine.tx == 0.1


@given(a=small, b=small, x=shift, y=shift)
@settings(max_examples=30, deadline=None)
def test_a_list_applies_its_first_entry_first(a, b, x, y):
    first = f"{1 + a!r} {b!r} {-b!r} {1 - a!r} {x!r} {y!r}"
    chain = parse_transforms([(PACKAGE + "AffineModel2D", first), (PACKAGE + "TranslationModel2D", "16 -4")])
    alone = parse_transforms([(PACKAGE + "AffineModel2D", first)])
    np.testing.assert_allclose(chain(GRID), alone(GRID) + (16, -4), atol=1e-9)  # px
    np.testing.assert_allclose(chain.affine(GRID), chain(GRID), atol=1e-9)


def test_a_homography_divides():
    matrix = np.array([[1, 0.1, 2], [0.05, 1.1, 3], [1e-4, -2e-4, 1]])
    found = one("HomographyModel2D", " ".join(map(repr, matrix.ravel().tolist())))
    assert found.affine is None
    np.testing.assert_allclose(found(GRID), apply(matrix, GRID))


def test_a_polynomial_has_the_terms_one_x_y_xx_xy_yy():
    found = one("PolynomialTransform2D", "1 2 3 4 5 6 7 8 9 10 11 12")
    x, y = 0.5, -0.25
    wanted = [
        1 + 2 * x + 3 * y + 4 * x * x + 5 * x * y + 6 * y * y,
        7 + 8 * x + 9 * y + 10 * x * x + 11 * x * y + 12 * y * y,
    ]
    np.testing.assert_allclose(found(np.array([[x, y]])), [wanted])


def test_a_lens_correction_normalises_its_powers_and_ends_in_a_constant_of_100():
    # order 2: x, y, xx, xy, yy, constant
    beta = np.arange(12).reshape(6, 2) / 10
    mean, deviation = [1, 2, 3, 4, 5, 0], [2, 3, 4, 5, 6, 0]
    data = " ".join(map(str, [2, 6, *beta.ravel(), *mean, *deviation, 100, 80]))
    x, y = 7.0, 11.0
    powers = (np.array([x, y, x * x, x * y, y * y]) - mean[:5]) / deviation[:5]
    wanted = powers @ beta[:5] + 100 * beta[5]
    np.testing.assert_allclose(one("NonLinearCoordinateTransform", data)(np.array([[x, y]])), [wanted])


@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_moving_least_squares_reproduces_a_motion_of_its_own_model_everywhere(model, seed):
    rng = np.random.default_rng(seed)
    p = np.float32(rng.uniform(0, 100, (8, 2))).astype(float)
    motion = {
        "translation": Affine.translation(5, -3),
        "rigid": Affine.rigid(0.3, 5, -3),
        "similarity": Affine(0.9, -0.4, 0.4, 0.9, 5, -3),
        "affine": Affine(1.1, 0.2, -0.1, 0.8, 5, -3),
    }[model]
    rows = np.column_stack([p, motion(p), rng.uniform(0.5, 2, 8)])
    found = one("MovingLeastSquaresTransform2", f"{model} 2 1.0 " + " ".join(map(repr, rows.ravel().tolist())))
    # 1e-4 px: the targets are float32 numbers up to 100
    np.testing.assert_allclose(found(GRID), motion(GRID), atol=1e-4 if model != "affine" else 1e-2)


def test_moving_least_squares_hits_its_control_points_and_weighs_the_near_ones_more():
    data = "translation 2 1.0  0 0 10 0 1  100 0 100 20 1"
    found = one("MovingLeastSquaresTransform2", data)
    np.testing.assert_allclose(found(np.array([[0.0, 0], [100, 0]])), [[10, 0], [100, 20]])
    # at x = 20: weights 1/20^2 and 1/80^2, that is 16 to 1
    np.testing.assert_allclose(found(np.array([[20.0, 0]])), [[20 + 10 * 16 / 17, 20 / 17]])
    half = one("MovingLeastSquaresTransform2", data.replace("1.0", "0.5", 1))
    np.testing.assert_allclose(half(np.array([[20.0, 0]])), [[20 + 10 * 4 / 5, 20 / 5]])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("TranslationModel2D", "1"),
        ("RigidModel2D", "1 2"),
        ("SimilarityModel2D", "1 2 3"),
        ("AffineModel2D", "1 2 3 4 5 x"),
        ("AffineModel2D", "1 2 3 4 5 inf"),
        ("TranslationModel2D", "1e60 0"),
        ("HomographyModel2D", "1 2 3"),
        ("PolynomialTransform2D", "1 2 3"),
        ("PolynomialTransform2D", "1 2"),
        ("PolynomialTransform2D", ""),
        ("MovingLeastSquaresTransform2", "rigid 3 1.0 1 2 3 4 5"),
        ("MovingLeastSquaresTransform2", "spiral 2 1.0 1 2 3 4 5"),
        ("MovingLeastSquaresTransform2", "rigid 2 1.0 1 2 3 4"),
        ("MovingLeastSquaresTransform2", "rigid"),
        ("NonLinearCoordinateTransform", "2 5 1 2 3"),
        ("NonLinearCoordinateTransform", ""),
    ],
)
def test_data_that_do_not_fit_the_class_are_refused_by_its_name(name, data):
    with pytest.raises(ValueError, match=name):
        one(name, data)


def test_an_unknown_class_names_the_known_ones():
    with pytest.raises(UnknownTransformError, match=r"Swirl.*AffineModel2D"):
        parse_transforms([("my.Swirl", "1")])


# --- box and mesh -----------------------------------------------------------------------------------------------------


def test_the_box_is_the_one_that_trakem2_itself_computes():
    # both measured with the real classes: patch 6 of the reference project, and a shear of 0.02 with a shift
    patch_6 = parse_transforms(
        [(PACKAGE + "AffineModel2D", "1.0 0.002 0.001 1.0 0.0 0.0"), (PACKAGE + "TranslationModel2D", "-0.5 -0.5")]
    )
    assert bounding_box(patch_6, 32, (1024, 1024)) == (0, 0, 1025, 1026)
    sheared = one("AffineModel2D", "1 0 0.02 1 4 2")
    assert bounding_box(sheared, 32, (250, 250)) == (4, 2, 254, 249)


@pytest.mark.parametrize(("x", "origin"), [(-0.5, 0), (-1.0, -1), (-1.5, -1), (0.9, 0), (1.5, 1)])
def test_the_origin_of_the_box_is_cut_toward_zero(x, origin):
    assert bounding_box(one("TranslationModel2D", f"{x} 0"), 32, (100, 100))[0] == origin


def test_the_mesh_has_the_corner_pixels_and_a_vertex_in_each_cell():
    points = mesh_points(4, (80, 120))
    # dx = 40, rows sqrt(3) dx = 69.3 apart: round(80 / 69.3) + 1 = 2 rows of 4, 3 cells
    assert len(points) == 2 * 4 + 3
    assert {(0, 0), (119, 0), (0, 79), (119, 79)} <= {tuple(p) for p in points}
    np.testing.assert_allclose(points[-3:], [[119 / 6, 39.5], [59.5, 39.5], [119 * 5 / 6, 39.5]])


def test_a_horizon_inside_the_image_is_refused():
    horizon = one("HomographyModel2D", "1 0 0 0 1 0 -0.1 0 1")  # x = 10 goes to infinity
    with pytest.raises(ValueError, match="infinity"):
        bounding_box(horizon, 101, (101, 101))


def test_the_nearest_affine_of_an_affine_is_itself_and_of_a_bend_its_chord():
    exact, departure = nearest_affine(one("AffineModel2D", "1 2 3 4 5 6"), (10, 10))
    assert (exact, departure) == (Affine(1, 3, 2, 4, 5, 6), 0.0)
    bend = one("PolynomialTransform2D", "0 1 0 0.001 0 0 0 0 1 0 0 0")
    found, departure = nearest_affine(bend, (101, 101))
    # least squares line through 1e-3 x^2 on 17 even points of [0, 100]: farthest at the ends
    x = np.linspace(0, 100, 17)
    line = np.polyval(np.polyfit(x, 1e-3 * x**2, 1), x)
    assert departure == pytest.approx(np.abs(line - 1e-3 * x**2).max(), abs=1e-9)
    assert found.d == pytest.approx(1)
