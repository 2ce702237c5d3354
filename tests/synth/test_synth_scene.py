"""Scenes: the truth is exact, noise is what was asked for, resin and decoys are as hard as they must be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import radians

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij import metrics, synth
from demis_ij.errors import InputError
from demis_ij.geometry import estimate
from demis_ij.records import Affine
from demis_ij.synth import SETS, GridSpec, make_scene

QUIET = GridSpec(rows=2, cols=2, tile_px=256, overlap=0.3, noise_sd=0.0)
RING = GridSpec(rows=1, cols=3, tile_px=1024, overlap=0.1, rotation_deg=0.1, shift_frac=0.01, resin=((0, 1),))


def _waves(x, y):
    """Return a picture whose value is known everywhere."""
    return 128 + 30 * np.sin(0.31 * x + 0.17 * y) + 25 * np.cos(0.09 * x - 0.42 * y) + 20 * np.sin(0.8 * x)


def _offset_px(fixed, moving):
    """Return the (x, y) shift between two nearly aligned images, by least squares on the gradient."""
    gy, gx = np.gradient((fixed.astype(float) + moving) / 2)
    inner = np.s_[8:-8, 8:-8]
    a = np.stack([gx[inner].ravel(), gy[inner].ravel()], 1)
    return np.linalg.lstsq(a, (fixed - moving.astype(float))[inner].ravel(), rcond=None)[0]


def _pair_of_strips(scene, fixed, moving):
    """Return the two strips in which neighbours overlap, and where each begins in its tile, (x, y)."""
    spec = scene.spec
    width = int((spec.overlap + 2 * spec.shift_frac + 0.02) * spec.tile_px)
    begin = spec.tile_px - width
    if scene.layout[fixed].to_world.ty == scene.layout[moving].to_world.ty:
        return scene.images[fixed][:, begin:], scene.images[moving][:, :width], np.array([begin, 0.0])
    return scene.images[fixed][begin:], scene.images[moving][:width], np.array([0.0, begin])


def _by_sift(scene, fixed, moving):
    """Return the rigid estimate of SIFT at half resolution with DEMIS's settings, or None."""
    a, b, begin = _pair_of_strips(scene, fixed, moving)
    found = []
    for image in (a, b):
        even = cv2.createCLAHE(0.5, (4, 4)).apply(image)
        half = cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        points, what = cv2.SIFT_create().detectAndCompute(half, None)
        found.append((np.array([(np.array(p.pt) + 0.5) * 2 - 0.5 for p in points]).reshape(-1, 2), what))
    (fixed_xy, fixed_what), (moving_xy, moving_what) = found
    if fixed_what is None or moving_what is None or min(len(fixed_xy), len(moving_xy)) < 3:
        return None
    near = cv2.BFMatcher().knnMatch(moving_what, fixed_what, k=2)
    good = [m for m, n in near if m.distance < 0.75 * n.distance]
    m = moving_xy[[g.queryIdx for g in good]].reshape(-1, 2)
    f = fixed_xy[[g.trainIdx for g in good]].reshape(-1, 2) + begin
    return estimate(m, f, "rigid", 3.0)


def _by_masked_correlation(scene, fixed, moving):
    """Return the shift of masked normalised cross-correlation (Padfield 2012, doi:10.1109/TIP.2011.2181402)."""
    a, b, begin = _pair_of_strips(scene, fixed, moving)
    a, b = (
        cv2.GaussianBlur(i.astype(np.float64), (0, 0), 2) - cv2.GaussianBlur(i.astype(np.float64), (0, 0), 40)
        for i in (a, b)
    )
    size = (2 * a.shape[0], 2 * a.shape[1])
    one, fa, fb, fa2, fb2 = (np.fft.rfft2(v, size) for v in (np.ones_like(a), a, b, a * a, b * b))
    n, sa, sb, ab, qa, qb = (
        np.fft.irfft2(u * v.conj(), size)
        for u, v in ((one, one), (fa, one), (one, fb), (fa, fb), (fa2, one), (one, fb2))
    )
    n = np.maximum(np.round(n), 1)
    value = (ab - sa * sb / n) / np.sqrt(np.maximum(qa - sa**2 / n, 1e-6) * np.maximum(qb - sb**2 / n, 1e-6))
    value[n < 0.15 * a.size] = -1
    peak = np.array(np.unravel_index(int(value.argmax()), value.shape))
    shift = np.where(peak >= a.shape, peak - size, peak)[::-1]
    out = np.eye(3)
    out[:2, 2] = shift + begin
    return out


