"""ssEMnet (Yoo et al. 2017, arXiv:1707.07833): a vector map is found by backpropagation through learned features.

`align_series` is the method of the paper on a series of sections, out of core: each section against its neighbours
that are aligned already. `align_window` is one step of it: one section against any weighted references.
`SsemnetAligner` is its pairwise form. The loss is in `demis_ij.nets.ssemnet_loss`, the transformer in
`demis_ij.nets.spatial_transformer`, the features in `demis_ij.nets.ssemnet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import ceil
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.fields import at_nodes, folded_frac, grid_of, nodes
from demis_ij.nets.spatial_transformer import Interpolation, transformed
from demis_ij.nets.ssemnet import Autoencoder, load_autoencoder, standardised
from demis_ij.nets.ssemnet_loss import Weights, drop_share, registration_loss, resized_mask
from demis_ij.records import Affine, Field, Warp

Read = Callable[[int], tuple[NDArray[Any], NDArray[np.bool_]]]
_FALL = 0.95  # of Adam's rate, from the first step to the last, so that the vectors come to rest (ours)
_NOTHING = 1e-7  # a loss, in units of the features' variance, that cannot be made smaller
_LEAST_SIDE = 64  # px of the coarsest level
_LEAST_SHARE = 0.02  # of a section, or of what two of them share: less says nothing


@dataclass(frozen=True, eq=False)
class Reference:
    """A section that lies where it should, on the canvas of the one to be aligned.

    Attributes
    ----------
    image, mask : ndarray of shape (H, W)
        Grey values of any type, and True where they are data.
    weight : float
        w_i of eq. 5.
    """

    image: NDArray[Any]
    mask: NDArray[np.bool_]
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Registration:
    """What came out for one section.

    Attributes
    ----------
    field : Field
        Pull map, canvas pixel to point of the section; NaN where nothing could be found.
    losses : tuple of float
        The loss at each step of Adam, in the units of `SsemnetConfig`.
    smoothed : int
        How often the vector map was smoothed because it had folded the section; 0 is the rule.
    """

    field: Field
    losses: tuple[float, ...] = ()
    smoothed: int = 0


class Engine:
    """The network, the device and the settings that every section is aligned with.

    Parameters
    ----------
    config : SsemnetConfig
    net : Autoencoder, optional
        Instead of the weights that the settings name. Its parameters stay as they are.

    Raises
    ------
    InputError
        When a GPU is asked for and there is none.
    WeightsError
        When the weights are missing, damaged or of another network.
    """

    def __init__(self, config: SsemnetConfig, net: Autoencoder | None = None) -> None:
        self.config = config
        self.device = _device(config.device)
        self.net = (load_autoencoder(config.weights).net if net is None else net).to(self.device)
        for layer in self.net.encoder:  # twice as fast on a CPU; the values stay
            layer.to(memory_format=torch.channels_last)
        self.half = _precision(config.precision, self.device)

    def encode(self, grey: Tensor) -> Tensor:
        """Return the features (C, rows, cols), float32, of an image (H, W)."""
        faster: AbstractContextManager[Any] = (
            nullcontext() if self.half is None else torch.autocast(self.device.type, self.half)
        )
        with faster:
            found = self.net.encode(grey[None, None])[0]
        return found.float()

    def section(self, image: NDArray[Any], mask: NDArray[np.bool_]) -> Section:
        """Return a section ready to be aligned or to be aligned to."""
        finest = reduction(image.shape, self.config.largest_px)
        known = np.asarray(mask, bool) & np.isfinite(image)
        grey = standardised(image, known, self.config.window_px)
        for _ in range(finest):
            grey, known = _halved(grey, known)
        tensors = (torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(self.device) for a in (grey, known))
        return Section(self, *tensors, finest=finest, shape=(int(image.shape[0]), int(image.shape[1])))


class Section:
    """A normalised section at several resolutions; its features are made when they are first asked for.

    Attributes
    ----------
    grey, mask : list of Tensor of shape (H, W)
        At each level, the finest first.
    finest : int
        How often the finest level halves the image that was given.
    shape : tuple of int
        Of that image.
    """

    def __init__(self, engine: Engine, grey: Tensor, mask: Tensor, *, finest: int, shape: tuple[int, int]) -> None:
        self.engine, self.finest, self.shape = engine, finest, shape
        self.grey, self.mask = [grey], [mask]
        while len(self.grey) < engine.config.levels and min(self.grey[-1].shape) >= 2 * _LEAST_SIDE:
            small, known = _halved(self.grey[-1].cpu().numpy(), self.mask[-1].cpu().numpy() > 0)
            self.grey.append(torch.from_numpy(small).to(grey.device))
            self.mask.append(torch.from_numpy(known.astype(np.float32)).to(grey.device))
        self._features: dict[int, Tensor] = {}

    @property
    def blank(self) -> bool:
        """Whether there is too little data to align anything."""
        return float(self.mask[0].mean()) < _LEAST_SHARE or float(self.grey[0].std()) < 1e-3

    def features(self, level: int) -> Tensor:
        """Return f(I) at a level."""
        if level not in self._features:
            with torch.no_grad():
                self._features[level] = self.engine.encode(self.grey[level])
        return self._features[level]

    @torch.no_grad()
    def moved(self, field: Field) -> Section:
        """Return the section on the canvas, warped by a field of the given resolution."""
        at = at_level(field, self.finest, self.grey[0].shape, 1.0)
        offsets = torch.from_numpy(at).to(self.grey[0].device)
        known = ~torch.isnan(offsets[0])
        grey, mask = transformed(self.grey[0], self.mask[0], torch.nan_to_num(offsets))
        mask = mask * known
        grey = torch.where(mask > 0, grey, 0.5)
        return Section(self.engine, grey, mask, finest=self.finest, shape=self.shape)


def align_series(
    read: Read,
    count: int,
    config: SsemnetConfig,
    *,
    references: Sequence[Reference] = (),
    net: Autoencoder | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Iterator[Registration]:
    """Align a series by the method of the paper: a window of neighbours slides along it, and only it is in memory.

    The first section stays where it is, unless there are ``references``; every other is brought onto the
    ``neighbours`` before it, which are aligned already. With ``sides = "both"`` the series is gone through
    ``sweeps`` times, and sections after it count, too, as the last sweep left them (ours).

    Parameters
    ----------
    read : callable
        Section number, from 0, to (image (H, W), mask (H, W)), all on one canvas and roughly in place. It is called
        again for each sweep and, with both sides, for each neighbour after a section.
    count : int
        How many sections.
    config : SsemnetConfig
    references : sequence of Reference
        Sections that every section is compared with besides its neighbours; none in the paper.
    net : Autoencoder, optional
        As in `Engine`.
    progress : callable
        What is being done, how much of it is, and how much there is.

    Yields
    ------
    Registration
        One for each section, in order. A section without data has a field of NaN; the next ones are aligned over it.

    Raises
    ------
    InputError
        When a section has another size than the first.
    """
    engine = Engine(config, net)
    fixed = [(engine.section(r.image, r.mask), r.weight) for r in references]
    before: list[Registration | None] = [None] * count
    for sweep in range(config.sweeps):
        last = sweep == config.sweeps - 1
        for k, found in enumerate(_sweep(engine, read, count, fixed, before)):
            before[k] = found
            progress("sections aligned", sweep * count + k + 1, config.sweeps * count)
            if last:
                yield found


def _sweep(
    engine: Engine,
    read: Read,
    count: int,
    fixed: Sequence[tuple[Section, float]],
    before: Sequence[Registration | None],
) -> Iterator[Registration]:
    """Align every section once, in order, from where the last sweep left it."""
    config = engine.config
    window: list[tuple[int, Section]] = []
    ahead: dict[int, Section] = {}
    shape: tuple[int, ...] | None = None
    for k in range(count):
        section = ahead.pop(k) if k in ahead else engine.section(*read(k))
        shape = shape or section.shape
        if section.shape != shape:
            msg = f"section {k} has {section.shape} px, needed {shape} as the first: put all on one canvas"
            raise InputError(msg)
        neighbours = [(s, config.neighbour_decay ** (abs(k - j) - 1)) for j, s in window]
        if config.sides == "both":
            for j in range(k + 1, min(count, k + 1 + config.neighbours)):
                ahead.setdefault(j, engine.section(*read(j)))
                earlier = before[j]
                there = ahead[j] if earlier is None else ahead[j].moved(earlier.field)
                neighbours.append((there, config.neighbour_decay ** (j - k - 1)))
        earlier = before[k]
        found = registered(section, [*neighbours, *fixed], earlier.field if earlier else None)
        yield found
        if not section.blank and found.field.known.any():
            window = [*window, (k, section.moved(found.field))][-config.neighbours :]


def align_window(
    moving: NDArray[Any],
    mask: NDArray[np.bool_],
    references: Sequence[Reference],
    config: SsemnetConfig,
    *,
    start: Affine | Field | Warp | None = None,
    net: Autoencoder | None = None,
    engine: Engine | None = None,
) -> Registration:
    """Bring one section onto weighted references: eq. 5, once.

    Parameters
    ----------
    moving, mask : ndarray of shape (H, W)
        The section, and True where it has data.
    references : sequence of Reference
        Sections of the same size; without any the section stays where it is.
    config : SsemnetConfig
    start : Affine, Field or Warp, optional
        Where to begin. alpha pulls towards the identity, not towards this.
    net : Autoencoder, optional
        As in `Engine`.
    engine : Engine, optional
        Made before, for many windows; settings and net are then its own.

    Raises
    ------
    InputError
        When sizes differ.
    """
    own = engine or Engine(config, net)
    for image in [mask, *(a for r in references for a in (r.image, r.mask))]:
        if image.shape != moving.shape:
            msg = f"an image or mask of {image.shape} px stands beside one of {moving.shape}: one size is needed"
            raise InputError(msg)
    return registered(own.section(moving, mask), [(own.section(r.image, r.mask), r.weight) for r in references], start)


def registered(
    section: Section, references: Sequence[tuple[Section, float]], start: Affine | Field | Warp | None
) -> Registration:
    """Return the field that brings a section onto references: coarse to fine, where more levels are asked for.

    Raises
    ------
    InputError
        When the nodes of the vector map are further apart than the section is wide or high.
    """
    config, shape = section.engine.config, section.shape
    step = config.spacing_px * 2**section.finest
    if step > min(shape):
        msg = f"spacing_px: nodes {step:g} px apart do not resolve sections of {shape[1]}x{shape[0]} px"
        raise InputError(msg)
    told = [(r, w) for r, w in references if w > 0 and not r.blank]
    if section.blank:
        return Registration(Field(np.full((2, *grid_of(shape, step)), np.nan, np.float32), step))
    field = at_nodes(start or Affine(), shape, step)
    if not told:
        return Registration(field)
    losses: list[float] = []
    smoothed = 0
    for level in reversed(range(len(section.grey))):
        vectors, told_losses = _optimised(section, told, level, _start(field, section, level))
        losses += told_losses
        vectors, times = unfolded(vectors, config.spacing_px)
        smoothed += times
        field = _as_field(vectors, section, level)
    return Registration(field, tuple(losses), smoothed)


def _start(field: Field, section: Section, level: int) -> NDArray[np.float32]:
    """Return a vector map for a level from a field of full resolution; unknown nodes start at rest."""
    shape = section.grey[level].shape
    return np.nan_to_num(at_level(field, section.finest + level, shape, section.engine.config.spacing_px))


def _optimised(
    section: Section, references: Sequence[tuple[Section, float]], level: int, start: NDArray[np.float32]
) -> tuple[NDArray[np.float32], list[float]]:
    """Minimise eq. 5 by Adam on the vector map, which starts at ``start``; return it and the loss at each step."""
    engine, config = section.engine, section.engine.config
    grey, mask = section.grey[level], section.mask[level]
    spread = Interpolation(config.interpolation, (grey.shape[0], grey.shape[1]), config.spacing_px, engine.device)
    wanted = [r.features(level) for r, _ in references]
    size = (wanted[0].shape[1], wanted[0].shape[2])
    there = [resized_mask(r.mask[level], size) for r, _ in references]
    shares = np.array([w for _, w in references]) / sum(w for _, w in references)
    unit = wanted[0].numel() * float(engine.net.feature_var)
    vectors = torch.from_numpy(start).to(engine.device).requires_grad_()
    per_node = unit / vectors[0].numel()
    weights = Weights(config.alpha * per_node, config.beta * per_node, config.gamma * per_node)
    adam = torch.optim.Adam([vectors], lr=config.rate_px)
    losses: list[float] = []
    for step in range(config.steps):
        moved, seen = transformed(grey, mask, spread(vectors))
        both = resized_mask(seen, size)
        adam.param_groups[0]["lr"] = config.rate_px * (1 - _FALL * step / config.steps)
        share = drop_share(config.drop, step if config.drop_clock == "step" else step * config.rounds // config.steps)
        loss = registration_loss(
            engine.encode(moved), wanted, shares.tolist(), [both * m for m in there], vectors, config.spacing_px,
            weights, share,
        )  # fmt: skip
        losses.append(float(loss.detach()) / unit)
        if losses[-1] < _NOTHING:  # equal sections: Adam would take whole steps along the rounding errors
            break
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if _has_settled(losses, config, step):
            break
    return vectors.detach().cpu().numpy(), losses


def _has_settled(losses: Sequence[float], config: SsemnetConfig, step: int) -> bool:
    """Return whether the loss has not fallen by a thousandth for ``patience`` steps of the same share of drop."""
    clock = config.steps // config.rounds if config.drop and config.drop_clock == "round" else 0
    same = losses[(config.rounds - 1) * clock :] if clock else losses
    if not config.patience or len(same) <= config.patience or (clock and step < (config.rounds - 1) * clock):
        return False
    return min(same[-config.patience :]) > 0.999 * min(same[: -config.patience])


def unfolded(vectors: NDArray[np.float32], spacing: float) -> tuple[NDArray[np.float32], int]:
    """Return a vector map that folds nothing, and how often it had to be smoothed for that (ours)."""
    times = 0
    while folded_frac(Field(vectors, spacing)) > 0 and times < 50:
        vectors = np.stack([cv2.GaussianBlur(v, (3, 3), 0, borderType=cv2.BORDER_REPLICATE) for v in vectors])
        times += 1
    if folded_frac(Field(vectors, spacing)) > 0:
        vectors = np.broadcast_to(vectors.mean(axis=(1, 2), keepdims=True), vectors.shape).astype(np.float32)
    return vectors, times


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


def at_level(field: Field, halvings: int, shape: Sequence[int], stride: float) -> NDArray[np.float32]:
    """Return the offsets (2, rows, cols) of a field of full resolution for an image that is halved some times."""
    times = 2**halvings
    grid = grid_of((shape[0], shape[1]), stride)
    at = (nodes(grid, stride).reshape(-1, 2) + 0.5) * times - 0.5
    offsets = (field(at) - at) / times
    return np.ascontiguousarray(np.moveaxis(offsets.reshape(*grid, 2), -1, 0), np.float32)


def reduction(shape: Sequence[int], largest_px: int) -> int:
    """Return how often an image is halved until it has no more than ``largest_px`` pixels."""
    halvings = 0
    while ceil(shape[0] / 2**halvings) * ceil(shape[1] / 2**halvings) > largest_px:
        halvings += 1
    return halvings


def _halved(grey: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return an image at half the resolution, each pixel the mean of those of its four that are data."""
    even = [(0, s % 2) for s in grey.shape]
    known = np.pad(mask.astype(np.float32), even)
    x = np.pad(np.where(mask, grey, 0).astype(np.float32), even)
    share, total = (sum(a[r::2, c::2] for r in (0, 1) for c in (0, 1)) for a in (known, x))
    small = np.where(share > 0, total / np.maximum(share, 1), 0.5).astype(np.float32)
    return small, np.asarray(share >= 2)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        msg = "device: there is no GPU that torch can use; choose cpu or auto"
        raise InputError(msg)
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return the type of half precision, or None for float32."""
    if name == "auto":
        return torch.float16 if device.type == "cuda" else None
    return None if name == "float32" else torch.float16 if name == "float16" else torch.bfloat16


class SsemnetAligner:
    """The pairwise form: eq. 4, as an `Aligner`.

    Parameters
    ----------
    config : SsemnetConfig, optional
    net : Autoencoder, optional
        As in `Engine`.
    """

    name = "ssemnet"

    def __init__(self, config: SsemnetConfig | None = None, net: Autoencoder | None = None) -> None:
        self._engine = Engine(config or SsemnetConfig(), net)

    def __call__(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        fixed_mask: NDArray[np.bool_],
        moving_mask: NDArray[np.bool_],
    ) -> Field:
        """Return the field that leads from pixels of ``fixed`` to points of ``moving``; NaN when either is blank."""
        reference = Reference(fixed, fixed_mask)
        config, own = self._engine.config, self._engine
        found = align_window(moving, moving_mask, [reference], config, engine=own).field
        if own.section(fixed, fixed_mask).blank:
            return Field(np.full_like(found.offsets, np.nan), found.stride)
        return found


__all__ = ["Engine", "Reference", "Registration", "SsemnetAligner", "align_series", "align_window"]
