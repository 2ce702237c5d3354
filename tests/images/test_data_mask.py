"""Where there is no data: borders, data bars, and what only looks like them."""

import cv2
import numpy as np
import pytest
from real_images import shared_data

from demis_ij.images import data_mask, read


def texture(shape=(400, 500), seed=0, low=40, high=220):
    field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=shape), (0, 0), 2)
    field = (field - field.min()) / np.ptp(field)
    return (low + (high - low) * field).astype(np.uint8)


def test_a_tile_that_fills_its_frame_is_all_data():
    assert data_mask(texture()).all()


@pytest.mark.parametrize("value", [0, 255, 128])
@pytest.mark.parametrize("angle", [0.0, 1.5, -7.0])
def test_the_border_of_a_turned_tile_is_no_data(value, angle):
    image = texture()
    h, w = image.shape
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 0.85)
    shown = cv2.warpAffine(image, turn, (w, h), borderValue=value)
    truth = cv2.warpAffine(np.full(image.shape, 255, np.uint8), turn, (w, h)) == 255
    mask = data_mask(shown)
    assert not (mask & ~cv2.dilate(truth.astype(np.uint8), np.ones((3, 3))).astype(bool)).any()
    lost = truth & ~mask
    assert lost.sum() < 0.03 * truth.sum()  # a seam of a pixel or two, and dark pixels that touch it


def test_black_corners_of_real_lens_corrected_tiles_are_no_data():
    folder = shared_data("em_render_temca_2x2") / "stitch"
    for path in sorted(folder.glob("col*.png")):
        image = read(path)
        mask = data_mask(image)
        assert 0.85 < mask.mean() < 0.97, path.name
        assert (image[~mask] == 0).mean() > 0.9, path.name  # the rest is the seam
        assert (image[mask] == 0).mean() < 0.002, path.name  # no black border left


@pytest.mark.parametrize(
    ("name", "first_row"),
    [
        ("tescan_example_sem1.tif", 768),  # ImageStripSize=120 of 888
        ("tfs_example.tif", 1024),  # ResolutionY
        ("zeiss_example_sem.tif", 708),
        ("jeol_example_sem.tif", 888),  # drawn on the image itself: from above its scale bar on
    ],
)
def test_the_data_bar_of_each_vendor_is_no_data(name, first_row):
    mask = data_mask(read(shared_data("sem_vendor_tiff") / name))
    rows = np.flatnonzero(~mask.any(1))
    assert (rows.min(), rows.max()) == (first_row, len(mask) - 1)
    assert mask[:first_row].all()


def test_grains_on_black_keep_their_background_and_lose_their_data_bar():
    folder = shared_data("sem_zircon_bse_cl")
    for path in sorted(folder.glob("zircon*/1/*.[jJ]pg")):
        mask = data_mask(read(path))
        rows = np.flatnonzero(~mask.any(1))
        assert 920 < rows.min() <= 961, path.name
        assert rows.max() == 1023
        assert mask[: rows.min()].all(), path.name


def test_other_real_tiles_are_all_data():
    for folder, pattern in (("lom_lscm_3x4", "*.tif"), ("lom_dendrite_6x15_quarter", "1-0[1-3]*.jpg")):
        for path in sorted(shared_data(folder).glob(pattern)):
            assert data_mask(read(path)).all(), path.name
    for path in sorted(shared_data("sem_stitch2d_2x3").glob("*.jpg")):
        assert data_mask(read(path)).all(), path.name


def test_a_dark_noisy_tile_clipped_at_zero_stays_data():
    noise = np.random.default_rng(1).normal(3, 5, (400, 500))
    assert data_mask(np.clip(noise, 0, 255).astype(np.uint8)).mean() > 0.999


def test_a_black_vessel_in_the_corner_stays_data():
    image = texture()
    y, x = np.mgrid[:400, :500]
    image[np.hypot(x - 20, y - 10) + 6 * np.sin(0.4 * x) + 6 * np.cos(0.5 * y) < 60] = 0
    assert data_mask(image).all()


def test_one_grey_value_has_no_border():
    assert data_mask(np.zeros((50, 60), np.uint8)).all()


def test_nan_is_no_data():
    image = texture().astype(np.float32)
    image[100:120, 30:50] = np.nan
    np.testing.assert_array_equal(data_mask(image), np.isfinite(image))
    assert not data_mask(np.full((40, 40), np.nan, np.float32)).any()
