"""Draw docs/images/tiers.jpg, registrations of each tier, and docs/images/correlative.jpg, pairs as they are made."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from demis_ij.config.correlative import CorrelativeConfig
from demis_ij.evaluate.style import registered
from demis_ij.evaluate.style_methods import engine_of, looked_at, read_method
from demis_ij.fields import dense
from demis_ij.geometry import Box
from demis_ij.metrics.overlap import overlap_tier
from demis_ij.metrics.tiers import residual_tier
from demis_ij.report.style_pictures import Pictured, strip
from demis_ij.synth.correlative_dataset import examples_picture, pairs_of
from demis_ij.synth.correlative_views import EVALUATION, views

_IMAGES = Path(__file__).with_name("images")
_SIDE = 256  # px of a picture on the sheets
_PANELS = ("SEM, fixed", "LOM, moving", "LOM registered", "after", "deformation")
_SHOWN = (
    ("good", "perfect+dis", "steel", EVALUATION + 1),
    ("good", "gradient+dis", "steel", EVALUATION + 2),
    ("decent", "gradient+dis", "tissue", EVALUATION + 2),
    ("bad", "raw+elastic", "steel", EVALUATION + 9),
    ("poor", "raw+dis", "steel", EVALUATION + 1),
)


def row(tier: str, name: str, kind: str, seed: int) -> np.ndarray:
    """Return one registration with a line of words above it, red first."""
    pair, method = views(kind, seed), read_method(name)
    offsets = registered(pair, method, engine_of(method), {})
    found = residual_tier(offsets, dense(pair.truth, Box.of_shape(pair.sem.shape)))
    told = overlap_tier(pair.sem, cv2.cvtColor(pair.lom, cv2.COLOR_RGB2GRAY), offsets)
    if found.tier != tier:
        raise SystemExit(f"{kind} {seed} by {name} is {found.tier}, a {tier} one was wanted")
    words = (
        f"{tier}: {name}, mean residual {found.mean_px:.1f} px (before {found.before_px:.1f}), 95 % {found.p95_px:.1f},"
        f" folded {100 * found.folded_frac:.1f} %. Without the truth: {told.tier}, edges off by {told.shift_px:.1f} px,"
        f" strain {told.strain:.2f}"
    )
    compared = looked_at(pair, method.look, {})[1]
    panels = strip(Pictured("", "", pair.sem, pair.lom, compared, offsets), side_px=_SIDE, chosen=_PANELS)
    bar = np.full((26, panels.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, words, (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.46, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, panels])


def main() -> None:
    """Write the sheets."""
    sheet = np.vstack([row(*shown) for shown in _SHOWN])
    cv2.imwrite(str(_IMAGES / "tiers.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 76])
    made = examples_picture([views(kind, seed) for kind, seed in pairs_of(CorrelativeConfig(pairs=4))])
    small = cv2.resize(made, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(_IMAGES / "correlative.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
