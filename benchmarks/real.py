"""Real tiles: what each matcher makes of grids from microscopes, against what is known of them.

    python benchmarks/real.py --write benchmarks/ledger/real.json
    python benchmarks/real.py --sets temca stitch2d --matchers sift --check benchmarks/ledger/real.json

``DEMIS_IJ_DATA`` names the folder of the images. Every number is in px of the tiles as they are there. "truth" is the
distance between the solved ``T_fixed^-1 T_moving`` and the known one over a lattice in the known overlap of the pairs
(median / largest). "loop" is how far a point in the middle of an overlap comes back from where it started when it is
carried round four accepted pairs (median / largest). A row that ends in "far" had a wrong description on purpose.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import formats, geometry
from demis_ij.config import StitchConfig
from demis_ij.formats.grid import grid_layout
from demis_ij.images import TileStore
from demis_ij.records import Affine, Layout, PairMatch, Points, Tile
from demis_ij.stitch import StitchResult, find_axes, stitch, usable, with_axes

Truth = dict[tuple[str, str], Affine]
MATCHERS = ("loftr", "sift", "correlation", "auto")


def data_folder() -> Path:
    """Return the folder of real images."""
    folder = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        raise SystemExit(f"no real images at {folder}: set DEMIS_IJ_DATA")
    return folder


@dataclass(frozen=True, eq=False)
class Case:
    """A layout as a user would describe it, and what is known of it.

    Attributes
    ----------
    layout : Layout
        Where the description puts the tiles.
    truth : dict
        Tile ids (fixed, moving) to the known map from moving to fixed px.
    model : str
        What a tile may do.
    needed : int
        Pairs that must be accepted.
    truth_max_px : float
        What the solved pairs may differ from the known ones by, median.
    """

    layout: Layout
    truth: Truth
    model: str = "rigid"
    needed: int = 0
    truth_max_px: float = np.inf


# --- the sets -------------------------------------------------------------------------------------------------------


def _relative(layout: Layout) -> Truth:
    """Return the maps between all tiles of a layout that lies as it should."""
    return {(a.id, b.id): a.to_world.inverse @ b.to_world for a, b in combinations(layout, 2)}


def temca(folder: Path, start: str = "as written") -> Case:
    """Return the TEMCA tiles; ``start`` a number: that seed's jitter of 3 % of a tile, and the tiles' shear dropped."""
    layout = formats.read(folder / "em_render_temca_2x2/stitch/test_4_tiles_level_1.json").layouts[0]
    layout, _ = usable(layout, StitchConfig())
    truth = _relative(layout)
    if start != "as written":
        rng = np.random.default_rng(int(start))
        moved = {}
        for t in layout:
            jitter = rng.uniform(-0.03, 0.03, 2) * max(t.shape) * t.to_world.scale
            x, y = np.array([t.to_world.tx, t.to_world.ty]) + jitter
            scale = float(np.sqrt(t.to_world.determinant))
            moved[t.id] = Affine(scale, 0.0, 0.0, scale, float(x), float(y))
        layout = layout.moved(moved)
    return Case(layout, truth, "affine", 4, 1.0)


def sixteen_bit(folder: Path) -> Case:
    """Return the 16-bit pair; its shift is exact, and hidden from the start by 3 % of a tile."""
    layout = formats.read(folder / "em_render_temca_2x2/pair_16bit/16_bit_tiles.json").layouts[0]
    layout, _ = usable(layout, StitchConfig())
    truth = _relative(layout)
    _, second = layout
    return Case(layout.moved({second.id: Affine.translation(11, -9) @ second.to_world}), truth, "rigid", 1, 0.25)


def stitch2d(folder: Path, overlap: float = 0.2) -> Case:
    """Return the 2 x 3 SEM grid."""
    layout = grid_layout(folder / "sem_stitch2d_2x3", pattern="stitch2d_ex[Grid@{x} {y}].jpg", overlap=overlap)
    truth: Truth = {}
    at = {_numbers(t.path.name)[-2:]: t.id for t in layout}
    for (x, y), tile in at.items():
        if (x + 1, y) in at:
            truth[tile, at[x + 1, y]] = Affine.translation(379.6, 3.7)
        if (x, y + 1) in at:
            truth[tile, at[x, y + 1]] = Affine.translation(-5.7, 395.0)
    return Case(layout, truth, needed=7, truth_max_px=1.0)


def dendrite(folder: Path, overlap: float = 0.075, start: str = "top-left") -> Case:
    """Return the 15 x 6 micrographs, one missing; 87 steps are known from SIFT, to 0.1 px as written."""
    where = folder / "lom_dendrite_6x15_quarter"
    layout = grid_layout(where, rows=15, cols=6, order="snake-column", overlap=overlap, start=start)
    at = {_numbers(t.path.name)[-1]: t.id for t in layout}
    steps = json.loads((where / "sift_consecutive_pairs.json").read_text())
    truth = {(at[a], at[b]): Affine.translation(-dx, -dy) for a, b, _, (dx, dy) in steps}
    return Case(layout, truth, needed=147, truth_max_px=1.0)


def zircon(folder: Path, kind: str, overlap: float, start: str = "top-right") -> Case:
    """Return a strip of zircons, taken from right to left; how far a step may be is known, no more."""
    where = folder / "sem_zircon_bse_cl" / kind / "1"
    count = len([p for p in where.iterdir() if p.suffix.lower() == ".jpg"])
    return Case(grid_layout(where, rows=1, cols=count, overlap=overlap, start=start), {}, needed=count - 1)


def lscm(folder: Path) -> Case:
    """Return the confocal tiles with their scan's distortion; known: Fiji's registration, a shift a tile."""
    where = folder / "lom_lscm_3x4"
    layout = formats.read(where / "TileConfiguration.txt").layouts[0]
    known = formats.read(where / "TileConfiguration.registered.txt").layouts[0]
    layout, _ = usable(layout, StitchConfig())
    solved = {t.path.name: t.to_world for t in known}
    return Case(layout, _relative(layout.moved({t.id: solved[t.path.name] for t in layout})), needed=17, truth_max_px=4)


def tomography(folder: Path, section: str) -> Case:
    """Return one of three sections, four of its fourteen tiles; known: the authors' affines, tiles distorted."""
    where = folder / "lom_array_tomography_3sec"
    document = formats.read(where / "rick0.txt", relink=where)
    layout, _ = usable(document[section], StitchConfig())
    text = (where / "Affine.xml").read_text(errors="replace")
    solved = {}
    for patch in re.findall(r"<t2_patch\b.*?>", text, re.DOTALL):
        name = re.search(r'file_path="[^"]*?([^"/\\]+)"', patch)
        matrix = re.search(r'\btransform="matrix\(([^)]*)\)"', patch)
        if name and matrix:
            a, c, b, d, x, y = (float(v) for v in matrix[1].split(","))
            solved[name[1]] = Affine(a, b, c, d, x, y)
    return Case(
        layout, _relative(layout.moved({t.id: solved[t.path.name] for t in layout})), needed=4, truth_max_px=3.5
    )


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", name))


