"""Warping: exact positions, the same pixels in any box, masks by the interpolation's support, types kept."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij import fields
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images import opening, warped
from demis_ij.records import Affine, Field, Tile, Warp

HOW = ("nearest", "linear", "cubic")
SHAPE = (120, 150)


def noise(dtype="uint8", shape=SHAPE, seed=0):
    values = np.random.default_rng(seed).uniform(0, 1, shape)
    return (values * {"uint8": 255, "uint16": 65535, "float32": 3.0}[dtype]).astype(dtype)


def bent(seed=0, shape=SHAPE, stride=7):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (9, 2)) * np.array(shape[::-1])
    return fields.thin_plate(points, rng.normal(0, 4, (9, 2)), shape, stride)


def shift(x, y, shape=SHAPE):
    return Warp((Affine.translation(x, y),), shape)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_identity_and_whole_shifts_change_nothing(how, dtype):
    image = noise(dtype)
    mask = np.ones(SHAPE, bool)
    mask[30:40, 50:60] = False
    pixels, known = warped(image, mask, Warp.identity(SHAPE), interpolation=how)
    np.testing.assert_array_equal(pixels, np.where(mask, image, 0))
    np.testing.assert_array_equal(known, mask)
    assert pixels.dtype == dtype
    pixels, known = warped(image, None, shift(7, -3), interpolation=how)
    np.testing.assert_array_equal(pixels[3:, :-7], image[:-3, 7:])
    assert known[3:, :-7].all()
    assert known.sum() == (120 - 3) * (150 - 7)


@pytest.mark.parametrize("how", HOW)
@given(
    x=st.integers(0, 140), y=st.integers(0, 110), w=st.integers(1, 60), h=st.integers(1, 60), seed=st.integers(0, 3)
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_a_box_has_the_pixels_of_the_whole(how, x, y, w, h, seed):
    image, mask = noise(seed=seed), noise(seed=9) > 4
    warp = Warp((bent(seed), Affine.rigid(0.05, 2, 3)), SHAPE)
    whole, known = warped(image, mask, warp, interpolation=how)
    box = Box(x, y, x + w, y + h)
    inside = box & Box.of_shape(SHAPE)
    pixels, mask_of_box = warped(image, mask, warp, interpolation=how, box=box)
    assert pixels.shape == box.shape
    np.testing.assert_array_equal(pixels[: inside.height, : inside.width], whole[inside.slices])
    np.testing.assert_array_equal(mask_of_box[: inside.height, : inside.width], known[inside.slices])
    assert mask_of_box.sum() == known[inside.slices].sum()  # nothing is known outside the canvas


@pytest.mark.parametrize("how", HOW)
def test_narrow_boxes_along_the_images_edge_have_the_pixels_of_the_whole(how):
    warp = shift(-4.5, -3.25)
    whole, known = warped(noise(), None, warp, interpolation=how)
    for box in (Box(0, 0, 7, 5), Box(5, 40, 6, 41), Box(4, 3, 6, 6), Box(149, 100, 150, 120), Box(60, 4, 61, 5)):
        pixels, mask = warped(noise(), None, warp, interpolation=how, box=box)
        np.testing.assert_array_equal(pixels, whole[box.slices])
        np.testing.assert_array_equal(mask, known[box.slices])


@pytest.mark.parametrize("how", HOW)
def test_a_shift_within_a_ten_thousandth_of_a_whole_pixel_is_that_pixel(how):
    mask = noise() > 20
    for off in (-5e-5, 5e-5):
        pixels, known = warped(noise(), mask, shift(3 + off, -2 - off), interpolation=how)
        np.testing.assert_array_equal(known[2:, :-3], mask[:-2, 3:])
        np.testing.assert_array_equal(pixels[2:, :-3], np.where(mask, noise(), 0)[:-2, 3:])


def test_linear_reproduces_planes_and_cubic_reproduces_parabolas_at_any_position():
    y, x = np.mgrid[0:120, 0:150].astype(np.float64)
    warp = Warp((bent(1),), SHAPE)
    at = np.stack([x, y], -1) + np.moveaxis(fields.dense(warp, Box.of_shape(SHAPE)), 0, -1)
    for how, made in (
        ("linear", lambda x, y: 0.3 * x - 0.2 * y + 5),
        ("cubic", lambda x, y: 0.004 * x**2 - 0.003 * y**2 + 0.002 * x * y + 0.1 * x),
    ):
        pixels, known = warped(made(x, y).astype(np.float32), None, warp, interpolation=how)
        wanted = made(at[..., 0], at[..., 1])
        assert known.mean() > 0.8
        np.testing.assert_allclose(pixels[known], wanted[known], atol=2e-4)  # grey: float32, and a snap of 1e-4 px


def test_positions_are_not_rounded_to_a_32nd_of_a_pixel():
    ramp = np.tile(np.arange(150, dtype=np.float32), (120, 1))
    for part in (1 / 64, 0.01, 0.49):
        pixels, known = warped(ramp, None, shift(part, 0), interpolation="linear")
        np.testing.assert_allclose(pixels[:, :149], ramp[:, :149] + part, atol=2e-5)
        assert known[:, :149].all()
        assert not known[:, 149].any()


@pytest.mark.parametrize(("how", "reach"), [("nearest", (0, 0)), ("linear", (0, 1)), ("cubic", (-1, 2))])
def test_a_hole_grows_by_the_support_and_no_further(how, reach):
    mask = np.ones(SHAPE, bool)
    mask[50, 70] = False
    _, known = warped(noise(), mask, shift(0.25, 0.25), interpolation=how)
    rows, cols = np.nonzero(~known[:115, :145])
    first, last = reach
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (50 - last, 50 - first, 70 - last, 70 - first)
    assert len(rows) == (last - first + 1) ** 2
    # along one axis only: what has no weight does not count
    _, known = warped(noise(), mask, shift(0.25, 0), interpolation=how)
    rows, cols = np.nonzero(~known[:, :145])
    assert set(rows) == {50}
    assert len(cols) == last - first + 1


def test_black_is_a_grey_and_what_is_masked_does_not_leak():
    image = np.zeros(SHAPE, np.uint8)
    image[:, 75:] = 200
    mask = np.ones(SHAPE, bool)
    mask[:, 75:] = False
    for how in HOW:
        pixels, known = warped(image, mask, shift(0.5, 0), interpolation=how)
        assert known[:, 10:70].all()
        assert not pixels.any()
    values = noise("float32")
    values[60, 60] = np.nan
    pixels, known = warped(values, None, shift(0.5, 0.5), interpolation="cubic")
    assert np.isfinite(pixels).all()
    assert (~known[:119, :149]).sum() == 16


def test_what_the_warp_does_not_know_is_no_data():
    offsets = np.zeros((2, 16, 19), np.float32)
    offsets[:, 5:8, 9:11] = np.nan
    _, known = warped(noise(), None, Warp((Field(offsets, 8),), SHAPE))
    rows, cols = np.nonzero(~known)
    # nodes 5..7 and 9..10 every 8 px: unknown from just after the last known node to just before the next
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (33, 63, 65, 87)
    everything = Warp((Field(np.full((2, 16, 19), np.nan), 8),), SHAPE)
    pixels, known = warped(noise(), None, everything)
    assert not known.any()
    assert not pixels.any()


def test_integers_are_rounded_and_clipped_not_wrapped():
    image = np.zeros((12, 12), np.uint8)
    image[:, 6:] = 255
    pixels, known = warped(image, None, shift(0.5, 0, (12, 12)), interpolation="cubic")  # overshoots on both sides
    assert pixels[known].min() == 0
    assert pixels[known].max() == 255
    row = warped(np.array([[10, 11]] * 3, np.uint8), None, shift(0.5, 0, (3, 2)), interpolation="linear")[0]
    assert row[0, 0] == 10  # 10.5 to even


@pytest.mark.parametrize("dtype", ["int32", "uint32", "uint64"])
def test_labels_of_any_integer_type_are_kept_by_nearest(dtype):
    labels = np.random.default_rng(0).integers(0, 2**31 - 1, SHAPE).astype(dtype)
    pixels, known = warped(labels, None, Warp((bent(2),), SHAPE), interpolation="nearest")
    assert pixels.dtype == dtype
    assert set(pixels[known].tolist()) <= set(labels.ravel().tolist())


def test_far_into_a_large_image_positions_are_still_exact():
    class Huge:  # column number as grey value, 100000 x 100000 px
        shape, dtype = (100_000, 100_000), np.dtype(np.float64)
        asked: list = []  # noqa: RUF012

        def __getitem__(self, key):
            self.asked.append(key)
            cols = np.arange(key[1].start, key[1].stop, dtype=np.float64)
            return np.tile(cols % 64, (key[0].stop - key[0].start, 1))

    field = Field(np.full((2, 40, 40), 0.375, np.float32), 2600)
    box = Box(90_000, 70_000, 90_050, 70_010)
    pixels, known = warped(Huge(), None, Warp((field,), (100_000, 100_000)), box=box)
    inner = np.arange(90_000, 90_050) % 64
    fits = inner < 63  # not across the saw's edge
    np.testing.assert_allclose(pixels[:, fits], np.tile(inner[fits] + 0.375, (10, 1)), atol=1e-5)
    assert known.all()
    ((rows, cols),) = Huge.asked  # only around what the box needs
    assert rows.start >= 69_990
    assert rows.stop <= 70_020
    assert cols.start >= 89_990
    assert cols.stop <= 90_060


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="150x119 px, its image 150x120 px"):
        warped(noise(), np.ones((119, 150), bool), shift(0, 0))
    with pytest.raises(InputError, match="'bilinear' is not one of"):
        warped(noise(), None, shift(0, 0), interpolation="bilinear")


# --- images that are read in parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_uncompressed_tiff_is_sliced_where_it_lies(tmp_path, byteorder, dtype):
    made = np.stack([noise(dtype, seed=i) for i in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", made, byteorder=byteorder, photometric="minisblack")
    found = opening.opened(Tile("a", tmp_path / "a.tif", SHAPE, page=2))
    assert not isinstance(found, np.ndarray) or isinstance(found, np.memmap)
    assert (tuple(found.shape), found.dtype) == (SHAPE, np.dtype(dtype))
    part = found[10:20, 30:50]
    assert part.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(part, made[2, 10:20, 30:50])


@pytest.mark.parametrize("options", [{"compression": "zlib"}, {"tile": (32, 32)}, {"photometric": "miniswhite"}])
def test_any_other_tiff_is_read_whole_and_the_same(tmp_path, options):
    made = noise()
    tifffile.imwrite(tmp_path / "a.tif", made, **options)
    found = opening.opened(Tile("a", tmp_path / "a.tif", SHAPE))[:, :]
    np.testing.assert_array_equal(found, 255 - made if "photometric" in options else made)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_of_a_large_tiled_tiff_only_tiles_that_are_needed_are_read(tmp_path, dtype):
    made = noise(dtype, (333, 290))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, made, tile=(64, 96), compression="zlib", predictor=dtype != "float32")
    found = opening.opened(Tile("a", path, made.shape), whole_px=1000)
    assert not isinstance(found, np.ndarray)
    for box in (Box(0, 0, 290, 333), Box(60, 70, 200, 131), Box(280, 320, 290, 333), Box(95, 63, 97, 65)):
        np.testing.assert_array_equal(found[box.slices], made[box.slices])
    np.testing.assert_array_equal(found[5:9, ::7], made[5:9, ::7])
    with tifffile.TiffFile(path) as file:
        last = file.pages.first.dataoffsets[-1]
    path.write_bytes(path.read_bytes()[: last + 3])
    with pytest.raises(InputError, match=r"a\.tif: truncated"):
        found[300:333, 250:290]


def test_a_large_sections_mask_is_found_in_a_part_of_its_pixels(tmp_path):
    image = np.random.default_rng(0).integers(60, 255, (600, 700)).astype(np.uint8)
    image[:90], image[:, :120] = 0, 0
    tile = Tile("a", tmp_path / "a.tif", image.shape)
    mask = opening.opened_mask(tile, image, whole_px=50_000)
    assert tuple(mask.shape) == image.shape
    whole = mask[0:600, 0:700]
    assert not whole[:90].any()
    assert not whole[:, :120].any()
    assert whole[100:, 130:].all()
    np.testing.assert_array_equal(mask[55:230, 101:333], whole[55:230, 101:333])
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((600, 699), np.uint8))
    with pytest.raises(InputError, match=r"m\.tif is 699x600 px, the tile 700x600"):
        opening.opened_mask(Tile("a", tmp_path / "a.tif", image.shape, mask_path=tmp_path / "m.tif"), image, whole_px=9)
