"""Pairs of two instruments: the truth about them is exact, and each instrument shows what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.errors import InputError
from demis_ij.records import Affine
from demis_ij.synth import modalities
from demis_ij.synth.correlative_pairs import (
    KINDS,
    RANGES,
    TransformRange,
    corner_error_px,
    correlative_pair,
    seen,
    specimen_for,
    stranger_pair,
    to_moving_of,
)
from demis_ij.synth.specimens import image_specimen, material_specimen, tissue_specimen
from demis_ij.synth.structures import STRUCTURES, structure


@pytest.fixture(scope="module")
def specimen():
    return specimen_for(3, 128, tissue=False)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_transforms_are_drawn_within_their_range(seed):
    drawn = RANGES["full"].draw(np.random.default_rng(seed))
    transform = to_moving_of(drawn, 512)
    assert abs(np.degrees(transform.angle)) <= 30
    assert 1 / 1.3 <= transform.scale <= 1.3
    middle = transform([255.5, 255.5]) - 255.5
    assert np.abs(middle).max() <= 0.12 * 512


def test_a_scaled_range_is_a_part_of_it():
    small = TransformRange(30, 1.3, 0.12).scaled(0.5)
    np.testing.assert_allclose(small.spans, RANGES["full"].spans / 2)


def test_the_corner_error_is_how_far_the_corners_are_apart():
    assert corner_error_px(Affine.translation(3, 4), Affine.identity(), (10, 10)) == pytest.approx(5)
    turn = Affine.about(Affine.rigid(0.01), (50, 50))
    assert corner_error_px(turn, Affine.identity(), (101, 101)) == pytest.approx(0.01 * 50 * np.sqrt(2), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("range_", RANGES)
def test_a_pair_is_the_same_for_the_same_seed_and_light_is_in_colour(specimen, kind, range_):
    one, other = (correlative_pair(specimen, kind, RANGES[range_], 5, side=128) for _ in range(2))
    np.testing.assert_array_equal(one.moving, other.moving)
    np.testing.assert_array_equal(one.fixed, other.fixed)
    assert one.to_moving == other.to_moving
    assert one.fixed.shape == (128, 128)
    assert one.moving.shape == ((128, 128, 3) if kind.startswith("light") else (128, 128))
    assert one.fixed.std() > 10
    assert one.moving.std() > 10


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_what_lies_under_a_pixel_is_the_same_in_both_pictures(seed):
    """A specimen of one bright spot: the fixed picture's spot, taken through the truth, is the moving picture's."""
    side, shape = 128, (241, 241)
    y, x = np.indices(shape).astype(np.float32)
    spot = np.exp(-((x - 120) ** 2 + (y - 116) ** 2) / (2 * 4.0**2))
    one = image_specimen(spot, 0)
    rng = np.random.default_rng(seed)
    to_moving = to_moving_of(RANGES["full"].draw(rng), side)
    at = Affine.translation(56.0, 55.0)

    def centre(kind, where):
        shown = seen(one, kind, where, side, np.random.default_rng(seed))
        shown = np.clip(shown - np.median(shown) - 0.35 * np.ptp(shown), 0, None)
        rows, cols = np.indices(shown.shape)
        return np.array([(shown * cols).sum(), (shown * rows).sum()]) / shown.sum()

    there = to_moving(centre("mono", at))
    np.testing.assert_allclose(there, centre("mono", at @ to_moving.inverse), atol=0.6)  # px: noise of both


def test_an_xray_is_inverted_and_a_winding_tone_is_not_monotone(specimen):
    plain = specimen.grey[:128, :128]
    shown = modalities.xray(plain, np.random.default_rng(0), 0.25)
    assert np.corrcoef(plain.ravel(), shown.ravel())[0, 1] < -0.5
    rng = np.random.default_rng(2)
    ramp = np.linspace(0, 1, 200, dtype=np.float32)
    both_ways = [np.diff(modalities.winding_tone(ramp, rng)) for _ in range(20)]
    assert sum(bool((d > 0).any() and (d < 0).any()) for d in both_ways) > 10


def test_few_photons_scatter_as_poisson_says():
    flat = np.full((200, 200), 0.5, np.float32)
    shown = modalities.counted(flat, np.random.default_rng(1), 40)
    assert shown.mean() == pytest.approx(0.5, abs=0.01)
    assert shown.var() == pytest.approx(0.5 / 40, rel=0.05)


def test_a_repainted_structure_keeps_its_borders_and_forgets_its_grey():
    label = np.repeat(np.arange(64, dtype=np.int32), 16).reshape(64, 16)
    shown = modalities.repainted(label, np.random.default_rng(3))
    assert (np.ptp(shown, axis=1) == 0).all()
    assert abs(np.corrcoef(np.arange(64), shown[:, 0])[0, 1]) < 0.4


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_material_has_structures_and_a_projection_that_is_alike_but_not_the_same(name):
    grey, label, projected = structure((160, 160), np.random.default_rng(1), name=name)
    assert grey.min() >= 0
    assert grey.max() <= 1
    assert len(np.unique(label)) > 5
    likeness = np.corrcoef(grey.ravel(), projected.ravel())[0, 1]
    assert 0.2 < likeness < 0.9999


def test_tissue_has_labels_and_a_projection_of_its_neighbours():
    one, again = (tissue_specimen((96, 96), 4, style="axons", zoom=0.5) for _ in range(2))
    np.testing.assert_array_equal(one.grey, again.grey)
    assert one.label.max() > 3
    assert 0.2 < np.corrcoef(one.grey.ravel(), one.projected.ravel())[0, 1] < 0.999


def test_strangers_have_no_transform(specimen):
    other = material_specimen(specimen.grey.shape, 99)
    assert stranger_pair(specimen, other, "xray", 1, side=128).to_moving is None


def test_what_cannot_be_made_is_refused(specimen):
    with pytest.raises(InputError, match="too small"):
        correlative_pair(material_specimen((130, 130), 1), "mono", RANGES["full"], 1, side=128)
    with pytest.raises(InputError, match="no kind 'radar'"):
        correlative_pair(specimen, "radar", RANGES["small"], 1, side=128)
    with pytest.raises(InputError, match="no structure 'cheese'"):
        structure((64, 64), np.random.default_rng(0), name="cheese")
    with pytest.raises(InputError, match="no style 'cheese'"):
        tissue_specimen((64, 64), 1, style="cheese")
    with pytest.raises(InputError, match="structure"):
        image_specimen(np.zeros((64, 64)), 1)
    with pytest.raises(InputError, match="in register"):
        image_specimen(specimen.grey, 1, partner=specimen.grey[:50])
