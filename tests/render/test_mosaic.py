from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.records import Affine, Layout, Tile
from demis_ij.render import Canvas, blocks, common_dtype, preview, render
from demis_ij.testing.drawn_tiles import MemoryStore, draw_tiles

SHAPE = (150, 170)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=8, deadline=None)

WAVE = 2 * np.pi / 40  # radians a px: the shortest detail of the drawn world
HEIGHT = 50.0


def waves(x, y):
    return 120 + HEIGHT * np.sin(WAVE * (0.8 * x + 0.6 * y)) * np.cos(WAVE * (0.6 * x - 0.8 * y) + 1)


def scattered(rng, *, turn=0.1, skew=0.03, step=120):
    """Four overlapping tiles, turned, skewed and shifted at random; far from the origin, as real stages are."""
    out = []
    for row in range(2):
        for col in range(2):
            linear = np.eye(2) + rng.uniform(-skew, skew, (2, 2))
            shift = np.array([col * step, row * step]) + rng.uniform(-6, 6, 2) + (70_000, -4000)
            around = Affine.rigid(rng.uniform(-turn, turn))
            out.append(Affine.translation(*shift) @ around @ Affine.from_matrix(np.column_stack([linear, np.zeros(2)])))
    return out


def assembled(layout, store, canvas=None, **options):
    canvas = Canvas.of(layout) if canvas is None else canvas
    options = {"dtype": np.float32, "block_px": 256} | options
    pixels, mask = np.zeros(canvas.shape, options["dtype"]), np.zeros(canvas.shape, bool)
    for box, part, inside in blocks(layout, store, canvas, **options):
        pixels[box.slices], mask[box.slices] = part, inside
    return pixels, mask, canvas


def world_of(canvas):
    y, x = np.mgrid[0 : canvas.shape[0], 0 : canvas.shape[1]]
    return x + canvas.origin[0], y + canvas.origin[1]


# --- placement ------------------------------------------------------------------------------------------------------


@few
@given(seed=seeds, interpolation=st.sampled_from(["linear", "cubic"]))
def test_the_mosaic_is_the_function_that_the_tiles_were_drawn_from(seed, interpolation):
    layout, store = draw_tiles(waves, scattered(np.random.default_rng(seed)), SHAPE)

    pixels, mask, canvas = assembled(layout, store, interpolation=interpolation)

    # The product of the waves is two waves of half the height and sqrt(2) the frequency. Along a tile's axis (1.05 px
    # of the world at most) derivative n is at most HEIGHT * slope^n.
    slope = WAVE * np.sqrt(2) * 1.05
    # linear: 1/8 f'' an axis; cubic: sum of |weight| |distance|^3 / 6 <= 0.094 an axis, the second pass times 1.25
    bounds = {"linear": 2 * HEIGHT * slope**2 / 8, "cubic": 2.25 * 0.094 * HEIGHT * slope**3}
    bound = bounds[interpolation] + 2e-3  # grey: coordinates and values are float32
    assert mask.mean() > 0.7
    assert np.abs(pixels - waves(*world_of(canvas)))[mask].max() < bound


def test_cubic_is_an_order_of_magnitude_closer_than_linear():
    layout, store = draw_tiles(waves, scattered(np.random.default_rng(3)), SHAPE)

    errors = {}
    for interpolation in ("linear", "cubic"):
        pixels, mask, canvas = assembled(layout, store, interpolation=interpolation)
        inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9))).astype(bool)  # off borders, where stencils are cut
        errors[interpolation] = np.abs(pixels - waves(*world_of(canvas)))[inner].std()

    assert errors["cubic"] < errors["linear"] / 8  # third against second order, at 28 px a wave


@few
@given(seed=seeds)
def test_a_ramp_is_kept_exactly_by_both_interpolations(seed):
    layout, store = draw_tiles(
        lambda x, y: 0.5 * (x - 70_000) - 0.25 * (y + 4000), scattered(np.random.default_rng(seed)), SHAPE
    )

    for interpolation in ("linear", "cubic"):
        pixels, mask, canvas = assembled(layout, store, interpolation=interpolation)
        x, y = world_of(canvas)
        inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9))).astype(bool)  # cubic repeats the border pixels
        truth = 0.5 * (x - 70_000) - 0.25 * (y + 4000)
        assert np.abs(pixels - truth)[inner].max() < 1e-3  # grey = 0.002 px: float32 coordinates of 170 px, twice


