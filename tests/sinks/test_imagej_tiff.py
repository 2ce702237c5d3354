"""The picture for plain ImageJ: whole, calibrated, and opened by ImageJ itself."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.protocols import SINKS
from demis_ij.sinks.imagej_tiff import LEAST_PX, ImageJTiffSink, description, grey_range, header, reduction
from demis_ij.sinks.ome_tiff import OmeTiffSink
from demis_ij.testing.sink_contract import SinkContract


class TestImageJTiffSink(SinkContract):
    suffix = ".tif"

    def sink(self):
        return ImageJTiffSink()

    def read(self, path):
        return tifffile.imread(path)


def written(path, pixels, *, pixel_size=None, mask=None, sink=None):
    sink = sink or ImageJTiffSink()
    sink.open(path, pixels.shape, pixels.dtype, pixel_size, 256)
    inside = np.ones(pixels.shape, bool) if mask is None else mask
    for y in range(0, pixels.shape[0], 256):
        for x in range(0, pixels.shape[1], 256):
            box = Box(x, y, x + 256, y + 256) & Box.of_shape(pixels.shape)
            sink.write(pixels[box.slices], inside[box.slices], box)
    sink.close()
    return path


def ramp(dtype, shape=(300, 420)):
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    top = {"uint8": 251, "uint16": 60_000, "float32": 1.5}[dtype]
    return ((x * 7 + y * 3) % 1000 / 1000 * top).astype(dtype)


def test_it_goes_by_its_name():
    assert SINKS["imagej"] is ImageJTiffSink


def test_it_is_one_uncompressed_strip_with_the_pixels_behind_the_directory(tmp_path):
    path = written(tmp_path / "a.tif", ramp("uint16"))

    with tifffile.TiffFile(path) as file:
        (page,) = file.pages
        assert (page.is_tiled, page.compression, len(page.dataoffsets)) == (False, 1, 1)
        assert page.offset < page.dataoffsets[0]
        assert page.dataoffsets[0] + page.databytecounts[0] == path.stat().st_size


def test_no_data_is_nil_and_in_floats_nan(tmp_path):
    mask = np.zeros((300, 420), bool)
    mask[50:200, 100:300] = True
    for dtype in ("uint8", "uint16", "float32"):
        found = tifffile.imread(written(tmp_path / f"{dtype}.tif", ramp(dtype), mask=mask))

        np.testing.assert_array_equal(found[mask], ramp(dtype)[mask])
        outside = found[~mask]
        assert np.isnan(outside).all() if dtype == "float32" else not outside.any()


def test_a_large_mosaic_is_halved_until_it_fits(tmp_path):
    pixels = np.repeat(np.repeat(ramp("uint8", (301, 421)), 2, 0), 2, 1)

    found = written(tmp_path / "a.tif", pixels, pixel_size=(4.0, "nm"), sink=ImageJTiffSink(max_px=LEAST_PX))

    with tifffile.TiffFile(found) as file:
        assert file.asarray().shape == (301, 421)
        np.testing.assert_array_equal(file.asarray(), ramp("uint8", (301, 421)))
        assert file.pages[0].tags["XResolution"].value == (1, 8)  # a pixel is 8 nm now


@pytest.mark.parametrize(("shape", "most", "factor"), [
    ((1, 1), LEAST_PX, 1), ((512, 512), LEAST_PX, 1), ((513, 512), LEAST_PX, 2), ((46_340, 46_341), 2**31 - 1, 1),
    ((46_341, 46_341), 2**31 - 1, 2), ((1, 2**31), 2**31 - 1, 2), ((10**6, 10**6), 2**31 - 1, 32),
])  # fmt: skip
def test_it_is_reduced_no_more_than_needed(shape, most, factor):
    assert reduction(shape, most) == factor


@pytest.mark.parametrize("most", [0, LEAST_PX - 1, 2**31])
def test_a_limit_that_makes_no_sense_is_refused(most):
    with pytest.raises(InputError, match="a picture for ImageJ has"):
        ImageJTiffSink(max_px=most)


def test_an_image_that_passes_four_gigabytes_says_as_much_as_tiff_can():
    shape = (40_000, 50_000)
    told = header(shape, np.dtype(np.float32), (4.0, "nm"), (1.0, 2.0))

    entries = {e[0]: e for e in struct.iter_unpack(">HHII", told[10 : 10 + 12 * struct.unpack(">H", told[8:10])[0]])}

    assert [entries[tag][3] for tag in (256, 257)] == [50_000, 40_000]
    assert entries[273][3] == len(told)  # the pixels follow at once
    assert entries[279][3] == 2**32 - 1  # 8 GB: ImageJ looks at width and height
    assert list(entries) == sorted(entries)


def test_a_unit_is_written_as_java_reads_it():
    assert description((0.25, "micron"), None) == "ImageJ=1.54p\nunit=\\u00B5m\n"
    assert description((2.5, "Å"), (0, 200)) == "ImageJ=1.54p\nunit=\\u00C5\nmin=0\nmax=200\n"
    assert description(None, None) == "ImageJ=1.54p\n"


def test_the_greys_to_show_leave_out_extremes_and_no_data(tmp_path):
    pixels = ramp("uint16")
    pixels[:10] = 0
    mask = np.ones(pixels.shape, bool)
    mask[:10] = False
    pixels[20, 20], pixels[20, 21] = 65_535, 0

    with tifffile.TiffFile(written(tmp_path / "a.tif", pixels, mask=mask)) as file:
        shown = file.imagej_metadata

    assert 0 < shown["min"] < 2_000
    assert 55_000 < shown["max"] <= 60_000
    assert grey_range(np.full(9, 5)) is None
    assert grey_range(np.empty(0)) is None


def test_an_unknown_unit_is_refused(tmp_path):
    with pytest.raises(InputError, match="'furlong'"):
        ImageJTiffSink().open(tmp_path / "a.tif", (9, 9), np.dtype(np.uint8), (1.0, "furlong"), 256)


OPEN = """
#@ String path
#@output java.util.Map found
def imp = ij.IJ.openImage(path)
def ip = imp?.getProcessor()
def at = { x, y -> imp.bitDepth == 32 ? ip.getf(x, y) as double : ip.get(x, y) as double }
found = imp == null ? [opened: false] : [
  opened: true, width: imp.width, height: imp.height, bits: imp.bitDepth, unit: imp.calibration.unit,
  side: imp.calibration.pixelWidth, low: imp.displayRangeMin, high: imp.displayRangeMax,
  first: at(0, 0), inner: at(123, 45), last: at(imp.width - 1, imp.height - 1), slices: imp.stackSize]
