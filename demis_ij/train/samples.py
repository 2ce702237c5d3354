"""Pairs of crops with exact truth, cut from any images on the fly.

A sample is a place in a source image seen twice: two crops that differ by a turn, a scale and a shift, each with its
own noise, blur, gain, offset and gamma. A share of the samples is resin-like (weak, low-pass structure under noise),
and a small share shows two different places, so that the network learns to be silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Affine


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """What pairs look like. Lengths are px of the crop.

    Attributes
    ----------
    shape : tuple of int
        (rows, cols) of both crops, multiples of 8.
    max_rotation_deg, max_scale_frac, max_shear_frac : float
        Of the moving crop relative to the fixed one; one pair in five is turned by up to twice as much.
    min_overlap_frac, small_overlap_frac : float
        Least share of the crop that both see, and the share of pairs that see less than 0.3 in common.
    resin_frac, blank_frac : float
        Share of resin-like pairs, and of pairs with nothing in common.
    max_noise_sd, max_resin_noise_sd, max_blur_px : float
        Noise in grey levels of 255, on tissue and on resin; standard deviation of the blur.
    """

    shape: tuple[int, int] = (192, 192)
    max_rotation_deg: float = 6.0
    max_scale_frac: float = 0.03
    max_shear_frac: float = 0.01
    min_overlap_frac: float = 0.05
    small_overlap_frac: float = 0.25
    resin_frac: float = 0.22
    blank_frac: float = 0.03
    max_noise_sd: float = 32.0
    max_resin_noise_sd: float = 8.0
    max_blur_px: float = 1.3


@dataclass(frozen=True, eq=False)
class Sample:
    """Two crops and the truth between them.

    Attributes
    ----------
    fixed, moving : ndarray of shape (H, W), uint8
        The crops, normalised as tiles are.
    to_moving : Affine or None
        Fixed px to moving px; None when nothing is common.
    """

    fixed: NDArray[np.uint8]
    moving: NDArray[np.uint8]
    to_moving: Affine | None


def _random_view(rng: np.random.Generator, spec: SampleSpec, size: tuple[int, int]) -> tuple[Affine, Affine]:
    """Return the maps from fixed and from moving crop px to source px."""
    h, w = spec.shape
    middle = ((w - 1) / 2, (h - 1) / 2)
    zoom = float(np.exp(rng.uniform(np.log(0.8), np.log(1.35))))
    turn = float(rng.uniform(-np.pi, np.pi))
    reach = 0.5 * np.hypot(h, w) * zoom
    x = rng.uniform(min(reach, size[1] / 2), max(size[1] - reach, size[1] / 2))
    y = rng.uniform(min(reach, size[0] / 2), max(size[0] - reach, size[0] / 2))
    flip = Affine(a=-1.0) if rng.random() < 0.5 else Affine()
    base = Affine.translation(x, y) @ Affine.rigid(turn) @ Affine(a=zoom, d=zoom) @ flip
    to_source = base @ Affine.translation(-middle[0], -middle[1])

    usual = max(0.3, spec.min_overlap_frac)
    low, high = (spec.min_overlap_frac, usual) if rng.random() < spec.small_overlap_frac else (usual, 1.0)
    overlap = rng.uniform(low, high)
    share = rng.uniform(overlap, 1.0)  # overlap = share along x times the rest along y
    shift = (rng.choice([-1, 1]) * (1 - share) * w, rng.choice([-1, 1]) * (1 - overlap / share) * h)
    scale = 1 + rng.uniform(-spec.max_scale_frac, spec.max_scale_frac)
    shear = rng.uniform(-spec.max_shear_frac, spec.max_shear_frac, 2)
    reach_deg = spec.max_rotation_deg * (2 if rng.random() < 0.2 else 1)
    linear = Affine.rigid(np.deg2rad(rng.uniform(-reach_deg, reach_deg))) @ Affine(
        a=scale, b=float(shear[0]), c=float(shear[1]), d=scale
    )
    moved = Affine.translation(*shift) @ Affine.about(linear, middle)
    return to_source, to_source @ moved


def _cut(source: NDArray[np.float32], to_source: Affine, shape: tuple[int, int]) -> NDArray[np.float32]:
    cut = cv2.warpAffine(
        source,
        to_source.matrix[:2],
        (shape[1], shape[0]),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(cut, np.float32)


def random_field(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> NDArray[np.float32]:
    """Return a Gaussian random field of unit variance, white noise low-passed by ``sigma_px``."""
    field = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), sigma_px)
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)


def _resin(rng: np.random.Generator, side: int, source: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weak structure, standard deviation 2 to 5 grey levels, around mid grey."""
    sigma = float(rng.uniform(1.0, 3.5))
    if rng.random() < 0.5:
        weak = random_field(rng, (side, side), sigma)
    else:
        low = cv2.GaussianBlur(source[:side, :side], (0, 0), sigma)
        band = low - cv2.GaussianBlur(low, (0, 0), 12 * sigma)
        weak = np.asarray(band / max(float(band.std()), 1e-3), np.float32)
    return np.asarray(rng.uniform(90, 190) + rng.uniform(2.0, 5.0) * weak, np.float32)


