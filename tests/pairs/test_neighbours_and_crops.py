"""Who overlaps whom, and what of each tile is shown."""

from math import radians
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.pairs import expected_to_fixed, neighbours, overlap_crops
from demis_ij.records import Affine, Layout, Tile


def tile(name: str, x: float, y: float, shape=(100, 100), angle: float = 0.0) -> Tile:
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    return Tile(name, Path(name), shape, Affine.translation(x, y) @ Affine.about(Affine.rigid(angle), centre))


def grid(rows: int, cols: int, step: float = 88, **more) -> Layout:
    return Layout(tuple(tile(f"{r},{c}", c * step, r * step, **more) for r in range(rows) for c in range(cols)))


def test_a_grid_has_its_edge_neighbours_in_layout_order_and_no_diagonals():
    expected = {
        (f"{r},{c}", f"{r + i},{c + j}")
        for r in range(3)
        for c in range(4)
        for i, j in ((0, 1), (1, 0))
        if r + i < 3 and c + j < 4
    }
    found = neighbours(grid(3, 4))
    assert set(found) == expected
    assert len(found) == len(expected), "each once"
    turned = neighbours(Layout(tuple(reversed(grid(3, 4).tiles))))
    assert set(turned) == {(b, a) for a, b in expected}


def test_a_gap_within_the_stage_error_is_an_expected_overlap():
    apart = grid(1, 3, step=103)
    assert neighbours(apart) == []
    assert neighbours(apart, margin_frac=0.15) == [("0,0", "0,1"), ("0,1", "0,2")]


def test_a_corner_counts_when_it_is_large():
    assert len(neighbours(grid(2, 2, step=50))) == 6
    assert len(neighbours(grid(2, 2, step=80))) == 4


def test_a_small_shift_along_the_seam_changes_nothing():
    layout = Layout((tile("a", 0, 0), tile("b", 88, 30), tile("c", 88, 80)))
    assert neighbours(layout) == [("a", "b"), ("b", "c")]


def test_tiles_without_a_shape_and_single_tiles_have_no_neighbours():
    assert neighbours(Layout((tile("a", 0, 0),))) == []
    assert neighbours(Layout(())) == []
    assert neighbours(Layout((tile("a", 0, 0), tile("b", 10, 0, shape=(0, 0))))) == []


def boxes_of(layout: Layout) -> np.ndarray:
    return np.array([[*t.world_corners.min(0), *t.world_corners.max(0)] for t in layout])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 40), margin=st.sampled_from([0.0, 0.1]))
def test_the_grid_hash_finds_what_comparing_all_finds(seed, count, margin):
    rng = np.random.default_rng(seed)
    tiles = []
    for i in range(count):
        shape = tuple(int(v) for v in rng.choice([20, 60, 100, 700], 2))
        tiles.append(tile(str(i), *rng.uniform(-500, 500, 2), shape=shape, angle=float(rng.uniform(-0.2, 0.2))))
    layout = Layout(tuple(tiles))
    boxes = boxes_of(layout)
    size = boxes[:, 2:] - boxes[:, :2]
    expected = []
    for i in range(count):
        for j in range(i + 1, count):
            inside = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
            grown = inside + margin * (size[i].max() + size[j].max()) / 2
            share = inside / np.minimum(size[i], size[j])
            if grown.min() >= 8 and share.max() >= 0.35:
                expected.append((str(i), str(j)))
    assert neighbours(layout, margin_frac=margin) == expected


def test_many_tiles_are_no_matter():
    side = 150
    layout = grid(side, side)
    assert len(neighbours(layout, margin_frac=0.06)) == 2 * side * (side - 1)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    turn=st.floats(-3, 3),
    common=st.sampled_from([0.0, 30.0, 90.0, 137.0]),
    stage=st.floats(0, 25),
    down=st.booleans(),
)
def test_the_crops_hold_the_true_overlap_whatever_the_stage_did(seed, turn, common, stage, down):
    """Law: a point seen by both tiles lies in both crops, if the stage is wrong by no more than the margin."""
    rng = np.random.default_rng(seed)
    whole = Affine.rigid(radians(common), *rng.uniform(-900, 900, 2))
    fixed = Tile("f", Path("f"), (300, 400), whole)
    nominal = whole @ Affine.translation(0 if down else 340, 250 if down else 0)
    moving = Tile("m", Path("m"), (300, 400), nominal)
    truth = nominal @ Affine.about(Affine.rigid(radians(turn)), (199.5, 149.5))
    truth = truth @ Affine.translation(*(rng.uniform(-1, 1, 2) * stage / 1.5))
    margin = stage + 250 * abs(radians(turn)) + 2
    crops = overlap_crops(fixed, moving, margin)
    assert crops is not None
    at = rng.uniform((0, 0), (399, 299), (400, 2))
    seen = (fixed.to_world.inverse @ truth)(at)
    both = ((seen >= 0) & (seen <= (399, 299))).all(1)
    for points, crop in ((seen[both], crops[0]), (at[both], crops[1])):
        b = crop.box
        assert ((points >= (b.x0 - 0.5, b.y0 - 0.5)) & (points <= (b.x1 - 0.5, b.y1 - 0.5))).all()


def test_crops_are_strips_and_not_whole_tiles():
    fixed, moving = tile("a", 0, 0, (1000, 1000)), tile("b", 900, 0, (1000, 1000))
    crops = overlap_crops(fixed, moving, 60)
    assert crops is not None
    assert [c.box.shape for c in crops] == [(1000, 160), (1000, 160)]
    assert crops[0].box.x1 == 1000
    assert crops[1].box.x0 == 0


def test_crops_are_enlarged_inwards_to_a_multiple():
    fixed, moving = tile("a", 0, 0, (1000, 1000)), tile("b", 903, 0, (1000, 1000))
    crops = overlap_crops(fixed, moving, 60, multiple=32)
    assert crops is not None
    assert [c.box.width for c in crops] == [160, 160]
    assert crops[0].box.x1 == 1000
    assert crops[1].box.x0 == 0
    assert [c.box.height for c in crops] == [1000, 1000], "the tile has no more"


def test_tiles_far_apart_have_no_crops():
    assert overlap_crops(tile("a", 0, 0), tile("b", 500, 0), 50) is None


def test_expected_to_fixed_leads_from_moving_to_fixed():
    fixed, moving = tile("a", 10, 20), tile("b", 98, 25)
    np.testing.assert_allclose(expected_to_fixed(fixed, moving)((0.0, 0.0)), (88, 5))
