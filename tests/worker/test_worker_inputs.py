"""Nothing that a client sends is believed, and every refusal is one line that names what was wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.worker import inputs

WRONG = {
    "no layout": ({"layout": None}, "the input 'layout' is missing"),
    "empty layout": ({"layout": "  "}, "the input 'layout' is missing"),
    "missing layout": ({"layout": "/nowhere/at all.xml"}, "layout: /nowhere/at all.xml: No such file or directory"),
    "relative layout": ({"layout": "project.xml"}, "not a whole path"),
    "layout of another type": ({"layout": 5}, "layout: 5 is not text"),
    "zero character": ({"layout": "/a\0b"}, "zero character"),
    "half a character": ({"layout": "/a\ud800b"}, "half a character"),
    "layout that is none": ({"layout": Path(__file__)}, "no layout"),
    "unknown input": ({"lay_out": "/x"}, "stitch: unknown input 'lay_out'; did you mean 'layout'?"),
    "unknown input like nothing": ({"zzz": 1}, "unknown input 'zzz'; known: layout,"),
    "matcher": ({"matcher": "LoFTRR"}, "matcher: 'LoFTRR' is not one of auto, loftr, sift, correlation"),
    "matcher near": ({"matcher": "lofter"}, "did you mean 'loftr'?"),
    "matcher of another type": ({"matcher": ["sift"]}, "matcher: ['sift'] is not"),
    "model": ({"model": "rigit"}, "did you mean 'rigid'?"),
    "solver": ({"solver": "magic"}, "solver: 'magic' is not one of"),
    "device": ({"device": "gpu"}, "device: 'gpu' is not one of"),
    "weights": ({"weights": "/no/such.ckpt", "matcher": "loftr"}, "no weights '/no/such.ckpt'"),
    "weights of another type": ({"weights": True}, "weights: True is not text"),
    "settings of another type": ({"settings": "max_error_px=6"}, "settings: 'max_error_px=6' is not an object"),
    "unknown setting": (
        {"settings": {"max_eror_px": 6}},
        "unknown setting 'max_eror_px'; did you mean 'max_error_px'?",
    ),
    "setting as text": ({"settings": {"max_error_px": "6"}}, "max_error_px: '6' is not between 0.1 and 1000"),
    "setting out of range": ({"settings": {"resolution": 7}}, "resolution: 7 is not between 0.05 and 1"),
    "setting that is no number": ({"settings": {"max_error_px": float("nan")}}, "max_error_px: nan is not"),
    "setting beyond all numbers": ({"settings": {"max_error_px": float("inf")}}, "max_error_px: inf is not"),
    "bool as text": ({"settings": {"refine": "true"}}, "refine: 'true' is not true or false"),
    "whole number with a fraction": ({"settings": {"min_inliers": 8.5}}, "min_inliers: 8.5 is not a whole number"),
    "bool as number": ({"settings": {"min_inliers": True}}, "min_inliers: True is not a whole number"),
    "formats among the settings": ({"settings": {"formats": ["png"]}}, "is the input 'mosaic' here"),
    "flag as text": ({"images_only": "true"}, "images_only: 'true' is not true or false"),
    "flag as number": ({"include_hidden": 1}, "include_hidden: 1 is not true or false"),
    "mosaic": ({"mosaic": ["jpeg"]}, "format: 'jpeg' is not one of"),
    "mosaic of another type": ({"mosaic": {"a": 1}}, "mosaic: {'a': 1} is not a list of text"),
    "sections of another type": ({"sections": [1]}, "sections: 1 is not text"),
    "unknown section": ({"sections": ["7"]}, "no section '7'; there are 0"),
    "never_write": ({"never_write": ["project.xml"]}, "never_write: 'project.xml' is not a whole path"),
    "picture_max_px": ({"picture_max_px": 10}, "picture_max_px: 10 is not between"),
    "picture_max_px as text": ({"picture_max_px": "many"}, "picture_max_px: 'many' is not a whole number"),
    "out that is a file": ({"out": Path(__file__)}, "is a file: choose another name"),
    "out that is not ours": ({"out": Path(__file__).parent}, "is not empty and holds no run"),
    "out that is relative": ({"out": "run"}, "out: 'run' is not a whole path"),
    "relink": ({"relink": "/no/such folder"}, "relink: /no/such folder: No such file or directory"),
    "relink that is a file": ({"relink": Path(__file__)}, "is a file, needed a folder"),
    "stage_axes": ({"stage_axes": "up"}, "stage axes 'up': needed one of +x+y"),
    "read of another type": ({"read": [1]}, "read: [1] is not an object with format, rows"),
    "read unknown": ({"read": {"row": 2}}, "read: unknown input 'row'; did you mean 'rows'?"),
    "read rows": ({"read": {"rows": 0}}, "rows: 0 is not between 1 and"),
    "read overlap": ({"read": {"overlap": float("nan")}}, "overlap: nan is not a number"),
    "read overlap as text": ({"read": {"overlap": "0.1"}}, "overlap: '0.1' is not a number"),
    "rows of a file": ({"read": {"rows": 2}}, "rows describes a folder of tiles"),
    "format": ({"read": {"format": "trakem3"}}, "did you mean 'trakem2'?"),
    "client": ({"client": "Fiji"}, "client: 'Fiji' is not an object"),
    "fast without refine": ({"settings": {"fast": True, "refine": False}}, "drop one of the two"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_input_is_refused_in_one_line(worker, grid, what):
    given, expected = WRONG[what]
    before = sorted(grid.rglob("*"))

    said = worker.refused("stitch", {"layout": grid / "project.xml", **given})

    assert expected in said
    assert "internal error" not in said
    assert sorted(grid.rglob("*")) == before


def test_a_folder_of_tiles_needs_a_word_on_how_they_lie(worker, grid):
    said = worker.refused("plan", {"layout": grid / "tiles"})

    assert "say how the tiles lie, with rows and cols, or with pattern" in said


@pytest.mark.parametrize("client", [{"version": "9.9.9", "api": 2}, {"version": "0.0.1"}, {}])
def test_scripts_that_speak_another_language_are_told_the_remedy(worker, client):
    said = worker.refused("check", {"client": client})

    assert f"this Python has demis_ij {__version__} (api 1)" in said
    assert "run 'demis-ij fiji install' again with this Python" in said
    assert client.get("version", "?") in said


def test_scripts_of_another_version_that_speak_the_same_language_are_served(worker, grid):
    client = {"version": "0.0.1", "api": 1}

    assert worker.done("plan", {"client": client, "layout": grid / "project.xml"})["format"] == "trakem2"


@pytest.mark.parametrize(("verb", "expected"), [
    ("stich", "unknown verb 'stich'; did you mean 'stitch'?"),
    ("Stitch", "did you mean 'stitch'?"),
    ("print(1)\nimport os", "unknown verb"),
])  # fmt: skip
def test_a_verb_that_is_not_there_says_so(worker, verb, expected):
    assert expected in worker.refused(verb, {})


def test_what_is_empty_is_not_given(worker, grid):
    empty = {"out": "", "matcher": None, "model": "", "settings": {}, "sections": [], "mosaic": [], "relink": " ",
             "stage_axes": None, "read": {"rows": None, "format": ""}, "project_out": "", "picture_max_px": None,
             "never_write": [""], "weights": "", "device": None, "include_hidden": None}  # fmt: skip

    plain = worker.done("plan", {"layout": grid / "project.xml"})

    assert worker.done("plan", {"layout": grid / "project.xml", **empty}) == plain


def test_whole_numbers_are_numbers(worker, grid):
    settings = {"max_error_px": 5, "resolution": 1, "stage_error_frac": 0}

    assert worker.done("plan", {"layout": grid / "project.xml", "settings": settings})["sections"][0]["tiles"] == 4


@pytest.mark.parametrize(("check", "value"), [
    (inputs.whole(1, 5), 6), (inputs.whole(1, 5), 1.0), (inputs.whole(0, 5), True),
    (inputs.number(0, 1), True), (inputs.number(0, 1), "0.5"),
    (inputs.number(0, 1), 1.01), (inputs.number(0, 1), float("-inf")), (inputs.flag, 0), (inputs.text, b"x"),
    (inputs.texts, "x\0"), (inputs.texts, 5), (inputs.path, "a"), (inputs.file, Path(__file__).parent.as_posix()),
    (inputs.folder, Path(__file__).as_posix()), (inputs.existing, "/" + "x" * 5000), (inputs.table({}), 5),
])  # fmt: skip
def test_a_checker_names_what_it_refuses(check, value):
    with pytest.raises(InputError, match=r"^this: "):
        check("this", value)
