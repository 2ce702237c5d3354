"""Scenes on disk, and the measures of error."""

from __future__ import annotations

import json
from math import hypot, radians

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij import formats, synth
from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine
from demis_ij.synth import GridSpec, make_scene


@pytest.fixture(scope="module")
def scene():
    spec = GridSpec(rows=2, cols=3, tile_px=96, overlap=0.3, stage_error_frac=0.03, resin=((0, 0),), missing=((1, 2),))
    return make_scene(spec, 12)


@pytest.mark.parametrize("name", ["project.xml", "TileConfiguration.txt"])
def test_a_layout_read_back_says_what_the_stage_said_and_finds_its_truth(scene, tmp_path, name):
    folder = synth.write_scene(scene, tmp_path / "scene")
    (read,) = formats.read(folder / name).layouts
    held = synth.read_truth(folder).named_as(read)
    assert held.truth.ids == read.ids
    for tile, ours in zip(read, scene.layout, strict=True):
        np.testing.assert_allclose(tile.to_world.matrix, ours.to_world.matrix, atol=1e-9)
        assert held.truth[tile.id].to_world == scene.truth[ours.id].to_world
        assert np.array_equal(tifffile.imread(tile.path), scene.images[ours.id])
    assert len(held.resin_pairs) == len(scene.resin_pairs) == 2
    assert len(held.textured_pairs) == len(scene.textured_pairs)


def test_truth_comes_back_exactly(scene, tmp_path):
    folder = synth.write_scene(scene, tmp_path / "scene", formats=())
    held = synth.read_truth(folder)
    assert [t.to_world for t in held.truth] == [t.to_world for t in scene.truth]
    assert [t.to_world for t in held.layout] == [t.to_world for t in scene.layout]
    assert (held.resin_pairs, held.textured_pairs, held.decoy_pair) == (scene.resin_pairs, scene.textured_pairs, None)
    assert sorted(p.name for p in folder.iterdir()) == ["tiles", "truth.json"]


def test_a_folder_that_holds_something_is_left_alone(scene, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="is not empty"):
        synth.write_scene(scene, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_format_and_an_impossible_folder_are_refused(scene, tmp_path):
    with pytest.raises(InputError, match="no layout format 'word'"):
        synth.write_scene(scene, tmp_path / "a", formats=("word",))
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        synth.write_scene(scene, tmp_path / "file" / "b")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tiles": {"a": {}}}', '{"tiles": 3}'])
def test_a_broken_truth_names_its_file(tmp_path, text):
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(FormatError, match=r"truth\.json"):
        synth.read_truth(tmp_path)


def test_a_truth_that_is_not_there_names_its_file(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        synth.read_truth(tmp_path)


def test_truth_is_plain_json(scene, tmp_path):
    held = json.loads((synth.write_scene(scene, tmp_path / "s", formats=()) / "truth.json").read_text())
    assert held["format_version"] == 1
    assert held["tiles"]["r00_c01"]["to_world"] == scene.truth["r00_c01"].to_world.rows


def test_the_truth_itself_has_no_error(scene):
    for fixed, moving in scene.pairs:
        right = synth.true_to_fixed(scene.truth, fixed, moving)
        assert synth.corner_error_px(right, scene.truth, fixed, moving).max() < 1e-9
        assert synth.overlap_error_px(right, scene.truth, fixed, moving) < 1e-9


@settings(max_examples=20, deadline=None)
@given(dx=st.floats(-50, 50), dy=st.floats(-50, 50))
def test_a_shift_is_an_error_of_its_length_everywhere(scene, dx, dy):
    fixed, moving = scene.pairs[0]
    wrong = Affine.translation(dx, dy).matrix @ synth.true_to_fixed(scene.truth, fixed, moving)
    np.testing.assert_allclose(synth.corner_error_px(wrong, scene.truth, fixed, moving), hypot(dx, dy), atol=1e-9)
    assert synth.overlap_error_px(wrong, scene.truth, fixed, moving) == pytest.approx(hypot(dx, dy), abs=1e-9)


def test_a_turn_about_the_middle_moves_each_corner_by_its_chord(scene):
    fixed, moving = scene.pairs[0]
    turn = Affine.about(Affine.rigid(radians(1)), (47.5, 47.5))
    wrong = synth.true_to_fixed(scene.truth, fixed, moving) @ turn.matrix
    chord = 2 * hypot(48, 48) * np.sin(radians(0.5))
    np.testing.assert_allclose(synth.corner_error_px(wrong, scene.truth, fixed, moving), chord, atol=1e-9)


def test_tiles_that_do_not_overlap_have_no_overlap_error(scene):
    far = scene.truth.moved({"r00_c02": Affine.translation(1e4, 0)})
    assert np.isnan(synth.overlap_error_px(np.eye(3), far, "r00_c00", "r00_c02"))


@settings(max_examples=15, deadline=None)
@given(angle=st.floats(-3, 3), x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
def test_the_global_error_does_not_see_a_rigid_move_of_everything(scene, angle, x, y):
    frame = Affine.rigid(angle, x, y)
    moved = scene.truth.moved({t.id: frame @ t.to_world for t in scene.truth})
    assert max(e.max() for e in synth.global_error_px(moved, scene.truth).values()) < 1e-6  # px


def test_one_tile_far_off_does_not_spoil_the_others(scene):
    off = Affine.translation(300, 0) @ scene.truth["r00_c02"].to_world
    error = synth.global_error_px(scene.truth.moved({"r00_c02": off}), scene.truth)
    assert error["r00_c02"] == pytest.approx(300, abs=0.5)
    assert max(e.max() for name, e in error.items() if name != "r00_c02") < 0.05  # px


def test_components_are_aligned_each_by_itself(scene):
    left, right = ("r00_c00", "r01_c00"), ("r00_c01", "r01_c01", "r00_c02")
    frame = Affine.rigid(0.2, 40, -10)
    moved = scene.truth.moved({i: frame @ scene.truth[i].to_world for i in right})
    assert max(e.max() for e in synth.global_error_px(moved, scene.truth).values()) > 5
    apart = synth.global_error_px(moved, scene.truth, components=(left, right))
    assert max(e.max() for e in apart.values()) < 1e-6


def test_a_tile_without_truth_is_refused(scene, tmp_path):
    other = make_scene(GridSpec(rows=3, cols=3, tile_px=32, overlap=0.3), 1)
    with pytest.raises(InputError, match="has no truth"):
        synth.global_error_px(other.truth, scene.truth)
    folder = synth.write_scene(scene, tmp_path / "s", formats=())
    with pytest.raises(InputError, match="is not of this scene"):
        synth.read_truth(folder).named_as(other.layout)
