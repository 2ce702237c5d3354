"""The table of the style-transfer paper again, on made-up pairs whose warp is known: raw against restyled, by engine.

``demis-ij evaluate style`` measures; this prints what it has measured as the tables of README.md, and keeps the ledger.
Slow engines are measured on fewer pairs, the first of the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from demis_ij.config.correlative import EVALUATION_PAIRS, CorrelativeConfig
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.ledger import check, read_ledger, write_ledger
from demis_ij.evaluate.style import DEFAULT, digests_of, evaluate_styles, load_styles, read_styles
from demis_ij.evaluate.style_methods import read_method
from demis_ij.evaluate.style_rows import style_rows
from demis_ij.evaluate.summary import ALL, Row
from demis_ij.metrics.tiers import TIERS


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT), help="LOOK+ENGINE[,SETTING=VALUE...]")
    parser.add_argument("--pairs", type=int, default=EVALUATION_PAIRS, help="steel and tissue together")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--style", nargs="*", default=[], help="[KIND=]WEIGHTS (default those that ship)")
    parser.add_argument("--fiji", default="", help="folder of a Fiji, for bunwarpj")
    parser.add_argument("--work", type=Path, default=Path("style_measured"), help="what was measured is kept here")
    parser.add_argument("--write", type=Path, help="put the figures into this ledger")
    parser.add_argument("--check", type=Path, help="end with 1 when a figure fell against this ledger")
    return parser.parse_args()


def main() -> int:
    """Measure and print."""
    asked = arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = CorrelativeConfig(pairs=asked.pairs, size_px=asked.size)
    methods = [read_method(text, fiji=asked.fiji) for text in asked.methods]
    weights = {kind: kind for kind in config.kinds} | read_styles(asked.style)
    styled = any(m.look == "styled" for m in methods)
    styles = load_styles(weights) if styled else {}
    scores = evaluate_styles(
        config, methods, styles=styles, weights=digests_of(weights) if styled else {}, kept=Kept(asked.work),
        progress=lambda what, done, total: print(f"\r{what}: {done} of {total}   ", end="", file=sys.stderr),
    )  # fmt: skip
    print(file=sys.stderr)
    rows = style_rows(scores)
    print(markdown(rows))
    if asked.write:
        write_ledger(asked.write, "style", rows)
    fell = check("style", rows, read_ledger(asked.check)) if asked.check else []
    for line in fell:
        print(f"fell: {line}", file=sys.stderr)
    return 1 if fell else 0


def markdown(rows: Sequence[Row]) -> str:
    """Return a line a method: poor / bad / decent / good and the median residual, steel and tissue side by side."""
    kinds = [k for k in dict.fromkeys(r.scene for r in rows) if k != ALL]
    lines = [
        f"| look + engine | pairs of each | {' | '.join(f'{k} | px' for k in kinds)} | s a pair |",
        f"|---|---|{'---|' * (2 * len(kinds))}---|",
    ]
    for method in dict.fromkeys(r.configuration for r in rows):
        held = {r.scene: r.values for r in rows if r.configuration == method}
        cells = [cell for k in kinds for cell in (tiers_of(held[k]), f"{held[k]['median_residual_px']:.2f}")]
        count, seconds = (held[kinds[0]][key] for key in ("pairs", "cpu_s"))
        lines.append(f"| {method} | {count:.0f} | {' | '.join(cells)} | {seconds:.2f} |")
    return "\n".join(lines)


def tiers_of(values: dict[str, float]) -> str:
    """Return how many pairs are of each tier, from worst to best."""
    return " / ".join(f"{values[t]:.0f}" for t in TIERS)


if __name__ == "__main__":
    sys.exit(main())
