"""The story of stitching on made-up grids: fallback with reasons, wider search, axes, islands, memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from demis_ij import metrics, synth
from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Rejected
from demis_ij.stitch import AUTO, AXES, Memory, asking, find_axes, stitch, stitching, with_axes
from demis_ij.synth import GridSpec

SIFT = StitchConfig(matcher="sift")


class SceneStore(TileStore):
    """Images of a scene, from memory."""

    def __init__(self, scene):
        super().__init__()
        self.scene = scene

    def _read(self, tile):
        return self.scene.images[tile.id].copy()


def scene_of(monkeypatch, seed=3, **changes):
    """A small scene, its images where the layout's paths are never looked at."""
    spec = {
        "rows": 2, "cols": 3, "tile_px": 320, "overlap": 0.2, "rotation_deg": 1.0, "shift_frac": 0.02, "noise_sd": 4,
        "stage_error_frac": 0.0,
    } | changes  # fmt: skip
    scene = synth.make_scene(GridSpec(**spec), seed)
    monkeypatch.setattr(stitching, "with_shapes", lambda layout: (layout, [], set()))
    return scene, SceneStore(scene)


def errors(scene, result):
    found = metrics.global_error_px(result.solution.layout, scene.truth)
    return np.concatenate([np.ravel(v) for v in found.values()])


def test_a_jittered_grid_is_put_where_it_belongs(monkeypatch):
    scene, store = scene_of(monkeypatch)

    result = stitch(scene.layout, SIFT, store=store)

    assert errors(scene, result).max() < 0.5  # px
    assert set(result.placed_by.values()) == {"sift"}
    assert result.solution.component_sizes == [6]
    assert len(result.pairs) == len({frozenset((p.fixed, p.moving)) for p in result.pairs})


def test_the_order_of_tiles_does_not_matter(monkeypatch):
    scene, store = scene_of(monkeypatch)
    turned = replace(scene.layout, tiles=scene.layout.tiles[::-1])

    one, other = (stitch(layout, SIFT, store=store).solution.layout for layout in (scene.layout, turned))

    for tile in one:
        np.testing.assert_allclose(tile.world_corners, other[tile.id].world_corners, atol=0.1)  # px: refined both ways


def test_a_stage_that_is_a_third_of_a_tile_wrong_is_searched(monkeypatch):
    scene, store = scene_of(monkeypatch, overlap=0.25)
    lost = scene.layout.ids[2]
    away = Affine.translation(0.24 * 320, -0.2 * 320)
    layout = scene.layout.moved({lost: away @ scene.layout[lost].to_world})

    result = stitch(layout, SIFT, store=store)

    assert result.placed_by[lost] == "sift"
    assert errors(scene, result).max() < 0.5
    without = stitch(layout, replace(SIFT, stage_search_frac=0.0), store=store)
    assert without.placed_by[lost] == "stage"


class Silent:
    """A matcher that never sees anything."""

    name = "loftr"

    def __call__(self, fixed, moving):
        return Correspondences.none()

    def batch(self, pairs):
        return [Correspondences.none() for _ in pairs]


def test_auto_asks_the_next_matcher_only_about_what_failed_and_keeps_the_reasons(monkeypatch):
    scene, store = scene_of(monkeypatch)
    made = []
    real = asking.make_matcher

    def make(name, config):
        made.append(name)
        return Silent() if name == "loftr" else real(name, config)

    monkeypatch.setattr(asking, "make_matcher", make)
    result = stitch(scene.layout, StitchConfig(matcher="auto"), store=store)

    assert made[:2] == ["loftr", "sift"]
    assert set(made) <= set(AUTO)
    for pair in result.pairs:
        assert isinstance(pair, PairMatch)
        assert pair.tried[0][0] == "loftr"
        assert "match" in pair.tried[0][1]


def test_when_nobody_sees_anything_every_tile_stays_at_the_stage_and_is_named(monkeypatch):
    scene, store = scene_of(monkeypatch)
    monkeypatch.setattr(asking, "make_matcher", lambda _name, _config: Silent())

    result = stitch(scene.layout, StitchConfig(matcher="auto"), store=store)

    assert all(isinstance(p, Rejected) and p.reason for p in result.pairs)
    assert set(result.placed_by.values()) == {"stage"}
    for tile in scene.layout:
        np.testing.assert_allclose(result.solution.layout[tile.id].to_world.matrix, tile.to_world.matrix, atol=1e-9)
        assert any(tile.id in w for w in result.warnings)


