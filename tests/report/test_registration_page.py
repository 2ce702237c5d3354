"""Two registered images over each other, and the page about them."""

from __future__ import annotations

import numpy as np
import pytest
from made_pictures import cells, cut, similarity

from demis_ij.records import Affine
from demis_ij.register.results import Registration, unmatched
from demis_ij.report.registration import registration_page, write_registration
from demis_ij.report.registration_pictures import SIDE_PX, Source, Views, checkerboard, red_cyan, views_of

SIDE = 120
TRUTH = similarity(20, 1.4, (8, -5), SIDE)
FACTS = {"fixed": "a/one.tif", "moving": "b/<two>.tif", "pixel_ratio": None, "shift_px": [8.0, -5.0]}


def source(image: np.ndarray, to_full: Affine | None = None, times: int = 1) -> Source:
    shape = image.shape[0] * times, image.shape[1] * times
    return Source(image, np.ones(image.shape, bool), to_full or Affine(), shape)


@pytest.fixture(scope="module")
def views() -> Views:
    picture, place = cells(1, 3 * SIDE), Affine.translation(SIDE, SIDE)
    fixed, moving = (cut(picture, at, (SIDE, SIDE)) for at in (place, place @ TRUTH.inverse))
    return views_of(source(fixed), source(moving), TRUTH, None)


def likeness(one: np.ndarray, two: np.ndarray) -> float:
    both = (one > 0) & (two > 0)
    return float(np.corrcoef(one[both], two[both])[0, 1])


def test_the_registered_image_lies_on_the_fixed_one_and_as_it_came_it_does_not(views: Views) -> None:
    assert views.after is not None
    assert likeness(views.fixed, views.after) > 0.9 > 0.5 > likeness(views.fixed, views.before)


def test_an_image_that_was_read_reduced_is_drawn_at_its_place() -> None:
    image = np.full((90, 90), 10.0, np.float32)
    image[30:33, 60:63] = 200
    reduced = source(image, Affine(20, 0, 0, 20, 9.5, 9.5), times=20)

    shown = views_of(reduced, reduced, Affine.translation(200, 0), None)

    assert shown.fixed.shape == (SIDE_PX, SIDE_PX)
    step = 1800 / SIDE_PX
    for picture, shift in ((shown.fixed, 0), (shown.after, 200)):
        y, x = np.argwhere(picture > 200).mean(axis=0)
        assert np.allclose([(x + 0.5) * step + shift, (y + 0.5) * step], [1230, 630], atol=2)


def test_pixel_sizes_are_seen_in_the_image_as_it_came() -> None:
    image = np.full((100, 100), 10.0, np.float32)
    image[40:60, 40:60] = 200

    shown = views_of(source(image), source(image), None, 2.0)

    assert shown.after is None
    assert (shown.before > 128).sum() == pytest.approx((shown.fixed > 128).sum() / 4, rel=0.1)
    assert (shown.before[:20] == 0).all()  # nothing is known there


def test_colours_and_fields_are_of_the_one_and_the_other() -> None:
    one, two = np.full((16, 16), 7, np.uint8), np.full((16, 16), 9, np.uint8)

    assert red_cyan(one, two)[3, 4].tolist() == [7, 9, 9]
    board = checkerboard(one, two)
    assert board[:4, :4].tolist() == [[7, 7, 9, 9], [7, 7, 9, 9], [9, 9, 7, 7], [9, 9, 7, 7]]


def test_the_page_says_how_sure_it_is_and_needs_no_other_file(views: Views, tmp_path) -> None:
    found = Registration(True, TRUTH, 0.31, 0.9, 21.0, 0.7, "near search", "", 80.0)

    write_registration(tmp_path / "r.html", found, FACTS, views, settings={"job": "register"}, notes=["no <network>"])

    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "0.31 px" in page
    assert "21.0 standard deviations" in page
    assert "near search" in page
    assert "no &lt;network&gt;" in page
    assert "&lt;two&gt;.tif" in page
    assert 'src="' not in page
    assert page.count('href="data:image/jpeg') == 4
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_the_page_of_two_that_do_not_match_says_why_and_shows_no_transform(views: Views) -> None:
    alone = Views(views.fixed, views.before, None)

    page = registration_page(unmatched("nothing < stands out", "search"), FACTS, alone, settings={})

    assert "Not matched:" in page
    assert "nothing &lt; stands out" in page
    assert page.count('href="data:image/jpeg') == 2
    assert "expected error" not in page