def test_nearest_takes_the_pixel_whose_centre_is_nearest():
    layout, store = draw_tiles(waves, [Affine.rigid(0.05, 3.3, 4.4)], SHAPE)

    pixels, mask, canvas = assembled(layout, store, interpolation="nearest")

    at = layout.tiles[0].to_world.inverse(np.stack(world_of(canvas), -1).astype(float)[mask])
    clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(1)  # px; ties may go either way
    col, row = np.rint(at[clear]).astype(int).T
    np.testing.assert_array_equal(pixels[mask][clear], store.image(layout.tiles[0])[row, col])


@few
@given(seed=seeds, dx=st.integers(-5000, 5000), dy=st.integers(-5000, 5000))
def test_a_world_shifted_by_whole_pixels_gives_the_same_pixels(seed, dx, dy):
    rng = np.random.default_rng(seed)
    # multiples of 1/64 px, so that adding whole numbers loses nothing
    transforms = [replace(t, tx=round(t.tx * 64) / 64, ty=round(t.ty * 64) / 64) for t in scattered(rng)]
    layout, store = draw_tiles(waves, transforms, SHAPE)
    shifted = layout.moved({t.id: Affine.translation(dx, dy) @ t.to_world for t in layout})

    here, mask, canvas = assembled(layout, store)
    there, there_mask, there_canvas = assembled(shifted, store)

    assert there_canvas.origin == (canvas.origin[0] + dx, canvas.origin[1] + dy)
    np.testing.assert_array_equal(there_mask, mask)
    np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("feather_px", [None, 10.0])
def test_the_size_of_blocks_changes_no_pixel(interpolation, feather_px):
    rng = np.random.default_rng(5)
    layout, store = draw_tiles(waves, scattered(rng, step=260), (300, 310))
    mask = np.ones((300, 310), bool)
    mask[270:, :200] = False
    store = MemoryStore({t.id: store.image(t) for t in layout}, {"1": mask})
    options = {"interpolation": interpolation, "feather_px": feather_px, "intensity": {"2": (1.1, -3.0)}}

    drawn = [assembled(layout, store, block_px=n, **options)[:2] for n in (64, 256, 1000)]
    drawn.append(assembled(layout, store, block_px=100, threads=3, **options)[:2])

    assert max(Canvas.of(layout).shape) > 512  # several cells a side
    for pixels, inside in drawn[1:]:
        np.testing.assert_array_equal(pixels, drawn[0][0])
        np.testing.assert_array_equal(inside, drawn[0][1])


def test_a_window_of_the_canvas_shows_the_same_mosaic():
    layout, store = draw_tiles(waves, scattered(np.random.default_rng(1)), SHAPE)
    whole, _, canvas = assembled(layout, store)

    part, _, _ = assembled(layout, store, Canvas((canvas.origin[0] + 30, canvas.origin[1] + 41), (120, 90)))

    np.testing.assert_allclose(part, whole[41:161, 30:120], atol=2e-3)  # grey: float32 coordinates from another corner


# --- whole pixels ---------------------------------------------------------------------------------------------------


@few
@given(
    seed=seeds, dtype=st.sampled_from([np.uint8, np.uint16, np.float32]), feather_px=st.sampled_from([None, 1.0, 30.0])
)
def test_tiles_cut_from_one_image_give_the_image_back(seed, dtype, feather_px):
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 255 if dtype == np.uint8 else 65535, (400, 420)).astype(dtype)
    corners = [(0, 0), (200, 13), (7, 180), (220, 200)]
    tiles = [Tile(str(i), Path("x"), (200, 200), Affine.translation(x, y)) for i, (x, y) in enumerate(corners)]
    store = MemoryStore({str(i): image[y : y + 200, x : x + 200] for i, (x, y) in enumerate(corners)})

    pixels, mask, canvas = assembled(Layout(tuple(tiles)), store, dtype=dtype, feather_px=feather_px)

    truth = image[: canvas.shape[0], : canvas.shape[1]]
    if dtype == np.float32:
        np.testing.assert_allclose(pixels[mask], truth[mask], rtol=3e-7)  # two roundings of float32
    else:
        np.testing.assert_array_equal(pixels[mask], truth[mask])
    covered = np.zeros(canvas.shape, bool)
    for x, y in corners:
        covered[y : y + 200, x : x + 200] = True
    np.testing.assert_array_equal(mask, covered)


