# ruff: noqa: F811 - fixtures come by name
"""solution.json: where every tile lies in the mosaic's own pixels, checked on the pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from cli_words import demis, made, scene, solution_of  # noqa: F401 - fixtures
from scipy import ndimage

from demis_ij import formats

FAST = ("--matcher", "sift", "--quiet")
TILE_KEYS = {"path", "page", "section", "shape", "to_world", "component", "placed_by", "sigma_px", "stage_to_world"}
TILE_KEYS |= {"mask_path"}
PAIR_KEYS = {
    "section",
    "fixed",
    "moving",
    "accepted",
    "reason",
    "inliers",
    "residual_px",
    "matcher",
    "matches",
    "tried",
}


def agreement(mosaic, tile, to_world, dx=0.0):
    """Return the correlation of a tile's inside with the mosaic where the solution says it lies, ``dx`` px aside."""
    y, x = np.mgrid[20:236, 20:236].astype(float)
    (a, b, tx), (c, d, ty) = to_world
    seen = ndimage.map_coordinates(mosaic, [c * x + d * y + ty, a * x + b * y + tx + dx], order=1, mode="nearest")
    return float(np.corrcoef(seen.ravel(), tile[20:236, 20:236].astype(float).ravel())[0, 1])


def test_the_mosaic_at_to_world_of_a_tile_pixel_shows_that_pixel(demis, scene):
    run = scene.parent / "run"
    assert demis("stitch", scene / "project.xml", "--out", run, *FAST, "--model", "affine").code == 0
    mosaic = tifffile.imread(run / "mosaic.ome.tif").astype(float)

    found = solution_of(run)

    for tile in found["tiles"].values():
        image = tifffile.imread(tile["path"])
        right = agreement(mosaic, image, tile["to_world"])
        assert right > 0.97  # noise of 3 greys and blending keep it below 1
        assert right > agreement(mosaic, image, tile["to_world"], 0.5) + 0.001
        assert right > agreement(mosaic, image, tile["to_world"], -0.5) + 0.001


def test_it_holds_what_is_promised_and_no_more_than_json(demis, scene):
    run = scene.parent / "run"
    assert demis("stitch", scene / "project.xml", "--out", run, *FAST).code == 0

    found = solution_of(run)

    assert found["format_version"] == 1
    assert len(found["world_origin"]) == 2
    assert set(found["tiles"]) == {"5", "6", "7", "8"}  # the oids
    for tile in found["tiles"].values():
        assert set(tile) == TILE_KEYS
        assert np.array(tile["to_world"]).shape == (2, 3)
        assert (tile["component"], tile["placed_by"], tile["section"]) == (0, "sift", "0")
        assert 0 < tile["sigma_px"] < 1
    assert {(p["fixed"], p["moving"]) for p in found["pairs"]} == {("5", "6"), ("5", "7"), ("6", "8"), ("7", "8")}
    for pair in found["pairs"]:
        assert set(pair) >= PAIR_KEYS
        assert pair["accepted"] is True
        assert pair["reason"] == ""
        assert pair["inliers"] >= 8
        assert 0 < pair["residual_px"] < 1


def test_world_origin_leads_from_the_mosaic_back_to_the_solved_layout(demis, scene):
    run = scene.parent / "run"
    assert demis("stitch", scene / "project.xml", "--out", run, *FAST).code == 0
    found = solution_of(run)

    solved = formats.read(scene / "project.demis.xml").layouts[0]

    for tile_id, tile in found["tiles"].items():
        there = np.array(tile["to_world"])
        there[:, 2] += found["world_origin"]
        np.testing.assert_allclose(there, solved[tile_id].to_world.matrix[:2], atol=1e-9)


def test_a_rejected_pair_says_why_and_what_was_tried(demis, scene):
    blank = np.full((256, 256), 128, np.uint8)
    tifffile.imwrite(scene / "tiles" / "r00_c01.tif", blank)
    run = scene.parent / "run"
    assert demis("stitch", scene / "project.xml", "--out", run, "--quiet", "--matcher", "auto").code == 0

    found = solution_of(run)

    bad = [p for p in found["pairs"] if "6" in {p["fixed"], p["moving"]}]
    assert len(bad) == 2
    for pair in bad:
        assert pair["accepted"] is False
        assert pair["residual_px"] is None
        assert pair["reason"]
        assert [name for name, _ in pair["tried"]][:2] == ["loftr", "sift"]
    assert found["tiles"]["6"]["placed_by"] == "stage"
    assert found["tiles"]["5"]["placed_by"] == "loftr"