SETS: dict[str, Callable[[Path], Case]] = {
    "temca": temca,
    "temca, start 1": lambda f: temca(f, "1"),
    "temca, start 2": lambda f: temca(f, "2"),
    "temca, start 3": lambda f: temca(f, "3"),
    "16 bit": sixteen_bit,
    "stitch2d": stitch2d,
    "zircon BSE": lambda f: zircon(f, "zirconBSE", 0.15),
    "zircon CL": lambda f: zircon(f, "zirconCL", 0.09),
    "lscm": lscm,
    "tomography 0": lambda f: tomography(f, "0"),
    "tomography 1": lambda f: tomography(f, "1"),
    "tomography 2": lambda f: tomography(f, "2"),
    "dendrite": dendrite,
    "stitch2d, overlap 0.05, far": lambda f: stitch2d(f, 0.05),
    "stitch2d, overlap 0.3, far": lambda f: stitch2d(f, 0.3),
    "zircon BSE, top-left, far": lambda f: zircon(f, "zirconBSE", 0.15, "top-left"),
    "zircon BSE, overlap 0.05, far": lambda f: zircon(f, "zirconBSE", 0.05),
    "zircon BSE, overlap 0.3, far": lambda f: zircon(f, "zirconBSE", 0.3),
    "zircon CL, top-left, far": lambda f: zircon(f, "zirconCL", 0.09, "top-left"),
    "zircon CL, overlap 0.3, far": lambda f: zircon(f, "zirconCL", 0.3),
    "dendrite, overlap 0.3, far": lambda f: dendrite(f, 0.3),
    "dendrite, top-right, far": lambda f: dendrite(f, 0.075, "top-right"),
}

HARD = ("dendrite, overlap 0.3, far",)
"""Not mastered: only when asked for, and not in the ledger."""


# --- what came out --------------------------------------------------------------------------------------------------


