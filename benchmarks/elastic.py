"""Elastic registration of pairs whose warp is known: ours, OpenCV's DIS flow, itk-elastix and bUnwarpJ, side by side.

    python benchmarks/elastic.py
    python benchmarks/elastic.py --sets tissue material --cases like noisy --methods spline spline,mode=mono dis
    python benchmarks/elastic.py --methods bunwarpj "bunwarpj,mode=accurate,final_deformation=super fine" --fiji PATH
    python benchmarks/elastic.py --cases like artefacts --methods spline dis --check ledger/elastic.json

A pair is a picture and the same picture drawn through a smooth random displacement of 10 px in the mean (of 512;
20 px in ``large``), each with noise of its own. ``tissue`` and ``material`` are made up, of seeds that nothing was
trained on; ``real`` are crops of scanning and transmission electron micrographs, from the folder that
``DEMIS_IJ_DATA`` names.

Residuals are those of the central 90 %, px. Times are processor seconds of one thread, warm: the first pair of each
method is registered twice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from demis_ij.aligners.elastic import ElasticAligner, ElasticSettings
from demis_ij.config.reading import from_dict
from demis_ij.evaluate.ledger import check, read_ledger, write_ledger
from demis_ij.evaluate.summary import Row
from demis_ij.fields import dense, folded_frac
from demis_ij.geometry import Box
from demis_ij.imagej.registration import BunwarpjSettings
from demis_ij.protocols import ALIGNERS
from demis_ij.records import Field
from demis_ij.synth.fields import smooth_field
from demis_ij.synth.specimens import material_specimen, tissue_specimen

Plane = NDArray[np.float32]
Register = Callable[[Plane, Plane], Field]
T = TypeVar("T")

SIDE = 512
MARGIN = 64
EDGE = 26  # px that are not judged: a twentieth
SEED = 7001
CASES = ("like", "noisy", "unequal", "artefacts", "large")
REAL = (
    "em_render_temca_2x2/stitch/col0075_row0021_cam1.png_level_1_mipmap.png",
    "em_lung_sem_12/2016_12_02_0101_s00_03.png",
    "em_axondeepseg_sem/sub-rat3/micr/sub-rat3_sample-data10_SEM.png",
    "em_axondeepseg_sem/sub-rat5/micr/sub-rat5_sample-data14_SEM.png",
    "sem_vendor_tiff/zeiss_example_sem.tif",
    "em_render_temca_2x2/stitch/col0076_row0022_cam2.png_level_1_mipmap.png",
)
FIGURES = (
    ("median_residual_px", 3), ("mean_px", 2), ("p95_px", 2), ("worst_median_px", 2), ("consistency_px", 3),
    ("folded_frac", 4), ("cpu_s", 2),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images, and the offsets (2, H, W) from the fixed one to the moving one."""

    fixed: Plane
    moving: Plane
    truth: NDArray[np.float64]


def pictures(kind: str, count: int, folder: Path) -> Iterator[NDArray[np.float64]]:
    """Yield pictures with a margin, grey values 0 to 255."""
    side = SIDE + 2 * MARGIN
    for k in range(count):
        if kind == "real":
            name = REAL[k % len(REAL)]
            grey = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
            if grey is None:
                raise SystemExit(f"no {name} in {folder}: set DEMIS_IJ_DATA, or leave the set real out")
            left = (grey.shape[1] - side) // 3
            top = (grey.shape[0] - side) // 3
            yield grey[top : top + side, left : left + side].astype(np.float64)
        else:
            made = (tissue_specimen if kind == "tissue" else material_specimen)((side, side), SEED + k)
            yield made.grey.astype(np.float64) * 255


def displacement(seed: int, mean_px: float) -> NDArray[np.float64]:
    """Return smooth random offsets (2, H, W) that shrink nothing below .3 of its area."""
    rng = np.random.default_rng(seed)
    length = float(rng.uniform(0.08, 0.2)) * SIDE
    found = np.stack([smooth_field((SIDE, SIDE), rng, length) for _ in (0, 1)]).astype(np.float64)
    while True:
        found *= mean_px / np.hypot(*found).mean()
        (xy, xx), (yy, yx) = (np.gradient(c) for c in found)
        if ((1 + xx) * (1 + yy) - xy * yx).min() > 0.3:
            return found
        found = np.stack([cv2.GaussianBlur(c, (0, 0), 0.4 * length) for c in found])


def pair_of(picture: NDArray[np.float64], case: str, seed: int) -> Pair:
    """Return a picture and the same, bent, as a case wants them.

    ``noisy`` has noise of 25 grey levels in both; in ``unequal`` one is blurred, of another tone and noisier; in
    ``artefacts`` one has texture everywhere, and patches of something else, that the other has not.
    """
    rng = np.random.default_rng(seed)
    truth = displacement(seed, 20.0 if case == "large" else 10.0)
    y, x = np.mgrid[:SIDE, :SIDE] + MARGIN
    fixed = ndimage.map_coordinates(picture, [y + truth[1], x + truth[0]], order=3, mode="mirror")
    moving = picture[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE].copy()
    noise = [25.0, 25.0] if case == "noisy" else [3.0, 20.0] if case == "unequal" else [6.0, 6.0]
    if case == "unequal":
        moving = cv2.GaussianBlur(255 * (np.clip(moving, 0, 255) / 255) ** 1.6, (0, 0), 1.2)
    elif case == "artefacts":
        shape = (SIDE, SIDE)
        where = cv2.GaussianBlur((smooth_field(shape, rng, 25) > 0.8).astype(np.float64), (0, 0), 3)
        moving = moving * (1 - where) + where * (128 + 40 * smooth_field(shape, rng, 2.5))
        moving = moving + 12 * smooth_field(shape, rng, 3)
    noisy = [np.clip(p + rng.normal(0, sd, p.shape), 0, 255) for p, sd in zip((fixed, moving), noise, strict=True)]
    return Pair(noisy[0].astype(np.float32), noisy[1].astype(np.float32), truth)


