"""Pairs of real tiles: LoFTR beside SIFT, XFeat and RAFT, the same pairs, gate and RANSAC, in turn, in one run.

    python benchmarks/real_pairs.py --write benchmarks/ledger/real_pairs.json --out pictures
    python benchmarks/real_pairs.py --only stitch2d lscm --matchers "loftr 0.5" "sift 0.5"
    python benchmarks/real_pairs.py --check benchmarks/ledger/real_pairs.json

``DEMIS_IJ_DATA`` names the folder of images and weights; RAFT needs torchvision. Each row has everything in its time
(crops, matcher, RANSAC, gate, refinement): processor seconds a pair on one thread. A row that is "refined" ends in the
package's own refinement, as the command line's matchers do; the others are the matchers as they are.

LoFTR and SIFT see what the package shows them, the expected overlap and the stage's error around it. XFeat and RAFT do
better when they see less: they are shown the expected overlap, and, where their answer is rejected, 1.5 % and 3 % of a
tile more; where the overlap that they find is another than the expected one, they are shown that, too, and the better
answer counts. XFeat is the semi-dense one at two and three times the size, which does best here (of sparse and
semi-dense at 0.5 to 3: ``--matchers "xfeat sparse 1" ...``).

"reference" is the set's model fitted to the reference over all of each overlap, its loops closed likewise: how little a
loop can be expected to miss when tiles are distorted and the reference itself is good to some tenths of a pixel.

* pairs: accepted, of those known to overlap; "wrong": accepted, and over 10 px from the reference.
* inliers: median over all pairs, a rejected pair has none.
* cover: share of the 32 px blocks of the overlap that hold an inlier within 1 px of the reference, a rejected pair
  covers nothing; mean over pairs. No truth is known: the reference is a smooth displacement that LoFTR, SIFT, XFeat and
  RAFT vote on with one voice each, refined points without a vote (`peers.reference`).
* by others: the same against a reference in which the row's own family has no vote.
* error: median distance of inliers from the reference of the others, px.
* loop: how far a point in the middle of an overlap comes back from where it started when it is carried round four
  accepted pairs, the largest of the four overlaps: median / largest, px.

Below the table: LoFTR against each of the others; loops over those that both have closed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import real
import torch
from numpy.typing import NDArray
from peers.looking import Within
from peers.pictures import draw
from peers.reference import Answer, Blocks, Reference, overlap_blocks, reference

from demis_ij import geometry
from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.pairs import match_pairs, neighbours
from demis_ij.protocols import Matcher, View
from demis_ij.records import Affine, Layout, PairMatch, Points, Rejected
from demis_ij.stitch import make_matcher, usable

Pair = tuple[str, str]
Outcome = PairMatch | Rejected
WRONG_PX = 10.0
CORRECT_PX = 1.0
_MOVED_PX = 8  # from which on a peer is shown an overlap again

# --- who is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes
    ----------
    family : str
        Who is asked.
    resolution : float
        Scale at which the views are looked at.
    refine : bool
        Whether the package's refinement comes after.
    fast : bool
        LoFTR without its fine stage.
    margins : tuple of float
        What is shown beyond the expected overlap, as a fraction of a tile, one look after another until the pair is
        accepted; empty for what the package shows.
    points : str
        XFeat's kind.
    """

    family: str
    resolution: float
    refine: bool = False
    fast: bool = False
    margins: tuple[float, ...] = ()
    points: Literal["sparse", "semi-dense"] = "semi-dense"

    def make(self, weights: str) -> Matcher:
        """Return the matcher."""
        if self.family in {"loftr", "sift"}:
            config = StitchConfig(
                resolution=self.resolution, weights=weights, device="cpu", refine=self.refine, fast=self.fast
            )
            return make_matcher(self.family, config)
        if self.family == "xfeat":
            from peers.xfeat import XfeatMatcher

            return XfeatMatcher(self.resolution, self.points)
        from peers.raft import RaftMatcher

        return RaftMatcher(self.resolution)


