# ruff: noqa: F811 - fixtures come by name
"""Interrupted, out of disk, run again: what is done is kept, and the end is the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from cli_words import SMALL, bytes_of, demis, made, scene, solution_of  # noqa: F401 - fixtures

from demis_ij import synth
from demis_ij.runs import MatchStore

FAST = ("--matcher", "sift", "--quiet")


def kept_of(run):
    """Return what the files of the match store hold, those that are there twice as well."""
    tables = [pq.read_table(p) for p in sorted((run / "matches" / "0").glob("*.parquet"))]
    return [tuple(row.values()) for t in tables for row in t.select(["stage", "fixed", "moving"]).to_pylist()]


def stamps(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


SLOW = """
import sys, time
import {module} as there
real = there.{name}
def slow(*a, **k):
    if {wait}:
        time.sleep({seconds})
    return real(*a, **k)
there.{name} = slow
from demis_ij.cli import main
sys.argv = ["demis-ij"] + {words!r}
main()
"""


def interrupted(words, ready, *, module, name, wait="True", seconds=60):
    """Start a command that sleeps in one function, press Ctrl-C when ``ready``, and return exit code and its lines."""
    code = SLOW.format(module=module, name=name, wait=wait, seconds=seconds, words=[str(w) for w in words])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not ready() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.splitlines()


@pytest.fixture
def many(tmp_path):
    """Return a scene of 24 pairs: more than are matched at a time."""
    from dataclasses import replace

    spec = replace(SMALL, rows=4, cols=4, tile_px=160, overlap=0.35)
    return synth.write_scene(synth.make_scene(spec, 5), tmp_path / "user")


def test_ctrl_c_while_matching_is_one_line_and_the_same_command_goes_on(demis, many):
    run, whole = many.parent / "run", many.parent / "whole"
    words = ["stitch", many / "project.xml", "--out", run, "--stage-axes", "+x+y", *FAST]
    calls = "len(globals().setdefault('n', [])) or not n.append(1) and False"  # from the second call on
    user = bytes_of(many)

    code, out, err = interrupted(
        words,
        lambda: list(run.glob("matches/0/*.parquet")),
        module="demis_ij.stitch.asking",
        name="match_pairs",
        wait=calls,
    )

    assert (code, out, len(err)) == (130, "", 1), err
    assert err[0].startswith("demis-ij: interrupted")
    assert len(kept_of(run)) == 8  # a batch
    assert not (run / "solution.json").exists()
    assert bytes_of(many) == user

    said = demis(*words, "--json")
    assert said.code == 0
    assert said.json["resumed"] is True
    kept = kept_of(run)
    assert len(set(kept)) == len(kept)  # none twice

    assert demis("stitch", many / "project.xml", "--out", whole, "--stage-axes", "+x+y", *FAST).code == 0
    assert solution_of(run) == solution_of(whole)
    for name in ("mosaic.ome.tif", "mosaic.png", "seams.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes() or name.endswith(".tif")
    assert len(kept_of(whole)) == len(kept)


def test_ctrl_c_while_drawing_leaves_no_mosaic_and_what_was_matched(demis, scene):
    run = scene.parent / "run"
    words = ["stitch", scene / "project.xml", "--out", run, *FAST]

    code, _, err = interrupted(
        words,
        lambda: list(run.glob(".mosaic.ome.tif.*")),
        module="demis_ij.sinks.shards",
        name="open_new",
        seconds=2,  # threads end what they are at
    )

    assert (code, len(err)) == (130, 1), err
    assert (run / "solution.json").is_file()
    assert not list(run.glob("mosaic*"))  # nothing that looks whole
    matched = len(kept_of(run))
    assert demis(*words).code == 0
    assert len(kept_of(run)) == matched
    assert (run / "mosaic.ome.tif").is_file()


def test_ctrl_c_while_the_program_is_loaded_is_no_traceback():
    code = (
        "import sys, builtins\nreal = builtins.__import__\n"
        "def stop(name, *a, **k):\n"
        "    if name == 'demis_ij.cli.app': raise KeyboardInterrupt\n"
        "    return real(name, *a, **k)\n"
        "from demis_ij.cli import main\nbuiltins.__import__ = stop\nmain()"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (said.returncode, len(said.stderr.splitlines())) == (130, 1), said.stderr


@pytest.mark.parametrize("layout", ["project.xml", "TileConfiguration.txt"])
def test_a_finished_run_changes_nothing_when_it_is_run_again(demis, scene, layout, monkeypatch):
    monkeypatch.chdir(scene.parent)
    words = ("stitch", scene / layout, "--out", "run", *FAST, "--json")
    first = demis(*words)
    before = stamps(scene.parent)

    def never(*_args, **_options):
        raise AssertionError

    for name in ("mosaics.render", "stitching.write_report", "sections.find_axes", "stitching.check_parts"):
        monkeypatch.setattr(f"demis_ij.jobs.{name}", never)
    monkeypatch.setattr("demis_ij.stitch.asking.match_pairs", never)
    second = demis(*words)

    assert (first.code, second.code) == (0, 0), second
    assert second.json["resumed"] is True
    assert second.json["files"] == first.json["files"]
    assert stamps(scene.parent) == before


def test_what_was_lost_is_made_again_and_the_rest_is_kept(demis, scene):
    run = scene.parent / "run"
    words = ("stitch", scene / "project.xml", "--out", run, *FAST)
    assert demis(*words).code == 0
    whole = bytes_of(run)
    for name in ("mosaic.png", "report.html", "solution.json"):
        (run / name).unlink()

    assert demis(*words).code == 0

    again = bytes_of(run)
    assert set(again) == set(whole)
    assert again["solution.json"] == whole["solution.json"]
    assert again["matches/0/all.parquet"] == whole["matches/0/all.parquet"]


@pytest.mark.parametrize("where", ["matches", "run.json", "mosaic", "project", "report"])
def test_a_disk_that_fills_up_is_one_line_and_what_was_there_goes_on(demis, scene, monkeypatch, where):
    run = scene.parent / "run"
    words = ("stitch", scene / "project.xml", "--out", run, *FAST)

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run / where))

    target = {
        "matches": (MatchStore, "put"),
        "run.json": ("demis_ij.runs.files.write_text",),
        "mosaic": ("demis_ij.sinks.shards.write_all",),
        "project": ("demis_ij.formats.files.os.fsync",),
        "report": ("demis_ij.jobs.stitching.write_report",),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(*target, full)
        said = demis(*words)
    assert (said.code, said.out, len(said.lines)) == (1, "", 1), said
    assert "the disk is full" in said.err
    assert not list(scene.glob(".*.part"))
    assert not list(run.glob(".*.part*"))
    if where != "report":
        assert not list(run.glob("mosaic*"))

    assert demis(*words).code == 0
    assert (run / "report.html").is_file()


def test_a_reader_that_goes_away_is_no_traceback(scene):
    said = subprocess.run(
        f"{sys.executable} -m demis_ij stitch --help | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.stdout, said.stderr) == ("U", "")
