"""Ways to align a stack, on stacks whose truth is known: real tissue with labels, and made-up tissue.

    python benchmarks/align.py --sets fib25_3 fib25_4 own512 own1024 --write benchmarks/ledger/align.json
    python benchmarks/align.py --sets paper --methods joint ssemnet
    python benchmarks/align.py --sets own512 --cases moderate --methods joint --check benchmarks/ledger/align.json

``fib25_3`` and ``fib25_4``: every third and fourth slice of a labelled FIB-SEM volume (Takemura et al. 2015,
doi:10.1073/pnas.1509820112), 20 sections of 250 x 250 px; ``DEMIS_IJ_DATA`` names the folder that holds it, and h5py
reads its labels. ``own512``, ``own1024``: made-up tissue, 20 sections of 512 px and 8 of 1024 px, of a seed that no
network was trained on. ``paper``: 31 sections of 512 px, random vectors only, as in the ssEMnet paper.

Displacements are px at 512 px and grow with the section. What was measured is kept in ``--work``: an interrupted run
goes on; ``--anew`` forgets it, as one must after a change of the code. Times are those of one thread.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.evaluate.align import StackSource, evaluate_stacks, read_method, stack_rows
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.ledger import check, read_ledger, write_ledger
from demis_ij.evaluate.summary import Row
from demis_ij.synth.stack import CASES, ArrayVolume, TrueStack, in_memory, made_up

SEED = 1
FIB25_START = 5
COLUMNS = (
    ("dice_score", 2), ("dice", 3), ("dice_before", 3), ("dice_true", 3), ("drift_dice", 3), ("drift_dice_before", 3),
    ("residual_px", 2), ("residual_95_px", 1), ("ncc", 3), ("ncc_true", 3), ("folded_frac", 4),
    ("wall_s_per_section", 2), ("cpu_s_per_section", 2),
)  # fmt: skip


def data_folder() -> Path:
    """Return the folder of real images."""
    folder = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "em_fib25_medulla_labels").is_dir():
        raise SystemExit(f"no em_fib25_medulla_labels in {folder}: set DEMIS_IJ_DATA, or leave the fib25 sets out")
    return folder / "em_fib25_medulla_labels"


def fib25(every: int, count: int = 20) -> ArrayVolume:
    """Return every n-th slice of the real volume and its labels: bodies, agglomerated from superpixels."""
    import h5py

    folder = data_folder()
    with gzip.open(folder / "groundtruth.h5.gz") as file, h5py.File(io.BytesIO(file.read())) as held:
        superpixels, bodies = held["stack"][:], held["transforms"][:]
    table = np.zeros(int(max(superpixels.max(), bodies[:, 0].max())) + 1, np.int64)
    table[bodies[:, 0]] = bodies[:, 1]
    chosen = range(FIB25_START, FIB25_START + every * count, every)
    names = sorted((folder / "grayscale_maps").glob("*.png"))
    return ArrayVolume([grey(names[k]) for k in chosen], [table[superpixels[k]] for k in chosen])


def grey(path: Path) -> NDArray[np.uint8]:
    """Return an 8-bit picture."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def own(side: int, count: int, seed: int, work: Path) -> ArrayVolume:
    """Return made-up tissue, kept on disk: making it takes longer than aligning it."""
    path = work / f"made_up_{side}_{count}_{seed}.npz"
    if not path.is_file():
        made = made_up(side, count, seed)
        sections = [made[k] for k in range(count)]
        part = path.with_suffix(".part.npz")
        np.savez(part, images=np.stack([s[0] for s in sections]), labels=np.stack([s[1] for s in sections]))
        part.replace(path)
    with np.load(path) as held:
        return ArrayVolume(held["images"], held["labels"])


@dataclass
class Set:
    """A volume, and the cases it is misaligned by."""

    volume: Callable[[Path], ArrayVolume]
    cases: tuple[str, ...] = tuple(CASES)
    held: dict[str, ArrayVolume] = field(default_factory=dict)

    def stack(self, name: str, case: str, work: Path) -> TrueStack:
        """Return a misaligned stack; the volume is read once."""
        if "volume" not in self.held:
            self.held["volume"] = self.volume(work)
        return in_memory(name, self.held["volume"], CASES[case], SEED)


