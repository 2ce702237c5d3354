"""Matching: pairs a second of one and two workers, what dask costs, how often a tile is read, how much memory it takes.

Tiles of 128 px, cut from a periodic texture so that ten thousand of them are quickly made, are matched (SIFT, refined)
by this process alone, by two processes, and by two workers of a dask cluster on this machine, one thread each. Every
measurement is a process of its own, and its clock starts when the workers have matched a few pairs. Ratios are of
measurements of one round; the median of the rounds is told.

    python benchmarks/matching.py                # 112 to 9 940 pairs
    python benchmarks/matching.py --quick        # one round, up to 1 012 pairs
    python benchmarks/matching.py --overhead     # only what dask costs: tiles of 512 px, 1 012 pairs, and empty tasks
    python benchmarks/matching.py --rounds 1 --plot docs/images/match-cost.svg

The overhead of dask is what its two workers take longer than two plain processes, at about 1 000 pairs: by the clock,
and in processor seconds of all processes, which do not mind other programs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import psutil

from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.pairs import neighbours
from demis_ij.pools import open_pool
from demis_ij.records import Affine, Layout, PairMatch, Tile
from demis_ij.runs import MatchStore
from demis_ij.stitch import asking, match_first

SIDE, LARGE_SIDE, PERIOD = 128, 512, 10
EMPTY = 500
ALONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
READS = "demis_ij_benchmark_reads"
ONE, TWO, DASK = "1 worker", "2 workers", "dask, 2 workers"
WAYS = {ONE: (1, ""), TWO: (2, ""), DASK: (2, "local")}
LIMIT = ("--workers", "2", "--memory", "1500M")


def written_tiles(folder: Path, side: int, px: int = SIDE) -> Path:
    """Write a grid of side x side tiles of a periodic texture, and a layout file; return that.

    Tiles of 128 px share a quarter with their neighbours, larger ones a tenth.
    """
    step = px * 3 // 4 if px == SIDE else round(px * 0.9)
    size = step * PERIOD
    rng = np.random.default_rng(3)
    fx, fy = np.meshgrid(np.fft.rfftfreq(size), np.fft.fftfreq(size))
    band = np.exp(-((np.hypot(fx, fy) - 0.08) ** 2) / 0.004)
    texture = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * band, (size, size))
    grey = np.clip(128 + 45 * texture / texture.std(), 0, 255).astype(np.uint8)
    folder.mkdir()
    lines = ["# Define the number of dimensions we are working on", "dim = 2", "", "# Define the image coordinates"]
    jitter = rng.normal(0, 2, (side, side, 2))
    for row in range(side):
        for col in range(side):
            first = folder / f"cut_{row % PERIOD}_{col % PERIOD}.png"
            if not first.exists():
                rows = (np.arange(px) + row * step) % size
                cols = (np.arange(px) + col * step) % size
                cv2.imwrite(str(first), grey[np.ix_(rows, cols)])
            path = folder / f"tile_{row}_{col}.png"
            os.link(first, path)
            x, y = col * step + jitter[row, col, 0], row * step + jitter[row, col, 1]
            lines.append(f"{path.name}; ; ({x:.2f}, {y:.2f})")
    path = folder / "TileConfiguration.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def layout_of(path: Path) -> Layout:
    """Return the layout that `written_tiles` wrote."""
    tiles = []
    height, width = cv2.imread(str(path.parent / "tile_0_0.png"), cv2.IMREAD_GRAYSCALE).shape
    for line in path.read_text().splitlines()[4:]:
        name, _, place = line.split("; ")
        x, y = (float(v) for v in place.strip("()").split(", "))
        tiles.append(Tile(name, path.parent / name, (height, width), Affine.translation(x, y)))
    return Layout(tuple(tiles))


def counted_batch(batch: asking.Batch) -> list[Any]:
    """Match a batch in a worker, and write a byte for each tile that is read."""
    if not hasattr(TileStore, "counted"):
        read, log = TileStore._read, os.open(os.environ[READS], os.O_WRONLY | os.O_APPEND)
        TileStore._read = lambda store, tile: os.write(log, b".") and read(store, tile)  # type: ignore[method-assign]
        TileStore.counted = True  # type: ignore[attr-defined]
    return asking.matched(batch, *_parts(batch))


def _parts(batch: asking.Batch) -> tuple[TileStore, Any]:
    cv2.setNumThreads(1)
    key = (batch.run, batch.keep_bytes)
    store = asking._STORES.get(key, lambda: TileStore(batch.keep_bytes, clip=0.5, keep_images=False))
    matcher = asking._MATCHERS.get((batch.run, batch.matcher), lambda: asking.make_matcher(batch.matcher, batch.config))
    return store, matcher


@contextmanager
def sampled(samples: list[float]) -> Iterator[None]:
    """Take samples of the memory of this process and its children, MB, every 0.1 s."""
    stop = threading.Event()
    me = psutil.Process()

    def take() -> None:
        while not stop.wait(0.1):
            samples.append(tree_mb(me))

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def tree_mb(process: psutil.Process) -> float:
    """Return the memory of a process and all below it that is theirs alone (without what they share), MB."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def processor_s() -> float:
    """Return the processor seconds of this process and all below it."""
    total, me = 0.0, psutil.Process()
    for one in (me, *me.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def nothing(task: int) -> int:
    """Do nothing."""
    return task


def empty_tasks(workers: int, dask: str) -> dict[str, float]:
    """Return what tasks cost that do nothing, ms by the clock and of processor a task."""
    with open_pool(workers, dask or None) as pool:
        list(pool.unordered(nothing, range(4 * workers)))
        began, used = time.perf_counter(), processor_s()
        list(pool.unordered(nothing, range(EMPTY)))
        return {
            "ms": 1000 * (time.perf_counter() - began) / EMPTY,
            "processor_ms": 1000 * (processor_s() - used) / EMPTY,
        }


def measured(layout: Path, workers: int, dask: str, keep_bytes: int) -> dict[str, Any]:
    """Return what matching a layout took, in this process."""
    cv2.setNumThreads(1)
    there = layout_of(layout)
    pairs = neighbours(there)
    config = StitchConfig(matcher="sift")
    samples: list[float] = []
    asking.match_batch = counted_batch
    with tempfile.TemporaryDirectory() as folder, open_pool(workers, dask or None) as pool:
        log = Path(os.environ[READS])
        match_first(there, pairs[: 16 * workers], config, pool=pool)
        log.write_bytes(b"")
        store = TileStore(keep_bytes, clip=0.5, keep_images=False)
        if workers == 1:
            counted_batch.__globals__["asking"].matched = _counting(asking.matched)
        began, used = time.perf_counter(), processor_s()
        with sampled(samples):
            found = match_first(there, pairs, config, store=store, memory=MatchStore(Path(folder) / "0"), pool=pool)
        seconds, used = time.perf_counter() - began, processor_s() - used
    part = max(1, len(samples) // 4)
    return {
        "tiles": len(there),
        "pairs": len(pairs),
        "agree": sum(isinstance(o, PairMatch) for o in found),
        "seconds": seconds,
        "processor_s": used,
        "reads": log.stat().st_size / len(there),
        "peak_mb": max(samples, default=0),
        "second_quarter_mb": float(np.mean(samples[part : 2 * part] or [0])),
        "last_quarter_mb": float(np.mean(samples[-part:] or [0])),
    }


def _counting(matched: Any) -> Any:
    def counted(batch: asking.Batch, store: TileStore, matcher: Any) -> list[Any]:
        if not hasattr(store, "counted"):
            read, log = store._read, os.open(os.environ[READS], os.O_WRONLY | os.O_APPEND)
            store._read = lambda tile: os.write(log, b".") and read(tile)  # type: ignore[method-assign]
            store.counted = True  # type: ignore[attr-defined]
        return matched(batch, store, matcher)  # type: ignore[no-any-return]

    return counted


def in_own_process(layout: Path, workers: int, dask: str = "", keep_bytes: int = 1 << 28) -> dict[str, Any]:
    """Return what `measured` says in a process of its own."""
    return answer_of("--measure", str(layout), str(workers), dask or "-", str(keep_bytes))


def answer_of(*words: str) -> dict[str, Any]:
    """Return what this program says in another process, told what to measure."""
    with tempfile.NamedTemporaryFile() as log:
        done = subprocess.run(
            [sys.executable, __file__, *words],
            env={**os.environ, **ALONE, READS: log.name},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def overheads(folder: Path, rounds: int, side: int, px: int) -> None:
    """Print what dask costs more than plain processes: with pairs of a usual size, and with empty tasks."""
    layout = written_tiles(folder / "large", side, px)
    found = [{n: in_own_process(layout, *WAYS[n]) for n in (TWO, DASK)} for _ in range(rounds)]
    print("\n| tiles of | pairs | who | seconds | processor s | ms of processor a pair |\n|---|---|---|---|---|---|")
    for name in (TWO, DASK):
        one = sorted((f[name] for f in found), key=lambda f: f["seconds"])[rounds // 2]
        each = 1000 * one["processor_s"] / one["pairs"]
        print(f"| {px} px | {one['pairs']} | {name} | {one['seconds']:.1f} | {one['processor_s']:.1f} | {each:.1f} |")
    for kind, words in (("seconds", "by the clock"), ("processor_s", "in processor seconds")):
        more = median(f[DASK][kind] / f[TWO][kind] - 1 for f in found)
        print(f"dask takes {100 * more:+.1f} % {words}", flush=True)
    print("\n| empty tasks | ms a task | ms of processor |\n|---|---|---|")
    for name in (TWO, DASK):
        workers, dask = WAYS[name]
        one = answer_of("--empty", str(workers), dask or "-")
        print(f"| {name} | {one['ms']:.2f} | {one['processor_ms']:.2f} |", flush=True)


def under_limit(layout: Path, folder: Path) -> tuple[float, float]:
    """Return the most memory that `demis-ij stitch` took below a limit, MB, and its seconds."""
    words = [sys.executable, "-m", "demis_ij", "stitch", str(layout), "--out", str(folder), "--matcher", "sift"]
    began = time.perf_counter()
    process = subprocess.Popen([*words, "--stage-axes", "+x+y", "--quiet", *LIMIT], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, tree_mb(psutil.Process(process.pid)))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.1)
    if process.wait():
        raise SystemExit(process.returncode)
    return peak, time.perf_counter() - began


def plotted(rows: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Return a drawing of seconds against pairs, both logarithmic."""
    width, height, left, low = 640, 400, 70, 350
    colours = {ONE: "#0072b2", TWO: "#d55e00", DASK: "#009e73"}
    x = lambda pairs: left + (math.log10(pairs) - 1.9) / 2.3 * (width - left - 20)  # noqa: E731
    y = lambda s: low - (math.log10(s) + 0.5) / 3.5 * (low - 20)  # noqa: E731
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    out.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
    for power in (2, 3, 4):
        at = x(10**power)
        out.append(f'<path d="M{at:.1f} 20V{low}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{low + 18}" font-size="13" text-anchor="middle">{10**power:,}</text>')
    for power in (0, 1, 2):
        at = y(10**power)
        out.append(f'<path d="M{left} {at:.1f}H{width - 20}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" font-size="13" text-anchor="end">{10**power}</text>')
    for number, (name, colour) in enumerate(colours.items()):
        points = [(x(r["pairs"]), y(r["seconds"])) for n, r in rows if n == name]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"/>' for a, b in points]
        out.append(f'<text x="{left + 15}" y="{40 + 20 * number}" font-size="14" fill="{colour}">{name}</text>')
    out.append(f'<text x="{width / 2}" y="{height - 8}" font-size="14" text-anchor="middle">pairs</text>')
    middle = low / 2
    turn = f'transform="rotate(-90 18 {middle})"'
    out.append(f'<text x="18" y="{middle}" font-size="14" text-anchor="middle" {turn}>seconds</text></svg>')
    return "\n".join(out) + "\n"


def by_size(folder: Path, sides: Sequence[int], rounds: int, *, all_ways: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure and print a table of cost and memory against the number of pairs; yield its rows."""
    print(
        "| pairs | who | seconds | processor s | ms a pair and worker | reads a tile | peak, MB | 2nd quarter | last |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for side in sides:
        layout = written_tiles(folder / str(side), side)
        names = WAYS if all_ways or side < 30 else (TWO,)
        times = 1 if side > 30 else rounds
        found = [{name: in_own_process(layout, *WAYS[name]) for name in names} for _ in range(times)]
        for name in names:
            one = sorted((f[name] for f in found), key=lambda f: f["seconds"])[times // 2]
            rate = 1000 * one["seconds"] * WAYS[name][0] / one["pairs"]
            memory = f"{one['peak_mb']:.0f} | {one['second_quarter_mb']:.0f} | {one['last_quarter_mb']:.0f}"
            spent = f"{one['seconds']:.1f} | {one['processor_s']:.1f} | {rate:.1f}"
            print(f"| {one['pairs']} | {name} | {spent} | {one['reads']:.2f} | {memory} |", flush=True)
            yield name, one


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, up to 1 012 pairs")
    parser.add_argument("--overhead", action="store_true", help="only what dask costs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=9940, help="pairs at the most in the tables by size")
    parser.add_argument("--side", type=int, default=23, help="tiles in a row of the grid by which dask's cost is told")
    parser.add_argument("--px", type=int, default=LARGE_SIDE, help="side of a tile by which dask's cost is told")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--empty", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        layout, workers, dask, keep = given.measure
        print(json.dumps(measured(Path(layout), int(workers), "" if dask == "-" else dask, int(keep))))
        return
    if given.empty:
        print(json.dumps(empty_tasks(int(given.empty[0]), given.empty[1].strip("-"))))
        return
    rounds = 1 if given.quick else given.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.overhead:
            overheads(folder, rounds, given.side, given.px)
            return
        most = min(given.most, 1012) if given.quick else given.most
        sides = [side for side in (8, 23, 71) if 2 * side * (side - 1) <= most]
        rows = list(by_size(folder, sides, rounds, all_ways=given.plot is not None))
        if given.plot:
            given.plot.write_text(plotted(rows))
            return
        limits(folder, sides[-1] if sides[-1] < 30 else 23)
        overheads(folder, rounds, given.side, given.px)


def limits(folder: Path, side: int) -> None:
    """Print what happens below limits of memory."""
    layout = folder / str(side) / "TileConfiguration.txt"
    small = in_own_process(layout, 1, keep_bytes=6 * 2 * SIDE * SIDE)
    print(f"\nwith room for six tiles, a tile is read {small['reads']:.2f} times")
    peak, seconds = under_limit(layout, folder / "run")
    print(f"stitch {' '.join(LIMIT)}: {peak:.0f} MB at the most, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
