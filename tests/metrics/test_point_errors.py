"""Matched points against their truth: the curve of LoFTR's papers, and coverage by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from second_opinions import error_auc_as_loftr_reports_it

from demis_ij.metrics import coverage, error_auc, reprojection_error_px
from demis_ij.records import Affine

NONE = np.empty((0, 2))


@settings(max_examples=60)
@given(errors=st.lists(st.floats(0, 30), min_size=1, max_size=40), lost=st.integers(0, 5))
def test_the_area_is_that_of_loftr_and_superglue(errors, lost):
    errors = errors + [np.inf] * lost
    thresholds = [1, 3, 5, 10]
    np.testing.assert_allclose(
        error_auc(errors, thresholds), error_auc_as_loftr_reports_it(errors, thresholds), atol=1e-12
    )


def test_areas_by_hand():
    # (0, 0) to (1, 1/2) to (3, 1), then flat to 5: 1/4 + 3/2 + 2 of 5
    assert error_auc([1, 3], [5])[0] == pytest.approx((0.25 + 1.5 + 2) / 5)
    assert error_auc([7.0], [5])[0] == 0
    assert error_auc([np.nan, 0.0], [10])[0] == pytest.approx(0.5)
    assert np.isnan(error_auc([], [1, 3])).all()


def test_reprojection_is_the_distance_after_the_true_transform():
    move = Affine.rigid(0.3, 5, -2)
    xy = np.random.default_rng(1).uniform(0, 100, (9, 2))
    np.testing.assert_allclose(reprojection_error_px(move(xy) + [3, -4], xy, move.matrix), 5)
    assert len(reprojection_error_px(NONE, NONE, np.eye(3))) == 0


def test_coverage_of_a_quarter_by_hand():
    # tiles of 128 x 128 px, the moving one 64 px to the right: columns 2 and 3 of 4 x 4 blocks overlap, 8 blocks
    truth = Affine.translation(64, 0).matrix
    fixed = np.array([[70.0, 5.0], [80.0, 20.0], [100.0, 100.0]])  # two in one block, one in another
    assert coverage(fixed, fixed - [64, 0], truth, (128, 128), (128, 128)) == 2 / 8


def test_a_match_that_is_wrong_by_more_than_the_bound_covers_nothing():
    truth = Affine.translation(64, 0).matrix
    fixed = np.array([[70.0, 5.0]])
    assert coverage(fixed, fixed - [65.2, 0], truth, (128, 128), (128, 128)) == 0
    assert coverage(fixed, fixed - [65.2, 0], truth, (128, 128), (128, 128), within_px=1.5) == 1 / 8


def test_every_block_held_is_one_and_a_block_outside_the_overlap_does_not_count():
    truth = Affine.translation(64, 0).matrix
    col, row = np.meshgrid(np.arange(15.5, 128, 32), np.arange(15.5, 128, 32))
    fixed = np.stack([col.ravel(), row.ravel()], 1)
    assert coverage(fixed, fixed - [64, 0], truth, (128, 128), (128, 128)) == 1
    assert coverage(fixed[fixed[:, 0] < 60], fixed[fixed[:, 0] < 60] - [64, 0], truth, (128, 128), (128, 128)) == 0


def test_no_match_covers_nothing_and_no_overlap_has_no_coverage():
    assert coverage(NONE, NONE, np.eye(3), (64, 64), (64, 64)) == 0
    assert np.isnan(coverage(NONE, NONE, Affine.translation(500, 0).matrix, (64, 64), (64, 64)))
