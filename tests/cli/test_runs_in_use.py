# ruff: noqa: F811 - fixtures come by name
"""Two commands on one run folder: the second is told in one line, and changes nothing."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from cli_words import bytes_of, demis, made  # noqa: F401 - fixtures
from registered import write_pair

from demis_ij.runs import occupied

QUICK = ("--matcher", "sift", "--stage-axes", "+x+y", "--quiet")


@contextmanager
def in_use(folder):
    """Have somebody else work in a run folder: a thread here, which is refused entry as a process is."""
    ready, done = threading.Event(), threading.Event()

    def work():
        with occupied(folder):
            ready.set()
            done.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(60)
    try:
        yield
    finally:
        done.set()
        thread.join()


def refused(demis, folder, *words):
    """Assert that a command is refused for the folder's sake, and that it leaves everything as it was."""
    with in_use(folder):
        if (folder / "run.json").exists():  # else it would be no run
            (folder / "live.html").write_text("the other's")
        before = bytes_of(folder)
        said = demis(*words)
        assert said.code == 2
        assert len(said.lines) == 1
        assert f"output folder {folder} is in use: process {os.getpid()} on " in said.lines[0]
        assert bytes_of(folder) == before
        (folder / "live.html").unlink(missing_ok=True)


def test_a_run_that_is_being_made_is_in_use(demis, made, tmp_path):
    layout = made / "TileConfiguration.txt"
    refused(demis, tmp_path / "run", "stitch", layout, "--out", tmp_path / "run", *QUICK)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_gone_on_with_is_in_use(demis, made, tmp_path):
    layout, run = made / "TileConfiguration.txt", tmp_path / "run"
    words = ("stitch", layout, "--out", run, "--mosaic", "none", *QUICK)
    assert demis(*words).code == 0
    assert not (run / ".lock").exists()
    refused(demis, run, *words)
    refused(demis, run, "redo", run, "--set", "largest_graph_only=true", "--quiet")
    refused(demis, run, "report", run)
    assert demis("redo", run, "--set", "largest_graph_only=true", "--quiet").code == 0


def test_a_folder_of_tiles_is_watched_once(demis, made, tmp_path):
    run = tmp_path / "run"
    plan = ("--layout", made / "TileConfiguration.txt")
    words = ("watch", made, "--out", run, *plan, "--once", *QUICK)
    with in_use(run):
        assert "is in use" in demis(*words).lines[0]
    assert demis(*words).code == 0
    refused(demis, run, *words)
    refused(demis, run, "stitch", made / "TileConfiguration.txt", "--out", run, *QUICK)


def test_a_comparison_is_in_use(demis, made, tmp_path):
    words = ("compare", made / "TileConfiguration.txt", "--matcher", "sift", "--quiet")
    refused(demis, tmp_path / "run", *words, "--out", tmp_path / "run")


@pytest.fixture
def sections(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "sections").mkdir()
    for n in range(2):
        cv2.imwrite(str(tmp_path / "sections" / f"{n}.png"), rng.integers(0, 256, (64, 64), np.uint8))
    return tmp_path / "sections"


def test_an_alignment_is_in_use(demis, sections, tmp_path):
    refused(demis, tmp_path / "run", "align", sections, "--out", tmp_path / "run", "--quiet")


def test_a_registration_is_in_use_alone_by_pairs_and_compared(demis, tmp_path):
    fixed, moving = write_pair(tmp_path / "data")
    run, quick = tmp_path / "run", ("--set", "weights=none", "--set", "reach=near", "--quiet")
    (tmp_path / "pairs.csv").write_text(f"fixed,moving\n{fixed},{moving}\n")
    for words in (
        ("register", fixed, moving, *quick),
        ("register", "--pairs", tmp_path / "pairs.csv", *quick),
        ("compare-register", "--pairs", tmp_path / "pairs.csv", "--method", "search", "--quiet"),
    ):
        refused(demis, run, *words, "--out", run)
        assert not run.exists()


def test_a_comparison_of_alignments_is_in_use_and_its_own_folder_is_taken_again(demis, sections, tmp_path):
    run = tmp_path / "run"
    words = ("compare-align", sections, "--out", run, "--method", "chain:affine", "--quiet")
    refused(demis, run, *words)
    assert demis(*words).code == 0
    again = demis(*words)
    assert again.code == 0, again.err
    refused(demis, run, *words)
    other = demis("compare-align", sections / "0.png", *words[2:])
    assert (other.code, len(other.lines)) == (2, 1)
