"""Training: the truth of a sample, the losses by hand, resuming."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from demis_ij.nets.weights import load_loftr
from demis_ij.records import Affine
from demis_ij.train.loftr import TrainConfig, coarse_truth, fine_loss, focal_loss, train_loftr
from demis_ij.train.samples import Sample, SampleSpec, draw_sample, random_field, source_pool
from demis_ij.train.sources import read_sources

BLANK = np.zeros((64, 96), np.uint8)


def test_without_movement_every_cell_belongs_to_itself():
    i, j, at = coarse_truth(Sample(BLANK, BLANK, Affine()))

    assert (i == j).all()
    assert len(i) == 8 * 12
    np.testing.assert_array_equal(at[:2], [[0, 0], [8, 0]])


def test_a_shift_by_one_cell_moves_every_cell_by_one():
    i, j, _ = coarse_truth(Sample(BLANK, BLANK, Affine.translation(8, 0)))

    assert (j == i + 1).all()
    assert len(i) == 8 * 11


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(-0.1, 0.1), x=st.floats(-40, 40), y=st.floats(-40, 40))
def test_cells_that_belong_together_are_each_others_nearest(angle, x, y):
    to_moving = Affine.about(Affine.rigid(angle, x, y), (48, 32))
    _, j, at = coarse_truth(Sample(BLANK, BLANK, to_moving))

    assert len(set(j.tolist())) == len(j)
    cell = np.stack([j % 12, j // 12], 1) * 8.0
    assert np.abs(at - cell).max(initial=0) <= 4 + 1e-3  # px: half a cell


def test_a_pair_with_nothing_in_common_has_no_truth():
    assert len(coarse_truth(Sample(BLANK, BLANK, None))[0]) == 0


def test_the_focal_loss_is_that_of_the_formula():
    p = torch.tensor([[[0.9, 0.2], [0.1, 0.5]]])
    positive = torch.tensor([[[True, False], [False, True]]])
    hit = np.mean([-0.25 * 0.1**2 * np.log(0.9), -0.25 * 0.5**2 * np.log(0.5)])
    miss = np.mean([-0.25 * 0.2**2 * np.log(0.8), -0.25 * 0.1**2 * np.log(0.9)])

    assert float(focal_loss(p, positive)) == pytest.approx(hit + miss, rel=1e-5)


def test_a_confident_right_answer_costs_less_than_a_confident_wrong_one():
    right = torch.eye(4)[None] * 0.98 + 0.005
    positive = torch.eye(4, dtype=torch.bool)[None]

    assert focal_loss(right, positive) < 0.1 * focal_loss(right.flip(2), positive)


def test_the_fine_loss_weighs_by_certainty_and_leaves_out_what_is_outside_the_window():
    expected = torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.0, 0.3], [0.9, 0.9, 0.1]])
    truth = torch.tensor([[0.0, 0.0], [0.0, 0.4], [1.5, 0.0]])
    weight = np.array([10.0, 1 / 0.3])
    weight = weight / weight.mean()

    assert float(fine_loss(expected, truth)) == pytest.approx(np.mean(weight * [0.25, 0.16]), rel=1e-5)


def textured(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 128 + 40 * random_field(rng, (420, 420), 3.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_truth_of_a_sample_brings_its_crops_together(seed):
    spec = SampleSpec(resin_frac=0, blank_frac=0, max_noise_sd=3.0, max_blur_px=0.3, min_overlap_frac=0.5)
    sample = draw_sample(np.random.default_rng(seed), source_pool([textured(seed)]), spec)
    assert sample.to_moving is not None
    back = cv2.warpAffine(
        sample.moving, sample.to_moving.matrix[:2], (192, 192), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    seen = (
        cv2.warpAffine(
            np.ones((192, 192), np.uint8),
            sample.to_moving.matrix[:2],
            (192, 192),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        )
        > 0
    )

    assert seen.mean() > 0.3
    assert np.corrcoef(back[seen], sample.fixed[seen])[0, 1] > 0.85


def test_the_same_seed_draws_the_same_sample():
    draws = [draw_sample(np.random.default_rng(9), source_pool([textured()]), SampleSpec()) for _ in range(2)]

    np.testing.assert_array_equal(draws[0].fixed, draws[1].fixed)
    assert draws[0].to_moving == draws[1].to_moving


SMALL = {"shapes": ((64, 64),), "batch": 2, "save_every": 2}


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path):
    sources = [textured()]
    whole = train_loftr(tmp_path / "whole", sources, TrainConfig(steps=4, **SMALL))
    started = tmp_path / "parts"

    def dies(rng):
        dies.left -= 1
        if dies.left < 0:
            raise KeyboardInterrupt
        return source_pool(sources)(rng)

    dies.left = 5  # the third step is never finished: two of its draws are missing
    with pytest.raises(KeyboardInterrupt):
        train_loftr(started, dies, TrainConfig(steps=4, **SMALL))
    resumed = train_loftr(started, sources, TrainConfig(steps=4, **SMALL))

    one, other = load_loftr(str(whole)).net.state_dict(), load_loftr(str(resumed)).net.state_dict()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], atol=1e-6, rtol=1e-5)


def test_weights_say_how_they_were_made(tmp_path):
    path = train_loftr(tmp_path, [textured()], TrainConfig(steps=2, **SMALL), card={"folders": ["mine"]})

    with safe_open(path, "pt") as source:
        card = json.loads(source.metadata()["card"])
    assert card["folders"] == ["mine"]
    assert card["train"]["seed"] == 1
    assert load_loftr(str(path)).half_pixel == 0.0


def test_training_lowers_the_loss(tmp_path):
    train_loftr(
        tmp_path, [textured(1), textured(2)], TrainConfig(steps=100, shapes=((64, 64),), batch=2, save_every=100)
    )

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["coarse"] < 0.97 * lines[0]["coarse"]


def test_sources_leave_out_labels_and_offer_large_images_at_half_size(tmp_path):
    for name, side in (("a.png", 800), ("b_mask.png", 800), ("c.png", 300)):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(1).integers(0, 255, (side, side), np.uint8))

    shapes = [s.shape for s in read_sources([tmp_path])]

    assert shapes == [(800, 800), (400, 400), (600, 600)]