_NARROW = (0.0, 0.015, 0.03)
ROWS: dict[str, Row] = {
    "loftr 0.5": Row("loftr", 0.5, refine=True),
    "loftr 1": Row("loftr", 1.0, refine=True),
    "loftr 0.5 fast": Row("loftr", 0.5, refine=True, fast=True),
    "loftr 0.5 raw": Row("loftr", 0.5),
    "loftr 1 raw": Row("loftr", 1.0),
    "sift 0.5": Row("sift", 0.5),
    "sift 1": Row("sift", 1.0),
    "sift 0.5 refined": Row("sift", 0.5, refine=True),
    "sift 1 refined": Row("sift", 1.0, refine=True),
    "xfeat 2": Row("xfeat", 2.0, margins=_NARROW),
    "xfeat 3": Row("xfeat", 3.0, margins=_NARROW),
    "xfeat 3 refined": Row("xfeat", 3.0, refine=True, margins=_NARROW),
    "raft": Row("raft", 1.0, margins=_NARROW),
    "raft refined": Row("raft", 1.0, refine=True, margins=_NARROW),
}
MORE: dict[str, Row] = {
    f"xfeat {points} {size:g}": Row("xfeat", size, margins=_NARROW, points=points)
    for points in ("sparse", "semi-dense")
    for size in (0.5, 1.0, 1.5, 2.0, 3.0)
}
"""Only when asked for, and not in the ledger: how XFeat's best was found."""
EVERY = ROWS | MORE
OURS = ("loftr 0.5", "loftr 1", "loftr 0.5 fast")

# --- the sets -------------------------------------------------------------------------------------------------------


def dendrite_block(folder: Path) -> real.Case:
    """Return rows 6 to 10 of the dendrite's six columns: 30 tiles, 60 pairs.

    Columns are shifted against each other, so that some tiles have two neighbours on a side.

    The stage's last step of a column is 100 px short, so that a plain grid does not say who lies beside whom. Tiles
    start where the known steps along the snake put them, to 10 px: beside each other they are known to some px only.
    """
    case = real.dendrite(folder)
    at = {int(t.path.stem.split("-")[-1]): t for t in case.layout}
    steps = json.loads((folder / "lom_dendrite_6x15_quarter" / "sift_consecutive_pairs.json").read_text())
    place = {3: np.zeros(2)}
    for one, two, _, shift in steps:
        if one in place:
            place[two] = place[one] - np.array(shift)

    def row(number: int) -> int:
        column, step = divmod(number - 1, 15)
        return step if column % 2 == 0 else 14 - step

    inside = sorted(n for n in at if 5 <= row(n) <= 9)
    start = {at[n].id: Affine.translation(*np.round(place[n], -1)) for n in inside}
    layout = replace(case.layout, tiles=tuple(at[n] for n in inside)).moved(start)
    return replace(case, layout=layout, needed=60)


SETS: dict[str, Callable[[Path], real.Case]] = {
    "temca": real.SETS["temca"],
    "stitch2d": real.SETS["stitch2d"],
    "zircon BSE": real.SETS["zircon BSE"],
    "zircon CL": real.SETS["zircon CL"],
    "lscm": real.SETS["lscm"],
    "dendrite": dendrite_block,
}


@dataclass(frozen=True, eq=False)
class Scene:
    """A set ready to be matched: layout with shapes, store, pairs known to overlap, config."""

    name: str
    layout: Layout
    store: TileStore
    pairs: list[Pair]
    config: StitchConfig

    def whole(self, tile: str) -> View:
        """Return a whole tile as matchers see it."""
        return View(self.store.normalised(self.layout[tile]), self.store.mask(self.layout[tile]))


def open_scene(name: str, folder: Path) -> Scene:
    """Return a set with every tile read and normalised."""
    case = SETS[name](folder)
    config = StitchConfig(model=case.model)
    layout, _ = usable(case.layout, config)
    store = TileStore(max_bytes=1 << 30, clip=config.clahe_clip)
    for tile in layout:
        store.normalised(tile)
    pairs = neighbours(layout)
    if len(pairs) != case.needed:
        raise SystemExit(f"{name}: {len(pairs)} pairs of neighbours, {case.needed} known to overlap")
    return Scene(name, layout, store, pairs, config)


# --- one run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Run:
    """What one row made of a set: an outcome and processor seconds a pair."""

    outcomes: dict[Pair, Outcome]
    seconds: dict[Pair, float]