def nothing(fixed: Plane, moving: Plane) -> Field:
    """Return the field that moves nothing."""
    return Field(np.zeros((2, 2, 2), np.float32), SIDE)


def dis(fixed: Plane, moving: Plane) -> Field:
    """Return OpenCV's DIS flow, preset medium, down to full resolution."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    return Field(np.moveaxis(search.calc(fixed.astype(np.uint8), moving.astype(np.uint8), None), -1, 0), 1.0)


def method(text: str, fiji: str) -> Register:
    """Return a method by its name, then its settings after commas."""
    name, *settings = text.split(",")
    if name == "nothing":
        return nothing
    if name == "dis":
        return dis
    if name == "spline":
        aligner = ElasticAligner(given(ElasticSettings, settings))
    elif name == "bunwarpj":
        aligner = ALIGNERS[name](fiji=fiji, settings=given(BunwarpjSettings, settings))
    else:
        aligner = ALIGNERS[name]()
    known = np.ones((SIDE, SIDE), bool)
    return lambda fixed, moving: aligner(fixed, moving, known, known)


def given(kind: type[T], settings: Sequence[str]) -> T:
    """Return settings from texts NAME=VALUE."""
    named = dict(text.split("=", 1) for text in settings)
    types = {k: type(v) for k, v in vars(kind()).items()}
    return from_dict(kind, {k: types.get(k, str)(v) for k, v in named.items()})


def measured(found: Field, back: Field, pair: Pair) -> dict[str, float]:
    """Return how far a field is from the truth, and from being undone by the field found of the swapped pair."""
    box = Box(EDGE, EDGE, SIDE - EDGE, SIDE - EDGE)
    offsets = dense(found, box).astype(np.float64)
    apart = np.hypot(*(offsets - pair.truth[:, EDGE:-EDGE, EDGE:-EDGE]))
    y, x = np.mgrid[EDGE : SIDE - EDGE : 4, EDGE : SIDE - EDGE : 4]
    at = np.stack([x, y], -1).reshape(-1, 2).astype(np.float64)
    reached = found(at)
    inside = ((reached >= 0) & (reached <= SIDE - 1)).all(1)
    missed = np.linalg.norm(back(reached[inside]) - at[inside], axis=1)
    return {
        "median_residual_px": float(np.median(apart)), "mean_px": float(apart.mean()),
        "p95_px": float(np.quantile(apart, 0.95)), "consistency_px": float(np.median(missed)),
        "folded_frac": folded_frac(found),
    }  # fmt: skip


def row_of(scene: str, text: str, register: Register, pairs: Sequence[Pair], *, warm: bool) -> Row:
    """Return what a method makes of some pairs: medians of the pairs' figures, and their worst median."""
    if warm:
        register(pairs[0].fixed, pairs[0].moving)
    each = []
    for pair in pairs:
        began = process_time()
        found = register(pair.fixed, pair.moving)
        took = process_time() - began
        each.append(measured(found, register(pair.moving, pair.fixed), pair) | {"cpu_s": took})
    values = {name: float(np.median([e[name] for e in each])) for name in each[0]}
    values["worst_median_px"] = max(e["median_residual_px"] for e in each)
    values["folded_frac"] = max(e["folded_frac"] for e in each)
    return Row(scene, text, values)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=["tissue", "material", "real"], default=["tissue", "material"])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", default=["nothing", "spline", "spline,mode=mono", "dis", "bspline"])
    parser.add_argument("--pairs", type=int, default=6, help="of each set")
    parser.add_argument("--fiji", default="", help="folder of a Fiji, for bunwarpj")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    ledger = read_ledger(args.check) if args.check else None
    folder = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    methods = {text: method(text, args.fiji) for text in args.methods}
    warm, rows = set(methods), list[Row]()
    print(f"{'scene':<20} {'method':<28}", *(f"{name:>19}" for name, _ in FIGURES))
    for kind in args.sets:
        made = list(pictures(kind, args.pairs, folder))
        for case in args.cases:
            pairs = [pair_of(picture, case, SEED + 100 + k) for k, picture in enumerate(made)]
            for text, register in methods.items():
                row = row_of(f"{kind}/{case}", text, register, pairs, warm=text in warm)
                warm.discard(text)
                told = (f"{row.values[name]:>19.{digits}f}" for name, digits in FIGURES)
                print(f"{row.scene:<20} {text:<28}", *told, flush=True)
                rows.append(row)
        if args.write:
            write_ledger(args.write, "elastic", rows)
    fell = check("elastic", rows, ledger) if ledger is not None else []
    for line in fell:
        print(f"fell: {line}", file=sys.stderr)
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
