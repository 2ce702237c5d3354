"""Lenses in files: TrakEM2 projects, tile specs, solutions; and what the rest loses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from lens_grids import some_lens

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.lenses import LENS_CLASS, behind_lens, lens_spec
from demis_ij.formats.solutions import lenses_in
from demis_ij.formats.stacks_solved import of_layout
from demis_ij.formats.trakem2 import is_solved_copy
from demis_ij.formats.trakem2_ct import parse_transforms
from demis_ij.records import Affine, Layout, Tile
from demis_ij.runs import read_solution

SHAPE = (90, 120)
LENS = some_lens(SHAPE, 4, 0.3)
AT = np.random.default_rng(0).uniform(0, 1, (50, 2)) * (119, 89)


def tiles(folder: Path, lens=LENS) -> Layout:
    """Return three tiles behind a lens, their images written."""
    out = []
    for i in range(3):
        path = folder / f"t{i}.png"
        cv2.imwrite(str(path), np.zeros(SHAPE, np.uint8))
        out.append(Tile(str(100 + i), path, SHAPE, Affine.rigid(0.02 * i, 100.5 * i, 7), lens=lens))
    return Layout(tuple(out))


def same_places(one: Layout, other: Layout) -> None:
    """Check that every tile's pixels lie where those of the other layout lie."""
    for tile in one:
        np.testing.assert_allclose(other[tile.id].in_world(AT), tile.in_world(AT), atol=1e-8)  # px


def test_the_data_are_what_trakem2s_own_class_needs():
    """Golden values: mpicbg.trakem2.transform.NonLinearCoordinateTransform applied to them by Java gives the same."""
    name, data = lens_spec(LENS, SHAPE)
    fields = data.split(" ")
    assert name == LENS_CLASS
    assert fields[:2] == ["4", "15"]
    assert len(fields) == 4 + 4 * 15
    assert fields[-2:] == ["120", "90"]
    beta = np.array(fields[2:32], float).reshape(15, 2)
    x, y = 30.25, 71.5
    terms = [x ** (n - k) * y**k for n in range(1, 5) for k in range(n + 1)] + [100.0]
    np.testing.assert_allclose(np.array(terms) @ beta, LENS([x, y]), atol=1e-9)


def test_what_is_written_of_a_lens_is_read_as_that_lens():
    after, lens, left = behind_lens(parse_transforms([lens_spec(LENS, SHAPE)]), SHAPE)
    assert left == 0
    assert lens is not None
    np.testing.assert_allclose(lens.x, LENS.x, atol=1e-8)
    np.testing.assert_allclose(lens.y, LENS.y, atol=1e-8)
    np.testing.assert_allclose(after.matrix, np.eye(3), atol=1e-8)


@pytest.mark.parametrize("name", ["p.xml", "p.json"])
def test_a_new_file_holds_the_lens(tmp_path, name):
    layout = tiles(tmp_path)
    document = formats.read(formats.write(tmp_path / name, [layout]))
    assert document.warnings == ()
    same_places(layout, document.layouts[0])


def test_tile_specs_share_one_lens_and_name_the_camera(tmp_path):
    layout = tiles(tmp_path, replace(LENS, camera="cam2"))
    layout = replace(layout, tiles=tuple(replace(t, camera="cam2") for t in layout))
    path = formats.write(tmp_path / "p.json", [layout])
    whole = json.loads(path.read_text())
    assert len(whole["transformIdToSpecMap"]) == 1
    assert all(spec["transforms"]["specList"][0]["type"] == "ref" for spec in whole["tileIdToSpecMap"].values())
    assert {t.camera for t in formats.read(path).layouts[0]} == {"cam2"}


