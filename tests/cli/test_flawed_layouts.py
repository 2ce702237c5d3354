# ruff: noqa: F811 - fixtures come by name
"""A flaw of single tiles is no reason to stop: complete, flagged result, one warning line each, exit code 0."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import tifffile
from cli_words import bytes_of, demis, made, scene, solution_of, spoil_pixels  # noqa: F401 - fixtures

FAST = ("--matcher", "sift", "--quiet")


def _cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def _remove(path):
    path.unlink()


def _shrink(path):
    tifffile.imwrite(path, tifffile.imread(path)[:200, :220])


def _deepen(path):
    tifffile.imwrite(path, tifffile.imread(path).astype(np.uint16) * 3)


@pytest.mark.parametrize("spoil", [_remove, _cut, _shrink, spoil_pixels])
def test_a_tile_that_cannot_be_used_is_named_once_and_placed_beside_its_neighbours(demis, scene, spoil):
    spoil(scene / "tiles" / "r00_c01.tif")
    run = scene.parent / "run"
    before = bytes_of(scene)

    said = demis("stitch", scene / "project.xml", "--out", run, *FAST)

    assert said.code == 0, said
    assert said.lines == said.warnings
    named = said.warnings
    assert len(named) == 1, said.warnings
    assert "tile 6: " in named[0]
    assert "r00_c01.tif" in named[0]
    found = solution_of(run)
    tile = next(t for t in found["tiles"].values() if t["path"].endswith("r00_c01.tif"))
    assert len(found["tiles"]) == 4  # complete
    assert tile["placed_by"] == "stage"
    others = [t for t in found["tiles"].values() if t is not tile]
    assert {t["placed_by"] for t in others} == {"sift"}
    assert tile["component"] not in {t["component"] for t in others}
    assert tile["to_world"][0][2] == pytest.approx(
        others[0]["to_world"][0][2] + 192, abs=25
    )  # px: step and stage error
    assert named[0].removeprefix("warning: ") in found["warnings"]
    for name in ("mosaic.ome.tif", "mosaic.png", "report.html", "seams.csv"):
        assert (run / name).stat().st_size > 0
    mosaic = tifffile.imread(run / "mosaic.ome.tif")
    assert mosaic[300:400, 60:180].min() > 0  # the other tiles are there
    after = bytes_of(scene)
    assert after.pop("project.demis.xml")
    assert after == before

    again = demis("stitch", scene / "project.xml", "--out", run, *FAST)
    assert (again.code, again.warnings) == (0, said.warnings)
    assert demis("stitch", scene / "project.xml", "--out", run, *FAST, "--strict").code == 3
    assert demis("stitch", scene / "project.xml", "--out", run, *FAST, "--strict", "--json").code == 3


def test_a_tile_of_another_type_takes_part_and_the_mosaic_holds_both(demis, scene):
    _deepen(scene / "tiles" / "r00_c01.tif")
    run = scene.parent / "run"

    said = demis("stitch", scene / "project.xml", "--out", run, *FAST)

    assert said.code == 0
    assert len(said.lines) == len(said.warnings) == 1
    assert "r00_c01.tif is uint16, most tiles are uint8" in said.warnings[0]
    assert {t["placed_by"] for t in solution_of(run)["tiles"].values()} == {"sift"}
    assert tifffile.imread(run / "mosaic.ome.tif").dtype == np.uint16


def test_a_layout_without_any_overlap_stays_where_the_stage_put_it(demis, scene):
    lines = [f"tiles/r0{r}_c0{c}.tif; ; ({c * 400}, {r * 400})" for r in (0, 1) for c in (0, 1)]
    (scene / "apart.txt").write_text("dim = 2\n" + "\n".join(lines) + "\n")
    run = scene.parent / "run"

    said = demis("stitch", scene / "apart.txt", "--out", run, *FAST)

    assert said.code == 0
    assert any("no two tiles overlap" in line for line in said.warnings)
    assert len(said.warnings) <= 5
    assert said.lines == said.warnings
    tiles = solution_of(run)["tiles"]
    assert [t["to_world"] for t in tiles.values()] == [
        [[1, 0, 400.0 * c], [0, 1, 400.0 * r]] for r in (0, 1) for c in (0, 1)
    ]
    assert len({t["component"] for t in tiles.values()}) == 4
    assert tifffile.imread(run / "mosaic.ome.tif").shape == (656, 656)


def test_one_tile_gives_its_own_mosaic(demis, scene):
    text = (scene / "project.xml").read_text(encoding="latin-1")
    patches = re.findall(r"(?s)<t2_patch.*?</t2_patch>", text)
    for patch in patches[1:]:
        text = text.replace(patch, "")
    (scene / "one.xml").write_text(text, encoding="latin-1")
    run = scene.parent / "run"

    said = demis("stitch", scene / "one.xml", "--out", run, *FAST, "--mosaic", "ome-tiff", "--set", "matcher=auto")

    assert (said.code, said.lines) == (0, [])
    inside = tifffile.imread(run / "mosaic.ome.tif")
    tile = tifffile.imread(scene / "tiles" / "r00_c00.tif")
    to_world = np.array(next(iter(solution_of(run)["tiles"].values()))["to_world"])
    assert np.abs(to_world[:, 2]).max() < 1  # px: the mosaic begins where the tile does, on a whole pixel
    assert abs(float(inside.mean()) - float(tile.mean())) < 5  # greys: resampled by part of a pixel, edges aside


def test_hidden_tiles_are_left_alone_unless_asked_for(demis, scene):
    text = (scene / "project.xml").read_text(encoding="latin-1")
    (scene / "project.xml").write_text(text.replace('oid="6" ', 'oid="6" visible="false" '), encoding="latin-1")
    run = scene.parent / "run"

    said = demis("stitch", scene / "project.xml", "--out", run, *FAST)

    assert said.code == 0
    assert len(said.warnings) == len(said.lines) == 1
    assert "1 hidden tile" in said.warnings[0]
    assert set(solution_of(run)["tiles"]) == {"5", "7", "8"}
    old, new = (re.search(r'oid="6".*?transform="(.*?)"', p.read_text("latin-1"))[1] for p in _both(scene))
    assert old == new

    other = scene.parent / "all"
    assert demis("stitch", scene / "project.xml", "--out", other, *FAST, "--include-hidden").warnings == []
    assert set(solution_of(other)["tiles"]) == {"5", "6", "7", "8"}


def _both(scene):
    return scene / "project.xml", scene / "project.demis.xml"


def test_locked_tiles_stay_to_the_letter_and_the_others_come_to_them(demis, scene):
    text = (scene / "project.xml").read_text(encoding="latin-1")
    (scene / "project.xml").write_text(text.replace('oid="6" ', 'oid="6" locked="true" '), encoding="latin-1")
    run = scene.parent / "run"

    said = demis("stitch", scene / "project.xml", "--out", run, *FAST, "--model", "translation")

    assert (said.code, said.lines) == (0, [])
    for oid, same in (("5", False), ("6", True), ("7", False), ("8", False)):
        old, new = (re.search(rf'oid="{oid}".*?transform="(.*?)"', p.read_text("latin-1"))[1] for p in _both(scene))
        assert (old == new) is same
    x, y = (float(v) for v in re.search(r'oid="6".*?transform="matrix\(1.0,0.0,0.0,1.0,(.*?),(.*?)\)"', text).groups())
    found = solution_of(run)
    origin, tile = np.array(found["world_origin"]), np.array(found["tiles"]["6"]["to_world"])
    np.testing.assert_allclose(tile[:, 2] + origin, [x, y], atol=1e-6)  # px
    assert {t["component"] for t in found["tiles"].values()} == {0}
    line = demis("stitch", scene / "project.xml", "--out", scene.parent / "b", "--stage-axes", "-x+y", *FAST)
    assert (line.code, len(line.lines)) == (2, 1)
    assert "locked" in line.err


def test_a_section_without_a_readable_tile_is_left_out_with_a_warning(demis, scene):
    names = [f"r0{r}_c0{c}.tif" for r in (0, 1) for c in (0, 1)]
    at = [(192 * c, 192 * r) for r in (0, 1) for c in (0, 1)]
    lines = [f"tiles/{n} {x} {y} 0" for n, (x, y) in zip(names, at, strict=True)]
    lines += [f"gone/{n} {x} {y} 1" for n, (x, y) in zip(names, at, strict=True)]
    (scene / "two.txt").write_text("\n".join(lines) + "\n")

    said = demis("stitch", scene / "two.txt", "--out", scene.parent / "run", *FAST)

    assert said.code == 0
    assert len(said.warnings) == 1, said
    assert "section '1'" in said.warnings[0]
    assert "left out" in said.warnings[0]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_cut_png_or_jpeg_is_one_line_and_no_library_speaks_for_itself(scene, suffix):
    import subprocess
    import sys

    import cv2

    grid = scene / "grid"
    grid.mkdir()
    for tile in sorted((scene / "tiles").iterdir()):
        cv2.imwrite(str(grid / f"{tile.stem}.{suffix}"), tifffile.imread(tile))
    cut = grid / f"r00_c01.{suffix}"
    cut.write_bytes(cut.read_bytes()[:9000])
    words = ["stitch", grid, "--pattern", f"r{{row}}_c{{col}}.{suffix}", "--overlap", "0.25", "--out", scene / "run"]

    said = subprocess.run(
        [sys.executable, "-m", "demis_ij", *map(str, words), *FAST], capture_output=True, text=True, check=False
    )

    assert said.returncode == 0, said
    lines = [line for line in said.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("warning: ")
    assert cut.name in lines[0]
    shutil.rmtree(scene / "run")


def test_auto_without_loftr_goes_on_and_says_so(demis, scene, monkeypatch):
    from demis_ij.errors import WeightsError
    from demis_ij.stitch import asking

    real = asking.make_matcher

    def broken(name, config):
        if name == "loftr":
            msg = "the shipped weights are damaged"
            raise WeightsError(msg)
        return real(name, config)

    monkeypatch.setattr(asking, "make_matcher", broken)
    run = scene.parent / "run"

    said = demis("stitch", scene / "project.xml", "--out", run, "--quiet")

    assert said.code == 0
    assert said.warnings == said.lines == ["warning: loftr cannot be used: the shipped weights are damaged"]
    assert {t["placed_by"] for t in solution_of(run)["tiles"].values()} == {"sift"}
