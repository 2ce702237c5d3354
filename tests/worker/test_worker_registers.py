"""``register``, asked as Fiji asks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tifffile
from made_pictures import cells, off
from registered import SIDE, TRUTH, grey, write_pair
from worker_client import HOSTILE

from demis_ij.records import Affine

QUICK = {"weights": "none", "settings": {"reach": "near", "fixed_pixel_size": None}}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path / HOSTILE)


def test_two_images_are_registered_beside_the_moving_one(worker, two: tuple[Path, Path]) -> None:
    found = worker.done("register", {"fixed": two[0], "moving": two[1], "model": "similarity", **QUICK})

    assert found["out"] == f"{two[1]}.registered"
    assert found["summary"]["matched"] is True
    assert off(Affine.from_matrix(found["summary"]["to_moving"]), TRUTH, SIDE) < 0.6
    (row,) = found["table"]
    assert (row["a"], row["ty"]) == (found["summary"]["to_moving"][0][0], found["summary"]["to_moving"][1][2])
    assert [Path(p).name for p in found["pictures"]] == ["registered.tif", "red_cyan.png", "checkerboard.png"]
    assert all(Path(p).is_file() for p in (*found["files"].values(), found["report"]))
    again = worker.done("register", {"fixed": two[0], "moving": two[1], "model": "similarity", **QUICK})
    assert (again["out"], again["summary"]["resumed"]) == (found["out"], True)


def test_another_fixed_image_gets_another_folder(worker, two: tuple[Path, Path]) -> None:
    other = two[0].with_name("other.tif")
    tifffile.imwrite(other, grey(cells(9, SIDE)))
    worker.done("register", {"fixed": two[0], "moving": two[1], **QUICK})

    found = worker.done("register", {"fixed": other, "moving": two[1], **QUICK})

    assert found["out"] == f"{two[1]}-2.registered"
    assert found["summary"]["matched"] is False
    assert "no place stands out" in found["summary"]["reason"]
    assert found["pictures"] == []
    assert found["table"][0]["a"] is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"method": "magic"}, "magic"),
        ({"settings": {"modle": "rigid"}}, "did you mean 'model'"),
        ({"settings": 3}, "is not an object of names and values"),
        ({"moving": "gone.tif"}, "is not a whole path"),
        ({"colour": 1}, "unknown input 'colour'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(worker, two: tuple[Path, Path], wrong: dict[str, Any], said: str) -> None:
    assert said in worker.refused("register", {"fixed": two[0], "moving": two[1], **QUICK, **wrong})
    assert not Path(f"{two[1]}.registered").exists()


def test_an_image_that_cannot_be_read_leaves_nothing(worker, two: tuple[Path, Path]) -> None:
    broken = Path(shutil.copy(two[1], two[1].with_name("broken.tif")))
    broken.write_bytes(broken.read_bytes()[:2000])

    assert "broken.tif" in worker.refused("register", {"fixed": two[0], "moving": broken, **QUICK})
    assert "'moving' is missing" in worker.refused("register", {"fixed": two[0]})
    assert not Path(f"{broken}.registered").exists()
