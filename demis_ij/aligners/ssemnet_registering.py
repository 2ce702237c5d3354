"""Eq. 5 of ssEMnet, minimised by Adam on the vector maps of one section, or of several at once.

Sections that do not look at each other can be registered together: their images go through the network as one batch,
which is what a GPU is for. Each has a vector map and a loss of its own, and rests as soon as it would by itself, so
that the same comes out as one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demis_ij.aligners.looks import unfolded
from demis_ij.aligners.ssemnet_sections import Engine, Section, at_level
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.fields import at_nodes, grid_of, nodes
from demis_ij.nets.adam import Adam
from demis_ij.nets.spatial_transformer import Interpolation, transformed
from demis_ij.nets.ssemnet_loss import Weights, drop_share, registration_loss, resized_mask
from demis_ij.records import Affine, Field, Warp

_FALL = 0.95  # of Adam's rate, from the first step to the last, so that the vectors come to rest (ours)
_NOTHING = 1e-7  # a loss, in units of the features' variance, that cannot be made smaller


@dataclass(frozen=True, eq=False)
class Registration:
    """What came out for one section.

    Attributes
    ----------
    field : Field
        Pull map, canvas pixel to point of the section; NaN where nothing could be found.
    losses : tuple of float
        The loss at each step of Adam, in the units of `SsemnetConfig`.
    smoothed : bool
        Whether the vector map was smoothed because it had folded the section.
    """

    field: Field
    losses: tuple[float, ...] = ()
    smoothed: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """A section to be brought onto others.

    Attributes
    ----------
    section : Section
    references : tuple of (Section, float)
        What it is brought onto, with weights.
    start : Affine, Field, Warp or None
        Where to begin.
    """

    section: Section
    references: tuple[tuple[Section, float], ...]
    start: Affine | Field | Warp | None = None

    @property
    def told(self) -> tuple[tuple[Section, float], ...]:
        """The references that say something."""
        return tuple((r, w) for r, w in self.references if w > 0 and not r.blank)


def registered(tasks: Sequence[Task]) -> list[Registration]:
    """Return the fields that bring sections onto their references: coarse to fine, where more levels are asked for.

    Parameters
    ----------
    tasks : sequence of Task
        Sections of one size and one engine; none is a reference of another.

    Raises
    ------
    InputError
        When the nodes of the vector maps are further apart than the sections are wide or high.
    """
    if not tasks:
        return []
    config, finest, shape = tasks[0].section.engine.config, tasks[0].section.finest, tasks[0].section.shape
    step = config.spacing_px * 2**finest
    if step > min(shape):
        msg = f"spacing_px: nodes {step:g} px apart do not resolve sections of {shape[1]}x{shape[0]} px"
        raise InputError(msg)
    unknown = Field(np.full((2, *grid_of(shape, step)), np.nan, np.float32), step)
    out = [Registration(unknown if t.section.blank else at_nodes(t.start or Affine(), shape, step)) for t in tasks]
    busy = [n for n, t in enumerate(tasks) if t.told and not t.section.blank]
    if not busy:
        return out
    for level in reversed(range(len(tasks[busy[0]].section.grey))):
        starts = [_start(out[n].field, tasks[n].section, level) for n in busy]
        for n, (vectors, losses) in zip(busy, _optimised([tasks[n] for n in busy], level, starts), strict=True):
            whole = unfolded(Field(vectors, config.spacing_px)).offsets
            field, told = _as_field(whole, tasks[n].section, level), (*out[n].losses, *losses)
            out[n] = Registration(field, told, out[n].smoothed or whole is not vectors)
    return out


def _start(field: Field, section: Section, level: int) -> NDArray[np.float32]:
    """Return a vector map for a level from a field of full resolution; unknown nodes start at rest."""
    shape = section.grey[level].shape
    return np.nan_to_num(at_level(field, section.finest + level, shape, section.engine.config.spacing_px))


@dataclass(frozen=True, eq=False)
class _Batch:
    """Sections at a level, and what they are compared with: axis 0 is the section.

    Attributes
    ----------
    grey, mask : Tensor of shape (N, H, W)
    wanted, there, shares : tuple of Tensor of shapes (N, C, h, w), (N, h, w), (N,)
        Features, mask and weight of each reference; a section that has fewer than others has some of weight 0.
    """

    grey: Tensor
    mask: Tensor
    wanted: tuple[Tensor, ...]
    there: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]

    @classmethod
    def of(cls, tasks: Sequence[Task], level: int) -> _Batch:
        most = max(len(t.told) for t in tasks)
        filled = [(*t.told, *((t.told[0][0], 0.0),) * (most - len(t.told))) for t in tasks]
        total = [sum(w for _, w in t.told) for t in tasks]
        grey, mask = (torch.stack([getattr(t.section, name)[level] for t in tasks]) for name in ("grey", "mask"))
        wanted = tuple(torch.stack([f[k][0].features(level) for f in filled]) for k in range(most))
        size = (wanted[0].shape[-2], wanted[0].shape[-1])
        there = tuple(resized_mask(torch.stack([f[k][0].mask[level] for f in filled]), size) for k in range(most))
        shares = tuple(
            torch.tensor([f[k][1] / s for f, s in zip(filled, total, strict=True)], device=grey.device)
            for k in range(most)
        )
        return cls(grey, mask, wanted, there, shares)

    def only(self, kept: Sequence[int]) -> _Batch:
        """Return some of the sections."""
        rows = list(kept)
        several = (tuple(a[rows] for a in arrays) for arrays in (self.wanted, self.there, self.shares))
        return _Batch(self.grey[rows], self.mask[rows], *several)

    def losses(self, engine: Engine, vectors: Tensor, spread: Interpolation, drop: float) -> Tensor:
        """Return eq. 5 of every section, (N,), in units of the features' variance, for vector maps (N, 2, ., .)."""
        config = engine.config
        moved, seen = transformed(self.grey, self.mask, spread(vectors))
        both = resized_mask(seen, (self.there[0].shape[-2], self.there[0].shape[-1]))
        unit = self.wanted[0][0].numel() * float(engine.net.feature_var)
        per_node = unit / vectors[0].numel()
        weights = Weights(config.alpha * per_node, config.beta * per_node, config.gamma * per_node)
        loss = registration_loss(
            engine.encode(moved), self.wanted, self.shares, [both * m for m in self.there], vectors,
            config.spacing_px, weights, drop,
        )  # fmt: skip
        return loss / unit


