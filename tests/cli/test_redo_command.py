# ruff: noqa: F811 - fixtures come by name
"""``redo``: only what has changed is done anew, the result is that of a new run, and nothing is lost by a kill."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli_words import SMALL, bytes_of, demis, solution_of  # noqa: F401 - fixtures

from demis_ij import stitch, synth
from demis_ij.jobs.redo import redoing
from demis_ij.runs import RunFolder, redone

WORDS = ("--pattern", "r{row}_c{col}.tif", "--overlap", "0.25", "--matcher", "sift", "--mosaic", "ome-zarr")
MAY_DIFFER = re.compile(r"\.project\.done|project\.xml|report\.html|redo\.jsonl|\.brightness.*|\.mosaic.*\.drawn/.*")
"""Files with times, random numbers or seconds, and those by which drawing remembers what it has done."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Six tiles and a run that no test changes."""
    from demis_ij import jobs
    from demis_ij.config import RenderConfig, StitchConfig

    root = tmp_path_factory.mktemp("redo")
    synth.write_scene(synth.make_scene(replace(SMALL, cols=3), 5), root / "user")
    for extra in ("project.xml", "TileConfiguration.txt", "truth.json"):
        (root / "user" / extra).unlink()
    tiles = root / "user" / "tiles"
    options = {"pattern": "r{row}_c{col}.tif", "overlap": 0.25}
    empty = dict.fromkeys(("format_name", "rows", "cols", "overlap", "order", "start", "pattern"))
    job = jobs.StitchJob(
        config=StitchConfig(matcher="sift"),
        render=RenderConfig(formats=("ome-zarr",)),
        read_options={**empty, **options},
    )
    jobs.run_stitch(jobs.read_layout(tiles, **options), root / "run", job)
    return root


@pytest.fixture
def root(finished, tmp_path, monkeypatch):
    """The run and its tiles at their own place, which is put right again afterwards."""
    kept = tmp_path / "kept"
    shutil.copytree(finished, kept, copy_function=shutil.copy2)
    monkeypatch.chdir(finished)
    yield finished
    for folder in finished.iterdir():
        shutil.rmtree(folder)
    shutil.copytree(kept, finished, copy_function=shutil.copy2, dirs_exist_ok=True)


def replace_tile(root, name="r01_c01.tif"):
    """Write a tile anew, as a microscope that looks again: the same place, other noise."""
    path = root / "user" / "tiles" / name
    pixels = tifffile.imread(path)
    noise = np.random.default_rng(1).normal(8, 5, pixels.shape)
    tifffile.imwrite(path, np.clip(pixels + noise, 0, 255).astype(pixels.dtype))
    return path


def differing(run: Path, fresh: Path) -> list[str]:
    one, two = bytes_of(run), bytes_of(fresh)
    return sorted(n for n in {*one, *two} if one.get(n) != two.get(n) and not MAY_DIFFER.fullmatch(n.rstrip("/")))


def matched_pairs(monkeypatch):
    """Count the pairs that a matcher is asked about."""
    asked = []
    real = stitch.asking.matched

    def counting(batch, *rest):
        asked.extend(batch.pairs)
        return real(batch, *rest)

    monkeypatch.setattr(stitch.asking, "matched", counting)
    return asked


def test_a_replaced_tile_has_its_seams_matched_again_and_the_result_is_that_of_a_new_run(demis, root, monkeypatch):
    replace_tile(root)
    refused = demis("stitch", "user/tiles", *WORDS, "--out", "run")
    assert (refused.code, len(refused.lines)) == (2, 1)
    assert "demis-ij redo run" in refused.err
    before = bytes_of(root)
    planned = demis("redo", "run", "--dry-run")
    assert planned.code == 0
    assert "tile r01_c01.tif has another image: its seams are matched again" in planned.out
    assert bytes_of(root) == before

    with monkeypatch.context() as patch:
        asked = matched_pairs(patch)
        said = demis("redo", "run", "--json")
    assert (said.code, said.err) == (0, "")
    assert len(set(asked)) == 3  # of 7 seams
    assert all("r01_c01.tif" in pair for pair in asked)
    demis("stitch", "user/tiles", *WORDS, "--out", "fresh")
    assert differing(root / "run", root / "fresh") == []
    lines = redone.history(root / "run")
    assert [line["state"] for line in lines] == ["begun", "done"]
    assert lines[0]["tiles"] == {"0": {"r01_c01.tif": "has another image"}}
    again = demis("redo", "run")
    assert (again.code, again.out) == (0, "nothing has changed: there is nothing to do\n")