SETS = {
    "fib25_3": Set(lambda _: fib25(3)),
    "fib25_4": Set(lambda _: fib25(4)),
    "own512": Set(lambda work: own(512, 20, 5, work)),
    "own1024": Set(lambda work: own(1024, 8, 5, work), ("none", "moderate", "strong")),
    "paper": Set(lambda work: own(512, 31, 6, work), ("moderate",)),
}


def say(row: Row, *, head: bool = False) -> None:
    """Print a row as soon as it is known."""
    if head:
        print(f"{'stack':<20} {'method':<14}", *(f"{k.replace('_per_section', ''):>17}" for k, _ in COLUMNS))
    told = (f"{row.values.get(k, float('nan')):>17.{digits}f}" for k, digits in COLUMNS)
    print(f"{row.scene:<20} {row.configuration:<14}", *told, flush=True)


def markdown(rows: list[Row]) -> str:
    """Return one table a set: a line a method, a column a case; Dice gained over gainable, or lost where undeformed."""
    blocks = []
    for name in dict.fromkeys(r.scene.split("/")[0] for r in rows):
        mine = {(r.configuration, r.scene.split("/")[1]): r.values for r in rows if r.scene.startswith(f"{name}/")}
        cases = list(dict.fromkeys(case for _, case in mine))
        methods = list(dict.fromkeys(method for method, _ in mine))
        lines = [f"| {name} | " + " | ".join(cases) + " | drift kept | s/section |", "|---" * (len(cases) + 3) + "|"]
        for method in methods:
            told = [
                v for c in cases if (v := mine.get((method, c))) and v.get("dice_true", 0) > v.get("dice_before", 0)
            ]
            kept = sum(v["drift_dice"] > v["drift_dice_before"] for v in told)
            seconds = sorted(v["cpu_s_per_section"] for v in told if "cpu_s_per_section" in v)
            cells = [cell(c, mine.get((method, c))) for c in cases]
            middle = f"{seconds[len(seconds) // 2]:.2f}" if seconds else "-"
            lines.append(f"| {method} | " + " | ".join(cells) + f" | {kept}/{len(told)} | {middle} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def cell(case: str, values: Mapping[str, float] | None) -> str:
    """Return the score of a row; where nothing could be gained, the change of Dice; of one content, the residual."""
    if values is None or "dice" not in values:
        return "-"
    if case == "same":
        return f"{values['residual_px']:.2f} px"
    if values["dice_true"] > values["dice_before"]:
        return f"{values['dice_score']:.2f}"
    return f"{values['dice'] - values['dice_before']:+.3f}"


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["fib25_3", "fib25_4", "own512", "own1024"])
    parser.add_argument("--cases", nargs="+", choices=list(CASES))
    parser.add_argument("--methods", nargs="+", default=["joint", "ssemnet", "chain:flow", "chain:affine"])
    parser.add_argument("--fiji", default="", help="folder of a Fiji, for chain:bunwarpj and chain:elastic")
    parser.add_argument("--work", type=Path, default=Path("align-benchmark"), help="folder that remembers")
    parser.add_argument("--anew", action="store_true", help="measure again what it remembers")
    parser.add_argument("--markdown", action="store_true", help="end with tables: score, or change of Dice")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if any("ssemnet" in m for m in args.methods):
        import torch

        torch.set_num_threads(1)
    ledger = read_ledger(args.check) if args.check else None
    args.work.mkdir(parents=True, exist_ok=True)
    if args.anew:
        for path in (args.work / "measured").glob("*.json"):
            path.unlink()
    methods, rows = [read_method(text, fiji=args.fiji) for text in args.methods], []
    for name in args.sets:
        for case in (c for c in SETS[name].cases if not args.cases or c in args.cases):
            title = f"{name}/{case}"
            source = StackSource(
                title, f"{CASES[case]} {SEED}", lambda n=name, c=case, t=title: SETS[n].stack(t, c, args.work)
            )
            scores = evaluate_stacks([source], methods, kept=Kept(args.work / "measured"))
            for score in (s for s in scores if s.problem):
                print(f"{title} {score.configuration}: {score.problem}", file=sys.stderr)
            for row in stack_rows(scores):
                say(row, head=not rows)
                rows.append(row)
            if args.write:
                write_ledger(args.write, "align", rows)
        SETS[name].held.clear()
    if args.markdown:
        print(markdown(rows))
    fell = check("align", rows, ledger) if ledger is not None else []
    for line in fell:
        print(f"fell: {line}", file=sys.stderr)
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
