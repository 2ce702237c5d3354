"""Where training crops come from: folders of images and the project's own generator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import synth
from demis_ij.errors import InputError
from demis_ij.images import read

log = logging.getLogger(__name__)

_SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"}


def read_sources(
    folders: Sequence[Path], *, every: int = 1, generated: int = 0, side_px: int = 900, seed: int = 1
) -> list[NDArray[np.float32]]:
    """Return training images in grey levels of 255.

    Parameters
    ----------
    folders : sequence of Path
        Searched for images, with their sub-folders; an image whose name holds ``mask``, ``seg`` or ``label`` is left
        out. Images over 700 px are offered at half size, too; those below 400 px at double size only.
    every : int
        Take one image in ``every`` of folders with more than 50 images.
    generated : int
        How many sections of the project's own generator to add.
    side_px : int
        Their side.
    seed : int
        Of the generator.

    Raises
    ------
    InputError
        When there is no image at all.
    """
    sources: list[NDArray[np.float32]] = []
    for folder in folders:
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
        found = [p for p in found if not any(word in p.name.lower() for word in ("mask", "seg", "label"))]
        for path in found[:: every if len(found) > 50 else 1]:
            sources.extend(_scales(read(path)))
        log.info("%s: %d images", folder.name, len(found))
    for k in range(generated):
        sources.append(np.asarray(synth.section((side_px, side_px), seed * 100_003 + k), np.float32))
        log.info("generated section %d of %d", k + 1, generated)
    if not sources:
        msg = "no training image: the folders hold none, and none is to be generated"
        raise InputError(msg)
    return sources


def _scales(image: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    grey = image.astype(np.float32)
    low, high = np.percentile(grey, (0.1, 99.9))
    grey = np.clip((grey - low) * (255 / max(float(high - low), 1e-6)), 0, 255).astype(np.float32)
    side = min(grey.shape)
    if side < 400:
        return [cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)]
    if side < 700:
        return [grey]
    return [grey, cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)]