class TestIds:
    def test_of_a_text_list_are_the_paths_as_written_with_their_slices(self, demis, scene):
        stack = np.stack([tifffile.imread(p) for p in sorted((scene / "tiles").iterdir())])
        tifffile.imwrite(scene / "stack of tiles.tif", stack, photometric="minisblack")
        at = [(192 * c, 192 * r) for r in (0, 1) for c in (0, 1)]
        lines = [f"stack of tiles.tif-----#slice={k + 1}\t{x}\t{y}\t0" for k, (x, y) in enumerate(at)]
        (scene / "list.txt").write_text("\n".join(lines) + "\n")
        run = scene.parent / "run"

        said = demis("stitch", scene / "list.txt", "--out", run, *FAST)

        assert said.code == 0, said
        tiles = solution_of(run)["tiles"]
        assert list(tiles) == [f"stack of tiles.tif-----#slice={k}" for k in (1, 2, 3, 4)]
        assert [t["page"] for t in tiles.values()] == [0, 1, 2, 3]
        assert {t["placed_by"] for t in tiles.values()} == {"sift"}
        mosaic = tifffile.imread(run / "mosaic.ome.tif").astype(float)
        for image, tile in zip(stack, tiles.values(), strict=True):
            assert agreement(mosaic, image, tile["to_world"]) > 0.97

    def test_of_render_specs_are_their_tile_ids(self, demis, scene):
        assert demis("convert", scene / "project.xml", scene / "x.json").code == 0
        specs = json.loads((scene / "x.json").read_text())
        run = scene.parent / "run"
        assert demis("stitch", scene / "x.json", "--out", run, *FAST).code == 0
        assert set(solution_of(run)["tiles"]) == {s["tileId"] for s in specs}


class TestSections:
    @pytest.fixture
    def two(self, scene):
        """Return a text list of two sections, the second one shifted and of two tiles."""
        names = [f"tiles/r0{r}_c0{c}.tif" for r in (0, 1) for c in (0, 1)]
        at = [(192 * c, 192 * r) for r in (0, 1) for c in (0, 1)]
        lines = [f"{n} {x} {y} 0" for n, (x, y) in zip(names, at, strict=True)]
        (scene / "more").mkdir()
        for name in names[:2]:
            tifffile.imwrite(scene / name.replace("tiles", "more"), tifffile.imread(scene / name)[::-1])
        lines += [f"{n.replace('tiles', 'more')} {x - 50} {y - 30} 3" for n, (x, y) in zip(names, at, strict=True)][:2]
        (scene / "two.txt").write_text("\n".join(lines) + "\n")
        return scene / "two.txt"

    def test_share_one_frame_one_project_and_have_a_mosaic_each(self, demis, two):
        run = two.parent.parent / "run"

        said = demis("stitch", two, "--out", run, *FAST, "--json")

        assert said.code == 0
        found = solution_of(run)
        assert {t["section"] for t in found["tiles"].values()} == {"0", "3"}
        assert {p["section"] for p in found["pairs"]} == {"0", "3"}
        mosaics = {s: tifffile.imread(run / f"mosaic_{s}.ome.tif").astype(float) for s in ("0", "3")}
        assert mosaics["0"].shape == mosaics["3"].shape
        for tile in found["tiles"].values():
            assert agreement(mosaics[tile["section"]], tifffile.imread(tile["path"]), tile["to_world"]) > 0.97
        assert (run / "seams_0.csv").is_file()
        assert (run / "seams_3.csv").is_file()
        assert formats.read(run / "project.xml").sections == ("0", "3")
        assert formats.read(run / "two.demis.txt").sections == ("0", "3")

    def test_of_a_trakem2_project_are_solved_by_themselves_into_one_copy(self, demis, two):
        project = two.with_name("two.xml")
        assert demis("convert", two, project).code == 0
        run = two.parent.parent / "run"

        assert demis("stitch", project, "--out", run, *FAST).code == 0

        assert formats.read(two.with_name("two.demis.xml")).sections == ("0", "3")
        assert len(solution_of(run)["tiles"]) == 6

    def test_can_be_picked(self, demis, two):
        run = two.parent.parent / "run"
        said = demis("stitch", two, "--out", run, *FAST, "--section", "3", "--section", "3")
        assert said.code == 0
        assert {t["section"] for t in solution_of(run)["tiles"].values()} == {"3"}
        assert (run / "mosaic.ome.tif").is_file()
        said = demis("render", run, "--out", run.with_name("drawn"), "--section", "0", "--quiet")
        assert (said.code, len(said.lines)) == (2, 1)


@pytest.mark.parametrize("where", ["layout", "header"])
def test_the_pixel_size_is_carried_into_ome_tiff_and_ome_zarr(demis, scene, where):
    import zarr

    if where == "layout":
        text = (scene / "project.xml").read_text(encoding="latin-1")
        text = text.replace('pixelWidth="1.0" pixelHeight="1.0"', 'pixelWidth="4.0" pixelHeight="4.0"')
        (scene / "project.xml").write_text(text.replace('unit="pixel"', 'unit="nm"'), encoding="latin-1")
    else:
        for path in (scene / "tiles").iterdir():
            per_cm = 1e7 / 4  # 4 nm
            tifffile.imwrite(path, tifffile.imread(path), resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    run = scene.parent / "run"

    said = demis("stitch", scene / "project.xml", "--out", run, *FAST, "--mosaic", "ome-tiff", "--mosaic", "ome-zarr")

    assert (said.code, said.warnings) == (0, [])
    assert solution_of(run)["pixel_size"] == [4.0, "nm"]
    with tifffile.TiffFile(run / "mosaic.ome.tif") as file:
        assert 'PhysicalSizeX="4.0"' in file.ome_metadata
        assert 'PhysicalSizeXUnit="nm"' in file.ome_metadata
    group = zarr.open_group(run / "mosaic.ome.zarr", mode="r")
    found = group.attrs.asdict()
    multiscale = found.get("ome", found)["multiscales"][0]
    assert multiscale["axes"][-1]["unit"] == "nanometer"
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [4.0, 4.0]
