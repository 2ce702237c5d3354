"""Electrons against fluorescence of chromatin, bent at random: doing nothing, raw and restyled, by our own splines.

    python benchmarks/clem.py --write benchmarks/ledger/clem.json
    python benchmarks/clem.py --sections s8 --seeds 1 --check benchmarks/ledger/clem.json

Sections of a real specimen on one grid (doi:10.12688/f1000research.27158.1; the folder that ``DEMIS_IJ_DATA`` names);
the fluorescence is drawn through a smooth random displacement of 10 px in the mean, and looked for again. The style
that ships was trained on s6 and s7; s8 and s9 were never trained on.

``residual_px``: how far chromatin is from where it was published to lie, mean. The published places are off by some px
themselves, nucleus by nucleus; so ``again_px`` tells how far it comes to lie from where it does when nothing was bent.
``all_px``: every pixel, most of which fluorescence says nothing of. ``largest_px``: the worst of the places where
chromatin is, mean of each.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij.aligners.elastic import ElasticAligner, ElasticSettings
from demis_ij.aligners.styled import StyledAligner
from demis_ij.evaluate.ledger import check, read_ledger, write_ledger
from demis_ij.evaluate.summary import Row
from demis_ij.fields import dense
from demis_ij.geometry import Box
from demis_ij.nets.style_transfer import style_of
from demis_ij.synth.fields import smooth_field

Plane = NDArray[np.float32]
METHODS = ("nothing", "raw", "styled")
MEAN_PX, SMOOTH_PX = 10.0, 130.0
BRIGHT, AROUND_PX, SHARE = 60, 6.0, 0.3
"""Chromatin is where this share of what is around is as bright as that."""
APART_PX, LEAST_PX = 60, 300
"""Places of chromatin are this far apart, and hold as many px at least."""
FIGURES = ("residual_px", "again_px", "largest_px", "all_px")


def displacement(shape: tuple[int, int], seed: int) -> Plane:
    """Return smooth random offsets (2, H, W): the bent image at x + offset is the published one at x."""
    rng = np.random.default_rng(seed)
    found = np.stack([smooth_field(shape, rng, SMOOTH_PX) for _ in (0, 1)])
    return np.asarray(found * (MEAN_PX / np.hypot(*found).mean()), np.float32)


def bent(image: NDArray[np.uint8], offsets: Plane) -> NDArray[np.uint8]:
    """Return the image whose pixels at x + offset are those at x."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    at_x, at_y = x, y
    for _ in range(20):
        dx, dy = (sampled(o, at_x, at_y) for o in offsets)
        at_x, at_y = x - dx, y - dy
    return np.asarray(cv2.remap(image, at_x, at_y, cv2.INTER_LINEAR), np.uint8)


def sampled(plane: Plane, x: Plane, y: Plane) -> Plane:
    """Return values of a plane at points, beyond its edge those of the edge."""
    return np.asarray(cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def marked(image: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], list[NDArray[np.bool_]]]:
    """Return where chromatin is, all of it and place by place."""
    marks = cv2.GaussianBlur((image > BRIGHT).astype(np.float32), (0, 0), AROUND_PX) > SHARE
    wide = cv2.dilate(marks.astype(np.uint8), np.ones((APART_PX + 1, APART_PX + 1), np.uint8))
    count, labels = cv2.connectedComponents(wide)
    places = [marks & (labels == k) for k in range(1, count)]
    return marks, [p for p in places if p.sum() >= LEAST_PX]


class Registering:
    """The ways to register, each from two images of one shape to offsets (2, H, W)."""

    def __init__(self, style: str, settings: ElasticSettings) -> None:
        self._splines = ElasticAligner(settings)
        self._styled = StyledAligner(style_of(style), self._splines, which="fixed")

    def __call__(self, method: str, fixed: NDArray[np.uint8], moving: NDArray[np.uint8]) -> Plane:
        """Return what a method finds."""
        known = np.ones(fixed.shape, bool)
        if method == "nothing":
            return np.zeros((2, *fixed.shape), np.float32)
        aligner = self._styled if method == "styled" else self._splines
        return dense(aligner(fixed, moving, known, known), Box.of_shape(fixed.shape))


def measured(found: Plane, truth: Plane, still: Plane, image: NDArray[np.uint8]) -> dict[str, float]:
    """Return the figures of one pair; ``still`` is what is found when nothing is bent."""
    marks, places = marked(image)
    off = np.hypot(*(found - truth))
    y, x = np.mgrid[: off.shape[0], : off.shape[1]].astype(np.float32)
    expected = still + np.stack([sampled(t, x + still[0], y + still[1]) for t in truth])
    return {
        "residual_px": float(off[marks].mean()), "again_px": float(np.hypot(*(found - expected))[marks].mean()),
        "largest_px": max(float(off[p].mean()) for p in places), "all_px": float(off.mean()),
    }  # fmt: skip


def rows_of(
    section: str, methods: Sequence[str], seeds: Sequence[int], folder: Path, register: Registering
) -> list[Row]:
    """Return a row for each method on one section: means over the seeds."""
    electrons, light = (
        cv2.imread(str(folder / "clem_deepclem" / kind / f"{section}_ds.png"), cv2.IMREAD_GRAYSCALE)
        for kind in ("EM_raw", "FM_raw")
    )
    if electrons is None or light is None:
        raise SystemExit(f"no clem_deepclem/{{EM_raw,FM_raw}}/{section}_ds.png in {folder}: set DEMIS_IJ_DATA")
    first, second = (np.asarray(image, np.uint8) for image in (electrons, light))
    rows = []
    for method in methods:
        still, each = register(method, first, second), []
        for seed in seeds:
            truth = displacement(first.shape, seed)
            each.append(measured(register(method, first, bent(second, truth)), truth, still, second))
        values = {name: float(np.mean([e[name] for e in each])) for name in FIGURES}
        print(f"| {section} | {method} | {' | '.join(f'{values[name]:.1f}' for name in FIGURES)} |", flush=True)
        rows.append(Row(section, method, values))
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sections", nargs="+", default=["s8", "s9"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--style", default="fluorescence", help="a style that ships, or a path")
    parser.add_argument("--carry", type=float, default=ElasticSettings().carry, help="of the splines")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    register = Registering(args.style, ElasticSettings(carry=args.carry))
    print(f"| section | method | {' | '.join(name[:-3] + ' px' for name in FIGURES)} |\n|{'---|' * 6}")
    rows = [row for section in args.sections for row in rows_of(section, args.methods, args.seeds, folder, register)]
    if args.write:
        write_ledger(args.write, "clem", rows)
    fell = check("clem", rows, read_ledger(args.check)) if args.check else []
    for line in fell:
        print(f"fell: {line}", file=sys.stderr)
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
