"""Solvers side by side in one run: error against the truth and time, on grids with wrong pairs.

A grid of n x n tiles of 1024 px at 10 % overlap; every tile is turned by up to +-2 degrees and shifted by up to
+-3 % of its side from where the stage says; neighbours share 40 matches with a normal error of 0.5 px an axis in
both tiles; of the
pairs, 2 % are grossly wrong (+-200 px, +-5 degrees). Error: tile corners after one rigid alignment to the truth.

    python benchmarks/solvers.py --tiles 100 1024 10000 --seeds 0 --methods sparse slam factor_graph
"""

from __future__ import annotations

import argparse
import contextlib
import time

import numpy as np

from demis_ij.errors import MissingPart
from demis_ij.protocols import SOLVERS
from demis_ij.testing.grids import corner_errors, make_grid

MATCHES, NOISE_PX = 40, 0.5


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, nargs="+", default=[100, 1024, 10000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--wrong", type=float, default=0.02, help="share of wrong pairs")
    parser.add_argument("--methods", nargs="+", default=["sparse", "slam", "factor_graph"])
    options = parser.parse_args()
    print(f"{'tiles':>7} {'seed':>4} {'method':>13} {'seconds':>8} {'ratio':>6} {'median px':>9} {'max px':>9} missed")
    for method in options.methods:  # imports are not what is timed
        small = make_grid(3, 3, np.random.default_rng(0))
        with contextlib.suppress(MissingPart):
            SOLVERS[method](model="rigid")(small.layout, small.pairs)
    for tiles in options.tiles:
        for seed in options.seeds:
            side = round(tiles**0.5)
            grid = make_grid(
                side, side, np.random.default_rng(seed), wrong=options.wrong, noise_px=NOISE_PX, matches=MATCHES
            )
            first = None
            for method in options.methods:
                try:
                    solver = SOLVERS[method](model="rigid")
                except MissingPart as missing:
                    print(f"{side**2:7d} {seed:4d} {method:>13} {missing}")
                    continue
                start = time.process_time()
                solution = solver(grid.layout, grid.pairs)
                seconds = time.process_time() - start
                first = first or seconds
                error = corner_errors(solution.layout, grid.truth)
                kept = sum(solution.pair_weight.get(k, 1) > 0.05 for k in grid.wrong)
                print(
                    f"{side**2:7d} {seed:4d} {method:>13} {seconds:8.2f} {seconds / first:6.2f} "
                    f"{np.median(error):9.3f} {error.max():9.3f} {kept} of {len(grid.wrong)} wrong pairs believed",
                    flush=True,
                )


if __name__ == "__main__":
    main()
