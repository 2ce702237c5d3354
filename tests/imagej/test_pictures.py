"""Pictures: numpy to ImageJ and back, what lies over them, and the files that ImageJ writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from demis_ij.errors import FormatError, InputError
from demis_ij.imagej import Arrow, Label, Line, Outline, Points

pytestmark = pytest.mark.java

side = st.integers(1, 9)
dtypes = st.sampled_from(["|u1", "<u2", ">u2", "<f4", ">f4", "|b1"])
axes = st.sampled_from(["yx", "zyx", "cyx", "tyx", "zcyx", "tcyx", "tzyx", "tzcyx"])


@st.composite
def arrays(draw, letters=axes):
    names = draw(letters)
    array = draw(hnp.arrays(draw(dtypes), tuple(draw(side) for _ in names)))
    match draw(st.sampled_from(["as it is", "read-only", "mirrored", "gaps", "transposed memory"])):
        case "read-only":
            array.setflags(write=False)
        case "mirrored":
            array = array[..., ::-1, ::-1]
        case "gaps":
            array = np.repeat(array, 2, axis=-1)[..., ::2]
        case "transposed memory":
            array = np.asfortranarray(array)
    return array, names


@given(arrays())
@settings(max_examples=80, deadline=None)
def test_every_type_and_shape_comes_back_as_it_went(imagej_session, array_and_axes):
    array, names = array_and_axes
    before = array.copy()

    picture = imagej_session.to_imageplus(array, axes=names)
    returned = picture.to_numpy(axes=names)

    expected = array.astype(np.uint8) * np.uint8(255) if array.dtype == bool else array
    np.testing.assert_array_equal(returned, expected)
    assert returned.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(array, before)
    long = [n for n in names if array.shape[names.index(n)] > 1 or n in "yx"]
    assert picture.axes == "".join(long)
    assert picture.to_numpy().shape == picture.shape


@given(hnp.arrays(np.uint8, st.tuples(side, side, side, st.just(3))), st.booleans())
@settings(max_examples=30, deadline=None)
def test_colour_comes_back_as_it_went(imagej_session, array, with_gaps):
    if with_gaps:
        array = array[:, ::-1, :, ::-1]

    picture = imagej_session.to_imageplus(array, axes="zyxs")

    np.testing.assert_array_equal(picture.to_numpy(axes="zyxs"), array)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.uint8, 255), (np.uint16, 65535), (np.uint16, 32768), (np.float32, np.inf), (np.float32, np.nan),
     (np.float32, 3.4e38), (np.float32, 1e-45)],
)  # fmt: skip
def test_the_largest_values_survive_and_java_sees_them(imagej_session, dtype, value):
    array = np.zeros((3, 4), dtype)
    array[1, 2] = value

    picture = imagej_session.to_imageplus(array)
    seen = imagej_session.run_script(
        "#@ ImagePlus image\n#@output Double value\nvalue = image.getProcessor().getPixelValue(2, 1).doubleValue()\n",
        {"image": picture},
    )

    np.testing.assert_array_equal(picture.to_numpy(), array)
    np.testing.assert_equal(np.float32(seen["value"]), np.float32(array[1, 2]))


def test_imagej_finds_the_pixels_where_numpy_has_them(imagej_session):
    array = np.arange(4 * 3 * 2 * 5 * 6, dtype=np.uint16).reshape(4, 3, 2, 5, 6)
    script = (
        "#@ ImagePlus image\n"
        "#@output Integer value\n"
        "value = image.getStack().getProcessor(image.getStackIndex(2, 3, 4)).get(5, 1)\n"
    )

    seen = imagej_session.run_script(script, {"image": imagej_session.to_imageplus(array, axes="tzcyx")})

    assert seen["value"] == array[3, 2, 1, 1, 5]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 2), np.int16), r"int16.*astype\(np.float32\)"),
        (np.zeros((2, 2), np.float64), r"float64.*astype\(np.float32\)"),
        (np.zeros((2, 2), np.uint32), r"uint32.*astype\(np.uint16\)"),
        (np.zeros((2, 2), np.complex128), r"np.abs"),
        (np.zeros((0, 2), np.uint8), "no pixels"),
        (np.zeros((2, 2, 2, 2), np.uint8), "axes named"),
        (np.ma.masked_array(np.zeros((2, 2), np.uint8)), r"filled\(0\)"),
        ([[1, 2]], "found list"),
    ],
)
def test_what_imagej_has_no_pixels_for_is_refused_with_the_cast(imagej_session, array, said):
    with pytest.raises(InputError, match=said):
        imagej_session.to_imageplus(array)


@pytest.mark.parametrize(
    ("names", "said"), [("xy", "order"), ("yxz", "order"), ("zy", "one letter"), ("yxs", "found 2")]
)
def test_axes_that_do_not_fit_are_refused(imagej_session, names, said):
    array = np.zeros((2,) * len(names), np.uint8)

    with pytest.raises(InputError, match=said):
        imagej_session.to_imageplus(array, axes=names)


def test_an_axis_that_is_longer_than_one_cannot_be_left_out(imagej_session):
    picture = imagej_session.to_imageplus(np.zeros((3, 4, 5), np.uint8))

    with pytest.raises(InputError, match="it has 'zyx'"):
        picture.to_numpy(axes="yx")


def test_signed_16_bit_comes_back_signed(imagej_session, tmp_path):
    signed = np.array([[-32768, -1], [0, 32767]], np.int16)
    tifffile.imwrite(tmp_path / "signed.tif", signed)

    picture = imagej_session.open(tmp_path / "signed.tif")

    np.testing.assert_array_equal(picture.to_numpy(), signed)
    assert picture.dtype == np.int16


def test_a_table_of_colours_only_colours_what_is_seen(imagej_session, tmp_path):
    table = np.zeros((3, 256), np.uint16)
    table[0], table[1] = np.arange(256) * 257, np.arange(256)[::-1] * 257
    values = np.array([[0, 7], [200, 255]], np.uint8)
    tifffile.imwrite(tmp_path / "table.tif", values, photometric="palette", colormap=table)

    picture = imagej_session.open(tmp_path / "table.tif")

    np.testing.assert_array_equal(picture.to_numpy(), values)
    np.testing.assert_array_equal(picture.snapshot()[..., 1], [[255, 248], [55, 0]])


MARKS = (
    Line((1.25, 2.5), (30.0, 4.75), colour="#ff0000", width_px=2.0, name="r0c0-r0c1"),
    Arrow((5.0, 5.0), (25.5, 15.25), colour="#00ff80", width_px=1.5, name="r0c1"),
    Outline(((0.5, 0.5), (39.5, 1.0), (38.25, 29.5), (1.0, 28.75)), colour="#0080ff", name="tile Ä"),
    Points(((3.5, 4.5), (10.5, 11.25)), colour="#ffffff"),
    Label((4.0, 6.0), "r0c0.tif", colour="#ffff00", height_px=18, plane=2),
)


def test_an_overlay_comes_back_and_is_saved_with_the_picture(imagej_session, tmp_path):
    picture = imagej_session.to_imageplus(np.zeros((2, 30, 40), np.uint16), marks=MARKS)

    saved = picture.save(tmp_path / "with overlay ä.tif")

    assert picture.overlay == MARKS
    again = imagej_session.open(saved)
    assert [type(m) for m in again.overlay] == [type(m) for m in MARKS]
    assert [m.colour for m in again.overlay] == [m.colour for m in MARKS]
    assert again.overlay[2].name == "tile Ä"
    np.testing.assert_allclose(again.overlay[0].end, MARKS[0].end, atol=1e-4)  # px: a TIFF holds them in float32
    np.testing.assert_allclose(again.overlay[2].corners, MARKS[2].corners, atol=1e-4)
    with tifffile.TiffFile(saved) as file:
        assert len(file.imagej_metadata["Overlays"]) == len(MARKS)
    assert picture.draw(()).overlay == ()


def test_a_colour_that_is_none_is_refused(imagej_session):
    with pytest.raises(InputError, match="'green' is no colour"):
        imagej_session.to_imageplus(np.zeros((2, 2), np.uint8), marks=[Line((0, 0), (1, 1), colour="green")])


@pytest.mark.parametrize(("size", "unit"), [((4.0, "nm"), "nm"), ((0.25, "µm"), "micron")])
def test_a_saved_tiff_tells_others_its_calibration_and_range(imagej_session, tmp_path, size, unit):
    array = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    picture = imagej_session.to_imageplus(array, title="named", pixel_size=size, z_spacing=40.0, display_range=(10, 50))

    path = picture.save(tmp_path / "stack.tif")

    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.asarray(), array)
        told = file.imagej_metadata
        across = file.pages[0].tags["XResolution"].value
    assert (told["unit"].replace("\\u00B5m", "micron"), told["spacing"], told["min"], told["max"]) == (
        unit,
        40.0,
        10.0,
        50.0,
    )
    assert across[0] / across[1] == pytest.approx(1 / size[0], rel=1e-6)
    again = imagej_session.open(path)
    assert again.pixel_size[1] == size[1]
    assert again.pixel_size[0] == pytest.approx(size[0], rel=1e-6)
    assert (again.z_spacing, again.display_range) == (40.0, (10.0, 50.0))
    assert picture.title == "named"


def test_a_tiff_of_another_program_is_read(imagej_session, tmp_path):
    array = np.random.default_rng(1).integers(0, 65535, (7, 9)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "other.tif", array, compression="zlib")

    np.testing.assert_array_equal(imagej_session.open(tmp_path / "other.tif").to_numpy(), array)


def test_what_is_no_image_is_refused(imagej_session, tmp_path):
    (tmp_path / "words.tif").write_text(json.dumps({"no": "image"}), encoding="utf-8")

    with pytest.raises(FormatError, match=r"words\.tif.*cannot read it"):
        imagej_session.open(tmp_path / "words.tif")
    with pytest.raises(InputError, match="there is no file"):
        imagej_session.open(tmp_path / "nothing.tif")


def test_a_file_that_is_there_is_not_replaced_unasked(imagej_session, tmp_path):
    picture = imagej_session.to_imageplus(np.zeros((4, 4), np.uint8))
    path = picture.save(tmp_path / "once.tif")

    with pytest.raises(InputError, match="overwrite=True"):
        picture.save(path)
    with pytest.raises(InputError, match=r"\.tif or \.png"):
        picture.save(tmp_path / "once.jpg")
    with pytest.raises(InputError, match="no folder"):
        picture.save(tmp_path / "nowhere" / "once.tif")
    assert picture.save(path, overwrite=True) == path
    assert [p.name for p in tmp_path.iterdir()] == ["once.tif"]


def test_a_snapshot_shows_the_range_and_the_overlay(imagej_session, tmp_path):
    array = np.full((2, 40, 60), 1000, np.uint16)
    array[1] = 3000
    outline = Outline(((10, 10), (50, 10), (50, 30), (10, 30)), colour="#ff0000", width_px=3)
    picture = imagej_session.to_imageplus(array, display_range=(0, 4000), marks=[outline])

    first, second = picture.snapshot(), picture.snapshot(2)

    np.testing.assert_allclose(first[20, 30], 64, atol=1)  # grey values: a quarter of the range
    np.testing.assert_allclose(second[20, 30], 191, atol=1)
    assert first[10, 30].tolist() == [255, 0, 0]
    assert picture.snapshot(longest_px=30).shape == (20, 30, 3)
    assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="planes 1 to 2"):
        picture.snapshot(3)
    picture.save(tmp_path / "seen.png")


@pytest.mark.parametrize(
    ("given_", "said"),
    [({"z_spacing": 3.0}, "no unit"), ({"pixel_size": (0.0, "nm")}, "positive"), ({"display_range": (5, 5)}, "below")],
)
def test_lengths_and_ranges_that_mean_nothing_are_refused(imagej_session, given_, said):
    with pytest.raises(InputError, match=said):
        imagej_session.to_imageplus(np.zeros((3, 3), np.uint8), **given_)


def test_a_picture_without_calibration_has_no_pixel_size(imagej_session):
    assert imagej_session.to_imageplus(np.zeros((3, 3), np.uint8)).pixel_size is None
