import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.geometry import Box
from demis_ij.records import Affine, Tile
from demis_ij.render.blending import within
from demis_ij.render.edges import border_distance
from demis_ij.render.placed import Placed
from demis_ij.render.tiling import LEVEL_PX, alone_in, inner_box, remaining

CELL = Box(512, 1024, 1024, 1536)


def placed_at(x: float, y: float, angle: float, name: str) -> Placed:
    """Return a tile of 400 x 500 px on a large canvas."""
    to_world = Affine.translation(x, y) @ Affine.rigid(angle)
    corners = to_world(np.array([[0, 0], [499, 0], [499, 399], [0, 399]], np.float64))
    (x0, y0), (x1, y1) = np.ceil(corners.min(0)).astype(int), np.floor(corners.max(0)).astype(int) + 1
    return Placed(Tile(name, f"{name}.tif", (400, 500), to_world), Box(x0, y0, x1, y1), to_world.inverse)


places = st.tuples(st.floats(0, 1100), st.floats(600, 1600), st.floats(-0.1, 0.1))


@settings(deadline=None, max_examples=40)
@given(st.lists(places, min_size=1, max_size=6))
def test_what_tiles_have_for_themselves_and_what_remains_cover_a_cell_once(several):
    tiles = [placed_at(*at, str(k)) for k, at in enumerate(several)]
    near = [p for p in tiles if not (p.box & CELL).is_empty]

    alone = alone_in(CELL, [(p, inner_box(p)) for p in near])

    times = np.zeros(CELL.shape, int)
    for part in [*(part for _, part in alone), *remaining(CELL, [part for _, part in alone])]:
        assert (part & CELL) == part
        times[within(part, CELL)] += 1
    assert (times == 1).all()
    for owner, part in alone:
        assert (inner_box(owner) & part) == part
        assert all((p.box & part).is_empty for p in near if p is not owner)


def test_a_few_rows_are_given_away_where_that_saves_a_rectangle():
    tiles = [placed_at(100, 900, 0, "left"), placed_at(560, 907, 0, "right"), placed_at(520, 1290, 0, "below")]

    alone = alone_in(Box(0, 1024, 1024, 1536), [(p, inner_box(p)) for p in tiles])

    left, right = (part for owner, part in alone if owner.tile.id != "below")
    assert left.y1 == right.y1 <= 1290
    assert 1290 - left.y1 < LEVEL_PX


@settings(deadline=None, max_examples=40)
@given(places, st.integers(1, 300), st.integers(1, 300))
def test_the_distance_to_the_border_is_that_to_the_nearest_of_four_edges(at, width, height):
    placed = placed_at(*at, "a")
    box = Box(placed.box.x0, placed.box.y0, placed.box.x0 + width, placed.box.y0 + height)

    found = border_distance(placed, box, None)

    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1].astype(np.float64)
    at_tile = placed.to_tile(np.stack([x, y], -1))
    edges = [at_tile[..., 0] + 0.5, 499.5 - at_tile[..., 0], at_tile[..., 1] + 0.5, 399.5 - at_tile[..., 1]]
    np.testing.assert_allclose(found, np.min(edges, axis=0), atol=1e-3)  # px; float32 of some hundreds


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1)])
@pytest.mark.parametrize("corner", [(100, 330), (470, 20), (120, 200)])
def test_in_a_strip_a_pixel_wide_an_edge_that_is_as_far_from_all_of_it_counts(shape, corner):
    placed = placed_at(0, 0, 0, "a")
    box = Box(*corner, corner[0] + shape[1], corner[1] + shape[0])

    found = border_distance(placed, box, None)

    x, y = np.meshgrid(np.arange(box.x0, box.x1), np.arange(box.y0, box.y1))
    nearest = np.minimum.reduce([x + 0.5, 499.5 - x, y + 0.5, 399.5 - y])
    np.testing.assert_allclose(found, nearest, atol=1e-3)
