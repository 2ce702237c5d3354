"""What goes wrong with a section: knife marks, folds, dust, charging, uneven light."""

from __future__ import annotations

from math import cos, pi, sin

import cv2
import numpy as np

from demis_ij.synth.fields import Plane, smooth_field
from demis_ij.synth.styles import Style


def _add_knife_marks(stain: Plane, rng: np.random.Generator) -> None:
    """Add faint straight lines, all in one direction."""
    rows, cols = stain.shape
    angle = rng.uniform(0, pi)
    normal = np.array([-sin(angle), cos(angle)])
    marks = np.zeros(stain.shape, np.float32)
    reach = np.array([cos(angle), sin(angle)]) * (rows + cols)
    for _ in range(int(rng.integers(2, 7))):
        at = np.array([cols, rows]) * rng.uniform(0, 1, 2) + normal * rng.normal(0, 50)
        ends = [tuple(int(v) for v in at - reach), tuple(int(v) for v in at + reach)]
        cv2.line(marks, ends[0], ends[1], (float(rng.normal(0, 0.09)),), int(rng.integers(1, 4)), cv2.LINE_AA)
    stain += cv2.GaussianBlur(marks, (0, 0), 1.2)


def _add_fold(stain: Plane, rng: np.random.Generator, style: Style) -> None:
    """Add one dark band with a light rim, along a bent line."""
    rows, cols = stain.shape
    count = 40
    angle = rng.uniform(0, pi)
    turns = angle + np.cumsum(rng.normal(0, 0.08, count))
    line = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0) * (rows + cols) / count
    line += rng.uniform(0.2, 0.8, 2) * (cols, rows) - line[count // 2]
    band = np.zeros(stain.shape, np.float32)
    width = int(style.scale * rng.uniform(8, 26)) + 3
    cv2.polylines(band, [np.round(line).astype(np.int32)], False, (1.0,), width, cv2.LINE_AA)
    core = cv2.GaussianBlur(band, (0, 0), 2.5 * style.scale)
    rim = cv2.GaussianBlur(band, (0, 0), 9 * style.scale)
    stain += core * np.float32(rng.uniform(0.25, 0.5)) - (rim - core).clip(0) * np.float32(0.12)


def _add_dust(stain: Plane, rng: np.random.Generator, style: Style) -> None:
    """Add a few dark grains with ragged outlines."""
    rows, cols = stain.shape
    for _ in range(rng.poisson(1.2 * rows * cols / 1e6)):
        radius = style.scale * rng.lognormal(1.6, 0.5)
        half = int(3 * radius) + 3
        x, y = int(rng.integers(cols)), int(rng.integers(rows))
        ys, xs = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
        rough = smooth_field(xs.shape, rng, max(1.0, radius / 2.5)) * np.float32(0.35 * radius)
        grain = np.clip((np.float32(radius) - np.hypot(xs, ys) + rough) / 1.5, 0, 1)
        top, left = max(0, y - half), max(0, x - half)
        patch = stain[top : y + half + 1, left : x + half + 1]
        mine = grain[top - y + half :, left - x + half :][: patch.shape[0], : patch.shape[1]]
        patch += mine * (np.float32(1.05) - patch)


def _add_charging(stain: Plane, rng: np.random.Generator) -> None:
    """Brighten a soft blob, with a trail along the scan line."""
    rows, cols = stain.shape
    y, x = rng.uniform(0, rows), rng.uniform(0, cols)
    spread = rng.uniform(0.05, 0.15) * min(rows, cols)
    down = np.exp(-(((np.arange(rows) - y) / spread) ** 2)).astype(np.float32)[:, None]
    along = np.arange(cols) - x
    across = np.exp(-np.where(along < 0, (along / spread) ** 2, along / (4 * spread))).astype(np.float32)[None]
    stain -= np.float32(rng.uniform(0.04, 0.12)) * down * across


def add_blemishes(stain: Plane, rng: np.random.Generator, style: Style) -> None:
    """Add uneven light always and the other blemishes sometimes, in place."""
    light = smooth_field(stain.shape, rng, 0.6 * min(stain.shape))
    stain += light * np.float32(rng.uniform(0.005, 0.025))
    if rng.random() < 0.35:
        _add_knife_marks(stain, rng)
    if rng.random() < 0.15:
        _add_fold(stain, rng, style)
    if rng.random() < 0.5:
        _add_dust(stain, rng, style)
    if rng.random() < 0.2:
        _add_charging(stain, rng)