"""


@pytest.mark.java
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_plain_imagej_opens_it_with_its_calibration(imagej_session, tmp_path, dtype):
    pixels = ramp(dtype)
    path = written(tmp_path / f"Präparat #1 & {dtype}.tif", pixels, pixel_size=(0.25, "µm"))

    found = imagej_session.run_script(OPEN, {"path": str(path)})["found"]

    assert found["opened"]
    assert (found["width"], found["height"], found["slices"]) == (420, 300, 1)
    assert found["bits"] == {"uint8": 8, "uint16": 16, "float32": 32}[dtype]
    assert found["unit"] in {"µm", "micron"}
    assert found["side"] == pytest.approx(0.25)
    for name, value in (("first", pixels[0, 0]), ("inner", pixels[45, 123]), ("last", pixels[-1, -1])):
        assert found[name] == pytest.approx(float(value))
    if dtype != "uint8":
        low, high = np.percentile(pixels, (0.5, 99.5))
        assert found["low"] == pytest.approx(low, abs=1)
        assert found["high"] == pytest.approx(high, rel=1e-3)


@pytest.mark.java
def test_plain_imagej_does_not_open_our_ome_tiff_which_is_why_there_is_this_sink(imagej_session, tmp_path: Path):
    path = written(tmp_path / "a.ome.tif", ramp("uint8", (900, 900)), sink=OmeTiffSink())

    found = imagej_session.run_script(OPEN, {"path": str(path)})["found"]

    assert not found["opened"]
