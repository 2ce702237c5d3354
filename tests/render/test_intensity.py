from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_images import shared_data

from demis_ij.images import TileStore, header
from demis_ij.records import Affine, Layout, PairMatch, Tile
from demis_ij.render import Canvas, blocks, solve_intensity
from demis_ij.testing.drawn_tiles import MemoryStore

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=6, deadline=None)
SIDE, STEP = 256, 210


def specimen(rng, side=900):
    """Structure of several sizes, mean 120, standard deviation 25."""
    layers = [cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), s) for s in (2, 6, 20)]
    image = sum(layer / layer.std() for layer in layers)
    return 120 + 25 * (image - image.mean()) / image.std()


def tiled(rng, image, gains, offsets, noise=2.0):
    """Tiles of a grid, three a row, each with its own gain and offset and noise of its own."""
    tiles, images = [], {}
    for i, (gain, offset) in enumerate(zip(gains, offsets, strict=True)):
        x, y = (i % 3) * STEP, (i // 3) * STEP
        part = image[y : y + SIDE, x : x + SIDE] + rng.normal(0, noise, (SIDE, SIDE))
        images[str(i)] = ((part - offset) / gain).astype(np.float32)
        tiles.append(Tile(str(i), f"{i}.tif", (SIDE, SIDE), Affine.translation(x, y)))
    return Layout(tuple(tiles)), MemoryStore(images)


def corrected(found, store, layout):
    return {t.id: found[t.id].gain * store.image(t) + found[t.id].offset for t in layout}


def steps(images, layout):
    """Return the mean difference in every overlap of neighbours, grey."""
    out = []
    for i, a in enumerate(layout):
        for b in layout.tiles[i + 1 :]:
            dx, dy = int(b.to_world.tx - a.to_world.tx), int(b.to_world.ty - a.to_world.ty)
            if abs(dx) + abs(dy) != STEP:
                continue
            here = images[a.id][max(0, dy) : SIDE + min(0, dy), max(0, dx) : SIDE + min(0, dx)]
            there = images[b.id][max(0, -dy) : SIDE + min(0, -dy), max(0, -dx) : SIDE + min(0, -dx)]
            out.append(float(here.mean() - there.mean()))
    return np.array(out)


@few
@given(seed=seeds)
def test_tiles_of_unlike_brightness_and_contrast_come_to_agree(seed):
    rng = np.random.default_rng(seed)
    gains, offsets = np.exp(rng.uniform(-0.4, 0.4, 9)), rng.uniform(-40, 40, 9)
    layout, store = tiled(rng, specimen(rng), gains, offsets)

    found = solve_intensity(layout, store)

    before = steps({t.id: store.image(t) for t in layout}, layout)
    after = steps(corrected(found, store, layout), layout)
    assert np.abs(before).max() > 10
    assert np.abs(after).max() < 1.0  # grey; the structure's own deviation is 25, and a step of 1 of 25 is not seen
    # the true gains, up to the common factor that no overlap can tell
    ratio = np.log([found[t.id].gain for t in layout]) - np.log(gains)
    assert np.abs(ratio - ratio.mean()).max() < 0.08  # the prior's pull and the noise's share of the contrast


@few
@given(seed=seeds)
def test_the_mean_grey_and_the_mean_gain_stay(seed):
    rng = np.random.default_rng(seed)
    layout, store = tiled(rng, specimen(rng), np.exp(rng.uniform(-0.4, 0.4, 9)), rng.uniform(-40, 40, 9))

    found = solve_intensity(layout, store)

    assert np.mean(np.log([g for g, _ in found.values()])) == pytest.approx(0, abs=1e-9)
    now = np.mean([v.mean() for v in corrected(found, store, layout).values()])
    assert now == pytest.approx(np.mean([store.image(t).mean() for t in layout]), abs=1e-3)  # grey: float32 thumbnails


def test_the_order_of_tiles_does_not_matter():
    rng = np.random.default_rng(4)
    layout, store = tiled(rng, specimen(rng), np.exp(rng.uniform(-0.4, 0.4, 9)), rng.uniform(-40, 40, 9))
    turned = replace(layout, tiles=layout.tiles[::-1])

    one, other = solve_intensity(layout, store), solve_intensity(turned, store)

    for tile_id in layout.ids:
        # thumbnails of one tile are sampled at the other's pixels, so the two directions differ by interpolation
        assert one[tile_id] == pytest.approx(other[tile_id], rel=0.02, abs=1.0)


def test_like_tiles_are_left_alone():
    rng = np.random.default_rng(5)
    layout, store = tiled(rng, specimen(rng), np.ones(9), np.zeros(9), noise=0)

    for gain, offset in solve_intensity(layout, store).values():
        assert gain == pytest.approx(1, abs=0.01)
        assert offset == pytest.approx(0, abs=0.01 * 120)  # what a gain of 1.01 is made up for with


def test_resin_says_nothing_on_the_gain_but_something_on_the_brightness():
    rng = np.random.default_rng(6)
    layout, store = tiled(rng, np.full((900, 900), 120.0), [1.0, 2.0, 0.5] * 3, np.zeros(9), noise=3)

    found = solve_intensity(layout, store)

    assert {g for g, _ in found.values()} == {1.0}
    assert np.abs(steps(corrected(found, store, layout), layout)).max() < 3  # grey, from 180: the prior's pull


def test_dirt_in_one_overlap_does_no_harm():
    rng = np.random.default_rng(7)
    layout, store = tiled(rng, specimen(rng), np.ones(9), np.linspace(-20, 20, 9))
    dirty = store.image(layout.tiles[4]).copy()
    dirty[60:120, :46] = 255  # a quarter of one overlap
    images = {t.id: store.image(t) for t in layout} | {"4": dirty}

    found = solve_intensity(layout, MemoryStore(images))

    assert np.abs(steps(corrected(found, store, layout), layout)).max() < 2  # grey, from 20 and 90 of dirt


def test_tiles_that_meet_nothing_and_tiles_that_cannot_be_read_are_left_alone():
    rng = np.random.default_rng(8)
    layout, store = tiled(rng, specimen(rng), [1.0, 1.3, 0.8], [0.0, 9.0, -9.0])
    island = Tile("island", "x", (SIDE, SIDE), Affine.translation(5000, 0))
    broken = Tile("broken", "x", (SIDE, SIDE), Affine.translation(0, STEP))
    more = replace(layout, tiles=(*layout.tiles, island, broken))
    store = MemoryStore({t.id: store.image(t) for t in layout} | {"island": store.image(layout.tiles[0])})

    found = solve_intensity(more, store)

    assert found["island"] == found["broken"] == (1.0, 0.0)
    assert found["1"] != (1.0, 0.0)
    assert solve_intensity(Layout(()), store) == {}


def test_only_the_pairs_given_are_used():
    rng = np.random.default_rng(9)
    layout, store = tiled(rng, specimen(rng), [1.0, 1.3, 0.8], [0.0, 9.0, -9.0])
    nothing = np.empty((0, 2))
    pair = PairMatch("1", "0", nothing, nothing, np.eye(3), "rigid", np.eye(3), 0.0)

    found = solve_intensity(layout, store, [pair])

    assert found["2"] == (1.0, 0.0)
    assert found["0"] != (1.0, 0.0) != found["1"]


def test_masked_pixels_take_no_part():
    rng = np.random.default_rng(10)
    layout, store = tiled(rng, specimen(rng), np.ones(3), np.zeros(3), noise=0)
    images, mask = {t.id: store.image(t).copy() for t in layout}, np.ones((SIDE, SIDE), bool)
    mask[200:] = False
    images["1"][200:] = 0

    found = solve_intensity(layout, MemoryStore(images, {"1": mask}))

    assert found["1"].gain == pytest.approx(1, abs=0.02)
    assert found["1"].offset == pytest.approx(0, abs=2.4)  # 0.02 of the mean


def test_a_long_row_does_not_run_away():
    """A shading that every tile has adds the same step to every seam; undoing all of them would make a slope."""
    rng = np.random.default_rng(11)
    image = specimen(rng, 1200)
    shade = np.linspace(-2, 2, SIDE)
    tiles = [Tile(str(i), "x", (SIDE, SIDE), Affine.translation(i * STEP, 0)) for i in range(60)]
    store = MemoryStore(
        {t.id: (np.roll(image, -37 * i, 1)[:SIDE, :SIDE] + shade).astype(np.float32) for i, t in enumerate(tiles)}
    )
    # the overlap itself must be one specimen: draw neighbours' shared strips from one of them
    images = {t.id: store.image(t).copy() for t in tiles}
    for a, b in pairwise(tiles):
        images[b.id][:, : SIDE - STEP] = images[a.id][:, STEP:] - shade[STEP:] + shade[: SIDE - STEP]

    found = solve_intensity(Layout(tuple(tiles)), MemoryStore(images))

    offsets = [g * 120 + o - 120 for g, o in found.values()]
    assert np.ptp(offsets) < 100  # grey; all 59 steps of 3.3 would be 195, 14 tiles to either side are 92


def test_strong_differences_of_real_tiles_are_hidden():
    folder = shared_data("sem_stitch2d_2x3")
    tiles = []
    for col in range(2):
        for row in range(3):
            path = folder / f"stitch2d_ex[Grid@{col} {row}].jpg"
            where = Affine.translation(379.6 * col - 5.7 * row, 3.7 * col + 395 * row)
            tiles.append(Tile(path.name, path, header(path)[0], where))
    layout, store = Layout(tuple(tiles)), TileStore()

    def seam_steps(intensity):
        """Return the mean difference of two tiles in each overlap, each drawn alone on one canvas, grey."""
        canvas, drawn = Canvas.of(layout), []
        for tile in tiles:
            pixels, mask = np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, bool)
            for box, part, inside in blocks(Layout((tile,)), store, canvas, dtype=np.float32, intensity=intensity):
                pixels[box.slices], mask[box.slices] = part, inside
            drawn.append((pixels, mask))
        found = []
        for i, (a, in_a) in enumerate(drawn):
            for b, in_b in drawn[i + 1 :]:
                both = in_a & in_b
                if both.sum() > 10_000:
                    found.append(abs(float((a - b)[both].mean())))
        return np.array(found)

    before, after = seam_steps({}), seam_steps(solve_intensity(layout, store))

    assert len(before) == 7
    assert before.max() > 20
    assert after.max() < 2  # grey: the tiles' own shading; their structure deviates by about 25


def test_a_lens_that_is_sharper_on_one_side_does_not_stretch_contrast_along_a_row():
    rng = np.random.default_rng(8)
    rows, cols = 8, 6
    image = specimen(rng, side=STEP * rows + SIDE)
    fade = np.linspace(1.3, 1.0, SIDE, dtype=np.float32)  # contrast falls from left to right in every tile alike
    tiles, images = [], {}
    for i in range(rows * cols):
        x, y = (i % cols) * STEP, (i // cols) * STEP
        tiles.append(Tile(str(i), f"{i}.tif", (SIDE, SIDE), Affine.translation(x, y)))
        images[str(i)] = (120 + (image[y : y + SIDE, x : x + SIDE] - 120) * fade).astype(np.float32)

    found = solve_intensity(Layout(tuple(tiles)), MemoryStore(images))

    columns = [np.exp(np.mean([np.log(found[str(r * cols + c)].gain) for r in range(rows)])) for c in range(cols)]
    # a factor of 1.24 at each of five seams would make 2.9; the priors leave a quarter of its logarithm to the gains
    assert max(columns) / min(columns) < 1.6
