"""A run whose tiles have changed on disk says which."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Layout, Tile
from demis_ij.runs import RunFolder, changed_tiles, check_folder, read_json, remember_tiles

SETTINGS = {"layout_sha256": "1", "tiles_sha256": "1", "stitch": {"model": "rigid"}}
CHANGED = {**SETTINGS, "tiles_sha256": "2"}


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "images").mkdir()
    tiles = []
    for name in "abcde":
        path = tmp_path / "images" / f"{name}.tif"
        path.write_bytes(b"pixels")
        tiles.append(Tile(name, path, (0, 0), Affine.translation(len(tiles), 0.1)))
    return Layout(tuple(tiles), "7")


def test_what_becomes_of_a_tile_is_told(tmp_path, layout):
    remember_tiles(tmp_path, [layout])
    assert changed_tiles(tmp_path, layout) == {}
    (tmp_path / "images" / "a.tif").write_bytes(b"other pixels")
    os.utime(tmp_path / "images" / "b.tif", ns=(1, 1))
    (tmp_path / "images" / "c.tif").unlink()
    moved = replace(layout.tiles[3], to_world=Affine.translation(9, 9))
    now = replace(layout, tiles=(*layout.tiles[:3], moved, replace(layout.tiles[4], id="f")))

    assert changed_tiles(tmp_path, now) == {
        "a": "has another image",
        "b": "has another image",
        "c": "has another image",
        "d": "was moved in the layout",
        "f": "is new",
        "e": "is gone",
    }
    remember_tiles(tmp_path, [now])
    assert changed_tiles(tmp_path, now) != {}  # what was written down stays
    remember_tiles(tmp_path, [now], anew=True)
    assert changed_tiles(tmp_path, now) == {}


def test_a_run_that_never_wrote_it_down_does_not_know(tmp_path, layout):
    assert changed_tiles(tmp_path, layout) == {}


def test_a_file_that_cannot_be_read_is_one_line(tmp_path, layout):
    remember_tiles(tmp_path, [layout])
    Path(tmp_path / "tiles" / "7.parquet").write_bytes(b"nothing")
    with pytest.raises(FormatError, match=r"7.parquet: is damaged"):
        changed_tiles(tmp_path, layout)


def test_the_refusal_names_the_tile_and_says_what_helps(tmp_path, layout):
    run = tmp_path / "run"
    RunFolder(run, SETTINGS, sections=[layout])
    layout.tiles[1].path.write_bytes(b"other pixels")
    with pytest.raises(InputError) as caught:
        check_folder(run, CHANGED, sections=[layout])
    assert str(caught.value) == (
        f"output folder {run} holds another run: tile b has another image. "
        f"'demis-ij redo {run}' does anew only what depends on that; or choose a new folder"
    )
    with pytest.raises(InputError, match=r'tile b has another image; model was "rigid", now "affine". Choose a new'):
        check_folder(run, {**CHANGED, "stitch": {"model": "affine"}}, sections=[layout])
    with pytest.raises(InputError, match=r"the tiles have changed since. Choose a new folder"):
        check_folder(run, CHANGED)


def test_many_changed_tiles_are_counted(tmp_path, layout):
    run = tmp_path / "run"
    other = replace(layout, section="8")
    RunFolder(run, SETTINGS, sections=[layout, other])
    for tile in layout:
        tile.path.write_bytes(b"other pixels")
    with pytest.raises(InputError, match=r"tile 7/a has another image, .* and 7 more tiles have changed"):
        check_folder(run, CHANGED, sections=[layout, other])


def test_a_run_goes_on_under_settings_that_it_has_adopted(tmp_path, layout):
    run = tmp_path / "run"
    RunFolder(run, SETTINGS, sections=[layout])
    layout.tiles[1].path.write_bytes(b"other pixels")
    assert RunFolder.adopted(run, CHANGED, sections=[layout]).resumed
    assert check_folder(run, CHANGED, sections=[layout])
    assert changed_tiles(run, layout) == {}
    assert read_json(run / "run.json")["tiles_sha256"] == "2"
