"""``align``, asked as Fiji asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from worker_client import HOSTILE

from demis_ij.worker.tasks import Tell
from demis_ij.worker.verbs import verb_named

SIDE = 128
SHIFTS = [(8, 8), (10, 7), (7, 9), (9, 9), (8, 7)]


def write(folder: Path, count: int = len(SHIFTS), side: int = SIDE) -> Path:
    """Write sections of one texture, each shifted by a few pixels."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(5).normal(0, 1, (side + 16, side + 16)).astype(np.float32)
    grey = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for i in range(count):
        dx, dy = SHIFTS[i % len(SHIFTS)]
        tifffile.imwrite(folder / f"s{i:02}.tif", grey[dy : dy + side, dx : dx + side])
    return folder


@pytest.fixture
def sections(tmp_path: Path) -> Path:
    return write(tmp_path / HOSTILE)


def test_a_folder_is_aligned_beside_itself_with_a_volume_for_imagej(worker, sections: Path) -> None:
    before = {p.name: p.read_bytes() for p in sections.iterdir()}

    found = worker.done("align", {"layout": sections, "warps": ["trakem2"]})

    assert {p.name: p.read_bytes() for p in sections.iterdir()} == before
    assert found["out"] == str(sections.with_name(f"{HOSTILE}.aligned"))
    assert found["summary"]["ncc_after"] > 0.9 > found["summary"]["ncc_before"]
    assert [v["id"] for v in found["verdicts"]] == [f"s{i:02}.tif" for i in range(5)]
    assert found["volumes"] == [found["files"]["volume tiff"]]
    with tifffile.TiffFile(found["volumes"][0]) as file:
        assert file.is_imagej
        assert file.asarray().shape[0] == 5
    for name in ("warps", "verdicts", "report", "trakem2"):
        assert Path(found["files"][name]).is_file()


def test_progress_says_what_is_being_done_and_how_far_it_is(sections: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verb = verb_named("align")
    given = verb.checked("align", {"layout": str(sections), "method": "chain:affine"})

    verb.run(given, Tell(lambda what, done, total: told.append((what, done, total))))

    assert told[0][0] == "reading the stack"
    assert len({what for what, _, _ in told}) > 2
    assert all(0 <= done <= total for _, done, total in told)


def test_progress_reaches_the_client(worker, sections: Path) -> None:
    task = worker.start("align", {"layout": sections, "method": "chain:affine"})

    assert worker.final(task)["responseType"] == "COMPLETION"
    told = [a for a in worker.of(task, "UPDATE") if "message" in a]
    assert told  # of updates that follow each other at once only the last goes out
    assert all(0 <= a["current"] <= a["maximum"] for a in told)


def test_labels_and_a_channel_are_drawn_with_the_warps_of_the_stack(worker, sections: Path, tmp_path: Path) -> None:
    for name, value in (("labels", 7), ("bright", 200)):
        (tmp_path / name).mkdir()
        for path in sections.iterdir():
            tifffile.imwrite(tmp_path / name / path.name, np.full((SIDE, SIDE), value, np.uint8))

    asked = {"layout": sections, "labels": tmp_path / "labels", "channels": [tmp_path / "bright"]}
    files = worker.done("align", asked)["files"]

    middle = (2, SIDE // 2, SIDE // 2)
    assert tifffile.imread(files["labels tiff"])[middle] == 7
    assert tifffile.imread(files["bright tiff"])[middle] == 200


def test_a_cancelled_alignment_leaves_nothing_that_looks_whole_and_the_same_goes_on(worker, tmp_path: Path) -> None:
    stack = write(tmp_path / "many", 24)
    task = worker.start("align", {"layout": stack})
    while "pairs compared" not in (answer := worker.until(task, "UPDATE", "COMPLETION")).get("message", ""):
        assert answer["responseType"] == "UPDATE"

    worker.cancel(task)

    assert worker.final(task)["responseType"] == "CANCELATION"
    out = stack.with_name("many.aligned")
    assert not (out / "volume.tif").exists()
    assert not (out / "report.html").exists()
    again = worker.done("align", {"layout": stack})
    assert again["out"] == str(out)
    assert again["summary"]["resumed"] is True
    assert tifffile.imread(again["volumes"][0]).shape[0] == 24


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"method": "jont"}, "did you mean 'joint'"),
        ({"settings": {"neighbors": 3}}, "neighbours"),
        ({"settings": [1]}, "is not an object of names and values"),
        ({"first": 100}, "its numbers go from 0 to 4"),
        ({"first": "x"}, "first"),
        ({"sections": ["s09.tif"]}, "no section 's09.tif'"),
        ({"volume": ["nifti"]}, "volume: 'nifti' is not one of"),
        ({"masks": "nowhere"}, "nowhere"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(worker, sections: Path, wrong: dict[str, Any], said) -> None:
    assert said in worker.refused("align", {"layout": sections, **wrong})
    assert not sections.with_name(f"{HOSTILE}.aligned").exists()


def test_a_stack_that_is_none_is_refused(worker, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert "'layout' is missing" in worker.refused("align", {})
    assert "No such file" in worker.refused("align", {"layout": tmp_path / "gone"})
    assert "no image" in worker.refused("align", {"layout": tmp_path / "empty"})
    assert "two at least were needed" in worker.refused("align", {"layout": write(tmp_path / "one", 1)})
