"""Stacks small enough for a test: texture that goes on from section to section, bent by known fields."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.fields import dense, thin_plate
from demis_ij.geometry import Box
from demis_ij.records import Affine, Field, Warp

Float = NDArray[np.float32]
SIDE = 160


def tissue(count: int, side: int = SIDE, seed: int = 0, change: float = 0.25) -> Float:
    """Sections (count, side, side) of texture 0..255; each keeps most of what the one before showed."""
    rng = np.random.default_rng(seed)

    def texture() -> Float:
        noise = [cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), s) * s for s in (2, 5)]
        return np.asarray(sum(noise), np.float32)

    now, out = texture(), []
    for _ in range(count):
        out.append(now)
        now = np.sqrt(1 - change**2) * now + change * texture()
    stack = np.stack(out)
    return np.asarray(128 + 40 * (stack - stack.mean()) / stack.std(), np.float32).clip(0, 255)


def bend(seed: int, sd: float = 4.0, side: int = SIDE) -> Field:
    """A smooth field of thin-plate splines, displacements of standard deviation ``sd`` px."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, side, (8, 2))
    return thin_plate(points, rng.normal(0, sd, (8, 2)), (side, side), 8)


def seen_through(image: Float, warp: Affine | Field | Warp) -> tuple[Float, NDArray[np.bool_]]:
    """What a microscope shows of a section that is bent: out(x) = image(warp(x)); False where it looks outside."""
    rows, cols = image.shape
    d = dense(warp, Box.of_shape((rows, cols)))
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    at_x, at_y = x + d[0], y + d[1]
    inside = (at_x >= 0) & (at_x <= cols - 1) & (at_y >= 0) & (at_y <= rows - 1)
    out = cv2.remap(image, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where(inside, out, 0).astype(np.float32), inside


def disagreement(warps: list[Warp] | tuple[Warp, ...], bent: list[Affine | Field | Warp], margin: int = 20) -> Float:
    """How far apart neighbouring sections show one place of the tissue, px: median of each pair of neighbours.

    A warp leads from the aligned canvas to a section, ``bent`` from the section to the tissue; all should agree.
    """
    side = SIDE
    y, x = np.mgrid[margin : side - margin : 4, margin : side - margin : 4]
    at = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    shown = [b(w(at - np.array(w.origin_xy))) for w, b in zip(warps, bent, strict=True)]
    apart = [np.linalg.norm(b - a, axis=1) for a, b in pairwise(shown)]
    return np.array([np.nanmedian(a) for a in apart], np.float32)
