"""Solvers side by side: error against the truth, time and memory, from a hundred tiles to a million, with wrong pairs.

Grids of n x n tiles of 1024 px at 10 % overlap; every tile is turned by up to +-2 degrees and shifted by up to +-3 % of
its side from where the stage says; neighbours share 40 matches with a normal error of 0.5 px an axis in both tiles; of
the pairs, 2 % are grossly wrong (+-200 px, +-5 degrees). Error: tile corners after one rigid alignment to the truth.

Every figure is of a process of its own. `columns` is the engine on tables (`demis_ij.solvers.columns`), `sparse` the
same engine given records and giving records; `slam` and `factor_graph` (gtsam) take records only. Seconds are the
solve's alone; memory is the most that the process held, data included. Tiles of `--model similarity` and `affine` are
stretched and sheared by 0.3 % (each entry of the linear part), which no pair tells from a bend of the whole mosaic.

    python benchmarks/solvers.py                                  # columns to 1 000 000 tiles, the others to 10 000
    python benchmarks/solvers.py --tiles 100000 --methods columns sparse factor_graph
    python benchmarks/solvers.py --tiles 10000 100000 --methods columns --model translation rigid similarity affine
    python benchmarks/solvers.py --volume 100 --tiles 10000       # 100 sections of 10 000 tiles, whole sections moved
    python benchmarks/solvers.py --tiles 1000000 --methods columns --rows rows.json --plot docs/images/solve-cost.svg
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from demis_ij.errors import MissingPart
from demis_ij.protocols import SOLVERS
from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.settings import SolveSettings
from demis_ij.testing.grids import corner_errors, make_grid
from demis_ij.testing.simulated_columns import simulate_grid

NOISE_PX, MATCHES = 0.5, 40
STRETCH = {"similarity": 0.003, "affine": 0.003}  # of the tiles, where the model can follow
MOST_TILES = {"columns": 10**9, "sparse": 100_000, "slam": 10_000, "factor_graph": 10_000}  # unless --tiles is given
BELIEVED = 0.05
COLOURS = {
    "columns": "#1b6ca8",
    "sparse": "#2a9d4a",
    "slam": "#b8860b",
    "factor_graph": "#c0392b",
    "columns, translation": "#7aa6c2",
    "columns, similarity": "#6a51a3",
    "columns, affine": "#b0479a",
    "columns, a volume": "#555555",
}
NAMES = {"factor_graph": "factor_graph (gtsam)"}


def solve_in_columns(tiles: int, options: argparse.Namespace) -> dict[str, float]:
    """Return time and errors of the engine on tables."""
    side, rng = round(tiles**0.5), np.random.default_rng(options.seed)
    moved = {"section_turn_deg": 20.0, "section_shift_px": 2000.0, "misfit_across_px": 2.0} if options.volume else {}
    turn = 0.0 if options.model == "translation" else 2.0
    made = simulate_grid(
        side,
        side,
        rng,
        wrong=options.wrong,
        noise_px=NOISE_PX,
        matches=MATCHES,
        turn_deg=turn,
        sections=max(1, options.volume),
        stretch=STRETCH.get(options.model, 0.0),
        **moved,
    )
    tables = made.tiles(), made.pairs()
    small = simulate_grid(3, 3, np.random.default_rng(0))
    solve_columns(small.tiles(), small.pairs())  # imports are not what is timed
    clocks = time.perf_counter(), time.process_time()
    solved = solve_columns(*tables, SolveSettings(model=options.model), workers=options.workers)
    spent = {"wall_s": time.perf_counter() - clocks[0], "processor_s": time.process_time() - clocks[1]}
    error = made.corner_errors(solved.motion)
    kept = int((solved.weight[made.wrong] > BELIEVED).sum())
    lost = int((solved.weight[~made.wrong] <= BELIEVED).sum())
    return spent | said(error) | {"tiles": len(made.stage), "wrong": int(made.wrong.sum()), "kept": kept, "lost": lost}


def solve_records(method: str, tiles: int, options: argparse.Namespace) -> dict[str, float]:
    """Return time and errors of a solver of records."""
    side = round(tiles**0.5)
    solver = SOLVERS[method](model=options.model)
    small = make_grid(3, 3, np.random.default_rng(0))
    solver(small.layout, small.pairs)  # imports are not what is timed
    rng = np.random.default_rng(options.seed)
    grid = make_grid(side, side, rng, wrong=options.wrong, noise_px=NOISE_PX, matches=MATCHES)
    clocks = time.perf_counter(), time.process_time()
    solution = solver(grid.layout, grid.pairs)
    spent = {"wall_s": time.perf_counter() - clocks[0], "processor_s": time.process_time() - clocks[1]}
    weight = solution.pair_weight
    kept = sum(weight[k] > BELIEVED for k in grid.wrong)
    lost = sum(w <= BELIEVED for k, w in weight.items() if k not in grid.wrong)
    error = corner_errors(solution.layout, grid.truth)
    return spent | said(error) | {"tiles": side**2, "wrong": len(grid.wrong), "kept": kept, "lost": lost}


def said(error: np.ndarray) -> dict[str, float]:
    """Return what is reported of errors, px."""
    return {"median_px": float(np.median(error)), "max_px": float(error.max())}


def line_of(row: dict[str, float | str]) -> str:
    """Return what a row is named: its method, and what makes it other than a rigid solve of one section."""
    volume = "a volume" if row.get("sections", 0) else ""
    model = "" if row.get("model", "rigid") == "rigid" else str(row["model"])
    return ", ".join(part for part in (str(row["method"]), model, volume) if part)


def in_a_child(method: str, tiles: int, model: str, options: argparse.Namespace) -> dict[str, float] | None:
    """Return the figures of one run in a process of its own, None when a package is missing or time is up."""
    arguments = ["--one", method, "--tiles", str(tiles), "--seed", str(options.seed), "--wrong", str(options.wrong)]
    arguments += ["--model", model, "--volume", str(options.volume), "--workers", str(options.workers)]
    try:
        done = subprocess.run(
            [sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=options.timeout_s
        )
    except subprocess.TimeoutExpired:
        print(f"{tiles:8d} {method:>20} not finished after {options.timeout_s:.0f} s", flush=True)
        return None
    if done.returncode:
        print(f"{tiles:8d} {method:>20} {(done.stderr.strip().splitlines() or ['failed'])[-1]}", flush=True)
        return None
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(options: argparse.Namespace) -> list[dict[str, float | str]]:
    """Print the table, return its rows."""
    head = f"{'tiles':>8} {'method':>20} {'wall s':>8} {'proc. s':>8} {'ratio':>6} {'us/tile':>8} {'MiB':>6}"
    print(f"{head} {'median px':>9} {'max px':>7}  wrong pairs believed, right ones not")
    rows: list[dict[str, float | str]] = []
    sizes = options.tiles or [100, 1000, 10_000, 100_000, 1_000_000]
    for tiles in sizes:
        first = None
        for method, model in ((a, b) for a in options.methods for b in options.model):
            if options.tiles is None and tiles > MOST_TILES[method]:
                continue
            got = in_a_child(method, tiles, model, options)
            if got is None:
                continue
            first = first or got["processor_s"]
            row: dict[str, float | str] = {"method": method, "model": model, "sections": options.volume, **got}
            print(
                f"{got['tiles']:8.0f} {line_of(row):>20} {got['wall_s']:8.2f} {got['processor_s']:8.2f} "
                f"{got['processor_s'] / first:6.2f} {got['processor_s'] / got['tiles'] * 1e6:8.0f} {got['mib']:6.0f} "
                f"{got['median_px']:9.3f} {got['max_px']:7.3f}  {got['kept']:.0f} of {got['wrong']:.0f}, "
                f"{got['lost']:.0f}",
                flush=True,
            )
            rows.append(row)
    return rows


def kept_rows(path: Path, rows: list[dict[str, float | str]]) -> list[dict[str, float | str]]:
    """Return the rows of a file and new ones, which replace those of the same line and size; write them back."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    every = {(line_of(row), row["tiles"]): row for row in [*old, *rows]}
    path.write_text(json.dumps(list(every.values()), indent=1), encoding="utf-8")
    return list(every.values())


