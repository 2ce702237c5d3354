"""Registering a picture of few marks: fluorescence of chromatin on electrons, made up and real."""

from __future__ import annotations

import numpy as np
import pytest
from made_pictures import off, pair, similarity
from marks import moved, nuclei
from real_images import shared_data

from demis_ij.aligners.standing import STANDS_OUT
from demis_ij.config.registering import RegisterConfig
from demis_ij.images import read
from demis_ij.records import Affine
from demis_ij.register.intensity import MARKS_STAND_OUT, by_intensity
from demis_ij.register.looks import looked_at
from demis_ij.register.registering import register

SIDE = 512
TRUTH = similarity(24, 1.15, (38, -30), SIDE)
"""Px of the electrons to px of the light."""


def settings(**values: object) -> RegisterConfig:
    return RegisterConfig(weights="none", reach="near", **values)  # type: ignore[arg-type]


def test_marks_are_registered_where_structure_finds_nothing() -> None:
    electrons, light = nuclei(11, SIDE)
    found = register(electrons, moved(light, TRUTH), settings())
    assert found.matched
    assert found.method == "intensity search"
    assert off(found.to_moving, TRUTH, SIDE) < 3
    assert found.standing > found.needed == MARKS_STAND_OUT
    assert 0.5 < found.overlap < 1
    assert 1 < found.sigma_px < 6


def test_either_picture_may_be_the_one_of_marks() -> None:
    electrons, light = nuclei(11, SIDE)
    found = register(moved(light, TRUTH), electrons, settings())
    assert found.method == "intensity search"
    assert off(found.to_fixed, TRUTH, SIDE) < 3


@pytest.mark.parametrize("model", ["rigid", "affine"])
def test_marks_keep_the_model(model: str) -> None:
    electrons, light = nuclei(11, SIDE)
    truth = similarity(-15, 1.0, (25, 12), SIDE)
    found = register(electrons, moved(light, truth), settings(model=model))
    assert found.method == "intensity search"
    assert off(found.to_moving, truth, SIDE) < (3 if model == "rigid" else 6)
    assert (found.to_moving.scale == pytest.approx(1, abs=1e-9)) == (model == "rigid")


def test_marks_of_another_specimen_do_not_match() -> None:
    electrons, _ = nuclei(11, SIDE)
    _, light = nuclei(12, SIDE)
    found = register(electrons, moved(light, TRUTH), settings())
    assert not found.matched
    assert "no place stands out" in found.reason


def test_a_place_of_marks_must_stand_out_further_than_one_of_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    electrons, light = nuclei(11, SIDE)
    monkeypatch.setattr("demis_ij.register.intensity.MARKS_STAND_OUT", 40.0)
    found = register(electrons, moved(light, TRUTH), settings())
    assert not found.matched
    assert found.standing > STANDS_OUT
    assert found.reason.endswith("40 are needed")


def test_of_two_full_pictures_and_of_nothing_it_has_nothing_to_say() -> None:
    fixed, moving = (looked_at(p, None, 1) for p in pair(3, Affine(), 256))
    assert by_intensity(fixed, moving, "similarity") is None
    blank = looked_at(np.zeros((256, 256)), None, 1)
    assert by_intensity(fixed, blank, "similarity") is None


def test_it_is_not_asked_where_structure_suffices() -> None:
    fixed, moving = pair(4, similarity(5, 1.0, (3, 4), SIDE), SIDE)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    lone = np.where(np.hypot(x, y) < 0.26 * SIDE, moving, 0)
    assert by_intensity(looked_at(fixed, None, 1), looked_at(lone, None, 1), "similarity") is not None
    assert register(fixed, lone, settings()).method == "near search"


def real(name: str, kind: str) -> np.ndarray:
    return np.asarray(read(shared_data("clem_deepclem") / f"{kind}_raw" / f"{name}_ds.png"))


def drawn(seed: int, shape: tuple[int, ...]) -> Affine:
    """Return a transform of the full range: 30 degrees, a factor of 1.3, 12 % of the field."""
    rng, (rows, cols) = np.random.default_rng(seed), shape
    turn, factor, x, y = rng.uniform(-1, 1, 4)
    linear = Affine.similarity(1.3**factor, np.radians(30 * turn), 0.12 * x * cols, 0.12 * y * rows)
    return Affine.about(linear, ((cols - 1) / 2, (rows - 1) / 2))


def errors_px(found: Affine, truth: Affine, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the mean error at the corners and where both pictures are, px of the fixed one."""
    rows, cols = shape
    y, x = np.mgrid[0:rows:20, 0:cols:20]
    field = np.stack([x.ravel(), y.ravel()], axis=1).astype(float)
    corners = np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], float)
    at = truth(field)
    both = (at >= 0).all(axis=1) & (at < (cols, rows)).all(axis=1)
    far = [np.linalg.norm(found(p) - truth(p), axis=1).mean() / truth.scale for p in (corners, field[both])]
    return float(far[0]), float(far[1])


@pytest.mark.parametrize("name", ["s8", "s9"])
def test_chromatin_is_registered_on_real_electron_images(name: str) -> None:
    """The truth itself, fluorescence as it was brought onto each section by hand, holds to some 4 px of 1280."""
    electrons, light = real(name, "EM"), real(name, "FM")
    corners, ratios = [], []
    for seed in range(4):
        truth = drawn(seed, electrons.shape)
        found = register(electrons, moved(light, truth), settings())
        assert found.matched
        assert found.method == "intensity search"
        corner, field = errors_px(found.to_moving, truth, electrons.shape)
        assert field < 6
        corners.append(corner)
        ratios.append(corner / found.sigma_px)
    assert np.median(corners) < 7
    assert 0.5 < np.median(ratios) < 2


@pytest.mark.parametrize(("electrons", "light"), [("s8", "s9"), ("s9", "s8")])
def test_the_chromatin_of_the_next_section_does_not_match(electrons: str, light: str) -> None:
    fixed, other = real(electrons, "EM"), real(light, "FM")
    assert not register(fixed, moved(other, drawn(5, other.shape)), settings()).matched
