"""Who does the work of a request: processes beside the worker, a scheduler, so much memory; the result is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

FAST = {"matcher": "sift", "settings": {"resolution": 1.0}}


def test_two_processes_make_the_same_bytes_as_one_and_may_go_on_with_its_run(worker, scene, tmp_path):
    asked = {"layout": scene / "TileConfiguration.txt", **FAST}

    one = worker.done("stitch", {**asked, "out": tmp_path / "one"})
    two = worker.done("stitch", {**asked, "out": tmp_path / "two", "workers": 2, "memory": "4G"})
    again = worker.done("stitch", {**asked, "out": tmp_path / "one", "workers": 2})

    solutions = [Path(found["summary"]["files"]["solution"]).read_bytes() for found in (one, two)]
    assert solutions[0] == solutions[1]
    assert again["summary"]["resumed"]


def test_a_request_that_is_taken_back_ends_its_processes_too(own_worker, larger, tmp_path):
    asked = {"layout": larger / "TileConfiguration.txt", **FAST, "out": tmp_path / "run", "workers": 2}
    task = own_worker.start("stitch", asked)
    own_worker.until(task, "UPDATE")
    own_worker.cancel(task)

    assert own_worker.final(task)["responseType"] == "CANCELATION"
    assert own_worker.done("stitch", asked)["summary"]["tiles"] > 0  # nobody else holds the folder


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"workers": -1}, "workers: -1 is not between 0"),
        ({"workers": "2"}, "workers: '2' is not a whole number"),
        ({"memory": "lots"}, "memory lots: needed a size such as 8G"),
        ({"memory": "20M"}, "memory 20M is too small"),
        ({"worker": 2}, "did you mean 'workers'?"),
    ],
)
def test_who_cannot_work_is_said_in_one_line_before_anything_is_written(worker, scene, given, needed):
    before = sorted(scene.rglob("*"))

    assert needed in worker.refused("stitch", {"layout": scene / "TileConfiguration.txt", **FAST, **given})

    assert sorted(scene.rglob("*")) == before


def test_a_scheduler_that_is_not_there_is_said_in_one_line(worker, scene):
    answer = worker.ask("stitch", {"layout": scene / "TileConfiguration.txt", **FAST, "dask": "tcp://127.0.0.1:9"})

    assert answer["responseType"] == "FAILURE"
    assert "tcp://127.0.0.1:9" in answer["error"].splitlines()[0]
    assert "internal error" not in answer["error"].splitlines()[0]


def test_compare_has_nobody_else_to_ask_and_says_so(worker, scene):
    assert "unknown input 'workers'" in worker.refused(
        "compare", {"layout": scene / "TileConfiguration.txt", "workers": 2}
    )