@pytest.mark.parametrize("name", ["p.xml", "p.json"])
def test_a_solved_copy_gets_a_lens_that_the_file_did_not_have(tmp_path, name):
    document = formats.read(formats.write(tmp_path / name, [tiles(tmp_path, None)]))
    moved = {t.id: Affine.rigid(0.01, 5, 9) @ t.to_world for t in document.layouts[0]}
    solved = document.layouts[0].moved(moved)
    solved = replace(solved, tiles=tuple(replace(t, lens=LENS) for t in solved))
    copy = formats.write_solved(document, [solved])
    same_places(solved, formats.read(copy).layouts[0])


def test_a_solved_copy_with_a_lens_is_known_again_and_every_other_byte_is_the_users(tmp_path):
    path = formats.write(tmp_path / "p.xml", [tiles(tmp_path, None)])
    document = formats.read(path)
    solved = replace(document.layouts[0], tiles=tuple(replace(t, lens=LENS) for t in document.layouts[0]))
    copy = formats.write_solved(document, [solved])
    assert is_solved_copy(document, copy)
    ours = [line for line in copy.read_bytes().splitlines() if b"<!--demis_ij lens-->" not in line]
    users = path.read_bytes().splitlines()
    assert len(ours) == len(users)
    assert sum(a != b for a, b in zip(ours, users, strict=True)) == 3  # the patches' own tags


def test_a_tile_that_comes_with_a_lens_keeps_it_when_it_moves(tmp_path):
    document = formats.read(formats.write(tmp_path / "p.xml", [tiles(tmp_path)]))
    solved = document.layouts[0].moved({"101": Affine.translation(3, 4) @ document.layouts[0]["101"].to_world})
    copy = formats.write_solved(document, [solved])
    assert copy.read_bytes().count(b"NonLinearCoordinateTransform") == 3
    same_places(solved, formats.read(copy).layouts[0])


def test_another_lens_than_the_files_own_is_refused(tmp_path):
    for name in ("p.xml", "p.json"):
        document = formats.read(formats.write(tmp_path / name, [tiles(tmp_path)]))
        solved = document.layouts[0].moved({"101": Affine()})
        solved = replace(solved, tiles=tuple(replace(t, lens=some_lens(SHAPE, 2, 0.2, seed=8)) for t in solved))
        with pytest.raises(InputError, match=r"of (their|its) own"):
            formats.write_solved(document, [solved])


@pytest.mark.parametrize("name", ["tileconfig", "text"])
def test_text_files_say_that_they_lose_the_lens(tmp_path, name):
    straight = tiles(tmp_path).moved({"101": Affine.translation(100, 0), "102": Affine.translation(200, 0)})
    (lost,) = formats.losses(name, [straight])
    assert "the lens of 3 tile(s), which moves pixels by up to" in lost


def test_a_solution_holds_each_lens_once(tmp_path):
    told = {
        "path": "a.png", "page": None, "section": "0", "shape": list(SHAPE), "to_world": Affine().rows,
        "lens": LENS.name,
    }  # fmt: skip
    head = {"format_version": 1, "world_origin": [0, 0], "pixel_size": None}
    path = tmp_path / "solution.json"
    path.write_text(
        json.dumps({**head, "lenses": {LENS.name: LENS.to_json()}, "tiles": {"a": told, "b": told}, "pairs": []})
    )
    assert lenses_in(path) == {LENS.name: LENS}
    assert [t.lens for t in read_solution(path)[0][0]] == [LENS, LENS]
    path.write_text(json.dumps({**head, "lenses": {LENS.name: {"degree": 4}}, "tiles": {"a": told}, "pairs": []}))
    with pytest.raises(FormatError):
        read_solution(path)
    with pytest.raises(FormatError):
        lenses_in(path)


def test_a_stack_of_sections_says_that_it_leaves_the_lens_out(tmp_path):
    one = replace(tiles(tmp_path), tiles=tiles(tmp_path).tiles[:1])
    two = replace(one, section="1", tiles=tuple(replace(t, id="200", section="1") for t in one))
    found = of_layout(formats.write(tmp_path / "s.xml", [one, two]), None)
    assert all(t.lens is None for t in found.tiles)
    assert any("leaves out the lens of 2 tile(s)" in note for note in found.notes)
