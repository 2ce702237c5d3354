"""Transforms of pairs and positions of tiles against their truth."""

from __future__ import annotations

from math import hypot, radians

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij import metrics
from demis_ij.errors import InputError
from demis_ij.records import Affine
from demis_ij.synth import GridSpec, make_scene


@pytest.fixture(scope="module")
def scene():
    spec = GridSpec(rows=2, cols=3, tile_px=96, overlap=0.3, stage_error_frac=0.03, resin=((0, 0),), missing=((1, 2),))
    return make_scene(spec, 12)


def test_the_truth_itself_has_no_error(scene):
    for fixed, moving in scene.pairs:
        right = metrics.true_to_fixed(scene.truth, fixed, moving)
        assert metrics.corner_error_px(right, scene.truth, fixed, moving).max() < 1e-9
        assert metrics.overlap_error_px(right, scene.truth, fixed, moving) < 1e-9


@settings(max_examples=20, deadline=None)
@given(dx=st.floats(-50, 50), dy=st.floats(-50, 50))
def test_a_shift_is_an_error_of_its_length_everywhere(scene, dx, dy):
    fixed, moving = scene.pairs[0]
    wrong = Affine.translation(dx, dy).matrix @ metrics.true_to_fixed(scene.truth, fixed, moving)
    np.testing.assert_allclose(metrics.corner_error_px(wrong, scene.truth, fixed, moving), hypot(dx, dy), atol=1e-9)
    assert metrics.overlap_error_px(wrong, scene.truth, fixed, moving) == pytest.approx(hypot(dx, dy), abs=1e-9)


def test_a_turn_about_the_middle_moves_each_corner_by_its_chord(scene):
    fixed, moving = scene.pairs[0]
    turn = Affine.about(Affine.rigid(radians(1)), (47.5, 47.5))
    wrong = metrics.true_to_fixed(scene.truth, fixed, moving) @ turn.matrix
    chord = 2 * hypot(48, 48) * np.sin(radians(0.5))
    np.testing.assert_allclose(metrics.corner_error_px(wrong, scene.truth, fixed, moving), chord, atol=1e-9)


def test_tiles_that_do_not_overlap_have_no_overlap_error(scene):
    far = scene.truth.moved({"r00_c02": Affine.translation(1e4, 0)})
    assert np.isnan(metrics.overlap_error_px(np.eye(3), far, "r00_c00", "r00_c02"))


@settings(max_examples=15, deadline=None)
@given(angle=st.floats(-3, 3), x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
def test_the_global_error_does_not_see_a_rigid_move_of_everything(scene, angle, x, y):
    frame = Affine.rigid(angle, x, y)
    moved = scene.truth.moved({t.id: frame @ t.to_world for t in scene.truth})
    assert max(e.max() for e in metrics.global_error_px(moved, scene.truth).values()) < 1e-6  # px


def test_one_tile_far_off_does_not_spoil_the_others(scene):
    off = Affine.translation(300, 0) @ scene.truth["r00_c02"].to_world
    error = metrics.global_error_px(scene.truth.moved({"r00_c02": off}), scene.truth)
    assert error["r00_c02"] == pytest.approx(300, abs=0.5)
    assert max(e.max() for name, e in error.items() if name != "r00_c02") < 0.05  # px


def test_components_are_aligned_each_by_itself(scene):
    left, right = ("r00_c00", "r01_c00"), ("r00_c01", "r01_c01", "r00_c02")
    frame = Affine.rigid(0.2, 40, -10)
    moved = scene.truth.moved({i: frame @ scene.truth[i].to_world for i in right})
    assert max(e.max() for e in metrics.global_error_px(moved, scene.truth).values()) > 5
    apart = metrics.global_error_px(moved, scene.truth, components=(left, right))
    assert max(e.max() for e in apart.values()) < 1e-6


def test_a_tile_without_truth_is_refused(scene):
    other = make_scene(GridSpec(rows=3, cols=3, tile_px=32, overlap=0.3), 1)
    with pytest.raises(InputError, match="has no truth"):
        metrics.global_error_px(other.truth, scene.truth)
