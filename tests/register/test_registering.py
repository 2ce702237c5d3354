"""Registering: exact on pairs, honest on strangers, at all sizes, depths and shapes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from made_pictures import cells, off, pair, similarity

from demis_ij.aligners.structure import Structure
from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import InputError
from demis_ij.evaluate.register import grey, made_pair
from demis_ij.records import Affine
from demis_ij.register.looks import factors, looked_at, pooled
from demis_ij.register.registering import Registrar, register

SIDE = 256
FULL = similarity(-24, 1.22, (21, -17), SIDE)


def settings(**values: object) -> RegisterConfig:
    return RegisterConfig(weights="none", **values)  # type: ignore[arg-type]


def xray(image: np.ndarray) -> np.ndarray:
    """Return another instrument's picture: inverted, darkened, blurred, counted."""
    rng = np.random.default_rng(1)
    seen = cv2.GaussianBlur(255 * (1 - np.clip(image, 0, 255) / 255) ** 1.6, (0, 0), 2.0)
    return rng.poisson(np.clip(seen, 1, None)).astype(np.float32)


@pytest.mark.parametrize("seen", [lambda i: i, xray], ids=["mono", "x-ray"])
def test_a_pair_is_registered_to_a_part_of_a_pixel(seen) -> None:
    fixed, moving = pair(1, FULL, SIDE)
    found = register(fixed, seen(moving), settings())
    assert found.matched
    assert found.method == "near search"
    assert found.to_moving is not None
    assert off(found.to_moving, FULL, SIDE) < 0.6
    assert found.to_fixed is not None
    assert off(found.to_fixed @ found.to_moving, Affine(), SIDE) < 1e-6
    assert 0.02 < found.sigma_px < 1
    assert 0.4 < found.overlap < 1


@pytest.mark.parametrize("turn_deg", [140, -95])
def test_what_is_not_near_is_found_by_the_wide_search(turn_deg: float) -> None:
    truth = similarity(turn_deg, 0.6, (30, 10), SIDE)
    fixed, moving = pair(2, truth, SIDE)
    found = register(fixed, xray(moving), settings())
    assert found.method == "wide search"
    assert off(found.to_moving, truth, SIDE) < 1
    near = register(fixed, xray(moving), settings(reach="near"))
    assert not near.matched
    assert near.to_moving is None


def test_grains_too_fine_for_the_size_that_is_searched_are_found_by_how_their_edges_lie() -> None:
    made = made_pair("light_hard/full", 20004)  # every grain repainted; some 20 px of 512, three of what is searched
    found = register(made.fixed, grey(made.moving), settings(reach="near"))
    assert found.matched
    assert off(found.to_moving, made.to_moving, 512) < 1


def test_pooled_structure_is_the_mean_of_what_is_known_and_unknown_where_most_is() -> None:
    planes = np.random.default_rng(2).normal(size=(3, 8, 12)).astype(np.float32)
    known = np.ones((8, 12), bool)
    known[:4, :4] = False
    planes[:, ~known] = 0
    seen = pooled(Structure(planes, known), 4)
    assert seen.planes.shape == (3, 2, 3)
    assert not seen.known[0, 0]
    assert seen.known.sum() == 5
    assert seen.planes[1, 1, 1] == pytest.approx(planes[1, 4:, 4:8].mean(), abs=1e-6)
    assert seen.planes[2, 1, 2] == pytest.approx(planes[2, 4:, 8:].mean(), abs=1e-6)
    assert seen.planes[0][seen.known].mean() == pytest.approx(0, abs=1e-6)
    assert not pooled(Structure(np.zeros((3, 8, 8), np.float32), np.zeros((8, 8), bool)), 4).known.any()


def test_all_that_is_tried_can_be_seen_with_what_it_needs() -> None:
    fixed, moving = pair(1, FULL, SIDE)
    tried = list(Registrar(fixed, settings(), needed=500.0).attempts(moving))
    assert [t.method for t in tried] == ["near search", "wide search"]
    assert all(off(t.to_moving, FULL, SIDE) < 0.6 and not t.matched and t.needed == 500 for t in tried)
    assert tried[0].milliseconds < tried[1].milliseconds
    refused = Registrar(fixed, settings(reach="near"), needed=500.0)(moving)
    assert refused.to_moving is None
    assert "500 are needed" in refused.reason


def test_strangers_do_not_match_and_it_is_said_why() -> None:
    fixed, _ = pair(3, Affine(), SIDE)
    found = register(fixed, cells(4, SIDE), settings())
    assert not found.matched
    assert found.to_moving is None
    assert found.to_fixed is None
    assert "no place stands out" in found.reason
    assert found.as_json()["sigma_px"] is None


def test_an_image_is_registered_with_itself() -> None:
    fixed, _ = pair(5, Affine(), SIDE)
    found = register(fixed, fixed, settings())
    assert off(found.to_moving, Affine(), SIDE) < 0.02


def test_sixteen_bits_masks_and_nan_are_taken() -> None:
    fixed, moving = pair(6, FULL, SIDE)
    mask = np.ones(fixed.shape, bool)
    mask[:60, :90] = False
    spoilt = np.where(mask, fixed, 60000)
    holed = moving.copy()
    holed[200:, 180:] = np.nan
    found = register((spoilt * 1.0).astype(np.uint16), holed, settings(), fixed_mask=mask)
    assert off(found.to_moving, FULL, SIDE) < 0.6


