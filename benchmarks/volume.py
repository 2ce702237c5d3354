"""Stacks of tiled sections: memory as they grow, sections side by side, pairs across z, faulty tiles.

``memory`` (25 and 100 sections), ``side`` (16 sections of 25 tiles by one worker and by two), ``across`` (4 sections,
SIFT and LoFTR), ``faults`` (400 tiles): each at most four minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from demis_ij import jobs
from demis_ij.config import RenderConfig, StitchConfig
from demis_ij.runs import read_solution
from demis_ij.synth.series import series
from demis_ij.testing.faults import spoil_tiles
from demis_ij.testing.made_stacks import MadeStack, noise_picture, picture_shape, volume_errors, write_stack

SIFT = StitchConfig(matcher="sift", resolution=1.0)
EXPECTED = {
    "missing": {"missing"},
    "truncated": {"unreadable"},
    "black": {"blank"},
    "duplicate": {"duplicate"},
    "swapped": {"exchanged"},
}
"""What each fault is to be called."""


def pictures(count: int, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield a picture of noise a section."""
    return (noise_picture(shape, np.random.default_rng(i)) for i in range(count))


def make(folder: Path, count: int, rows: int, cols: int, tile_px: int = 160) -> MadeStack:
    """Return a stack of noise on disk."""
    shape = picture_shape(rows, cols, tile_px, 0.3)
    rng = np.random.default_rng(0)
    return write_stack(folder, pictures(count, shape), rng, rows=rows, cols=cols, tile_px=tile_px, overlap=0.3)


def stitched(
    made: MadeStack, out: Path, config: StitchConfig, workers: int = 1, mosaic: bool = False
) -> jobs.JobResult:
    """Stitch a stack whose sections have a layout file each."""
    document = jobs.read_layout(made.each, each="*.txt")
    job = jobs.StitchJob(
        config=config,
        render=RenderConfig(formats=("ome-tiff",)),
        stage_axes="+x+y",
        write_mosaic=mosaic,
        workers=workers,
        read_options={"each": "*.txt"},
    )
    return jobs.run_stitch(document, out, job)


def memory(args: argparse.Namespace, folder: Path) -> None:
    """Stitch stacks of growing length, each in a process of its own, and print what it took."""
    print("| sections | tiles | seconds | seconds a section | peak memory MB |\n|---|---|---|---|---|")
    for count in args.sections:
        made = folder / str(count)
        make(made, count, args.rows, args.cols)
        began = time.perf_counter()
        words = [sys.executable, __file__, "one", "--stack", str(made), "--out", str(folder / f"run{count}")]
        peak = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        took = time.perf_counter() - began
        print(f"| {count} | {args.rows * args.cols * count} | {took:.1f} | {took / count:.2f} | {peak} |", flush=True)


def one(args: argparse.Namespace, _: Path) -> None:
    """Stitch one stack and print the peak memory of this process in MB."""
    stack = Path(args.stack)
    stitched(MadeStack(stack / "stack.txt", stack / "layouts", {}, {}), Path(args.out), SIFT, mosaic=True)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def side(args: argparse.Namespace, folder: Path) -> None:
    """Stitch the same stack by different numbers of workers; the solutions must be the same bytes."""
    made = make(folder / "stack", args.sections[0], args.rows, args.cols, 320)
    print(f"{args.sections[0]} sections of {args.rows} x {args.cols} tiles")
    print("| workers | seconds | times one | solution |\n|---|---|---|---|")
    first: tuple[float, bytes] | None = None
    for workers in args.workers:
        out = folder / f"run{workers}"
        began = time.perf_counter()
        stitched(made, out, SIFT, workers, mosaic=True)
        took, solution = time.perf_counter() - began, (out / "solution.json").read_bytes()
        first = first or (took, solution)
        same = "the same bytes" if solution == first[1] else "DIFFERS"
        print(f"| {workers} | {took:.1f} | {first[0] / took:.2f} | {same} |", flush=True)