def ask(scene: Scene, row: Row, matcher: Matcher, pair: Pair) -> Outcome:
    """Return what a row makes of a pair."""
    config = replace(scene.config, refine=row.refine)

    def look(at: Matcher) -> Outcome:
        return match_pairs(scene.store, scene.layout, [pair], at, config)[0]

    if not row.margins:
        return look(matcher)
    fixed, moving = scene.layout[pair[0]], scene.layout[pair[1]]
    side = max(*fixed.shape, *moving.shape)
    shown = config.stage_error_frac * side
    outcome: Outcome = Rejected(*pair, "not asked")
    for margin in row.margins:
        first = Within(matcher, fixed, moving, shown, margin * side)
        outcome = look(first)
        if isinstance(outcome, PairMatch):
            break
    if isinstance(outcome, Rejected):
        return outcome
    # the overlap that was found may be larger than the expected one
    to_fixed = Affine.from_matrix(geometry.fit_rigid(outcome.moving_xy, outcome.fixed_xy))
    placed = replace(moving, to_world=fixed.to_world @ to_fixed)
    second = Within(matcher, fixed, moving, shown, 0, placed)
    if not second.differs_from(first, _MOVED_PX):
        return outcome
    again = look(second)
    return again if isinstance(again, PairMatch) and again.inliers > outcome.inliers else outcome


def run(scene: Scene, matchers: dict[str, Matcher]) -> dict[str, Run]:
    """Return every row's run; the rows take turns at each pair, so that a busy machine is busy for all."""
    runs = {name: Run({}, {}) for name in matchers}
    for name, matcher in matchers.items():  # warm
        ask(scene, EVERY[name], matcher, scene.pairs[0])
    for pair in scene.pairs:
        for name, matcher in matchers.items():
            began = time.process_time()
            runs[name].outcomes[pair] = ask(scene, EVERY[name], matcher, pair)
            runs[name].seconds[pair] = time.process_time() - began
    return runs


def exact(found: PairMatch) -> tuple[Points, Points]:
    """Return the inliers of a pair, (N, 2) fixed and moving: of a refined one, the matcher's own made exact."""
    if found.every is None:
        return found.fixed_xy, found.moving_xy
    return found.every.fixed_xy, found.every.moving_xy


def answers(runs: dict[str, Run], pair: Pair, without: str = "") -> dict[str, list[Answer]]:
    """Return what each family says of a pair, unrefined; ``without`` has no say."""
    said: dict[str, list[Answer]] = {}
    for name, one in runs.items():
        family, outcome = EVERY[name].family, one.outcomes[pair]
        if family == without or EVERY[name].refine:
            continue
        said.setdefault(family, [])
        if isinstance(outcome, PairMatch):
            said[family].append(Answer(outcome.fixed_xy, outcome.moving_xy, outcome.to_fixed))
    return said


@dataclass(frozen=True, eq=False)
class Measure:
    """What the rows are measured against: for each pair the overlap, the reference, and those without each family."""

    blocks: dict[Pair, Blocks]
    everyone: dict[Pair, Reference]
    without: dict[tuple[str, Pair], Reference | None]


def measure_of(scene: Scene, runs: dict[str, Run]) -> Measure:
    """Return the references of a set; a pair nobody accepted has none."""
    made = Measure({}, {}, {})
    for pair in scene.pairs:
        found = reference(answers(runs, pair))
        if found is None:
            continue
        blocks = overlap_blocks(scene.whole(pair[0]), scene.whole(pair[1]), found)
        if blocks is None:
            continue
        made.everyone[pair], made.blocks[pair] = found, blocks
        for family in {EVERY[name].family for name in runs}:
            made.without[family, pair] = reference(answers(runs, pair, without=family))
    return made


def reference_loops(scene: Scene, against: Measure) -> dict[tuple[str, ...], float]:
    """Return the loops' closure when each pair is the model that fits the reference best over its whole overlap."""
    model = scene.config.model
    pairs = []
    for (one, two), where in against.everyone.items():
        at = against.blocks[one, two].centres
        seen = where(at)
        to_fixed = geometry.FITS[model](seen, at)
        pairs.append(PairMatch(one, two, at, seen, to_fixed, model, np.eye(3), 0.0))
    return closures(scene.layout, pairs)


def closures(layout: Layout, outcomes: Sequence[Outcome]) -> dict[tuple[str, ...], float]:
    """Return the closure error px of every loop of four accepted pairs, the largest of its four overlap centres."""
    step: dict[Pair, NDArray[np.float64]] = {}
    for p in outcomes:
        if isinstance(p, PairMatch):
            step[p.moving, p.fixed] = p.to_fixed
            step[p.fixed, p.moving] = np.asarray(np.linalg.inv(p.to_fixed), np.float64)
    near: dict[str, set[str]] = {}
    for one, two in step:
        near.setdefault(one, set()).add(two)
    errors = {}
    for a, c in combinations(sorted(near), 2):
        for b, d in combinations(sorted(near[a] & near[c]), 2):
            if a == min(a, b, c, d):
                ring = (a, b, c, d)
                errors[ring] = max(_closure(layout, step, ring[k:] + ring[:k]) for k in range(4))
    return errors