def _expose(
    rng: np.random.Generator, crop: NDArray[np.float32], spec: SampleSpec, noise_sd: float, blur_px: float
) -> NDArray[np.uint8]:
    """Return what a detector makes of a crop, normalised as tiles are (percentiles, often CLAHE)."""
    seen = cv2.GaussianBlur(crop, (0, 0), blur_px) if blur_px > 0.25 else crop
    out: NDArray[Any] = 255 * np.clip(seen / 255, 0.001, 1) ** np.float32(np.exp(rng.uniform(-0.35, 0.35)))
    if rng.random() < 0.3:  # slow shading across the field
        h, w = out.shape
        yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
        a, b = rng.uniform(-0.12, 0.12, 2)
        out = out * (1 + np.float32(a) * (xx / w - 0.5) + np.float32(b) * (yy / h - 0.5))
    out = out * rng.uniform(0.6, 1.2) + rng.uniform(-20, 20)
    out = out + rng.standard_normal(out.shape, dtype=np.float32) * np.float32(noise_sd)
    low, high = np.percentile(out, (rng.uniform(0.1, 1.0), rng.uniform(99.0, 99.9)))
    margin = rng.uniform(0, 0.6) * (high - low)  # the percentiles come from a whole tile, not from the crop
    low, high = low - rng.random() * margin, high + rng.random() * margin
    grey = np.clip((out - low) * (255 / max(high - low, 1e-3)), 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        grey = cv2.createCLAHE(float(rng.uniform(0.3, 1.5)), (int(rng.integers(1, 5)),) * 2).apply(grey)
    return np.asarray(grey, np.uint8)


def draw_sample(
    rng: np.random.Generator, draw_source: Callable[[np.random.Generator], NDArray[np.float32]], spec: SampleSpec
) -> Sample:
    """Return one pair with its truth.

    Parameters
    ----------
    rng : Generator
        All randomness.
    draw_source : callable
        Gives a (H, W) float32 source in grey levels of 255, larger than the crop.
    spec : SampleSpec
        What pairs look like.
    """
    source = draw_source(rng)
    if rng.random() < 0.7:  # the source's own noise must not be what is matched
        source = np.asarray(cv2.GaussianBlur(source, (0, 0), float(rng.uniform(0.5, 1.3))), np.float32)
    resin = rng.random() < spec.resin_frac
    if resin:
        source = _resin(rng, min(source.shape), source)
    elif rng.random() < 0.3:
        mean = float(source.mean())
        source = mean + (source - mean) * np.float32(rng.uniform(0.25, 0.8))
    to_fixed, to_moving = _random_view(rng, spec, source.shape)
    fixed = _cut(source, to_fixed, spec.shape)
    blank = rng.random() < spec.blank_frac
    if blank:
        other = draw_source(rng)
        moving = _cut(other, _random_view(rng, spec, other.shape)[1], spec.shape)
    else:
        moving = _cut(source, to_moving, spec.shape)
    most = spec.max_noise_sd
    noise = (
        rng.uniform(1.0, spec.max_resin_noise_sd)
        if resin
        else rng.uniform(0.5, 1.0) * rng.choice([most / 8, most / 4, most / 2, most])
    )
    blur = 0.0 if resin else float(rng.uniform(0, spec.max_blur_px))
    truth = None if blank else to_moving.inverse @ to_fixed
    return Sample(
        _expose(rng, fixed, spec, noise, blur * rng.random()),
        _expose(rng, moving, spec, noise * rng.uniform(0.8, 1.25), blur * rng.random()),
        truth,
    )


def source_pool(images: Sequence[NDArray[np.float32]]) -> Callable[[np.random.Generator], NDArray[np.float32]]:
    """Return a function that draws one of the images, large ones more often (by the root of their area)."""
    weight = np.sqrt([float(i.size) for i in images])
    weight /= weight.sum()

    def draw(rng: np.random.Generator) -> NDArray[np.float32]:
        return images[int(rng.choice(len(images), p=weight))]

    return draw
