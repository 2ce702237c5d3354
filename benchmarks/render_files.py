"""What a mosaic on disk costs: beside what has to be done at the least, by more workers, in memory, and as it grows.

    python benchmarks/render_files.py rates    [--tiles 36] [--side 2048] [--runs 3] [--folder /dev/shm]
    python benchmarks/render_files.py workers  [--tiles 64] [--runs 3]
    python benchmarks/render_files.py growth   [--counts 100 1000 10000] [--plot docs/images/render-growth.svg]
    python benchmarks/render_files.py plan     [--counts 10000 100000 1000000]

``rates``: processor time of one thread, tiles in memory on all sides, OME-Zarr raw and light. At the least, every pixel
of every tile goes through one ``cv2.remap`` (blocks that fit the cache, maps given, into the same memory each time),
the smaller levels are made (means of 2 x 2, by the code that is used), and the chunks of all levels go into files (the
writer alone: pixels of all levels are there before it begins). Each is timed alone. ``share`` is the sum of the three
over our time, ``without`` the sum without making the levels. What ours does besides: finding tiles, overlaps blended in
float32, masks, marks of what is finished, which wait until it is on the disk. What these cost the writer is printed as
``marks`` and is in neither sum. Nothing is removed before the end: ext4 gives the place of a removed file's record to
no other for a while, and takes the longer for each new file the more were removed (4 to 24 times as long was seen).
``workers``: tiles in files, brightness solved, one worker and two, the pool already open: processes, dask's, threads.
``growth``: tiles of 512 px in files, brightness solved, two workers, ``--memory`` given: time, and the most memory that
all processes had at one time, by their proportional set sizes (Linux); the plot shows the memory.
``plan``: what the process that leads does for a layout of so many tiles: which region needs which tiles, and its key.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import tifffile

from demis_ij.geometry import Box
from demis_ij.images import TileStore
from demis_ij.pools import Pool, open_pool
from demis_ij.records import Affine, Layout, Tile
from demis_ij.render import Canvas, render
from demis_ij.render.blending import Style
from demis_ij.render.regions import Plan, Regions
from demis_ij.sinks.frame import Frame, Piece, Region
from demis_ij.sinks.levels import Source, make_levels
from demis_ij.sinks.ome_tiff import OmeTiffSink
from demis_ij.sinks.ome_zarr import OmeZarrSink
from demis_ij.sinks.regional import RegionSink, region_files
from demis_ij.sinks.scratch import Mark
from demis_ij.testing.drawn_tiles import MemoryStore

OVERLAP_FRAC = 0.1
FILES = 9
BLOCK_PX = 512


def files_of_their_own(layout: Layout, name: str) -> Layout:
    """Return a layout with new names of the tiles' files, so that none is known to a worker, or for one of nine."""
    tiles = []
    for tile in layout:
        path = tile.path.with_name(f"{name}-{tile.id}.tif")
        path.hardlink_to(tile.path)
        tiles.append(replace(tile, path=path))
    return replace(layout, tiles=tuple(tiles))


def grid(count: int, side: int, folder: Path) -> Layout:
    """Return a nearly square grid of tiles, each a little shifted and turned, on a few image files in turn."""
    rng = np.random.default_rng(7)
    columns = int(np.ceil(np.sqrt(count)))
    step = side * (1 - OVERLAP_FRAC)
    shifts, turns = rng.uniform(-5, 5, (count, 2)), rng.uniform(-0.004, 0.004, count)
    return Layout(
        tuple(
            Tile(
                str(k),
                folder / f"{k % FILES}.tif",
                (side, side),
                Affine.translation(k % columns * step + shifts[k, 0], k // columns * step + shifts[k, 1])
                @ Affine.rigid(turns[k]),
            )
            for k in range(count)
        )
    )


def pictures(side: int) -> list[np.ndarray]:
    """Return textured 8-bit images with the noise of a camera."""
    rng = np.random.default_rng(3)
    out = []
    for _ in range(FILES):
        smooth = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 3)
        out.append(np.clip(128 + 400 * smooth + rng.normal(0, 5, (side, side)), 1, 254).astype(np.uint8))
    return out


@contextmanager
def tiles_in_files(side: int) -> Iterator[Path]:
    """Yield a folder with the images, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="render"))
    try:
        for k, picture in enumerate(pictures(side)):
            tifffile.imwrite(folder / f"{k}.tif", picture)
        yield folder
    finally:
        shutil.rmtree(folder)


def timed(task: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds that a task takes by a clock: those that passed when nothing is said."""
    start = clock()
    task()
    return clock() - start


# --- beside what must be done at the least ----------------------------------------------------------------------------