def test_a_crop_of_another_shape_is_found_in_its_image() -> None:
    picture = cells(7, 600)
    crop = picture[120:400, 230:420]
    found = register(picture[:500], crop, settings(moving_pixel_size=2.0, fixed_pixel_size=2.0))
    assert np.allclose(found.to_fixed([[0, 0], [50, 10]]), [[230, 120], [280, 130]], atol=0.3)


def test_pixel_sizes_are_used() -> None:
    fixed, moving = pair(8, similarity(10, 1.0, (8, 4), SIDE), SIDE)
    small = cv2.resize(moving, (SIDE // 3 * 1, SIDE // 3), interpolation=cv2.INTER_AREA)
    ratio = SIDE / (SIDE // 3)
    found = register(fixed, small, settings(fixed_pixel_size=4.0, moving_pixel_size=4.0 * ratio, reach="near"))
    assert found.matched
    assert found.to_moving.scale == pytest.approx(1 / ratio, rel=0.01)


@pytest.mark.parametrize(("model", "free"), [("rigid", False), ("similarity", False), ("affine", True)])
def test_the_model_is_kept(model: str, free: bool) -> None:
    truth = Affine(1.03, 0.06, -0.01, 0.98, 3, 4) if free else similarity(12, 1.0, (5, -3), SIDE)
    fixed, moving = pair(9, truth, SIDE)
    found = register(fixed, moving, settings(model=model)).to_moving
    assert off(found, truth, SIDE) < 0.6
    assert (abs(found.a - found.d) > 0.01) == free
    assert (model != "rigid") or found.scale == pytest.approx(1, abs=1e-9)


def test_a_good_guess_is_taken_and_a_bad_one_is_found_out() -> None:
    fixed, moving = pair(10, FULL, SIDE)
    registrar = Registrar(fixed, RegisterConfig(), guess=lambda f, m: FULL @ similarity(3, 1.03, (6, 6), SIDE))
    good = registrar(moving)
    assert good.method == "network"
    assert off(good.to_moving, FULL, SIDE) < 0.6
    wrong = Registrar(fixed, RegisterConfig(), guess=lambda f, m: similarity(150, 0.6, (0, 0), SIDE))(moving)
    assert wrong.method == "near search"
    assert off(wrong.to_moving, FULL, SIDE) < 0.6
    nothing = Registrar(fixed, RegisterConfig(), guess=lambda f, m: None)(moving)
    assert nothing.matched


def test_the_network_alone_is_not_improved_but_judged() -> None:
    fixed, moving = pair(11, FULL, SIDE)
    rough = FULL @ similarity(0.5, 1.0, (1, 0), SIDE)
    found = Registrar(fixed, RegisterConfig(method="network"), guess=lambda f, m: rough)(moving)
    assert found.matched
    assert off(found.to_moving, rough, SIDE) < 1e-6


@pytest.mark.parametrize("method", ["sift", "ecc", "log-polar"])
def test_the_baselines_find_a_small_motion(method: str) -> None:
    truth = similarity(3, 1.02, (4, -3), SIDE)
    fixed, moving = pair(12, truth, SIDE)
    found = register(fixed, moving, settings(method=method))
    assert found.matched
    assert found.method == method
    assert off(found.to_moving, truth, SIDE) < (4 if method == "log-polar" else 0.5)


def test_elastix_finds_a_small_motion() -> None:
    pytest.importorskip("itk", reason="itk-elastix is not installed (the extra baselines)")
    truth = similarity(3, 1.02, (4, -3), SIDE)
    fixed, moving = pair(12, truth, SIDE)
    assert off(register(fixed, moving, settings(method="elastix")).to_moving, truth, SIDE) < 0.5


@pytest.mark.parametrize("blank", [np.zeros((80, 90)), np.full((80, 90), 7, np.uint16), np.full((80, 90), np.nan)])
def test_an_image_without_content_does_not_match(blank: np.ndarray) -> None:
    fixed, _ = pair(13, Affine(), SIDE)
    for two in ((fixed, blank), (blank, fixed)):
        found = register(*two, settings())
        assert not found.matched
        assert "cannot be registered" in found.reason


def test_a_tiny_image_is_refused_with_what_to_do() -> None:
    fixed, _ = pair(14, Affine(), SIDE)
    with pytest.raises(InputError, match="32 a side are needed"):
        register(fixed, fixed[:20, :20], settings(fixed_pixel_size=1.0, moving_pixel_size=1.0))
    with pytest.raises(InputError, match="rows x cols"):
        register(fixed, np.zeros((40, 40, 3)), settings())


def test_a_look_leads_back_to_the_image() -> None:
    image = np.zeros((100, 140), np.float32)
    image[60:64, 80:84] = 1
    look = looked_at(image, None, 2.0)
    y, x = np.argwhere(look.image == look.image.max()).mean(axis=0)
    assert np.allclose(look.to_full([x, y]), [81.5, 61.5])


def test_images_of_unlike_size_are_taken_to_show_one_field() -> None:
    assert factors((1000, 1000), (400, 300), 500, None) == (2.0, 0.8)
    assert factors((1000, 1000), (900, 800), 500, None) == (2.0, 2.0)
    one, two = factors((1000, 1000), (9000, 9000), 500, 1.0)
    assert one == two
    assert 9000 / two <= 1000
