"""Sub-pixel refinement is exact, favours neither view, and does not drift to what is not there."""

from math import radians

import numpy as np
import pytest

from demis_ij.geometry import apply, estimate
from demis_ij.matchers.refine import agreement, half_way, refine
from demis_ij.protocols import View
from demis_ij.records import Affine, Correspondences
from demis_ij.testing.matcher_contract import STRIP, resin, tissue, two_views

CORNERS = np.array([[0, 0], [STRIP[1], 0], [STRIP[1], STRIP[0]], [0, STRIP[0]]], float)


def rough(to_fixed: Affine, rng: np.random.Generator, off_px: float = 1.5, count: int = 40) -> Correspondences:
    """Return points that are off as LoFTR's are at half resolution, with a common bias besides."""
    moving = rng.uniform((10, 10), (STRIP[1] - 10, STRIP[0] - 10), (count, 2))
    fixed = to_fixed(moving) + rng.normal(0, off_px, (count, 2)) + (0.6, -0.5)
    return Correspondences(fixed, moving, np.ones(count))


def seam_error(found: Correspondences, to_fixed: Affine) -> float:
    best = estimate(found.moving_xy, found.fixed_xy, "rigid", 4.0)
    assert best is not None
    return float(np.linalg.norm(apply(best.to_fixed, CORNERS) - to_fixed(CORNERS), axis=1).max())


@pytest.mark.parametrize(("shift", "turn_deg"), [((0.0, 0.0), 0.0), ((6.25, -11.5), 0.1), ((-9.7, 14.3), 3.0)])
def test_rough_points_become_exact(shift, turn_deg):
    rng = np.random.default_rng(1)
    to_fixed = Affine.about(Affine.rigid(radians(turn_deg), *shift), (80, 300))
    start = rough(to_fixed, rng)
    assert seam_error(start, to_fixed) > 0.4, "there must be something to mend"

    found = refine(*two_views(tissue((760, 320), rng), to_fixed, rng, noise_sd=5.0), start).points

    assert len(found) > 20
    assert seam_error(found, to_fixed) < 0.05  # px, largest over the strip: what one sees of the corner error 0.06


def test_neither_view_is_favoured():
    rng = np.random.default_rng(2)
    to_fixed = Affine.about(Affine.rigid(radians(1.5), 4.4, -7.1), (80, 300))
    fixed, moving = two_views(tissue((760, 320), rng), to_fixed, rng)
    start = rough(to_fixed, rng)
    there, back = refine(fixed, moving, start).points, refine(moving, fixed, start.swapped).points.swapped
    assert len(there) == len(back)
    np.testing.assert_allclose(there.fixed_xy, back.fixed_xy, atol=1e-3)  # px: float32 sums
    np.testing.assert_allclose(there.moving_xy, back.moving_xy, atol=1e-3)


def test_resin_is_refined_by_a_wider_look():
    rng = np.random.default_rng(3)
    to_fixed = Affine.about(Affine.rigid(radians(0.5), 3.2, -6.6), (80, 300))
    views = two_views(resin((760, 320), rng), to_fixed, rng, noise_sd=5.0, contrast=4.0)
    found = refine(*views, rough(to_fixed, rng)).points
    assert seam_error(found, to_fixed) < 0.8  # px; structure of 3 grey levels under noise of 5: the start was 0.5 to 1


def test_gain_and_offset_do_not_matter():
    rng = np.random.default_rng(4)
    to_fixed = Affine.translation(5.3, -8.2)
    views = two_views(tissue((760, 320), rng), to_fixed, rng, gain=0.75)
    assert seam_error(refine(*views, rough(to_fixed, rng)).points, to_fixed) < 0.05  # px


def test_no_data_takes_no_part():
    rng = np.random.default_rng(5)
    to_fixed = Affine.translation(3.6, 7.7)
    fixed, moving = two_views(tissue((760, 320), rng), to_fixed, rng)
    image, mask = fixed.image.copy(), fixed.mask.copy()
    image[:200], mask[:200] = 0, False
    found = refine(View(image, mask), moving, rough(to_fixed, rng)).points
    assert seam_error(found, to_fixed) < 0.1  # px, at corners that lie outside what is seen
    assert found.fixed_xy[:, 1].min() > 190


def test_too_few_points_or_nothing_shared_give_none():
    rng = np.random.default_rng(6)
    views = two_views(tissue((760, 320), rng), Affine(), rng)
    assert len(refine(*views, Correspondences.none()).points) == 0
    away = Correspondences([[0, 0], [0, 50]], [[155, 590], [155, 640]], [1, 1])
    assert len(refine(*views, away).points) == 0


def test_agreement_tells_the_right_place_from_wrong_ones():
    for seed, source, noise, contrast in ((7, tissue, 5.0, 1.0), (8, resin, 5.0, 4.0)):
        rng = np.random.default_rng(seed)
        to_fixed = Affine.about(Affine.rigid(radians(1), 6, 12), (80, 300))
        views = two_views(source((760, 320), rng), to_fixed, rng, noise_sd=noise, contrast=contrast)
        right = agreement(*views, to_fixed)
        assert right is not None
        assert right > 5
        wrong = [agreement(*views, Affine.translation(*d) @ to_fixed) for d in ((40, 30), (-35, 70), (20, -160))]
        assert max(w for w in wrong if w is not None) < 3.5


def test_agreement_is_silent_where_there_is_too_little_to_tell():
    rng = np.random.default_rng(9)
    views = two_views(tissue((760, 320), rng), Affine(), rng)
    assert agreement(*views, Affine.translation(150, 0)) is None


def test_half_way_is_half_way():
    rng = np.random.default_rng(10)
    to_fixed = Affine.about(Affine.rigid(radians(4), 9, -5), (80, 300))
    middle = half_way(*two_views(tissue((760, 320), rng), to_fixed, rng), to_fixed, 1.0)
    assert middle is not None
    at = rng.uniform(0, 100, (5, 2))
    np.testing.assert_allclose(to_fixed(middle.to_moving(at)), middle.to_fixed(at), atol=1e-9)
    assert middle.to_fixed.angle == pytest.approx(radians(2))
    assert middle.to_moving.angle == pytest.approx(-radians(2))


@pytest.mark.parametrize("overlap_px", [24, 32])
def test_a_strip_thinner_than_the_window_is_refined(overlap_px):
    rng = np.random.default_rng(8)
    whole, _ = two_views(tissue((760, 320), rng), Affine(), rng, shape=(600, 150))
    noisy = whole.image + rng.normal(0, 3, whole.image.shape)
    fixed, moving = (
        View(np.ascontiguousarray(v, np.float32), np.ones(v.shape, bool))
        for v in (whole.image[:, :75], noisy[:, 75 - overlap_px : 150 - overlap_px])
    )
    at = rng.uniform((2, 10), (overlap_px - 2, 590), (40, 2))
    start = Correspondences(at + (75 - overlap_px, 0) + rng.normal(0, 1, at.shape), at, np.ones(len(at)))
    found = refine(fixed, moving, start).points
    assert len(found) >= 8  # what a pair needs
    off = np.linalg.norm(found.fixed_xy - found.moving_xy - (75 - overlap_px, 0), axis=1)
    assert np.median(off) < 0.2  # px; a strip of whole windows gives 0.05
