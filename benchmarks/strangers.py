"""How often a pair that does not overlap is believed.

    python benchmarks/strangers.py --matcher loftr loftr,fast=true sift correlation --trials 300

Two strips are cut from different places of real images (``DEMIS_IJ_DATA`` names their folder) and shown as the overlap
of two neighbours. Matchers are written as `demis-ij evaluate pairs` takes them.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.evaluate import read_configurations
from demis_ij.images import TileStore, data_mask, read
from demis_ij.pairs import match_pairs
from demis_ij.records import Affine, Layout, PairMatch, Tile

SOURCES = (
    "em_render_temca_2x2/full_res_tile/test.png",
    "em_axondeepseg_sem/sub-rat5/micr/*_SEM.png",
    "em_axondeepseg_sem/sub-rat7/micr/*_SEM.png",
    "em_axondeepseg_sem/sub-rat8/micr/*_SEM.png",
    "em_axondeepseg_sem/sub-rat1/micr/*_SEM.png",
    "em_lung_sem_12/*_01.png",
    "lom_lscm_3x4/*A001_I.tif",
    "sem_zircon_bse_cl/zirconCL/1/WJE0680001.Jpg",
    "sem_zircon_bse_cl/zirconBSE/1/*-01.jpg",
    "clem_deepclem/EM_raw/s6_ds.png",
)


class MemoryStore(TileStore):
    """A store of images that are already there, normalised as a tile is."""

    def __init__(self, images: dict[str, NDArray[Any]], clip: float) -> None:
        super().__init__(clip=clip)
        self._images = images

    def _read(self, tile: Tile) -> NDArray[Any]:
        return self._images[tile.id].copy()


def data_folder() -> Path:
    """Return the folder of real images."""
    folder = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        raise SystemExit(f"no real images at {folder}: set DEMIS_IJ_DATA")
    return folder


def sources() -> list[NDArray[Any]]:
    """Return real images, data bars cut off."""
    found = []
    for pattern in SOURCES:
        for path in sorted(data_folder().glob(pattern))[:1]:
            image = read(path)
            rows = np.flatnonzero(data_mask(image).any(1))
            found.append(image[rows.min() : rows.max() + 1])
    return found


def strangers(
    image: NDArray[Any], rng: np.random.Generator, noise_sd: float, overlap: float
) -> tuple[Layout, dict[str, NDArray[Any]]]:
    """Return two neighbours whose common strip shows different places of one image."""
    size = min(1024, int(0.62 * min(image.shape)))
    rows, cols = image.shape
    strip = int((overlap + 0.06) * size)
    if rng.random() < 0.5:
        image = image.T
        rows, cols = cols, rows
    while True:
        x, y = rng.integers(0, cols - size + 1, 2), rng.integers(0, rows - size + 1, 2)
        # the right strip of the first and the left strip of the second must not meet
        first, second = x[0] + size - strip, x[1]
        if abs(first - second) > strip + 40 or abs(y[0] - y[1]) > size + 40:
            break
    images = {}
    for i, name in enumerate(("one", "two")):
        cut = image[y[i] : y[i] + size, x[i] : x[i] + size].astype(np.float32)
        images[name] = np.clip(np.rint(cut + rng.normal(0, noise_sd, cut.shape)), 0, 255).astype(np.uint8)
    step = round(size * (1 - overlap))
    tiles = [Tile(n, Path(n), (size, size), Affine.translation(i * step, 0)) for i, n in enumerate(images)]
    return Layout(tuple(tiles)), images


def chance(written: str, trials: int, seed: int) -> None:
    """Print how many pairs of strangers a configuration is believed on."""
    (configuration,) = read_configurations([written])
    images, config = sources(), configuration.stitch
    (matcher,), rng = configuration.matchers(), np.random.default_rng(seed)
    believed, reasons = Counter[int](), Counter[str]()
    for trial in range(trials):
        layout, cut = strangers(images[trial % len(images)], rng, 5.0, float(rng.choice([0.06, 0.1, 0.15, 0.25])))
        (got,) = match_pairs(MemoryStore(cut, config.clahe_clip), layout, [layout.ids], matcher, config)  # type: ignore[list-item]
        if isinstance(got, PairMatch):
            believed[trial % len(images)] += 1
            print(f"  {written}: believed image {trial % len(images)}, trial {trial}: {got.inliers} of {got.matches}")
        else:
            reasons["".join(c for c in got.reason if not c.isdigit())[:60]] += 1
    print(f"{written}: {sum(believed.values())} of {trials} strangers believed; {reasons.most_common(4)}", flush=True)


def main() -> None:
    """Run what the command line asks for, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matcher", nargs="+", default=["loftr", "loftr,fast=true", "sift", "correlation"])
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for written in args.matcher:
        chance(written, args.trials, args.seed)


if __name__ == "__main__":
    main()