def across(args: argparse.Namespace, folder: Path) -> None:
    """Print how far tiles of turned and shifted serial sections are off, sections kept apart and solved together."""
    count, shape = args.sections[0], picture_shape(args.rows, args.cols, 256, 0.2)
    stack = series(shape, count, 3, style="tem")
    made = write_stack(
        folder / "stack", (stack[i].image for i in range(count)), np.random.default_rng(0),
        rows=args.rows, cols=args.cols, tile_px=256, stage_error_px=4, turn_deg=4, shift_px=30,
    )  # fmt: skip
    print("| matcher | across z | in the volume, median px | worst px | within a section, median px | seconds |")
    print("|---|---|---|---|---|---|")
    for matcher in args.matchers:
        for reach in (0, 1):
            config = StitchConfig(matcher=matcher, across_z=reach)
            out = folder / f"{matcher}{reach}"
            began = time.perf_counter()
            stitched(made, out, config)
            took = time.perf_counter() - began
            layouts = read_solution(out)[0]
            off = np.concatenate(list(volume_errors(layouts, made).values()))
            own = np.concatenate([volume_errors([s], made)[s.section] for s in layouts])
            row = f"{np.median(off):.2f} | {off.max():.2f} | {np.median(own):.3f} | {took:.0f}"
            print(f"| {matcher} | {reach} | {row} |", flush=True)


def faults(args: argparse.Namespace, folder: Path) -> None:
    """One section stitched as it is, and again with faulty tiles: who is named, and which good seam is harmed."""
    made = make(folder / "stack", 1, args.rows, args.cols)
    clean = _section(made, folder / "clean")
    hit = spoil_tiles(sorted(made.tiles.values()), np.random.default_rng(args.seed), args.each)
    spoilt = _section(made, folder / "spoilt")
    names = {f"../{p.parent.name}/{p.name}": kind for p, kind in hit.items()}
    told = {s.tile: s.kind for s in spoilt.results[0].suspects}
    print(f"{len(made.tiles)} tiles, {len(names)} of them faulty")
    print("| fault | tiles | named | named rightly |\n|---|---|---|---|")
    for kind, expected in EXPECTED.items():
        mine = [name for name, what in names.items() if what == kind]
        right = sum(told.get(name) in expected for name in mine)
        print(f"| {kind} | {len(mine)} | {sum(name in told for name in mine)} | {right} |")
    print(f"good tiles suspected: {len(set(told) - set(names))}")
    before, after = (_seam_errors(r, made) for r in (clean, spoilt))
    good = {key: value for key, value in before.items() if not set(key) & set(names)}
    lost = [key for key in good if key not in after]
    harm = np.array([after[key] - value for key, value in good.items() if key in after])
    wrong = [key for key in after if set(key) & set(names)]
    grew = f"error grew by at most {harm.max():.4f} px, median {np.median(harm):.5f}"
    print(f"good seams: {len(good)}; lost {len(lost)}; {grew}")
    print(f"seams of faulty tiles that are believed: {len(wrong)}")
    print(json.dumps(jobs.summary(spoilt)["placed_by"]))


def _section(made: MadeStack, out: Path) -> jobs.JobResult:
    document = jobs.read_layout(made.each / "0000.txt")
    return jobs.run_stitch(document, out, jobs.StitchJob(config=SIFT, stage_axes="+x+y", write_mosaic=False))


def _seam_errors(result: jobs.JobResult, made: MadeStack) -> dict[tuple[str, str], float]:
    """Return for each believed seam how far its tiles are off against each other, from the truth, px."""
    solved = result.results[0].solution
    out = {}
    for fixed, moving in solved.pair_residual_px:
        if solved.believes(fixed, moving):
            one, two = solved.layout[fixed], solved.layout[moving]
            truth = [made.truth[one.section, f"{t.path.parent.name}/{t.path.name}"] for t in (one, two)]
            found = one.to_world.inverse @ two.to_world
            should = truth[0].inverse @ truth[1]
            out[fixed, moving] = float(np.abs(found(two.corners) - should(two.corners)).max())
    return out


@dataclass(frozen=True)
class Part:
    """What can be measured, and how large it is if nothing is said."""

    run: Callable[[argparse.Namespace, Path], None]
    sections: tuple[int, ...] = (1,)
    rows: int = 2
    cols: int = 2


PARTS = {
    "memory": Part(memory, (25, 100)),
    "one": Part(one),
    "side": Part(side, (16,), 5, 5),
    "across": Part(across, (4,), 3, 3),
    "faults": Part(faults, (1,), 20, 20),
}


def main() -> None:
    """Run what was asked for in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--sections", type=int, nargs="+")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--matchers", nargs="+", default=["sift", "loftr"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--cols", type=int)
    parser.add_argument("--each", type=int, default=1, help="faulty tiles of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stack")
    parser.add_argument("--out")
    args = parser.parse_args()
    part = PARTS[args.part]
    args.sections = args.sections or list(part.sections)
    args.rows, args.cols = args.rows or part.rows, args.cols or part.cols
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        part.run(args, Path(folder))


if __name__ == "__main__":
    main()
