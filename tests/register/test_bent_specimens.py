"""A specimen that was bent: the turn, scale and shift that most of its parts agree with is taken, in doubt only."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from made_pictures import cells, pair, similarity
from real_images import shared_data

from demis_ij.config.registering import RegisterConfig
from demis_ij.images import data_mask, read
from demis_ij.records import Affine
from demis_ij.register.looks import looked_at
from demis_ij.register.parts import NEEDED, by_parts
from demis_ij.register.registering import Registrar
from demis_ij.register.results import Attempt

SIDE = 384
TRUTH = similarity(6, 1.05, (9, -7), SIDE)


def bent(image: np.ndarray, px: float) -> np.ndarray:
    """Return an image with its right third bent, and the rest as it was."""
    y, x = np.indices(image.shape, np.float32)
    push = px * np.clip((x - 0.67 * image.shape[1]) / 60, 0, 1)
    return cv2.remap(image.astype(np.float32), x, y + push, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def attempt(at: Affine, standing: float) -> Attempt:
    return Attempt(at, 0.2, 0.9, 1.0, standing)


def off(at: Affine, truth: Affine) -> float:
    """Mean distance of points of the part that was not bent."""
    xy = np.random.default_rng(0).uniform(40, 0.6 * SIDE, (50, 2))
    return float(np.hypot(*(at(xy) - truth(xy)).T).mean())


def test_a_place_that_is_some_pixels_off_is_corrected_to_what_most_parts_say() -> None:
    fixed, moving = pair(1, TRUTH, SIDE)
    one, two = looked_at(fixed, None, 1), looked_at(bent(moving, 7), None, 1)
    start = attempt(Affine.translation(2.5, -2) @ TRUTH, 9.0)

    found = by_parts(one, two, start)

    assert off(start.to_moving, TRUTH) > 3
    assert off(found.to_moving, TRUTH) < 0.7
    assert found.needed == NEEDED < start.needed


@pytest.mark.parametrize("standing", [NEEDED - 0.1, 13.0])
def test_what_is_no_match_and_what_is_in_no_doubt_stays_as_it_is(standing: float) -> None:
    fixed, moving = pair(1, TRUTH, SIDE)
    start = attempt(Affine.translation(2, 0) @ TRUTH, standing)

    assert by_parts(looked_at(fixed, None, 1), looked_at(moving, None, 1), start) is start


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_parts_of_strangers_do_not_agree(seed: int) -> None:
    one, two = (looked_at(cells(n, SIDE), None, 1) for n in (3, seed))
    start = attempt(Affine(), 8.0)

    assert by_parts(one, two, start) is start


def test_images_too_small_for_parts_stay_as_they_are() -> None:
    one = looked_at(cells(3, 120), None, 1)
    start = attempt(Affine(), 8.0)

    assert by_parts(one, one, start) is start
    hidden = replace(one, mask=np.zeros_like(one.mask))
    assert by_parts(hidden, hidden, start) is start


def test_histology_and_micro_ct_lie_on_each_other_as_their_landmarks_do() -> None:
    """The points are picked by hand: `docs/howto/register-measured.md`; the best similarity is 5.31 px off."""
    folder = shared_data("corr_histology_microct")
    fixed, moving = (read(folder / f"{name}.mha") for name in ("histology", "microct"))
    ct = np.loadtxt(folder / "microct_pts.txt", skiprows=2) + 1
    registrar = Registrar(fixed, RegisterConfig(weights="none", reach="near"), fixed_mask=data_mask(fixed))

    found = registrar(moving, data_mask(moving))

    assert found.matched
    assert found.to_moving is not None
    corners = np.array([[0, 0], [850, 0], [0, 699], [850, 699]], float)
    # both were laid on each other by the landmarks' own best affine, which is no turn, scale or shift to 0.001 px
    assert np.hypot(*(found.to_moving(corners) - corners).T).mean() < 4
    assert np.hypot(*(found.to_moving(ct) - ct).T).mean() < 3
