"""Solvers side by side in one run: error against the truth and time, on grids with wrong pairs.

A grid of n x n tiles of 1024 px at 10 % overlap; every tile is turned by up to +-2 degrees and shifted by up to
+-3 % of its side from where the stage says; neighbours share 40 matches with a normal error of 0.5 px an axis; of the
pairs, 2 % are grossly wrong (+-200 px, +-5 degrees). Error: tile corners after one rigid alignment to the truth.

    python benchmarks/solvers.py --tiles 100 1024 10000 --seeds 0 --methods sparse slam factor_graph
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from demis_ij.errors import MissingPart
from demis_ij.geometry import fit_rigid
from demis_ij.protocols import SOLVERS
from demis_ij.records import Affine, Layout, PairMatch, Tile

SIDE = 1024


def make_grid(
    side: int,
    rng: np.random.Generator,
    *,
    wrong: float = 0.02,
    matches: int = 40,
    noise_px: float = 0.5,
    overlap: float = 0.1,
    turn_deg: float = 2.0,
    shift_frac: float = 0.03,
) -> tuple[Layout, dict[str, Affine], list[PairMatch], set[tuple[str, str]]]:
    """Return a grid: its stage layout, where the tiles really are, the pairs, and which pairs are wrong."""
    pitch, middle = SIDE * (1 - overlap), (SIDE - 1) / 2
    truth, tiles = {}, []
    for row in range(side):
        for col in range(side):
            name = f"{row}_{col}"
            stage = Affine.translation(col * pitch, row * pitch)
            angle = np.deg2rad(rng.uniform(-turn_deg, turn_deg))
            x, y = rng.uniform(-shift_frac, shift_frac, 2) * SIDE
            truth[name] = stage @ Affine.about(Affine.rigid(angle, x, y), (middle, middle))
            tiles.append(Tile(name, Path(name), (SIDE, SIDE), stage))
    pairs, bad = [], set()
    for row in range(side):
        for col in range(side):
            for down, right in ((0, 1), (1, 0)):
                if row + down >= side or col + right >= side:
                    continue
                a, b = f"{row}_{col}", f"{row + down}_{col + right}"
                strip = rng.uniform(0, 1, (matches, 2)) * SIDE * ((overlap, 1) if right else (1, overlap))
                fixed = strip + SIDE * (1 - overlap) * np.array([right, down])
                moving = truth[b].inverse(truth[a](fixed)) + rng.normal(0, noise_px * np.sqrt(2), (matches, 2))
                if rng.uniform() < wrong:
                    bad.add((a, b))
                    x, y = rng.uniform(-200, 200, 2)
                    error = Affine.rigid(np.deg2rad(rng.uniform(-5, 5)), x, y)
                    moving = Affine.about(error, moving.mean(0))(moving)
                to_fixed = fit_rigid(moving, fixed)
                rms = float(np.sqrt(((Affine.from_matrix(to_fixed)(moving) - fixed) ** 2).sum(1).mean()))
                spread = float(((fixed - fixed.mean(0)) ** 2).sum())
                covariance = np.diag([rms**2 / 2 / matches, rms**2 / 2 / matches, rms**2 / 2 / spread])
                pairs.append(PairMatch(a, b, fixed, moving, to_fixed, "rigid", covariance, rms, "made", matches))
    return Layout(tuple(tiles)), truth, pairs, bad


def corner_errors(solved: Layout, truth: dict[str, Affine]) -> np.ndarray:
    """Return every corner's distance from the truth, px, after one rigid alignment of the whole."""
    found = np.concatenate([t.to_world(t.corners) for t in solved])
    wanted = np.concatenate([truth[t.id](t.corners) for t in solved])
    for _ in range(3):  # tiles that are far off must not turn the rest
        error = np.linalg.norm(found - wanted, axis=1)
        near = error <= max(1e-9, 3 * np.median(error))
        found = Affine.from_matrix(fit_rigid(found[near], wanted[near]))(found)
    return np.linalg.norm(found - wanted, axis=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, nargs="+", default=[100, 1024, 10000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--wrong", type=float, default=0.02, help="share of wrong pairs")
    parser.add_argument("--methods", nargs="+", default=["sparse", "slam", "factor_graph"])
    options = parser.parse_args()
    print(f"{'tiles':>7} {'seed':>4} {'method':>13} {'seconds':>8} {'ratio':>6} {'median px':>9} {'max px':>9} missed")
    for tiles in options.tiles:
        for seed in options.seeds:
            side = round(tiles**0.5)
            layout, truth, pairs, bad = make_grid(side, np.random.default_rng(seed), wrong=options.wrong)
            first = None
            for method in options.methods:
                try:
                    solver = SOLVERS[method](model="rigid")
                except MissingPart as missing:
                    print(f"{side**2:7d} {seed:4d} {method:>13} {missing}")
                    continue
                start = time.process_time()
                solution = solver(layout, pairs)
                seconds = time.process_time() - start
                first = first or seconds
                error = corner_errors(solution.layout, truth)
                kept = sum(solution.pair_weight.get(k, 1) > 0.05 for k in bad)
                print(
                    f"{side**2:7d} {seed:4d} {method:>13} {seconds:8.2f} {seconds / first:6.2f} "
                    f"{np.median(error):9.3f} {error.max():9.3f} {kept} of {len(bad)} wrong pairs believed",
                    flush=True,
                )


if __name__ == "__main__":
    main()
