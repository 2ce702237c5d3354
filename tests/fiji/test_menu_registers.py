"""Register Images, in SciJava's script service, on real files, with the real worker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from fiji_menu import HOSTILE, Menu
from made_pictures import cells
from registered import SIDE, grey, write_bad, write_pair

pytestmark = pytest.mark.java


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path / HOSTILE)


def test_two_images_are_registered_and_shown_over_each_other(menu: Menu, two: tuple[Path, Path]) -> None:
    before = {p.name: p.read_bytes() for p in two[0].parent.iterdir()}

    done = menu.run("Register_Images", fixed=two[0], moving=two[1], method="search", range="near")

    assert done.result.startswith("Registered by near search: turned by -1"), done.logged
    out = Path(f"{two[1]}.registered")
    assert f"Report: {out / 'report.html'}." in done.result
    assert {p.name: p.read_bytes() for p in two[0].parent.iterdir() if p.is_file()} == before
    assert len(done.outputs["pictures"]) == 3
    picture = done.outputs["picture"]
    assert (picture["width"], picture["height"]) == (SIDE, SIDE)
    assert picture["mean"] == pytest.approx(tifffile.imread(out / "registered.tif").mean(), rel=1e-3)
    (row,) = done.outputs["transform"]
    assert row["matched"] == "yes"
    assert float(row["scale"]) == pytest.approx(1.1, abs=0.01)
    assert len(row["a"].partition(".")[2]) == 6


def test_a_bent_image_is_straightened_by_landmarks_and_elastic(menu: Menu, two: tuple[Path, Path]) -> None:
    moving = grey(cells(3, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    at_x, at_y = x + 5 * np.sin(y / 25), y + 4 * np.cos(x / 30)
    tifffile.imwrite(two[0], cv2.remap(moving, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    tifffile.imwrite(two[1], moving)
    points = two[0].parent / "points.csv"
    rows = [f"{u},{v},{at_x[v, u]},{at_y[v, u]}" for u, v in ((40, 40), (120, 50), (80, 120))]
    points.write_text("\n".join(["fixed_x,fixed_y,moving_x,moving_y", *rows]))

    done = menu.run("Register_Images", fixed=two[0], moving=two[1], expectedTransformation="elastic", landmarks=points)

    assert done.result.startswith("Registered by landmarks: turned by "), done.logged
    assert "Bent by " in done.result
    assert "NaN" not in done.result
    assert (Path(f"{two[1]}.registered") / "warp.npz").exists()
    assert done.outputs["picture"]["width"] == SIDE


def test_two_that_do_not_match_are_a_sentence_and_no_picture(menu: Menu, two: tuple[Path, Path]) -> None:
    tifffile.imwrite(two[1], grey(cells(9, SIDE)))

    done = menu.run("Register_Images", fixed=two[0], moving=two[1], method="search", range="near")

    assert done.result.startswith("The images do not match: no place stands out"), done.logged
    assert done.outputs["pictures"] == []
    assert done.outputs["picture"] is None
    assert done.outputs["transform"][0]["matched"] == "no"


def test_an_image_that_cannot_be_registered_is_one_sentence(menu: Menu, two: tuple[Path, Path]) -> None:
    for name, words in write_bad(two[0].parent).items():
        if (two[0].with_name(name)).exists():
            done = menu.run("Register_Images", fixed=two[0], moving=two[0].with_name(name), method="search")
            assert done.result.startswith("FAILED: "), done.logged
            assert words in done.result
            assert "\n" not in done.result


def test_one_pixel_size_alone_is_refused(menu: Menu, two: tuple[Path, Path]) -> None:
    done = menu.run("Register_Images", fixed=two[0], moving=two[1], method="search", fixedPixelSize="4")

    assert done.result.startswith("FAILED: fixed_pixel_size is given and moving_pixel_size is not"), done.logged
