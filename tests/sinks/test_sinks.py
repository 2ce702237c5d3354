import errno
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.protocols import SINKS
from demis_ij.sinks import ome_tiff
from demis_ij.sinks.calibration import ome_symbol, to_metres, zarr_name
from demis_ij.sinks.frame import Piece
from demis_ij.sinks.levels import halved_into
from demis_ij.sinks.ome_tiff import OmeTiffSink
from demis_ij.sinks.ome_zarr import OmeZarrSink
from demis_ij.sinks.png import PngSink
from demis_ij.sinks.reduction import area_mean, stretched, to_dtype
from demis_ij.sinks.volume import VolumeKind
from demis_ij.sinks.volume_zarr import ZarrVolumeSink
from demis_ij.testing.sink_contract import SinkContract


class TestOmeTiffKeepsTheContract(SinkContract):
    suffix = ".ome.tif"

    def sink(self):
        return OmeTiffSink()

    def read(self, path):
        return tifffile.imread(path)


class TestOmeZarrKeepsTheContract(SinkContract):
    suffix = ".ome.zarr"

    def sink(self):
        return OmeZarrSink()

    def read(self, path):
        return zarr.open_group(path, mode="r")["0"][:]


class TestPngKeepsTheContract(SinkContract):
    suffix = ".png"
    exact = False

    def sink(self):
        return PngSink()

    def read(self, path):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        return image if image.ndim == 2 else image[..., 0]


SHAPE = (700, 1100)


def grey(dtype="uint8"):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    values = 120 + 60 * np.sin(x / 30) * np.cos(y / 40) + rng.normal(0, 5, SHAPE)
    mask = np.ones(SHAPE, bool)
    mask[:, 900:] = False
    mask[301:402, 401:502] = False
    return np.where(mask, values, 0).astype(dtype), mask


def write(sink, path, pixels, mask, pixel_size=None, block=256):
    sink.open(path, pixels.shape, pixels.dtype, pixel_size, block)
    whole = Box.of_shape(pixels.shape)
    for y in range(0, pixels.shape[0], block):
        for x in range(0, pixels.shape[1], block):
            box = Box(x, y, x + block, y + block) & whole
            sink.write(pixels[box.slices], mask[box.slices], box)
    sink.close()
    return path


def levels_of(path):
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r")
        return [group[d["path"]][:] for d in group.attrs["multiscales"][0]["datasets"]]
    with tifffile.TiffFile(path) as file:
        return [level.asarray() for level in file.series[0].levels]


BOTH = pytest.mark.parametrize(("sink", "suffix"), [(OmeTiffSink, ".ome.tif"), (OmeZarrSink, ".ome.zarr")])


def test_every_sink_is_found_by_its_name():
    assert [SINKS[name] for name in ("ome-tiff", "ome-zarr", "png")] == [OmeTiffSink, OmeZarrSink, PngSink]


# --- pyramids -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_each_level_is_the_mean_of_the_data_in_the_one_before(tmp_path, sink, suffix, dtype):
    pixels, mask = grey(dtype)

    levels = levels_of(write(sink(), tmp_path / f"m{suffix}", pixels, mask))

    assert [level.shape for level in levels] == [(700, 1100), (350, 550), (175, 275), (88, 138)]
    # by hand: even sizes, so squares of four
    square = [(slice(i, None, 2), slice(j, None, 2)) for i in (0, 1) for j in (0, 1)]
    count = sum(mask[s].astype(int) for s in square)
    mean = sum(np.where(mask, pixels, 0).astype(float)[s] for s in square) / np.maximum(count, 1)
    data = count >= 2
    if dtype == "float32":
        np.testing.assert_allclose(levels[1][data], mean[data], rtol=1e-6)  # float32
        assert np.isnan(levels[1][~data]).all()
    else:
        assert np.abs(levels[1][data] - mean[data]).max() <= 0.5 + 1e-4  # grey: rounded once
        assert (levels[1][~data] == 0).all()
    # no halo of no data at the third reduction either: a quarter of zeros would pull 120 grey down by 30
    y, x = (np.arange(n)[:110] * 8 + 3.5 for n in levels[3].shape)
    truth = 120 + 60 * np.sin(x / 30) * np.cos(y[:, None] / 40)
    shown = levels[3][:, :110].astype(float)
    known = np.isfinite(shown) & (shown > 0)
    # 5 sigma of the noise's mean (3 grey), and 2 grey a px where the data's centre is not the square's (at most 3.5 px)
    assert np.abs(shown - truth)[known].max() < 3 + 2 * 3.5 * 1.5