@pytest.fixture(scope="module")
def resin_scene():
    return make_scene(RING, 5)


@pytest.fixture(scope="module")
def quiet_scene():
    return make_scene(QUIET, 3)


@settings(max_examples=10, deadline=None)
@given(angle=st.floats(-5, 5), x=st.floats(40, 60), y=st.floats(40, 60))
def test_sampling_a_known_picture_gives_its_values_at_the_true_places(angle, x, y):
    cols, rows = np.meshgrid(np.arange(220.0), np.arange(210.0))
    pose = Affine.translation(x, y) @ Affine.rigid(radians(angle))
    px, py = np.meshgrid(np.arange(100.0), np.arange(90.0))
    at = pose(np.stack([px.ravel(), py.ravel()], 1))

    found = synth.sample(_waves(cols, rows).astype(np.float32), pose, (90, 100))

    expected = _waves(at[:, 0], at[:, 1]).reshape(90, 100)
    assert np.abs(found - expected).max() < 0.05  # grey of an amplitude of 75: quintic splines at 8 px a wave
    assert np.abs(_offset_px(found, expected)).max() < 1e-3  # px


def test_tiles_show_the_source_where_the_truth_says_they_are():
    rows, cols = QUIET.source_shape
    x, y = np.meshgrid(np.arange(float(cols)), np.arange(float(rows)))
    scene = make_scene(QUIET, 8, _waves(x, y))
    px = np.stack(np.meshgrid(np.arange(256.0), np.arange(256.0)), -1).reshape(-1, 2)
    for tile in scene.truth:
        at = scene.to_source(tile.to_world(px))
        expected = _waves(at[:, 0], at[:, 1]).reshape(256, 256)
        off = scene.images[tile.id] - expected
        assert np.abs(off).max() < 0.6  # grey: half a step of rounding, and interpolation
        assert np.abs(_offset_px(scene.images[tile.id].astype(float), expected)).max() < 2e-3  # px


def test_neighbours_brought_together_by_the_truth_agree(quiet_scene):
    for fixed, moving in quiet_scene.pairs:
        to_moving = quiet_scene.truth[moving].to_world.inverse @ quiet_scene.truth[fixed].to_world
        back = synth.sample(quiet_scene.images[moving].astype(np.float32), to_moving, (256, 256))
        inside = cv2.warpAffine(
            np.ones((256, 256), np.uint8),
            to_moving.matrix[:2],
            (256, 256),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        )
        inside = cv2.erode(inside, np.ones((21, 21)), borderValue=0).astype(bool)
        rows, cols = (np.flatnonzero(inside.any(k)) for k in (1, 0))
        box = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        seen = quiet_scene.images[fixed].astype(float)
        assert inside.sum() > 3000
        assert np.abs(seen - back)[inside].mean() < 0.6  # grey: two roundings to integers
        shift = _offset_px(np.where(inside, seen, 0)[box], np.where(inside, back, 0)[box])
        assert np.abs(shift).max() < 0.02  # px


def test_the_same_seed_gives_the_same_tiles():
    first, again = (make_scene(replace(QUIET, noise_sd=5, gain_sd=0.1, blur_px=1.0, resin=((1, 1),)), 4) for _ in "ab")
    assert first.truth == again.truth
    assert all(np.array_equal(first.images[i], again.images[i]) for i in first.images)


