"""A registration in a notebook: a card, and both images over each other."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from made_pictures import cells, off
from registered import SIDE, TRUTH, grey, write_pair

from demis_ij import jobs
from demis_ij.config.registering import RegisterConfig

NEAR = RegisterConfig(weights="none", reach="near")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"))


def test_a_card_tells_the_transform_and_how_sure_it_is(two):
    page = jobs.register_files(*two, NEAR)._repr_html_()

    assert "moving.tif onto fixed.tif" in page
    assert "−14." in page or "−13.9" in page
    assert "expected error" in page
    assert "near search" in page


def test_the_picture_shows_the_images_as_they_came_and_registered(two, tmp_path):
    image = tifffile.imread(two[1])
    positive = tmp_path / "positive.tif"
    tifffile.imwrite(positive, image.max() - image)

    shown = jobs.look_at_registration(jobs.register_files(two[0], positive, NEAR), width_px=SIDE).pixels.astype(int)

    assert shown.shape == (SIDE, 3 * SIDE + 2 * 16, 3)
    before, after = (shown[20:-20, k * (SIDE + 16) + 20 : k * (SIDE + 16) + SIDE - 20] for k in (0, 1))
    differ = [np.abs(p[..., 0] - p[..., 2]).mean() for p in (before, after)]
    assert differ[1] < 0.6 * differ[0]


def test_strangers_are_told_and_shown_as_they_came_only(two, tmp_path):
    tifffile.imwrite(tmp_path / "other.tif", grey(cells(9, SIDE)))
    found = jobs.register_files(two[0], tmp_path / "other.tif", NEAR)

    assert "other.tif onto fixed.tif: not matched" in found._repr_html_()
    assert "no place stands out" in found._repr_html_()
    assert jobs.look_at_registration(found, width_px=SIDE).pixels.shape == (SIDE, SIDE, 3)


def test_a_dark_corner_of_the_specimen_that_is_taken_for_a_border_does_no_harm(tmp_path):
    """The mask cannot know; it costs the corner's own outline, and nothing else."""
    fixed, moving = write_pair(tmp_path)
    image = tifffile.imread(fixed)
    image[:32, :32] = 0
    tifffile.imwrite(fixed, image)

    found = jobs.register_files(fixed, moving, NEAR)

    assert not found.fixed.mask[:30, :30].any()  # it is taken for one
    assert found.registration.to_moving is not None
    assert off(found.registration.to_moving, TRUTH, SIDE) < 0.6
