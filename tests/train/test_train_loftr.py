"""Training: the truth of a sample, the losses by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_training import TINY, textured

from demis_ij.config import ArchitectureConfig
from demis_ij.nets.loftr import COMPACT, build, fold_batch_norm
from demis_ij.records import Affine
from demis_ij.train.losses import coarse_stage, confidence, fine_loss, focal_loss, imitation_loss, losses, stacked
from demis_ij.train.samples import Sample, SampleSpec, draw_sample, source_pool
from demis_ij.train.starting import loftr_config, plain_config
from demis_ij.train.targets import FINE_MATCHES, coarse_truth, targets_of

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


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(-3, 3), x=st.floats(-10, 10), y=st.floats(-10, 10))
def test_the_truth_in_a_frame_with_a_half_pixel_is_the_same_place_on_the_images(angle, x, y):
    """A cell (x, y) of such a network lies on pixel 8 (x, y) - 0.5, in both images."""
    to_moving = Affine.about(Affine.rigid(angle, x, y), (48, 32))
    i, _, at = coarse_truth(Sample(BLANK, BLANK, to_moving), half_pixel=0.5)
    on_fixed = np.stack([i % 12, i // 12], 1) * 8.0 - 0.5

    np.testing.assert_allclose(at - 0.5, to_moving(on_fixed), atol=1e-4)


def test_the_fine_targets_lead_from_the_moving_cell_to_the_true_place():
    to_moving = Affine.about(Affine.rigid(0.05, 13.3, -4.2), (48, 32))
    sample = Sample(BLANK, BLANK, to_moving)
    target = targets_of(sample, np.random.default_rng(0))
    fixed = np.stack([target.fine_i % 12, target.fine_i // 12], 1) * 8.0
    moving = np.stack([target.fine_j % 12, target.fine_j // 12], 1) * 8.0

    assert 0 < len(fixed) <= FINE_MATCHES
    np.testing.assert_allclose(moving + target.offset_px, to_moving(fixed), atol=1e-3)
    assert (np.abs(target.offset_px) > 4.1).any(), "some cells are one off"


HALVES = (slice(2), slice(2, 4))


def test_the_losses_of_two_halves_of_a_batch_add_up_to_those_of_the_whole():
    """What several processes rely on: each has its share, divided by counts over all."""
    torch.manual_seed(0)
    sure, positive = torch.rand(4, 6, 6), torch.rand(4, 6, 6) > 0.7
    counts = iter([float(positive.sum()), float(positive.numel())] * 2)
    halves = [
        focal_loss(sure[s], positive[s], total=lambda _: torch.tensor(next(counts))) for s in (slice(2), slice(2, 4))
    ]
    assert float(sum(halves)) == pytest.approx(float(focal_loss(sure, positive)), rel=1e-5)

    expected, truth = torch.rand(4, 3) + 0.1, torch.rand(4, 2) * 1.2
    inside = truth.amax(1) < 1
    totals = iter([float(inside.sum()), float((1 / expected[inside, 2]).sum())] * 2)
    parts = [
        fine_loss(expected[s], truth[s], total=lambda _: torch.tensor(next(totals))) for s in (slice(4), slice(4, 9))
    ]
    assert float(sum(parts)) == pytest.approx(float(fine_loss(expected, truth)), rel=1e-5)


def test_the_coarse_stage_of_training_is_what_kornia_matches_with():
    net = build(loftr_config(TINY))
    net.coarse_matching.thr = -1.0
    images = torch.from_numpy(textured()[None, None, :64, :128].astype(np.float32) / 255)
    images = torch.cat([images[..., :64], images[..., 16:80]])
    with torch.no_grad():
        sure = confidence(coarse_stage(net, images).similarity)
        data = {"hw0_c": (8, 8), "hw1_c": (8, 8), "stride_c": 8, "bs": 1}
        feature = net.extract_features(images)["coarse"].flatten(2).transpose(1, 2)
        net.coarse_matching(*net.loftr_coarse(feature[:1], feature[1:]), data)

    torch.testing.assert_close(sure, data["conf_matrix"])


def test_imitation_costs_nothing_for_the_teacher_itself_and_falls_when_it_is_followed():
    torch.manual_seed(1)
    taught, mine = torch.randn(1, 5, 5), torch.randn(1, 5, 5)
    positive = torch.eye(5, dtype=torch.bool)[None]
    p, q = taught.softmax(2), mine.softmax(2)
    rows = (p * (p / q).log()).sum(2).mean()
    p, q = taught.softmax(1), mine.softmax(1)
    columns = (p * (p / q).log()).sum(1).mean()

    assert float(imitation_loss(taught, taught, positive)) == pytest.approx(0, abs=1e-6)
    assert float(imitation_loss(mine, taught, positive)) == pytest.approx(float(rows + columns) / 2, rel=1e-4)


def test_a_student_comes_closer_to_its_teacher():
    torch.manual_seed(2)
    teacher, student = build(loftr_config(TINY)), build(loftr_config(TINY)).train()
    rng = np.random.default_rng(0)
    pairs = [draw_sample(rng, source_pool([textured()]), SampleSpec(shape=(64, 64), blank_frac=0)) for _ in range(2)]
    targets = [targets_of(s, rng) for s in pairs]
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-3)
    seen = []
    for _ in range(8):
        loss = losses(student, pairs, targets, torch.device("cpu"), teacher=teacher).imitation
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))

    assert seen[-1] < 0.9 * seen[0]


def test_pairs_with_nothing_in_common_have_a_coarse_loss_only():
    net = build(loftr_config(TINY)).train()
    crop = textured()[:64, :64].astype(np.uint8)
    samples = [Sample(crop, crop[::-1].copy(), None)]
    told = losses(net, samples, [targets_of(s, np.random.default_rng(0)) for s in samples], torch.device("cpu"))

    assert float(told.coarse.detach()) > 0
    assert float(told.fine.detach()) == 0
    (told.coarse + told.fine).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_the_default_architecture_is_that_of_the_weights_that_ship():
    assert plain_config(loftr_config(ArchitectureConfig())) == plain_config(COMPACT)


@pytest.mark.parametrize(
    ("architecture", "coarse", "fine"),
    [
        (TINY, (16, 8, 8), (8, 32, 32)),
        (ArchitectureConfig(stride=16, widths=(8, 8, 12, 16), heads=2, fine_window=7), (16, 4, 4), (8, 16, 16)),
    ],
)
def test_architectures_have_their_widths_and_strides_and_can_be_trained(architecture, coarse, fine):
    net = build(loftr_config(architecture)).train()
    maps = net.backbone(stacked([Sample(BLANK[:, :64], BLANK[:, :64], None)], torch.device("cpu")))
    assert maps[0].shape[1:] == coarse
    assert maps[1].shape[1:] == fine

    crop = textured()[:64, :64].astype(np.uint8)
    sample = Sample(crop, crop, Affine())
    target = targets_of(sample, np.random.default_rng(0), architecture.stride)
    told = losses(net, [sample], [target], torch.device("cpu"))
    (told.coarse + told.fine).backward()
    assert float(told.fine.detach()) > 0


def test_folding_the_batch_norms_changes_nothing_at_either_stride():
    torch.manual_seed(0)
    for architecture in (TINY, ArchitectureConfig(stride=16, widths=(8, 8, 12, 16), heads=2)):
        net = build(loftr_config(architecture))
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 2)
                torch.nn.init.normal_(module.running_mean)
        images = torch.rand(1, 1, 64, 96)
        with torch.no_grad():
            plain = net.backbone(images)
            folded = fold_batch_norm(net).backbone(images)

        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.backbone.modules())
        for one, other in zip(plain, folded, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5 * float(one.abs().max()), rtol=1e-3)