def test_a_tile_does_not_depend_on_which_others_exist():
    spec = replace(QUIET, noise_sd=5, bias_sd=9)
    whole, part = make_scene(spec, 4), make_scene(replace(spec, missing=((0, 1),)), 4)
    assert set(part.images) == set(whole.images) - {"r00_c01"}
    for name in part.images:
        assert whole.truth[name] == part.truth[name]
        assert np.array_equal(whole.images[name], part.images[name])


def test_the_stage_says_the_regular_grid(quiet_scene):
    for row, col in QUIET.positions:
        assert quiet_scene.layout[synth.tile_id((row, col))].to_world == Affine.translation(col * 179, row * 179)


def test_truth_keeps_within_the_limits_of_shift_and_turn():
    spec = GridSpec(rows=12, cols=12, tile_px=32, overlap=0.3, rotation_deg=3, shift_frac=0.1)
    scene = make_scene(spec, 1, np.full(spec.source_shape, 100.0))
    middle = np.array([15.5, 15.5])
    moved = np.array([scene.truth[i].to_world(middle) - scene.layout[i].to_world(middle) for i in scene.truth.ids])
    turned = np.degrees([t.to_world.angle for t in scene.truth])
    assert 2.9 < np.abs(moved).max() <= 3.2  # px, 0.1 of 32
    assert 2.8 < np.abs(turned).max() <= 3.0
    assert np.abs(moved.mean(0)).max() < 0.5  # 3 standard errors of a uniform +-3.2 over 144


def test_a_stage_error_moves_what_the_stage_says_and_nothing_else(quiet_scene):
    wrong = make_scene(replace(QUIET, stage_error_frac=0.1), 3)
    off = [wrong.layout[i].to_world(np.zeros(2)) - quiet_scene.layout[i].to_world(np.zeros(2)) for i in wrong.images]
    assert 0 < np.abs(off).max() <= 25.6
    assert wrong.truth == quiet_scene.truth
    assert all(np.array_equal(wrong.images[i], quiet_scene.images[i]) for i in wrong.images)


@pytest.mark.parametrize("sd", [5.0, 15.0])
def test_noise_has_mean_zero_and_the_sd_asked_for_and_is_not_shared(sd):
    spec = GridSpec(rows=2, cols=2, tile_px=256, noise_sd=sd)
    scene = make_scene(spec, 6, np.full(spec.source_shape, 128.3))
    noise = {i: image - 128.3 for i, image in scene.images.items()}
    for values in noise.values():
        assert abs(values.mean()) < 4 * sd / 256  # four standard errors of 65 536 draws
        assert values.std() == pytest.approx(np.sqrt(sd**2 + 1 / 12), rel=0.012)  # four standard errors, rounding in
    names = sorted(noise)
    for a, b in pairwise(names):
        assert abs(np.corrcoef(noise[a].ravel(), noise[b].ravel())[0, 1]) < 4 / 256


def test_gain_and_bias_have_the_spread_asked_for():
    spec = GridSpec(rows=16, cols=16, tile_px=32, noise_sd=0, gain_sd=0.05, bias_sd=8, overlap=0.3)
    ramp = np.tile(np.where(np.arange(spec.source_shape[1]) % 8 < 4, 60.0, 180.0), (spec.source_shape[0], 1))
    scene = make_scene(replace(spec, rotation_deg=0, shift_frac=0), 2, ramp)
    high, low = (np.array([np.percentile(i, q) for i in scene.images.values()]) for q in (97, 3))
    gain = (high - low) / np.median(high - low)
    assert gain.std() == pytest.approx(0.05, rel=0.2)  # 256 draws: 4.4 % standard error, edges of the pattern ring
    assert (low - low.mean()).std() == pytest.approx(np.hypot(8, 60 * 0.05), rel=0.2)


