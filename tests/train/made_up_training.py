"""What the tests of training share: a tiny network, textures, and settings that take seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from demis_ij.config import ArchitectureConfig
from demis_ij.train.samples import random_field
from demis_ij.train.settings import TrainingSettings, read_settings
from demis_ij.train.sources import Sources, make_source

TINY = ArchitectureConfig(widths=(8, 8, 16), coarse_layers=1, heads=2)
SMALL = (
    "widths=[8,8,16]", "coarse_layers=1", "heads=2", "shapes=[[64,64],[32,96]]", "batch=2", "steps=6", "save_every=2",
    "log_every=2", "warmup_steps=2", "validation.pairs=2", "validation.every=3", "generated=0", "workers=0",
    "device=cpu",
)  # fmt: skip
"""Settings by ``NAME=VALUE``."""


def textured(seed: int = 0, side: int = 420) -> np.ndarray:
    """A Gaussian random field in grey levels."""
    rng = np.random.default_rng(seed)
    return 128 + 40 * random_field(rng, (side, side), 3.0)


def small(*more: str) -> TrainingSettings:
    """Settings of a training that takes seconds."""
    return read_settings(None, [*SMALL, *more])


def made_up_sources() -> Sources:
    """Two textures to train on, one to validate on."""
    made = [make_source(f"made/{k}.png", "made", textured(k)) for k in range(3)]
    return Sources(tuple(made[:2]), tuple(made[2:]))


def write_images(folder: Path, count: int = 3, side: int = 130) -> Path:
    """A folder of textures."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        assert cv2.imwrite(str(folder / f"{k}.png"), np.clip(textured(k, side), 0, 255).astype(np.uint8))
    return folder
