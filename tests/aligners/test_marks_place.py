"""Local contrast: what it keeps, what it leaves out, and where it finds a few marks on another picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from made_pictures import off, similarity
from marks import moved, nuclei

from demis_ij.aligners.intensity import contrast_of
from demis_ij.aligners.intensity_search import marked_places
from demis_ij.aligners.structure_search import scales_between, turns_between

SIDE = 128
WINDOWS = (0.5, 1.5)


def everything(picture: np.ndarray) -> np.ndarray:
    return np.ones(picture.shape, bool)


def small(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return electrons and light at a quarter of the size they are made with."""
    return tuple(cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in nuclei(seed, 4 * SIDE))


def test_gain_and_offset_change_nothing_and_inversion_only_the_sign() -> None:
    electrons, _ = small(1)
    seen = contrast_of(electrons, everything(electrons), *WINDOWS)
    for gain, offset in ((3.0, 700.0), (-0.2, 5.0)):
        other = contrast_of(gain * electrons + offset, everything(electrons), *WINDOWS)
        np.testing.assert_allclose(other.plane, np.sign(gain) * seen.plane, atol=2e-3)  # 1: what is usual
        assert (other.loud == seen.loud).mean() > 0.999


def test_a_picture_of_few_marks_is_loud_only_near_them() -> None:
    electrons, light = small(2)
    marks = contrast_of(light, everything(light), *WINDOWS)
    assert 0.03 < marks.loud_frac < 0.25
    away = cv2.dilate((light > 0.1).astype(np.uint8), np.ones((15, 15))) == 0
    assert away.mean() > 0.5
    assert marks.loud[away].mean() < 0.01
    assert contrast_of(electrons, everything(electrons), *WINDOWS).loud_frac > 0.5


def test_what_is_no_data_is_not_looked_at() -> None:
    electrons, _ = small(3)
    mask = everything(electrons)
    mask[:, :50] = False
    spoilt = np.where(mask, electrons, np.nan)
    seen, whole = (contrast_of(p, m, *WINDOWS) for p, m in ((spoilt, everything(mask)), (electrons, mask)))
    np.testing.assert_array_equal(seen.plane, whole.plane)
    np.testing.assert_array_equal(seen.known, mask)
    assert not seen.loud[:, :50].any()
    assert not seen.plane[:, :50].any()


@pytest.mark.parametrize("blank", [np.zeros((40, 40)), np.full((40, 40), np.nan), np.full((40, 40), 9, np.uint16)])
def test_a_picture_of_nothing_says_nothing(blank: np.ndarray) -> None:
    electrons, light = small(4)
    nothing = contrast_of(blank, everything(blank), *WINDOWS)
    assert nothing.loud_frac == 0
    assert not nothing.plane.any()
    for picture in (electrons, light):
        seen = contrast_of(picture, everything(picture), *WINDOWS)
        assert marked_places(nothing, seen, [0.0]) == []
        assert marked_places(seen, nothing, [0.0]) == []


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("turn_deg", [-20.0, 12.0])
def test_marks_are_found_turned_scaled_and_shifted_dark_or_bright(turn_deg: float, sign: int) -> None:
    electrons, light = small(5)
    truth = similarity(turn_deg, 1.1, (9, -7), SIDE)
    fixed = -sign * electrons  # clumps are darker than what is around them
    marks = contrast_of(moved(light, truth), everything(light), *WINDOWS)
    found = marked_places(
        marks,
        contrast_of(fixed, everything(fixed), *WINDOWS),
        turns_between(-24, 24, 4),
        scales_between(0.8, 1.25, 1.067),
    )
    assert found[0].sign == sign
    assert off(found[0].to_moving, truth.inverse, SIDE) < 8  # px: half a step of turn and scale, at the corner
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


def test_marks_off_the_picture_are_not_placed_there() -> None:
    electrons, light = small(6)
    fixed = contrast_of(electrons, everything(electrons), *WINDOWS)
    marks = contrast_of(light, everything(light), *WINDOWS)
    rows, cols = np.nonzero(marks.loud)
    for place in marked_places(marks, fixed, turns_between(-20, 20, 10), least_covered=0.8):
        x, y = place.to_moving(np.stack([cols, rows], axis=1).astype(float)).T
        inside = (x > -1) & (y > -1) & (x < SIDE) & (y < SIDE)
        assert inside.mean() > 0.75
