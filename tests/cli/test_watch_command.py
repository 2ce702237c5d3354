# ruff: noqa: F811 - fixtures come by name
"""``watch``: a microscope that is still writing, slowly, in halves, in any order, and once more."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tifffile
from cli_words import bytes_of, demis, made, scene, solution_of  # noqa: F401 - fixtures

from demis_ij import stitch
from demis_ij.cli import watching as command
from demis_ij.config import StitchConfig
from demis_ij.jobs import StitchJob
from demis_ij.jobs.watch import watching
from demis_ij.jobs.watch.files import STILL_S
from demis_ij.jobs.watch.plan import GridPlan
from demis_ij.jobs.watch.watching import Watch, WatchJob

PATTERN = "r{row}_c{col}.tif"
GRID = ("--pattern", PATTERN, "--rows", "2", "--cols", "2", "--overlap", "0.25", "--matcher", "sift", "--mosaic", "png")
NAMES = ("r00_c00.tif", "r00_c01.tif", "r01_c00.tif", "r01_c01.tif")


def events(said):
    return [json.loads(line) for line in said.out.splitlines()]


def seams(found, state):
    return {(e["fixed"], e["moving"]) for e in found if e["event"] == "seam" and e["state"] == state}


@pytest.fixture
def source(made):
    return made / "tiles"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arriving").mkdir()
    return tmp_path / "arriving"


def in_halves(source, folder, names, gap_s=0.1):
    """Write tiles as a slow microscope does: half a file, a while, the rest."""
    for name in names:
        raw = (source / name).read_bytes()
        with (folder / name).open("wb") as file:
            file.write(raw[: len(raw) // 2])
            file.flush()
            time.sleep(gap_s)
            file.write(raw[len(raw) // 2 :])


def test_tiles_that_come_in_halves_are_matched_as_they_come_and_stitch_finishes_without_matching(
    demis, source, folder, monkeypatch
):
    writer = threading.Thread(target=in_halves, args=(source, folder, NAMES))
    writer.start()
    said = demis("watch", folder, "--out", "run", *GRID, "--json")
    writer.join()
    found = events(said)
    assert (said.code, said.err) == (0, "")
    assert len(seams(found, "matched")) == 4
    assert found[-1]["event"] == "end"
    assert (found[-1]["there"], found[-1]["matched"], found[-1]["failed"]) == (4, 4, 0)

    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(stitch.asking, "matched", lambda batch, *_rest: asked.append(batch))
        finished = demis(*found[-1]["stitch"][1:], "--matcher", "sift", "--mosaic", "png", "--json")
    assert (finished.code, asked) == (0, [])
    assert finished.json["resumed"] is True
    demis("stitch", folder, *GRID, "--out", "fresh")
    same = ("solution.json", "seams.csv", "mosaic.png", "run.json", "tiles/0.parquet", "matches/0/all.parquet")
    one, two = bytes_of(folder.parent / "run"), bytes_of(folder.parent / "fresh")
    assert {name: one[name] for name in same} == {name: two[name] for name in same}


def test_the_last_line_is_the_command_that_finishes(demis, source, folder):
    shutil.copytree(source, folder, dirs_exist_ok=True)
    said = demis("watch", folder, "--out", "run", *GRID)
    line = said.out.splitlines()[-1]
    assert line.startswith("finish with: demis-ij stitch ")
    assert demis(*shlex.split(line.removeprefix("finish with: "))[1:]).code == 0
    assert solution_of(folder.parent / "run")["tiles"]["r00_c00.tif"]["placed_by"] == "sift"


def test_what_is_broken_late_or_in_the_way_is_one_line_and_the_rest_goes_on(demis, source, folder):
    for name in NAMES[:2]:
        shutil.copy(source / name, folder / name)
    raw = (source / NAMES[2]).read_bytes()
    (folder / NAMES[2]).write_bytes(raw[: len(raw) // 2])  # and it stays so
    (folder / "r07_c00.tif").write_bytes(raw)
    (folder / "notes.txt").write_text("hello")
    said = demis("watch", folder, "--out", "run", *GRID, "--once")
    assert said.code == 0
    assert "1 of 4 seams matched" in said.out
    bad = [line for line in said.lines if "cannot be read yet" in line or "outside 2 x 2" in line]
    assert len(bad) == 2
    assert any(NAMES[2] in line and "truncated" in line for line in bad)

    (folder / "r07_c00.tif").unlink()  # the microscope is done with it, and the last one comes late
    (folder / NAMES[2]).write_bytes(raw)
    shutil.copy(source / NAMES[3], folder / NAMES[3])
    again = demis("watch", folder, "--out", "run", *GRID, "--json")
    assert again.code == 0
    assert events(again)[-1]["matched"] == 4


def test_a_tile_written_anew_has_its_seams_matched_again_while_watching_and_after(demis, source, folder):
    shutil.copytree(source, folder, dirs_exist_ok=True)
    demis("watch", folder, "--out", "run", *GRID)
    pixels = tifffile.imread(folder / NAMES[0])
    noise = np.random.default_rng(0).normal(5, 6, pixels.shape)
    tifffile.imwrite(folder / NAMES[0], np.clip(pixels + noise, 0, 255).astype(pixels.dtype))
    found = events(demis("watch", folder, "--out", "run", *GRID, "--json"))
    assert [(e["tile"], e["state"]) for e in found if e["event"] == "tile" and e["state"] != "there"] == [
        (NAMES[0], "replaced")
    ]
    assert demis("stitch", folder, *GRID, "--out", "run").code == 0
    demis("stitch", folder, *GRID, "--out", "fresh")
    assert solution_of(folder.parent / "run") == solution_of(folder.parent / "fresh")


class Stage:
    """A watch that is driven step by step, on a clock of its own."""

    def __init__(self, folder, out, **how):
        self.now = 0.0
        options = {"pattern": PATTERN, "rows": 2, "cols": 2, "overlap": 0.25}
        self.steps = []
        self.watch = Watch(
            GridPlan(folder, options),
            folder,
            out,
            WatchJob(job=StitchJob(config=StitchConfig(matcher="sift"), read_options=options), **how),
            wait=self.wait,
            clock=lambda: self.now,
        )

    def wait(self, seconds):
        self.now += max(seconds, STILL_S / 2)
        if self.steps:
            self.steps.pop(0)()

    def run(self, *steps):
        """Do one step whenever the watch waits; return all that it said."""
        self.steps = list(steps)
        return list(self.watch.loop())


def test_a_bad_seam_is_named_once_and_a_tile_that_goes_is_waited_for(source, folder):
    stage = Stage(folder, folder.parent / "run", worse_than=0.0001, idle_s=12)
    for name in NAMES[:3]:
        shutil.copy(source / name, folder / name)
    nothing = lambda: None  # noqa: E731
    said = stage.run(*[nothing] * 40, lambda: (folder / NAMES[0]).unlink(), *[nothing] * 3)
    bad = [e for e in said if e.facts.get("state") == "bad"]
    assert len(bad) == 2
    assert all(re.search(r"is bad: \d+\.\d px after the solve", e.said) for e in bad)
    assert [e.said for e in said if e.facts.get("state") == "gone"] == [f"tile {NAMES[0]} is gone: waiting for it"]
    assert stage.watch.counts()["there"] == 2
    end = list(stage.watch.ending())[-1]
    assert (end.facts["there"], end.facts["problems"]) == (2, 1)


def test_numbers_that_count_from_zero_after_all_place_all_tiles_anew(folder, source):
    stage = Stage(folder, folder.parent / "run")
    nothing = lambda: None  # noqa: E731
    shutil.copy(source / NAMES[3], folder / NAMES[3])  # r01_c01: the first of a grid from 1, it seems
    late = [lambda name=name: shutil.copy(source / name, folder / name) for name in NAMES[:3]]
    said = stage.run(nothing, nothing, *late)
    assert any("count from elsewhere" in e.said for e in said)
    assert stage.watch.counts() | {"bad": 0} == {
        "tiles": 4, "there": 4, "problems": 0, "seams": 4, "matched": 4, "failed": 0, "bad": 0,
    }  # fmt: skip


def test_the_page_shows_what_is_there_and_no_longer_reloads_when_it_is_over(folder, source):
    out = folder.parent / "run"
    stage = Stage(folder, out, once=True)
    shutil.copy(source / NAMES[0], folder / NAMES[0])
    stage.run()
    page = (out / "live.html").read_text()
    assert 'http-equiv="refresh"' in page
    list(stage.watch.ending())
    page = (out / "live.html").read_text()
    assert 'http-equiv="refresh"' not in page
    assert "1 of 4 tiles are there" in page
    assert page.count("data:image/png") == 1
    assert "<script" not in page


def test_a_layout_whose_images_do_not_exist_yet_says_what_comes(demis, made, folder):
    layout = folder.parent / "TileConfiguration.txt"
    text = (made / "TileConfiguration.txt").read_text()
    layout.write_text(text.replace("tiles/", "elsewhere/"))  # as the microscope's own computer names them
    writer = threading.Thread(target=in_halves, args=(made / "tiles", folder, NAMES))
    writer.start()
    words = ("--out", "run", "--matcher", "sift", "--mosaic", "none")
    said = demis("watch", folder, "--layout", layout, *words, "--json")
    writer.join()
    end = events(said)[-1]
    assert (end["there"], end["matched"]) == (4, 4)
    assert end["stitch"][-4:] == ["--relink", str(folder), "--out", "run"]
    finished = demis(*end["stitch"][1:], "--matcher", "sift", "--mosaic", "none", "--json")
    assert (finished.code, finished.json["resumed"]) == (0, True)


def test_killed_it_goes_on_and_matches_nothing_twice(demis, source, folder, monkeypatch):
    for name in NAMES[:3]:
        shutil.copy(source / name, folder / name)
    words = [sys.executable, "-m", "demis_ij", "watch", "arriving", "--out", "run", *GRID]
    process = subprocess.Popen(words, cwd=folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((folder.parent / "run").glob("matches/0/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p.name for p in (folder.parent / "run" / "matches" / "0").glob("0*.parquet")}
    assert kept
    shutil.copy(source / NAMES[3], folder / NAMES[3])
    asked = []
    real = stitch.asking.matched
    with monkeypatch.context() as patch:
        patch.setattr(stitch.asking, "matched", lambda batch, *rest: asked.extend(batch.pairs) or real(batch, *rest))
        found = events(demis("watch", folder, "--out", "run", *GRID, "--json"))
    assert found[-1]["matched"] == 4
    assert len(asked) < 4
    assert demis("stitch", folder, *GRID, "--out", "run").code == 0


def test_a_tile_replaced_since_stitch_was_done_is_seen(demis, source, folder):
    shutil.copytree(source, folder, dirs_exist_ok=True)
    assert demis("stitch", folder, *GRID, "--out", "run").code == 0
    pixels = tifffile.imread(folder / NAMES[3])
    tifffile.imwrite(folder / NAMES[3], np.roll(pixels, (12, 9), (0, 1)))

    found = events(demis("watch", folder, "--out", "run", *GRID, "--once", "--json"))

    assert [e["tile"] for e in found if e["event"] == "tile" and e["state"] == "replaced"] == [NAMES[3]]
    assert demis("stitch", folder, *GRID, "--out", "run").code == 0
    assert demis("stitch", folder, *GRID, "--out", "fresh").code == 0
    one, other = (solution_of(folder.parent / name) for name in ("run", "fresh"))
    assert one == other


def test_ctrl_c_ends_it_in_order(demis, source, folder, monkeypatch):
    shutil.copy(source / NAMES[0], folder / NAMES[0])
    said = []

    def interrupt(_seconds):
        said.append(1)
        if len(said) > 4:
            raise KeyboardInterrupt
        time.sleep(STILL_S / 2)

    real = Watch.__init__
    monkeypatch.setattr(Watch, "__init__", lambda self, *given: real(self, *given, wait=interrupt))
    ended = demis("watch", folder, "--out", "run", *GRID)
    assert ended.code == 0
    assert "1 of 4 tiles are there" in ended.out


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["nowhere", "--out", "run", *GRID], "there is no such folder to watch"),
        (["arriving", "--out", "run", "--rows", "2", "--cols", "2"], "--pattern is missing"),
        (["arriving", "--out", "run", "--pattern", PATTERN], "--rows is missing"),
        (["arriving", "--out", "run", "--layout", "a.txt"], "no such file"),
        (["arriving", "--out", "run", "--layout", "a.txt", "--rows", "2"], "leave one of them out"),
        (["arriving", "--out", "run", "--format", "text", *GRID], "belongs to a --layout"),
        (["arriving", "--out", "other", *GRID], "holds no run"),
        (["arriving", "--out", "run", *GRID, "--once"], "no tile came"),
        (["arriving", "--out", "run", *GRID, "--set", "nonsense=1"], "unknown setting"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(demis, folder, words, needed):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "holiday.jpg").write_bytes(b"x")
    said = demis("watch", *words)
    assert (said.code, len(said.lines)) == (2, 1) or (said.code == 2 and "no tile came" in said.lines[-1])
    assert needed in said.lines[-1]
    assert not any((folder.parent / "run").glob("*"))


def test_another_pattern_than_the_names_have_is_refused(demis, source, folder):
    shutil.copytree(source, folder, dirs_exist_ok=True)
    words = [w if w != PATTERN else "tile_{row}_{col}.tif" for w in GRID]
    said = demis("watch", folder, "--out", "run", *words, "--once")
    assert said.code == 2
    assert "none of 4 image(s) fits the pattern" in said.lines[-1]


def test_a_run_folder_of_other_settings_is_refused(demis, source, folder):
    shutil.copytree(source, folder, dirs_exist_ok=True)
    demis("watch", folder, "--out", "run", *GRID)
    said = demis("watch", folder, "--out", "run", *GRID, "--set", "min_inliers=20")
    assert (said.code, len(said.lines)) == (2, 1)
    assert "min_inliers was 8, now 20" in said.err


def test_with_strict_a_failed_seam_is_exit_code_3(demis, source, folder, monkeypatch):
    shutil.copytree(source, folder, dirs_exist_ok=True)
    said = demis("watch", folder, "--out", "run", *GRID, "--set", "min_inliers=9999", "--strict")
    assert said.code == 3
    assert sum("failed:" in line for line in said.lines) == 4
    assert command.watch.__doc__
    assert watching.PAGE == "live.html"
