"""Pairs of image files whose place on each other is known: a plug-in of the tests of ``register``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from made_pictures import cells, pair, similarity

SIDE = 160
TRUTH = similarity(-14, 1.1, (9, -7), SIDE)
"""Px of the fixed image to px of the moving one."""
QUICK = ("--weights", "none", "--set", "reach=near")


def grey(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


def xray(image: np.ndarray) -> np.ndarray:
    """Return another instrument's picture, 16 bit: inverted, darkened, blurred."""
    return (cv2.GaussianBlur(1 - np.clip(image, 0, 255) / 255, (0, 0), 1.2) ** 1.5 * 40000 + 500).astype(np.uint16)


def write_pair(folder: Path, seed: int = 1) -> tuple[Path, Path]:
    """Write ``fixed.tif``, 8 bit, and ``moving.tif``, 16 bit, of another contrast."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed, moving = pair(seed, TRUTH, SIDE)
    tifffile.imwrite(folder / "fixed.tif", grey(fixed))
    tifffile.imwrite(folder / "moving.tif", xray(moving))
    return folder / "fixed.tif", folder / "moving.tif"


def write_bad(folder: Path) -> dict[str, str]:
    """Write images that cannot be registered; return what is said of each, by name."""
    flat = np.full((SIDE, SIDE), 9, np.uint8)
    tifffile.imwrite(folder / "flat.tif", flat)
    tifffile.imwrite(folder / "nan.tif", np.full((SIDE, SIDE), np.nan, np.float32))
    tifffile.imwrite(folder / "tiny.tif", grey(cells(5, 60)[:20, :20]))
    tifffile.imwrite(
        folder / "seven.tif", np.zeros((SIDE, SIDE, 7), np.uint8), photometric="minisblack", planarconfig=1
    )
    (folder / "broken.tif").write_bytes(b"II*\0" + bytes(40))
    (folder / "text.png").write_text("no image")
    return {
        "flat.tif": "every pixel is 9", "nan.tif": "holds no data", "tiny.tif": "20x20 px cannot be registered",
        "seven.tif": "needs rows and columns", "broken.tif": "cannot be read", "text.png": "not an image",
        "gone.tif": "cannot be read",
    }  # fmt: skip