def free_place(wanted: tuple[float, float], taken: list[tuple[float, float]]) -> tuple[float, float]:
    """Return where a name can stand, as near above or below the end of its line as others leave room."""
    across, down = wanted
    for step in sorted(range(-8, 9), key=abs):
        place = (across, down + 13 * step)
        if all(abs(place[0] - x) > 60 or abs(place[1] - y) >= 12 for x, y in taken):
            return place
    return wanted


def plot(rows: list[dict[str, float | str]]) -> str:
    """Return SVG: processor seconds against tiles, both logarithmic, a line a method."""
    width, height, left, bottom = 640, 420, 70, 50
    x = np.log10([float(r["tiles"]) for r in rows])
    y = np.log10([max(float(r["processor_s"]), 1e-3) for r in rows])
    (x0, x1), (y0, y1) = (np.floor(x.min()), np.ceil(x.max())), (np.floor(y.min()), np.ceil(y.max()))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)

    def at(tiles: float, seconds: float) -> tuple[float, float]:
        across = left + (np.log10(tiles) - x0) / (x1 - x0) * (width - left - 130)
        down = height - bottom - (np.log10(max(seconds, 1e-3)) - y0) / (y1 - y0) * (height - bottom - 20)
        return float(across), float(down)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    out.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for power in range(int(x0), int(x1) + 1):
        px = at(10.0**power, 10**y0)[0]
        out.append(f'<line x1="{px:.1f}" y1="20" x2="{px:.1f}" y2="{height - bottom}" stroke="#ddd"/>')
        out.append(
            f'<text x="{px:.1f}" y="{height - bottom + 18}" font-size="12" text-anchor="middle">{10**power:,}</text>'
        )
    for power in range(int(y0), int(y1) + 1):
        py = at(10**x0, 10.0**power)[1]
        out.append(f'<line x1="{left}" y1="{py:.1f}" x2="{width - 130}" y2="{py:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{py + 4:.1f}" font-size="12" text-anchor="end">{10.0**power:g}</text>')
    named: list[tuple[float, float]] = []
    for line in dict.fromkeys(line_of(r) for r in rows):
        mine = sorted((float(r["tiles"]), float(r["processor_s"])) for r in rows if line_of(r) == line)
        points, colour = [at(*m) for m in mine], COLOURS.get(line, "#888888")
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in points]
        across, down = free_place(points[-1], named)
        named.append((across, down))
        out.append(f'<text x="{across + 8:.1f}" y="{down + 4:.1f}" font-size="12" fill="{colour}">')
        out.append(f"{NAMES.get(line, line)}</text>")
    middle = (left + width - 130) / 2
    out.append(f'<text x="{middle}" y="{height - 10}" font-size="13" text-anchor="middle">tiles</text>')
    out.append(f'<text transform="translate(16 {height / 2}) rotate(-90)" font-size="13" text-anchor="middle">')
    out.append("processor seconds</text></svg>")
    return "\n".join(out) + "\n"


