"""The page that shows a run while it goes on."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.report.live import (
    FAILED_SEAM,
    MATCHED,
    OPEN_SEAM,
    PROBLEM,
    SEAM_COLOURS,
    TILE_COLOURS,
    WAITING,
    LiveFacts,
    LivePlan,
    live_page,
    live_picture,
)


def grid(rows, cols, side=1000.0):
    """Return a plan of a grid whose tiles wait."""
    row, col = np.mgrid[0:rows, 0:cols].reshape(2, -1)
    boxes = np.stack([col * 0.9, row * 0.9, col * 0.9 + 1, row * 0.9 + 1], 1) * side
    number = np.arange(rows * cols).reshape(rows, cols)
    ends = np.concatenate(
        [
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1),
            np.stack([number[:-1].ravel(), number[1:].ravel()], 1),
        ]
    )
    return LivePlan(boxes, np.full(rows * cols, WAITING), ends, np.full(len(ends), OPEN_SEAM))


def rgb(colour):
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def test_tiles_have_the_colour_of_their_state_and_seams_that_of_their_error():
    plan = grid(1, 3)
    plan.tiles[:] = (MATCHED, WAITING, PROBLEM)
    plan.seams[:] = (4, FAILED_SEAM)
    picture = live_picture(plan)
    assert picture.shape[1] == 1100
    middle = picture.shape[0] // 2
    low = picture.shape[0] - 40
    assert tuple(picture[low, 150]) == rgb(TILE_COLOURS[MATCHED])
    assert tuple(picture[low, 550]) == rgb(TILE_COLOURS[WAITING])
    assert tuple(picture[low, 950]) == rgb(TILE_COLOURS[PROBLEM])
    assert tuple(picture[middle, 376]) == rgb(SEAM_COLOURS[4])
    assert tuple(picture[middle, 724]) == rgb(SEAM_COLOURS[FAILED_SEAM])


def test_ten_thousand_tiles_make_a_page_that_is_still_small():
    plan = grid(100, 100)
    rng = np.random.default_rng(0)
    plan.tiles[:] = rng.integers(0, 5, len(plan.tiles))
    plan.seams[:] = rng.integers(0, 7, len(plan.seams))
    page = live_page(plan, LiveFacts(title="t", now="n", written="w"))
    assert len(page) < 500_000


def test_what_is_said_is_escaped_and_the_page_needs_nothing_else():
    facts = LiveFacts(
        title="<b>tiles</b>",
        now="1 of 6",
        written="2026-01-01",
        stages=[("seams", 1, 7, "2.0/s 0:03 left")],
        worst=[("a<b", "c", 3.25)],
        lines=["tile <x> cannot be read"],
    )
    page = live_page(grid(2, 3), facts)
    assert "<b>tiles" not in page
    assert "a&lt;b" in page
    assert "3.25" in page
    assert "2.0/s 0:03 left" in page
    assert "default-src &#x27;none&#x27;" in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize("is_over", [True, False])
def test_it_loads_itself_anew_until_it_is_over(is_over):
    page = live_page(grid(1, 1), LiveFacts(title="t", now="n", written="w", is_over=is_over))
    assert ('http-equiv="refresh"' in page) is not is_over