def test_a_setting_of_the_solve_matches_nothing_again_and_becomes_the_runs(demis, root, monkeypatch):
    asked = matched_pairs(monkeypatch)
    said = demis("redo", "run", "--set", "stage_search_frac=0.2", "--set", "largest_graph_only=true", "--json")
    assert (said.code, asked) == (0, [])
    assert said.json["redo"]["settings"] == {"largest_graph_only": [False, True], "stage_search_frac": [0.35, 0.2]}
    words = (*WORDS, "--set", "stage_search_frac=0.2", "--set", "largest_graph_only=true")
    assert demis("stitch", "user/tiles", *words, "--out", "run").code == 0  # it is a run with these settings now
    demis("stitch", "user/tiles", *words, "--out", "fresh")
    assert differing(root / "run", root / "fresh") == []


def test_a_setting_of_drawing_leaves_the_solution_alone(demis, root, monkeypatch):
    asked = matched_pairs(monkeypatch)
    solution = (root / "run" / "solution.json").stat().st_mtime_ns
    said = demis("redo", "run", "--mosaic", "png", "--set", "blend=none")
    assert (said.code, asked) == (0, [])
    assert (root / "run" / "solution.json").stat().st_mtime_ns == solution
    assert not (root / "run" / "mosaic.ome.zarr").exists()
    demis("stitch", "user/tiles", *WORDS[:-1], "png", "--set", "blend=none", "--out", "fresh")
    assert [n for n in differing(root / "run", root / "fresh") if ".drawn" not in n] == []


def test_a_threshold_of_matching_matches_all_seams_again(demis, root):
    said = demis("redo", "run", "--set", "min_inliers=12", "--json")
    assert (said.code, said.json["redo"]["from"]) == (0, "match")
    demis("stitch", "user/tiles", *WORDS, "--set", "min_inliers=12", "--out", "fresh")
    assert differing(root / "run", root / "fresh") == []


def test_bad_seams_are_matched_again_by_another_matcher_and_the_run_keeps_its_settings(demis, root):
    path = root / "run" / "solution.json"
    settings = (root / "run" / "run.json").read_text()
    solution = solution_of(root / "run")
    solution["pairs"][2]["solved_residual_px"] = 7.5
    pair = solution["pairs"][2]["fixed"], solution["pairs"][2]["moving"]
    path.write_text(json.dumps(solution))
    words = ("redo", "run", "--worse-than", "5", "--matcher", "correlation")
    planned = demis(*words, "--dry-run").out
    assert f"seam {pair[0]} - {pair[1]} (7.5 px) is matched again" in planned
    assert "by correlation, within 12 % of a tile" in planned
    said = demis(*words, "--json")
    assert (said.code, said.json["seams_matched"], said.json["seams_as_before"]) == (0, 1, 0)
    after = {(p["fixed"], p["moving"]): p for p in solution_of(root / "run")["pairs"]}
    assert after[pair]["matcher"] == "correlation"
    assert after[pair]["solved_residual_px"] < 1
    assert sorted({p["matcher"] for p in after.values()}) == ["correlation", "sift"]
    assert (root / "run" / "run.json").read_text() == settings
    assert not (root / "run" / "redo").exists()
    assert demis("stitch", "user/tiles", *WORDS, "--out", "run").code == 0  # nothing of it is lost by going on
    assert {p["matcher"] for p in solution_of(root / "run")["pairs"]} == {"correlation", "sift"}


