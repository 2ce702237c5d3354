"""Whether bending is better than none: by what did not steer, and for pictures of few marks by strangers of them."""

from __future__ import annotations

from math import nan

import cv2
import numpy as np
import pytest
from made_pictures import cells
from marks import nuclei

from demis_ij.aligners import elastic_verdict
from demis_ij.aligners.elastic import ElasticAligner
from demis_ij.aligners.elastic_verdict import Verdict
from demis_ij.synth.fields import smooth_field

SIDE = 320


def seen(picture: np.ndarray, seed: int) -> np.ndarray:
    """Return a picture with noise, as bytes."""
    noise = np.random.default_rng(seed).normal(8, 1, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 1.5) + noise, 0, 255).astype(np.uint8)


def bent(picture: np.ndarray, seed: int) -> np.ndarray:
    """Return a picture drawn through a smooth displacement of 5 px in the mean."""
    rng = np.random.default_rng(seed)
    offsets = np.stack([smooth_field(picture.shape, rng, 60) for _ in (0, 1)])
    offsets *= 5 / np.hypot(*offsets).mean()
    y, x = np.mgrid[:SIDE, :SIDE]
    return cv2.remap(
        picture, (x + offsets[0]).astype(np.float32), (y + offsets[1]).astype(np.float32), cv2.INTER_LINEAR
    )


def chromatin(seed: int) -> np.ndarray:
    """Return clumps of a few nuclei, bright on black."""
    return 180 * nuclei(seed, SIDE, 3)[1]


def test_a_few_marks_that_are_the_same_are_kept_though_hardly_a_field_that_did_not_steer_knows_of_them(monkeypatch):
    monkeypatch.setattr(elastic_verdict, "_BEYOND_CHANCE", 99.0)
    one = chromatin(5)
    found = ElasticAligner().register(seen(one, 5), seen(bent(one, 5), 55))
    assert found.better_than_nothing
    assert found.reason == ""
    assert found.standing > 5


@pytest.mark.parametrize("seed", [2])
def test_a_few_marks_of_strangers_are_dropped_and_the_reason_is_said(seed):
    found = ElasticAligner().register(seen(chromatin(seed), seed), seen(chromatin(100 + seed), 50 + seed))
    assert not found.better_than_nothing
    assert found.standing < 5
    assert "few marks" in found.reason


def test_what_is_only_turned_over_is_a_stranger_too():
    one = chromatin(4)
    found = ElasticAligner().register(seen(one, 4), seen(one[:, ::-1], 54))
    assert not found.better_than_nothing
    assert found.standing <= 0  # mirrored back it is far more alike than as it was given


def test_where_there_is_more_to_see_what_did_not_steer_decides_alone():
    one = cells(5, SIDE)
    found = ElasticAligner().register(seen(one, 5), seen(cells(6, SIDE), 55))
    assert np.isnan(found.standing)
    assert not found.better_than_nothing
    assert "marks" not in found.reason


def test_an_image_whose_halves_are_soon_too_small_is_judged_as_finely_as_others():
    """At 150 px the level is too large to be judged by, and at 75 px it has 25 fields: not enough to say much."""
    one = cells(5, 300)
    y, x = np.mgrid[:300, :300].astype(np.float32)
    moved = cv2.remap(one, x + 4 * np.sin(y / 60), y + 4 * np.cos(x / 50), cv2.INTER_LINEAR, borderMode=2)

    found = ElasticAligner().register(seen(one, 5), seen(moved, 55))
    stranger = ElasticAligner().register(seen(one, 5), seen(cells(6, 300), 55))

    assert found.held_out_gain > 5.5  # 25 fields do not reach that, were they all better
    assert stranger.held_out_gain < 3.2


@pytest.mark.parametrize(
    ("gain", "standing", "kept"), [(3.3, nan, True), (3.1, nan, False), (1.0, 4.9, False), (-2.0, 5.1, True)]
)
def test_either_is_enough(gain, standing, kept):
    held = Verdict(gain, standing)
    assert (held.reason == "") == kept
    assert ("few marks" in held.reason) == (not kept and standing == standing)
