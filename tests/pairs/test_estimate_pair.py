"""What is believed of a pair, and why the rest is not."""

from math import radians
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.geometry import apply
from demis_ij.pairs import Gate, estimate_pair, shift_turn_covariance
from demis_ij.records import Affine, Correspondences, PairMatch, Rejected, Tile

FIXED = Tile("f", Path("f"), (1000, 1000))
MOVING = Tile("m", Path("m"), (1000, 1000), Affine.translation(880, 0))
GATE = Gate(stage_error_px=60)
CENTRE = (499.5, 499.5)


def truth_of(dx=0.0, dy=0.0, turn_deg=0.0) -> Affine:
    return Affine.translation(880 + dx, dy) @ Affine.about(Affine.rigid(radians(turn_deg)), CENTRE)


def matches(to_fixed: Affine, rng, count=60, noise=0.3, box=((0, 0), (110, 999))) -> Correspondences:
    moving = rng.uniform(*box, (count, 2))
    return Correspondences(to_fixed(moving) + rng.normal(0, noise, (count, 2)), moving, np.ones(count))


def joined(*parts: Correspondences) -> Correspondences:
    return Correspondences(
        np.concatenate([p.fixed_xy for p in parts]),
        np.concatenate([p.moving_xy for p in parts]),
        np.concatenate([p.score for p in parts]),
    )


def chance(rng, count) -> Correspondences:
    return Correspondences(
        rng.uniform((830, 0), (999, 999), (count, 2)), rng.uniform((0, 0), (170, 999), (count, 2)), np.ones(count)
    )


def judge(found, model="rigid", gate=GATE, **more):
    return estimate_pair(FIXED, MOVING, found, model=model, gate=gate, matcher="made up", **more)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    turn=st.floats(-4, 4),
    dx=st.floats(-40, 40),
    dy=st.floats(-40, 40),
    model=st.sampled_from(["rigid", "similarity", "affine"]),
)
def test_the_transform_is_recovered_among_chance_matches(seed, turn, dx, dy, model):
    rng = np.random.default_rng(seed)
    truth = truth_of(dx, dy, turn)
    got = judge(joined(matches(truth, rng), chance(rng, 80)), model)
    assert isinstance(got, PairMatch), got
    at = np.array([[0, 0], [110, 0], [110, 999], [0, 999]], float)
    error = np.linalg.norm(apply(got.to_fixed, at) - truth(at), axis=1).max()
    assert error < (0.6 if model == "affine" else 0.4)  # px: 60 points of 0.3 px, at the ends of a strip
    assert got.matches == 140
    assert got.model == model


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), noise=st.floats(0.2, 1.5))
def test_the_covariance_is_what_repetition_shows(seed, noise):
    rng = np.random.default_rng(seed)
    truth = truth_of(5, -7, 1)
    moving = rng.uniform((0, 0), (110, 999), (30, 2))
    shifts, turns, said = [], [], []
    for _ in range(60):
        found = Correspondences(truth(moving) + rng.normal(0, noise, (30, 2)), moving, np.ones(30))
        got = judge(found, gate=Gate(stage_error_px=60, max_error_px=12))
        assert isinstance(got, PairMatch)
        middle = moving.mean(0)
        shifts.append(apply(got.to_fixed, middle[None])[0] - truth(middle))
        turns.append(np.arctan2(got.to_fixed[1, 0], got.to_fixed[0, 0]) - radians(1))
        said.append(np.diag(got.covariance))
    x, y, turn = np.mean(said, 0)
    # 120 and 60 draws of a variance: five of its own standard deviations
    assert 1 / 1.9 < np.var(shifts) / ((x + y) / 2) < 1.9
    assert 1 / 2.4 < np.var(turns) / turn < 2.4