def solve(case: Case, matcher: str, store: TileStore | None = None, weights: str = "shipped") -> StitchResult:
    """Return the solved section, stage axes found as the command line finds them."""
    config = StitchConfig(matcher=matcher, model=case.model, weights=weights)
    store = store or TileStore(clip=config.clahe_clip)
    layout, _ = usable(case.layout, config)
    axes, _ = find_axes(layout, config, store)
    return stitch(with_axes(layout, axes), config, store=store)


def believed(result: StitchResult) -> list[PairMatch]:
    """Return the pairs that hold the mosaic."""
    weight = result.solution.pair_weight
    return [p for p in result.pairs if isinstance(p, PairMatch) and weight.get((p.fixed, p.moving), 1.0) > 0.05]


def lattice(fixed: Tile, moving: Tile, to_fixed: Affine, across: int = 12) -> Points:
    """Return points in moving px, on a lattice in what the two tiles share."""
    rows, cols = moving.shape
    x, y = np.meshgrid(np.linspace(0, cols - 1, 6 * across), np.linspace(0, rows - 1, 6 * across))
    points = np.stack([x.ravel(), y.ravel()], 1)
    seen = to_fixed(points)
    inside = (seen >= 0).all(1) & (seen[:, 0] <= fixed.shape[1] - 1) & (seen[:, 1] <= fixed.shape[0] - 1)
    return points[inside]


def disagreement(result: StitchResult, truth: Truth) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return the distances (N,) px between solved and known at the lattice of each known pair that overlaps."""
    found = {}
    for (one, two), known in truth.items():
        fixed, moving = result.solution.layout[one], result.solution.layout[two]
        points = lattice(fixed, moving, known)
        if len(points) < 20:
            continue
        solved = fixed.to_world.inverse @ moving.to_world
        found[one, two] = np.linalg.norm(solved(points) - known(points), axis=1)
    return found


def loops(result: StitchResult) -> list[float]:
    """Return the closure error px of every loop of four believed pairs, the largest of its four overlap centres."""
    step: dict[tuple[str, str], NDArray[np.float64]] = {}
    for p in believed(result):
        step[p.moving, p.fixed] = p.to_fixed
        step[p.fixed, p.moving] = np.asarray(np.linalg.inv(p.to_fixed), np.float64)
    near: dict[str, list[str]] = {}
    for one, two in step:
        near.setdefault(one, []).append(two)
    errors = []
    for a, c in combinations(sorted(near), 2):
        for b, d in combinations(sorted(set(near[a]) & set(near[c])), 2):
            if a == min(a, b, c, d):
                errors.append(max(_closure(result, step, ring) for ring in _turns((a, b, c, d))))
    return errors


def _turns(ring: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for k in range(len(ring)):
        yield tuple(ring[k:]) + tuple(ring[:k])


def _closure(result: StitchResult, step: dict[tuple[str, str], NDArray[np.float64]], ring: tuple[str, ...]) -> float:
    first, second = result.layout[ring[0]], result.layout[ring[1]]
    middle = lattice(second, first, Affine.from_matrix(step[ring[0], ring[1]])).mean(0)[None]
    point = middle
    for one, two in zip(ring, (*ring[1:], ring[0]), strict=True):
        point = geometry.apply(step[one, two], point)
    return float(np.linalg.norm(point - middle))


def measure(case: Case, result: StitchResult) -> dict[str, Any]:
    """Return the row of one case and matcher."""
    held, round_trips = believed(result), loops(result)
    accepted = [p for p in result.pairs if isinstance(p, PairMatch)]
    row: dict[str, Any] = {
        "tiles": len(result.solution.layout),
        "by_stage": sum(how == "stage" for how in result.placed_by.values()),
        "looked_at": len(result.pairs),
        "accepted": len(held),
        "needed": case.needed,
        "overruled": len(accepted) - len(held),
        "parts": len(result.solution.component_sizes),
        "loops": len(round_trips),
    }
    if round_trips:
        row |= {"loop_median_px": float(np.median(round_trips)), "loop_max_px": max(round_trips)}
    residual = [result.solution.pair_residual_px[p.fixed, p.moving] for p in held]
    row["residual_median_px"] = float(np.median(residual)) if residual else None
    if case.truth:
        known = disagreement(result, case.truth)
        every = np.concatenate(list(known.values()))
        row |= {
            "truth_pairs": len(known),
            "truth_median_px": float(np.median(every)),
            "truth_max_px": float(every.max()),
        }
        row["truth_off_by_1_px"] = sum(float(np.median(v)) > 1 for v in known.values())
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}


def steps(result: StitchResult) -> list[str]:
    """Return a line for each believed pair: where the moving tile's origin lies in the fixed tile, solved."""
    lines = []
    for p in believed(result):
        one, two = result.solution.layout[p.fixed], result.solution.layout[p.moving]
        at = (one.to_world.inverse @ two.to_world)((0.0, 0.0))
        residual = result.solution.pair_residual_px[p.fixed, p.moving]
        lines.append(
            f"{p.fixed} <- {p.moving}: ({at[0]:.1f}, {at[1]:.1f}), {p.matcher}, {p.inliers} of {p.matches}, "
            f"pair {p.residual_px:.2f} px, solved {residual:.2f} px"
        )
    return lines


