"""How much memory it takes to align sections that are large: the most that a process held, beside the sections.

    python benchmarks/align_memory.py --side 12000 --out align-memory
    python benchmarks/align_memory.py --side 12000 --out align-memory --whole-job --kind zarr

Two sections are made, kept in tiles or chunks, the second one shifted and bent, and aligned by a process of its own,
whose largest resident size is read from the system. ``--whole-job`` draws the volume and the report as well.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

TILE = 1024
MOST_PX = 24.0  # by how much the second section is bent


def texture(seed: int) -> NDArray[np.uint8]:
    """Return grey tissue-like texture that goes on without a seam when it is laid side by side."""
    rng = np.random.default_rng(seed)
    freq = np.hypot(*np.meshgrid(np.fft.fftfreq(2048), np.fft.fftfreq(2048)))
    grey = np.fft.ifft2(np.fft.fft2(rng.standard_normal((2048, 2048))) * np.exp(-((freq * 40) ** 2))).real
    return np.asarray(np.clip(128 + 45 * grey / grey.std(), 0, 255), np.uint8)


def tile_of(picture: NDArray[np.uint8], side: int, row: int, col: int, bend_px: float) -> NDArray[np.uint8]:
    """Return a tile of a section whose content is bent by waves as long as the section."""
    y, x = np.mgrid[row : row + TILE, col : col + TILE].astype(np.float32)
    wave = np.float32(2 * np.pi / side)
    at_x, at_y = x + bend_px * np.sin(wave * y), y + bend_px * np.cos(wave * x)
    shade = (0.8 + 0.2 * np.sin(3 * wave * x)).astype(np.float32)
    found = cv2.remap(picture, at_x % 2047, at_y % 2047, cv2.INTER_LINEAR)
    return np.asarray(np.clip(found * shade, 0, 255), np.uint8)


def make(folder: Path, side: int, kind: str) -> Path:
    """Write two sections, and return what ``align`` is given."""
    picture = texture(1)
    tiles = range(0, side, TILE)

    def of_section(k: int) -> Iterator[NDArray[np.uint8]]:
        return (tile_of(picture, side, row, col, k * MOST_PX) for row in tiles for col in tiles)

    path = folder / f"sections_{side}_{kind}"
    if path.is_dir():
        return path
    path.mkdir(parents=True)
    if kind == "tiff":
        for k in range(2):
            tifffile.imwrite(
                path / f"s{k}.tif", of_section(k), shape=(side, side), dtype=np.uint8, tile=(TILE, TILE),
                compression="zlib", photometric="minisblack",
            )  # fmt: skip
        return path
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array("0", shape=(2, side, side), chunks=(1, TILE, TILE), dtype=np.uint8)
    for k in range(2):
        for tile, (row, col) in zip(of_section(k), ((r, c) for r in tiles for c in tiles), strict=True):
            rows, cols = min(TILE, side - row), min(TILE, side - col)
            array[k, row : row + rows, col : col + cols] = tile[:rows, :cols]
    axes = [{"name": a, "type": "space"} for a in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    return path


def aligned(stack: Path, out: Path, memory_mib: int, whole_job: bool) -> dict[str, float]:
    """Align a stack in this process, and return what it took."""
    cv2.setNumThreads(1)
    from demis_ij.align import align
    from demis_ij.config.aligning import AlignConfig
    from demis_ij.formats.stacks import read_stack
    from demis_ij.jobs import AlignJob, run_align

    found, config = read_stack(stack), AlignConfig(coarse="none", threads=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    if whole_job:
        result = run_align(found, out, AlignJob(config=config)).result
    else:
        result = align(found, config, memory_bytes=memory_mib << 20, scratch=out.parent)
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    apart = result.warps[1].parts[0].offsets - result.warps[0].parts[0].offsets  # type: ignore[union-attr]
    return {"before_mib": before, "most_mib": most, "seconds": seconds, "bent_by_px": float(np.abs(apart).max())}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=12_000, help="px of the square sections")
    parser.add_argument("--out", type=Path, required=True, help="folder for sections and runs")
    parser.add_argument("--kind", choices=("tiff", "zarr"), default="tiff")
    parser.add_argument("--memory", type=int, default=64, help="MiB that prepared sections may take")
    parser.add_argument("--whole-job", action="store_true", help="with volume and report")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        told = aligned(args.inside, args.out / f"run_{time.time_ns()}", args.memory, args.whole_job)
        print(json.dumps(told))
        return 0
    stack = make(args.out, args.side, args.kind)
    given = ["--memory", str(args.memory), "--side", str(args.side), *(["--whole-job"] if args.whole_job else [])]
    said = subprocess.run(
        [sys.executable, __file__, "--out", str(args.out), "--inside", str(stack), *given],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    told = json.loads(said.stdout.splitlines()[-1])
    section = args.side**2 / 2**20
    print(
        f"two sections of {args.side} x {args.side} px ({section:.0f} MiB each, {args.kind}): "
        f"{told['most_mib']:.0f} MiB at most, {told['before_mib']:.0f} before anything was read; "
        f"{told['seconds']:.0f} s, bent by up to {told['bent_by_px']:.0f} px (truth {MOST_PX:.0f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
