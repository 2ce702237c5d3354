"""Pictures that need no data, and pairs of them whose place on each other is known."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from demis_ij.records import Affine


def cells(seed: int, side: int) -> np.ndarray:
    """Return a made-up picture, float32: patches of one grey value each, with dark borders."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(0, side, (side * side // 500, 2))
    y, x = np.mgrid[:side, :side]
    far, nearest = cKDTree(at).query(np.stack([x, y], axis=-1), k=2)
    grey = rng.uniform(90, 240, len(at))[nearest[..., 0]]
    edged = np.where(far[..., 1] - far[..., 0] < 2, 20, grey)
    return cv2.GaussianBlur(edged.astype(np.float32), (0, 0), 1.0)


def cut(picture: np.ndarray, to_picture: Affine, shape: tuple[int, int]) -> np.ndarray:
    """Return a part of a picture, looked up through a map from its px."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, to_picture.matrix[:2], shape[::-1], flags=flags)


def similarity(turn_deg: float, scale: float, shift: tuple[float, float], side: int) -> Affine:
    """Return a similarity about the middle of a square."""
    return Affine.about(Affine.similarity(scale, np.radians(turn_deg), *shift), ((side - 1) / 2,) * 2)


def pair(seed: int, truth: Affine, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a fixed and a moving picture; ``truth`` leads from fixed to moving px."""
    picture, place = cells(seed, 3 * side), Affine.translation(side, side)
    return cut(picture, place, (side, side)), cut(picture, place @ truth.inverse, (side, side))


def off(one: Affine, two: Affine, side: int) -> float:
    """Return how far apart two maps bring the corners of a square, at most, px."""
    corners = np.array([[0, 0], [side - 1, 0], [side - 1, side - 1], [0, side - 1]], float)
    return float(np.linalg.norm(one(corners) - two(corners), axis=1).max())
