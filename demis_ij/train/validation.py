"""Validation: the same pairs every time, cut from sources that training never sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from kornia.feature.loftr.loftr import LoFTR
from numpy.typing import NDArray

from demis_ij.config import ValidationConfig
from demis_ij.records import Correspondences
from demis_ij.train.feeding import VALIDATION_STREAM
from demis_ij.train.losses import stacked
from demis_ij.train.samples import Sample, SampleSpec, draw_sample
from demis_ij.train.scores import PairPicture, PairScore, Scores, match_errors_px, score_pair, summarise

BLANK_ONE_IN = 8
"""One validation pair in this many shows two different places."""


def draw_pairs(
    draw: Callable[[np.random.Generator], NDArray[np.float32]],
    spec: SampleSpec,
    shapes: Sequence[tuple[int, int]],
    count: int,
    seed: int,
) -> list[Sample]:
    """Return the validation pairs: shapes in turn, one in eight with nothing in common."""
    pairs = []
    for k in range(count):
        blank = 1.0 if k % BLANK_ONE_IN == BLANK_ONE_IN - 1 else 0.0
        one = replace(spec, shape=shapes[k % len(shapes)], blank_frac=blank)
        pairs.append(draw_sample(np.random.default_rng((seed, 0, k, VALIDATION_STREAM)), draw, one))
    return pairs


@torch.no_grad()
def predict(net: LoFTR, sample: Sample, half_pixel: float, half: torch.dtype | None = None) -> Correspondences:
    """Return the matches of a network in evaluation mode, px of the crops, pixel centres at integers."""
    device = next(net.parameters()).device
    images = stacked([sample], device)
    with torch.autocast(device.type, half, enabled=half is not None):
        coarse, fine = net.backbone(images)
    coarse, fine = net.pos_encoding(coarse.float()), fine.float()
    out = net({f"features{s}": {"coarse": coarse[s : s + 1], "fine": fine[s : s + 1]} for s in (0, 1)})
    fixed, moving = (out[f"keypoints{s}"].cpu().double().numpy() - half_pixel for s in (0, 1))
    return Correspondences(fixed, moving, out["confidence"].cpu().double().numpy().clip(0, 1))


def validate(
    net: LoFTR,
    pairs: Sequence[Sample],
    config: ValidationConfig,
    half_pixel: float,
    half: torch.dtype | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Scores | None:
    """Return the scores of a network on the pairs; None when ``stopped`` says so in between."""
    was_training = net.training
    net.eval()
    scored: list[PairScore] = []
    for sample in pairs:
        if stopped():
            return None
        scored.append(score_pair(sample, predict(net, sample, half_pixel, half), config))
    net.train(was_training)
    return summarise(scored)


def pictures(net: LoFTR, pairs: Sequence[Sample], config: ValidationConfig, half_pixel: float) -> list[PairPicture]:
    """Return pairs with the network's matches and how wrong they are."""
    out = []
    for sample in pairs:
        found = predict(net, sample, half_pixel)
        score = score_pair(sample, found, config)
        if sample.to_moving is None:
            said = f"two different places: {score.matches} matches, "
            said += f"{score.inliers} of them agree" if score.inliers else "rightly not believed"
        elif np.isfinite(score.corner_px):
            said = f"{score.matches} matches, corners off by {score.corner_px:.2f} px"
        else:
            said = f"{score.matches} matches, no transform found"
        errors = match_errors_px(sample, found)
        out.append(PairPicture(sample.fixed, sample.moving, found.fixed_xy, found.moving_xy, errors, said))
    return out
