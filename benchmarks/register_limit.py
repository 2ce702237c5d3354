"""How far a place must stand out to be believed: chosen on made-up pairs that no evaluation uses, and strangers.

    python benchmarks/register_limit.py --first 20000 --pairs 100 --out register-limit
    python benchmarks/register_limit.py --pairs 0 --out register-limit register-limit-2        # what is there, together

Pairs of every scene of ``demis-ij evaluate register`` from a number on (evaluations count from 0), and strangers: the
electrons of one specimen, and what another instrument shows of the specimen two numbers before, of the same kind. All
that registering tries is written down, believed or not, in ``--out``; an interrupted run goes on. So each limit can be
told from one run, and the rule is

1. no stranger, and no place that is more than 10 px off, stands out to less than ``MARGIN`` below the limit;
2. it refuses at most 2 % of the pairs of small and full range;
3. of such limits those that lose the fewest pairs; of these the highest one up to ``CAUTIOUS``, else the lowest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from demis_ij.config.registering import RegisterConfig
from demis_ij.evaluate.register import SCENES, STRANGERS, grey, made_pair
from demis_ij.evaluate.scores import FAIL_PX
from demis_ij.records import Affine
from demis_ij.register.network import network_guess
from demis_ij.register.registering import Guess, Registrar
from demis_ij.synth.correlative_pairs import CorrelativePair, corner_error_px

LIMITS = tuple(float(v) for v in np.arange(7, 11.01, 0.5))
BEYOND = 12.0
"""No limit so high is told: what stands out by that is believed."""
MARGIN = 1.0
CAUTIOUS = 8.5
MOST_REFUSED = 0.02
APART = 2
"""From a specimen to the one before of the same kind: tissue and materials alternate."""


@dataclass(frozen=True)
class Tried:
    """A place that was tried.

    Attributes
    ----------
    method : str
    standing : float
        Standard deviations.
    own : float or None
        What it needs whatever the limit, where that is its own: as its parts agree, or of marks.
    error_px : float or None
        Of the corners; None of strangers.
    """

    method: str
    standing: float
    own: float | None
    error_px: float | None

    def believed(self, limit: float) -> bool:
        """Return whether a limit lets it pass; what is asked of its parts never needs more than the others."""
        return self.standing >= (limit if self.own is None else self.own)


@dataclass(frozen=True)
class Pair:
    """A pair, and the places that were tried, in their order."""

    scene: str
    number: int
    tried: tuple[Tried, ...]

    @property
    def stranger(self) -> bool:
        """Whether the two have nothing in common."""
        return self.scene.startswith(STRANGERS)

    def at(self, limit: float) -> Tried | None:
        """Return the place that is believed with a limit; None when the pair is refused."""
        return next((t for t in self.tried if t.believed(limit)), None)


def tried(fixed: np.ndarray, moving: np.ndarray, truth: Affine | None, guess: Guess | None) -> Iterator[Tried]:
    """Yield what registering tries, up to the first place that any limit believes."""
    for one in Registrar(fixed, RegisterConfig(threads=1), guess=guess, needed=BEYOND).attempts(moving):
        if one.to_moving is None:
            continue
        error = None if truth is None else corner_error_px(one.to_moving, truth, fixed.shape)
        yield Tried(one.method, one.standing, None if one.needed == BEYOND else one.needed, error)
        if one.standing >= BEYOND:
            return


def measured(first: int, count: int, out: Path) -> Iterator[Pair]:
    """Yield pairs by number, those that are written down already not again."""
    path = out / "pairs.jsonl"
    known = {(p.scene, p.number) for p in read(path)} if path.is_file() else set()
    guess = network_guess(RegisterConfig(threads=1))
    before: dict[int, dict[str, CorrelativePair]] = {}
    for number in range(first - APART, first + count):
        made = {scene: made_pair(scene, number) for scene in SCENES if scene != STRANGERS}
        before[number] = made
        other = before.pop(number - APART, None)
        if other is None:
            continue
        asked = [(scene, p.fixed, p.moving, p.to_moving) for scene, p in made.items()]
        strange = ("xray_hard/full", "light_hard/full", ("mono/full", "xray/full", "light/full")[number // 2 % 3])
        asked += [(f"{STRANGERS}: {s}", made[s].fixed, other[s].moving, None) for s in strange]
        for scene, fixed, moving, truth in asked:
            if (scene, number) not in known:
                yield Pair(scene, number, tuple(tried(fixed, grey(moving), truth, guess)))


def read(path: Path) -> list[Pair]:
    """Return the pairs that are written down."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [Pair(r["scene"], r["number"], tuple(Tried(**t) for t in r["tried"])) for r in rows]


