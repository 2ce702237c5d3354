"""The verbs, asked as Fiji asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from demis_ij import __version__, formats, views
from demis_ij.runs import read_solution
from demis_ij.views import MosaicView, PairView

FAST = {"matcher": "sift", "settings": {"resolution": 1.0}}


@pytest.fixture
def run(worker, scene) -> Path:
    return Path(worker.done("stitch", {"layout": scene / "TileConfiguration.txt", **FAST})["out"])


def test_check_names_every_part_and_what_to_do(worker):
    found = worker.done("check")

    parts = {f["part"]: f for f in found["findings"]}
    assert {"demis_ij", "python", "torch", "LoFTR weights", "java", "device"} <= set(parts)
    assert all(set(f) == {"part", "ok", "found", "remedy"} for f in found["findings"])
    assert all(f["ok"] or f["remedy"] for f in found["findings"])
    assert found["ok"] == all(f["ok"] for f in found["findings"])
    assert found["version"] == __version__


def test_plan_says_what_would_be_done_and_writes_nothing(worker, scene):
    before = sorted(scene.rglob("*"))

    found = worker.done("plan", {"layout": scene / "project.xml", **FAST})

    assert found["format"] == "trakem2"
    assert found["sections"][0]["tiles"] == 4
    assert found["sections"][0]["pairs"] == 4
    assert found["out"] == str(scene / "project.demis")
    assert found["project"] == str(scene / "project.demis.xml")
    assert sorted(scene.rglob("*")) == before


def test_stitch_leaves_a_picture_for_imagej_and_what_lies_over_it(worker, scene):
    found = worker.done("stitch", {"layout": scene / "project.xml", **FAST})

    assert found["out"] == str(scene / "project.demis")
    assert found["project"] == str(scene / "project.demis.xml")
    assert Path(found["report"]).is_file()
    assert Path(found["seams"]).read_text(encoding="utf-8").count("\n") == 5
    (picture,) = found["pictures"]
    image = tifffile.imread(picture["path"])
    assert image.shape == (picture["height"], picture["width"])
    assert (picture["name"], picture["section"], picture["scale"]) == ("sift", "0", 1.0)
    view = views.read(Path(picture["view"]))
    assert isinstance(view, MosaicView)
    assert (view.width, view.height) == (picture["width"], picture["height"])
    assert {t.placed_by for t in view.tiles} == {"sift"}
    corners = np.array([t.outline for t in view.tiles])
    assert -1 < corners.min() < corners.max() < max(image.shape) + 1
    assert len(view.seams) == 4


def test_a_picture_that_is_too_large_is_reduced_and_its_view_with_it(worker, larger, tmp_path):
    asked = {"layout": larger / "project.xml", **FAST, "project_out": tmp_path / "solved"}
    whole, reduced = (
        worker.done("stitch", {**asked, "out": tmp_path / name, **more})["pictures"][0]
        for name, more in (("whole", {}), ("reduced", {"picture_max_px": 2**18}))
    )

    assert (whole["scale"], reduced["scale"]) == (1.0, 0.5)
    assert (reduced["height"], reduced["width"]) == (-(-whole["height"] // 2), -(-whole["width"] // 2))
    assert tifffile.imread(reduced["path"]).shape == (reduced["height"], reduced["width"])
    outlines = [
        np.array([t.outline for t in view.tiles])
        for view in (views.read(Path(p["view"])) for p in (whole, reduced))
        if isinstance(view, MosaicView)
    ]
    # integers at pixel corners: what is scaled is areas
    np.testing.assert_allclose(outlines[1], outlines[0] / 2, atol=2e-3)  # px: views are rounded to a thousandth


def test_a_second_stitch_with_other_settings_gets_a_folder_of_its_own_and_the_same_goes_on(worker, scene):
    layout = {"layout": scene / "project.xml"}
    first = worker.done("stitch", {**layout, **FAST})
    (scene / "project-2.demis").mkdir()
    (scene / "project-2.demis" / "mine.txt").write_text("hands off")

    other = worker.done("stitch", {**layout, "matcher": "correlation"})
    again = worker.done("stitch", {**layout, **FAST})

    assert Path(first["out"]).name == "project.demis"
    assert Path(other["out"]).name == "project-3.demis"
    assert again["out"] == first["out"]
    assert again["summary"]["resumed"] is True
    assert [p.name for p in (scene / "project-2.demis").iterdir()] == ["mine.txt"]


def test_a_folder_of_tiles_is_stitched_beside_itself(worker, scene):
    found = worker.done(
        "stitch", {"layout": scene / "tiles", "read": {"rows": 2, "cols": 2, "overlap": 0.25}, **FAST, "mosaic": "png"}
    )

    assert found["out"] == str(scene / "tiles.demis")
    assert Path(found["layout"]).name == "TileConfiguration.registered.txt"
    assert (scene / "tiles.demis" / "mosaic.png").is_file()
    assert (scene / "tiles.demis" / "mosaic.tif").is_file()


def test_a_project_that_is_open_in_trakem2_is_never_written(worker, scene):
    worker.done("stitch", {"layout": scene / "project.xml", **FAST})
    there = scene / "project.demis.xml"
    there.write_bytes(there.read_bytes().replace(b"matrix(1.0,", b"matrix(1.5,"))  # a solved copy: else overwritten
    before = there.read_bytes()
    (scene / "link.xml").symlink_to(there)

    for name in ("project.demis.xml", "link.xml"):
        found = worker.done(
            "stitch", {"layout": scene / "project.xml", **FAST, "never_write": [scene / "project.xml", scene / name]}
        )
        assert Path(found["project"]).name == "project.demis-2.xml"
        assert (
            "project.demis.xml is open in TrakEM2 and is left alone: the solved project is project.demis-2.xml"
            in (found["warnings"])
        )
        assert there.read_bytes() == before
        assert found["out"] == str(scene / "project.demis")  # what is open is no part of the settings


@pytest.mark.parametrize("name", ["project.xml", "TileConfiguration.txt"])
def test_the_plan_names_the_project_that_stitch_writes_whatever_is_open(worker, scene, tmp_path, name):
    asked = {"layout": scene / name, **FAST, "out": tmp_path / "run"}
    usual = Path(worker.done("plan", asked)["project"])

    planned = worker.done("plan", {**asked, "never_write": [usual]})
    found = worker.done("stitch", {**asked, "never_write": [usual]})

    assert planned["project"] == found["project"] == str(usual.with_name(f"{usual.stem}-2.xml"))
    said = f"{usual.name} is open in TrakEM2 and is left alone: the solved project is {usual.stem}-2.xml"
    assert said in planned["warnings"]
    assert said in found["warnings"]
    assert worker.done("plan", asked)["project"] == (
        found["project"] if usual.parent == tmp_path / "run" else str(usual)
    )


def test_a_project_in_a_run_folder_that_is_open_is_never_written_either(worker, scene, tmp_path):
    asked = {"layout": scene / "TileConfiguration.txt", **FAST, "out": tmp_path / "run"}
    first = worker.done("stitch", asked)
    (tmp_path / "run" / ".project.done").unlink()  # as if it had been made of other matches
    Path(first["project"]).write_bytes(b"changed in TrakEM2")

    again = worker.done("stitch", {**asked, "never_write": [first["project"]]})

    assert Path(first["project"]).read_bytes() == b"changed in TrakEM2"
    assert Path(again["project"]).name == "project-2.xml"
    assert len(formats.read(Path(again["project"])).layouts[0]) == 4


def test_a_project_out_that_is_open_is_refused_before_anything_is_done(worker, scene, tmp_path):
    target = tmp_path / "solved.xml"

    said = worker.refused(
        "stitch", {"layout": scene / "project.xml", **FAST, "project_out": target, "never_write": [target]}
    )

    assert f"project_out {target} is open in TrakEM2" in said
    assert not (scene / "project.demis").exists()


def test_compare_measures_all_versions_in_the_same_way_and_draws_them_in_one_frame(worker, scene):
    before = {p: p.read_bytes() for p in scene.rglob("*") if p.is_file()}

    found = worker.done("compare", {"layout": scene / "project.xml", "matchers": ["sift", "correlation"]})

    assert {p: p.read_bytes() for p in before} == before
    assert not (scene / "project.demis.xml").exists()
    assert found["out"] == str(scene / "project.compare.demis")
    assert Path(found["report"]).is_file()
    table = {row["matcher"]: row for row in found["table"]}
    assert list(table) == ["sift", "correlation", "project"]
    assert {row["seams"] for row in table.values()} == {4}
    for name in ("sift", "correlation"):
        assert table[name]["seam_max_px"] < 0.5  # px; both place the tiles of a scene with exact truth
        assert table[name]["likeness"] > 0.95
    assert table["project"]["seam_median_px"] > 2  # px: the stage is wrong by 2 % of 256 px
    assert table["project"]["likeness"] < 0.9
    pictures = {p["name"]: p for p in found["pictures"]}
    assert list(pictures) == ["sift", "correlation", "project"]
    assert len({(p["width"], p["height"]) for p in pictures.values()}) == 1
    for p in pictures.values():
        assert tifffile.imread(p["path"]).shape == (p["height"], p["width"])
    view = views.read(Path(pictures["project"]["view"]))
    assert isinstance(view, MosaicView)
    assert max(s.residual_px or 0 for s in view.seams) > 2
    assert view.arrows == ()


def test_sections_have_pictures_of_their_own_and_say_which_they_are(worker, scene, tmp_path):
    lines = []
    for z in (0, 1):
        for tile in formats.read(scene / "TileConfiguration.txt").layouts[0]:
            path = tmp_path / f"z{z}" / tile.path.name
            path.parent.mkdir(exist_ok=True)
            shutil.copy(tile.path, path)
            lines.append(f"{path}\t{tile.to_world.tx}\t{tile.to_world.ty}\t{z}\n")
    (tmp_path / "list.txt").write_text("".join(lines))

    stitched = worker.done("stitch", {"layout": tmp_path / "list.txt", **FAST})
    compared = worker.done("compare", {"layout": tmp_path / "list.txt", "matchers": ["sift"], "sections": ["1"]})
    both = worker.done("compare", {"layout": tmp_path / "list.txt", "matchers": ["sift"]})
    pairs = worker.done("matches", {"run": stitched["out"], "worst": 8})

    assert [(p["section"], Path(p["path"]).name) for p in stitched["pictures"]] == [
        ("0", "mosaic_0.tif"), ("1", "mosaic_1.tif"),
    ]  # fmt: skip
    assert {(row["matcher"], row["section"]) for row in compared["table"]} == {("sift, 1", "1"), ("project, 1", "1")}
    assert [Path(p["path"]).name for p in both["pictures"]] == [
        "mosaic_sift_0.tif", "mosaic_project_0.tif", "mosaic_sift_1.tif", "mosaic_project_1.tif",
    ]  # fmt: skip
    assert len(pairs["stacks"]) == 8
    assert {p["section"] for p in pairs["pairs"]} == {"0", "1"}


def test_compare_goes_on_where_it_was_and_takes_no_matcher_twice(worker, scene):
    asked = {"layout": scene / "project.xml", "matchers": ["sift", "sift"]}

    first = worker.done("compare", asked)
    again = worker.done("compare", asked)

    assert [row["matcher"] for row in first["table"]] == ["sift", "project"]
    assert (first["resumed"], again["resumed"]) == (False, True)
    assert again["pictures"] == first["pictures"]
    said = worker.refused("compare", {**asked, "matcher": "sift"})
    assert "not both" in said


def test_matches_shows_pairs_worst_first_and_stacks_in_one_frame(worker, run):
    found = worker.done("matches", {"run": run, "worst": 2})

    assert len(found["pairs"]) == 4
    residuals = [p["solved_residual_px"] for p in found["pairs"]]
    assert residuals == sorted(residuals, reverse=True)
    assert len(found["stacks"]) == 2
    assert found["warnings"] == []
    for stack, row in zip(found["stacks"], found["pairs"], strict=False):
        assert (stack["fixed"], stack["moving"]) == (row["fixed"], row["moving"])
        view = views.read(Path(stack["view"]))
        assert isinstance(view, PairView)
        with tifffile.TiffFile(stack["path"]) as file:
            assert file.is_imagej
            assert file.imagej_metadata["Labels"] == [row["fixed"], row["moving"]]
            slices = file.asarray()
        assert slices.shape == (2, view.height, view.width)
        assert slices.std(axis=(1, 2)).min() > 30  # a contrast to see something by
        assert view.inliers == row["inliers"]
        assert 0 < len(view.lines) <= 200


def test_the_lines_of_a_stack_join_the_same_tissue(worker, run):
    stack = worker.done("matches", {"run": run, "worst": 1})["stacks"][0]
    view = views.read(Path(stack["view"]))
    fixed, moving = tifffile.imread(stack["path"]).astype(float)

    alike, apart = [], []
    for x1, y1, x2, y2, _ in view.lines:
        one, two, here = (patch(im, x, y) for im, x, y in ((fixed, x1, y1), (moving, x2, y2), (moving, x1, y1)))
        if one is not None and two is not None and here is not None:
            alike.append(np.corrcoef(one, two)[0, 1])
            apart.append(np.corrcoef(one, here)[0, 1])

    assert len(alike) > 20
    assert np.median(alike) > 0.9
    assert np.median(apart) < np.median(alike) - 0.1  # without the line, the stage's error is seen


def patch(image: np.ndarray, x: float, y: float, reach: int = 5) -> np.ndarray | None:
    """Return the pixels around a point of ImageJ's (integers at corners), None near the border."""
    col, row = int(np.floor(x)), int(np.floor(y))
    found = image[max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1]
    return found.ravel() if found.shape == (2 * reach + 1, 2 * reach + 1) and found.min() > 0 else None


