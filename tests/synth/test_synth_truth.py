"""Scenes on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from demis_ij import formats, synth
from demis_ij.errors import FormatError, InputError
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


def test_a_layout_of_another_scene_is_refused(scene, tmp_path):
    other = make_scene(GridSpec(rows=3, cols=3, tile_px=32, overlap=0.3), 1)
    folder = synth.write_scene(scene, tmp_path / "s", formats=())
    with pytest.raises(InputError, match="is not of this scene"):
        synth.read_truth(folder).named_as(other.layout)
