"""What SIFT and correlation each promise beyond the contract."""

from math import radians

import numpy as np
import pytest

from demis_ij.geometry import apply, estimate
from demis_ij.matchers.correlation import CorrelationMatcher, _correlate, _reduced
from demis_ij.matchers.sift import SiftMatcher, match_descriptors
from demis_ij.protocols import View
from demis_ij.records import Affine
from demis_ij.testing.matcher_contract import resin, tissue, two_views


@pytest.mark.parametrize("resolution", [1.0, 0.5, 0.37])
def test_sift_has_no_bias_at_any_resolution(resolution):
    rng = np.random.default_rng(1)
    source = tissue((760, 520), rng)
    for shift in ((0.0, 0.0), (5.25, -8.75), (-3.5, 4.5)):
        to_fixed = Affine.translation(*shift)
        # odd sizes: the scale of each axis is its own
        found = SiftMatcher(resolution)(*two_views(source, to_fixed, rng, shape=(599, 301)))
        off = np.median(found.fixed_xy - found.moving_xy, 0) - shift
        assert np.abs(off).max() < 0.08  # px: the scatter of the median; a quarter-pixel bias would show


def test_sift_points_turn_with_the_image():
    """A bias common to both views cancels for shifts; half a turn shows it twice over."""
    rng = np.random.default_rng(2)
    view, _ = two_views(tissue((760, 520), rng), Affine(), rng, shape=(500, 300))
    turned = View(np.ascontiguousarray(view.image[::-1, ::-1]), view.mask)
    found = SiftMatcher(0.5)(view, turned)
    off = np.median(found.fixed_xy + found.moving_xy - (299, 499), 0)
    assert np.abs(off).max() < 0.05  # px


def test_matches_are_best_both_ways():
    rng = np.random.default_rng(3)
    d = np.abs(rng.normal(size=(30, 128))).astype(np.float32)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    order = rng.permutation(30)
    rows, cols, score = match_descriptors(d, d[order], 0.75)
    np.testing.assert_array_equal(order[cols], rows)
    assert len(rows) == 30
    assert score.min() > 0.9
    twice = np.vstack([d, d[:1]])  # a repeated descriptor is ambiguous
    rows, _, _ = match_descriptors(d, twice, 0.75)
    assert 0 not in rows


def test_correlation_finds_resin():
    matcher = CorrelationMatcher()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        to_fixed = Affine.about(Affine.rigid(radians(rng.uniform(-3, 3)), *rng.uniform(-20, 20, 2)), (80, 400))
        views = two_views(resin((1000, 320), rng, 2.0), to_fixed, rng, shape=(800, 160), noise_sd=5.0, contrast=4.0)
        found = matcher(*views)
        best = estimate(found.moving_xy, found.fixed_xy, "rigid", 4.0)
        assert best is not None
        assert best.inlier.mean() > 0.8
        at = np.array([[80.0, 100.0], [80.0, 700.0]])
        assert np.linalg.norm(apply(best.to_fixed, at) - to_fixed(at), axis=1).max() < 2.0  # px, before refinement
        assert len(SiftMatcher()(*views)) < 25, "the resin is too easy"


def test_correlation_says_nothing_of_strangers():
    matcher = CorrelationMatcher()
    for seed in range(4):
        rng = np.random.default_rng(seed)
        one, _ = two_views(tissue((760, 320), rng), Affine(), rng)
        two, _ = two_views(tissue((760, 320), rng), Affine(), rng)
        assert len(matcher(one, two)) == 0


def test_correlation_says_nothing_of_a_lattice():
    y, x = np.mgrid[:600, :160]
    rng = np.random.default_rng(5)
    lattice = 128 + 50 * np.sin(2 * np.pi * x / 40) * np.sin(2 * np.pi * y / 40)
    one, two = (
        View(np.rint(lattice + rng.normal(0, 3, lattice.shape)).astype(np.uint8), np.ones(lattice.shape, bool))
        for _ in range(2)
    )
    assert len(CorrelationMatcher()(one, two)) == 0


def test_masked_correlation_is_the_correlation_coefficient_of_the_overlap():
    """The FFT form (Padfield 2012, eq. 2) against numpy's, at the shift it finds."""
    rng = np.random.default_rng(6)
    fixed, moving = two_views(tissue((760, 320), rng), Affine.translation(12, -20), rng)
    mask = fixed.mask.copy()
    mask[100:200, 40:90] = False
    small = _reduced(View(fixed.image, mask), 4), _reduced(moving, 4)
    assert small[0] is not None
    assert small[1] is not None
    (peak,) = _correlate(small[0], small[1], [0.0], 0.2)
    assert np.allclose(peak.shift_xy, (3, -5), atol=0.2)  # px of the reduced view


def test_a_wide_border_without_data_hides_no_blocks():
    """Lens-corrected tiles: of the crop that two tiles should share, only a third holds data in both."""
    rng = np.random.default_rng(5)
    to_fixed = Affine.translation(3.0, -2.0)
    fixed, moving = two_views(tissue((700, 300), rng), to_fixed, rng, shape=(600, 150))
    masks = np.ones((2, 600, 150), bool)
    masks[0, :, 105:] = False
    masks[1, :, :55] = False
    found = CorrelationMatcher()(View(fixed.image * masks[0], masks[0]), View(moving.image * masks[1], masks[1]))
    assert len(found) >= 8  # what a pair needs
    off = np.linalg.norm(found.fixed_xy - to_fixed(found.moving_xy), axis=1)
    assert np.median(off) < 0.5  # px, blocks are exact to a fraction


@pytest.mark.parametrize("overlap_px", [24, 32])
def test_a_strip_of_a_few_rows_still_gives_blocks(overlap_px):
    rng = np.random.default_rng(6)
    source = tissue((700, 300), rng)
    whole, _ = two_views(source, Affine(), rng, shape=(600, 150))
    fixed, moving = (
        View(np.ascontiguousarray(v), np.ones(v.shape, bool))
        for v in (whole.image[:, :75], whole.image[:, 75 - overlap_px : 150 - overlap_px])
    )
    found = CorrelationMatcher()(fixed, moving)
    assert len(found) >= 8
    off = found.fixed_xy - found.moving_xy - (75 - overlap_px, 0)
    assert np.median(np.linalg.norm(off, axis=1)) < 0.5  # px


def test_a_wide_search_finds_an_overlap_of_a_sixth():
    """The second pass shows far more of each tile than the two share."""
    rng = np.random.default_rng(7)
    whole, _ = two_views(tissue((700, 480), rng), Affine(), rng, shape=(600, 400))
    cuts = whole.image[:, :200], whole.image[:, 168:368]
    fixed, moving = (View(np.ascontiguousarray(v), np.ones(v.shape, bool)) for v in cuts)
    found = CorrelationMatcher()(fixed, moving)
    assert len(found) >= 8
    assert np.median(np.linalg.norm(found.fixed_xy - found.moving_xy - (168, 0), axis=1)) < 0.5  # px
    assert len(CorrelationMatcher(min_share=0.2)(fixed, moving)) == 0  # what the share is for