def test_tiles_side_by_side_leave_no_gap():
    layout, store = draw_tiles(waves, [Affine.translation(x, y) for x in (0, 170) for y in (0, 150)], SHAPE)

    _, mask, canvas = assembled(layout, store)

    assert canvas == Canvas((0, 0), (300, 340))
    assert mask.all()


# --- blending -------------------------------------------------------------------------------------------------------


@few
@given(seed=seeds, feather_px=st.sampled_from([None, 5.0, 40.0, 1e6]))
def test_weights_sum_to_one(seed, feather_px):
    layout, store = draw_tiles(lambda x, y: np.ones_like(x), scattered(np.random.default_rng(seed), step=60), SHAPE)

    pixels, mask, _ = assembled(layout, store, feather_px=feather_px)

    assert np.abs(pixels[mask] - 1).max() < 1e-5  # float32, a sum of four


@pytest.mark.parametrize(("feather_px", "width"), [(None, 40), (10.0, 10), (1e6, 40)])
def test_the_ramp_between_two_tiles_is_straight_centred_and_no_wider_than_asked(feather_px, width):
    flat = np.zeros((100, 100), np.float32)
    layout = Layout(tuple(Tile(str(i), Path("x"), (100, 100), Affine.translation(60 * i, 0)) for i in range(2)))
    store = MemoryStore({"0": flat, "1": flat + 1})

    pixels, _, _ = assembled(layout, store, feather_px=feather_px)

    x = np.arange(160)
    np.testing.assert_allclose(pixels[50], np.clip(0.5 + (x - 79.5) / width, 0, 1), atol=1e-5)  # float32


def test_no_step_shows_where_a_tile_ends():
    flat = np.zeros((200, 200), np.float32)
    shifts = [(0, 0), (150, 20), (30, 140), (140, 150)]
    layout = Layout(
        tuple(Tile(str(i), Path("x"), (200, 200), Affine.rigid(0.01 * i, *s)) for i, s in enumerate(shifts))
    )
    store = MemoryStore({str(i): flat + 100 * i for i in range(4)})

    for feather_px in (None, 25.0):
        pixels, mask, _ = assembled(layout, store, feather_px=feather_px)
        # Where two tiles' borders cross on the mosaic's own outline, each is alone on one side; nothing can hide it.
        inner = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((51, 51)))[1:-1, 1:-1].astype(bool)
        both = inner[:, 1:] & inner[:, :-1]
        # 300 grey over a ramp of 25 px, up to twice as steep where three tiles meet
        assert np.abs(np.diff(pixels, axis=1))[both].max() < 30


def test_without_blending_the_first_tile_wins():
    flat = np.zeros((100, 100), np.float32)
    layout = Layout(tuple(Tile(str(i), Path("x"), (100, 100), Affine.translation(60.0 * i, 0)) for i in range(2)))

    pixels, _, _ = assembled(layout, MemoryStore({"0": flat + 1, "1": flat + 2}), blend="none")

    assert (pixels[:, :100] == 1).all()
    assert (pixels[:, 100:] == 2).all()


# --- no data --------------------------------------------------------------------------------------------------------


