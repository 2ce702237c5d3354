"""Align Sections, in SciJava's script service, on a real stack, with the real worker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from fiji_menu import HOSTILE, Menu

pytestmark = pytest.mark.java
SIDE = 128


@pytest.fixture
def sections(tmp_path: Path) -> Path:
    """Return a folder, of a hostile name, of five sections of one texture, each shifted by a few pixels."""
    return stack_of(tmp_path / HOSTILE, [(8, 8), (10, 7), (7, 9), (9, 9), (8, 7)])


@pytest.fixture
def many_sections(tmp_path: Path) -> Path:
    """Return a stack whose alignment takes seconds: progress is shown a few times a second, and one is stopped."""
    return stack_of(tmp_path / HOSTILE, [(8 + i % 3, 8 - i % 2) for i in range(40)])


def stack_of(folder: Path, shifts: list[tuple[int, int]]) -> Path:
    folder.mkdir()
    noise = np.random.default_rng(5).normal(0, 1, (SIDE + 16, SIDE + 16)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2)
    grey = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for i, (dx, dy) in enumerate(shifts):
        tifffile.imwrite(folder / f"s{i:02}.tif", grey[dy : dy + SIDE, dx : dx + SIDE])
    return folder


def test_a_folder_of_sections_is_aligned_and_its_volume_is_shown(menu: Menu, sections: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in sections.iterdir()}

    done = menu.run("Align_Sections", stack=sections, out=tmp_path / "ausgerichtet")

    assert done.result.startswith("5 sections aligned by joint; correlation of neighbours "), done.logged
    assert {p.name: p.read_bytes() for p in sections.iterdir()} == before
    assert f"Report: {tmp_path / 'ausgerichtet' / 'report.html'}." in done.result
    assert (tmp_path / "ausgerichtet" / "report.html").is_file()
    picture, volume = done.outputs["picture"], tifffile.imread(tmp_path / "ausgerichtet" / "volume.tif")
    assert picture["slices"] == len(volume) == 5
    assert (picture["height"], picture["width"]) == volume.shape[1:]
    rows = done.outputs["sections"]
    assert [row["section"].removesuffix(".tif") for row in rows] == [f"s{i:02}" for i in range(5)]
    assert all(row["compared"] == "yes" for row in rows)
    assert np.mean([float(row["NCC after"]) for row in rows]) > 0.9
    assert set(done.outputs["which were resolved"]) >= {"result", "picture", "sections"}


def test_sections_are_chosen_by_number_and_no_volume_is_drawn_unasked(menu: Menu, sections: Path) -> None:
    done = menu.run("Align_Sections", stack=sections, first="1", last="3", method="chain:affine", tiff=False)

    assert done.result.startswith("3 sections aligned by chain:affine"), done.logged
    assert done.outputs["picture"] is None
    assert "Volume:" not in done.result
    assert len(done.outputs["sections"]) == 3


def test_a_range_that_holds_no_section_is_one_sentence(menu: Menu, sections: Path) -> None:
    done = menu.run("Align_Sections", stack=sections, first="100")

    assert done.result.startswith("FAILED: no section of the stack is wanted"), done.logged


def test_an_empty_folder_and_one_section_are_one_sentence_each(menu: Menu, sections: Path, tmp_path: Path) -> None:
    empty, one = tmp_path / "empty", tmp_path / "one"
    empty.mkdir()
    one.mkdir()
    (one / "s00.tif").write_bytes((sections / "s00.tif").read_bytes())

    for stack, said in ((empty, "no image"), (one, "one section was found, two at least were needed")):
        done = menu.run("Align_Sections", stack=stack)
        assert done.result.startswith("FAILED: "), done.logged
        assert said in done.result
        assert "\n" not in done.result
        assert not stack.with_name(f"{stack.name}.aligned").exists()


def test_a_command_that_was_stopped_goes_on_where_it_was(menu: Menu, many_sections: Path, tmp_path: Path) -> None:
    out = tmp_path / "ausgerichtet"

    stopped = menu.run("Align_Sections", stack=many_sections, out=out, cancel_at=2)

    assert stopped.canceled
    assert stopped.outputs["picture"] is None
    assert not (out / "volume.tif").exists()
    assert not (out / "report.html").exists()
    done = menu.run("Align_Sections", stack=many_sections, out=out)
    assert done.result.startswith("40 sections aligned by joint"), done.logged
    assert done.outputs["picture"]["slices"] == 40
