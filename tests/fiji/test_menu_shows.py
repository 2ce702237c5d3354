"""The commands that show, convert and check, in SciJava's script service, with the real worker."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fiji_menu import Menu, made_fiji

import demis_ij
from demis_ij import fiji

pytestmark = pytest.mark.java
PIXI_PYTHON = Path(".pixi") / "envs" / "default" / "bin" / "python"
APPOSE = """\
package org.apposed.appose
class Appose {
    String asked = ""
    def told
    static Appose pixi() { new Appose() }
    Appose name(String n) { asked += "name ${n}; "; this }
    Appose channels(String... n) { asked += "channels ${n.join(' ')}; "; this }
    Appose conda(String... n) { asked += "conda ${n.join(' ')}; "; this }
    Appose pypi(String... n) { asked += "pypi ${n.join(' ')}; "; this }
    Appose subscribeProgress(Closure c) { told = c; this }
    Appose build() { told("solving", 1, 2); new File("BASE", "asked.txt").text = asked; this }
    String base() { "BASE" }
}
"""
"""What the menu calls of Appose 0.10."""


@pytest.fixture(scope="module")
def stitched(menu: Menu, grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run."""
    run = tmp_path_factory.mktemp("stitched") / "run of ä"
    done = menu.run("Stitch_Layout", layout=grid / "TileConfiguration.txt", matcher="SIFT", out=run)
    assert "4 of 4 pairs agree" in done.result, done.logged
    return run


def test_loftr_and_sift_are_compared_side_by_side(menu: Menu, scene: Path) -> None:
    done = menu.run("Compare_With_SIFT", layout=scene / "project.xml", out=scene / "compared")

    assert done.result.startswith("Compared "), done.logged
    assert str(scene / "compared") in done.result
    names = [row[next(iter(row))] for row in done.outputs["table"]]
    assert {"loftr", "sift"} <= set(names)
    assert "project" in names
    assert len(done.outputs["pictures"]) == 3
    assert len({p["title"] for p in done.outputs["pictures"]}) == 3
    for picture in done.outputs["pictures"]:
        assert sum(roi["kind"] == "PolygonRoi" for roi in picture["rois"]) == 4
        assert sum(roi["kind"] == "Line" for roi in picture["rois"]) == 4


def test_matches_are_a_stack_of_two_slices_with_coloured_lines(menu: Menu, stitched: Path) -> None:
    done = menu.run("Show_Matches", run=stitched, worst=2)

    assert done.result.startswith("4 pairs; shown: "), done.logged
    assert len(done.outputs["pictures"]) == 2
    assert len(done.outputs["pairs"]) == 4
    picture = done.outputs["picture"]
    assert picture["slices"] == 2
    assert all(label and label.endswith(".tif") for label in picture["labels"])
    lines = [roi for roi in picture["rois"] if roi["kind"] == "Line"]
    assert len(lines) > 20
    assert all(roi["colour"] and roi["slice"] == 0 for roi in lines)
    slices = [roi["slice"] for roi in picture["rois"] if roi["kind"] == "PointRoi"]
    assert sorted(set(slices)) == [1, 2]
    assert slices.count(1) == slices.count(2) == len(lines)


def test_one_pair_is_shown_by_its_names(menu: Menu, stitched: Path) -> None:
    first = menu.run("Show_Matches", run=stitched, worst=1)
    row = first.outputs["pairs"][-1]

    done = menu.run("Show_Matches", run=stitched, fixed=row["fixed"], moving=row["moving"])

    assert len(done.outputs["pictures"]) == 1, done.logged
    assert done.outputs["picture"]["labels"] == [row["fixed"], row["moving"]]


def test_a_layout_is_converted_and_nothing_is_overwritten(menu: Menu, scene: Path) -> None:
    done = menu.run("Convert_Layout", layout=scene / "project.xml", to=scene / "neu.json")
    again = menu.run("Convert_Layout", layout=scene / "project.xml", to=scene / "neu.json")

    assert done.result == f"Written: {scene / 'neu.json'}.", done.logged
    assert len(json.loads((scene / "neu.json").read_text(encoding="utf-8"))) == 4
    assert again.result.startswith("FAILED: Write to: ")
    assert "exists already" in again.result


def test_the_installation_is_checked(menu: Menu) -> None:
    done = menu.run("Check_Installation")

    rows = {row["part"]: row for row in done.outputs["findings"]}
    assert rows["scripts of this menu"]["found"].startswith(demis_ij.__version__)
    assert rows["demis_ij"]["found"] == demis_ij.__version__
    assert str(menu.folder / fiji.PROPERTIES) in rows["Python of this menu"]["found"]
    assert sys.executable in rows["Python of this menu"]["found"]
    assert {"Java", "Groovy", "TrakEM2", "ImageJ", "numpy", "torch"} <= set(rows)
    assert "parts" in done.result, done.logged


