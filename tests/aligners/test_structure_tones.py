"""The last fit by tones: exact where greys hang together, left out where they do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from demis_ij.aligners.structure import Structure, structure_of
from demis_ij.aligners.structure_fit import Template
from demis_ij.aligners.structure_tones import Tones
from demis_ij.records import Affine
from demis_ij.synth.correlative_pairs import seen
from demis_ij.synth.specimens import Specimen, material_specimen

SIDE, WIDE = 256, 400
TRUTH = Affine.about(Affine.similarity(1.06, np.radians(7)), (127.5, 127.5))
FIXED_AT = Affine.translation(70, 70)


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return material_specimen((WIDE, WIDE), 5, name="grains")


def shown(specimen: Specimen, kind: str, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return a fixed and a moving picture."""
    rng = np.random.default_rng(seed)
    return seen(specimen, "mono", FIXED_AT, SIDE, rng), seen(specimen, kind, FIXED_AT @ TRUTH.inverse, SIDE, rng)


def structure(image: np.ndarray, mask: np.ndarray | None = None) -> Structure:
    return structure_of(image, np.ones(image.shape, bool) if mask is None else mask, 1.5)


def off(found: Affine) -> float:
    corners = np.array([[0, 0], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [0, SIDE - 1]], float)
    return float(np.linalg.norm(found(corners) - TRUTH(corners), axis=1).mean())


START = TRUTH @ Affine.about(Affine.similarity(1.004, 0.004), (127.5, 127.5)) @ Affine.translation(0.5, -0.4)


@pytest.mark.parametrize("kind", ["mono", "xray", "light"])
def test_where_greys_hang_together_tones_are_the_more_exact(specimen: Specimen, kind: str) -> None:
    by_edges, by_tones = [], []
    for seed in range(4):
        fixed, moving = (structure(image) for image in shown(specimen, kind, seed))
        edges = Template(fixed).fit(moving, START)
        tones = Template(fixed, by_tones=True).fit(moving, START)
        assert edges is not None
        assert tones is not None
        assert tones.sigma_px < edges.sigma_px
        by_edges.append(off(edges.to_moving))
        by_tones.append(off(tones.to_moving))
    assert off(START) > 0.8
    assert np.median(by_tones) < 0.15
    assert np.median(by_tones) < 0.7 * np.median(by_edges)


def test_where_greys_have_nothing_to_do_with_each_other_structure_stays(specimen: Specimen) -> None:
    fixed, moving = (structure(image) for image in shown(specimen, "light_hard"))
    by_edges = Template(fixed).fit(moving, START)
    assert by_edges is not None
    by_tones = Template(fixed, by_tones=True).fit(moving, START)
    assert by_tones is not None
    assert by_tones.to_moving == by_edges.to_moving


def test_the_expected_error_grows_with_the_noise(specimen: Specimen) -> None:
    fixed, moving = shown(specimen, "xray")
    rng = np.random.default_rng(3)
    sigma = []
    for noise in (0, 0.3, 0.9):
        image = structure(moving + rng.normal(0, noise, moving.shape).astype(np.float32))
        found = tones_of(structure(fixed)).fit(image.grey, image.known, START)
        assert found is not None
        sigma.append(found.sigma_px)
        assert off(found.to_moving) < 4 * found.sigma_px
    assert sigma[0] < sigma[1] < sigma[2]


def tones_of(fixed: Structure) -> Tones:
    assert fixed.grey is not None
    return Tones(fixed.grey, fixed.known, "similarity")


def test_no_data_and_hot_pixels_do_not_count(specimen: Specimen) -> None:
    fixed, moving = shown(specimen, "mono")
    mask = np.ones(fixed.shape, bool)
    mask[:, :60] = False
    fixed = np.where(mask, fixed, 40)
    moving = moving.copy()
    moving[np.random.default_rng(0).random(moving.shape) < 0.001] = 50
    one, two = structure(fixed, mask), structure(moving)
    found = tones_of(one).fit(two.grey, two.known, START)
    assert found is not None
    assert off(found.to_moving) < 0.2


def test_a_start_is_judged_and_not_moved_when_one_step_is_asked_for(specimen: Specimen) -> None:
    fixed, moving = (structure(image) for image in shown(specimen, "mono"))
    found = Template(fixed, by_tones=True).fit(moving, START, 1)
    assert found is not None
    assert found.to_moving == START


def test_images_with_little_in_common_are_left_to_structure(specimen: Specimen) -> None:
    fixed, moving = (structure(image) for image in shown(specimen, "mono"))
    assert tones_of(fixed).fit(moving.grey, moving.known, Affine.translation(0.93 * SIDE, 0)) is None


def test_an_image_is_explained_by_itself_wherever_it_lies(specimen: Specimen) -> None:
    image = cv2.GaussianBlur(specimen.grey[:SIDE, :SIDE], (0, 0), 1.5)
    same = structure(image)
    found = tones_of(same).fit(same.grey, same.known, Affine.translation(0.7, -0.6))
    assert found is not None
    assert found.explained > 0.995
    assert np.allclose([found.to_moving.tx, found.to_moving.ty], 0, atol=0.03)
