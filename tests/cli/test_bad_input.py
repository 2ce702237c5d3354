# ruff: noqa: F811 - fixtures come by name
"""What cannot be used ends in exit code 2 and one line; nothing of the user's changes, nothing half-written stays."""

from __future__ import annotations

import gzip
import os
import re
import sys

import pytest
from cli_words import bytes_of, demis, made, scene, spoil_pixels  # noqa: F401 - fixtures

FAST = ("--matcher", "sift")


def refused(demis, scene, *words, code=2):
    """Call the command line, and return its line after checking that the folder above the scene is as it was."""
    above = scene.parent
    before = bytes_of(above)
    said = demis(*words)
    assert (said.code, said.out, len(said.lines)) == (code, "", 1), said
    assert said.err.startswith("demis-ij: ")
    assert "internal error" not in said.err
    assert "Traceback" not in said.err
    assert bytes_of(above) == before
    return said.err


def _spoil(scene, name, data):
    path = scene / name
    path.write_bytes(data)
    return path


def _project(scene):
    return (scene / "project.xml").read_bytes()


BROKEN = {
    "a png": lambda s: ("x.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "x.png: no layout: a PNG image"),
    "text": lambda s: ("x.txt", b"hello world\n", "x.txt: no layout"),
    "noise": lambda s: ("x.xml", bytes(range(128, 256)) * 9, "x.xml: no layout"),
    "nothing": lambda s: ("x.xml", b"", "x.xml: is empty"),
    "a cut project": lambda s: ("x.xml", _project(s)[:1500], "x.xml: line "),
    "a cut gzip": lambda s: ("x.xml.gz", gzip.compress(_project(s))[:300], "x.xml.gz: truncated gzip"),
    "no tiles": lambda s: ("x.xml", re.sub(rb"(?s)<t2_patch.*?</t2_patch>", b"", _project(s)), "holds no tile"),
    "one oid twice": lambda s: ("x.xml", _project(s).replace(b'oid="6"', b'oid="5"'), "5"),
    "NaN": lambda s: ("x.xml", re.sub(rb"(oid=\"6\".*?matrix\()1.0", rb"\1NaN", _project(s)), "oid"),
    "NaN in a text list": lambda s: ("TileConfiguration.txt", b"dim = 2\na.tif; ; (nan, 0.0)\n", "line 2"),
    "one line twice": lambda s: (
        "list.txt", b"tiles/r00_c00.tif\t0\t0\t0\ntiles/r00_c00.tif\t9\t9\t0\n", "tiles/r00_c00.tif",
    ),
    "render json, cut": lambda s: ("x.json", b'[{"tileId": "a", "z": 1, ', "x.json"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("verb", ["stitch", "convert", "compare", "render"])
def test_a_layout_that_is_none_is_refused_by_every_command(demis, scene, what, verb):
    name, data, told = BROKEN[what](scene)
    path = _spoil(scene, name, data)
    out = scene.parent / "out"

    words = [verb, path, out / "x.json"] if verb == "convert" else [verb, path, "--out", out]
    line = refused(demis, scene, *words)

    assert name in line
    assert told in line


@pytest.mark.parametrize("what", ["nope.xml", "tiles", "empty"])
def test_a_path_that_is_no_layout_file_is_refused(demis, scene, what):
    (scene / "empty").mkdir()

    line = refused(demis, scene, "stitch", scene / what, "--out", scene.parent / "out")

    assert what in line
    assert ("--rows" in line) == (what != "nope.xml")


def test_a_folder_without_images_is_refused(demis, scene):
    (scene / "empty").mkdir()
    assert "no image" in refused(demis, scene, "stitch", scene / "empty", "--cols", "2", "--out", scene.parent / "out")


def _cut(path):
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("spoil", [_cut, spoil_pixels, os.unlink])
def test_a_layout_without_a_readable_tile_is_refused(demis, scene, spoil):
    for tile in sorted((scene / "tiles").iterdir()):
        spoil(tile)
    for verb in ("stitch", "render", "compare"):
        line = refused(demis, scene, verb, scene / "project.xml", "--out", scene.parent / "out")
        assert "no tile can be read" in line
        assert "r00_c00.tif" in line


OPTIONS = {
    "--foo": "No such option: --foo",
    "--matcher sfit": "did you mean 'sift'?",
    "--model affin": "did you mean 'affine'?",
    "--solver gtsam": "sparse, slam, factor_graph",
    "--solver slam --model affine": "slam solves translation and rigid",
    "--device tpu": "auto, cpu, cuda, mps",
    "--format zip": "trakem2, tileconfig, render, text",
    "--weights nope.ckpt --matcher loftr": "nope.ckpt",
    "--mosaic gif": "ome-tiff, ome-zarr, png, imagej",
    "--set foo=1": "--set foo: unknown setting",
    "--set max_eror_px=1": "did you mean 'max_error_px'?",
    "--set max_error_px": "NAME=VALUE",
    "--set max_error_px=-1": "max_error_px: -1 is not between",
    "--set max_error_px=NaN": "max_error_px: nan",
    "--set min_inliers=3.5": "min_inliers: 3.5 is not a whole number",
    "--set refine=no": "refine: 'no' is not true or false",
    "--set block_px=true": "block_px: True is not a whole number",
    "--section 7": "no section '7'",
    "--stage-axes up": "+x+y",
    "--rows 2": "--rows describes a folder",
    "--overlap 0.1": "--overlap describes a folder",
    "--relink nowhere": "nowhere",
    "--config nope.toml": "nope.toml: cannot be read",
}


@pytest.mark.parametrize("words", OPTIONS)
def test_an_unknown_option_or_name_is_refused_with_the_right_ones(demis, scene, words):
    line = refused(demis, scene, "stitch", scene / "project.xml", "--out", scene.parent / "out", *words.split())
    assert OPTIONS[words] in line


GRID = {
    "--rows 0 --cols 2": "--rows",
    "--rows 2 --cols 2 --overlap 1.5": "overlap",
    "--rows 2 --cols 2 --overlap nan": "overlap",
    "--rows 2 --cols 2 --order zigzag": "snake-row",
    "--rows 2 --cols 2 --start middle": "top-left",
    "--rows 1 --cols 2": "do not fill 1 x 2",
    "--pattern x_{i}.tif --cols 2": "no file name fits",
    "--pattern tile.tif": "pattern",
    "--rows 2 --cols 2 --format trakem2": "--format",
    "--rows two": "--rows",
}


@pytest.mark.parametrize("words", GRID)
def test_a_grid_that_does_not_fit_is_refused(demis, scene, words):
    line = refused(demis, scene, "stitch", scene / "tiles", "--out", scene.parent / "out", *words.split())
    assert GRID[words] in line


TOML = {
    "not = [toml": "not a TOML file",
    "[stich]\nmodel = 'rigid'": "unknown table [stich]",
    "stitch = 3": "needed a table [stitch]",
    "[stitch]\nmodle = 'rigid'": "did you mean 'model'?",
    "[stitch]\nresolution = 'half'": "resolution",
    "[render]\nformats = 3": "formats",
}


@pytest.mark.parametrize("text", TOML)
def test_a_config_that_cannot_be_used_is_refused(demis, scene, text):
    (scene / "c.toml").write_text(text)
    words = ("--config", scene / "c.toml", "--out", scene.parent / "out")
    assert TOML[text] in refused(demis, scene, "stitch", scene / "project.xml", *words)


@pytest.mark.parametrize("words", ["", "stitch", "stitch x.xml", "nope", "--nope", "convert", "report", "render x"])
def test_a_command_line_that_is_not_whole_is_one_line_that_says_where_the_help_is(demis, scene, words):
    if not words:
        said = demis()
        assert (said.code, said.err) == (0, "")
        assert "stitch" in said.out
        return
    assert "--help'" in refused(demis, scene, *words.split())


class TestOutputFolder:
    def test_that_is_a_file_is_refused(self, demis, scene):
        line = refused(demis, scene, "stitch", scene / "project.xml", *FAST, "--out", scene / "truth.json")
        assert "is a file" in line

    def test_below_a_file_is_refused(self, demis, scene):
        out = scene / "truth.json" / "run"
        assert "truth.json is a file" in refused(demis, scene, "stitch", scene / "project.xml", *FAST, "--out", out)
        assert "truth.json" in refused(demis, scene, "render", scene / "project.xml", "--out", out)
        assert "truth.json" in refused(demis, scene, "convert", scene / "project.xml", out / "x.json")
        assert "truth.json" in refused(demis, scene, "demo", "--out", out)

    def test_that_holds_something_else_is_refused(self, demis, scene):
        for verb in ("stitch", "compare", "demo"):
            words = () if verb == "demo" else (scene / "project.xml",)
            assert "not empty" in refused(demis, scene, verb, *words, "--out", scene)

    def test_of_another_run_is_refused_and_says_what_differs(self, demis, scene):
        run = scene.parent / "run"
        assert demis("stitch", scene / "project.xml", "--out", run, *FAST).code == 0
        line = refused(demis, scene, "stitch", scene / "project.xml", "--out", run, "--matcher", "correlation")
        assert 'matcher was "sift", now "correlation"' in line

        text = (scene / "project.xml").read_text()
        (scene / "project.xml").write_text(text.replace('title="Top Level"', 'title="other"'))
        line = refused(demis, scene, "stitch", scene / "project.xml", "--out", run, *FAST)
        assert "layout file has changed" in line
        assert "layout file has changed" in refused(demis, scene, "report", run)

    def test_of_a_run_whose_tiles_have_changed_since_is_refused(self, demis, scene):
        run = scene.parent / "run"
        assert demis("stitch", scene / "project.xml", "--out", run, *FAST).code == 0
        _cut(scene / "tiles" / "r00_c00.tif")
        for words in (("stitch", scene / "project.xml", "--out", run, *FAST), ("report", run)):
            line = refused(demis, scene, *words)
            assert "holds another run: tile 5 " in line
            assert "'demis-ij redo " in line

    def test_that_is_empty_or_a_link_to_one_is_taken(self, demis, scene):
        (scene.parent / "empty").mkdir()
        (scene.parent / "link").symlink_to(scene.parent / "empty")
        assert demis("stitch", scene / "project.xml", "--out", scene.parent / "link", *FAST).code == 0
        assert (scene.parent / "empty" / "solution.json").is_file()

    def test_whose_settings_are_damaged_is_refused(self, demis, scene):
        run = scene.parent / "run"
        run.mkdir()
        for text in ("{", "[]", '"x"'):
            (run / "run.json").write_text(text)
            assert "run.json" in refused(demis, scene, "stitch", scene / "project.xml", "--out", run, *FAST)
            (run / "run.json").unlink()

    def test_without_the_right_to_write_is_refused(self, demis, scene, monkeypatch):
        run = scene.parent / "run"
        run.mkdir()
        real = os.access  # asked instead of the folder's rights: root may write everywhere
        monkeypatch.setattr("os.access", lambda p, mode: (str(p), mode) != (str(run), os.W_OK) and real(p, mode))
        assert "cannot be written" in refused(demis, scene, "stitch", scene / "project.xml", "--out", run, *FAST)


def test_annotations_are_counted_and_refused_unless_images_only_is_asked_for(demis, scene):
    text = (scene / "project.xml").read_text(encoding="latin-1")
    label = '<t2_label oid="90" layer_id="4" title="note" transform="matrix(1,0,0,1,10,10)"/>\n\t\t\t'
    (scene / "project.xml").write_text(text.replace("<t2_patch", label + "<t2_patch", 1), encoding="latin-1")
    out = scene.parent / "out"

    line = refused(demis, scene, "stitch", scene / "project.xml", *FAST, "--out", out)
    assert "section 0: 1 labels" in line
    assert "--images-only" in line
    assert demis("stitch", scene / "project.xml", *FAST, "--out", out, "--images-only").code == 0


def test_debug_shows_the_traceback(monkeypatch, scene):
    from demis_ij.cli import main
    from demis_ij.errors import FormatError

    monkeypatch.setattr(sys, "argv", ["demis-ij", "--debug", "convert", str(scene / "truth.json"), "x.json"])
    with pytest.raises(FormatError):
        main()
