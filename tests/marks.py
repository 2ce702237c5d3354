"""Made-up nuclei by electrons and by fluorescence of their chromatin: a plug-in of the tests of ``register``."""

from __future__ import annotations

import cv2
import numpy as np
from made_pictures import cells

from demis_ij.records import Affine


def nuclei(seed: int, side: int, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return what electrons and what light show of one field, float32 and in register.

    By electrons: cells of any grey, dark and bright granules, and nuclei of one grey with clumps a little darker. By
    light: the clumps, of any brightness, and next to nothing else.
    """
    rng = np.random.default_rng(seed)
    tissue = 0.5 * cells(seed, side) + 60
    for x, y, radius in zip(*rng.uniform(0, side, (2, side // 2)), rng.uniform(1.5, 5, side // 2), strict=True):
        cv2.circle(tissue, (round(x), round(y)), round(radius), float(rng.choice([25, 50, 210])), -1)
    clumps = np.zeros_like(tissue)
    for at in rng.uniform(0.2, 0.8, (count, 2)) * side:
        radii = rng.uniform(0.055, 0.085, 2) * side
        cv2.ellipse(tissue, tuple(np.rint(at).astype(int).tolist()), tuple(np.rint(radii).astype(int).tolist()),
                    float(rng.uniform(0, 180)), 0, 360, 150, -1)  # fmt: skip
        for _ in range(14):
            away = rng.uniform(0, 2 * np.pi)
            spot = at + rng.uniform(0.1, 0.9) * min(radii) * np.array([np.cos(away), np.sin(away)])
            cv2.circle(clumps, tuple(np.rint(spot).astype(int).tolist()), int(rng.integers(2, 5)),
                       float(rng.uniform(0.4, 1)), -1)  # fmt: skip
    electrons = cv2.GaussianBlur(np.where(clumps > 0, 110, tissue), (0, 0), 0.8)
    light = cv2.GaussianBlur(clumps, (0, 0), 1.5)
    noise = rng.normal(0, 1, (2, side, side)).astype(np.float32)
    return (electrons + 5 * noise[0]).astype(np.float32), (light + 0.01 * noise[1]).astype(np.float32)


def moved(picture: np.ndarray, truth: Affine) -> np.ndarray:
    """Return a picture that was moved by a map, of the same size; what comes in is as dark as its darkest."""
    size = picture.shape[::-1]
    return cv2.warpAffine(picture, truth.matrix[:2], size, borderValue=(float(np.quantile(picture, 0.01)),))
