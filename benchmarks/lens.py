"""The lens that tiles share: found where it is, never made up, and what it does for real and made-up mosaics.

    python benchmarks/lens.py points            # made-up points behind a known lens, or none: error of the lens found
    python benchmarks/lens.py pixels --out DIR  # a made-up section cut through a lens: seams before and after, drawn
    python benchmarks/lens.py real              # grids from microscopes (DEMIS_IJ_DATA): residuals, loops
    python benchmarks/lens.py drawing           # what drawing through a lens costs

"left out" is how far off a pair is, typically (geometric mean of root mean squares), where it took no part in finding
tiles and lens. "loop" is how far a point comes back from where it started when it is carried round four pairs, each
fitted by itself with the model, behind the lens (median / largest).
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demis_ij import geometry
from demis_ij.config import StitchConfig
from demis_ij.geometry import Box
from demis_ij.images import TileStore
from demis_ij.records import Affine, Layout, Lens, PairMatch, Tile
from demis_ij.records.lens import split_polynomial
from demis_ij.render import Canvas, blocks
from demis_ij.render.edges import MaskDistances
from demis_ij.render.placed import Placed
from demis_ij.render.sampling import sample
from demis_ij.solvers.lens import fit_lenses, straightened
from demis_ij.stitch import Memory, StitchResult, stitch, with_axes
from demis_ij.synth import section
from demis_ij.testing.drawn_tiles import MemoryStore
from demis_ij.testing.grids import corner_errors, make_grid, make_pair

KINDS = ("barrel", "keystone", "bend", "none")
REAL = ("temca", "stitch2d", "lscm", "dendrite", "tomography 0", "tomography 1", "tomography 2")
MOST_PX = 0.1
"""What a lens may be off by, root mean square over the tile: 6 x 6 tiles or more, points as exact as ours, 0.1 px."""


def known_lens(kind: str, shape: tuple[int, int]) -> Lens | None:
    """Return a lens as instruments have them: barrel of 0.5 %, keystone or bend of 0.4 % of half a side."""
    rows, cols = shape
    centre, half = np.array([(cols - 1) / 2, (rows - 1) / 2]), max(shape) / 2
    at = np.stack(np.meshgrid(np.linspace(0, cols - 1, 25), np.linspace(0, rows - 1, 25)), -1).reshape(-1, 2)
    u, v = ((at - centre) / half).T
    moved = {
        "barrel": 0.005 * np.stack([u, v], 1) * (u**2 + v**2)[:, None],
        "keystone": 0.004 * np.stack([u * v, 0 * u], 1),
        "bend": 0.004 * np.stack([0 * u, u**2], 1),
        "none": np.zeros((len(at), 2)),
    }[kind]
    return split_polynomial(at, at + half * moved, shape)[1]


# --- points -----------------------------------------------------------------------------------------------------------


def grid_behind(lens: Lens | None, side: int, rows: int, cols: int, noise_px: float, wrong: float, seed: int) -> Any:
    """Return a made-up grid whose points are seen through a lens."""
    rng = np.random.default_rng(seed)
    grid = make_grid(rows, cols, rng, side=side, noise_px=0, wrong=wrong, turn_deg=0.5, shift_frac=0.01)
    pairs = []
    for pair in grid.pairs:
        inside = ((pair.fixed_xy > 0) & (pair.fixed_xy < side - 1)).all(1)
        if (pair.fixed, pair.moving) not in grid.wrong:
            inside &= ((pair.moving_xy > 0) & (pair.moving_xy < side - 1)).all(1)
        seen = [p if lens is None else lens.inverse(p) for p in (pair.fixed_xy[inside], pair.moving_xy[inside])]
        seen = [p + rng.normal(0, noise_px, p.shape) for p in seen]
        pairs.append(make_pair(pair.fixed, pair.moving, seen[0], seen[1]))
    return replace(grid, pairs=pairs)


def points(args: argparse.Namespace) -> int:
    """Print what is found of known lenses; return how many rows are not as they should be."""
    from demis_ij.solvers.sparse import SparseSolver

    print(
        f"{'lens':9} {'tiles':>7} {'noise':>6} {'found':>6} {'error':>6} {'of':>5}  left out  corners without/with    s"
    )
    failed = 0
    for kind in KINDS:
        for rows, cols in ((3, 3), (6, 6), (12, 12)):
            for noise in (0.1, 0.3):
                lens = known_lens(kind, (args.side, args.side))
                grid = grid_behind(lens, args.side, rows, cols, noise, args.wrong, 1)
                before = SparseSolver()(grid.layout, grid.pairs)
                began = time.perf_counter()
                believed = [p for p in grid.pairs if before.believes(p.fixed, p.moving)]
                fit = fit_lenses(before.layout, believed, before.pair_weight)
                took = time.perf_counter() - began
                found = next(iter(fit.lenses.values()), None)
                error = _lens_error(found, lens, (args.side, args.side))
                after = before
                if found is not None:
                    bent = replace(grid.layout, tiles=tuple(replace(t, lens=found) for t in grid.layout))
                    after = SparseSolver()(bent, straightened(bent, grid.pairs))
                off = [float(np.median(corner_errors(s.layout, grid.truth))) for s in (before, after)]
                exact = kind != "none" and rows >= 6 and noise == 0.1
                bad = (kind == "none" and fit.used) or (exact and error > MOST_PX)
                failed += bad
                moves = lens.rms_px if lens else 0.0
                print(
                    f"{kind:9} {rows:3}x{cols:<3} {noise:6.2f} {fit.used!s:>6} {error:6.3f} {moves:5.2f}"
                    f"  {fit.before_px:.2f}>{fit.after_px:.2f}  {off[0]:8.2f} {off[1]:8.2f} {took:12.1f}"
                    f"{'   <-- missed' if bad else ''}",
                    flush=True,
                )
    return failed


def _lens_error(found: Lens | None, known: Lens | None, shape: tuple[int, int]) -> float:
    flat = Lens.of_shape(shape, 2, (0, 0, 0), (0, 0, 0))
    at = flat.lattice()
    off = (found or flat).displacement(at) - (known or flat).displacement(at)
    return float(np.sqrt((off**2).sum(1).mean()))


# --- pixels -----------------------------------------------------------------------------------------------------------


def cut_through(
    lens: Lens, rows: int, cols: int, shape: tuple[int, int], seed: int
) -> tuple[Layout, dict[str, Affine], Any]:
    """Return a stage layout, the truth and the images of a made-up section seen through a lens."""
    rng = np.random.default_rng(seed)
    step = [round(0.85 * n) for n in shape]
    world = section((step[0] * rows + shape[0], step[1] * cols + shape[1]), seed).astype(np.float32)
    y, x = np.indices(shape)
    corrected = lens(np.stack([x.ravel(), y.ravel()], 1).astype(float))
    tiles, truth, images = [], {}, {}
    for r in range(rows):
        for c in range(cols):
            name = f"{r}_{c}"
            stage = Affine.translation(c * step[1] + 0.06 * shape[1], r * step[0] + 0.06 * shape[0])
            turn = Affine.rigid(np.deg2rad(rng.uniform(-0.4, 0.4)), *rng.uniform(-12, 12, 2))
            truth[name] = stage @ Affine.about(turn, ((shape[1] - 1) / 2, (shape[0] - 1) / 2))
            at = truth[name](corrected).reshape(*shape, 2).astype(np.float32)
            image = cv2.remap(world, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            images[name] = np.clip(np.rint(image + rng.normal(0, 4, shape)), 0, 255).astype(np.uint8)
            tiles.append(Tile(name, Path(f"{name}.png"), shape, stage))
    return Layout(tuple(tiles)), truth, images


def pixels(args: argparse.Namespace) -> int:
    """Stitch a made-up section that is seen through a lens, without and with it; draw the worst seam of both."""
    shape = (args.tile, args.tile)
    half = known_lens("barrel", shape) or Lens.of_shape(shape, 2, (1, 0, 0), (0, 0, 0))
    lens = replace(half, x=tuple(2 * v for v in half.x), y=tuple(2 * v for v in half.y))  # 1 %
    layout, truth, images = cut_through(lens, 3, 3, shape, 3)
    args.out.mkdir(parents=True, exist_ok=True)
    for t in layout:
        cv2.imwrite(str(args.out / t.path), images[t.id])
    layout = replace(layout, tiles=tuple(replace(t, path=args.out / t.path) for t in layout))
    memory = Memory()
    print(f"known: {lens}")
    for how in ("none", "shared"):
        result = stitch(layout, StitchConfig(matcher="sift", lens=how), memory=memory)
        off = corner_errors(result.solution.layout, truth)
        seam = [v for k, v in result.solution.pair_residual_px.items() if result.solution.believes(*k)]
        print(
            f"lens {how:7} seams {np.median(seam):.2f} px median, {max(seam):.2f} worst; corners off by"
            f" {np.median(off):.2f} median, {off.max():.2f} worst; {len(seam)} of 12 pairs"
        )
        if result.lens is not None and result.lens.used:
            found = next(iter(result.lens.lenses.values()))
            print(f"found: {found}; off by {_lens_error(found, lens, shape):.3f} px rms\n{result.lens.reason}")
        _draw(result, args.out / f"seam_{how}.png")
    return 0


def _draw(result: StitchResult, path: Path) -> None:
    """Write where four tiles meet: the first tile wins, so that every step at a seam is seen."""
    store = TileStore(clip=0)
    layout = result.solution.layout
    canvas = Canvas.of(layout)
    values = np.zeros(canvas.shape, np.uint8)
    for box, block, _ in blocks(layout, store, canvas, dtype=np.uint8, blend="none"):
        values[box.slices] = block
    corner = layout["1_1"].in_world([0.0, 0.0]) - canvas.origin
    x, y = (int(v) for v in corner)
    part = values[max(0, y - 90) : y + 150, max(0, x - 90) : x + 150]
    cv2.imwrite(str(path), cv2.resize(part, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST))


# --- real tiles -------------------------------------------------------------------------------------------------------


def real(args: argparse.Namespace) -> int:
    """Print what a shared lens does for real grids."""
    import real as grids

    folder = grids.data_folder()
    print(f"{'set':14} {'model':7} {'lens':7} {'pairs':>5}  left out  own rigid  seam median/worst   loop median/worst")
    for name in args.sets:
        case = grids.SETS[name](folder)
        base = StitchConfig(matcher=args.matcher)
        layout, _ = grids.usable(case.layout, base)
        store = TileStore(clip=base.clahe_clip)
        axes, _ = grids.find_axes(layout, base, store)
        for model in ("rigid", "affine"):
            memory = Memory()
            for how in ("none", "shared"):
                result = stitch(
                    with_axes(layout, axes), replace(base, model=model, lens=how), store=store, memory=memory
                )
                _row(name, model, how, result, grids)
    return 0


def _row(name: str, model: str, how: str, result: StitchResult, grids: Any) -> None:
    solution = result.solution
    found = [p for p in result.pairs if isinstance(p, PairMatch) and solution.believes(p.fixed, p.moving)]
    straight = straightened(solution.layout, found)
    fitted = [replace(p, to_fixed=geometry.FITS[model](p.moving_xy, p.fixed_xy)) for p in straight]
    loop = grids.loops(replace(result, pairs=tuple(fitted)))
    seam = [solution.pair_residual_px[p.fixed, p.moving] for p in found]
    fit = result.lens
    told = "  -          -"
    if fit is not None and fit.pairs:
        told = f"{fit.before_px:4.2f}>{fit.after_px:4.2f}  {fit.own_before_px:4.2f}>{fit.own_after_px:4.2f}"
    said = "" if fit is None else f"  {'used' if fit.used else 'not used'}: {fit.reason}"
    loops = f"{np.median(loop):6.2f} {max(loop):6.2f}" if loop else "     -      -"
    seams = f"{np.median(seam):6.2f} {max(seam):6.2f}" if seam else "     -      -"
    print(f"{name:14} {model:7} {how:7} {len(found):5}  {told:20} {seams}        {loops}{said}", flush=True)


# --- drawing ----------------------------------------------------------------------------------------------------------


def drawing(args: argparse.Namespace) -> int:
    """Print what a cell of 256 x 256 px costs, without a lens and through one."""
    shape = (2048, 2048)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    store = MemoryStore({"a": image})
    for lens in (
        None,
        known_lens("barrel", shape),
        Lens.of_shape(shape, 5, rng.normal(0, 0.5, 18), rng.normal(0, 0.5, 18)),
    ):
        tile = Tile("a", Path("a"), shape, Affine.rigid(0.004, 3.2, 4.7), lens=lens)
        placed, kept = Placed(tile, Box(0, 0, 2000, 2000), tile.to_world.inverse), MaskDistances(store)
        best = min(_timed(placed, store, kept) for _ in range(7))
        print(f"{lens or 'no lens'}: {1e3 * best:.2f} ms a cell")
    return 0


def _timed(placed: Placed, store: MemoryStore, kept: MaskDistances) -> float:
    cells = [Box(x, y, x + 256, y + 256) for y in range(256, 1536, 256) for x in range(256, 1536, 256)]
    began = time.perf_counter()
    for cell in cells:
        sample(placed, cell, store, kept, "linear")
    return (time.perf_counter() - began) / len(cells)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    one = what.add_parser("points")
    one.add_argument("--side", type=int, default=1024)
    one.add_argument("--wrong", type=float, default=0.02)
    one.set_defaults(run=points)
    two = what.add_parser("pixels")
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--tile", type=int, default=640)
    two.set_defaults(run=pixels)
    three = what.add_parser("real")
    three.add_argument("--sets", nargs="+", default=list(REAL))
    three.add_argument("--matcher", default="sift")
    three.set_defaults(run=real)
    four = what.add_parser("drawing")
    four.set_defaults(run=drawing)
    args = parser.parse_args()
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