def _optimised(
    tasks: Sequence[Task], level: int, starts: Sequence[NDArray[np.float32]]
) -> list[tuple[NDArray[np.float32], list[float]]]:
    """Minimise eq. 5 by Adam on each section's vector map; return it and the loss at each step."""
    engine, config = tasks[0].section.engine, tasks[0].section.engine.config
    batch = _Batch.of(tasks, level)
    shape = (batch.grey.shape[-2], batch.grey.shape[-1])
    spread = Interpolation(config.interpolation, shape, config.spacing_px, engine.device)
    moving = torch.from_numpy(np.stack(starts)).to(engine.device)
    adam, places = Adam(moving), list(range(len(tasks)))
    found, told = [np.empty(0, np.float32)] * len(tasks), [[0.0][:0] for _ in tasks]
    for step in range(config.steps):
        rate = config.rate_px * (1 - _FALL * step / config.steps)
        drop = drop_share(config.drop, step if config.drop_clock == "step" else step * config.rounds // config.steps)
        moving.requires_grad_()
        losses = batch.losses(engine, moving, spread, drop)
        (gradient,) = torch.autograd.grad(losses.sum(), moving)
        moves = (losses.detach() >= _NOTHING)[:, None, None, None]  # of equal sections the gradient is rounding errors
        moving = moving.detach() + moves * adam.step(gradient, rate)
        for n, loss in zip(places, losses.tolist(), strict=True):
            told[n].append(loss)
        over = [_is_over(told[n], config, step) for n in places]
        for k, n in enumerate(places):
            if over[k] or step == config.steps - 1:
                found[n] = moving[k].cpu().numpy()
        if any(over):
            kept = [k for k, done in enumerate(over) if not done]
            if not kept:
                break
            batch, moving, places = batch.only(kept), moving[kept], [places[k] for k in kept]
            adam.keep_only(kept)
    return list(zip(found, told, strict=True))


def _is_over(losses: Sequence[float], config: SsemnetConfig, step: int) -> bool:
    """Return whether the loss is nothing, or has not fallen by a thousandth for ``patience`` steps of the same drop."""
    if losses[-1] < _NOTHING:
        return True
    clock = config.steps // config.rounds if config.drop and config.drop_clock == "round" else 0
    same = losses[(config.rounds - 1) * clock :] if clock else losses
    if not config.patience or len(same) <= config.patience or (clock and step < (config.rounds - 1) * clock):
        return False
    return min(same[-config.patience :]) > 0.999 * min(same[: -config.patience])


def _as_field(vectors: NDArray[np.float32], section: Section, level: int) -> Field:
    """Return a vector map of a level as a field of full resolution: its own nodes if bilinear, else every pixel."""
    config = section.engine.config
    shape = (int(section.grey[level].shape[0]), int(section.grey[level].shape[1]))
    if config.interpolation == "bilinear":
        found = Field(vectors, config.spacing_px)
    else:
        spread = Interpolation(config.interpolation, shape, config.spacing_px)
        found = Field(spread(torch.from_numpy(vectors)).numpy(), 1.0)
    times = 2 ** (section.finest + level)
    if times == 1:
        return found
    step = found.stride * times
    at = nodes(grid_of(section.shape, step), step).reshape(-1, 2)
    small = (at + 0.5) / times - 0.5
    offsets = (found(small) - small) * times
    return Field(np.moveaxis(offsets.reshape(*grid_of(section.shape, step), 2), -1, 0).astype(np.float32), step)
