"""Measures of volumes against values that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demis_ij.metrics.volumes import (
    gained,
    largest_objects,
    neighbour_dice,
    neighbour_ncc,
    neighbour_residual_px,
    object_dice,
    truth_dice,
)


def square(at, side=10, label=5, canvas=40):
    out = np.zeros((canvas, canvas), np.int32)
    out[10 : 10 + side, at : at + side] = label
    return out


def everywhere(*labels):
    return [np.ones(label.shape, bool) for label in labels]


def test_a_square_shifted_by_three_of_ten_pixels_keeps_seven_tenths():
    one, two = square(10), square(13)

    dice = neighbour_dice([one, two], everywhere(one, two), np.array([5]))

    assert dice == pytest.approx(0.7)


def test_only_what_both_sections_know_counts():
    one, two = square(10), square(13)
    known = everywhere(one, two)
    known[1][:, :13] = False  # hides what only the first has

    assert neighbour_dice([one, two], known, np.array([5])) == pytest.approx(2 * 70 / (70 + 100))


def test_objects_count_the_same_whatever_their_size_and_small_ones_say_nothing():
    one = square(2, side=10, label=5) + np.pad(square(30, side=2, label=7)[:20], ((20, 0), (0, 0)))
    two = square(2, side=10, label=5) + np.pad(square(32, side=2, label=7)[:20], ((20, 0), (0, 0)))
    objects = largest_objects([one, two], everywhere(one, two))

    np.testing.assert_array_equal(objects, [5, 7])
    np.testing.assert_array_equal(object_dice(one, two, one >= 0, objects), [1.0, 0.0])
    assert neighbour_dice([one, two], everywhere(one, two), objects) == pytest.approx(0.5)
    assert neighbour_dice([one, two], everywhere(one, two), objects, least_px=10) == pytest.approx(1.0)


def test_largest_objects_are_counted_over_all_sections_and_not_where_nothing_is_known():
    one, two = square(2, side=8, label=3), square(2, side=9, label=900_000)
    more = square(20, side=7, label=3)

    np.testing.assert_array_equal(largest_objects([one, two, more], everywhere(one, two, more)), [3, 900_000])
    hidden = [*everywhere(one, two), np.zeros(more.shape, bool)]
    np.testing.assert_array_equal(largest_objects([one, two, more], hidden, 1), [900_000])


def test_an_object_of_neither_section_has_no_dice_and_no_objects_at_all_neither():
    one = square(10)

    assert np.isnan(object_dice(one, one, one >= 0, np.array([8]))).all()
    assert np.isnan(neighbour_dice([one, one], everywhere(one, one), np.array([], np.int64)))
    assert np.isnan(neighbour_dice([one], everywhere(one), np.array([5])))


@given(seed=st.integers(0, 2**32 - 1))
def test_one_table_says_the_same_as_a_loop_over_masks(seed):
    rng = np.random.default_rng(seed)
    one, two = rng.integers(0, 9, (2, 12, 14))
    shared = rng.random((12, 14)) < 0.8
    objects = rng.permutation([2, 5, 7, 40])

    slow = []
    for k in objects:
        a, b = (one == k) & shared, (two == k) & shared
        slow.append(2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else np.nan)

    np.testing.assert_allclose(object_dice(one, two, shared, objects), slow)


def test_drift_falls_while_neighbours_agree():
    truth = [square(10) for _ in range(4)]
    drifted = [square(10 + 2) for _ in range(4)]
    known = everywhere(*truth)

    assert neighbour_dice(drifted, known, np.array([5])) == 1.0
    assert truth_dice(drifted, known, truth, np.array([5])) == pytest.approx(0.8)
    known[0][:] = False  # a section that is not known does not show the object: 240 of 300 + 400 px
    assert truth_dice(drifted, known, truth, np.array([5])) == pytest.approx(2 * 240 / 700)


def test_ncc_is_one_for_another_contrast_minus_one_for_an_inverted_one_and_unknown_for_a_flat_one():
    rng = np.random.default_rng(1)
    section = rng.normal(128, 20, (30, 30))
    stack = [section, 0.5 * section + 10, 255 - section, np.full((30, 30), 7.0)]

    found = neighbour_ncc(stack, everywhere(*stack), blur_px=1.5)

    np.testing.assert_allclose(found[:2], [1, -1], atol=1e-5)  # float32 blur
    assert np.isnan(found[2])


def test_ncc_does_not_see_what_is_masked():
    rng = np.random.default_rng(2)
    one = rng.normal(128, 20, (40, 40))
    two = one.copy()
    two[:, 20:] = 255
    mask = np.ones(one.shape, bool)
    mask[:, 20:] = False

    with_mask, without = (neighbour_ncc([one, two], [m, m], blur_px=0)[0] for m in (mask, np.ones(one.shape, bool)))

    assert with_mask == pytest.approx(1.0)
    assert without < 0.5


def test_residual_is_what_neighbours_do_not_share():
    common = np.random.default_rng(3).normal(0, 5, (2, 20, 20)).astype(np.float32)
    shifted = common + np.float32([[[3.0]], [[4.0]]])
    shifted[:, :5] = np.nan

    (same,) = neighbour_residual_px([common, common])
    (apart,) = neighbour_residual_px([common, shifted])

    assert same.max() == 0
    assert len(apart) == 15 * 20
    np.testing.assert_allclose(apart, 5.0, atol=1e-5)  # px: float32 offsets


def test_gain_is_a_share_of_what_could_be_gained():
    assert gained(0.5, 0.5, 0.9) == 0
    assert gained(0.5, 0.9, 0.9) == pytest.approx(1)
    assert gained(0.5, 0.4, 0.9) == pytest.approx(-0.25)
    assert np.isnan(gained(0.5, 0.6, 0.5))
