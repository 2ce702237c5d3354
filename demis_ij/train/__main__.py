"""``python -m demis_ij.train``: train LoFTR on folders of images and on generated sections."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import cv2
import torch

from demis_ij.train.loftr import TrainConfig, train_loftr
from demis_ij.train.sources import read_sources


def main() -> None:
    """Parse, train, say where the weights are."""
    parser = argparse.ArgumentParser(prog="python -m demis_ij.train", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of images to cut pairs from")
    parser.add_argument("--out", type=Path, required=True, help="run folder; run again to resume")
    parser.add_argument("--generated", type=int, default=40, help="sections of the built-in generator to add")
    parser.add_argument("--every", type=int, default=8, help="take one image in N of folders with over 50")
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--batch", type=int, default=TrainConfig.batch)
    parser.add_argument("--rate", type=float, default=TrainConfig.learning_rate)
    parser.add_argument("--seed", type=int, default=TrainConfig.seed)
    parser.add_argument("--init", type=Path, help="weights to start from")
    parser.add_argument("--half", action="store_true", help="backbone in bfloat16")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    sources = read_sources(args.folders, every=args.every, generated=args.generated, seed=args.seed)
    config = TrainConfig(steps=args.steps, batch=args.batch, learning_rate=args.rate, seed=args.seed, half=args.half)
    card = {"folders": [f.name for f in args.folders], "generated": args.generated, "every": args.every}
    path = train_loftr(args.out, sources, config, init=args.init, device=args.device, card=card)
    logging.getLogger(__name__).info("weights: %s", path)


if __name__ == "__main__":
    main()
