"""Structure, the search over turns and the fit: contrast does not matter, masks do, strangers do not fit."""

from __future__ import annotations

import cv2
import made_pictures
import numpy as np
import pytest

from demis_ij.aligners.structure import structure_of, turned
from demis_ij.aligners.structure_fit import Template
from demis_ij.aligners.structure_search import places, scales_between, turns_between
from demis_ij.records import Affine

SIDE = 128


def cells(seed: int) -> np.ndarray:
    return made_pictures.cells(seed, 3 * SIDE)


def looked_up(plane: np.ndarray, at: Affine) -> np.ndarray:
    return cv2.warpAffine(plane, at.matrix[:2], (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def pair(seed: int, truth: Affine) -> tuple[np.ndarray, np.ndarray]:
    return made_pictures.pair(seed, truth, SIDE)


def similarity(turn_deg: float, scale: float, shift: tuple[float, float]) -> Affine:
    return made_pictures.similarity(turn_deg, scale, shift, SIDE)


def off(one: Affine, two: Affine) -> float:
    return made_pictures.off(one, two, SIDE)


def seen(image: np.ndarray, mask: np.ndarray | None = None):
    return structure_of(image, np.ones(image.shape, bool) if mask is None else mask, 1.5)


def test_tone_inversion_and_shading_hardly_change_structure() -> None:
    image = cells(0)[:SIDE, :SIDE]
    shade = np.linspace(0.6, 1.4, SIDE)[None]
    other = 255 - 255 * (image / 255) ** 2 * shade * 0.7
    one, two = seen(image).planes, seen(other.astype(np.float32)).planes
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.9
    assert np.corrcoef(one.ravel(), seen(cells(1)[:SIDE, :SIDE]).planes.ravel())[0, 1] < 0.3


def test_what_lies_under_the_mask_is_never_seen() -> None:
    image = cells(0)[:SIDE, :SIDE]
    mask = np.ones(image.shape, bool)
    mask[30:60, 40:90] = False
    nonsense = np.where(mask, image, np.nan)
    one, two = seen(np.where(mask, image, 0), mask), seen(nonsense, mask)
    assert np.array_equal(one.planes, two.planes)
    assert not one.known[~mask].any()
    assert not one.planes[:, ~one.known].any()


@pytest.mark.parametrize("image", [np.zeros((40, 50)), np.full((40, 50), 7.0), np.full((40, 50), np.nan)])
def test_an_image_of_one_grey_level_shows_nothing(image: np.ndarray) -> None:
    blank = seen(image)
    assert blank.is_blank
    assert places(blank, seen(cells(0)[:50, :50]), [0.0]) == []
    assert Template(blank).fit(seen(cells(0)[:50, :50]), Affine()) is None


def test_directions_turn_back_with_the_map() -> None:
    truth = similarity(40, 1.0, (0, 0))
    fixed, moving = pair(3, truth)
    there = np.stack([looked_up(p, truth) for p in seen(moving).planes])
    inner = (slice(None), slice(40, -40), slice(40, -40))
    told = np.corrcoef(turned(there, truth.angle)[inner].ravel(), seen(fixed).planes[inner].ravel())[0, 1]
    assert told > 0.95
    assert np.corrcoef(there[inner].ravel(), seen(fixed).planes[inner].ravel())[0, 1] < 0.5


@pytest.mark.parametrize("turn_deg", [-150, -40, 0, 75, 180])
def test_any_turn_is_found_though_the_contrast_is_inverted(turn_deg: float) -> None:
    truth = similarity(turn_deg, 1.0, (20, -31))
    fixed, moving = pair(4, truth)
    found = places(seen(fixed), seen(255 - moving), turns_between(-180, 170, 10))
    assert off(found[0].to_moving, truth) < 14
    assert all(found[0].score > 1.3 * f.score for f in found if off(f.to_moving, truth) > 40)


def test_scale_and_a_shift_by_half_the_field_are_found() -> None:
    truth = similarity(0, 1.6, (10, 55))
    fixed, moving = pair(5, truth)
    found = places(seen(fixed), seen(moving), [0.0], scales_between(0.5, 2, 1.1), least_overlap=0.2)
    assert off(found[0].to_moving, truth) < 20


def test_images_of_different_shapes_are_placed() -> None:
    picture = cells(6)
    fixed, moving = picture[100:228, 50:150], picture[40:300, 30:200]
    found = places(seen(fixed), seen(moving), turns_between(-20, 20, 10))
    assert np.allclose(found[0].to_moving([[0, 0]]), [[20, 60]], atol=1.5)


@pytest.mark.parametrize("shift", [(70.0, 0.0), (-70.0, 3.0), (52.0, -50.0), (-45.0, 60.0)])
def test_no_shift_falls_onto_another_however_little_is_in_common(shift: tuple[float, float]) -> None:
    fixed, moving = pair(6, similarity(0, 1.0, shift))
    found = places(seen(fixed), seen(moving), [0.0], least_overlap=0.2)[0]
    assert np.allclose([found.to_moving.tx, found.to_moving.ty], shift, atol=1)


def test_strangers_get_a_lower_score_than_a_pair() -> None:
    truth = similarity(10, 1.0, (5, 5))
    fixed, moving = pair(7, truth)
    turns = turns_between(-30, 30, 10)
    own = places(seen(fixed), seen(moving), turns)[0].score
    other = places(seen(fixed), seen(cells(99)[:SIDE, :SIDE]), turns)[0].score
    assert own > 2 * other


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_the_fit_ends_at_the_truth_from_some_way_off(model: str) -> None:
    truth = similarity(17, 1.0 if model == "rigid" else 1.1, (8.3, -6.6))
    fixed, moving = pair(8, truth)
    start = truth @ similarity(4, 1.0 if model == "rigid" else 1.03, (3, -2))
    found = Template(seen(fixed), model).fit(seen(255 - moving), start, 30)
    assert found is not None
    assert off(start, truth) > 5
    assert off(found.to_moving, truth) < 0.35
    assert 0 < found.sigma_px < 1
    if model != "affine":
        assert found.to_moving.a == pytest.approx(found.to_moving.d)
        assert found.to_moving.b == pytest.approx(-found.to_moving.c)


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_the_derivatives_are_those_of_the_warped_image(model: str) -> None:
    image = cv2.GaussianBlur(cells(9)[:SIDE, :SIDE], (0, 0), 3)
    template = Template(seen(image), model)
    x, y = (template.xy[:, k].astype(int) for k in (0, 1))
    inner = (np.abs(x - SIDE / 2) < 40) & (np.abs(y - SIDE / 2) < 40)
    for k in range(len(template.slopes)):
        step = np.zeros(len(template.slopes))
        step[k] = 0.3 if k >= len(step) - 2 else 0.005
        there = template.motion.step(step)
        forth, back = (
            turned(np.stack([looked_up(p, t) for p in seen(image).planes]), t.angle) for t in (there, there.inverse)
        )
        if model == "affine" and k in (1, 2):
            assert abs(there.angle) > 0.002  # a shear turns directions by half of itself
        expected = (forth - back)[:, y, x][:, inner] / (2 * step[k])
        told = template.slopes[k][:, inner]
        assert np.corrcoef(expected.ravel(), told.ravel())[0, 1] > 0.98
        assert np.polyfit(told.ravel(), expected.ravel(), 1)[0] == pytest.approx(1, abs=0.1)


def test_the_standard_deviation_grows_with_the_noise() -> None:
    truth = similarity(3, 1.02, (1, 2))
    fixed, moving = pair(10, truth)
    rng = np.random.default_rng(0)
    sigma = []
    for noise in (0, 30, 90):
        noisy = moving + rng.normal(0, noise, moving.shape).astype(np.float32)
        found = Template(seen(fixed)).fit(seen(noisy), truth, 20)
        assert found is not None
        sigma.append(found.sigma_px)
    assert sigma[0] < sigma[1] < sigma[2]


def test_images_that_do_not_overlap_cannot_be_fitted() -> None:
    fixed, moving = pair(11, Affine())
    assert Template(seen(fixed)).fit(seen(moving), Affine.translation(500, 0)) is None