def main() -> None:
    """Print the table, or one run as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, nargs="+", help="sizes; with --volume tiles of a section")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wrong", type=float, default=0.02, help="share of wrong pairs")
    models = ["translation", "rigid", "similarity", "affine"]
    parser.add_argument("--model", nargs="+", default=["rigid"], choices=models)
    parser.add_argument("--methods", nargs="+", default=["columns", "sparse", "slam", "factor_graph"])
    parser.add_argument("--volume", type=int, default=0, help="sections; columns only")
    parser.add_argument("--workers", type=int, default=0, help="threads; 0: one a core")
    parser.add_argument("--timeout-s", type=float, default=3600.0)
    parser.add_argument("--plot", type=Path, help="SVG of cost against size")
    parser.add_argument("--rows", type=Path, help="JSON of rows: earlier runs' are plotted, too, and this run's added")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        try:
            tiles, options.model = options.tiles[0], options.model[0]
            one = (
                solve_in_columns(tiles, options)
                if options.one == "columns"
                else solve_records(options.one, tiles, options)
            )
        except MissingPart as missing:
            raise SystemExit(str(missing)) from missing
        one["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(one))
        return
    if options.volume:
        options.methods = ["columns"]
    rows = compare(options)
    if options.rows:
        rows = kept_rows(options.rows, rows)
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_text(plot(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
