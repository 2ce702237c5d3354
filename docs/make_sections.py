"""Draw docs/images/sections.png: made-up sections of every style, and serial sections with their truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from demis_ij.synth.mishaps import Mishaps
from demis_ij.synth.recipes import RECIPES
from demis_ij.synth.series import series

_SIDE = 216  # px of a picture on the sheet
_FIELD = 384  # px of tissue that it shows
_SHEET = Path(__file__).with_name("images") / "sections.png"


def picture(grey: np.ndarray, words: str) -> np.ndarray:
    """Return a picture of the sheet with its name in a bar below it."""
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small = np.clip(np.round((small + 1.3) / 8) * 8, 0, 255).astype(np.uint8)  # 32 greys: a file of a third the size
    bar = np.full((18, _SIDE), 255, np.uint8)
    cv2.putText(bar, words, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0,), 1, cv2.LINE_AA)
    return np.pad(np.vstack([small, bar]), ((2, 0), (2, 2)), constant_values=255)


def labels(label: np.ndarray) -> np.ndarray:
    """Return labels as greys that differ between neighbours."""
    return (40 + (label.astype(np.int64) * 2654435761 % 211)).astype(np.float32)


def main() -> None:
    """Write the sheet."""
    styles = [
        picture(series((_FIELD, _FIELD), 1, 5, style=style)[0].clean, f"{style}")
        for style in RECIPES
    ]  # fmt: skip
    tem = series((_FIELD, _FIELD), 40, 5, style="sem")
    stack = list(tem)
    along = cv2.resize(np.stack([s.clean for s in stack])[:, _FIELD // 2], (_FIELD, _FIELD))
    gone = series((_FIELD, _FIELD), 40, 5, style="sem", mishaps=Mishaps(fold=1, knife_marks=1, dirt=1, noise=6))[2]
    strip = [picture(stack[k].clean, f"section {k}") for k in (0, 1, 2, 4)]
    strip += [picture(labels(stack[2].label), "labels of section 2"), picture(gone.image, "2, fold, dirt, noise")]
    strip += [picture(np.minimum(gone.mask, 1) * 255.0, "mask"), picture(along, "xz, 40 sections")]
    sheet = np.vstack([np.hstack(styles), np.hstack(strip)])
    cv2.imwrite(str(_SHEET), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
