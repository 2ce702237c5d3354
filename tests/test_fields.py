"""Laws of displacement fields: sampling, composition, inversion, stretch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij import fields
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.records import Affine, Field, Warp

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
SHAPE = (96, 130)


def smooth(rng: np.random.Generator, size_px: float = 4.0, stride: float = 1.0) -> Field:
    """A field that folds nothing."""
    points = rng.uniform(0, 1, (8, 2)) * (SHAPE[1], SHAPE[0])
    while True:
        field = fields.thin_plate(points, rng.normal(0, size_px, (8, 2)), SHAPE, stride)
        if fields.jacobian(field).min() > 0.4:
            return field
        size_px *= 0.7


@few
@given(seed=seeds)
def test_a_field_between_its_nodes_is_bilinear(seed):
    rng = np.random.default_rng(seed)
    a, bx, by = rng.normal(0, 1, (3, 2))
    stride = float(rng.uniform(0.5, 9))
    at = fields.nodes((12, 9), stride)
    x, y = at[..., :1] / stride, at[..., 1:] / stride
    field = Field(np.moveaxis(a + bx * x + by * y, -1, 0).astype(np.float32), stride)
    p = rng.uniform(0, 1, (20, 2)) * (8 * stride, 11 * stride)

    u, v = p[:, :1] / stride, p[:, 1:] / stride
    # px: offsets of some 10 px are kept as float32
    np.testing.assert_allclose(field(p), p + a + bx * u + by * v, atol=2e-5)


def test_outside_its_grid_a_field_goes_on_as_at_its_edge():
    field = Field(np.arange(8, dtype=float).reshape(2, 2, 2), stride=10)

    np.testing.assert_allclose(field([[-50.0, -3.0], [500.0, 900.0]]), [[-50.0, 1.0], [503.0, 907.0]])


def test_an_unknown_node_makes_unknown_just_what_depends_on_it():
    offsets = np.zeros((2, 3, 3))
    offsets[:, 1, 1] = np.nan
    field = Field(offsets, stride=4)

    assert np.isnan(field([4.0, 4.0])).all()
    assert np.isnan(field([4.0, 3.9])).all()
    np.testing.assert_array_equal(field([[4.0, 0.0], [0.0, 4.0], [8.0, 8.0]]), [[4, 0], [0, 4], [8, 8]])
    np.testing.assert_array_equal(np.isnan(fields.dense(field, Box(0, 0, 9, 9))[0]), _within(9, 1, 7))


def _within(size: int, low: int, high: int) -> np.ndarray:
    k = np.arange(size)
    inside = (k >= low) & (k <= high)
    return inside[:, None] & inside[None]


@pytest.mark.parametrize(
    ("offsets", "stride"),
    [
        (np.zeros((3, 3, 2)), 1),
        (np.zeros((2, 0, 3)), 1),
        (np.zeros((2, 3, 3)), 0),
        (np.full((2, 3, 3), np.inf), 1),
        (np.stack([np.zeros((3, 3)), np.full((3, 3), np.nan)]), 1),
    ],
)
def test_a_field_that_is_none_is_refused(offsets, stride):
    with pytest.raises(InputError, match="field"):
        Field(offsets, stride)


def test_a_canvas_without_pixels_is_refused():
    with pytest.raises(InputError, match="at least one pixel"):
        Warp.identity((0, 5))


@few
@given(seed=seeds)
def test_dense_offsets_are_those_of_the_points(seed):
    rng = np.random.default_rng(seed)
    field = smooth(rng, stride=float(rng.choice([1, 4, 7.5])))
    box = Box(-5, 3, 140, 90)
    x, y = np.meshgrid(np.arange(box.x0, box.x1), np.arange(box.y0, box.y1))
    at = np.stack([x, y], -1).astype(float)
    turn = Affine.rigid(0.2, 3, -4)

    np.testing.assert_allclose(np.moveaxis(fields.dense(field, box), 0, -1), field(at) - at, atol=1e-4)
    warp = Warp((turn, field), SHAPE)
    np.testing.assert_allclose(np.moveaxis(fields.dense(warp, box), 0, -1), field(turn(at)) - at, atol=1e-4)
    np.testing.assert_allclose(np.moveaxis(fields.dense(turn, box), 0, -1), turn(at) - at, atol=1e-4)


@few
@given(seed=seeds)
def test_composition_is_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    first, then = smooth(rng), smooth(rng)
    at = rng.integers(0, (SHAPE[1], SHAPE[0]), (30, 2)).astype(float)

    both = fields.composed(first, then, SHAPE, 1)

    np.testing.assert_allclose(both(at), then(first(at)), atol=1e-4)
    np.testing.assert_allclose(Warp((first, then), SHAPE)(at), then(first(at)))


@few
@given(seed=seeds)
def test_a_field_and_its_inverse_cancel(seed):
    rng = np.random.default_rng(seed)
    field = smooth(rng, stride=float(rng.choice([1, 6])))
    back = fields.inverse(field, SHAPE, stride=1)
    at = rng.uniform(20, (SHAPE[1] - 20, SHAPE[0] - 20), (30, 2))

    # px: the inverse is known at whole pixels, and bilinear between them
    np.testing.assert_allclose(field(back(at)), at, atol=0.05)


def test_where_a_field_is_torn_apart_its_inverse_is_unknown():
    x = np.arange(64.0)
    apart = np.where(x < 32, 0, 30) * np.ones((64, 1))  # nothing of the output comes from input columns 32 to 61
    field = Field(np.stack([apart, np.zeros((64, 64))]))

    known = fields.inverse(field, (64, 90)).known

    assert known[:, :32].all()
    assert not known[:, 36:58].any()
    assert known[:, 64:].all()


def test_a_field_that_jumps_back_is_folded():
    back = np.where(np.arange(64.0) < 32, 0, -40) * np.ones((64, 1))

    assert fields.folded_frac(Field(np.stack([back, np.zeros((64, 64))]))) == 2 / 64


@few
@given(seed=seeds)
def test_the_jacobian_of_an_affine_map_is_its_determinant(seed):
    rng = np.random.default_rng(seed)
    linear = np.array([1, 0, 0, 1]) + rng.uniform(-0.3, 0.3, 4)
    affine = Affine(*linear, *rng.uniform(-20, 20, 2))
    field = fields.at_nodes(affine, SHAPE, 5)

    np.testing.assert_allclose(fields.jacobian(field), affine.determinant, atol=1e-4)
    np.testing.assert_allclose(fields.affine_part(field).matrix, affine.matrix, atol=2e-3)
    assert fields.folded_frac(field) == (1.0 if affine.determinant <= 0 else 0.0)


def test_the_affine_part_of_next_to_nothing_is_the_shift():
    nothing = Field(np.full((2, 4, 4), np.nan))
    line = Field(np.stack([np.full((1, 6), 3.0), np.full((1, 6), -2.0)]))

    assert fields.affine_part(nothing) == Affine()
    assert fields.affine_part(line) == Affine.translation(3, -2)


@few
@given(seed=seeds)
def test_a_coarser_field_is_near_the_fine_one_and_a_finer_one_the_same(seed):
    rng = np.random.default_rng(seed)
    field = smooth(rng, stride=2)
    at = rng.uniform(16, (SHAPE[1] - 16, SHAPE[0] - 16), (40, 2))

    coarse = fields.resized(field, SHAPE, 8)
    fine = fields.resized(field, SHAPE, 1)

    assert coarse.stride == 8
    # px: smooth by 4 px, and bilinear between nodes 8 px apart
    assert np.median(np.abs(coarse(at) - field(at))) < 0.25
    np.testing.assert_allclose(fine(np.round(at)), field(np.round(at)), atol=1e-4)


def test_unknown_stays_unknown_in_a_coarser_field():
    offsets = np.ones((2, 64, 64))
    offsets[:, :, 40:] = np.nan
    coarse = fields.resized(Field(offsets), (64, 64), 8)

    assert np.isnan(coarse.offsets[0][:, 5:]).all()
    np.testing.assert_allclose(coarse.offsets[:, :, :5], 1, atol=1e-6)


@few
@given(seed=seeds)
def test_a_thin_plate_passes_through_its_vectors(seed):
    rng = np.random.default_rng(seed)
    points = rng.choice(SHAPE[0] * SHAPE[1], 9, replace=False)
    points = np.stack([points % SHAPE[1], points // SHAPE[1]], -1).astype(float)
    vectors = rng.normal(0, 5, (9, 2))

    np.testing.assert_allclose(fields.thin_plate(points, vectors, SHAPE, 1)(points), points + vectors, atol=1e-3)


def test_points_on_a_line_hold_no_thin_plate():
    with pytest.raises(InputError, match="not on one line"):
        fields.thin_plate([[0, 0], [1, 1], [2, 2], [3, 3]], np.ones((4, 2)), (5, 5), 1)
