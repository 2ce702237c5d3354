"""MetaImage (.mha, .mhd): what ITK and elastix write is read, in every type, plain and compressed."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from real_images import shared_data

from demis_ij.errors import FormatError, InputError
from demis_ij.images import header, pixel_size, read
from demis_ij.images.opening import opened, opened_labels
from demis_ij.jobs.register.pictures import all_samples, read_picture
from demis_ij.records import Tile

RNG = np.random.default_rng(0)
GREY = RNG.integers(1, 250, (40, 53))
TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


def write(
    path: Path, pixels: np.ndarray, kind: str, *, packed: bool = False, big: bool = False, **more: object
) -> Path:
    """Write an image as ITK does; a third axis are slices, or the channels where ``channels`` says so."""
    channels = more.pop("channels", 1)
    sizes = pixels.shape[: -1 if channels != 1 else None][::-1]
    raw = pixels.astype(np.dtype(TYPES[kind]).newbyteorder(">" if big else "<")).tobytes()
    told = {
        "ObjectType": "Image", "NDims": len(sizes), "BinaryData": True, "BinaryDataByteOrderMSB": big,
        "CompressedData": packed, "DimSize": " ".join(map(str, sizes)), "ElementNumberOfChannels": channels,
        "ElementType": kind, **more,
    }  # fmt: skip
    raw = zlib.compress(raw) if packed else raw
    beside = told.pop("ElementDataFile", "LOCAL")
    text = "".join(f"{k} = {v}\n" for k, v in told.items()) + f"ElementDataFile = {beside}\n"
    path.write_bytes(text.encode() + (raw if beside == "LOCAL" else b""))
    if beside != "LOCAL":
        (path.parent / str(beside)).write_bytes(b"x" * int(told.get("HeaderSize", 0)) + raw)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_as_grey(tmp_path, kind, big, packed):
    pixels = (GREY // 2).astype(TYPES[kind])

    path = write(tmp_path / "a.mha", pixels, kind, packed=packed, big=big)

    found = read(path)
    assert found.dtype == {"MET_UCHAR": np.uint8, "MET_USHORT": np.uint16}.get(kind, np.float32)
    np.testing.assert_array_equal(found, pixels)
    assert header(path) == (found.shape, found.dtype)
    np.testing.assert_array_equal(opened(Tile("a", path, (0, 0)))[3:9, 4:7], pixels[3:9, 4:7])


def test_pixels_may_lie_in_a_file_beside_the_header_after_bytes_of_its_own(tmp_path):
    for size in (0, 12):
        path = write(tmp_path / f"{size}.mhd", GREY, "MET_USHORT", ElementDataFile=f"{size}.raw", HeaderSize=size)
        np.testing.assert_array_equal(read(path), GREY)
    text = (tmp_path / "12.mhd").read_text().replace("HeaderSize = 12", "HeaderSize = -1")
    (tmp_path / "12.mhd").write_text(text)
    np.testing.assert_array_equal(read(tmp_path / "12.mhd"), GREY)


@pytest.mark.parametrize("packed", [False, True])
def test_slices_of_a_volume_are_its_pages(tmp_path, packed):
    volume = RNG.integers(0, 9, (3, 40, 53))
    path = write(tmp_path / "v.mha", volume, "MET_SHORT", packed=packed)

    assert header(path)[0] == (40, 53)
    for k in range(3):
        np.testing.assert_array_equal(read(path, k), volume[k])
    with pytest.raises(InputError, match="plane 3 was asked for, the file has 3"):
        read(path, 3)


def test_colours_become_grey_and_are_kept_where_all_channels_count(tmp_path):
    colour = RNG.integers(0, 255, (40, 53, 3))
    path = write(tmp_path / "c.mha", colour, "MET_UCHAR", channels=3)

    np.testing.assert_array_equal(read(path), np.rint(colour @ (0.299, 0.587, 0.114)))
    held = all_samples(path)
    assert held.is_colour
    np.testing.assert_array_equal(np.stack(held.planes, -1), colour)
    two = all_samples(write(tmp_path / "two.mha", colour[..., :2], "MET_USHORT", channels=2))
    assert (two.is_colour, len(two.planes), two.dtype) == (False, 2, np.uint16)


def test_labels_keep_their_type(tmp_path):
    path = write(tmp_path / "l.mha", GREY * 100, "MET_UINT")

    assert opened_labels(Tile("l", path, (0, 0)))[:, :].dtype == np.uint32


@pytest.mark.parametrize(
    ("spacing", "said"),
    [
        ("0.005114 0.005114", (5.114, "µm")),
        ("4e-6 4e-6", (4.0, "nm")),
        ("1 1", None),
        ("10.2 10.2", None),
        ("0 0", None),
    ],
)
def test_spacing_is_millimetres_and_one_is_what_is_written_when_nobody_said(tmp_path, spacing, said):
    assert pixel_size(write(tmp_path / "s.mha", GREY, "MET_UCHAR", ElementSpacing=spacing)) == said


def test_a_registration_uses_the_spacing(tmp_path):
    path = write(tmp_path / "s.mha", GREY, "MET_UCHAR", ElementSpacing="0.002 0.002")

    assert read_picture(path, 512).pixel_nm == pytest.approx(2000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("DimSize = 53 40", "DimSize = 53 41"), "truncated: plane 0 needs 2173 bytes, 2120 are there"),
        (("DimSize = 53 40", "DimSize = 53 40 1 1"), "needs 2 or 3 sizes above 0"),
        (("DimSize = 53 40", "DimSize = 53 -40"), "needs 2 or 3 sizes above 0"),
        (("DimSize = 53 40", "DimSize = 53 many"), "is no MetaImage that can be read"),
        (("DimSize = 53 40\n", ""), "is no MetaImage that can be read: KeyError 'DimSize'"),
        (("DimSize = 53 40", "DimSize = 53000000 400000"), "says that it has"),
        (("MET_UCHAR", "MET_STRANGE"), "ElementType 'MET_STRANGE' is not known"),
        (("BinaryData = True", "BinaryData = False"), "pixels as text are not supported"),
        (("ElementDataFile = LOCAL", "ElementDataFile = LIST"), "pixels in several files are not supported"),
        (("ElementDataFile = LOCAL", "ElementDataFile = gone.raw"), "No such file"),
        (("CompressedData = False", "CompressedData = True"), "cannot be unpacked"),
        (("ElementDataFile", "Elements"), "is no MetaImage: lines of 'Key = value'"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line_that_names_the_file(tmp_path, change, said):
    path = write(tmp_path / "a.mha", GREY, "MET_UCHAR")
    path.write_bytes(path.read_bytes().replace(change[0].encode(), change[1].encode(), 1))

    with pytest.raises(FormatError, match=r"a\.mha") as raised:
        read(path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"GIF89a", b"NDims = 2", b"NDims = 2\n\n"])
def test_a_file_that_is_something_else_is_refused(tmp_path, content):
    path = tmp_path / "x.mha"
    path.write_bytes(content)

    with pytest.raises(FormatError, match="is no MetaImage"):
        read(path)
    with pytest.raises(InputError, match=r"gone\.mha: cannot be read"):
        read(tmp_path / "gone.mha")


def test_what_elastix_wrote_is_read():
    folder = shared_data("corr_histology_microct")

    fixed, result = read(folder / "histology.mha"), read(folder / "result.0.mha")

    assert (fixed.shape, fixed.dtype, result.shape, result.dtype) == ((700, 851), np.uint8, (700, 851), np.float32)
    assert 38 < fixed.mean() < 40
    assert (result.min(), result.max()) == (-15, 256)
    assert pixel_size(folder / "histology.mha") is None