def test_matches_of_tiles_that_are_named(worker, run):
    ids = [t.id for layout in read_solution(run)[0] for t in layout]

    one = worker.done("matches", {"run": run, "fixed": ids[3]})
    pair = worker.done("matches", {"run": run, "fixed": ids[1], "moving": ids[0]})

    assert {ids[3]} < {name for s in one["stacks"] for name in (s["fixed"], s["moving"])}
    assert len(one["stacks"]) == 2
    assert [{s["fixed"], s["moving"]} for s in pair["stacks"]] == [{ids[0], ids[1]}]
    assert "no pair" in worker.refused("matches", {"run": run, "fixed": ids[0], "moving": ids[3]})
    assert "no tile 'x'" in worker.refused("matches", {"run": run, "fixed": "x"})


def test_matches_of_a_pair_that_failed_shows_what_there_was_to_match(worker, scene, tmp_path):
    tile = scene / "tiles" / "r01_c01.tif"
    image = tifffile.imread(tile)
    tifffile.imwrite(tile, np.random.default_rng(0).integers(90, 110, image.shape).astype(image.dtype))
    run = worker.done("stitch", {"layout": scene / "project.xml", **FAST, "out": tmp_path / "run"})["out"]

    found = worker.done("matches", {"run": run, "worst": 4})

    lost = [p for p in found["pairs"] if not p["accepted"]]
    assert len(lost) == 2
    assert found["pairs"][:2] == lost
    assert all(p["reason"] for p in lost)
    assert len(found["stacks"]) == 4
    assert [len(views.read(Path(s["view"])).lines) > 0 for s in found["stacks"]] == [True, True, False, False]


