"""Crops of images that a style network learns from: the same place of both partners, turned, mirrored and scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.nets.style_look import from_bytes

_CROP_TRIES = 8
_LEAST_KNOWN = 0.5  # of a crop


@dataclass(frozen=True, eq=False)
class Seen:
    """One image, as it is learned from.

    Attributes
    ----------
    name : str
    look : ndarray of shape (C, H, W), uint8
        The look as bytes, its middle 128.
    mask : ndarray of shape (H, W), uint8
        1 where there is data.
    """

    name: str
    look: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return int(self.look.shape[1]), int(self.look.shape[2])


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of one instrument, or of both in register: (N, C, side, side) and masks (N, 1, side, side), float32."""

    looks: NDArray[np.float32]
    masks: NDArray[np.float32]


def paired_crops(
    sources: Sequence[Seen], targets: Sequence[Seen], rng: np.random.Generator, count: int, side: int, scale: float
) -> tuple[Crops, Crops]:
    """Return crops of images and of their partners, from the same places, turned and scaled the same way."""
    drawn = []
    for _ in range(count):
        k = int(rng.integers(len(sources)))
        drawn.append(_placed(sources[k], rng, side, scale, targets[k]))
    return tuple(_stacked([one[n] for one in drawn]) for n in (0, 1))  # type: ignore[return-value]


def single_crops(images: Sequence[Seen], rng: np.random.Generator, count: int, side: int, scale: float) -> Crops:
    """Return crops of images of one instrument."""
    return _stacked([_placed(images[int(rng.integers(len(images)))], rng, side, scale)[0] for _ in range(count)])


def middle_crop(image: Seen, side: int, number: int = 0) -> Crops:
    """Return one of the crops of an image that validation looks at: they follow each other along its diagonal."""
    rows, cols = image.shape
    share = (number * 0.618 + 0.5) % 1.0
    top, left = (int(share * (n - side)) for n in (rows, cols))
    part = image.look[:, top : top + side, left : left + side], image.mask[top : top + side, left : left + side]
    return _stacked([(from_bytes(part[0]), part[1].astype(np.float32))])


_Cut = tuple[NDArray[np.float32], NDArray[np.float32]]


def _stacked(cuts: Sequence[_Cut]) -> Crops:
    masks = np.stack([mask for _, mask in cuts])[:, None]
    return Crops(np.ascontiguousarray(np.stack([look for look, _ in cuts])), np.ascontiguousarray(masks))


def _placed(first: Seen, rng: np.random.Generator, side: int, scale: float, *more: Seen) -> list[_Cut]:
    """Return one crop of each of some images in register: turned by right angles, or by any angle and scaled."""
    images = (first, *more)
    free = scale > 1 and rng.random() < 0.5
    cuts: list[_Cut] = []
    for attempt in range(_CROP_TRIES):
        cuts = _turned(images, rng, side, scale) if free else _straight(images, rng, side)
        if min(float(mask.mean()) for _, mask in cuts) >= _LEAST_KNOWN:
            break
        free = free and attempt < _CROP_TRIES // 2  # corners of a turned crop may lie outside of a narrow image
    if rng.random() < 0.5:
        cuts = [(look[..., ::-1], mask[..., ::-1]) for look, mask in cuts]
    return cuts


def _straight(images: Sequence[Seen], rng: np.random.Generator, side: int) -> list[_Cut]:
    top, left = (int(rng.integers(n - side + 1)) for n in images[0].shape)
    turns = int(rng.integers(4))
    cuts = []
    for one in images:
        box = (slice(top, top + side), slice(left, left + side))
        look, mask = from_bytes(one.look[:, *box]), one.mask[box].astype(np.float32)
        cuts.append((np.rot90(look, turns, (1, 2)), np.rot90(mask, turns)))
    return cuts


def _turned(images: Sequence[Seen], rng: np.random.Generator, side: int, scale: float) -> list[_Cut]:
    """Return crops sampled linearly; what lies outside of the images is no data."""
    angle, factor = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(-1, 1) * np.log(scale)))
    c, s = factor * np.cos(angle), factor * np.sin(angle)
    half = (side - 1) / 2
    reach = half * (abs(c) + abs(s))
    centre = [rng.uniform(*_span(n, reach)) for n in images[0].shape]
    offset = (centre[1] - half * (c - s), centre[0] - half * (s + c))
    low = [max(0, int(v - reach) - 2) for v in centre]
    high = [int(v + reach) + 3 for v in centre]
    matrix = np.array([[c, -s, offset[0] - low[1]], [s, c, offset[1] - low[0]]])
    flags, cuts = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, []
    for one in images:
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        planes = [np.ascontiguousarray(p, np.float32) for p in from_bytes(one.look[:, *box])]
        look = np.stack([cv2.warpAffine(p, matrix, (side, side), flags=flags) for p in planes])
        known = cv2.warpAffine(np.ascontiguousarray(one.mask[box], np.float32), matrix, (side, side), flags=flags)
        mask = (known > 0.99).astype(np.float32)
        cuts.append((look * mask, mask))
    return cuts


def _span(length: int, reach: float) -> tuple[float, float]:
    """Return where the middle of a crop may lie so that most of it lies inside."""
    near = min(reach, (length - 1) / 2)
    return near, max(length - 1 - near, near)


def varied(crops: Crops, rng: np.random.Generator) -> Crops:
    """Return crops as the instrument might have shown them another day: gain, offset, blur and noise changed."""
    looks = crops.looks.copy()
    count, channels = looks.shape[:2]
    gain = np.exp(rng.normal(0, 0.12, (count, channels, 1, 1))).astype(np.float32)
    offset = rng.normal(0, 0.05, (count, channels, 1, 1)).astype(np.float32)
    looks = looks * gain + offset
    for one in looks:
        if rng.random() < 0.3:
            sigma = rng.uniform(0.3, 0.9)
            for k, plane in enumerate(one):
                one[k] = cv2.GaussianBlur(plane, (0, 0), sigma)
        if rng.random() < 0.5:
            one += np.float32(rng.uniform(0, 0.06)) * rng.standard_normal(one.shape, dtype=np.float32)
    return Crops(np.clip(looks, -1, 1) * crops.masks, crops.masks)


__all__ = ["Crops", "Seen", "middle_crop", "paired_crops", "single_crops", "varied"]