def short_of(row: dict[str, Any], case: Case) -> str:
    """Return what a row lacks, or an empty string."""
    lacks = []
    if row["by_stage"]:
        lacks.append(f"{row['by_stage']} tiles by the stage")
    if row["accepted"] < case.needed:
        lacks.append(f"{row['accepted']} of {case.needed} pairs")
    if row.get("truth_median_px", 0) > case.truth_max_px:
        lacks.append(f"{row['truth_median_px']} px from the truth")
    if row.get("loop_max_px", 0) >= 3:
        lacks.append("loop")
    return ", ".join(lacks)


def check(rows: dict[str, dict[str, Any]], ledger: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is worse than the ledger: fewer pairs or tiles, or errors larger by 15 % and 0.05 px."""
    worse = []
    for key, now in rows.items():
        then = ledger.get(key)
        if then is None:
            worse.append(f"{key}: not in the ledger")
            continue
        worse += [f"{key}: {k} {then[k]} -> {now[k]}" for k in ("by_stage", "parts") if now[k] > then[k]]
        if now["accepted"] < then["accepted"]:
            worse.append(f"{key}: accepted {then['accepted']} -> {now['accepted']}")
        for k in ("truth_median_px", "truth_max_px", "loop_median_px", "loop_max_px"):
            if k in then and now.get(k, np.inf) > 1.15 * then[k] + 0.05:
                worse.append(f"{key}: {k} {then[k]} -> {now.get(k)}")
    return worse


def main() -> None:
    """Measure, print a table, write or check the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name in SETS if name not in HARD]
    parser.add_argument("--sets", nargs="+", default=usual, help=f"any of: {'; '.join(SETS)}")
    parser.add_argument("--matchers", nargs="+", default=list(MATCHERS), choices=MATCHERS)
    parser.add_argument("--weights", default="shipped")
    parser.add_argument("--verbose", action="store_true", help="every pair")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path, help="fail when accuracy fell against this ledger")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    unknown = [name for name in args.sets if name not in SETS]
    if unknown:
        parser.error(f"no set {unknown[0]!r}; there are: {'; '.join(SETS)}")
    folder, rows = data_folder(), {}
    print("| set | matcher | tiles | by stage | pairs | loops | loop px | truth px | s | short of |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in args.sets:
        case = SETS[name](folder)
        for matcher in args.matchers:
            began = time.perf_counter()
            result = solve(case, matcher, weights=args.weights)
            seconds = time.perf_counter() - began
            row = rows[f"{name} | {matcher}"] = measure(case, result)
            loop = f"{row['loop_median_px']:.2f} / {row['loop_max_px']:.2f}" if row["loops"] else "-"
            truth = f"{row['truth_median_px']:.2f} / {row['truth_max_px']:.2f}" if case.truth else "-"
            print(
                f"| {name} | {matcher} | {row['tiles']} | {row['by_stage']} | {row['accepted']} of {row['looked_at']}"
                f" | {row['loops']} | {loop} | {truth} | {seconds:.1f} | {short_of(row, case)} |",
                flush=True,
            )
            if args.verbose:
                print(*steps(result), *result.warnings, sep="\n", flush=True)
                for p in result.pairs:
                    if not isinstance(p, PairMatch):
                        print(f"  rejected {p.fixed} - {p.moving}: {p.reason}", flush=True)
            if args.write:
                known = json.loads(args.write.read_text()) if args.write.is_file() else {}
                args.write.parent.mkdir(parents=True, exist_ok=True)
                known[f"{name} | {matcher}"] = row
                args.write.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    if args.check:
        worse = check(rows, json.loads(args.check.read_text()))
        print(*(f"WORSE {line}" for line in worse), sep="\n")
        sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
