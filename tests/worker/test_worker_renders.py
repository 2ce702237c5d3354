"""``render``, asked as Fiji asks."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from demis_ij.config import RenderConfig
from demis_ij.geometry import Box
from demis_ij.jobs import run_render
from demis_ij.runs import read_solution

FAST = {"matcher": "sift", "settings": {"resolution": 1.0}}


@pytest.fixture(scope="module")
def solved(worker, grid: Path, tmp_path_factory) -> Path:
    """A run without a mosaic but the picture for ImageJ; not to be changed."""
    asked = {"layout": grid / "TileConfiguration.txt", **FAST, "out": tmp_path_factory.mktemp("solved") / "run"}
    return Path(worker.done("stitch", asked)["out"])


def test_a_run_is_drawn_as_stitch_draws_it(worker, solved: Path, tmp_path: Path) -> None:
    found = worker.done("render", {"source": solved, "out": tmp_path / "m", "mosaic": ["imagej", "ome-zarr"]})

    assert [Path(p).name for p in found["files"]] == ["mosaic.tif", "mosaic.ome.zarr"]
    assert found["out"] == str(tmp_path / "m")
    assert found["warnings"] == []
    assert (tmp_path / "m" / "mosaic.tif").read_bytes() == (solved / "mosaic.tif").read_bytes()
    assert sorted(p.name for p in (tmp_path / "m").iterdir() if not p.name.endswith(".drawn")) == [
        "mosaic.ome.zarr", "mosaic.tif",
    ]  # fmt: skip


def test_the_usual_formats_are_those_of_the_command(worker, solved: Path, tmp_path: Path) -> None:
    found = worker.done(
        "render", {"source": solved / "solution.json", "out": tmp_path / "m", "mosaic": [], "scale": None}
    )

    assert [Path(p).name for p in found["files"]] == ["mosaic.ome.tif", "mosaic.png"]


def test_a_part_a_smaller_copy_and_settings_are_those_that_are_asked_for(worker, solved: Path, tmp_path: Path) -> None:
    asked = {
        "source": solved, "out": tmp_path / "asked", "mosaic": ["ome-zarr"], "region": [40, 30, 201, 160],
        "scale": 0.5, "settings": {"blend": "none", "compression": "light", "zarr_format": "0.5"}, "workers": 2,
        "memory": "2G",
    }  # fmt: skip
    worker.done("render", asked)
    config = RenderConfig(formats=("ome-zarr",), blend="none", compression="light", zarr_format="0.5")
    layouts = read_solution(solved)[0]
    run_render(layouts, tmp_path / "own", config, keep_frame=True, region=Box(40, 30, 241, 190), scale=0.5)

    one, two = (zarr.open_group(tmp_path / name / "mosaic.ome.zarr", mode="r")["0"][:] for name in ("asked", "own"))
    assert one.shape == (80, 100)
    np.testing.assert_array_equal(one, two)


def test_a_layout_is_drawn_as_it_stands_and_a_folder_of_tiles_as_it_is_said(
    worker, scene: Path, tmp_path: Path
) -> None:
    worker.done("render", {"source": scene / "TileConfiguration.txt", "out": tmp_path / "a", "mosaic": ["png"]})
    read = {"rows": 2, "cols": 2, "overlap": 0.25, "pattern": "r{row}_c{col}.tif"}
    worker.done("render", {"source": scene / "tiles", "read": read, "out": tmp_path / "b", "mosaic": ["png"]})

    sizes = [cv2.imread(str(tmp_path / name / "mosaic.png")).shape[:2] for name in "ab"]
    assert np.abs(np.subtract(*sizes)).max() < 20


def test_another_channel_is_drawn_where_the_first_one_was_solved(worker, solved: Path, grid: Path, tmp_path) -> None:
    other = shutil.copytree(grid / "tiles", tmp_path / "other")
    for path in other.glob("*.tif"):
        tifffile.imwrite(path, np.full_like(tifffile.imread(path), 90))

    asked = {"source": solved, "out": tmp_path / "m", "mosaic": ["imagej"], "replace": f"{grid / 'tiles'}={other}"}
    worker.done("render", {**asked, "settings": {"correct_intensity": False}})

    assert set(np.unique(tifffile.imread(tmp_path / "m" / "mosaic.tif"))) <= {0, 90}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"out": None}, "the input 'out' is missing"),
        ({"source": "gone"}, "source: 'gone' is not a whole path"),
        ({"mosaic": ["jpeg"]}, "jpeg"),
        ({"settings": {"blnd": "none"}}, "did you mean 'blend'"),
        ({"settings": {"formats": ["png"]}}, "'formats' is the input 'mosaic' here"),
        ({"settings": 3}, "settings: 3 is not an object of names and values"),
        ({"region": [0, 0, 5]}, "is not [x, y, width, height]"),
        ({"region": [0, 0, 5, True]}, "is not [x, y, width, height]"),
        ({"region": [90000, 0, 5, 5]}, "lies outside"),
        ({"scale": 0}, "scale: 0 is not between"),
        ({"scale": "half"}, "scale: 'half' is not a number"),
        ({"sections": ["7"]}, "no section '7'; its sections: "),
        ({"replace": "tiles"}, "replace tiles: needed OLD=NEW"),
        ({"relink": "/"}, "relink belongs to a layout"),
        ({"memory": "20M"}, "memory 20M is too small"),
        ({"colour": 1}, "unknown input 'colour'"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_nothing_is_written(worker, solved: Path, tmp_path, wrong, said) -> None:
    assert said in worker.refused("render", {"source": solved, "out": tmp_path / "m", "mosaic": ["png"], **wrong})
    assert not (tmp_path / "m").exists()


def test_files_that_are_there_are_not_overwritten(worker, solved: Path, tmp_path: Path) -> None:
    asked = {"source": solved, "out": tmp_path / "m", "mosaic": ["png"]}
    worker.done("render", asked)
    before = (tmp_path / "m" / "mosaic.png").read_bytes()

    assert "exists already" in worker.refused("render", asked)

    assert (tmp_path / "m" / "mosaic.png").read_bytes() == before


def test_a_request_that_is_taken_back_is_gone_on_with_by_the_same_one(own_worker, larger: Path, tmp_path: Path) -> None:
    asked = {
        "source": larger / "TileConfiguration.txt", "out": tmp_path / "m", "mosaic": ["ome-zarr"],
        "settings": {"block_px": 64, "correct_intensity": False}, "scale": 8.0,
    }  # fmt: skip
    task = own_worker.start("render", asked)
    while "render" not in (told := own_worker.until(task, "UPDATE"))["message"] or not told["current"]:
        pass
    own_worker.cancel(task)

    assert own_worker.final(task)["responseType"] == "CANCELATION"
    assert not (tmp_path / "m" / "mosaic.ome.zarr").exists()
    assert list((tmp_path / "m").glob(".mosaic.ome.zarr.partial/regions.jsonl"))
    kept = own_worker.start("render", asked)
    first = own_worker.until(kept, "UPDATE")
    while "render" not in first["message"]:
        first = own_worker.until(kept, "UPDATE")
    assert first["current"] > 1  # those that were there are counted with the first that is drawn
    assert own_worker.final(kept)["responseType"] == "COMPLETION"
    own_worker.done("render", {**asked, "out": tmp_path / "fresh"})
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in
             (tmp_path / "m" / "mosaic.ome.zarr", tmp_path / "fresh" / "mosaic.ome.zarr")]  # fmt: skip
    assert files[0] == files[1]
