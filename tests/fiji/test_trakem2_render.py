"""Render Layer With TrakEM2, with a double of TrakEM2, and the comparison with a mosaic that the guide shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from fiji_menu import Menu, Outcome
from open_projects import as_open, four_tiles
from trakem2_double import OpenTrakEM2, doubled

from demis_ij import synth
from demis_ij.cli.app import app

pytestmark = pytest.mark.java

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "trakem2.md"


@pytest.fixture
def trakem2(imagej_session) -> Iterator[OpenTrakEM2]:
    with doubled(imagej_session) as found:
        yield found


@pytest.fixture
def render(imagej_session, menu: Menu, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Run the script as from the menu."""

    def call(script: Path, given: Any) -> None:
        imagej_session.run_script(script, given)

    own = Menu(menu.home, tmp_path_factory.mktemp("asked"), call)
    return lambda **given: own.run("Render_Layer_With_TrakEM2", **given)


@pytest.fixture(scope="module")
def stitched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene and its run, without any change of grey values."""
    folder = tmp_path_factory.mktemp("rendered")
    spec = synth.GridSpec(rows=2, cols=2, tile_px=256, overlap=0.25, shift_frac=0.03, rotation_deg=0, noise_sd=0)
    synth.write_scene(synth.make_scene(spec, seed=4), folder / "scene")
    words = ["stitch", str(folder / "scene" / "project.xml"), "--matcher", "sift", "--model", "translation", "--quiet"]
    plain = ["--set", "correct_intensity=false", "--set", "interpolation=nearest"]
    assert not app([*words, *plain, "--out", str(folder / "run")], standalone_mode=False)
    return folder


def info_of(path: Path) -> dict[str, Any]:
    with tifffile.TiffFile(path) as file:
        assert file.imagej_metadata is not None
        text = str(file.imagej_metadata["Info"])
    found: dict[str, Any] = json.loads(text.split("demis_ij_render: ")[1].splitlines()[0])
    return found


def test_the_guides_comparison_says_that_both_pictures_agree_and_by_how_much_they_do_not(
    trakem2, render, stitched, tmp_path
):
    names: dict[str, Any] = {}
    code = re.search(
        r"^```python\n(.*?def compare.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert code is not None
    exec(compile(code[1], str(GUIDE), "exec"), names)
    trakem2.open(as_open(stitched / "scene" / "project.demis.xml"))

    done = render(to=tmp_path / "layer.tif", scale=1)

    assert done.result.startswith("4 tile(s) drawn by TrakEM2"), done.logged
    found = names["compare"](tmp_path / "layer.tif", stitched / "run")
    assert found["ncc"] > 0.98
    assert abs(found["shift x"]) < 0.2  # px: nearest neighbours on both sides
    assert abs(found["shift y"]) < 0.2
    trakem2.groovy("tiles(projects()[0]).each { it.affineTransform.translate(3, -2) }")
    render(to=tmp_path / "moved.tif", region="0, 0, 300, 300")
    moved = names["compare"](tmp_path / "moved.tif", stitched / "run")
    assert moved["ncc"] < found["ncc"] - 0.05
    assert moved["shift x"] == pytest.approx(3, abs=0.5)
    assert moved["shift y"] == pytest.approx(-2, abs=0.5)


def test_the_picture_knows_where_it_lies(trakem2, render, tmp_path):
    trakem2.open(as_open(four_tiles(tmp_path), t5={"matrix": [1, 0, 0, 1, -10.5, 4]}))

    done = render(to=tmp_path / "layer.tif")

    assert done.outputs["picture"]["width"] == 381  # from -11 to 370
    assert info_of(tmp_path / "layer.tif") == {
        "world_origin": [-11, 0],
        "scale": 1.0,
        "z": 0.0,
        "project": str(tmp_path / "p.xml"),
    }
    drawn = trakem2.groovy(
        'out = type("ini.trakem2.display.Patch").drawn.collect { [it.ids, it.type, it.scale, it.range] }'
    )
    assert drawn == [[[5, 6, 7, 8], 0, 1.0, False]]


def test_a_region_at_a_scale_with_hidden_tiles(trakem2, render, tmp_path):
    trakem2.open(as_open(four_tiles(tmp_path), t6={"visible": False}))

    one = render(to=tmp_path / "one.tif", region="-20, 5, 200, 50", scale=0.5, pixels="8-bit", displayRange=True)
    two = render(to=tmp_path / "two.tif", region="-20, 5, 200, 50", z="0", includeHidden=True)

    assert (one.outputs["picture"]["width"], one.outputs["picture"]["height"]) == (100, 25)
    assert info_of(tmp_path / "one.tif")["world_origin"] == [-20, 5]
    assert two.result.startswith("4 tile(s) drawn")
    drawn = trakem2.groovy('out = type("ini.trakem2.display.Patch").drawn.collect { [it.ids, it.scale, it.range] }')
    assert drawn == [[[5, 7, 8], 0.5, True], [[5, 6, 7, 8], 1.0, False]]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"region": "1, 2, 3"}, "Region: needed x, y, width, height in px, found 1, 2, 3"),
        ({"region": "0, 0, 0, 5"}, "Region: needed x, y, width, height"),
        ({"region": "a, 0, 1, 5"}, "found 'a'"),
        ({"region": "0, 0, 100000, 100000"}, "100000 x 100000 px cannot be drawn"),
        ({"region": "0, 0, 2, 2", "scale": 0.1}, "0 x 0 px cannot be drawn"),
        ({"scale": 2}, "Scale: needed a number from 0.001 to 1"),
        ({"pixels": "12-bit"}, "Pixels: '12-bit' is not one of"),
        ({"z": "7"}, "0 layers of 'demo'"),
        ({"project": "third"}, "No open project is called 'third'"),
    ],
)
def test_wrong_wishes_are_named(trakem2, render, tmp_path, given, says):
    trakem2.open(as_open(four_tiles(tmp_path)))

    done = render(to=tmp_path / "layer.tif", **given)

    assert done.result.startswith("FAILED: ")
    assert says in done.result
    assert not (tmp_path / "layer.tif").exists()


def test_a_picture_that_is_there_is_not_replaced(trakem2, render, tmp_path):
    trakem2.open(as_open(four_tiles(tmp_path)))
    tifffile.imwrite(tmp_path / "layer.tif", np.zeros((2, 2), np.uint8))

    assert "exists already and is never overwritten" in render(to=tmp_path / "layer.tif").result