def kind_of(pair: Pair) -> str:
    """Return the line of the table that a pair counts in."""
    if pair.stranger:
        return STRANGERS
    return pair.scene if "hard" in pair.scene else "small and full"


def told(pairs: Sequence[Pair]) -> dict[str, dict[float, tuple[int, int]]]:
    """Return for each line how many are refused, and believed wrongly, with each limit."""
    out: dict[str, dict[float, tuple[int, int]]] = {}
    for kind in sorted({kind_of(p) for p in pairs}):
        mine = [p for p in pairs if kind_of(p) == kind]
        for limit in LIMITS:
            found = [p.at(limit) for p in mine]
            wrong = sum(f is not None and (f.error_px is None or f.error_px > FAIL_PX) for f in found)
            out.setdefault(kind, {})[limit] = (sum(f is None for f in found), wrong)
    return out


def highest_wrong(pairs: Sequence[Pair], *, strangers: bool) -> Tried | None:
    """Return what stands out most of strangers, or of places of matching pairs that are off by more than 10 px."""
    wrong = [
        t
        for p in pairs
        if p.stranger == strangers
        for t in p.tried
        if t.own is None and (t.error_px is None or t.error_px > FAIL_PX)
    ]
    return max(wrong, key=lambda t: t.standing, default=None)


def chosen(pairs: Sequence[Pair]) -> float | None:
    """Return the limit that the rule leads to; None when none serves."""
    seen = told(pairs)
    most = max((w.standing for s in (True, False) if (w := highest_wrong(pairs, strangers=s))), default=0.0)
    easy = [p for p in pairs if kind_of(p) == "small and full"]
    serve = [
        limit
        for limit in LIMITS
        if limit >= most + MARGIN and seen["small and full"][limit][0] <= MOST_REFUSED * len(easy)
    ]
    if not serve:
        return None
    lost = {v: sum(sum(seen[kind][v]) for kind in seen if kind != STRANGERS) for v in serve}
    best = [v for v in serve if lost[v] == min(lost.values())]
    return max((v for v in best if v <= CAUTIOUS), default=min(best))


def markdown(pairs: Sequence[Pair]) -> str:
    """Return a table: a line a kind of pair, a column a limit; how many are refused (believed wrongly)."""
    lines = ["| | pairs | " + " | ".join(f"{v:g}" for v in LIMITS) + " |", "|---" * (len(LIMITS) + 2) + "|"]
    for kind, cells in told(pairs).items():
        count = sum(kind_of(p) == kind for p in pairs)
        lines.append(f"| {kind} | {count} | " + " | ".join(f"{r} ({w})" for r, w in cells.values()) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=20000, help="number of the first pair")
    parser.add_argument("--pairs", type=int, default=100, help="of each scene")
    parser.add_argument("--out", type=Path, nargs="+", default=[Path("register-limit")], help="folders that remember")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.out[0].mkdir(parents=True, exist_ok=True)
    if args.pairs:
        with (args.out[0] / "pairs.jsonl").open("a") as file:
            for pair in measured(args.first, args.pairs, args.out[0]):
                file.write(json.dumps(asdict(pair)) + "\n")
                file.flush()
    pairs = [p for folder in args.out for p in read(folder / "pairs.jsonl")]
    print(markdown(pairs) + "\n")
    for strangers, name in ((True, "strangers"), (False, "wrong places of pairs")):
        most = highest_wrong(pairs, strangers=strangers)
        print(f"highest of {name}: " + ("none" if most is None else f"{most.standing:.2f}, {most.method}"))
    limit = chosen(pairs)
    print("no limit serves" if limit is None else f"limit: {limit:g}")
    return 0 if limit is not None else 1


if __name__ == "__main__":
    sys.exit(main())
