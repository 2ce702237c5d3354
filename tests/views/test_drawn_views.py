"""Views drawn as pixels: lines lie where the view says."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from demis_ij import views
from demis_ij.errors import InputError
from demis_ij.views.mosaic import ArrowView, SeamView, TileView
from demis_ij.views.pair import PairView

GREY = np.full((60, 80), 100, np.uint8)
CORNERS = ((10.0, 5.0), (50.0, 5.0), (50.0, 45.0), (10.0, 45.0))
TILE = TileView("a", "a.tif", CORNERS, "#ff0000", "sift", 0.1, 3.0)
SEAM = SeamView("a", "b", 9, 8, 0.0, 0.0, 0.1, 1.0, True, "", (60.5, 10.0, 60.5, 50.0), "#4c9be8")
MOSAIC = views.MosaicView("t", 80, 60, 1.0, None, (TILE,))
PAIR = PairView("p", "a", "b", 40, 60, ((10.5, 20.5, 30.5, 20.5, 0.1),), ("#00ff00",), 0.1, 1, 1)


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Where a picture is not grey."""
    return np.ptp(pixels.astype(int), axis=2) > 60


def test_an_outline_runs_along_the_edge_of_the_tiles_pixels() -> None:
    rows, cols = np.nonzero(coloured(views.draw(MOSAIC, GREY).pixels))

    # corners between pixels 9 and 10, and 49 and 50: the line covers both
    assert {rows.min(), rows.max(), cols.min(), cols.max()} <= {4, 5, 9, 10, 44, 45, 49, 50}
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(25, abs=0.6)
    assert (cols.min() + cols.max() + 1) / 2 == pytest.approx(30, abs=0.6)


def test_a_seam_and_an_arrow_are_drawn_and_the_given_picture_stays() -> None:
    arrow = ArrowView("a", (30.5, 15.5), (30.5, 35.5), 20.0)
    colour = np.repeat(GREY[..., None], 3, axis=2)
    before = colour.copy()
    drawn = views.draw(replace(MOSAIC, arrows=(arrow,), seams=(SEAM,)), colour).pixels

    assert tuple(drawn[30, 60]) == (0x4C, 0x9B, 0xE8)
    assert drawn[25, 30].min() > 230
    np.testing.assert_array_equal(colour, before)


def test_a_pair_that_was_not_matched_is_dashed() -> None:
    lost = replace(SEAM, colour="#9aa0a6", is_used=False, residual_px=None)
    column = views.draw(replace(MOSAIC, seams=(lost,)), GREY).pixels[12:48, 60, 0]

    assert (column < 60).any()  # the dark ground shows between the dashes
    assert (column > 120).any()


def test_lines_of_a_pair_lead_from_one_picture_into_the_other() -> None:
    drawn = views.draw(PAIR, GREY[:, :40], GREY[:, :40]).pixels
    rows, cols = np.nonzero(coloured(drawn))

    assert drawn.shape == (60, 40 + 16 + 40, 3)
    assert set(rows) <= {17, 18, 19, 20, 21, 22, 23}
    assert abs(cols.min() + 2 - 10) <= 1  # the rim of a dot of 2 px is drawn softly
    assert abs(cols.max() - 2 - (40 + 16 + 30)) <= 1


def test_a_wide_pair_is_drawn_one_above_the_other() -> None:
    wide = replace(PAIR, width=60, height=40)

    assert views.draw(wide, GREY[:40, :60], GREY[:40, :60]).pixels.shape == (40 + 16 + 40, 60, 3)


def test_a_notebook_is_given_a_jpeg_of_the_same_picture() -> None:
    drawn = views.draw(MOSAIC, GREY)
    read = cv2.imdecode(np.frombuffer(drawn._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    assert read.shape == drawn.pixels.shape
    assert abs(read.astype(int) - drawn.pixels)[20:30, 20:30].max() < 12  # grey values of a lossy picture
    assert repr(drawn) == "<picture of 80 x 60 px>"
    assert views.Drawn(GREY)._repr_jpeg_()[:2] == b"\xff\xd8"


def test_pictures_are_put_side_by_side_on_white() -> None:
    both = views.beside(views.Drawn(GREY), views.draw(PAIR, GREY[:, :40], GREY[:, :40]), gap_px=4)

    assert both.pixels.shape == (60, 80 + 4 + 96, 3)
    assert (both.pixels[:, 80:84] == 255).all()


@pytest.mark.parametrize("image", [GREY[:, :79], GREY.astype(np.uint16)], ids=["smaller", "16 bit"])
def test_a_picture_that_does_not_fit_the_view_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="is needed, found"):
        views.draw(MOSAIC, image)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(InputError, match="not empty"):
        views.Drawn(np.zeros((0, 3), np.uint8))
    with pytest.raises(InputError, match="two pictures"):
        views.draw(PAIR, GREY[:, :40])  # type: ignore[call-overload]
    with pytest.raises(InputError, match="no picture"):
        views.beside()
