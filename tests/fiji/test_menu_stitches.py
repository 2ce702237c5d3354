"""The commands that stitch, in SciJava's script service, on a real layout, with the real worker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fiji_menu import Menu, kill_workers, workers

pytestmark = pytest.mark.java


def test_a_trakem2_project_is_stitched_and_shown(menu: Menu, scene: Path) -> None:
    before = (scene / "project.xml").read_bytes()

    done = menu.run("Stitch_TrakEM2_Project", project=scene / "project.xml", matcher="SIFT", openSolved=True)

    assert done.result.startswith("4 tiles (4 by sift); 4 of 4 pairs agree"), done.logged
    assert "was not opened" in done.logged  # there is no screen
    assert str(scene / "project.demis.xml") in done.result
    assert (scene / "project.demis.xml").is_file()
    assert (scene / "project.xml").read_bytes() == before
    picture = done.outputs["picture"]
    kinds = [roi["kind"] for roi in picture["rois"]]
    assert kinds.count("PolygonRoi") == 4
    assert kinds.count("Line") == 4
    assert kinds.count("Arrow") == 4
    assert picture["width"] > 400
    assert picture["mean"] > 10
    outline = next(roi for roi in picture["rois"] if roi["name"] == "r00_c01.tif" and roi["kind"] == "PolygonRoi")
    assert outline["width"] == pytest.approx(256, abs=4)  # the tile's own size, little turned
    assert outline["x"] + outline["width"] == pytest.approx(picture["width"], abs=16)  # the tile at the right
    seams = done.outputs["seams"]
    assert {row["tile A"] for row in seams} <= {"r00_c00.tif", "r00_c01.tif", "r01_c00.tif", "r01_c01.tif"}
    assert len(seams) == 4
    assert all(row["used"] == "yes" and float(row["residual px"]) < 1 for row in seams)
    assert {"matches", "inliers", "dx", "dy", "weight", "reason"} <= set(seams[0])
    assert "colour" not in seams[0]
    assert set(done.outputs["which were resolved"]) >= {"result", "picture", "seams"}


def test_a_tile_configuration_gets_its_registered_file(menu: Menu, scene: Path, tmp_path: Path) -> None:
    done = menu.run("Stitch_Layout", layout=scene / "TileConfiguration.txt", matcher="SIFT", out=tmp_path / "ört")

    assert "4 of 4 pairs agree" in done.result, done.logged
    assert {e["name"] for e in done.events} == {"demis_ij: Stitch Layout"}
    assert done.events[-1]["done"]
    assert (tmp_path / "ört" / "TileConfiguration.registered.txt").is_file()
    assert str(tmp_path / "ört" / "TileConfiguration.registered.txt") in done.result


def test_a_folder_of_tiles_is_stitched_by_its_names(menu: Menu, scene: Path) -> None:
    done = menu.run(
        "Stitch_Layout", layout=scene / "tiles", matcher="SIFT", rows="2", columns="2", overlap="0.25",
        pattern="r{row}_c{col}.tif", expectedTransformation="translation",
    )  # fmt: skip

    assert done.result.startswith("4 tiles (4 by sift)"), done.logged


def test_a_blank_tile_is_a_reason_in_the_table_and_no_failure(menu: Menu, scene: Path) -> None:
    tifffile.imwrite(scene / "tiles" / "r01_c01.tif", np.full((256, 256), 128, np.uint8))

    done = menu.run("Stitch_Layout", layout=scene / "TileConfiguration.txt", matcher="SIFT")

    assert "2 of 4 pairs agree" in done.result, done.logged
    failed = [row for row in done.outputs["seams"] if row["used"] == "no"]
    assert len(failed) == 2
    assert all("r01_c01.tif" in (row["tile A"], row["tile B"]) and row["reason"] for row in failed)
    assert "r01_c01.tif" in done.logged


def test_a_tile_that_cannot_be_read_is_a_warning(menu: Menu, scene: Path) -> None:
    (scene / "tiles" / "r01_c01.tif").write_bytes(b"no TIFF at all")

    done = menu.run("Stitch_Layout", layout=scene / "TileConfiguration.txt", matcher="SIFT")

    assert not done.result.startswith("FAILED"), done.logged
    assert "pairs agree" in done.result
    assert "r01_c01.tif" in done.logged


def test_stop_leaves_a_run_that_goes_on(menu: Menu, larger: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    stopped = menu.run("Stitch_Layout", layout=larger / "TileConfiguration.txt", matcher="SIFT", out=out, cancel_at=10)
    kept = [p for p in (out / "matches").rglob("*") if p.is_file()]
    again = menu.run("Stitch_Layout", layout=larger / "TileConfiguration.txt", matcher="SIFT", out=out)

    assert stopped.canceled
    assert stopped.result == "stopped; run the same again to go on", stopped.logged
    assert stopped.outputs["picture"] is None
    assert 40 in {e["maximum"] for e in stopped.events}  # pairs of 5 x 5 tiles
    assert kept
    assert stopped.events[-1]["done"]
    assert again.result.startswith("25 tiles"), again.logged
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))


def test_a_worker_that_is_killed_is_one_sentence_and_the_next_command_has_a_new_one(
    menu: Menu, larger: Path, scene: Path, tmp_path: Path
) -> None:
    killed = menu.run(
        "Stitch_Layout", layout=larger / "TileConfiguration.txt", matcher="SIFT", out=tmp_path / "run",
        in_the_middle=kill_workers,
    )  # fmt: skip
    after = menu.run("Convert_Layout", layout=scene / "project.xml", to=scene / "copy.json")

    assert killed.result.startswith("FAILED: The Python worker ended unexpectedly (exit code 137"), killed.logged
    assert "\n" not in killed.result
    assert after.result == f"Written: {scene / 'copy.json'}.", after.logged


def test_one_worker_serves_many_commands(menu: Menu, scene: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--fiji") or request.config.getini("fiji"):
        pytest.skip("each command has a Fiji of its own with --fiji")
    menu.run("Convert_Layout", layout=scene / "project.xml", to=scene / "1.json")
    first = [w.pid for w in workers()]
    menu.run("Convert_Layout", layout=scene / "1.json", to=scene / "2.xml")

    assert (scene / "2.xml").is_file()
    assert len(first) == 1
    assert [w.pid for w in workers()] == first


def test_an_open_project_is_never_written(menu: Menu, scene: Path, tmp_path: Path) -> None:
    """The solved project of an earlier run is open in TrakEM2: it stays as it is, another name is used."""
    solved = scene / "project.demis.xml"
    shutil.copy(scene / "project.xml", solved)
    before = solved.read_bytes()
    own = menu.copied(tmp_path / "Fiji")
    path = str(solved).encode("ascii", "backslashreplace").decode().replace("\\xe4", "\\u00e4")
    double = f"class TrakEM2 {{ static List<String> openProjectPaths() {{ ['{path}'] }} }}\n"
    (own.folder / "lib" / "TrakEM2.gvy").write_text(double, encoding="ascii")

    done = own.run("Stitch_TrakEM2_Project", project=scene / "project.xml", matcher="SIFT")

    assert "4 of 4 pairs agree" in done.result, done.logged
    assert solved.read_bytes() == before
    assert f"{solved}." not in done.result
    assert "WARNING" in done.logged
    assert f"{solved.name} is open in TrakEM2" in done.logged
