"""Draw ``docs/images/matches.jpg``: what LoFTR and SIFT find on a textured, a weak and a thin pair.

    python docs/make_matches.py

Green lines are right to 1 px, yellow to 3 px, red ones wrong. Strips are turned so that the seam runs across the page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import synth
from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.metrics.points import reprojection_error_px
from demis_ij.metrics.poses import true_to_fixed
from demis_ij.pairs import match_pair, neighbours
from demis_ij.records import Layout, PairMatch, Tile
from demis_ij.stitch import make_matcher

ROWS = (("textured", "A"), ("weak", "A"), ("5 % overlap", "I"))
CONFIGS = {"loftr": StitchConfig(matcher="loftr"), "sift": StitchConfig(matcher="sift", refine=False)}
LENGTH, GAP = 640, 46


class Shown(TileStore):
    """A store of images that are already there."""

    def __init__(self, images: dict[str, NDArray[np.uint8]]) -> None:
        super().__init__()
        self._images = images

    def _read(self, tile: Tile) -> NDArray[np.uint8]:
        return self._images[tile.id].copy()


def panel(kind: str, name: str, matcher: str) -> NDArray[np.uint8]:
    """Return one pair with its matches: the right border of the left tile above the left border of the right tile."""
    scene = synth.make_scene(synth.SETS[name], 1)
    layout = Layout(tuple(replace(t, path=Path(t.id)) for t in scene.layout))
    weak = kind == "weak"
    pair = next(
        p for p in neighbours(layout) if (p in scene.resin_pairs) == weak and p[0][:3] == p[1][:3]
    )  # one beside the other
    found = match_pair(
        Shown(dict(scene.images)), layout, pair, make_matcher(matcher, CONFIGS[matcher]), CONFIGS[matcher]
    )
    truth = true_to_fixed(scene.truth, *pair)
    size = scene.spec.tile_px
    wide = int(size * (scene.spec.overlap + 2 * scene.spec.shift_frac) + 8)
    strips = [scene.images[pair[0]][:LENGTH, size - wide :].T, scene.images[pair[1]][:LENGTH, :wide].T]
    strips = [cv2.normalize(s, None, 0, 255, cv2.NORM_MINMAX) for s in strips]
    blank = np.full((GAP, LENGTH), 255, np.uint8)
    out = cv2.cvtColor(np.vstack([strips[0], blank, strips[1]]), cv2.COLOR_GRAY2BGR)
    words = f"rejected, {found.matches} matches"
    if isinstance(found, PairMatch):
        points = found.every or found
        error = reprojection_error_px(points.fixed_xy, points.moving_xy, truth)
        for (fx, fy), (mx, my), e in zip(points.fixed_xy, points.moving_xy, error, strict=True):
            if fy >= LENGTH or my >= LENGTH:
                continue
            colour = (60, 190, 60) if e <= 1 else (0, 200, 240) if e <= 3 else (40, 40, 230)
            one = round(fy), round(fx - (size - wide))
            cv2.line(out, one, (round(my), round(mx + wide + GAP)), colour, 1, cv2.LINE_AA)
        words = f"{found.inliers} matches agree"
    title = np.full((24, LENGTH, 3), 255, np.uint8)
    text = f"{kind}, {matcher}: {words}"
    cv2.putText(title, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([title, out])


def main() -> None:
    """Draw and write."""
    rows = []
    for kind, name in ROWS:
        both = [panel(kind, name, matcher) for matcher in CONFIGS]
        rows.append(np.hstack([both[0], np.full((both[0].shape[0], 12, 3), 255, np.uint8), both[1]]))
    path = Path(__file__).resolve().parent / "images" / "matches.jpg"
    cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 62])


if __name__ == "__main__":
    main()
