"""Reading, headers, pixel sizes, normalising and the store of tiles."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from real_images import shared_data

from demis_ij.errors import InputError
from demis_ij.images import TileStore, header, normalise, pixel_size, read, with_shapes
from demis_ij.records import Layout, Tile

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (37, 53), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)


def luma(rgb: np.ndarray) -> np.ndarray:
    return 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2]


def save(path: Path, image: np.ndarray) -> Path:
    ok, data = cv2.imencode(path.suffix, image)
    assert ok
    path.write_bytes(data.tobytes())
    return path


@pytest.mark.parametrize("name", ["plain.png", "tile [Grid@0 1].png", "Zürich µm 図.png", "upper.PNG"])
def test_any_file_name_can_be_read(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "x.png", GREY).rename(tmp_path / name)
    np.testing.assert_array_equal(read(path), GREY)
    assert header(path) == ((37, 53), np.uint8)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.uint8, np.uint8),
        (np.uint16, np.uint16),
        (np.float32, np.float32),
        (np.float64, np.float32),
        (np.int16, np.float32),
        (np.uint32, np.float32),
        (np.bool_, np.uint8),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_a_tiff_keeps_its_values_whatever_its_type(tmp_path, dtype, expected, compression):
    pixels = (GREY > 128) if dtype == np.bool_ else GREY.astype(dtype) - (100 if dtype == np.int16 else 0)
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, pixels, compression=compression, photometric="minisblack")
    got = read(path)
    assert got.dtype == expected
    np.testing.assert_array_equal(got, pixels * np.uint8(255) if dtype == np.bool_ else pixels)
    assert header(path) == (got.shape, got.dtype)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_tiffs_become_luma_of_the_same_depth(tmp_path, planar, dtype):
    rgb = COLOUR.astype(dtype) * (257 if dtype == np.uint16 else 1)
    path = tmp_path / "t.tif"
    tifffile.imwrite(
        path, rgb if planar == "contig" else np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig=planar
    )
    got = read(path)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, luma(rgb), atol=0.51)  # grey: rounding
    assert header(path) == (got.shape, got.dtype)


def test_colour_and_alpha_of_a_png_become_luma_red_first(tmp_path):
    alpha = np.dstack([COLOUR[..., ::-1], np.full(GREY.shape, 7, np.uint8)])  # OpenCV writes blue first
    np.testing.assert_allclose(read(save(tmp_path / "a.png", alpha)), luma(COLOUR), atol=0.51)


def test_a_palette_is_looked_up(tmp_path):
    table = np.arange(256, dtype=np.uint16)[::-1] * 257
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, GREY, photometric="palette", colormap=np.stack([table] * 3))
    np.testing.assert_array_equal(read(path), 255 - GREY)
    assert header(path) == (GREY.shape, np.uint8)


def test_white_is_zero_is_turned_round(tmp_path):
    path = tmp_path / "w.tif"
    tifffile.imwrite(path, GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read(path), 255 - GREY)


def test_a_page_is_picked_and_a_missing_one_named(tmp_path):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, np.stack([GREY, GREY[::-1]]), photometric="minisblack")
    np.testing.assert_array_equal(read(path), GREY)
    np.testing.assert_array_equal(read(path, 1), GREY[::-1])
    with pytest.raises(InputError, match=r"s\.tif: page 2 was asked for, the file has 2"):
        read(path, 2)
    with pytest.raises(InputError, match="page 1"):
        read(save(tmp_path / "x.png", GREY), 1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".pgm", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 0.97])
def test_a_truncated_file_is_named(tmp_path, suffix, share):
    path = tmp_path / f"broken{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, GREY)
    else:
        save(path, GREY)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"broken\."):
        read(path)


def test_a_jpeg_with_a_thumbnail_cut_in_its_scan_is_noticed(tmp_path):
    whole = save(tmp_path / "x.jpg", GREY).read_bytes()
    thumbnail = b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole  # its own end marker lies in the header
    (tmp_path / "y.jpg").write_bytes(whole[:2] + thumbnail + whole[2:])
    assert read(tmp_path / "y.jpg").shape == GREY.shape
    assert header(tmp_path / "y.jpg")[0] == GREY.shape
    (tmp_path / "z.jpg").write_bytes((whole[:2] + thumbnail + whole[2:])[:-200])
    with pytest.raises(InputError, match="truncated"):
        read(tmp_path / "z.jpg")


@pytest.mark.parametrize("what", ["missing", "folder", "text"])
def test_what_is_no_image_is_named(tmp_path, what):
    path = tmp_path / "thing.png"
    if what == "folder":
        path.mkdir()
    elif what == "text":
        path.write_text("not an image")
    for look in (read, header):
        with pytest.raises(InputError, match=r"thing\.png"):
            look(path)


def test_sixteen_bit_png_header_agrees_with_the_image(tmp_path):
    path = save(tmp_path / "d.png", GREY.astype(np.uint16) * 257)
    assert header(path) == ((37, 53), np.uint16)
    assert read(path).dtype == np.uint16


# --- pixel size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tescan_example_sem1.tif", (2.5012, "µm")),
        ("tfs_example.tif", (269.792, "nm")),
        ("zeiss_example_sem.tif", (593.3, "nm")),
        ("jeol_example_sem.tif", None),  # 254 dots per inch say nothing about a microscope
        ("Slice69_stretched.tif", None),
    ],
)
def test_the_vendors_pixel_size_is_read(name, expected):
    assert pixel_size(shared_data("sem_vendor_tiff") / name) == expected


def test_pixel_sizes_of_imagej_ome_and_tags_are_read(tmp_path):
    path = tmp_path / "c.tif"
    tifffile.imwrite(path, GREY, imagej=True, resolution=(250.0, 250.0), metadata={"unit": "um"})
    assert pixel_size(path) == (4.0, "nm")
    tifffile.imwrite(path, GREY, imagej=True, resolution=(1.0, 1.0), metadata={"unit": "pixel"})
    assert pixel_size(path) is None
    meta = {"PhysicalSizeX": 0.008, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.008, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, GREY, ome=True, metadata={"axes": "YX", **meta})
    assert pixel_size(path) == (8.0, "nm")
    tifffile.imwrite(path, GREY, resolution=(5e6, 5e6), resolutionunit="CENTIMETER")
    assert pixel_size(path) == (2.0, "nm")
    tifffile.imwrite(path, GREY, resolution=(600, 600), resolutionunit="INCH")
    assert pixel_size(path) is None
    assert pixel_size(save(tmp_path / "x.png", GREY)) is None


# --- layouts --------------------------------------------------------------------------------------------------------


def test_shapes_are_filled_and_each_bad_tile_gets_one_warning(tmp_path):
    good = [save(tmp_path / f"{i}.png", GREY) for i in range(3)]
    deep = save(tmp_path / "deep.png", GREY.astype(np.uint16))
    layout = Layout(
        (
            Tile("a", good[0], (0, 0)),
            Tile("b", good[1], (37, 53)),
            Tile("wrong", good[2], (1024, 1024)),
            Tile("gone", tmp_path / "gone.png", (37, 53)),
            Tile("deep", deep, (0, 0)),
        )
    )
    shaped, warnings, unusable = with_shapes(layout)
    assert [t.shape for t in shaped] == [(37, 53), (37, 53), (1024, 1024), (37, 53), (37, 53)]
    assert unusable == {"wrong", "gone"}
    assert len(warnings) == 3
    assert "tile wrong: the layout says 1024x1024 px" in warnings[0]
    assert "53x37" in warnings[0]
    assert "gone.png" in warnings[1]
    assert "uint16" in warnings[2]
    assert layout.tiles[0].shape == (0, 0), "the input is not changed"


# --- normalising ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_gain_and_offset_do_not_show_after_normalising(dtype, clip):
    texture = cv2.GaussianBlur(np.random.default_rng(3).normal(size=(256, 256)), (0, 0), 3)
    texture /= texture.std()
    mask = np.ones(texture.shape, bool)
    one, two = (
        normalise(np.clip(np.rint(o + g * texture), 0, 60000).astype(dtype), mask, clip=clip).astype(int)
        for g, o in ((20, 120), (14, 90))
    )
    assert np.abs(one - two).mean() < 4  # grey levels of 255: rounding of the poorer image, spread by its gain


def test_no_data_does_not_move_the_percentiles_and_is_filled_with_the_mean():
    image = np.random.default_rng(4).integers(90, 130, (200, 200)).astype(np.uint8)
    mask = np.ones(image.shape, bool)
    mask[:, :60] = False
    hidden = image.copy()
    hidden[~mask] = 255
    out = normalise(hidden, mask)
    np.testing.assert_array_equal(out, normalise(np.where(mask, image, 0).astype(np.uint8), mask))
    assert np.ptp(out[~mask]) == 0
    assert abs(int(out[0, 0]) - out[mask].mean()) < 1.0  # grey: rounding
    assert np.percentile(out[mask], 99) - np.percentile(out[mask], 1) > 200


def test_nothing_to_normalise_is_flat_grey():
    image = np.full((20, 30), 77, np.uint8)
    for mask in (np.ones(image.shape, bool), np.zeros(image.shape, bool)):
        np.testing.assert_array_equal(normalise(image, mask), 128)


def test_nan_is_no_data_and_does_not_spread():
    image = np.random.default_rng(5).normal(size=(64, 64)).astype(np.float32)
    image[:10] = np.nan
    out = normalise(image, np.isfinite(image))
    assert out.dtype == np.uint8
    assert np.ptp(out[:10]) == 0


# --- the store ------------------------------------------------------------------------------------------------------


def tiles_of(tmp_path: Path, count: int) -> list[Tile]:
    images = np.random.default_rng(6).integers(0, 256, (count, 64, 64)).astype(np.uint8)
    return [Tile(str(i), save(tmp_path / f"{i}.png", images[i]), (64, 64)) for i in range(count)]


def test_the_store_reads_once_and_keeps_within_its_bytes(tmp_path, monkeypatch):
    import demis_ij.images.store as module

    reads: list[Path] = []
    real = module.read
    monkeypatch.setattr(module, "read", lambda path, page=None: (reads.append(path), real(path, page))[1])
    tiles = tiles_of(tmp_path, 5)
    store = TileStore(max_bytes=3 * 64 * 64)
    for _ in range(2):
        store.image(tiles[0])
    assert len(reads) == 1
    for tile in tiles:
        store.image(tile)
    assert store._bytes <= 3 * 64 * 64
    store.image(tiles[4])
    assert len(reads) == 5, "the latest is still there"
    store.image(tiles[0])
    assert len(reads) == 6, "the oldest had to go"


def test_threads_get_the_same_array_read_once(tmp_path, monkeypatch):
    import demis_ij.images.store as module

    reads: list[Path] = []
    real = module.read
    monkeypatch.setattr(module, "read", lambda path, page=None: (reads.append(path), real(path, page))[1])
    (tile,) = tiles_of(tmp_path, 1)
    store, got = TileStore(), []
    threads = [threading.Thread(target=lambda: got.append(store.normalised(tile))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(reads) == 1
    assert all(g is got[0] for g in got)
    assert not got[0].flags.writeable


def test_a_broken_tile_is_tried_once_and_says_the_same_each_time(tmp_path):
    tile = Tile("x", tmp_path / "gone.png", (64, 64))
    store = TileStore()
    with pytest.raises(InputError, match=r"gone\.png"):
        store.image(tile)
    save(tmp_path / "gone.png", GREY)  # too late: a run must not see a tile come and go
    with pytest.raises(InputError, match=r"gone\.png"):
        store.normalised(tile)


def test_the_tiles_own_mask_counts_and_its_size_is_checked(tmp_path):
    (tile,) = tiles_of(tmp_path, 1)
    own = np.full((64, 64), 255, np.uint8)
    own[:, :20] = 0
    masked = Tile("m", tile.path, (64, 64), mask_path=save(tmp_path / "mask.png", own))
    store = TileStore()
    np.testing.assert_array_equal(store.mask(masked), own > 0)
    assert store.mask(tile).all(), "the same image without a mask is whole"
    small = Tile("s", tile.path, (64, 64), mask_path=save(tmp_path / "small.png", own[:30]))
    with pytest.raises(InputError, match=r"tile s: the mask .* 64x30"):
        store.mask(small)


def test_a_file_that_was_replaced_is_read_anew_and_one_that_could_not_be_read_is_tried_again(tmp_path):
    store = TileStore()
    path, mask = tmp_path / "a.tif", tmp_path / "mask.png"
    tile = Tile("a", path, (32, 32), mask_path=mask)
    path.write_bytes(b"no image yet")
    with pytest.raises(InputError):
        store.image(tile)
    for value in (10, 200):
        tifffile.imwrite(path, np.full((32, 32), value, np.uint8))
        assert store.image(tile)[0, 0] == value
        assert store.image(tile) is store.image(tile)
    for rows in (20, 5):
        cv2.imwrite(
            str(mask), np.repeat(np.uint8([[255], [0]]), [rows, 32 - rows], axis=0) * np.ones((1, 32), np.uint8)
        )
        assert store.mask(tile).sum() == 32 * rows
        assert not store.normalised(tile).flags.writeable
