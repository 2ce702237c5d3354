"""Time of a pair: LoFTR against SIFT, the same pairs in the same run, in turn, on the same threads.

    python benchmarks/pair_time.py --overlap 0.10 --pairs 12 --rounds 3 --threads 1

Tiles of 1024 px from a made-up section (set E's recipe at the given overlap), everything at half resolution, from the
normalised crops to the judged transform. ``exact`` is LoFTR with its fine stage and refinement, ``fast`` leaves the
fine stage to the refinement, ``sift`` is SIFT as it comes, ``sift refined`` with the same refinement. CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij import synth
from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.pairs import match_pairs, neighbours, overlap_crops, view
from demis_ij.records import Layout, PairMatch, Tile
from demis_ij.stitch import make_matcher


class MemoryStore(TileStore):
    """A store of images that are already there."""

    def __init__(self, images: dict[str, NDArray[Any]]) -> None:
        super().__init__()
        self._images = images

    def _read(self, tile: Tile) -> NDArray[Any]:
        return self._images[tile.id].copy()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overlap", type=float, default=0.10)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="LoFTR as on a processor without bfloat16")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    torch.set_num_threads(args.threads)
    spec = replace(synth.SETS["E"], rows=3, cols=4, overlap=args.overlap, resin=())
    scene = synth.make_scene(spec, args.seed)
    store = MemoryStore(dict(scene.images))
    layout = Layout(tuple(replace(t, path=Path(t.id)) for t in scene.layout))
    pairs = neighbours(layout)[: args.pairs]
    for tile in layout:
        store.normalised(tile)
    plain = StitchConfig()
    rows = {
        "exact": ("loftr", plain),
        "fast": ("loftr", replace(plain, fast=True)),
        "sift": ("sift", replace(plain, refine=False)),
        "sift refined": ("sift", plain),
    }
    matchers = {name: make_matcher(kind, config) for name, (kind, config) in rows.items()}
    if args.float32:
        for name in ("exact", "fast"):
            matchers[name]._net.half = None
    whole: dict[str, list[float]] = {n: [] for n in rows}
    alone: dict[str, list[float]] = {n: [] for n in rows}
    for name, (_, config) in rows.items():  # warm
        match_pairs(store, layout, pairs[:2], matchers[name], config)
    margin = plain.stage_error_frac * spec.tile_px
    for _ in range(args.rounds):
        for pair in pairs:
            crops = overlap_crops(layout[pair[0]], layout[pair[1]], margin)
            if crops is None:
                raise SystemExit(f"{pair} do not overlap")
            views = view(store, layout[pair[0]], crops[0]), view(store, layout[pair[1]], crops[1])
            for name, (_, config) in rows.items():
                began = time.process_time()
                matchers[name](*views)
                alone[name].append(time.process_time() - began)
                began = time.process_time()
                (found,) = match_pairs(store, layout, [pair], matchers[name], config)
                whole[name].append(time.process_time() - began)
                if not isinstance(found, PairMatch):
                    print(f"{name} {pair}: {found.reason}")
    rounds = f"{len(pairs)} pairs x {args.rounds} rounds"
    print(f"{rounds}, overlap {args.overlap:.0%}, {args.threads} thread(s), CPU s a pair; ratios pair by pair, median")
    print("| configuration | matcher alone | whole pair | of sift's whole pair |")
    print("|---|---|---|---|")
    for name in rows:
        ratio = np.median(np.divide(whole[name], whole["sift"]))
        print(f"| {name} | {np.median(alone[name]):.3f} | {np.median(whole[name]):.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
