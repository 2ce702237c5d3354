"""Tiers of elastic registrations, with truth and without."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from demis_ij.errors import InputError
from demis_ij.metrics.overlap import OverlapLimits, overlap_tier
from demis_ij.metrics.tiers import TIERS, central, jacobian, residual_tier, tier_of

SHAPE = (200, 200)


def constant(dx: float, dy: float) -> np.ndarray:
    return np.stack([np.full(SHAPE, dx, np.float32), np.full(SHAPE, dy, np.float32)])


@pytest.mark.parametrize(
    ("dx", "tier"),
    [(8.0, "good"), (9.9, "good"), (10.1, "decent"), (11.9, "decent"), (12.1, "bad"), (15.9, "bad"), (16.1, "poor")],
)
def test_a_shift_that_misses_by_so_much_has_the_tier_by_the_rule(dx: float, tier: str) -> None:
    found = residual_tier(constant(dx, 0), constant(8, 0))

    assert found.tier == tier
    assert found.mean_px == found.p95_px == pytest.approx(abs(dx - 8), abs=1e-5)
    assert found.before_px == 8
    assert found.folded_frac == 0


def test_doing_nothing_is_bad_and_not_poor() -> None:
    assert residual_tier(constant(0, 0), constant(6, 3)).tier == "bad"


def test_a_few_pixels_far_off_keep_it_from_being_good() -> None:
    found = constant(6, 0)
    found[1, 20:180, 100:112] += 12  # a seventeenth of what counts

    judged = residual_tier(found, constant(6, 0))

    assert judged.mean_px < 2
    assert judged.p95_px > 6
    assert judged.tier != "good"


def test_what_lies_at_the_edge_does_not_count() -> None:
    found = constant(6, 0)
    found[:, :9], found[:, :, -9:] = 99, -99

    assert residual_tier(found, constant(6, 0)).mean_px == 0
    assert central(found).shape == (2, 180, 180)


def test_what_folds_more_than_a_hundredth_is_poor_however_near_it_is() -> None:
    truth, found = constant(6, 0), constant(6, 0)
    found[0, :, 60:90] += 2 * np.sin(np.arange(30) / 1.5).astype(np.float32)

    judged = residual_tier(found, truth)

    assert judged.mean_px < 1
    assert judged.folded_frac > 0.01
    assert judged.tier == "poor"


def test_what_is_not_known_counts_as_left_where_it_is() -> None:
    found = constant(6, 0)
    found[:, :100] = np.nan

    judged = residual_tier(found, constant(6, 0))

    assert judged.known_frac == pytest.approx(0.5, abs=0.01)
    assert judged.mean_px == pytest.approx(3, abs=0.05)
    assert residual_tier(np.full_like(found, np.nan), constant(6, 0)).tier == "bad"


def test_the_jacobian_of_a_linear_map_is_its_determinant() -> None:
    y, x = np.mgrid[:20, :30].astype(float)
    offsets = np.stack([0.1 * x + 0.2 * y, -0.3 * x + 0.05 * y])

    np.testing.assert_allclose(jacobian(offsets), 1.1 * 1.05 + 0.2 * 0.3)


def test_fields_of_other_shapes_and_a_truth_with_holes_are_refused() -> None:
    with pytest.raises(InputError, match="one shape"):
        residual_tier(constant(0, 0), constant(0, 0)[:, :-1])
    with pytest.raises(InputError, match="truth is not known"):
        residual_tier(constant(0, 0), constant(np.nan, np.nan))


def test_a_larger_residual_never_has_a_better_tier() -> None:
    ranks = [TIERS.index(tier_of(r, 2 * r, 6.7, 0.0)) for r in np.linspace(0, 9, 91)]

    assert ranks == sorted(ranks, reverse=True)
    assert set(ranks) == {0, 1, 2, 3}


# --- without truth --------------------------------------------------------------------------------------------------


def cells(seed: int = 1, side: int = 260) -> np.ndarray:
    """Return a mosaic of cells, as (greys, other greys): two pictures with the same outlines."""
    rng = np.random.default_rng(seed)
    empty = np.ones((side, side), np.uint8)
    empty[tuple((rng.uniform(0, side - 1, (2, 130))).astype(int))] = 0
    _, label = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    greys = rng.uniform(40, 215, (2, label.max() + 1))
    noise = rng.normal(0, 4, (2, side, side))
    return np.stack([cv2.GaussianBlur(g[label], (0, 0), 1.2) for g in greys]) + noise


def shifted(plane: np.ndarray, dx: int) -> np.ndarray:
    return np.roll(plane, dx, axis=1)


def offsets_of(dx: float, side: int = 260) -> np.ndarray:
    return np.stack([np.full((side, side), dx, np.float32), np.zeros((side, side), np.float32)])


def test_outlines_on_each_other_are_good_whatever_the_greys_and_off_by_more_are_worse() -> None:
    fixed, other = cells()
    moving = shifted(other, 7)

    tiers = [overlap_tier(fixed, moving, offsets_of(dx)) for dx in (7, 4.2, 1.5)]

    assert [t.tier for t in tiers] == ["good", "decent", "bad"]
    assert tiers[0].shift_px < 0.5
    assert tiers[1].shift_px == pytest.approx(2.8, abs=0.6)
    assert tiers[0].edges_after > tiers[0].edges_before + 0.2
    assert tiers[0].information_after > tiers[0].information_before


def test_what_is_moved_away_from_where_it_fits_is_poor() -> None:
    fixed, other = cells(2)

    judged = overlap_tier(fixed, other, offsets_of(8))

    assert judged.tier == "poor"
    assert "less alike" in judged.reason


def test_what_is_folded_is_poor_and_what_is_strained_is_not_good() -> None:
    fixed, other = cells(3)[0], shifted(cells(3)[1], 6)
    x = np.arange(260, dtype=np.float32)
    folded, strained = offsets_of(6), offsets_of(6)
    folded[0] += 3 * np.sin(x / 2)
    strained[0] += 0.9 * np.sin(x / 1.8)

    assert overlap_tier(fixed, other, folded).tier == "poor"
    judged = overlap_tier(fixed, other, strained)
    assert judged.folded_frac == 0
    assert judged.strain > 0.3
    assert judged.tier in ("decent", "bad")


def test_without_data_it_is_bad_and_says_why() -> None:
    fixed, other = cells(4)
    nothing = np.zeros(fixed.shape, bool)

    judged = overlap_tier(fixed, other, offsets_of(0), moving_mask=nothing)

    assert judged.tier == "bad"
    assert "too little" in judged.reason
    assert judged.blocks == 0
    assert judged.known_frac == 0
    unknown = overlap_tier(fixed, other, np.full((2, 260, 260), np.nan, np.float32))
    assert unknown.tier == "bad"


def test_strangers_are_never_decent() -> None:
    fixed, stranger = cells(5)[0], cells(6)[1]

    assert overlap_tier(fixed, stranger, offsets_of(0)).tier in ("poor", "bad")


def test_limits_are_those_that_are_given_and_images_too_small_are_refused() -> None:
    fixed, other = cells(7)
    moving = shifted(other, 7)

    assert overlap_tier(fixed, moving, offsets_of(4)).tier == "decent"
    assert overlap_tier(fixed, moving, offsets_of(4), limits=OverlapLimits(good_px=5, decent_px=9)).tier == "good"
    with pytest.raises(InputError, match="116 px"):
        overlap_tier(fixed[:100, :100], other[:100, :100], offsets_of(0, 100))
    with pytest.raises(InputError, match="one shape"):
        overlap_tier(fixed, other[:-1], offsets_of(0))
