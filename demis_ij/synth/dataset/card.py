"""The card of a dataset: what is in it, what it was made of and how, for people."""

from __future__ import annotations

from typing import Any

from demis_ij.config import GRID_PRESETS
from demis_ij.synth.dataset.splits import SPLITS


def card_text(record: dict[str, Any]) -> str:
    """Return ``DATASET.md`` from what ``dataset.json`` holds."""
    config, grids, sources = record["config"], record["grids"], record["sources"]
    lines = [
        "# Grids of overlapping tiles with exact truth",
        "",
        f"Made by demis_ij {record['demis_ij']} (`demis-ij synth grids`), preset `{record['preset']}`, seed"
        f" {record['seed']}. The same seed, settings and images give the same poses and pixels on every machine"
        + (" (made-up sections may differ by a grey level here and there)." if config["generated"] else "."),
        "",
        f"`contact_sheet.png` shows it. Tiles are {config['tile_px']} px wide and high, 8 bits; noise is Gaussian with"
        " mean zero, drawn in floating point and rounded once.",
        "",
        "| Split | Sources | Grids | Tiles | Pairs |",
        "|---|---|---|---|---|",
    ]
    for split in SPLITS:
        of = [g for g in grids if g["split"] == split]
        count = sum(s["split"] == split for s in sources)
        lines.append(f"| {split} | {count} | {len(of)} | {_sum(of, 'tiles')} | {_sum(of, 'pairs')} |")
    gaps = (
        f"Missing tiles: {_sum(grids, 'missing')}. Tiles of resin: {_sum(grids, 'resin')}. Grids with a decoy:"
        f" {_sum(grids, 'decoy')}."
    )
    lines += ["", f"{gaps} No source is in two splits.", "", *_layout(), "", "## Settings", ""]
    preset = GRID_PRESETS.get(record["preset"], {})
    lines += ["| Setting | Value | |", "|---|---|---|"]
    for name, value in config.items():
        shown = str(value).lower() if isinstance(value, bool) else value
        changed = name in preset and preset[name] == value
        lines.append(f"| `{name}` | {shown if shown != '' else '-'} | {'preset' if changed else ''} |")
    lines += ["", "## Sources", "", "| Image | Size | Split | SHA-256 of the file |", "|---|---|---|---|"]
    for s in sources:
        name = s["name"].replace("|", "\\|")
        lines.append(f"| {name} | {s['cols_px']} x {s['rows_px']} | {s['split']} | `{s['sha256']}` |")
    if record["left_out"]:
        lines += ["", "## Left out", "", *(f"* {' '.join(line.split())}" for line in record["left_out"])]
    return "\n".join(lines) + "\n"


def _sum(grids: list[dict[str, Any]], key: str) -> int:
    return sum(int(g[key]) for g in grids)


def _layout() -> list[str]:
    return [
        "## Files",
        "",
        "* `images/`, `labels/`, `indices/`, `splits/`: the layout of the DEMIS dataset (EM424). A line of a labels"
        " file is image, row, column, x, y, degrees: the tile's first pixel in the source before it is turned by so"
        " many degrees (x towards y) about its pixel (width // 2, height // 2). Grids whose poses are no whole px and"
        " degrees have decimals there, which the code published with EM424 refuses.",
        "* `grids/NAME/project.xml` (TrakEM2) and `TileConfiguration.txt`: what the stage says. `truth.json`: where the"
        " tiles really are. `look.png`: a picture of it.",
        "* `dataset.json`: this page for programs.",
    ]
