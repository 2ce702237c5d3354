"""Accuracy on synthetic grids by the DEMIS recipe (sets A to H), each matcher alone, against exact truth.

    python benchmarks/grids.py --sets A,B,E --matchers loftr,sift --write benchmarks/ledger/grids.json
    python benchmarks/grids.py --sets A --check benchmarks/ledger/grids.json

A textured or resin pair *fails* when the root mean square error over its true overlap is above 10 px, or when there is
no estimate. The corner error is the median over the corners of the textured pairs that were accepted. "wrong" are
accepted pairs that fail. "global" is the corner error of the tiles of the largest component after one rigid alignment.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij import metrics, synth
from demis_ij.config import StitchConfig
from demis_ij.images import TileStore, read
from demis_ij.records import PairMatch
from demis_ij.stitch import stitch

FAIL_PX = 10.0


def measure(scene: synth.Scene, folder: Path, config: StitchConfig) -> dict[str, Any]:
    """Return the row of one scene and matcher."""
    layout = replace(scene.layout, tiles=tuple(replace(t, path=folder / "tiles" / t.path.name) for t in scene.layout))
    began = time.perf_counter()
    result = stitch(layout, config, store=TileStore())
    seconds = time.perf_counter() - began
    found = {(p.fixed, p.moving): p for p in result.pairs if isinstance(p, PairMatch)}
    row: dict[str, Any] = {}
    for name, pairs in (("textured", scene.textured_pairs), ("resin", scene.resin_pairs)):
        error = {p: metrics.overlap_error_px(found[p].to_fixed, scene.truth, *p) for p in pairs if p in found}
        row[f"{name}_pairs"] = len(pairs)
        row[f"{name}_fail"] = sum(not error.get(p, np.inf) <= FAIL_PX for p in pairs)
        row[f"{name}_wrong"] = sum(e > FAIL_PX for e in error.values())
    corner = [
        np.asarray(metrics.corner_error_px(found[p].to_fixed, scene.truth, *p)).ravel()
        for p in scene.textured_pairs
        if p in found
    ]
    row["corner_median_px"] = float(np.median(np.concatenate(corner))) if corner else None
    known = set(scene.textured_pairs) | set(scene.resin_pairs)
    row["other_accepted"] = sum(p not in known and p[::-1] not in known for p in found)
    parts: dict[int, list[str]] = {}
    for tile, number in result.solution.component.items():
        parts.setdefault(number, []).append(tile)
    whole = tuple(tuple(ids) for ids in parts.values() if len(ids) > 1)
    if whole:
        errors = metrics.global_error_px(result.solution.layout, scene.truth, components=whole)
        values = np.concatenate([np.ravel(v) for i, v in errors.items() if any(i in ids for ids in whole)])
        row["global_median_px"], row["global_max_px"] = float(np.median(values)), float(values.max())
    row["tiles"], row["placed_by_stage"] = len(layout), sum(h == "stage" for h in result.placed_by.values())
    row["components"] = len(result.solution.component_sizes)
    row["s_per_pair"] = round(seconds / max(1, len(result.pairs)), 3)
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}


def main() -> None:
    """Measure, print a table, write or check the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="A,B,C,E,F,G,H")
    parser.add_argument("--matchers", default="loftr,sift,correlation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", type=Path, help="a large image to cut the grids from instead of a made-up section")
    parser.add_argument("--weights", default="shipped")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path, help="fail when accuracy fell against this ledger")
    args = parser.parse_args()
    source = read(args.source) if args.source else None
    rows: dict[str, dict[str, Any]] = {}
    print(
        f"{'set':<4}{'matcher':<13}{'tex fail':>9}{'resin fail':>12}{'wrong':>7}{'corner px':>11}"
        f"{'global med/max px':>20}{'stage':>7}{'parts':>7}{'s/pair':>8}"
    )
    for name in args.sets.split(","):
        scene = synth.make_scene(synth.SETS[name], args.seed, source)
        with tempfile.TemporaryDirectory() as folder:
            where = synth.write_scene(scene, Path(folder) / "scene", formats=("tileconfig",))
            for matcher in args.matchers.split(","):
                r = measure(scene, where, StitchConfig(matcher=matcher, weights=args.weights))
                rows[f"{name} {matcher} seed {args.seed}"] = r
                corner = "-" if r["corner_median_px"] is None else f"{r['corner_median_px']:.3f}"
                wrong = r["textured_wrong"] + r["resin_wrong"] + r["other_accepted"]
                both = f"{r['global_median_px']:.3f} / {r['global_max_px']:.2f}" if "global_median_px" in r else "-"
                print(
                    f"{name:<4}{matcher:<13}{r['textured_fail']:>4}/{r['textured_pairs']:<4}{r['resin_fail']:>6}/"
                    f"{r['resin_pairs']:<5}{wrong:>6}{corner:>11}"
                    f"{both:>20}{r['placed_by_stage']:>7}{r['components']:>7}{r['s_per_pair']:>8}",
                    flush=True,
                )
    if args.write:
        known = json.loads(args.write.read_text()) if args.write.is_file() else {}
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(json.dumps({**known, **rows}, indent=1, sort_keys=True) + "\n")
    if args.check:
        sys.exit(_check(rows, json.loads(args.check.read_text())))


def _check(rows: dict[str, dict[str, Any]], ledger: dict[str, dict[str, Any]]) -> int:
    worse = []
    for key, now in rows.items():
        then = ledger.get(key)
        if then is None:
            worse.append(f"{key}: not in the ledger")
            continue
        for count in ("textured_fail", "resin_fail", "textured_wrong", "resin_wrong", "other_accepted"):
            if now[count] > then[count]:
                worse.append(f"{key}: {count} {then[count]} -> {now[count]}")
        if then["corner_median_px"] and (now["corner_median_px"] or 1e9) > 1.15 * then["corner_median_px"]:
            worse.append(f"{key}: corner {then['corner_median_px']} -> {now['corner_median_px']} px")
    for line in worse:
        print("WORSE", line)
    return 1 if worse else 0


if __name__ == "__main__":
    main()
