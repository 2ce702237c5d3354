"""Brightness and contrast are evened out, and nobody can tell whether it was done in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.geometry import Box
from demis_ij.images.evening import Evening, blocks_of, evened
from demis_ij.testing.matcher_contract import tissue


def section(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return tissue that gets darker and flatter to the right, with a corner that is no data."""
    image = tissue(shape, np.random.default_rng(3)).astype(np.float32)
    light = np.linspace(1.0, 0.4, shape[1], dtype=np.float32)
    mask = np.ones(shape, bool)
    mask[: shape[0] // 3, : shape[1] // 4] = False
    return np.where(mask, image * light, np.nan), mask


def in_blocks(image: np.ndarray, mask: np.ndarray, window_px: float, seen: int, made: int) -> np.ndarray:
    shape = (image.shape[0], image.shape[1])
    evening, out = Evening(shape, window_px), np.empty(shape, np.uint8)
    for box in blocks_of(shape, seen):
        evening.see(image[box.slices], mask[box.slices], box)
    for box in blocks_of(shape, made):
        out[box.slices] = evening.evened(image[box.slices], mask[box.slices], box)
    return out


@pytest.mark.parametrize("window_px", [5.0, 20.0, 61.0])
def test_blocks_of_any_size_give_what_the_whole_gives(window_px):
    image, mask = section((211, 300))

    whole = evened(image, mask, window_px)

    for seen, made in ((64, 64), (37, 130)):
        apart = np.abs(in_blocks(image, mask, window_px, seen, made).astype(int) - whole)
        assert apart.max() <= 1  # grey level: rounding


def test_mean_and_contrast_become_the_same_everywhere():
    image, mask = section((240, 320))

    found = evened(image, mask, 20.0).astype(float)

    for box in (Box(100, 20, 180, 220), Box(220, 20, 300, 220)):
        part, before = found[box.slices], image[box.slices]
        assert part.mean() == pytest.approx(128, abs=4)
        assert part.std() == pytest.approx(45, abs=7)
        assert before.std() < 40
    assert (found[~mask] == 128).all()


def test_a_window_is_the_gaussian_of_the_data():
    """One bright pixel on a plain of noise: mean and spread around it are those of a Gaussian, by hand."""
    rng = np.random.default_rng(1)
    image, sigma = rng.uniform(0, 1, (81, 81)), 6.0
    y, x = np.mgrid[-40:41, -40:41]
    weight = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    mean = (weight * image).sum() / weight.sum()
    deviation = np.sqrt((weight * (image - mean) ** 2).sum() / weight.sum())

    found = evened(image, np.ones(image.shape, bool), sigma)[40, 40]

    assert int(found) == pytest.approx(128 + 45 * (image[40, 40] - mean) / deviation, abs=2)  # grey levels


def test_a_section_without_data_is_128_and_one_of_one_grey_is_not_blown_up():
    image = np.full((40, 50), 7.0)

    assert (evened(image, np.zeros(image.shape, bool), 8) == 128).all()
    assert (evened(image, np.ones(image.shape, bool), 8) == 128).all()