def test_exact_points_are_not_taken_for_perfect():
    xy = np.random.default_rng(0).uniform(0, 1000, (100, 2))
    covariance = shift_turn_covariance(xy, 0.0)
    assert 0.001 < np.sqrt(covariance[0, 0]) < 0.02


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda rng: Correspondences.none(), "0 matches found, 8 needed"),
        (lambda rng: matches(truth_of(), rng, 7), "7 matches found, 8 needed"),
        (lambda rng: matches(truth_of(300, 300), rng), "lie within the stage's error"),
        (lambda rng: matches(truth_of(0, 140), rng), "px from where the layout expects it"),
        (lambda rng: matches(truth_of(0, 0, 12), rng, box=((0, 380), (110, 620))), "turned by 12"),
        (lambda rng: chance(rng, 60), "agree"),
        (lambda rng: joined(matches(truth_of(), rng, 9), chance(rng, 500)), "needed"),
        (lambda rng: matches(truth_of(), rng, 30, box=((40, 480), (60, 500))), "leave the seam uncertain"),
        (
            lambda rng: joined(matches(truth_of(), rng, 40), matches(truth_of(0, 40), rng, 35)),
            "repeated texture: 40 matches agree, and 35 others on a place 40 px away",
        ),
    ],
)
def test_each_refusal_says_why_with_numbers(found, reason):
    got = judge(found(np.random.default_rng(1)), tried=[("loftr", "no")])
    assert isinstance(got, Rejected)
    assert reason in got.reason, got.reason
    assert got.tried == (("loftr", "no"),)
    assert "\n" not in got.reason


def test_a_scaled_transform_is_refused():
    scaled = truth_of() @ Affine.about(Affine(1.15, 0, 0, 1.15), (55, 500))
    got = judge(matches(scaled, np.random.default_rng(2)), "similarity")
    assert isinstance(got, Rejected)
    assert "scaled by 1.15" in got.reason


def test_a_decoy_turned_by_half_a_turn_hides_nothing():
    """Hundreds of matches on the same content upside down; forty true ones: the true ones are found."""
    rng = np.random.default_rng(3)
    truth = truth_of(10, -6, 1)
    upside_down = truth @ Affine.about(Affine.rigid(radians(180)), (55, 500))
    got = judge(joined(matches(upside_down, rng, 460), matches(truth, rng, 40)))
    assert isinstance(got, PairMatch), got
    assert np.degrees(np.arctan2(got.to_fixed[1, 0], got.to_fixed[0, 0])) == pytest.approx(1, abs=0.1)


def test_a_bent_seam_is_not_repeated_texture():
    """Lens distortion leaves many matches outside the rigid transform's reach; they are no rival."""
    rng = np.random.default_rng(4)
    truth = truth_of()
    found = matches(truth, rng, 200)
    bent = found.fixed_xy + np.stack([7 * np.sin(found.moving_xy[:, 1] / 999 * np.pi), np.zeros(200)], 1)
    got = judge(Correspondences(bent, found.moving_xy, found.score))
    assert isinstance(got, PairMatch), got


def test_both_tiles_turned_alike_is_no_shift():
    """The layout is level, the stage was not: every tile is turned by 2 degrees about its own centre."""
    turn = radians(2)
    fixed_pose = Affine.about(Affine.rigid(turn), CENTRE)
    moving_pose = Affine.translation(880, 0) @ Affine.about(Affine.rigid(turn), CENTRE)
    got = judge(matches(fixed_pose.inverse @ moving_pose, np.random.default_rng(5)), gate=Gate(stage_error_px=10))
    assert isinstance(got, PairMatch), got


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_the_world_frame_does_not_matter(seed):
    """Law: moving and turning the whole layout changes no verdict and no transform."""
    rng = np.random.default_rng(seed)
    found = joined(matches(truth_of(8, 3, 1.5), rng), chance(rng, 40))
    world = Affine.rigid(rng.uniform(-3, 3), *rng.uniform(-1e4, 1e4, 2))
    moved = [Tile(t.id, t.path, t.shape, world @ t.to_world) for t in (FIXED, MOVING)]
    one = judge(found)
    two = estimate_pair(*moved, found, model="rigid", gate=GATE, matcher="made up")
    assert isinstance(one, PairMatch)
    assert isinstance(two, PairMatch)
    np.testing.assert_allclose(one.to_fixed, two.to_fixed, atol=1e-9)