def test_scijava_finds_these_entries_and_takes_nothing_of_lib_for_one(menu: Menu) -> None:
    done = menu.run("Check_Installation", tree=menu.home / "scripts", by_path=True)

    shipped = sorted(p.stem.replace("_", " ") for p in (fiji.scripts_folder() / fiji.MENU).glob("*.groovy"))
    assert sorted(done.entries) == [f"Plugins > DEMIS > {leaf}" for leaf in shipped]
    assert not done.result.startswith("FAILED"), done.logged


def test_a_trakem2_that_cannot_save_on_this_java_is_named(menu: Menu) -> None:
    jar = menu.home / "plugins" / "TrakEM2_-2.0.0.jar"
    jar.write_bytes(b"")
    try:
        done = menu.run("Check_Installation")
    finally:
        jar.unlink()

    row = next(r for r in done.outputs["findings"] if r["part"] == "TrakEM2")
    java = next(r for r in done.outputs["findings"] if r["part"] == "Java")["found"]
    assert row["found"] == "TrakEM2_-2.0.0.jar"
    assert (row["ok"] == "no") == (not java.startswith("1."))
    assert ("update TrakEM2 to 2.0.1" in done.result) == (row["ok"] == "no")


def test_a_python_is_asked_stored_and_used(menu: Menu, tmp_path: Path) -> None:
    own = menu.copied(tmp_path / "Fiji ä")
    (own.folder / fiji.PROPERTIES).unlink()
    home = tmp_path / "home"
    home.mkdir()

    done = own.run("Set_Python_Environment", environment=sys.executable, user_home=home)
    checked = own.run("Check_Installation", user_home=home)

    assert "is used from now on" in done.result, done.logged
    assert fiji.status(made_fiji(own.home)).python == sys.executable
    assert str(own.folder / fiji.PROPERTIES) in done.result
    assert not list(home.iterdir())
    assert sys.executable in next(r for r in checked.outputs["findings"] if r["part"] == "Python of this menu")["found"]


def test_the_newer_of_two_stored_pythons_is_used(menu: Menu, tmp_path: Path) -> None:
    own = menu.copied(tmp_path / "Fiji")
    home = tmp_path / "home"
    (home / ".demis_ij").mkdir(parents=True)
    newer = home / ".demis_ij" / fiji.PROPERTIES
    newer.write_text("python=/nowhere/newer\nstored=2999-01-01T00:00:00Z\n", encoding="ascii")

    done = own.run("Check_Installation", user_home=home)
    newer.write_text("python=/nowhere/older\nstored=1999-01-01T00:00:00Z\n", encoding="ascii")
    other = own.run("Check_Installation", user_home=home)

    assert done.result.startswith("FAILED: There is no Python at /nowhere/newer any more (stored in"), done.logged
    assert str(newer) in done.result
    assert not other.result.startswith("FAILED"), other.logged


def test_sixteen_bits_come_as_sixteen_bits(menu: Menu, scene: Path) -> None:
    for tile in (scene / "tiles").iterdir():
        tifffile.imwrite(tile, tifffile.imread(tile).astype(np.uint16) * 200)

    done = menu.run("Stitch_Layout", layout=scene / "TileConfiguration.txt", matcher="SIFT")

    assert "4 of 4 pairs agree" in done.result, done.logged
    assert 2000 < done.outputs["picture"]["mean"] < 65000


@pytest.fixture(scope="module")
def pixi_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an environment, as pixi makes it."""
    if os.name == "nt":
        pytest.skip("a program made of a line of text needs POSIX")
    project = tmp_path_factory.mktemp("pixi") / "my project"
    python = project / PIXI_PYTHON
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return project


def test_the_folder_of_an_environment_is_enough(menu: Menu, tmp_path: Path, pixi_project: Path) -> None:
    own = menu.copied(tmp_path / "Fiji")

    done = own.run("Set_Python_Environment", environment=pixi_project)

    assert f"is used from now on: {pixi_project / PIXI_PYTHON} (stored in " in done.result, done.logged


def test_appose_builds_an_environment_where_fiji_has_it(menu: Menu, tmp_path: Path, pixi_project: Path) -> None:
    """A double of Appose stands where its class is looked for: the calls are its own, nothing is downloaded."""
    own = menu.copied(tmp_path / "Fiji")
    double = own.folder / "lib" / "org" / "apposed" / "appose" / "Appose.gvy"
    double.parent.mkdir(parents=True)
    double.write_text(APPOSE.replace("BASE", str(pixi_project)), encoding="ascii")

    done = own.run("Set_Python_Environment", way="build one with Appose")

    assert f"is used from now on: {pixi_project / PIXI_PYTHON} " in done.result, done.logged
    asked = (pixi_project / "asked.txt").read_text(encoding="utf-8")
    assert asked == "name demis_ij; channels conda-forge; conda python=3.12 appose; pypi demis_ij; "
    assert any(e["message"] == "solving" for e in done.events)