def test_seams_are_named_as_they_are_printed_or_by_a_table_and_a_failure_leaves_the_old_match(demis, root, tmp_path):
    assert demis("seams", "run", "--most", "1", "--csv", tmp_path / "bad.csv").code == 0
    plan = demis("redo", "run", "--pairs", tmp_path / "bad.csv", "--pair", "r00_c01.tif - r00_c00.tif", "--dry-run")
    assert plan.out.count("is matched again") >= 1
    assert "seam r00_c00.tif - r00_c01.tif" in plan.out
    words = ("redo", "run", "--pair", "r00_c00.tif - r00_c01.tif", "--set", "min_inliers=9999", "--json")
    before = solution_of(root / "run")["pairs"]
    said = demis(*words)
    assert (said.json["seams_matched"], said.json["seams_as_before"]) == (0, 1)
    assert solution_of(root / "run")["pairs"] == before


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["user"], "holds no run of 'stitch'"),
        (["run", "--pair", "a - b"], "no seam a - b"),
        (["run", "--pair", "ab"], "'FIXED - MOVING'"),
        (["run", "--pairs", "user/tiles/r00_c00.tif"], "cannot be read"),
        (["run", "--worse-than", "1", "--set", "solver=slam"], "setting of the whole run"),
        (["run", "--failed", "--mosaic", "png"], "setting of the whole run"),
        (["run", "--margin", "0.2"], "belongs to seams"),
        (["run", "--set", "min_inlier=3"], "did you mean"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_changes(demis, finished, monkeypatch, words, needed):
    monkeypatch.chdir(finished)
    before = bytes_of(finished)
    said = demis("redo", *words)
    assert (said.code, len(said.lines), said.out) == (2, 1, "")
    assert needed in said.err
    assert bytes_of(finished) == before


class Ended(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", ["_forget", "adopted", "run_stitch", "note done"])
def test_ended_at_any_step_redo_goes_on_to_the_same_result(demis, root, monkeypatch, where):
    replace_tile(root)

    def end(*_given, **_named):
        raise Ended

    with monkeypatch.context() as patch:
        if where == "adopted":
            patch.setattr(RunFolder, "adopted", end)
        elif where == "note done":
            real = redone.note
            patch.setattr(redone, "note", lambda run, state, told: end() if state == "done" else real(run, state, told))
        else:
            patch.setattr(redoing, where, end)
        with pytest.raises(Ended):
            redoing.redo(Path("run"), redoing.Wish())
    assert redone.is_open(root / "run")
    if where in {"run_stitch", "note done"}:  # the run has its new settings: stitch goes on with it as well
        assert demis("stitch", "user/tiles", *WORDS, "--out", "run").code == 0
    assert demis("redo", "run").code == 0
    assert not redone.is_open(root / "run")
    demis("stitch", "user/tiles", *WORDS, "--out", "fresh")
    assert differing(root / "run", root / "fresh") == []


def test_single_seams_ended_at_any_step_are_matched_by_the_same_command_without_words(demis, root, monkeypatch):
    pair = ("r00_c00.tif", "r00_c01.tif")
    for where in ("match_first", "_forget", "run_stitch"):
        with monkeypatch.context() as patch:
            patch.setattr(redoing, where, raises_ended)
            with pytest.raises(Ended):
                redoing.redo(Path("run"), redoing.Wish(pairs=[pair], margin=0.2))
        asked = matched_pairs(monkeypatch)
        said = demis("redo", "run", "--json")
        assert said.code == 0
        assert said.json["redo"]["margin"] == 0.2
        assert [tuple(seam[1:3]) for seam in said.json["redo"]["seams"]] == [pair]
        assert asked == [pair]
        assert not redone.is_open(root / "run")
        monkeypatch.undo()
        monkeypatch.chdir(root)


@pytest.mark.parametrize("where", ["_forget", "adopted", "run_stitch"])
def test_other_settings_ended_at_any_step_are_those_of_the_run_after_the_same_command_without_words(
    demis, root, monkeypatch, where
):
    job = redoing.opened(root / "run")[1]
    wish = redoing.Wish(
        config=replace(job.config, min_inliers=12), render=replace(job.render, formats=("png",), blend="none")
    )
    with monkeypatch.context() as patch:
        patch.setattr(*((RunFolder, "adopted") if where == "adopted" else (redoing, where)), raises_ended)
        with pytest.raises(Ended):
            redoing.redo(Path("run"), wish)
    if where == "_forget":
        assert "min_inliers was 8, will be 12" in demis("redo", "run", "--dry-run").out
    assert demis("redo", "run").code == 0
    assert not redone.is_open(root / "run")
    words = (*WORDS[:-1], "png", "--set", "min_inliers=12", "--set", "blend=none")
    demis("stitch", "user/tiles", *words, "--out", "fresh")
    assert [n for n in differing(root / "run", root / "fresh") if ".drawn" not in n] == []


def test_settings_that_were_interrupted_give_way_to_those_that_are_named_now(demis, root, monkeypatch):
    before = bytes_of(root / "run")
    job = redoing.opened(root / "run")[1]
    with monkeypatch.context() as patch:
        patch.setattr(redoing, "_forget", raises_ended)
        with pytest.raises(Ended):
            redoing.redo(Path("run"), redoing.Wish(config=replace(job.config, solver="slam")))
    said = demis("redo", "run", "--solver", job.config.solver, "--json")
    assert (said.code, said.json["redo"]["settings"]) == (0, {})
    assert not redone.is_open(root / "run")
    after = bytes_of(root / "run")
    assert [n for n in before if after.get(n) != before[n] and not MAY_DIFFER.fullmatch(n)] == []


def test_a_note_of_what_was_begun_that_says_nothing_is_one_line(demis, root):
    redone.note(root / "run", "begun", {"settings": {"min_inliers": 3}})
    said = demis("redo", "run")
    assert (said.code, len(said.lines)) == (2, 1)
    assert "redo.jsonl: does not say what was begun" in said.err


def raises_ended(*_given, **_named):
    raise Ended


def test_killed_in_the_middle_nothing_is_lost(demis, root):
    replace_tile(root)
    code = (  # a machine that is busy here must not let it come to its end there
        "import sys, time; from demis_ij.jobs.redo import redoing; from demis_ij.cli import main;"
        "redoing.run_stitch = lambda *a, **k: time.sleep(600);"
        "sys.argv = ['demis-ij', 'redo', 'run', '--quiet']; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not redone.is_open(root / "run") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert redone.is_open(root / "run")
    assert demis("redo", "run").code == 0
    demis("stitch", "user/tiles", *WORDS, "--out", "fresh")
    assert differing(root / "run", root / "fresh") == []


def test_too_little_memory_is_one_line_and_the_run_stays_as_it_was(demis, root):
    replace_tile(root)
    before = bytes_of(root)
    for words in (("--memory", "150M"), ("--memory", "300M", "--workers", "2"), ("--memory", "nothing")):
        said = demis("redo", "run", *words)
        assert (said.code, len(said.lines), said.out) == (2, 1, ""), said.err
        assert "--memory" in said.err
    assert bytes_of(root) == before
    assert demis("redo", "run", "--memory", "1G").code == 0


def test_a_solution_that_was_cut_off_is_written_anew_and_nothing_else_is_done(demis, root, monkeypatch):
    path = root / "run" / "solution.json"
    whole, before = path.read_bytes(), bytes_of(root / "run")
    path.write_bytes(whole[: len(whole) // 2])

    said = demis("redo", "run", "--failed")
    assert (said.code, len(said.lines), said.out) == (2, 1, "")
    assert "solution.json is cut off" in said.err
    assert "'demis-ij redo run' alone writes it anew" in said.err
    report = demis("report", "run")
    assert (report.code, len(report.lines)) == (2, 1)
    assert "not finished" in report.err

    told = demis("redo", "run", "--dry-run")
    assert "is cut off: it is written anew" in told.out
    assert path.read_bytes() != whole

    asked = matched_pairs(monkeypatch)
    done = demis("redo", "run")
    assert (done.code, asked) == (0, []), done.err
    assert "seams matched again: 0 of" in done.out
    assert path.read_bytes() == whole
    again = bytes_of(root / "run")
    assert [k for k in before if again.get(k) != before[k]] == []
    assert "nothing has changed" in demis("redo", "run").out