def test_matches_needs_a_finished_run_but_not_the_layout_any_more(worker, run, scene, tmp_path):
    (scene / "TileConfiguration.txt").unlink()

    assert worker.done("matches", {"run": run})["warnings"] == []
    assert "holds no finished run" in worker.refused("matches", {"run": scene})
    assert "is a file, needed a folder" in worker.refused("matches", {"run": run / "solution.json"})
    assert "No such file" in worker.refused("matches", {"run": tmp_path / "gone"})
    (scene / "tiles" / "r00_c00.tif").unlink()
    some = worker.done("matches", {"run": run})
    assert len(some["stacks"]) == 2
    assert len([w for w in some["warnings"] if "cannot be shown" in w]) == 2
    (run / "solution.json").write_text('{"format_version": 1, "tiles": {"a": 1}, "pairs": []}')
    assert "is no solution" in worker.refused("matches", {"run": run})


def test_runs_of_an_earlier_version_show_pairs_as_solved_and_say_so(worker, run):
    told = json.loads((run / "solution.json").read_text())
    for tile in told["tiles"].values():
        del tile["stage_to_world"]
    (run / "solution.json").write_text(json.dumps(told))

    found = worker.done("matches", {"run": run, "worst": 1})

    assert len(found["stacks"]) == 1
    assert "where the stage put it is not known" in found["warnings"][0]


def test_convert_writes_a_new_file_and_never_over_an_old_one(worker, scene, tmp_path):
    target = tmp_path / "Spalte 1 & 2.json"

    found = worker.done("convert", {"layout": scene / "project.xml", "to": target})

    assert found["path"] == str(target)
    assert found["warnings"] == []
    there = formats.read(target)
    assert there.format == "render"
    assert len(there.layouts[0]) == 4
    before = target.read_bytes()
    assert "exists and is not overwritten" in worker.refused("convert", {"layout": scene / "project.xml", "to": target})
    assert target.read_bytes() == before


def test_convert_says_what_a_format_cannot_hold(worker, scene, tmp_path):
    shutil.copytree(scene, tmp_path / "copy")
    solved = worker.done("stitch", {"layout": tmp_path / "copy" / "project.xml", **FAST})["project"]
    asked = {"layout": solved, "to": tmp_path / "list.dat", "format": "text"}

    said = worker.refused("convert", asked)
    found = worker.done("convert", {**asked, "lossy": True})

    assert "cannot hold" in said
    assert "accept the loss with lossy" in said
    assert Path(found["path"]).read_text(encoding="utf-8").count("\n") >= 4
    assert "'to' is missing" in worker.refused("convert", {"layout": solved})
