"""Train a LoFTR on pairs cut from images (Sun et al. 2021, arXiv:2104.00680, section 3.5).

The coarse loss is the focal loss on the dual-softmax confidence (eq. 6 with Lin et al. 2017, arXiv:1708.02002), the
fine loss the squared offset weighted by its predicted certainty (eq. 8). One process; an interrupted run resumes from
its checkpoint with the same random numbers.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kornia.feature.loftr.loftr import LoFTR
from numpy.typing import NDArray

from demis_ij.nets.loftr import COMPACT, build
from demis_ij.nets.weights import save_weights
from demis_ij.train.samples import Sample, SampleSpec, draw_sample, source_pool

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how hard to train.

    Attributes
    ----------
    steps, batch : int
        Optimiser steps, pairs a step.
    learning_rate, weight_decay, clip_norm : float
        AdamW with a warm-up of 300 steps and cosine decay; gradients are clipped to the norm.
    fine_weight : float
        Weight of the fine loss.
    shapes : tuple of (int, int)
        Crop shapes; one is drawn a step.
    ema_decay : float
        Decay of the averaged weights, which are the ones that are saved.
    seed : int
        Of everything random.
    half : bool
        Run the backbone in bfloat16.
    save_every : int
        Steps between checkpoints.
    """

    steps: int = 20_000
    batch: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    fine_weight: float = 1.0
    shapes: tuple[tuple[int, int], ...] = ((192, 192), (128, 256), (256, 128), (96, 320))
    ema_decay: float = 0.999
    seed: int = 1
    half: bool = False
    save_every: int = 500


def coarse_truth(sample: Sample, stride: int = 8) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return which coarse cells belong together and where each point really lies.

    A cell of the fixed crop and one of the moving crop belong together when each is the other's nearest.

    Parameters
    ----------
    sample : Sample
        The pair.
    stride : int
        Pixels a coarse cell.

    Returns
    -------
    i, j : ndarray of shape (M,), int64
        Cell numbers, row-major, in fixed and moving.
    at_xy : ndarray of shape (M, 2), float32
        Moving px of the fixed cell's centre.
    """
    none = np.empty(0, np.int64)
    if sample.to_moving is None:
        return none, none, np.empty((0, 2), np.float32)
    grids = []
    for image in (sample.fixed, sample.moving):
        h, w = (-(-n // stride) for n in image.shape)
        grids.append((h, w))

    def nearest(to: Any, source: tuple[int, int], target: tuple[int, int]) -> tuple[NDArray[np.int64], Any]:
        yy, xx = np.mgrid[: source[0], : source[1]]
        at = to(np.stack([xx.ravel(), yy.ravel()], 1) * float(stride))
        cell = np.rint(at / stride).astype(np.int64)
        inside = (cell >= 0).all(1) & (cell[:, 0] < target[1]) & (cell[:, 1] < target[0])
        return np.where(inside, cell[:, 1] * target[1] + cell[:, 0], -1), at

    there, at = nearest(sample.to_moving, grids[0], grids[1])
    back, _ = nearest(sample.to_moving.inverse, grids[1], grids[0])
    i = np.flatnonzero(there >= 0)
    i = i[back[there[i]] == i]
    return i, there[i], at[i].astype(np.float32)


def focal_loss(
    confidence: torch.Tensor, positive: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> torch.Tensor:
    """Return the focal loss of a dual-softmax confidence.

    Parameters
    ----------
    confidence : Tensor of shape (N, L, S)
        In [0, 1].
    positive : Tensor of shape (N, L, S), bool
        Cells that belong together.
    """
    p = confidence.clamp(1e-6, 1 - 1e-6)
    # as LoFTR does it, the negatives are averaged over all of them: nearly all are easy
    every = -alpha * p**gamma * torch.log1p(-p)
    if not positive.any():
        return every.mean()
    hit = p[positive]
    wrong = (every.sum() - every[positive].sum()) / max(1, p.numel() - hit.numel())
    return (-alpha * (1 - hit) ** gamma * hit.log()).mean() + wrong


def fine_loss(expected: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the squared offset, weighted by the inverse of the predicted spread (eq. 8).

    Parameters
    ----------
    expected : Tensor of shape (M, 3)
        Predicted offset (x, y) in half windows, and its standard deviation.
    truth : Tensor of shape (M, 2)
        True offset in half windows; points outside the window (over 1) do not count.
    """
    inside = truth.abs().amax(1) < 1
    if not inside.any():
        return expected.sum() * 0
    spread = expected[inside, 2].clamp(min=1e-6)
    weight = 1 / spread
    weight = (weight / weight.mean()).detach()
    return (((expected[inside, :2] - truth[inside]) ** 2).sum(1) * weight).mean()


