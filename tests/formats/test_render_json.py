"""Render's TileSpec JSON."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Layout, Tile

AFFINE = "mpicbg.trakem2.transform.AffineModel2D"


def leaf(data, name=AFFINE):
    return {"type": "leaf", "className": name, "dataString": data}


def spec(tile_id="a", *transforms, url="tiles/a.tif", **more):
    return {
        "tileId": tile_id,
        "z": 3.0,
        "width": 200.0,
        "height": 100.0,
        "mipmapLevels": {"0": {"imageUrl": url}},
        "transforms": {"type": "list", "specList": list(transforms)},
        **more,
    }


def save(folder, whole, name="tiles.json"):
    path = folder / name
    text = whole if isinstance(whole, str) else json.dumps(whole)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_specs_are_read_with_transforms_in_order_of_application(tmp_path):
    whole = [
        spec("a", leaf("2 0 0 2 0 0"), leaf("1 0 0 1 10 20"), url="file:/data/a%20b.tif"),
        spec("b", leaf("1.0 0.1 -0.1 1.0 5 6"), url="file:///data/b.tif", z=4),
        spec("c", url="c.tif", minIntensity=255.0, maxIntensity=0.0),
    ]
    document = formats.read(save(tmp_path, whole))
    assert document.format == "render"
    assert document.sections == ("3", "4")
    a, c = document.layouts[0]
    assert (a.to_world, a.shape, str(a.path)) == (Affine(2, 0, 0, 2, 10, 20), (100, 200), "/data/a b.tif")
    assert document.layouts[1]["b"].to_world == Affine(1, -0.1, 0.1, 1, 5, 6)  # m00 m10 m01 m11 m02 m12
    assert str(document.layouts[1]["b"].path) == "/data/b.tif"
    assert (c.to_world, c.path) == (Affine(), tmp_path / "c.tif")
    assert any("inverted" in w and "first: c" in w for w in document.warnings)


def test_references_are_resolved_in_the_file_or_refused(tmp_path):
    lens = {"id": "lens", "type": "list", "specList": [leaf("1 0 0 1 1 1"), {"type": "ref", "refId": "inner"}]}
    inner = {"id": "inner", **leaf("3 0 0 3 0 0")}
    tile = spec("a", {"type": "ref", "refId": "lens"}, leaf("1 0 0 1 100 0"))
    wanted = Affine(3, 0, 0, 3, 103, 3)
    layouts = [
        [tile, lens, inner],
        {"tileSpecs": [tile], "transformSpecs": [lens, inner]},
        {"tileIdToSpecMap": {"a": tile}, "transformIdToSpecMap": {"lens": lens, "inner": inner}},
    ]
    for whole in layouts:
        assert formats.read(save(tmp_path, whole)).layouts[0]["a"].to_world == wanted
    with pytest.raises(FormatError, match="tileId a: transform 'lens' is not in the file"):
        formats.read(save(tmp_path, [tile]))
    loop = {"id": "lens", "type": "list", "specList": [{"type": "ref", "refId": "lens"}]}
    with pytest.raises(FormatError, match="refers to itself"):
        formats.read(save(tmp_path, [tile, loop]))


@pytest.mark.parametrize("level", [1, 3])
def test_the_lowest_level_that_exists_stands_in_with_its_scale_and_half_pixel_shift(tmp_path, level):
    (tmp_path / "small.png").touch()
    (tmp_path / "mask.png").touch()
    levels = {
        "0": {"imageUrl": "gone/full.png", "maskUrl": "gone/full_mask.png"},
        str(level): {"imageUrl": "gone/small.png", "maskUrl": "gone/mask.png"},
        "9": {"imageUrl": "small.png"},
    }
    full = Affine(0.96, 0.009, -0.007, 0.92, 47.5, 45.7)
    data = "0.96 -0.007 0.009 0.92 47.5 45.7"
    whole = [spec("a", leaf(data), mipmapLevels=levels, width=1600.0, height=800.0)]
    document = formats.read(save(tmp_path, whole))
    tile = document.layouts[0]["a"]
    assert (tile.path, tile.mask_path) == (tmp_path / "small.png", tmp_path / "mask.png")
    scale = 2**level
    assert tile.shape == (800 // scale, 1600 // scale)
    # the outer corners of the small image are those of the full one, whatever the level
    full_corners = np.array([[-0.5, -0.5], [1599.5, -0.5], [1599.5, 799.5], [-0.5, 799.5]])
    np.testing.assert_allclose(tile.world_corners, full(full_corners), atol=1e-9)  # px
    assert any(f"level {level}" in w for w in document.warnings)
    (tmp_path / "full.png").touch()
    assert formats.read(tmp_path / "tiles.json").layouts[0]["a"].to_world == full


def test_a_mask_that_is_not_there_and_extra_channels_are_said(tmp_path):
    (tmp_path / "a.tif").touch()
    levels = {"0": {"imageUrl": "a.tif", "maskUrl": "m.png"}}
    whole = spec("a")
    whole.pop("mipmapLevels")
    whole["channels"] = [
        {"name": "empty"},
        {"name": "x", "mipmapLevels": levels},
        {"name": "y", "mipmapLevels": levels},
    ]
    document = formats.read(save(tmp_path, [whole]))
    tile = document.layouts[0]["a"]
    assert (tile.path, tile.mask_path) == (tmp_path / "a.tif", None)
    assert any("mask that is not there" in w for w in document.warnings)
    assert any("several channels" in w for w in document.warnings)


BAD = {
    "no JSON": ('[{"tileId": }]', "line 1: no JSON"),
    "truncated": (json.dumps([spec()], indent=1)[:-30], r"line \d+: no JSON"),
    "no tile": ("[]", "holds no tile"),
    "other JSON": ('{"parameters": {"nx": 3}}', "holds no tile"),
    "a tile twice": ([spec("a"), spec("b"), spec("a")], "spec 2: tileId 'a' again, first in tile spec 0"),
    "NaN": ([spec("a", leaf("1 0 0 NaN 0 0"))], "tile spec 0, tileId a: transforms: AffineModel2D.*not finite"),
    "five numbers": ([spec("a", leaf("1 0 0 1 0"))], r"5 number\(s\), 6 were needed"),
    "flat": ([spec("a", leaf("1 1 1 1 0 0"))], "flatten"),
    "unknown class": ([spec("a", leaf("1", "my.Swirl"))], r"my\.Swirl"),
    "interpolated": ([spec("a", {"type": "interpolated", "a": {}, "b": {}})], "of type 'interpolated'"),
    "wordy width": ([spec("a", width="wide")], "tileId a: width: 'wide' is no number"),
    "NaN as z": ('[{"tileId": "a", "z": NaN, "mipmapLevels": {"0": {"imageUrl": "a"}}}]', "z: 'nan' is not finite"),
    "no image": ([spec("a", mipmapLevels={})], "no mipmapLevels"),
    "no url": ([spec("a", mipmapLevels={"0": {"maskUrl": "m"}})], "mipmapLevels cannot be read"),
    "a wordy level": ([spec("a", mipmapLevels={"full": {"imageUrl": "m"}})], "mipmapLevels cannot be read"),
    "empty": ("", "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_file_is_refused_with_its_line_or_tile(tmp_path, name):
    whole, says = BAD[name]
    with pytest.raises(FormatError, match=says):
        formats.read(save(tmp_path, whole), format="render")


values = st.floats(-1e5, 1e5, allow_nan=False)
linear = st.floats(0.5, 1.5)


@given(
    maps=st.lists(
        st.builds(Affine, linear, st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), linear, values, values), min_size=1
    ),
    sections=st.sampled_from([("0",), ("1", "2.5")]),
    name=st.sampled_from(["t.json", "t.json.gz"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back_exactly(tmp_path, maps, sections, name):
    path = tmp_path / name
    layouts = []
    for z in sections:
        tiles = tuple(Tile(f"{z}-{i}", tmp_path / f"{i}.tif", (40, 30), m, z) for i, m in enumerate(maps))
        layouts.append(Layout(tiles, z, source=path))
    assert list(formats.read(formats.write(path, layouts, overwrite=True)).layouts) == layouts
    assert path.read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")


def test_masks_are_written_and_pages_refused(tmp_path):
    (tmp_path / "m.png").touch()
    masked = Layout((Tile("a", tmp_path / "a.tif", (4, 4), mask_path=tmp_path / "m.png"),))
    assert formats.read(formats.write(tmp_path / "t.json", [masked])).layouts[0]["a"].mask_path == tmp_path / "m.png"
    with pytest.raises(InputError, match="page of 1 tile"):
        formats.write(tmp_path / "p.json", [Layout((Tile("a", tmp_path / "a.tif", (4, 4), page=2),))])


def test_a_solved_copy_changes_the_last_affine_and_the_bounds_and_keeps_what_it_does_not_know(tmp_path):
    bend = leaf("0 1 0 0.0001 0 0 0 0 1 0 0 0", "mpicbg.trakem2.transform.PolynomialTransform2D")
    whole = {
        "tileSpecs": [
            spec("a", leaf("1 0 0 1 5 6"), myOwn={"x": [1, 2.5, None]}, minX=1.0),
            spec("b", leaf("1 0 0 1 5 6"), bend),
            spec("c", leaf("1 0 0 1 5 6")),
            spec("d", transforms=leaf("1 0 0 1 7 8")),
        ],
        "note": "größer",
    }
    document = formats.read(save(tmp_path, whole))
    (layout,) = document.layouts
    change = Affine.rigid(0.02, 3, -4)
    moved = layout.moved({i: change @ layout[i].to_world for i in ("a", "b", "d")})
    path = formats.write_solved(document, [moved])
    assert path == tmp_path / "tiles.demis.json"
    again = formats.read(path)
    for tile in again.layouts[0]:
        np.testing.assert_allclose(tile.to_world.matrix, moved[tile.id].to_world.matrix, atol=1e-9)  # px
    new = json.loads(path.read_text())
    assert new["note"] == "größer"
    a, b, c, d = new["tileSpecs"]
    assert a["myOwn"] == {"x": [1, 2.5, None]}
    assert c == whole["tileSpecs"][2]
    assert len(a["transforms"]["specList"]) == 1
    assert b["transforms"]["specList"][:2] == whole["tileSpecs"][1]["transforms"]["specList"]  # the bend stays exact
    assert len(b["transforms"]["specList"]) == 3
    assert len(d["transforms"]["specList"]) == 1
    corners = moved["a"].to_world([[0, 0], [199, 0], [199, 99], [0, 99]])
    assert [a["minX"], a["minY"], a["maxX"], a["maxY"]] == pytest.approx([*corners.min(0), *corners.max(0)])
    assert json.loads((tmp_path / "tiles.json").read_text()) == whole


def test_a_solved_copy_of_smaller_levels_is_in_full_size_pixels_again(tmp_path):
    (tmp_path / "s.png").touch()
    levels = {"0": {"imageUrl": "gone.png"}, "1": {"imageUrl": "s.png"}}
    document = formats.read(save(tmp_path, [spec("a", leaf("1 0 0 1 5 6"), mipmapLevels=levels)]))
    moved = [document.layouts[0].moved({"a": Affine.translation(10, 20) @ document.layouts[0]["a"].to_world})]
    path = formats.write_solved(document, moved, tmp_path / "out")
    (new,) = json.loads(path.read_text())
    assert [float(v) for v in new["transforms"]["specList"][0]["dataString"].split()] == [1, 0, 0, 1, 15, 26]
    assert (new["minX"], new["maxX"]) == (15, 15 + 199)
    assert new["mipmapLevels"]["1"]["imageUrl"] == f"file:{tmp_path.as_posix()}/s.png"
    np.testing.assert_allclose(
        formats.read(path).layouts[0]["a"].to_world.matrix, moved[0]["a"].to_world.matrix, atol=1e-12
    )