def test_two_components_are_solved_and_told(monkeypatch):
    missing = ((0, 1), (1, 1))
    scene, store = scene_of(monkeypatch, missing=missing)

    result = stitch(scene.layout, SIFT, store=store)

    assert sorted(result.solution.component_sizes) == [2, 2]
    assert any("not connected" in w for w in result.warnings)


def test_locked_tiles_do_not_move(monkeypatch):
    scene, store = scene_of(monkeypatch)
    kept = scene.layout.ids[1]
    tiles = tuple(replace(t, locked=t.id == kept) for t in scene.layout)

    result = stitch(Layout(tiles), SIFT, store=store)

    assert result.solution.layout[kept].to_world == scene.layout[kept].to_world


def test_hidden_tiles_are_left_alone_unless_asked_for(monkeypatch):
    scene, store = scene_of(monkeypatch)
    hidden = scene.layout.ids[0]
    layout = Layout(tuple(replace(t, visible=t.id != hidden) for t in scene.layout))

    without = stitch(layout, SIFT, store=store)
    with_it = stitch(layout, replace(SIFT, include_hidden=True), store=store)

    assert hidden not in without.solution.layout
    assert any("hidden" in w for w in without.warnings)
    assert with_it.placed_by[hidden] == "sift"


def test_only_the_largest_component_moves_where_that_is_asked_for(monkeypatch):
    scene, store = scene_of(monkeypatch, rows=2, cols=4, missing=((0, 2), (1, 2)))
    small = [t for t in scene.layout.ids if t.endswith("c03")]

    result = stitch(scene.layout, replace(SIFT, largest_graph_only=True), store=store)

    for tile in small:
        assert result.solution.layout[tile].to_world == scene.layout[tile].to_world


def test_what_is_remembered_is_not_asked_again(monkeypatch):
    scene, store = scene_of(monkeypatch)
    memory = Memory()
    first = stitch(scene.layout, SIFT, store=store, memory=memory)

    def never(_name, _config):
        raise AssertionError("a matcher was made although every pair is known")

    monkeypatch.setattr(asking, "make_matcher", never)
    again = stitch(scene.layout, SIFT, store=store, memory=memory)

    assert again.solution.layout == first.solution.layout


@pytest.mark.parametrize("axes", AXES)
def test_axes_change_positions_and_not_images(axes, monkeypatch):
    scene, _ = scene_of(monkeypatch)

    there = with_axes(scene.layout, axes)

    for tile in there:
        old = scene.layout[tile.id].to_world
        assert (tile.to_world.a, tile.to_world.b, tile.to_world.c, tile.to_world.d) == (old.a, old.b, old.c, old.d)
    assert len({tuple(np.round(t.to_world([0, 0]), 6)) for t in there}) == len(there)


def undone(axes):
    """The axes whose change undoes another's."""
    return {"-y+x": "+y-x", "+y-x": "-y+x"}.get(axes, axes)


@pytest.mark.parametrize("axes", ["+x-y", "-x-y", "-y+x"])
def test_flipped_and_swapped_stages_are_found_out(axes, monkeypatch):
    scene, store = scene_of(monkeypatch)
    wrong = with_axes(scene.layout, undone(axes))

    found, scores = find_axes(wrong, SIFT, store)

    assert found == axes
    assert scores[axes] > 0.7


def test_right_axes_are_kept_without_trying_the_others(monkeypatch):
    scene, store = scene_of(monkeypatch)

    found, scores = find_axes(scene.layout, SIFT, store)

    assert found == "+x+y"
    assert list(scores) == ["+x+y"]


def test_the_contrast_limit_of_the_config_reaches_the_images(monkeypatch, tmp_path):
    scene, _ = scene_of(monkeypatch)
    made = []
    real = stitching.TileStore

    def store(**options):
        made.append(options)
        return real(**options)

    monkeypatch.setattr(stitching, "TileStore", store)
    monkeypatch.setattr(stitching, "neighbours", lambda _layout: [])
    stitch(scene.layout, replace(SIFT, clahe_clip=1.75))

    assert made == [{"clip": 1.75}]