def losses(
    net: LoFTR, samples: Sequence[Sample], rng: np.random.Generator, device: torch.device, *, half: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coarse and the fine loss of a batch of one shape; ``half`` runs the backbone in bfloat16."""
    stride, fine_stride = net.config["resolution"]
    truths = [coarse_truth(s, stride) for s in samples]
    both = np.stack([s.fixed for s in samples] + [s.moving for s in samples])[:, None]
    n = len(samples)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        maps = net.backbone(torch.from_numpy(both).to(device).float() / 255)
    coarse, fine = net.pos_encoding(maps[0].float()), maps[1].float()
    hw = coarse.shape[2:]
    tokens = coarse.flatten(2).transpose(1, 2)
    c0, c1 = net.loftr_coarse(tokens[:n], tokens[n:])
    width = c0.shape[-1]
    similarity = torch.einsum("nlc,nsc->nls", c0, c1) / (width * net.coarse_matching.temperature)
    confidence = similarity.softmax(1) * similarity.softmax(2)
    positive = torch.zeros_like(confidence, dtype=torch.bool)
    for k, (i, j, _) in enumerate(truths):
        positive[k, torch.from_numpy(i), torch.from_numpy(j)] = True
    coarse_part = focal_loss(confidence, positive)

    # fine stage: true cells, some of them one cell off as a prediction may be
    picked_b, picked_i, picked_j, offsets = [], [], [], []
    for k, (i, j, at) in enumerate(truths):
        some = rng.permutation(len(i))[:160]
        jy, jx = np.divmod(j[some], hw[1])
        off = rng.random(len(some)) < 0.15
        jx = np.clip(jx + off * rng.integers(-1, 2, len(some)), 0, hw[1] - 1)
        jy = np.clip(jy + off * rng.integers(-1, 2, len(some)), 0, hw[0] - 1)
        picked_b.append(np.full(len(some), k))
        picked_i.append(i[some])
        picked_j.append(jy * hw[1] + jx)
        offsets.append(at[some] - np.stack([jx, jy], 1) * stride)
    data: dict[str, Any] = {
        "b_ids": torch.from_numpy(np.concatenate(picked_b)).to(device),
        "i_ids": torch.from_numpy(np.concatenate(picked_i)).to(device),
        "j_ids": torch.from_numpy(np.concatenate(picked_j)).to(device),
        "stride_c": stride,
        "stride_f": fine_stride,
        "hw0_c": hw,
        "hw1_c": hw,
    }
    m = len(data["b_ids"])
    if m == 0:
        return coarse_part, confidence.sum() * 0
    zero = torch.zeros(m, 2, device=device)
    data |= {"mkpts0_c": zero, "mkpts1_c": zero, "mconf": torch.ones(m, device=device)}
    w0, w1 = net.fine_preprocess(fine[:n], fine[n:], c0, c1, data)
    w0, w1 = net.loftr_fine(w0, w1)
    net.fine_matching(w0, w1, data)
    reach = (net.config["fine_window_size"] // 2) * fine_stride
    truth = torch.from_numpy(np.concatenate(offsets)).to(device).float() / reach
    return coarse_part, fine_loss(data["expec_f"], truth)


@dataclass
class _State:
    net: LoFTR
    average: LoFTR
    optimiser: torch.optim.AdamW
    step: int


def _rate(step: int, config: TrainConfig) -> float:
    warm = min(1.0, (step + 1) / 300)
    return config.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / config.steps))) + 1e-6


def _start(
    config: TrainConfig, architecture: Mapping[str, Any], checkpoint: Path, init: Path | None, device: torch.device
) -> _State:
    from demis_ij.nets.weights import load_state

    torch.manual_seed(config.seed)
    net = build(architecture).to(device)
    average = build(architecture).to(device)
    if init is not None:
        net.load_state_dict(load_state(init))
    average.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step = 0
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step = int(saved["step"])
        log.info("resumed at step %d", step)
    return _State(net, average, optimiser, step)


def _save(state: _State, checkpoint: Path) -> None:
    part = checkpoint.with_suffix(".part")
    torch.save(
        {
            "net": state.net.state_dict(),
            "average": state.average.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "step": state.step,
        },
        part,
    )
    part.replace(checkpoint)


@torch.no_grad()
def _update_average(state: _State, decay: float) -> None:
    keep = min(decay, (1 + state.step) / (10 + state.step))
    for mine, theirs in zip(state.average.parameters(), state.net.parameters(), strict=True):
        mine.lerp_(theirs, 1 - keep)
    for old, new in zip(state.average.buffers(), state.net.buffers(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)


def train_loftr(
    out: Path,
    images: Sequence[NDArray[np.float32]] | Callable[[np.random.Generator], NDArray[np.float32]],
    config: TrainConfig | None = None,
    *,
    architecture: Mapping[str, Any] = COMPACT,
    init: Path | None = None,
    device: str = "cpu",
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Train and save weights; run again with the same arguments to go on where it stopped.

    Parameters
    ----------
    out : Path
        Folder for ``checkpoint.pt``, ``log.jsonl`` and ``loftr.safetensors``.
    images : sequence of ndarray of shape (H, W), float32, or callable
        Sources in grey levels of 255, or a function that draws one.
    config : TrainConfig, optional
        How long and how hard.
    architecture : mapping
        kornia's LoFTR configuration.
    init : Path, optional
        Weights to start from.
    device : str
        torch's name of the device.
    card : mapping, optional
        What is known about the data, kept in the weights' metadata.

    Returns
    -------
    Path
        The weights: the running average of the parameters.
    """
    config = config or TrainConfig()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, weights = out / "checkpoint.pt", out / "loftr.safetensors"
    where = torch.device(device)
    draw = images if callable(images) else source_pool(images)
    state = _start(config, architecture, checkpoint, init, where)
    began, seen = time.perf_counter(), [0.0, 0.0, 0.0]
    while state.step < config.steps:
        rng = np.random.default_rng((config.seed, state.step))
        shape = config.shapes[int(rng.integers(len(config.shapes)))]
        spec = SampleSpec(shape=shape)
        samples = [draw_sample(rng, draw, spec) for _ in range(config.batch)]
        for group in state.optimiser.param_groups:
            group["lr"] = _rate(state.step, config)
        state.net.train()
        coarse, fine = losses(state.net, samples, rng, where, half=config.half)
        loss = coarse + config.fine_weight * fine
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.clip_norm)
        state.optimiser.step()
        state.step += 1
        _update_average(state, config.ema_decay)
        seen = [seen[0] + float(coarse.detach()), seen[1] + float(fine.detach()), seen[2] + 1]
        if state.step % 50 == 0:
            line = {
                "step": state.step,
                "coarse": round(seen[0] / seen[2], 5),
                "fine": round(seen[1] / seen[2], 5),
                "rate": _rate(state.step, config),
                "seconds": round(time.perf_counter() - began, 1),
            }
            with (out / "log.jsonl").open("a", encoding="utf-8") as sink:
                sink.write(json.dumps(line) + "\n")
            log.info("%s", line)
            seen = [0.0, 0.0, 0.0]
        if state.step % config.save_every == 0 or state.step == config.steps:
            _save(state, checkpoint)
            facts = {"train": asdict(config), "step": state.step, **(card or {})}
            save_weights(weights, state.average.state_dict(), dict(architecture), half_pixel=0.0, card=facts)
    return weights
