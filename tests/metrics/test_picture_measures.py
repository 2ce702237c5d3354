"""Pictures against pictures, each measure beside a second implementation of its paper."""

from __future__ import annotations

import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import second_opinions as second
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.errors import InputError, MissingPart
from demis_ij.geometry import Box
from demis_ij.metrics import pixels
from demis_ij.synth import section


def needs(module):
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed: demis_ij[evaluate]")


@pytest.fixture(scope="module")
def image():
    return np.clip(section((150, 181), np.random.default_rng(4)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def worse(image):
    seen = cv2.GaussianBlur(image, (0, 0), 0.8) + np.random.default_rng(5).normal(0, 9, image.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def mask(image):
    held = np.zeros(image.shape, bool)
    held[20:120, 30:170] = True
    held[60:75, 30:50] = False
    return held


def test_rmse_and_psnr_are_what_scikit_image_says(image, worse):
    measure = pytest.importorskip("skimage.metrics", reason="demis_ij[evaluate]")
    assert pixels.rmse(image, worse) == pytest.approx(np.sqrt(measure.mean_squared_error(image, worse)))
    assert pixels.psnr(image, worse) == pytest.approx(measure.peak_signal_noise_ratio(image, worse))


def test_rmse_counts_only_what_the_mask_holds(image, mask):
    wrong = np.where(mask, image.astype(float) + 3, 0)
    assert pixels.rmse(wrong, image, mask) == pytest.approx(3)
    assert pixels.rmse(wrong, image) > 30
    assert np.isnan(pixels.rmse(image, image, np.zeros_like(mask)))


def test_equal_pictures_have_no_noise(image):
    assert pixels.rmse(image, image) == 0
    assert pixels.psnr(image, image) == np.inf


@needs("skimage")
def test_ssim_is_that_of_the_paper_with_and_without_a_mask(image, worse, mask):
    assert pixels.ssim(image, worse) == pytest.approx(second.ssim_by_equations(image, worse), abs=1e-9)
    assert pixels.ssim(image, worse, mask) == pytest.approx(second.ssim_by_equations(image, worse, mask), abs=1e-9)
    assert pixels.ssim(image, image) == pytest.approx(1)


@needs("skimage")
def test_ssim_does_not_see_what_the_mask_hides_nor_how_the_bands_are_cut(image, worse, mask, monkeypatch):
    whole = pixels.ssim(image, worse, mask)
    spoilt = np.where(mask, worse, 0)
    assert pixels.ssim(image, spoilt, mask) == pytest.approx(whole, abs=1e-12)
    monkeypatch.setattr(pixels, "_BAND", 37)
    assert pixels.ssim(image, worse, mask) == pytest.approx(whole, abs=1e-12)
    assert np.isnan(pixels.ssim(image, worse, np.zeros_like(mask)))
    assert np.isnan(pixels.ssim(image[:8], worse[:8]))


@needs("piq")
@pytest.mark.parametrize("size", [1, 3])
def test_fsim_is_that_of_the_paper(image, worse, size):
    one, two = (cv2.resize(p, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC) for p in (image, worse))
    assert pixels.fsim(one, two) == pytest.approx(second.fsim_by_equations(one, two), abs=2e-3)  # single precision
    assert pixels.fsim(one, one) == pytest.approx(1)


@needs("piq")
def test_fsim_takes_the_largest_rectangle_of_the_mask(image, worse, mask):
    box = Box(50, 20, 170, 120)
    assert pixels.largest_rectangle(mask) == box
    assert pixels.fsim(image, worse, mask) == pixels.fsim(image[box.slices], worse[box.slices])
    assert np.isnan(pixels.fsim(image[:20], worse[:20]))


@needs("brisque")
@pytest.mark.parametrize("sd", [0, 10, 30])
def test_brisque_is_that_of_the_paper_by_the_model_of_the_package(image, sd):
    import brisque

    seen = np.clip(image + np.random.default_rng(1).normal(0, sd, image.shape), 0, 255)
    models = Path(brisque.__file__).parent / "models"
    bounds = pickle.loads((models / "normalize.pickle").read_bytes())
    low, high = (np.array([float(v) for v in bounds[k]]) for k in ("min_", "max_"))
    features = second.brisque_features_by_equations(seen)
    wanted = second.svr_by_hand(models / "svm.txt", -1 + 2 * (features - low) / (high - low))
    assert pixels.brisque(seen) == pytest.approx(wanted, abs=0.05)  # points of 100: the shape is solved for, twice


@needs("brisque")
def test_brisque_finds_blur_and_noise_worse_and_says_nothing_of_a_flat_picture(image, mask):
    scores = [pixels.brisque(cv2.GaussianBlur(image, (0, 0), s)) for s in (0.5, 1.5, 4)]
    assert scores == sorted(scores)
    assert pixels.brisque(image + np.random.default_rng(2).normal(0, 40, image.shape)) > scores[0]
    assert np.isnan(pixels.brisque(np.full((64, 64), 128)))
    assert np.isnan(pixels.brisque(image[:20]))
    box = pixels.largest_rectangle(mask)
    assert pixels.brisque(image, mask) == pixels.brisque(image[box.slices])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.floats(0.3, 0.97))
def test_the_largest_rectangle_is_the_best_of_all(seed, density):
    mask = np.random.default_rng(seed).random((7, 9)) < density
    areas = [
        (r1 - r0) * (c1 - c0)
        for r0 in range(7)
        for r1 in range(r0 + 1, 8)
        for c0 in range(9)
        for c1 in range(c0 + 1, 10)
        if mask[r0:r1, c0:c1].all()
    ]
    box = pixels.largest_rectangle(mask)
    assert box.width * box.height == max(areas, default=0)
    assert mask[box.slices].all()


def test_a_large_mask_is_searched_on_a_lattice():
    mask = np.zeros((600, 900), bool)
    mask[100:500, 200:800] = True
    box = pixels.largest_rectangle(mask)
    assert mask[box.slices].all()
    assert box.width * box.height > 0.97 * 400 * 600


@pytest.mark.parametrize("shape", [(150, 180), (150, 181, 3)])
def test_pictures_of_other_shapes_are_refused(image, shape):
    with pytest.raises(InputError, match="of one shape"):
        pixels.rmse(image, np.zeros(shape))


@pytest.mark.parametrize(
    ("module", "call"),
    [("skimage.metrics", pixels.ssim), ("piq", pixels.fsim), ("brisque", lambda a, b: pixels.brisque(a))],
)
def test_a_package_that_is_missing_names_the_extra(monkeypatch, image, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    pixels._brisque_model.cache_clear()
    with pytest.raises(MissingPart, match=r"demis_ij\[evaluate\]"):
        call(image, image)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    (line,) = pixels.missing_measures().values()
    assert "demis_ij[evaluate]" in line