def _closure(layout: Layout, step: dict[Pair, NDArray[np.float64]], ring: tuple[str, ...]) -> float:
    first, second = layout[ring[0]], layout[ring[1]]
    middle = real.lattice(second, first, Affine.from_matrix(step[ring[0], ring[1]])).mean(0)[None]
    point = middle
    for one, two in zip(ring, (*ring[1:], ring[0]), strict=True):
        point = geometry.apply(step[one, two], point)
    return float(np.linalg.norm(point - middle))


# --- the table ------------------------------------------------------------------------------------------------------


def covered(found: PairMatch, where: Reference | None, blocks: Blocks) -> float:
    """Return the share of the overlap's blocks that hold a correct inlier; 0 where nobody else knows the pair."""
    if where is None:
        return 0.0
    fixed_xy, moving_xy = exact(found)
    right = where.error_px(fixed_xy, moving_xy) <= CORRECT_PX
    return float(blocks.held(fixed_xy[right]).sum() / blocks.shared.sum())


def off_px(found: PairMatch, where: Reference, blocks: Blocks) -> float:
    """Return how far a pair's transform is from the reference, median over the overlap's blocks."""
    at: Points = blocks.centres
    return float(np.median(np.linalg.norm(geometry.apply(found.to_fixed, where(at)) - at, axis=1))) if len(at) else 0.0


