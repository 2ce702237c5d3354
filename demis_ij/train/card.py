"""The card of trained weights, for people: what they were made from, how, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LINES = (
    ("auc_1px", "AUC of the corner error to 1 px"),
    ("auc_3px", "AUC to 3 px"),
    ("auc_5px", "AUC to 5 px"),
    ("auc_10px", "AUC to 10 px"),
    ("right_1px", "matches right to 1 px"),
    ("right_3px", "matches right to 3 px"),
    ("inliers", "matches that agree, mean a pair"),
    ("coverage", "blocks of the overlap with a match right to 1 px"),
    ("failed", "pairs without a transform, or off by over 10 px"),
    ("pairs", "pairs"),
    ("false_pairs", "pairs of two different places that were believed"),
    ("blank_pairs", "pairs of two different places"),
)
"""Scores in the order in which they are told."""


def card_page(facts: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    facts : mapping
        What `demis_ij.train.loftr.Training.card` says.
    """
    train = facts["settings"]["train"]
    frame = "at integers" if not facts["half_pixel"] else f"at x + {facts['half_pixel']:g} (taken off on loading)"
    begun = f"fine-tuned from `{train['init']}`" if train["init"] else "from scratch"
    lines = [
        "# LoFTR weights",
        "",
        f"LoFTR (Sun et al. 2021, arXiv:2104.00680), {facts['parameters']} parameters, {begun}, "
        f"step {facts['step']} of {train['steps']}, seed {facts['seed']}, demis_ij {facts['version']}. "
        f"Pixel centres {frame}. The architecture and this card are in the file's own metadata.",
        "",
        f"**Licence of the images:** {facts['licence'] or 'not given'}",
        "",
        "## Data",
        "",
        "| Folder | Images to train on | Held out |",
        "|---|---|---|",
    ]
    sides = [facts[side]["folders"] for side in ("train", "validation")]
    for folder in sorted({*sides[0], *sides[1]}):
        lines.append(f"| {folder} | {sides[0].get(folder, 0)} | {sides[1].get(folder, 0)} |")
    names = facts["validation"]["images"]
    if names:
        lines += ["", "Held out: " + ", ".join(names) + "."]
    lines += ["", "## Validation", ""]
    lines += score_lines(facts["scores"]) if facts["scores"] else ["None was made."]
    lines += ["", "## Command", "", f"    {facts['command'] or '(from Python)'}", ""]
    lines += ["All settings are in `config.toml` beside this card; `--config` reads it.", ""]
    return "\n".join(lines)


def score_lines(scores: Mapping[str, Any]) -> list[str]:
    """Return a Markdown table of scores."""
    rows = [f"| {said} | {_number(scores[key])} |" for key, said in LINES]
    return ["| | |", "|---|---|", *rows]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