@few
@given(seed=seeds, interpolation=st.sampled_from(["linear", "cubic"]), hole=st.sampled_from([0.0, np.nan, 1e6]))
def test_no_data_is_neither_dark_nor_wide(seed, interpolation, hole):
    rng = np.random.default_rng(seed)
    layout, store = draw_tiles(waves, [Affine.rigid(rng.uniform(-0.3, 0.3), *rng.uniform(-5, 5, 2))], SHAPE)
    inside = np.ones(SHAPE, bool)
    inside[40:61, 90:] = False
    inside[100:130, 20:23] = False
    image = store.image(layout.tiles[0]).copy()
    image[~inside] = hole

    pixels, mask, canvas = assembled(layout, MemoryStore({"0": image}, {"0": inside}), interpolation=interpolation)

    at = layout.tiles[0].to_world.inverse(np.stack(world_of(canvas), -1).astype(float))
    reach = 1 if interpolation == "linear" else 2
    expected = ((at >= 0) & (at <= (SHAPE[1] - 1, SHAPE[0] - 1))).all(-1)
    unsure = np.abs(at - np.rint(at)).prod(-1) < 1e-3  # weight: a stencil that only just touches may count either way
    corner = np.floor(at).astype(int)
    for dy in range(1 - reach, 1 + reach):
        for dx in range(1 - reach, 1 + reach):
            x, y = np.clip(corner[..., 0] + dx, 0, SHAPE[1] - 1), np.clip(corner[..., 1] + dy, 0, SHAPE[0] - 1)
            expected &= inside[y, x]
    near_border = (np.abs(at) < 2e-3).any(-1) | (np.abs(at - (SHAPE[1] - 1, SHAPE[0] - 1)) < 2e-3).any(-1)
    sure = ~(unsure | near_border)
    np.testing.assert_array_equal(mask[sure], expected[sure])
    assert (pixels[~mask] == 0).all()
    # linear: 50 grey * (2 pi / 28 px)^2 / 4; cubic ones repeat the border: half a pixel of slope 50 * 0.22
    assert np.abs(pixels - waves(*world_of(canvas)))[mask].max() < (1.0 if interpolation == "linear" else 2.5)


def test_nan_outside_a_mask_does_not_reach_the_tile_below():
    layout, store = draw_tiles(waves, [Affine.rigid(0.1), Affine.rigid(0.05, 60, 10)], SHAPE)
    inside = np.ones(SHAPE, bool)
    inside[50:100, 80:140] = False
    image = np.where(inside, store.image(layout.tiles[0]), np.float32(np.nan))

    pixels, mask, canvas = assembled(
        layout, MemoryStore({"0": image, "1": store.image(layout.tiles[1])}, {"0": inside})
    )

    assert np.abs(pixels - waves(*world_of(canvas)))[mask].max() < 1.0  # grey: the bound of linear interpolation


def test_a_mask_gives_way_to_the_tile_below_without_a_step():
    flat = np.zeros((200, 200), np.float32)
    inside = np.ones((200, 200), bool)
    inside[:, 120:] = False
    layout = Layout(tuple(Tile(str(i), Path("x"), (200, 200), Affine.translation(60 * i, 0)) for i in range(2)))

    pixels, mask, _ = assembled(layout, MemoryStore({"0": flat, "1": flat + 100}, {"0": inside}))

    assert mask.all()
    row = pixels[100]
    assert (row[:60] == 0).all()
    assert (row[120:] == 100).all()
    assert np.diff(row).max() < 4  # 100 grey over 60 px; distances to masks are kept every 8 px


# --- grey values ----------------------------------------------------------------------------------------------------


def test_gain_and_offset_are_applied_before_rounding_and_clipped_only_to_the_type():
    image = np.array([[0, 10, 101, 255]], np.uint8).repeat(4, 0)
    layout = Layout((Tile("0", Path("x"), (4, 4)),))

    pixels, _, _ = assembled(layout, MemoryStore({"0": image}), dtype=np.uint8, intensity={"0": (1.25, -5.0)})

    np.testing.assert_array_equal(pixels[0], [0, 8, 121, 255])  # -5, 7.5 (to even), 121.25, 313.75


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_short_way_for_a_tile_alone_gives_what_the_long_way_does(dtype, interpolation):
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (700, 720)).astype(dtype)
    layout = Layout((Tile("0", Path("x"), image.shape, Affine.rigid(0.05, 0.3, 0.7)),))
    store = MemoryStore({"0": image})

    # a gain of almost nothing takes the long way: through float32, corrected, rounded
    short, long = (
        assembled(layout, store, dtype=dtype, interpolation=interpolation, intensity=i)[0]
        for i in ({}, {"0": (1 + 1e-12, 0.0)})
    )

    # grey: uint16 has values that lie halfway to the last bit of float32, which may be rounded either way
    assert np.abs(short.astype(int) - long).max() <= (0 if dtype == np.uint8 else 1)
    assert (short != long).mean() < 1e-3