@BOTH
def test_blocks_of_an_odd_size_give_the_same_levels(tmp_path, sink, suffix):
    pixels, mask = grey()

    usual = levels_of(write(sink(), tmp_path / f"a{suffix}", pixels, mask))
    odd = levels_of(write(sink(), tmp_path / f"b{suffix}", pixels, mask, block=173))

    for a, b in zip(usual, odd, strict=True):
        np.testing.assert_array_equal(a, b)


@BOTH
def test_a_block_that_sticks_out_or_has_another_shape_is_refused(tmp_path, sink, suffix):
    one = sink()
    one.open(tmp_path / f"a{suffix}", (10, 10), np.dtype(np.uint8), None, 64)

    for box, shape in ((Box(5, 5, 15, 15), (10, 10)), (Box(0, 0, 10, 10), (9, 10))):
        with pytest.raises(InputError, match="does not fit"):
            one.write(np.zeros(shape, np.uint8), np.ones(shape, bool), box)
    one.abort()
    with pytest.raises(InputError, match="not open"):
        one.write(np.zeros((1, 1), np.uint8), np.ones((1, 1), bool), Box(0, 0, 1, 1))


# --- OME-TIFF -------------------------------------------------------------------------------------------------------


def test_ome_tiff_is_tiled_compressed_and_calibrated(tmp_path):
    pixels, mask = grey("uint16")
    path = write(OmeTiffSink(), tmp_path / "m.ome.tif", pixels, mask, (4.0, "nm"))

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert len(file.pages) == 1  # smaller copies are SubIFDs, not pages
        assert len(page.subifds) == 3
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.is_ome
        element = ET.fromstring(file.ome_metadata).find(".//{*}Pixels").attrib
        # plain ImageJ reads px per cm: 4 nm are 2.5 million a cm
        assert page.tags["XResolution"].value == (2_500_000, 1)
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        sub = page.pages[0].tags["YResolution"].value
    assert sub[0] / sub[1] == 1_250_000
    assert (element["SizeX"], element["SizeY"], element["Type"]) == ("1100", "700", "uint16")
    for axis in "XY":
        assert float(element[f"PhysicalSize{axis}"]) == 4.0
        assert element[f"PhysicalSize{axis}Unit"] == "nm"


def test_ome_tiff_without_a_pixel_size_claims_none(tmp_path):
    pixels, mask = grey()
    path = write(OmeTiffSink(), tmp_path / "m.ome.tif", pixels, mask)

    with tifffile.TiffFile(path) as file:
        assert "PhysicalSize" not in file.ome_metadata


def test_ome_tiff_becomes_big_when_it_may_pass_4_gib(tmp_path, monkeypatch):
    pixels, mask = grey()
    small = write(OmeTiffSink(), tmp_path / "a.ome.tif", pixels, mask)
    monkeypatch.setattr(ome_tiff, "BIGTIFF_FROM_BYTES", 500_000)
    big = write(OmeTiffSink(), tmp_path / "b.ome.tif", pixels, mask)

    assert [path.read_bytes()[2] for path in (small, big)] == [42, 43]
    np.testing.assert_array_equal(tifffile.imread(big), tifffile.imread(small))


def test_a_failure_while_the_tiff_is_written_leaves_nothing(tmp_path, monkeypatch):
    pixels, mask = grey()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = OmeTiffSink()
    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    with pytest.raises(OSError, match="No space left"):
        write(sink, tmp_path / "m.ome.tif", pixels, mask)
    sink.abort()

    assert not list(tmp_path.iterdir())


