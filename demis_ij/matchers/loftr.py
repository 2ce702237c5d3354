"""LoFTR: learned, detector-free matching (Sun et al. 2021, arXiv:2104.00680).

A view is resampled to the asked resolution, padded (never stretched) to a multiple of the coarse stride, and its
"no data" is hidden from the transformer by LoFTR's own mask. Points come back through the exact scale of each axis.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box, Crop
from demis_ij.nets.inference import LeanLoftr
from demis_ij.nets.weights import load_loftr
from demis_ij.protocols import View
from demis_ij.records import Correspondences, Points


def choose_device(name: str = "auto") -> torch.device:
    """Return CUDA, else MPS, else the CPU; or the device asked for. Raises `InputError` when it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(n for n in ("cuda", "mps", "cpu") if there[n]))
    if not there.get(name, False):
        msg = f"device {name!r} is not available here; available: {', '.join(n for n, ok in there.items() if ok)}"
        raise InputError(msg)
    return torch.device(name)


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the half precision that is faster than float32 on a device, None where there is none."""
    if device.type == "cuda":
        return torch.float16
    native = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    if device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in native):
        return torch.bfloat16
    return None


@dataclass(frozen=True, eq=False)
class _Network:
    """Weights on a device, ready to be asked; it is never changed, so that matchers share it.

    Attributes
    ----------
    net : LeanLoftr
    half_pixel : float
        What to subtract from its points.
    name : str
        What it is, for the report.
    """

    net: LeanLoftr
    half_pixel: float
    name: str


@lru_cache(maxsize=2)
def _network(weights: str, _stamp: tuple[int, int] | None, device: torch.device) -> _Network:
    """Return weights on a device; those asked for last are kept, so that one process loads them once."""
    loaded = load_loftr(weights)
    return _Network(LeanLoftr(loaded.net, device, half_precision(device)), loaded.half_pixel, loaded.name)


def _stamp(weights: str) -> tuple[int, int] | None:
    """Return what tells whether a checkpoint has changed, None for weights that are known by name."""
    try:
        found = Path(weights).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


LEAST_SIDE_PX = 96
"""A view whose shorter side would fall below this is looked at in more detail, up to full resolution."""

Prepared = tuple[NDArray[np.uint8], NDArray[np.bool_], Crop]
"""A view as the network sees it: image, mask, and the way back to px of the view."""


class LoftrMatcher:
    """LoFTR as a matcher.

    Parameters
    ----------
    resolution : float
        Scale at which the views are looked at; thin strips are looked at in more detail.
    weights : str
        ``shipped``, a checkpoint's path, ``outdoor`` or ``indoor_new``.
    device : str
        auto, cpu, cuda or mps.
    confidence : float
        Least dual-softmax confidence of a match.
    max_tokens : int
        Coarse cells of one view in a batch; bounds the memory (tokens squared) and splits batches.
    fine : bool
        Whether the network's own fine stage places the points. Without it they are good to a third of a coarse cell
        (``error_px``), which is enough for `demis_ij.matchers.refine` to make them exact, in half the time.
    """

    name = "loftr"

    def __init__(
        self,
        resolution: float = 0.5,
        weights: str = "shipped",
        device: str = "auto",
        confidence: float = 0.2,
        max_tokens: int = 12_000,
        *,
        fine: bool = True,
    ) -> None:
        self.device = choose_device(device)
        network = _network(weights, _stamp(weights), self.device)
        self.resolution = resolution
        self.weights = network.name
        self.max_tokens = max_tokens
        self._half_pixel = network.half_pixel
        self.confidence = confidence
        self.fine = fine
        self._net = network.net
        self._stride = self._net.stride
        # what a point without the fine stage may be off by, px of the view
        self.error_px = 0.0 if fine else 0.75 * (self._stride / 2) / resolution

    @cached_property
    def finer(self) -> LoftrMatcher | None:
        """The same network with its fine stage, for pairs whose points could not be made exact; None when it has it."""
        if self.fine:
            return None
        other = copy.copy(self)
        other.fine, other.error_px = True, 0.0
        return other

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        """Return the points seen in both views."""
        return self.batch([(fixed, moving)])[0]

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        """Return the points of each pair; pairs of one padded size go through the network together."""
        ready = [(self._prepare(f), self._prepare(m)) for f, m in pairs]
        groups: dict[tuple[int, int], list[int]] = {}
        for k, (f, m) in enumerate(ready):
            size = tuple(-(-max(f[0].shape[axis], m[0].shape[axis]) // self._stride) * self._stride for axis in (0, 1))
            groups.setdefault((size[0], size[1]), []).append(k)
        found: list[Correspondences] = [Correspondences.none()] * len(pairs)
        for size, members in groups.items():
            tokens = size[0] * size[1] // self._stride**2
            # one pair at a time on a CPU: it is as fast, and the confidence matrix stays in the cache
            at_once = 1 if self.device.type == "cpu" else max(1, self.max_tokens // tokens)
            for start in range(0, len(members), at_once):
                some = members[start : start + at_once]
                for k, points in zip(some, self._run([ready[k] for k in some], size), strict=True):
                    found[k] = points
        return found

    def _prepare(self, view: View) -> Prepared:
        """Return the resampled image, its mask and the way back to px of the view."""
        h, w = view.image.shape
        scale = max(self.resolution, min(1.0, LEAST_SIDE_PX / min(h, w)))
        shape = (max(1, round(h * scale)), max(1, round(w * scale)))
        crop = Crop.resized(Box(0, 0, w, h), shape)
        if shape == (h, w):
            return view.image, view.mask, crop
        image = np.asarray(cv2.resize(view.image, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        mask = cv2.resize(view.mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
        return image, mask, crop

    def _run(self, items: Sequence[tuple[Prepared, Prepared]], size: tuple[int, int]) -> list[Correspondences]:
        images = np.zeros((2, len(items), 1, *size), np.float32)
        masks = np.zeros((2, len(items), *size), bool)
        for k, pair in enumerate(items):
            for side, (image, mask, _) in enumerate(pair):
                h, w = image.shape
                images[side, k, 0] = np.pad(image, ((0, size[0] - h), (0, size[1] - w)), mode="edge")
                masks[side, k, :h, :w] = mask
        images /= 255
        cells = masks[:, :, :: self._stride, :: self._stride]
        if not cells.any((2, 3)).all():
            return [
                self._run([i], size)[0] if c.any((1, 2)).all() else Correspondences.none()
                for i, c in zip(items, cells.swapaxes(0, 1), strict=True)
            ]
        visible = None if cells.all() else torch.from_numpy(np.ascontiguousarray(cells))
        out = self._net(torch.from_numpy(images), visible, self.confidence, fine=self.fine)
        index = out.item.cpu().numpy()
        p0, p1 = (p.cpu().double().numpy() - self._half_pixel for p in (out.fixed_xy, out.moving_xy))
        score = out.confidence.cpu().double().numpy()
        found = []
        for k, ((i0, m0, c0), (i1, m1, c1)) in enumerate(items):
            mine = index == k
            keep = mine & _inside(p0, i0.shape) & _inside(p1, i1.shape)
            a, b = p0[keep], p1[keep]
            seen = _at(m0, a) & _at(m1, b)
            found.append(Correspondences(c0.to_tile(a[seen]), c1.to_tile(b[seen]), score[keep][seen]))
        return found


def _inside(points: Points, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray((points > -0.5).all(1) & (points[:, 0] < shape[1] - 0.5) & (points[:, 1] < shape[0] - 0.5))


def _at(mask: NDArray[np.bool_], points: Points) -> NDArray[np.bool_]:
    p = np.rint(points).astype(int)
    return np.asarray(mask[np.clip(p[:, 1], 0, mask.shape[0] - 1), np.clip(p[:, 0], 0, mask.shape[1] - 1)])