def test_unknown_options_are_refused_by_name():
    layout, store = draw_tiles(waves, [Affine()], SHAPE)
    canvas = Canvas.of(layout)

    for bad in (
        {"interpolation": "lanczos"},
        {"blend": "median"},
        {"feather_px": 0.0},
        {"dtype": np.int64},
        {"block_px": 0},
    ):
        with pytest.raises(InputError, match=str(next(iter(bad.values())))[-6:].strip("<>'")):
            list(blocks(layout, store, canvas, **({"dtype": np.uint8} | bad)))


def test_a_layout_without_any_known_shape_cannot_be_drawn():
    with pytest.raises(InputError, match="none of its 1 tiles"):
        Canvas.of(Layout((Tile("0", Path("x"), (0, 0)),)))


# --- what is read ---------------------------------------------------------------------------------------------------


def test_a_block_reads_only_the_tiles_it_touches():
    layout, store = draw_tiles(waves, [Affine.translation(140 * i, 0) for i in range(12)], SHAPE)

    first = next(iter(blocks(layout, store, Canvas.of(layout), dtype=np.float32, block_px=512)))

    assert first[0] == Box(0, 0, 512, 150)
    assert set(store.reads) == {"0", "1", "2", "3"}


def test_blocks_that_no_tile_touches_are_left_out():
    layout, store = draw_tiles(waves, [Affine(), Affine.translation(3000, 3000)], SHAPE)
    seen = []

    drawn = list(
        blocks(layout, store, Canvas.of(layout), dtype=np.uint8, block_px=256, progress=lambda *n: seen.append(n))
    )

    assert 2 <= len(drawn) <= 5
    assert seen == [(i + 1, len(drawn)) for i in range(len(drawn))]


def test_a_tile_of_another_size_than_the_layout_says_is_an_error_that_names_it():
    layout, store = draw_tiles(waves, [Affine(), Affine.translation(100, 0)], SHAPE)
    store = MemoryStore({"0": store.image(layout.tiles[0]), "1": np.zeros((9, 9), np.float32)})

    with pytest.raises(InputError, match=r"tile 1: .* 9x9 px, needed 170x150"):
        assembled(layout, store)

    left_out = {}
    _, mask, _ = assembled(layout, store, on_unreadable=lambda tile, error: left_out.update({tile.id: error}))
    assert set(left_out) == {"1"}
    assert mask.sum() == 150 * 170


# --- small ones -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.5, 0.25, 0.37, 0.1])
def test_a_reduced_mosaic_shows_the_same_places(scale):
    def ramp(x, y):
        return 0.5 * x - 0.25 * y

    layout, store = draw_tiles(ramp, [Affine.rigid(0.02, 10.3, 20.6), Affine.rigid(-0.01, 150.1, 22)], (240, 240))
    canvas = Canvas.of(layout, scale)

    pixels, mask, _ = assembled(layout, store, canvas)

    x, y = world_of(canvas)
    truth = ramp((x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5)
    assert mask.mean() > 0.8
    assert np.abs(pixels - truth)[mask].max() < 2e-3  # grey = 0.004 px of the world: float32


def test_reducing_averages_instead_of_skipping():
    noise = np.random.default_rng(0).normal(0, 1, (512, 512)).astype(np.float32)
    layout = Layout((Tile("0", Path("x"), (512, 512)),))

    pixels, mask, _ = assembled(layout, MemoryStore({"0": noise}), Canvas.of(layout, 0.125))

    assert pixels[mask].std() < 1.2 / 8  # the mean of 64 values


@pytest.mark.parametrize("max_side_px", [50, 97, 10_000])
def test_a_preview_is_no_larger_than_asked_and_never_enlarged(max_side_px):
    layout, store = draw_tiles(waves, scattered(np.random.default_rng(2)), SHAPE)

    image, scale = preview(layout, store, max_side_px)

    assert max(image.shape) <= max_side_px
    assert scale <= 1
    assert image.shape == Canvas.of(layout, scale).shape
    assert abs(image.shape[1] / scale - Canvas.of(layout).shape[1]) < 3 / scale
    assert image.dtype == np.uint8
    assert np.ptp(image[image > 0]) > 200


# --- files ----------------------------------------------------------------------------------------------------------


class Recorder:
    """A sink that keeps what it is told."""

    def __init__(self, fail_at=None):
        self.told = []
        self.fail_at = fail_at

    def open(self, path, shape, dtype, pixel_size, block):
        self.told.append(("open", shape, dtype, pixel_size))

    def write(self, pixels, mask, box):
        self.told.append(("write", box))
        if self.fail_at == len(self.told):
            raise OSError(28, "No space left on device")

    def close(self):
        self.told.append(("close",))

    def abort(self):
        self.told.append(("abort",))


def written(tmp_path, images):
    tiles = []
    for i, image in enumerate(images):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), image)
        tiles.append(Tile(str(i), path, image.shape, Affine.translation(80 * i, 0)))
    return Layout(tuple(tiles), pixel_size=(4.0, "nm"))