def remap_all(images: list[np.ndarray], count: int) -> float:
    """Return the seconds that it takes to send every pixel of ``count`` tiles through one remap, block by block."""
    side = images[0].shape[0]
    y, x = np.mgrid[0:BLOCK_PX, 0:BLOCK_PX].astype(np.float32)
    maps = x * np.float32(0.9999) + y * np.float32(0.004), y * np.float32(0.9999)
    out = np.empty((BLOCK_PX, BLOCK_PX), np.uint8)

    def work() -> None:
        for k in range(count):
            for top in range(0, side, BLOCK_PX):
                for left in range(0, side, BLOCK_PX):
                    part = images[k % FILES][top : top + BLOCK_PX, left : left + BLOCK_PX]
                    cv2.remap(part, *maps, cv2.INTER_LINEAR, dst=out)

    return timed(work, time.process_time)


def make_smaller(frame: Frame, ready: np.ndarray) -> float:
    """Return the seconds that it takes to make all smaller levels of chunks that are ready, and to leave them."""

    def work() -> None:
        for region in frame.regions(0):
            make_levels(frame, region, len(frame.shapes) - 1, source_of(ready), lambda *_: None)

    return timed(work, time.process_time)


def source_of(ready: np.ndarray) -> Source:
    """Return what gives a piece of an image for any chunk."""

    def source(box: Box) -> Piece:
        top, left = box.y0 % (len(ready) - BLOCK_PX + 1), box.x0 % (len(ready) - BLOCK_PX + 1)
        return Piece(box, np.ascontiguousarray(ready[top : top + box.height, left : left + box.width]), None)

    return source


def write_ready(sink: RegionSink, path: Path, frame: Frame, ready: np.ndarray, *, is_marked: bool = False) -> float:
    """Return the seconds that a sink takes for chunks of all levels that are ready, names and metadata included.

    With the marks, where ``is_marked``, of regions that are finished and on the disk.
    """
    source = source_of(ready)
    chunks = []
    for stage in range(frame.stages):
        for region in frame.regions(stage):
            every = [(n, r, c, source(box)) for n in frame.levels(stage) for r, c, box in chunks_of(frame, region, n)]
            chunks.append((region, every))

    def work() -> None:
        sink.start(path, frame, None, fresh=True)
        for region, pieces in chunks:
            filling = sink.part.begin(region)
            for piece in pieces:
                filling.take(*piece)
            filling.end()
            if is_marked:
                sink.scratch.finish(region, Mark("known"), region_files(sink.part, region))
        sink.close()

    return timed(work, time.process_time)


def chunks_of(frame: Frame, region: Region, number: int) -> Iterator[tuple[int, int, Box]]:
    """Yield row, column and place of the chunks that a region has of a level."""
    many = frame.chunks_a_side(number)
    for row in range(region.row * many, (region.row + 1) * many):
        for col in range(region.col * many, (region.col + 1) * many):
            box = frame.chunk(number, row, col)
            if not box.is_empty:
                yield row, col, box


