"""Tiles are drawn through their lens: values, masks, borders, reduced; and the same whatever the blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lens_grids import barrel, some_lens

from demis_ij.geometry import Box
from demis_ij.records import Affine, Layout, Tile
from demis_ij.render import Canvas, blocks, preview
from demis_ij.render.through_lens import raw_places
from demis_ij.testing.drawn_tiles import MemoryStore

SHAPE = (420, 500)


def world(x, y):
    """Return a smooth grey value of a place in the world."""
    return 120 + 60 * np.sin(x / 23) + 50 * np.cos(y / 19 + x / 90)


def seen(tile):
    """Return the float image of the world that a tile sees through its lens."""
    y, x = np.indices(tile.shape)
    at = tile.in_world(np.stack([x.ravel(), y.ravel()], 1).astype(float))
    return world(at[:, 0], at[:, 1]).reshape(tile.shape).astype(np.float32)


def drawn(layout, store, canvas=None, **how):
    """Return the mosaic and its mask."""
    canvas = canvas or Canvas.of(layout)
    values, mask = np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, bool)
    for box, block, inside in blocks(layout, store, canvas, dtype=np.float32, **how):
        values[box.slices], mask[box.slices] = block, inside
    return canvas, values, mask


def bent_pair(lens):
    """Return two overlapping tiles behind a lens, and their images."""
    tiles = tuple(
        Tile(str(i), Path(f"{i}"), SHAPE, Affine.rigid(0.01 * i, 400.0 * i + 0.3, 7.7 * i), lens=lens) for i in (0, 1)
    )
    return Layout(tiles), MemoryStore({t.id: seen(t) for t in tiles})


@pytest.mark.parametrize(("how", "within"), [("linear", 0.6), ("cubic", 0.15)])
def test_what_was_seen_through_a_lens_is_drawn_where_it_is(how, within):
    layout, store = bent_pair(barrel(SHAPE, 0.02))
    canvas, values, mask = drawn(layout, store, interpolation=how)
    y, x = np.nonzero(mask)
    off = values[mask] - world(x + canvas.origin[0], y + canvas.origin[1])
    assert np.abs(off).max() < within  # grey levels, of 220; 4 px of lens would be 10
    assert mask.mean() > 0.9
    bare = replace(layout, tiles=tuple(replace(t, lens=None) for t in layout))
    _, without, there = drawn(bare, store, canvas, interpolation=how)
    assert np.abs(without - values)[mask & there].max() > 5


@pytest.mark.parametrize("block_px", [200, 1000])
def test_blocks_of_any_size_give_the_same_pixels(block_px):
    layout, store = bent_pair(some_lens(SHAPE, 4, 0.6))
    _, values, mask = drawn(layout, store, block_px=512)
    _, again, again_mask = drawn(layout, store, block_px=block_px)
    np.testing.assert_array_equal(values, again)
    np.testing.assert_array_equal(mask, again_mask)


def test_a_mask_bends_with_its_tile():
    lens = barrel(SHAPE, 0.03)
    tile = Tile("0", Path("0"), SHAPE, lens=lens)
    data = np.ones(SHAPE, bool)
    data[:, 460:] = False
    _, _, mask = drawn(Layout((tile,)), MemoryStore({"0": seen(tile)}, {"0": data}))
    at = lens(np.array([[459.0, 210], [459, 20], [459, 400]])) - Canvas.of(Layout((tile,))).origin
    for x, y in at:
        assert mask[round(y), int(x) - 1]
        assert not mask[round(y), int(x) + 2]


def test_the_whole_way_back_is_exact_between_the_places_where_it_is_worked_out():
    lens = some_lens((1024, 1300), 5, 0.7)
    tile = Tile("0", Path("0"), (1024, 1300), Affine.rigid(0.02, 3, 4), lens=lens)
    for box in (Box(0, 0, 256, 256), Box(1100, 700, 1290, 956), Box(-200, -200, 56, 56)):
        found = raw_places(lens, tile.to_world.inverse, box)
        x, y = np.meshgrid(np.arange(box.x0, box.x1), np.arange(box.y0, box.y1))
        exact = tile.from_world(np.stack([x.ravel(), y.ravel()], 1))
        np.testing.assert_allclose(found.x.ravel(), exact[:, 0], atol=1e-5)  # px
        np.testing.assert_allclose(found.y.ravel(), exact[:, 1], atol=1e-5)


def test_an_integer_mosaic_of_one_tile_is_the_rounded_one():
    lens = some_lens(SHAPE, 3, 0.6)
    tile = Tile("0", Path("0"), SHAPE, lens=lens)
    image = np.rint(seen(tile)).astype(np.uint8)
    layout, canvas = Layout((tile,)), Canvas.of(Layout((tile,)))
    _, exact, _ = drawn(layout, MemoryStore({"0": image}), canvas)
    whole = np.zeros(canvas.shape, np.uint8)
    for box, block, _ in blocks(layout, MemoryStore({"0": image}), canvas, dtype=np.uint8):
        whole[box.slices] = block
    assert np.abs(whole - np.rint(exact)).max() <= 1


def test_a_preview_goes_through_the_lens_too():
    layout, store = bent_pair(barrel(SHAPE, 0.03))
    images = {t.id: np.clip(store.image(t), 0, 255).astype(np.uint8) for t in layout}
    small, scale = preview(layout, MemoryStore(images), 300)
    canvas = Canvas.of(layout, scale)
    y, x = np.nonzero(small > 0)
    at = (np.stack([x + canvas.origin[0], y + canvas.origin[1]], 1) + 0.5) / scale - 0.5
    grey = world(at[:, 0], at[:, 1])
    assert np.corrcoef(grey, small[y, x])[0, 1] > 0.999