def store_of(layout):
    return MemoryStore({t.id: cv2.imread(str(t.path), cv2.IMREAD_UNCHANGED) for t in layout})


def test_mixed_depths_give_the_widest_and_a_warning(tmp_path):
    narrow, wide = np.full((100, 100), 200, np.uint8), np.full((100, 100), 900, np.uint16)
    layout = written(tmp_path, [narrow, wide])
    sink = Recorder()

    result = render(layout, store_of(layout), [(sink, tmp_path / "x")], correct_intensity=False)

    assert result.dtype == np.uint16
    assert any("differ in depth" in w for w in result.warnings)
    assert common_dtype(written(tmp_path, [narrow, narrow])) == (np.uint8, [])


def test_render_opens_writes_and_closes_every_sink(tmp_path):
    layout = written(tmp_path, [np.full((100, 100), 50, np.uint8)] * 3)
    sinks = [Recorder(), Recorder()]

    result = render(layout, store_of(layout), [(s, tmp_path / "x") for s in sinks], block_px=64)

    for sink in sinks:
        assert sink.told[0] == ("open", (100, 260), np.uint8, (4.0, "nm"))
        assert sink.told[-1] == ("close",)
        assert len(sink.told) == 2 + 2 * 5
    assert result.canvas == Canvas((0, 0), (100, 260))
    assert result.warnings == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whatever_stops_a_render_aborts_every_sink_and_is_raised_again(tmp_path, error):
    layout = written(tmp_path, [np.full((100, 100), 50, np.uint8)] * 3)
    sinks = [Recorder(), Recorder(fail_at=4 if error is OSError else None)]

    def progress(done, _):
        if error is KeyboardInterrupt and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(error):
        render(
            layout, store_of(layout), [(s, tmp_path / "x") for s in sinks], block_px=64, threads=2, progress=progress
        )

    for sink in sinks:
        assert sink.told[-1] == ("abort",)
        assert ("close",) not in sink.told


def test_a_tile_that_cannot_be_read_is_left_out_and_named(tmp_path):
    layout = written(tmp_path, [np.full((100, 100), 50, np.uint8)] * 3)
    store = store_of(Layout(layout.tiles[:2]))
    layout.tiles[2].path.unlink()

    result = render(layout, store, [(Recorder(), tmp_path / "x")])

    assert result.canvas.shape == (100, 260)
    assert [w for w in result.warnings if w.startswith("tile 2 is left out")]


def test_a_unit_that_is_no_length_is_left_out_with_a_warning(tmp_path):
    layout = replace(written(tmp_path, [np.full((100, 100), 50, np.uint8)]), pixel_size=(1.0, "parsnip"))
    sink = Recorder()

    result = render(layout, store_of(layout), [(sink, tmp_path / "x")])

    assert "parsnip" in result.warnings[0]
    assert sink.told[0][3] is None