# --- OME-Zarr -------------------------------------------------------------------------------------------------------


def test_ome_zarr_says_where_each_level_lies(tmp_path):
    pixels, mask = grey()
    group = zarr.open_group(write(OmeZarrSink(), tmp_path / "m.ome.zarr", pixels, mask, (0.5, "micron")), mode="r")

    (image,) = group.attrs["multiscales"]
    assert group.metadata.zarr_format == 2
    assert image["version"] == "0.4"
    assert image["axes"] == [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    for n, dataset in enumerate(image["datasets"]):
        scale, translation = dataset["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [0.5 * 2**n] * 2}
        # the outer corner of the first pixel is at the same place on every level: -0.25 µm
        corner = translation["translation"][0] - scale["scale"][0] / 2
        assert corner == pytest.approx(-0.25)
        assert group[dataset["path"]].chunks == (256, 256)
    assert (tmp_path / "m.ome.zarr" / "0" / "0" / "0").is_file()  # chunk indices are folders, as the format says


def test_ome_zarr_does_not_replace_what_is_no_ome_zarr(tmp_path):
    (tmp_path / "m.ome.zarr").mkdir()
    (tmp_path / "m.ome.zarr" / "thesis.txt").write_text("years")

    with pytest.raises(InputError, match="is no OME-Zarr"):
        OmeZarrSink().open(tmp_path / "m.ome.zarr", (9, 9), np.dtype(np.uint8), None, 64)

    assert (tmp_path / "m.ome.zarr" / "thesis.txt").read_text() == "years"


@BOTH
def test_a_unit_that_is_no_length_is_refused(tmp_path, sink, suffix):
    with pytest.raises(InputError, match="'parsnip'"):
        sink().open(tmp_path / f"m{suffix}", (9, 9), np.dtype(np.uint8), (1.0, "parsnip"), 64)


def test_units_are_known_by_all_their_names():
    for spelled in ("um", "µm", "μm", "micron", "microns", "Micrometer", " µm "):
        assert (ome_symbol(spelled), zarr_name(spelled), to_metres(spelled)) == ("µm", "micrometer", 1e-6)
    assert ome_symbol("pixel") is zarr_name("pixel") is to_metres("pixel") is None
    assert (to_metres("Å"), to_metres("nm"), to_metres("inch")) == (1e-10, 1e-9, 0.0254)


# --- PNG ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [256, 173])
def test_png_is_the_stretched_mean_of_squares_and_transparent_where_there_is_no_data(tmp_path, block):
    pixels, mask = grey("uint16")
    path = write(PngSink(300), tmp_path / "m.png", pixels, mask, block=block)

    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)

    values, inside = area_mean(pixels, mask, 4)  # 1100 px in at most 300: every 4
    assert found.shape == (175, 275, 4)
    np.testing.assert_array_equal(found[..., 3] == 255, inside)
    np.testing.assert_array_equal(found[..., 0], stretched(values, inside, 0.5, 99.5))


def test_png_that_is_all_data_is_plain_grey(tmp_path):
    pixels, _ = grey()
    found = cv2.imread(str(write(PngSink(), tmp_path / "m.png", pixels, np.ones(SHAPE, bool))), cv2.IMREAD_UNCHANGED)

    assert found.shape == SHAPE


# --- reduction ------------------------------------------------------------------------------------------------------


def test_area_mean_keeps_sums_and_leaves_no_data_out():
    pixels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    mask = np.ones((5, 7), bool)
    mask[0, :2] = mask[4] = False

    values, inside = area_mean(pixels, mask, 2)

    assert values[0, 0] == (7 + 8) / 2
    assert values[1, 1] == (16 + 17 + 23 + 24) / 4
    assert values[0, 3] == (6 + 13) / 2  # half outside the image
    np.testing.assert_array_equal(inside, [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_halves_go_to_the_even_neighbour(dtype):
    most = int(np.iinfo(dtype).max)
    first = np.concatenate([np.arange(40), np.arange(most - 40, most + 1)])
    four = np.stack(np.meshgrid(first, [0, 1, most // 2, most], [0, 3, most], [1, most - 1]), -1).reshape(-1, 4)
    rows = np.stack([four[:, :2].ravel(), four[:, 2:].ravel()]).astype(dtype)
    out = np.empty((1, len(four)), dtype)

    assert halved_into(Piece(Box(0, 0, rows.shape[1], 2), rows, None), out) is None

    np.testing.assert_array_equal(out[0], np.rint(four.sum(1) / 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(8, 12), (9, 12), (8, 11), (9, 11), (1, 7), (1, 1)])
@pytest.mark.parametrize("share", [0.5, 0.98, None])
def test_a_smaller_level_is_the_mean_of_the_data_in_squares_also_at_gaps_and_odd_sides(dtype, shape, share):
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, shape).astype(dtype)
    mask = None if share is None else rng.random(shape) < share
    out = np.empty((-(-shape[0] // 2), -(-shape[1] // 2)), dtype)

    inside = halved_into(Piece(Box(0, 0, shape[1], shape[0]), pixels, mask), out)

    inside = np.ones(out.shape, bool) if inside is None else inside
    data = np.ones(shape, bool) if mask is None else mask
    for row, col in np.ndindex(out.shape):
        square = slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2)
        assert inside[row, col] == (data[square].mean() >= 0.5)  # of what lies in the image
        if inside[row, col]:
            mean = pixels[square][data[square]].astype(np.float64).mean()
            assert out[row, col] == (np.rint(mean) if np.dtype(dtype).kind == "u" else np.float32(mean))


@pytest.mark.parametrize(("sink", "suffix"), [(OmeZarrSink, ".ome.zarr"), (OmeTiffSink, ".ome.tif")])
def test_the_last_corner_of_a_mosaic_with_odd_sides_is_data_on_every_level(tmp_path, sink, suffix):
    pixels = np.full((1025, 1537), 200, np.uint8)

    levels = levels_of(write(sink(), tmp_path / f"m{suffix}", pixels, np.ones(pixels.shape, bool)))

    assert len(levels) > 2
    assert all((level == 200).all() for level in levels)


def test_so_is_that_of_a_volume(tmp_path):
    pixels, volume = np.full((301, 517), 200, np.uint8), ZarrVolumeSink()
    volume.open(tmp_path / "v.ome.zarr", VolumeKind((1, *pixels.shape), pixels.dtype), block=256)
    volume.write(0, pixels, pixels > 0, Box.of_shape(pixels.shape))
    volume.finish(0)
    volume.close()
    levels = zarr.open_group(tmp_path / "v.ome.zarr", mode="r")
    assert all((np.asarray(level[:]) == 200).all() for _, level in levels.arrays())


def test_whole_numbers_are_rounded_and_clipped_floats_kept():
    values = np.array([-3.0, 0.49, 1.5, 2.5, 254.6, 900.0], np.float32)

    np.testing.assert_array_equal(to_dtype(values.copy(), np.dtype(np.uint8)), [0, 0, 2, 2, 255, 255])
    np.testing.assert_array_equal(to_dtype(values.copy(), np.dtype(np.float32)), values)


def test_stretching_leaves_zero_to_no_data():
    values = np.linspace(1000, 2000, 1001, dtype=np.float32)[None]
    mask = np.ones_like(values, bool)
    mask[0, 500] = False

    shown = stretched(values, mask, 0, 100)

    assert (shown[0, 0], shown[0, -1], shown[0, 500]) == (1, 255, 0)
    assert (np.diff(shown[mask].astype(int)) >= 0).all()
    assert set(np.unique(stretched(np.full((2, 2), 5.0), np.eye(2, dtype=bool), 0, 100))) == {0, 128}
    assert not stretched(np.ones((2, 2)), np.zeros((2, 2), bool), 0, 100).any()
