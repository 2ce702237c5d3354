"""What ssEMnet holds of a section while it aligns it: normalised, at several resolutions, with its features."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.fields import grid_of, nodes
from demis_ij.nets.spatial_transformer import transformed
from demis_ij.nets.ssemnet import Autoencoder, load_autoencoder, standardised
from demis_ij.records import Field

_LEAST_SIDE = 64  # px of the coarsest level
_LEAST_SHARE = 0.02  # of a section, or of what two of them share: less says nothing


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
        """Return the features (N, C, rows, cols), float32, of images (N, H, W)."""
        faster: AbstractContextManager[Any] = (
            nullcontext() if self.half is None else torch.autocast(self.device.type, self.half)
        )
        with faster:
            found: Tensor = self.net.encode(grey[:, None])
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
                self._features[level] = self.engine.encode(self.grey[level][None])[0]
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
