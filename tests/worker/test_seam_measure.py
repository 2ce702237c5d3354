"""The measure that all versions of a layout are compared by, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.jobs.seams.measure import likeness, seam_fit, witnesses
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Solution, Tile
from demis_ij.stitch import StitchResult
from demis_ij.testing.grids import make_pair


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """Two tiles of 200 x 200 px cut from one picture, the second 150 px to the right."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(2)
    picture = cv2.GaussianBlur(rng.normal(0, 1, (200, 350)).astype(np.float32), (0, 0), 3)
    picture = (128 + 300 * picture).clip(0, 255).astype(np.uint8)
    tiles = []
    for name, x in (("a", 0), ("b", 150)):
        path = Path(folder) / f"{name}.png"
        cv2.imwrite(str(path), picture[:, x : x + 200])
        tiles.append(Tile(name, path, (200, 200), Affine.translation(x, 0)))
    return Layout(tuple(tiles))


def match(shift: float, matcher: str, *, swapped: bool = False) -> PairMatch:
    """Return a pair whose points are wrong by ``shift`` px where the layout above puts them."""
    fixed = np.array([[160.0, 20.0], [190.0, 100.0], [170.0, 180.0]])
    moving = fixed - (150 + shift, 0)
    if swapped:
        return make_pair("b", "a", moving, fixed, matcher)
    return make_pair("a", "b", fixed, moving, matcher)


def run(layout: Layout, *pairs: PairMatch | Rejected, weight: float = 1.0) -> StitchResult:
    solution = Solution(
        layout, {"a": 0, "b": 0}, {"a": 0.0, "b": 0.0}, {}, {}, {(p.fixed, p.moving): weight for p in pairs}
    )
    return StitchResult(layout, solution, pairs, {}, (), {}, StitchConfig())


def test_every_run_counts_the_same_at_a_seam_whichever_tile_it_calls_fixed(layout):
    seen = witnesses([run(layout, match(1, "loftr")), run(layout, match(5, "sift", swapped=True))])

    fit = seam_fit(layout, seen, TileStore())

    assert list(seen) == [("a", "b")]
    assert fit.seams == 1
    assert fit.median_px == pytest.approx((1 + 5) / 2)
    assert fit.max_px == pytest.approx((1 + 5) / 2)


def test_a_layout_that_moves_a_tile_is_measured_where_it_puts_it(layout):
    moved = layout.moved({"b": Affine.translation(153, 4)})
    seen = witnesses([run(layout, match(0, "loftr"))])

    assert seam_fit(layout, seen, TileStore()).max_px == pytest.approx(0, abs=1e-9)
    assert seam_fit(moved, seen, TileStore()).max_px == pytest.approx(5)  # 3, 4, 5


def test_what_was_not_believed_is_no_witness(layout):
    lost = Rejected("a", "b", "too few")

    seen = witnesses([run(layout, lost), run(layout, match(2, "sift"), weight=0.01)])
    fit = seam_fit(layout, seen, TileStore())

    assert seen == {}
    assert fit.seams == 0
    assert np.isnan([fit.median_px, fit.max_px, fit.likeness]).all()


def test_tiles_that_a_layout_lacks_are_left_out(layout):
    one = replace(layout, tiles=layout.tiles[:1])

    assert seam_fit(one, witnesses([run(layout, match(1, "loftr"))]), TileStore()).seams == 0


def test_greys_are_most_alike_where_the_tiles_belong(layout):
    store = TileStore()
    there = {dx: likeness(layout.moved({"b": Affine.translation(150 + dx, 0)}), ("a", "b"), store) for dx in (0, 1, 3)}

    assert there[0] > 0.97
    assert there[0] > there[1] + 0.01 > there[3] + 0.1
    assert likeness(layout.moved({"b": Affine.translation(500, 0)}), ("a", "b"), store) is None


def test_a_tile_that_cannot_be_read_has_no_likeness_and_stops_nothing(layout, tmp_path):
    gone = replace(layout, tiles=(layout["a"], replace(layout["b"], path=tmp_path / "gone.png")))

    fit = seam_fit(gone, witnesses([run(layout, match(1, "loftr"))]), TileStore())

    assert fit.median_px == pytest.approx(1)
    assert np.isnan(fit.likeness)
