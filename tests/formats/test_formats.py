"""Recognising formats, choosing them by name, and the real layouts."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from real_images import shared_data
from trakem2_projects import layer, patch, project

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.protocols import FORMATS, LayoutFormat
from demis_ij.records import Affine, Layout, Tile

SAMPLES = {
    "trakem2": project(layer(patch())),
    "tileconfig": "dim = 2\na.tif; ; (0, 0)\n",
    "render": '[{"tileId": "a", "mipmapLevels": {"0": {"imageUrl": "a.tif"}}}]',
    "text": "a.tif 0 0 0\n",
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("file", ["layout", "layout.txt", "layout.dat"])
def test_a_format_is_known_by_its_content_whatever_the_name(tmp_path, name, file):
    path = tmp_path / file
    path.write_text(SAMPLES[name])
    found = formats.recognise(path)
    assert found.name == name
    assert isinstance(found, LayoutFormat)
    assert [layout.ids for layout in found.read(path)] == [layout.ids for layout in formats.read(path).layouts]
    assert next(n for n in FORMATS.names if FORMATS[n]().recognises(path)) == name


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x89PNG\r\n\x1a\n....", "a PNG image"),
        (b"II*\x00....", "a TIFF image"),
        (b"<?xml version='1.0'?><SpimData/>", "XML or HTML file that is no TrakEM2 project"),
        (b"%PDF-1.4", "a PDF file"),
        (b"Hello, this is prose.", "it starts with b'Hello"),
        (b"", "empty"),
    ],
)
def test_what_is_no_layout_is_named_with_what_was_found_and_what_is_known(tmp_path, data, says):
    path = tmp_path / "thing"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=says) as caught:
        formats.recognise(path)
    assert "Known formats: trakem2, tileconfig, render, text" in str(caught.value)


def test_a_missing_file_a_folder_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        formats.read(tmp_path / "none.xml")
    with pytest.raises(FormatError, match="is a folder"):
        formats.read(tmp_path)
    with pytest.raises(InputError, match="did you mean 'trakem2'"):
        formats.read(tmp_path / "none.xml", format="trakem")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.xml", "trakem2"),
        ("a.XML.gz", "trakem2"),
        ("a.json", "render"),
        ("a.json.gz", "render"),
        ("TileConfiguration.txt", "tileconfig"),
        ("Tile_Configuration_2.txt", "tileconfig"),
        ("x.registered.txt", "tileconfig"),
        ("a.txt", "text"),
        ("a.tsv", "text"),
    ],
)
def test_a_new_files_name_says_its_format(tmp_path, name, wanted):
    layout = Layout((Tile("7", tmp_path / "a.tif", (9, 9), Affine.translation(1, 2)),))
    path = formats.write(tmp_path / name, [layout])
    document = formats.read(path)
    assert document.format == wanted
    assert document.layouts[0].tiles[0].to_world == Affine.translation(1, 2)


def test_a_name_that_says_nothing_and_an_empty_layout_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not say which format"):
        formats.write(tmp_path / "layout", [Layout((Tile("7", tmp_path / "a.tif", (9, 9)),))])
    for nothing in ([], [Layout(())]):
        with pytest.raises(InputError, match="no tile to write"):
            formats.write(tmp_path / "a.xml", nothing)


@pytest.mark.parametrize("name", ["a.xml", "a.json", "TileConfiguration.txt", "a.txt"])
def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path, name):
    path = tmp_path / name
    path.write_text("precious")
    layout = Layout((Tile("7", tmp_path / "a.tif", (9, 9)),))
    with pytest.raises(InputError, match="exists and is not overwritten"):
        formats.write(path, [layout])
    assert path.read_text() == "precious"
    formats.write(path, [layout], overwrite=True)
    assert formats.read(path).layouts[0].tiles[0].path == tmp_path / "a.tif"


@pytest.mark.parametrize("source", list(SAMPLES))
@pytest.mark.parametrize("target", ["b.xml", "b.json", "TileConfiguration.txt", "b.txt"])
def test_any_format_converts_to_any(tmp_path, source, target):
    path = tmp_path / "in"
    path.write_text(SAMPLES[source])
    layouts = [
        Layout(tuple(Tile(t.id, t.path, (30, 40), t.to_world) for t in layout), layout.section)
        for layout in formats.read(path).layouts
    ]
    (found,) = formats.read(formats.write(tmp_path / target, layouts)).layouts
    assert [(t.path, t.to_world) for t in found] == [(t.path, t.to_world) for t in layouts[0]]


def test_a_document_gives_its_sections_by_name(tmp_path):
    path = tmp_path / "l.txt"
    path.write_text("a.tif 0 0 0\nb.tif 0 0 5\n")
    document = formats.read(path)
    assert document["5"].ids == ("b.tif",)
    with pytest.raises(InputError, match="no section '7'; there are 0, 5"):
        document["7"]


# --- real layouts ---------------------------------------------------------------------------------------------------


def test_a_real_three_section_list_and_its_solved_project_agree_to_the_stages_error():
    folder = shared_data("lom_array_tomography_3sec")
    nominal = formats.read(folder / "rick0.txt")
    solved = formats.read(folder / "Affine.xml")
    assert nominal.sections == solved.sections == ("0", "1", "2")
    for before, after in zip(nominal.layouts, solved.layouts, strict=True):
        stage = {t.path.name: t for t in before}
        assert sorted(stage) == sorted(t.path.name for t in after)
        assert sum(t.path.is_file() for t in after) == 4  # the others are named, but not there: no error
        centre = [(1376 - 1) / 2, (1040 - 1) / 2]
        a = np.array([stage[t.path.name].to_world(centre) for t in after])
        b = np.array([t.to_world(centre) for t in after])
        assert all(t.shape == (1040, 1376) for t in after)
        # px: the sections were turned by up to 3 degrees, the grid's own shape holds to about a tenth of a tile
        assert np.ptp(np.linalg.norm(a - a.mean(0), axis=1) - np.linalg.norm(b - b.mean(0), axis=1)) < 140
    assert nominal.annotations == solved.annotations == {}


def test_a_real_project_is_copied_byte_for_byte_but_for_the_tiles_that_moved(tmp_path):
    path = shutil.copy(shared_data("lom_array_tomography_3sec") / "Affine.xml", tmp_path / "Affine.xml")
    document = formats.read(path)
    layout = document["1"]
    one = layout.ids[3]
    moved = layout.moved({one: Affine.rigid(0.01, 5, -7) @ layout[one].to_world})
    out = formats.write_solved(document, [moved])
    before, after = path.read_bytes().splitlines(), out.read_bytes().splitlines()
    different = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert len(different) == 1
    assert before[different[0]].strip().startswith(b"transform=")
    np.testing.assert_allclose(formats.read(out)["1"][one].to_world.matrix, moved[one].to_world.matrix, atol=1e-9)


def test_real_tile_specs_name_absent_files_and_the_half_size_level_stands_in():
    folder = shared_data("em_render_temca_2x2") / "stitch"
    document = formats.read(folder / "test_4_tiles_level_1.json")
    (layout,) = document.layouts
    assert layout.ids == ("tile_1", "tile_2", "tile_3", "tile_4")
    for tile in layout:
        assert tile.path.is_file()
        assert tile.path.name.endswith(".png_level_1_mipmap.png")
        assert tile.mask_path == folder / "test_mask.jpg_level_1_mipmap.png"
        assert tile.shape == (1130, 1325)
    full = Affine(0.959851, 0.00872, -0.007319, 0.923958, 47.5933, 45.6929)  # tile_1 as written, level 0
    at = np.array([[0, 0], [1324, 0], [660, 1129]], float)
    np.testing.assert_allclose(layout["tile_1"].to_world(at), full(2 * at + 0.5), atol=1e-9)  # px of level 0


def test_a_real_16_bit_pair_of_tile_specs():
    (layout,) = formats.read(shared_data("em_render_temca_2x2") / "pair_16bit" / "16_bit_tiles.json").layouts
    assert [t.to_world for t in layout] == [Affine(), Affine.translation(299, 0)]
    assert all(t.path.is_file() and t.shape == (0, 0) for t in layout)
