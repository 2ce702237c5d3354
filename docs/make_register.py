"""Draw docs/images/register.png: made-up tissue by electrons, X-rays and light, registered as ``register`` does it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from demis_ij.config.registering import RegisterConfig
from demis_ij.records import Affine
from demis_ij.register.registering import register
from demis_ij.report.registration_pictures import Source, checkerboard, red_cyan, views_of
from demis_ij.synth.correlative_pairs import RANGES, corner_error_px, correlative_pair, specimen_for

_SIDE = 200  # px of a picture on the sheet
_SHEET = Path(__file__).with_name("images") / "register.png"
_SHOWN = (("xray", "X-ray-like", 4), ("light", "light-like", 7))


def picture(image: np.ndarray, words: str) -> np.ndarray:
    """Return a picture of the sheet, blue first, with words in a bar below it."""
    colour = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image[..., ::-1]
    small = cv2.resize(colour, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small = np.clip(np.round((small + 1.3) / 8) * 8, 0, 255).astype(np.uint8)  # 32 greys: a smaller file
    bar = np.full((18, _SIDE, 3), 255, np.uint8)
    cv2.putText(bar, words, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.vstack([small, bar]), ((2, 0), (2, 2), (0, 0)), constant_values=255)


def row(kind: str, name: str, seed: int) -> np.ndarray:
    """Return one pair: both images, as they came, and registered."""
    pair = correlative_pair(specimen_for(seed), kind, RANGES["full"], seed)
    moving = pair.moving if pair.moving.ndim == 2 else cv2.cvtColor(pair.moving, cv2.COLOR_RGB2GRAY)
    found = register(pair.fixed, moving, RegisterConfig(weights="none"))
    if found.to_moving is None:
        raise SystemExit(f"{pair.name}: not matched: {found.reason}")
    error = corner_error_px(found.to_moving, pair.to_moving, pair.fixed.shape)
    sources = [Source(i, np.ones(i.shape, bool), Affine(), (i.shape[0], i.shape[1])) for i in (pair.fixed, moving)]
    views = views_of(*sources, found.to_moving, 1.0)
    shown = [
        (pair.fixed, "fixed: electrons"),
        (pair.moving, f"moving: {name}"),
        (red_cyan(views.fixed, views.before), "as they came"),
        (red_cyan(views.fixed, views.after), "registered"),
        (checkerboard(views.fixed, views.after), f"{error:.2f} px off, sigma {found.sigma_px:.2f} px"),
    ]
    return np.hstack([picture(image, words) for image, words in shown])


def main() -> None:
    """Write the sheet."""
    sheet = np.vstack([row(*shown) for shown in _SHOWN])
    cv2.imwrite(str(_SHEET), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
