"""How fast a mosaic is drawn beside a full-canvas warp per tile, and how much memory it takes as it grows.

    python benchmarks/render.py [--tiles 36] [--side 1024]

Speed: processor time of one process, OpenCV on one thread, tiles already in memory, nothing is written. The peer is
what the published DEMIS code does: ``cv2.warpPerspective`` of every tile onto the full canvas, then one array operation
to put it in (measured on some of the tiles, they cost the same; nearest neighbour as it is there, and linear as here).
Memory: a process of its own for each number of tiles, the same 36 files cycled, read through
`demis_ij.images.TileStore`; the peak is that of the whole process, with the Python modules that it holds before.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from demis_ij.images import TileStore
from demis_ij.records import Affine, Layout, Tile
from demis_ij.render import Canvas, blocks, solve_intensity
from demis_ij.testing.drawn_tiles import MemoryStore

OVERLAP_FRAC = 0.1
PEER_TILES = 6


def grid(count: int, side: int, folder: Path, files: int) -> Layout:
    """Return a nearly square grid of tiles, each a little shifted and turned, on ``files`` image files in turn."""
    rng = np.random.default_rng(7)
    columns = int(np.ceil(np.sqrt(count)))
    step = side * (1 - OVERLAP_FRAC)
    tiles = []
    for i in range(count):
        x, y = (i % columns) * step, (i // columns) * step
        placed = (
            Affine.translation(x, y)
            @ Affine.translation(*rng.uniform(-5, 5, 2))
            @ Affine.rigid(rng.uniform(-0.02, 0.02))
        )
        tiles.append(Tile(str(i), folder / f"{i % files}.tif", (side, side), placed))
    return Layout(tuple(tiles))


def images(count: int, side: int) -> list[np.ndarray]:
    """Return textured 8-bit images."""
    rng = np.random.default_rng(3)
    return [
        cv2.normalize(
            cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 3), None, 1, 254, cv2.NORM_MINMAX
        ).astype(np.uint8)
        for _ in range(count)
    ]


def best_of(runs: int, tasks: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the least processor time of each task, s; all in turn, so that a busy machine treats them alike."""
    best = dict.fromkeys(tasks, np.inf)
    for _ in range(runs):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            best[name] = min(best[name], time.process_time() - start)
    return best


def measure_speed(count: int, side: int, runs: int) -> None:
    """Print MPix/s of both ways on the same tiles, and their ratio."""
    cv2.setNumThreads(1)
    layout = grid(count, side, Path(), count)
    pictures = images(count, side)
    store = MemoryStore({t.id: p for t, p in zip(layout, pictures, strict=True)})
    canvas = Canvas.of(layout)
    size = canvas.shape[0] * canvas.shape[1] / 1e6

    mosaic = np.zeros(canvas.shape, np.uint8)
    tried = min(PEER_TILES, count)

    def peer(flag: int) -> None:
        for i in range(tried):
            matrix = (canvas.from_world @ layout.tiles[i].to_world).matrix
            drawn = cv2.warpPerspective(pictures[i], matrix, canvas.shape[::-1], flags=flag)
            np.copyto(mosaic, drawn, where=drawn > 0)

    def ours(**options: object) -> None:
        for _ in blocks(layout, store, canvas, dtype=np.uint8, **options):
            pass

    ways = {
        "linear, feathered": {},
        "linear, feathered, gain and offset": {"intensity": {t.id: (1.05, -3.0) for t in layout}},
        "linear, ramps of at most 32 px": {"feather_px": 32.0},
        "linear, not blended": {"blend": "none"},
        "nearest, not blended": {"interpolation": "nearest", "blend": "none"},
        "cubic, feathered": {"interpolation": "cubic"},
    }
    flags = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR}
    tasks = {name: partial(peer, flag) for name, flag in flags.items()}
    tasks |= {name: partial(ours, **options) for name, options in ways.items()}
    seconds = best_of(runs, tasks)
    peers = {name: seconds[name] * count / tried for name in flags}
    for name, time_s in peers.items():
        print(f"full-canvas warpPerspective, {name:17s} {size / time_s:8.1f} MPix/s")
    for name in ways:
        ratios = ", ".join(f"{peers[k] / seconds[name]:.1f} x {k}" for k in peers)
        print(f"blocks: {name:38s} {size / seconds[name]:8.1f} MPix/s   {ratios}")


def peak_mib() -> float:
    """Return the peak memory of this process, MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux ru_maxrss also counts the parent, as it was when it started this process
        line = next(t for t in status.read_text().splitlines() if t.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measure_memory(folder: Path, count: int, side: int) -> None:
    """Print, as JSON, the peak memory in MiB of drawing ``count`` tiles (run as a process of its own)."""
    cv2.setNumThreads(1)
    layout = grid(count, side, folder, 36)
    store = TileStore(16 * side * side)
    before = peak_mib()
    start = time.perf_counter()
    canvas = Canvas.of(layout)
    intensity = solve_intensity(layout, store)
    for _ in blocks(layout, store, canvas, dtype=np.uint8, intensity=intensity):
        pass
    size = canvas.shape[0] * canvas.shape[1] / 1e6
    rate = size / (time.perf_counter() - start)
    print(json.dumps({"tiles": count, "mpix": size, "peak": peak_mib(), "before": before, "rate": rate}))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=36)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of is not None:
        measure_memory(given.folder, given.memory_of, given.side)
        return
    print(f"OpenCV {cv2.__version__}, {given.tiles} tiles of {given.side} px, overlap {OVERLAP_FRAC:.0%}, one thread")
    measure_speed(given.tiles, given.side, given.runs)
    with tempfile.TemporaryDirectory() as folder:
        for i, picture in enumerate(images(36, given.side)):
            cv2.imwrite(str(Path(folder) / f"{i}.tif"), picture)
        peaks = []
        for count in (36, 360):
            command = [
                sys.executable,
                __file__,
                "--memory-of",
                str(count),
                "--folder",
                folder,
                "--side",
                str(given.side),
            ]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            peaks.append(found["peak"])
            print(
                f"{count:4d} tiles, {found['mpix']:6.1f} MPix, read from files, intensities solved: peak "
                f"{found['peak']:.0f} MiB ({found['before']:.0f} before), {found['rate']:.1f} MPix/s with reading"
            )
        print(f"peak of 360 tiles over 36: {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