def measure(scene: Scene, runs: dict[str, Run], against: Measure) -> dict[str, dict[str, Any]]:
    """Return the table's rows of one set."""
    rows = {}
    for name, one in runs.items():
        family, loop = EVERY[name].family, closures(scene.layout, list(one.outcomes.values()))
        accepted = {p: o for p, o in one.outcomes.items() if isinstance(o, PairMatch)}
        cover, others, error, wrong = dict.fromkeys(scene.pairs, 0.0), dict.fromkeys(scene.pairs, 0.0), [], 0
        for pair, found in accepted.items():
            everyone, blocks = against.everyone.get(pair), against.blocks.get(pair)
            if everyone is None or blocks is None:  # only refined rows were asked: nobody votes
                continue
            without = against.without[family, pair]
            wrong += off_px(found, everyone, blocks) > WRONG_PX
            cover[pair], others[pair] = covered(found, everyone, blocks), covered(found, without, blocks)
            if without is not None:
                error.append(without.error_px(*exact(found)))
        rows[name] = {
            "pairs": len(scene.pairs),
            "accepted": len(accepted),
            "wrong": wrong,
            "inliers": float(np.median([accepted[p].inliers if p in accepted else 0 for p in scene.pairs])),
            "cpu_s": float(np.mean(list(one.seconds.values()))),
            "coverage": float(np.mean(list(cover.values()))),
            "coverage_by_others": float(np.mean(list(others.values()))),
            "error_px": float(np.median(np.concatenate(error))) if error else None,
            "loops": len(loop),
            "loop_median_px": float(np.median(list(loop.values()))) if loop else None,
            "loop_max_px": max(loop.values()) if loop else None,
        }
    return {n: {k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for n, r in rows.items()}


HEAD = "| set | matcher | pairs | wrong | inliers | CPU s | cover | by others | error px | loops | loop px |"


def line(name: str, row_name: str, row: dict[str, Any]) -> str:
    """Return a line of the table."""

    def px(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    loop = f"{px(row['loop_median_px'])} / {px(row['loop_max_px'])}" if row["loops"] else "-"
    cells = (
        f"{row['accepted']} of {row['pairs']}",
        str(row["wrong"]),
        f"{row['inliers']:.0f}",
        f"{row['cpu_s']:.2f}",
        f"{row['coverage']:.3f}",
        f"{row['coverage_by_others']:.3f}",
        px(row["error_px"]),
        str(row["loops"]),
        loop,
    )
    return f"| {name} | {row_name} | " + " | ".join(cells) + " |"


def verdicts(scene: Scene, runs: dict[str, Run], rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each of our rows and every other: coverage, and loops over those both have closed."""
    lines = []
    rounds = {name: closures(scene.layout, list(r.outcomes.values())) for name, r in runs.items()}
    for ours in (o for o in OURS if o in rows):
        for other in (r for r in rows if EVERY[r].family != "loftr"):
            mine, theirs = rows[ours], rows[other]
            by = [mine[k] - theirs[k] for k in ("coverage", "coverage_by_others")]
            text = f"{scene.name}: {ours} - {other}: coverage {by[0]:+.3f}, by others {by[1]:+.3f}"
            if same := sorted(set(rounds[ours]) & set(rounds[other])):
                one, two = (float(np.median([rounds[r][k] for k in same])) for r in (ours, other))
                text += f"; loops {one:.2f} and {two:.2f} px, {len(same)} the same"
            lines.append(text)
    return lines


def check(rows: dict[str, dict[str, Any]], ledger: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is worse than the ledger: pairs, coverage by over 0.02, loops by over 15 % and 0.05 px."""
    worse = []
    for key, now in rows.items():
        then = ledger.get(key)
        if then is None:
            worse.append(f"{key}: not in the ledger")
            continue
        if now["accepted"] < then["accepted"]:
            worse.append(f"{key}: accepted {then['accepted']} -> {now['accepted']}")
        if now["wrong"] > then["wrong"]:
            worse.append(f"{key}: wrong {then['wrong']} -> {now['wrong']}")
        if now["coverage"] < then["coverage"] - 0.02:
            worse.append(f"{key}: coverage {then['coverage']} -> {now['coverage']}")
        for k in ("loop_median_px", "loop_max_px"):
            if then[k] is not None and (now[k] is None or now[k] > 1.15 * then[k] + 0.05):
                worse.append(f"{key}: {k} {then[k]} -> {now[k]}")
    return worse


def save(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the ledger, rows that were not run kept."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(known | rows, indent=1, sort_keys=True) + "\n")
    part.replace(path)


def picture(scene: Scene, runs: dict[str, Run], against: Measure, out: Path) -> Path | None:
    """Draw the inliers of each row on the pair in the middle of the set; return the file."""
    pairs = [p for p in scene.pairs if p in against.everyone]
    if not pairs:
        return None
    pair = pairs[len(pairs) // 2]
    shown: dict[str, tuple[Points, NDArray[np.bool_]] | None] = {}
    for name, one in runs.items():
        found = one.outcomes[pair]
        if isinstance(found, PairMatch):
            fixed_xy, moving_xy = exact(found)
            shown[name] = (fixed_xy, against.everyone[pair].error_px(fixed_xy, moving_xy) <= CORRECT_PX)
        else:
            shown[name] = None
    path = out / f"{scene.name.replace(' ', '_')}.png"
    draw(path, scene.whole(pair[0]), against.blocks[pair], shown)
    return path


def main() -> None:
    """Measure, print the table, write or check the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(SETS), choices=SETS, metavar="SET", help="; ".join(SETS))
    parser.add_argument(
        "--matchers", nargs="+", default=list(ROWS), choices=EVERY, metavar="ROW", help="; ".join(EVERY)
    )
    parser.add_argument("--weights", default="shipped", help="LoFTR's")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path, help="fail when accuracy fell against this ledger")
    parser.add_argument("--out", type=Path, help="folder for a picture of each set")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    matchers = {name: EVERY[name].make(args.weights) for name in args.matchers}
    rows: dict[str, dict[str, Any]] = {}
    said: list[str] = []
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n")
    for name in args.only:
        scene = open_scene(name, real.data_folder())
        runs = run(scene, matchers)
        against = measure_of(scene, runs)
        here = measure(scene, runs, against)
        said += verdicts(scene, runs, here)
        for row_name, row in here.items():
            rows[f"{name} | {row_name}"] = row
            print(line(name, row_name, row), flush=True)
        if loop := list(reference_loops(scene, against).values()):
            text = f"{len(loop)} | {np.median(loop):.2f} / {max(loop):.2f}"
            print(f"| {name} | reference |" + " |" * 7 + f" {text} |", flush=True)
        lonely = sum(len(r.families) < 2 for r in against.everyone.values())
        if lonely or len(against.everyone) < len(scene.pairs):
            missing = len(scene.pairs) - len(against.everyone)
            print(f"({name}: {lonely} references rest on one family; {missing} pairs have none)")
        if args.write:
            save(args.write, {k: v for k, v in rows.items() if k.split(" | ")[1] in ROWS})
        if args.out:
            print(f"({picture(scene, runs, against, args.out)})", flush=True)
    print("", *said, sep="\n")
    if args.check:
        worse = check(rows, json.loads(args.check.read_text()))
        print(*(f"WORSE {text}" for text in worse), sep="\n")
        sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
