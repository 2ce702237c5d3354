"""The lean forward pass computes what kornia's does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from demis_ij.nets import inference
from demis_ij.nets.inference import LeanLoftr
from demis_ij.nets.loftr import COMPACT, build
from demis_ij.nets.weights import load_loftr
from demis_ij.testing.matcher_contract import tissue

CPU = torch.device("cpu")
STRIDE_16 = {
    **COMPACT,
    "backbone_type": "ResNetFPN",
    "resolution": (16, 4),
    "resnetfpn": {"initial_dim": 16, "block_dims": [16, 16, 32, 64]},
}
SOFTMAX = {**COMPACT, "coarse": {**COMPACT["coarse"], "attention": "full"}}


def image_pairs(count: int = 2, shape: tuple[int, int] = (96, 160)) -> torch.Tensor:
    """Return (2, N, 1, H, W): pairs that differ by (5, -3) px."""
    rows, cols = shape
    pairs = []
    for k in range(count):
        source = tissue((rows + 40, cols + 40), np.random.default_rng(k)).astype(np.float32) / 255
        pairs.append(np.stack([source[20 : 20 + rows, 20 : 20 + cols], source[17 : 17 + rows, 25 : 25 + cols]]))
    return torch.from_numpy(np.stack(pairs, 1)[:, :, None])


def kornia_s(net, images, masks=None):
    data = {"image0": images[0], "image1": images[1]}
    if masks is not None:
        stride = net.config["resolution"][0]
        for side in (0, 1):
            data[f"mask{side}"] = masks[side].repeat_interleave(stride, 1).repeat_interleave(stride, 2)
    with torch.inference_mode():
        return net(data)


def shipped():
    net = load_loftr().net
    net.coarse_matching.thr = 0.2
    return net


def same(net, images, masks=None, threshold=0.2):
    net.coarse_matching.thr = threshold
    wanted = kornia_s(copy.deepcopy(net), images, masks)
    found = LeanLoftr(net, CPU)(images, masks, threshold)
    assert len(found.item) == len(wanted["keypoints0"])
    torch.testing.assert_close(found.item, wanted["batch_indexes"])
    torch.testing.assert_close(found.fixed_xy, wanted["keypoints0"])
    torch.testing.assert_close(found.moving_xy, wanted["keypoints1"], atol=2e-3, rtol=0)  # px: sums in another order
    torch.testing.assert_close(found.confidence, wanted["confidence"], atol=1e-3, rtol=0)
    return len(found.item)


def test_the_weights_that_ship_give_the_same_matches():
    assert same(shipped(), image_pairs()) > 100


def test_no_data_hides_the_same_cells():
    masks = torch.ones(2, 2, 12, 20, dtype=torch.bool)
    masks[0, 0, 3:8, 5:12] = False
    masks[1, 1, :, 14:] = False
    assert same(shipped(), image_pairs(), masks) > 50


@pytest.mark.parametrize("config", [STRIDE_16, SOFTMAX], ids=["stride 16", "softmax attention"])
def test_other_architectures_give_the_same_matches(config):
    torch.manual_seed(4)
    assert same(build(config), image_pairs(), threshold=0.001) > 0


def test_a_similarity_of_great_range_loses_no_match():
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(1, 60, 64, generator=generator)
    tokens[:, 1:30] *= 30  # some cells far more alike than others: exp() of the rest is nothing in single precision
    moving = tokens.flip(1)
    wanted = torch.softmax(s := (tokens.double() @ moving.double().mT) / 6.4, 1) * torch.softmax(s, 2)
    _, i, j, confidence, _ = inference._dual_softmax(tokens, moving, None, 0.2, 0.1, None)
    assert inference._lost_digits(inference._shares(tokens, moving, None, 0.1).sum(2), None, 2)
    mutual = (wanted == wanted.amax(1, keepdim=True)) & (wanted == wanted.amax(2, keepdim=True)) & (wanted > 0.2)
    assert set(zip(i.tolist(), j.tolist(), strict=True)) == {tuple(p[1:]) for p in mutual.nonzero().tolist()}
    assert len(i) > 10
    torch.testing.assert_close(confidence.double(), wanted[0, i, j], atol=1e-3, rtol=0)


def test_without_the_fine_stage_points_are_good_to_a_third_of_a_cell():
    images = image_pairs()
    net = LeanLoftr(shipped(), CPU)
    found = net(images, None, 0.2, fine=False)
    assert len(found.item) > 100
    off = torch.linalg.norm(found.moving_xy - found.fixed_xy - torch.tensor([-5.0, 3.0]), dim=1)
    assert off.median() < 8 / 3  # px; a cell is 8 px wide


def test_blank_images_and_hidden_ones_give_no_points():
    net = LeanLoftr(shipped(), CPU)
    blank = torch.full((2, 1, 1, 64, 64), 0.5)
    assert len(net(blank, None, 0.2).item) == 0
    assert len(net(blank, None, 0.2, fine=False).item) == 0
