"""The maker of sections: repeatable, sane for any shape, band-limited, without repeats."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij import synth
from demis_ij.errors import InputError
from demis_ij.synth.mishaps import Mishaps

GOLDEN = [
    [157.28, 127.36, 132.78, 134.10],
    [158.09, 132.41, 131.67, 136.75],
    [119.16, 132.67, 145.48, 150.81],
    [135.05, 134.38, 148.44, 146.11],
]  # mean grey of the 16 blocks of a section, as first released


def test_the_same_seed_gives_the_same_bytes():
    first, again = (synth.section((160, 200), 5) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, synth.section((160, 200), 6))


def test_a_generator_is_advanced_by_each_section():
    rng = np.random.default_rng(1)
    assert not np.array_equal(synth.section((64, 64), rng), synth.section((64, 64), rng))
    assert np.array_equal(
        synth.section((64, 64), np.random.default_rng(1)), synth.section((64, 64), np.random.default_rng(1))
    )


def test_the_number_of_threads_does_not_matter():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = synth.section((500, 600), 3, style="tem")
        cv2.setNumThreads(4)
        four = synth.section((500, 600), 3, style="tem")
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_allclose(one, four, atol=1e-3)  # grey: a last bit of float32 sums


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(8, 160), cols=st.integers(8, 160), seed=st.integers(0, 2**40))
def test_any_shape_and_seed_give_a_grey_image(rows, cols, seed):
    image = synth.section((rows, cols), seed)
    assert image.shape == (rows, cols)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() <= 255


@pytest.mark.parametrize("style", sorted(name for name, style in synth.STYLES.items() if not style.solid))
def test_every_style_has_contrast_and_uses_the_range_of_grey(style):
    image = synth.section((512, 512), 11, style=style, blemishes=False)
    low, high = np.percentile(image, [0.5, 99.5])
    assert high - low > 35  # grey: a section as flat as that could not be told from resin
    assert (image <= 0).mean() + (image >= 255).mean() < 0.02  # clipped pixels lose structure


@pytest.mark.parametrize("style", ["tem", "axons", "fib_sem"])
def test_a_section_is_band_limited_so_that_it_can_be_resampled(style):
    image = synth.section((512, 512), 2, style=style, blemishes=False)
    window = np.outer(np.hanning(512), np.hanning(512))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    beyond = power[frequency > 0.4].sum() / power.sum()
    assert beyond < 2e-3  # share of the power beyond 0.8 of Nyquist; white noise has 0.5


@pytest.mark.parametrize("name", ["tear", "chatter", "precipitate"])
def test_mishaps_strike_a_section_only_where_they_are_asked_for(name):
    plain = synth.section((128, 128), 5, style="tem")
    struck = synth.section((128, 128), 5, style="tem", mishaps=Mishaps(**{name: 1.0}))
    spared = synth.section((128, 128), 5, style="tem", mishaps=Mishaps())
    assert np.array_equal(plain, spared)
    assert np.abs(struck - plain).max() > 5  # grey


def test_a_section_does_not_repeat_itself():
    image = synth.section((768, 768), 4, style="tem", blemishes=False)
    detail = image - cv2.GaussianBlur(image, (0, 0), 12)
    spectrum = np.fft.fft2(detail, (1536, 1536))
    correlation = np.fft.fftshift(np.fft.ifft2(np.abs(spectrum) ** 2).real)
    correlation /= correlation.max()
    correlation[768 - 40 : 768 + 41, 768 - 40 : 768 + 41] = 0
    assert np.abs(correlation).max() < 0.15  # a copy of a tenth of the area would make a peak of its own


def test_a_section_stays_the_same_from_release_to_release():
    blocks = cv2.resize(synth.section((256, 256), 20, style="tem"), (4, 4), interpolation=cv2.INTER_AREA)
    golden = np.array(GOLDEN)
    np.testing.assert_allclose(blocks, golden, atol=0.2)  # grey: a few pixels of a border may fall on the other side


@pytest.mark.parametrize(
    ("shape", "seed", "style", "says"),
    [
        ((4, 100), 1, None, "between 8 and 32000"),
        ((100, 40000), 1, None, "between 8 and 32000"),
        ((64, 64), -1, None, "at least 0"),
        ((64, 64), 1, "temm", "no style 'temm'; known: tem"),
    ],
)
def test_nonsense_is_refused(shape, seed, style, says):
    with pytest.raises(InputError, match=says):
        synth.section(shape, seed, style=style)