def test_resin_has_the_contrast_asked_for_and_fills_every_overlap_of_its_tile(resin_scene):
    spec = replace(RING, noise_sd=0.0)
    clean = make_scene(spec, 5)
    weak = clean.images["r00_c01"].astype(np.float32)
    assert cv2.GaussianBlur(weak, (0, 0), 4.0).std() == pytest.approx(spec.resin_sd, rel=0.2)
    assert 2 <= spec.resin_sd <= 4  # the rule for a fair set
    light = weak.mean()
    for fixed, moving in clean.resin_pairs:
        other = fixed if moving == "r00_c01" else moving
        points = np.round(metrics.overlap_points(clean.truth, "r00_c01", other)).astype(int)
        seen = clean.images[other][points[:, 1], points[:, 0]]
        assert np.abs(seen - light).max() < 8 * spec.resin_sd  # grey: no border, no tissue in it
    assert clean.images["r00_c00"].std() > 5 * spec.resin_sd


def test_resin_pairs_are_found_by_masked_correlation_and_not_by_sift(resin_scene):
    assert len(resin_scene.resin_pairs) == 2
    for fixed, moving in resin_scene.resin_pairs:
        shift = _by_masked_correlation(resin_scene, fixed, moving)
        assert metrics.overlap_error_px(shift, resin_scene.truth, fixed, moving) < 3  # px: no rotation in the model
        found = _by_sift(resin_scene, fixed, moving)
        assert found is None or metrics.overlap_error_px(found.to_fixed, resin_scene.truth, fixed, moving) > 10


def test_sift_finds_textured_pairs():
    scene = make_scene(GridSpec(rows=1, cols=2, style=SETS["A"].style), 2)
    ((fixed, moving),) = scene.textured_pairs
    found = _by_sift(scene, fixed, moving)
    assert (
        np.median(metrics.corner_error_px(found.to_fixed, scene.truth, fixed, moving)) < 0.3
    )  # px, at half resolution


def test_a_decoy_fools_sift_by_half_a_turn():
    spec = GridSpec(rows=1, cols=2, decoy=True, style=SETS["F"].style)
    scene = make_scene(spec, 1)
    assert scene.decoy_pair == ("r00_c00", "r00_c01")
    found = _by_sift(scene, *scene.decoy_pair)
    assert found.inlier.sum() > 150
    turn = np.degrees(np.arctan2(found.to_fixed[1, 0], found.to_fixed[0, 0]))
    assert abs(abs(turn) - 180) < 1
    honest = make_scene(replace(spec, decoy=False), 1)
    assert np.array_equal(honest.images["r00_c00"], scene.images["r00_c00"])
    changed = honest.images["r00_c01"] != scene.images["r00_c01"]
    rows, cols = np.nonzero(changed)
    assert rows.min() > 0.15 * 1024  # the strips of the tiles above and below are not touched
    assert rows.max() < 0.85 * 1024
    assert cols.max() < 0.16 * 1024


def test_missing_tiles_have_no_image_and_no_pair():
    scene = make_scene(GridSpec(rows=3, cols=3, tile_px=64, overlap=0.3, missing=((1, 1), (0, 2))), 1)
    assert len(scene.images) == len(scene.layout) == len(scene.truth) == 7
    named = {i for pair in scene.pairs for i in pair}
    assert "r01_c01" not in named
    assert len(scene.pairs) == 6
    assert scene.textured_pairs == frozenset(scene.pairs)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (np.zeros((100, 100)), "needs a grey one of at least"),
        (np.zeros((900, 900, 3)), "needs a grey one of at least"),
        (np.full((900, 900), np.nan), "not numbers"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(source, says):
    with pytest.raises(InputError, match=says):
        make_scene(QUIET, 1, source)


def test_a_larger_source_is_cut_at_a_random_place_and_left_as_it_was():
    source = np.random.default_rng(0).uniform(0, 255, (700, 800))
    before = source.copy()
    first, other = make_scene(QUIET, 1, source), make_scene(QUIET, 2, source)
    assert first.source.shape == other.source.shape == QUIET.source_shape
    assert not np.array_equal(first.source, other.source)
    assert np.array_equal(source, before)


def test_the_demo_is_small_and_has_a_resin_corner():
    scene = synth.demo_scene()
    assert len(scene.images) == 9
    assert len(scene.resin_pairs) == 2
    assert all(scene.images[i].std() > 15 for i in scene.images if i != "r00_c02")
    assert all(60 < scene.images[i].mean() < 210 for i in scene.images)