def empty(folder: Path) -> None:
    """Give the space of a folder's files back without removing a file."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def rates(
    new: Callable[[], RegionSink], layout: Layout, images: list[np.ndarray], folder: Path, runs: int
) -> dict[str, float]:
    """Return the least processor seconds of each part and of ours for one kind of file."""
    side = images[0].shape[0]
    store = MemoryStore({t.id: images[int(t.id) % FILES] for t in layout})
    full = np.ones((side, side), bool)
    store.mask = lambda _tile: full  # type: ignore[method-assign]
    frame = Frame(Canvas.of(layout).shape, "uint8", 512)
    gains = {t.id: (1.03, -2.5) for t in layout}

    def ours(path: Path, known: dict[str, tuple[float, float]]) -> float:
        task = partial(render, layout, store, [(new(), path)], intensity=known, dtype=np.uint8)
        return timed(task, time.process_time)

    best: dict[str, float] = {}
    for run in range(runs):
        inside = folder / str(run)
        inside.mkdir(parents=True)
        took = {
            "remap": remap_all(images, len(layout)),
            "levels": make_smaller(frame, images[0]),
            "writer": write_ready(new(), inside / "writer.ome.zarr", frame, images[0]),
            "ours": ours(inside / "ours.ome.zarr", {}),
            "marked": write_ready(new(), inside / "marked.ome.zarr", frame, images[0], is_marked=True),
            "gains": ours(inside / "gains.ome.zarr", gains),
        }
        best = {key: min(best.get(key, np.inf), seconds) for key, seconds in took.items()}
        empty(inside)
    return best


def measure_rates(count: int, side: int, runs: int, folder: Path | None) -> None:
    """Print what is reached of what remap and the writer allow together."""
    cv2.setNumThreads(1)
    images, layout = pictures(side), grid(count, side, Path())
    size = np.prod([float(n) for n in Canvas.of(layout).shape]) / 1e6
    print(f"{count} tiles of {side} px, mosaic of {size:.0f} Mpx, OpenCV {cv2.__version__}, one thread; processor ms")
    print(
        f"{'file':20} {'remap':>6} {'levels':>7} {'writer':>7} {'marks':>6} {'ours':>6} {'share':>6} {'without':>8}   "
        "with gains"
    )
    with tempfile.TemporaryDirectory(dir=folder) as within:
        for version in ("0.4", "0.5"):
            for compression, called in (("none", "raw"), ("light", "light")):
                new = partial(OmeZarrSink, version, compression)
                best = rates(new, layout, images, Path(within) / f"{version}{called}", runs)
                strict = best["remap"] + best["writer"]
                least = strict + best["levels"]
                ms = {key: 1e3 * seconds for key, seconds in best.items()}
                print(
                    f"{f'OME-Zarr {version}, {called}':20} {ms['remap']:6.0f} {ms['levels']:7.0f} {ms['writer']:7.0f} "
                    f"{ms['marked'] - ms['writer']:6.0f} {ms['ours']:6.0f} {least / best['ours']:6.0%} "
                    f"{strict / best['ours']:8.0%}   "
                    f"{ms['gains']:.0f} ({least / best['gains']:.0%}, {strict / best['gains']:.0%})",
                    flush=True,
                )


# --- more workers -----------------------------------------------------------------------------------------------------


def draw(layout: Layout, out: Path, kind: str, pool: Pool | None, threads: int = 1) -> float:
    """Return the seconds that a mosaic takes from tiles in files."""
    sink = OmeTiffSink() if kind == "tiff" else OmeZarrSink("0.5" if kind == "zarr5" else "0.4", "light")
    return timed(lambda: render(layout, TileStore(), [(sink, out)], dtype=np.uint8, pool=pool, threads=threads))


def measure_workers(count: int, side: int, runs: int) -> None:
    """Print the time by one worker and by two: processes, dask's, threads."""
    print(
        f"{count} tiles of {side} px in files, brightness solved, {os.cpu_count()} cores; seconds, and times one worker"
    )
    print(f"{'file':20} {'1 worker':>9} {'2 workers':>15} {'2 of dask':>15} {'2 threads':>15}")
    with tiles_in_files(side) as folder, open_pool(2) as pool, open_pool(2, "local") as dask:
        layout = grid(count, side, folder)
        for name, who in (("processes", pool), ("dask", dask)):  # so much work that all workers start
            draw(layout, folder / f"{name}.ome.zarr", "zarr", who)
        for name, kind in (("OME-Zarr 0.4, light", "zarr"), ("OME-Zarr 0.5, light", "zarr5"), ("OME-TIFF", "tiff")):
            best = [np.inf] * 4
            for run in range(runs):
                for k, (who, threads) in enumerate(((None, 1), (pool, 1), (dask, 1), (None, 2))):
                    own = files_of_their_own(layout, f"{kind}{run}{k}")
                    out = folder / f"{kind}{run}{k}.ome.{'tif' if kind == 'tiff' else 'zarr'}"
                    best[k] = min(best[k], draw(own, out, kind, who, threads))
                    shutil.rmtree(out) if out.is_dir() else out.unlink()
            told = " ".join(f"{seconds:8.2f} {best[0] / seconds:6.2f}" for seconds in best[1:])
            print(f"{name:20} {best[0]:9.2f} {told}", flush=True)


# --- as it grows ------------------------------------------------------------------------------------------------------


