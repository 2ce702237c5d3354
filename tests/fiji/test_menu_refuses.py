"""What is wrong is one sentence: every input that SciJava does not check, and every Python that is not ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fiji_menu import Menu, made_fiji, workers

from demis_ij import fiji

pytestmark = pytest.mark.java
PRETENDED = Path(__file__).resolve().with_name("pretended_worker.py")

WRONG = [
    ("Stitch_Layout", {"layout": "{scene}/nothing here.txt"}, "Layout: there is no file or folder"),
    ("Stitch_Layout", {"layout": "{layout}", "matcher": "SURF"}, "'SURF' is not one of auto, LoFTR, SIFT, correlation"),
    ("Stitch_Layout", {"layout": "{layout}", "matcher": ""}, "Matcher: '' is not one of"),
    ("Stitch_Layout", {"layout": "{layout}", "expectedTransformation": "wobbly"}, "'wobbly' is not one of translation"),
    ("Stitch_Layout", {"layout": "{layout}", "device": "tpu"}, "Device: 'tpu' is not one of"),
    ("Stitch_Layout", {"layout": "{layout}", "maximalAlignmentError": -1}, "number from 0.1 to 1000, found '-1'"),
    ("Stitch_Layout", {"layout": "{layout}", "maximalAlignmentError": "abc"}, "Maximal alignment error: needed"),
    ("Stitch_Layout", {"layout": "{layout}", "maximalAlignmentError": "NaN"}, "found 'NaN'"),
    ("Stitch_Layout", {"layout": "{layout}", "minimalInliers": 2}, "Minimal number of inliers: needed a number from 3"),
    ("Stitch_Layout", {"layout": "{layout}", "minimalInlierRatio": 1.5}, "Minimal inlier ratio: needed a number"),
    ("Stitch_Layout", {"layout": "{layout}", "rows": "three"}, "Rows: needed a number from 1 to 100000, found 'three'"),
    ("Stitch_Layout", {"layout": "{layout}", "rows": "2.5"}, "Rows: needed a whole number, found '2.5'"),
    ("Stitch_Layout", {"layout": "{layout}", "overlap": "96 %"}, "Overlap: needed a number from 0 to 0.95"),
    ("Stitch_Layout", {"layout": "{layout}", "order": "spiral"}, "Order: 'spiral' is not one of"),
    ("Stitch_Layout", {"layout": "{layout}", "start": "middle"}, "First tile: 'middle' is not one of"),
    ("Stitch_Layout", {"layout": "{layout}", "format": "mist"}, "Format: 'mist' is not one of"),
    ("Stitch_TrakEM2_Project", {"project": "{scene}"}, "is a folder, needed a file"),
    ("Stitch_TrakEM2_Project", {"project": "{project}", "relink": "{scene}/no"}, "Folder of moved images: there is"),
    ("Compare_With_SIFT", {"layout": "{scene}/no"}, "Layout: there is no file or folder"),
    ("Compare_With_SIFT", {"layout": "{layout}", "minimalInliers": 0}, "Minimal number of inliers"),
    ("Show_Matches", {"run": "{layout}"}, "is a file, needed a folder"),
    ("Show_Matches", {"run": "{scene}", "worst": 0}, "How many of the worst pairs: needed a number from 1 to 50"),
    ("Show_Matches", {"run": "{scene}", "worst": "all"}, "from 1 to 50, found 'all'"),
    ("Align_Sections", {"stack": "{scene}/no"}, "Stack: there is no file or folder"),
    ("Align_Sections", {"stack": "{scene}", "method": "wobbly"}, "Method: 'wobbly' is not one of joint, ssemnet"),
    ("Align_Sections", {"stack": "{scene}", "neighbours": 0}, "up to this far: needed a number from 1 to 8"),
    ("Align_Sections", {"stack": "{scene}", "smoothness": "much"}, "Smoothness: needed a number from 0 to 10000"),
    ("Align_Sections", {"stack": "{scene}", "first": "one"}, "First section number: needed a number"),
    ("Register_Images", {"fixed": "{layout}", "moving": "{scene}/no.tif"}, "Moving image: there is no file"),
    ("Register_Images", {"fixed": "{layout}", "moving": "{layout}", "method": "magic"}, "Method: 'magic' is not one"),
    ("Register_Images", {"fixed": "{layout}", "moving": "{layout}", "range": "far"}, "Range: 'far' is not one of wide"),
    ("Register_Images", {"fixed": "{layout}", "moving": "{layout}", "fixedPixelSize": "0"}, "fixed image: needed a"),
    ("Convert_Layout", {"layout": "{layout}", "to": "{layout}"}, "exists already and is never overwritten"),
    ("Convert_Layout", {"layout": "{layout}", "to": "{scene}/no/x.xml"}, "Write to: there is no folder"),
    ("Convert_Layout", {"layout": "{layout}", "to": "{scene}/x.xml", "newFormat": "mist"}, "the new file: 'mist'"),
    ("Set_Python_Environment", {}, "Interpreter or folder of an environment: nothing was given"),
    ("Set_Python_Environment", {"environment": "{scene}"}, "There is no Python in"),
    ("Set_Python_Environment", {"environment": "{scene}/no"}, "there is no file or folder"),
    ("Set_Python_Environment", {"way": "guess", "environment": "{layout}"}, "Which: 'guess' is not one of"),
    ("Set_Python_Environment", {"way": "build one with Appose"}, "This Fiji has no Appose"),
    ("Check_Installation", {"python": "{scene}/no/python"}, "There is no Python at"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "inputs", "sentence"), WRONG, ids=[f"{c}-{s[:24]}" for c, _, s in WRONG])
def test_a_wrong_input_is_one_sentence(menu: Menu, grid: Path, command: str, inputs: dict, sentence: str) -> None:
    names = {"scene": grid, "layout": grid / "TileConfiguration.txt", "project": grid / "project.xml"}
    given = {k: v.format(**names) if isinstance(v, str) else v for k, v in inputs.items()}
    before = sorted(grid.rglob("*"))

    done = menu.run(command, **given)

    assert done.result.startswith("FAILED: "), done.result
    assert sentence in done.result
    assert "\n" not in done.result
    assert done.result.removeprefix("FAILED: ") in done.logged
    assert sorted(grid.rglob("*")) == before


def test_what_python_refuses_is_one_sentence_with_the_trace_in_the_log(menu: Menu, grid: Path, tmp_path: Path) -> None:
    done = menu.run(
        "Stitch_TrakEM2_Project", project=grid / "project.xml", layers="no such layer", out=tmp_path / "run"
    )

    assert done.result.startswith("FAILED: ")
    assert "no such layer" in done.result
    assert "\n" not in done.result
    assert "Traceback" in done.logged
    assert not (tmp_path / "run").exists()


def test_a_missing_required_input_does_not_run(menu: Menu) -> None:
    """SciJava says nothing; that there is no result is what tells."""
    done = menu.run("Stitch_Layout", matcher="SIFT")

    assert done.outputs.get("result") is None


def test_a_lone_optional_file_is_not_asked_for(menu: Menu, grid: Path, tmp_path: Path) -> None:
    """Everything but ``out`` is given: SciJava would open a file chooser for it, or cancel where there is no screen."""
    given = {
        "format": "auto",
        "rows": "",
        "columns": "",
        "overlap": "",
        "order": "auto",
        "start": "auto",
        "pattern": "",
    }
    given |= {"expectedTransformation": "rigid", "maximalAlignmentError": 4, "minimalInliers": 8}
    given |= {"minimalInlierRatio": 0.15, "largestGraphOnly": False, "device": "auto", "python": tmp_path / "none"}

    done = menu.run("Stitch_Layout", layout=grid / "TileConfiguration.txt", matcher="SIFT", **given)

    assert done.result.startswith("FAILED: There is no Python at "), done.failure


def test_a_missing_python_says_where_it_was_looked_for(menu: Menu, grid: Path, tmp_path: Path) -> None:
    own = menu.copied(tmp_path / "Fiji")
    (own.folder / fiji.PROPERTIES).unlink()

    done = own.run("Stitch_Layout", layout=grid / "TileConfiguration.txt", user_home=tmp_path)

    assert done.result == (
        f"FAILED: No Python is set: looked in {own.folder / fiji.PROPERTIES} and "
        f"{tmp_path / '.demis_ij' / fiji.PROPERTIES}. Set one with Plugins > DEMIS > Set Python Environment."
    )


def test_java_reads_the_python_that_the_installation_stored(
    menu: Menu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = menu.copied(tmp_path / "Fiji")
    made_fiji(own.home)
    python = tmp_path / "µ=#!: \\😀" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    fiji.install(own.home)

    done = own.run("Check_Installation", user_home=tmp_path)

    assert done.result.startswith(f"FAILED: There is no Python at {python} any more (stored in "), done.logged


def test_a_python_without_demis_ij_is_named(menu: Menu, grid: Path, tmp_path: Path) -> None:
    python = wrapped(tmp_path, f'exec "{sys.executable}" -S -I "$@"')

    stitching = menu.run("Stitch_Layout", layout=grid / "TileConfiguration.txt", python=python)
    storing = menu.run("Set_Python_Environment", environment=python)

    assert f"{python} has no demis_ij: run 'pip install demis_ij' with it." in stitching.result, stitching.logged
    assert "Set Python Environment" in stitching.result
    assert "without demis_ij" in storing.result
    assert "No module named" in storing.logged
    assert fiji.status(menu.home).python == sys.executable


def test_what_is_no_python_is_not_stored(menu: Menu, tmp_path: Path) -> None:
    program = wrapped(tmp_path, "echo hello")

    done = menu.run("Set_Python_Environment", environment=program)
    used = menu.run("Check_Installation", python=program)

    assert done.result == f"FAILED: {program} is no Python interpreter: it did not run a line of Python (exit code 0)."
    assert f"{program} ended (exit code 0) before it answered as demis_ij's worker does" in used.result
    assert fiji.status(menu.home).python == sys.executable


def wrapped(folder: Path, line: str) -> Path:
    """Return a program that stands for a Python."""
    if os.name == "nt":
        pytest.skip("a program made of a line of text needs POSIX")
    program = folder / "python of another kind"
    program.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def pretended(folder: Path, kind: str) -> Path:
    return wrapped(folder, f'exec "{sys.executable}" -S "{PRETENDED}" {kind}')


@pytest.mark.parametrize(
    ("kind", "found"), [("newer", "demis_ij 9.9.9 (api 99)"), ("nameless", "does not say its name")]
)
def test_a_worker_of_another_version_says_so(menu: Menu, grid: Path, tmp_path: Path, kind: str, found: str) -> None:
    done = menu.run("Stitch_Layout", layout=grid / "TileConfiguration.txt", python=pretended(tmp_path, kind))

    assert found in done.result, done.logged
    assert "run 'demis-ij fiji install' with that Python again" in done.result


def test_stray_lines_and_other_tasks_are_passed_over(menu: Menu, grid: Path, tmp_path: Path) -> None:
    done = menu.run(
        "Convert_Layout", layout=grid / "project.xml", to=tmp_path / "x.json", python=pretended(tmp_path, "chatty")
    )

    assert done.result == "Written: /said/by/the/right/task."


def test_the_last_words_of_a_worker_are_kept(menu: Menu, grid: Path, tmp_path: Path) -> None:
    """More than a pipe holds is written before the end: it must be drained while replies are waited for."""
    done = menu.run("Stitch_Layout", layout=grid / "project.xml", python=pretended(tmp_path, "dying"))

    assert "ended unexpectedly (exit code 3: line 1999 of a long complaint)" in done.result
    assert "\n" not in done.result
    assert done.logged.count("of a long complaint") == 51  # 50 lines, and the last one in the sentence
    assert "line 1949" not in done.logged


def test_a_failure_of_the_worker_is_its_first_line(menu: Menu, grid: Path, tmp_path: Path) -> None:
    done = menu.run("Stitch_Layout", layout=grid / "project.xml", python=pretended(tmp_path, "failing"))

    assert done.result == "FAILED: tile 7 is upside down"
    assert "somewhere deep" in done.logged


def impatient(menu: Menu, folder: Path) -> Menu:
    """Return a menu that waits for half a second where the real one waits for minutes."""
    own = menu.copied(folder / "Fiji")
    worker = own.folder / "lib" / "Worker.gvy"
    text = worker.read_text(encoding="ascii")
    for name in ("FIRST_WORD_MS = 180000L", "STOP_MS = 15000L"):
        assert name in text
        text = text.replace(name, f"{name.split()[0]} = 500L")
    worker.write_text(text, encoding="ascii")
    return own


def test_a_worker_that_does_not_stop_is_ended(menu: Menu, grid: Path, tmp_path: Path) -> None:
    own = impatient(menu, tmp_path)
    python = pretended(tmp_path, "deaf")

    done = own.run("Stitch_Layout", layout=grid / "project.xml", python=python, cancel_at=1)

    assert done.result == "stopped; the worker did not answer and was ended; run the same again to go on"
    assert not [w for w in workers() if str(PRETENDED) in w.cmdline()]


def test_a_program_that_never_answers_is_given_up(menu: Menu, grid: Path, tmp_path: Path) -> None:
    own = impatient(menu, tmp_path)
    program = wrapped(tmp_path, "while read line; do :; done")

    done = own.run("Stitch_Layout", layout=grid / "project.xml", python=program)

    assert done.result.startswith(f"FAILED: {program} did not answer as demis_ij's worker does within "), done.logged
