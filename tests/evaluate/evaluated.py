"""A small scene with a resin tile, a matcher that answers as it is told, and scores made by hand."""

from __future__ import annotations

from functools import cache

import numpy as np

from demis_ij.evaluate import PairScore, Source, of_scene
from demis_ij.metrics import true_to_fixed
from demis_ij.records import Affine, Correspondences
from demis_ij.synth import GridSpec, make_scene

SPEC = GridSpec(
    rows=2, cols=3, tile_px=256, overlap=0.25, rotation_deg=0.5, shift_frac=0.02, stage_error_frac=0.02, noise_sd=3,
    resin=((0, 0),),
)  # fmt: skip


@cache
def scene():
    return make_scene(SPEC, 3)


@cache
def known():
    return of_scene(scene(), "small")


def source(name="small"):
    return Source(name, f"print of {name}", known)


class Told:
    """A matcher that knows the truth of the pair whose views it is shown, and is off by a shift."""

    name = "told"

    def __init__(self, shift=(0.0, 0.0), grossly_wrong=0, counts=None):
        self.shift, self.grossly_wrong, self.counts = np.array(shift), grossly_wrong, counts

    def batch(self, pairs):
        if self.counts is not None:
            self.counts.append(len(pairs))
        return [self(*p) for p in pairs]

    def __call__(self, fixed, moving):
        pair, crops = next(self._asked(fixed, moving))
        truth = true_to_fixed(known().truth, *pair)
        xy = np.random.default_rng(1).uniform(crops[1].box.x0, crops[1].box.x1, (300, 1))
        xy = np.hstack([xy, np.random.default_rng(2).uniform(crops[1].box.y0, crops[1].box.y1, (300, 1))])
        there = Affine.from_matrix(truth)(xy)
        held = crops[0].from_tile(there)
        inside = ((held >= 0) & (held < np.array(fixed.image.shape[::-1]))).all(1)
        there, xy = there[inside] + self.shift, xy[inside]
        there[: self.grossly_wrong] += 30
        return Correspondences(crops[0].from_tile(there), crops[1].from_tile(xy), np.ones(len(xy)))

    def _asked(self, fixed, moving):
        from demis_ij.pairs import overlap_crops, view

        store = known().store(0.5)
        for pair in known().pairs:
            a, b = known().layout[pair[0]], known().layout[pair[1]]
            crops = overlap_crops(a, b, 0.06 * 256)
            if all(
                np.array_equal(view(store, t, c).image, v.image)
                for t, c, v in zip((a, b), crops, (fixed, moving), strict=True)
            ):
                yield pair, crops


def by_hand(configuration="one", scene="s", kind="textured", error=0.1, accepted=True, pair=("a", "b"), **more):
    """A score of a pair whose four corners are all off by ``error``."""
    told = {
        "scene": scene, "configuration": configuration, "fixed": pair[0], "moving": pair[1], "kind": kind,
        "accepted": accepted, "matches": 100, "outliers": 4, "inliers": 90 if accepted else 0,
        "reprojection_all_px": 1.0, "cpu_s": 0.2, "wall_s": 0.3, "coverage": 0.5 if accepted else 0.0,
        "reason": "" if accepted else "too few",
    }  # fmt: skip
    if accepted:
        told |= {"corner_px": (error,) * 4, "overlap_error_px": error, "reprojection_inliers_px": error / 2}
    return PairScore(**(told | more))