class Watch(threading.Thread):
    """Looks at the memory of this process and of those that it started."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self.done = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        import psutil

        while not self.done.wait(0.05):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it has ended since
            self.most = max(self.most, total)


def grow(count: int, side: int, memory: int) -> None:
    """Print, as JSON, time and memory of one mosaic (run as a process of its own)."""
    cv2.setNumThreads(1)
    with tiles_in_files(side) as folder, open_pool(2, memory_bytes=memory) as pool:
        layout = grid(count, side, folder)
        draw(grid(400, side, folder), folder / "warm.ome.zarr", "zarr", pool)  # so much work that all workers start
        size = np.prod([float(n) for n in Canvas.of(layout).shape]) / 1e6
        watch = Watch()
        watch.start()
        took = draw(layout, folder / "m.ome.zarr", "zarr5", pool)
        watch.done.set()
        watch.join()
    print(json.dumps({"tiles": count, "mpix": size, "seconds": took, "mib": watch.most / 2**20}))


def measure_growth(counts: list[int], side: int, memory: int, plot: Path | None) -> None:
    """Print time and memory against the number of tiles."""
    print(f"tiles of {side} px in files, brightness solved, OME-Zarr 0.5, two workers, --memory {memory >> 20}M")
    print(f"{'tiles':>8} {'Mpx':>9} {'seconds':>9} {'us a tile':>10} {'Mpx/s':>7} {'MiB':>6}")
    rows = []
    for count in counts:
        command = [sys.executable, __file__, "grow", "--counts", str(count), "--side", str(side)]
        command += ["--memory", str(memory >> 20)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        r = json.loads(said.splitlines()[-1])
        rows.append((r["tiles"], r["mib"]))
        print(
            f"{r['tiles']:8d} {r['mpix']:9.0f} {r['seconds']:9.1f} {r['seconds'] / r['tiles'] * 1e6:10.0f} "
            f"{r['mpix'] / r['seconds']:7.0f} {r['mib']:6.0f}",
            flush=True,
        )
    if plot is not None:
        plot.write_text(log_log(rows, "tiles", "MiB, all processes"), encoding="utf-8")


def measure_plan(counts: list[int]) -> None:
    """Print what planning costs."""
    print(f"{'tiles':>8} {'regions':>8} {'seconds':>8} {'us a tile':>10}")
    for count in counts:
        layout = grid(count, 2048, Path("absent"))
        canvas = Canvas.of(layout)
        plan = Plan(canvas, Frame(canvas.shape, "uint8"), Style("linear", "feather", None), 1 << 29)
        start = time.perf_counter()
        made = Regions(plan, layout, {})
        tasks = sum(1 for stage in range(plan.frame.stages) for task in made.tasks(stage) if task.key)
        took = time.perf_counter() - start
        print(f"{count:8d} {tasks:8d} {took:8.1f} {took / count * 1e6:10.0f}", flush=True)


def log_log(rows: list[tuple[int, float]], across: str, up: str) -> str:
    """Return an SVG of one line, both axes logarithmic."""
    width, height, left, bottom = 560, 380, 70, 50
    x, y = (np.log10([max(r[k], 1e-3) for r in rows]) for k in (0, 1))
    (x0, x1), (y0, y1) = (np.floor(x.min()), np.ceil(x.max())), (np.floor(y.min()), np.ceil(y.max()))

    def at(a: float, b: float) -> tuple[float, float]:
        right = left + (a - x0) / max(x1 - x0, 1) * (width - left - 30)
        return float(right), float(height - bottom - (b - y0) / max(y1 - y0, 1) * (height - bottom - 20))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    out.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for k in range(int(x0), int(x1) + 1):
        px = at(k, y0)[0]
        out.append(f'<line x1="{px:.1f}" y1="20" x2="{px:.1f}" y2="{height - bottom}" stroke="#ddd"/>')
        out.append(
            f'<text x="{px:.1f}" y="{height - bottom + 18}" font-size="12" text-anchor="middle">{10**k:,}</text>'
        )
    for k in range(int(y0), int(y1) + 1):
        py = at(x0, k)[1]
        out.append(f'<line x1="{left}" y1="{py:.1f}" x2="{width - 30}" y2="{py:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{py + 4:.1f}" font-size="12" text-anchor="end">{10.0**k:g}</text>')
    points = [at(a, b) for a, b in zip(x, y, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    out.append(f'<polyline points="{path}" fill="none" stroke="#1b6ca8" stroke-width="2"/>')
    out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="#1b6ca8"/>' for a, b in points]
    out.append(f'<text x="{width / 2}" y="{height - 10}" font-size="13" text-anchor="middle">{across}</text>')
    middle = height / 2
    out.append(f'<text transform="translate(16 {middle}) rotate(-90)" font-size="13" text-anchor="middle">{up}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rates", "workers", "growth", "plan", "grow"])
    parser.add_argument("--tiles", type=int, default=36)
    parser.add_argument("--side", type=int)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+")
    parser.add_argument("--memory", type=int, default=1400, help="MiB for all workers together")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--folder", type=Path, help="where rates writes, for instance a file system in memory")
    given = parser.parse_args()
    if given.what == "rates":
        measure_rates(given.tiles, given.side or 2048, given.runs, given.folder)
    elif given.what == "workers":
        measure_workers(given.tiles, given.side or 2048, given.runs)
    elif given.what == "growth":
        measure_growth(given.counts or [100, 1000, 10_000], given.side or 512, given.memory << 20, given.plot)
    elif given.what == "grow":
        grow(given.counts[0], given.side or 512, given.memory << 20)
    else:
        measure_plan(given.counts or [10_000, 100_000, 1_000_000])


if __name__ == "__main__":
    main()
