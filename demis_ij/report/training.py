"""A training run as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import demis_ij
from demis_ij.display.markup import Html, count, el, join, seconds
from demis_ij.report.figures import grade_legend
from demis_ij.report.page import POLICY
from demis_ij.report.style import CSS, DEFINITIONS, SCRIPT
from demis_ij.report.training_figures import CHART_CSS, Curve, chart, pair_figure
from demis_ij.train.card import LINES
from demis_ij.train.outcome import Outcome

PAIR_BYTES = 60_000
"""What one picture of a pair may take."""
BETTER = 0.005
"""Mean AUC by which weights must differ for the page to call them better or worse."""


def write_training_report(path: Path, outcome: Outcome) -> None:
    """Write one HTML page that shows how a training goes and whether its weights are any better: no other file needed.

    Parameters
    ----------
    path : Path
        The page. An existing one is replaced when the new one is whole.
    outcome : Outcome
        The training so far.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(training_page(outcome), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def training_page(outcome: Outcome) -> Html:
    """Return the page."""
    heading = f"Training LoFTR: {outcome.weights.parent.resolve().name}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS + CHART_CSS)),
    )
    parts = [
        Html(DEFINITIONS),
        el("header", el("h1", heading), _source(outcome)),
        _banner(outcome),
        _cards(outcome),
        _curves(outcome),
        _pictures(outcome),
        _tables(outcome),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
        el("script", Html(SCRIPT)),
    ]
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *parts), lang="en"), Html("\n"))


def validations(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the validations of the history, in order."""
    return [line for line in outcome.history if "validation" in line]


def verdict(outcome: Outcome) -> tuple[str, str]:
    """Return a level (good, check, bad) and one sentence about the weights."""
    judged = validations(outcome)
    so_far = "" if outcome.is_over else f" so far, {outcome.step} of {outcome.steps} steps done"
    if not judged:
        return "check", f"These weights were not validated{so_far or ': judge them on your own tiles'}."
    best = max(judged, key=lambda line: (line["mean_auc"], line["step"]))
    said = f"mean AUC {best['mean_auc']:.3f} at step {outcome.best_step}"
    if outcome.stopped_early:
        said += f"; stopped early at step {outcome.step}, validation got no better"
    if best["mean_auc"] <= 0:
        return ("bad" if outcome.is_over else "check"), f"No validation pair is matched{so_far or ''}."
    first = judged[0]
    if first["step"] == 0:
        gain = best["mean_auc"] - first["mean_auc"]
        before = f"{first['mean_auc']:.3f} before training"
        if gain < BETTER:
            return "check", f"No better than the weights it began with{so_far} ({said}; {before})."
        return "good", f"Better than the weights it began with{so_far}: {said}, {before}."
    return "good", f"Trained from scratch{so_far}: {said}."


def _banner(outcome: Outcome) -> Html:
    level, sentence = verdict(outcome)
    mark = {"good": "✓", "check": "!", "bad": "✕"}[level]
    return el("section", el("p", el("strong", f"{mark} "), sentence, class_="said"), class_=f"verdict {level}")


def _source(outcome: Outcome) -> Html:
    facts = outcome.facts
    numbers = [sum(facts[side]["folders"].values()) for side in ("train", "validation")]
    said = [
        f"{count(numbers[0], 'source')} to train on, {numbers[1]} held out",
        f"{facts['parameters'] / 1e6:.2f} million parameters",
        f"seed {facts['seed']}",
        str(outcome.weights),
    ]
    return el("p", " · ".join(said), class_="source")


def _cards(outcome: Outcome) -> Html:
    losses = [line for line in outcome.history if "coarse" in line]
    scores = outcome.facts["scores"] or {}
    spent = losses[-1]["seconds"] if losses else 0.0
    cards = [(f"{outcome.step} of {outcome.steps}", "steps"), (seconds(spent), "spent")]
    if scores:
        cards += [
            (_share(scores["auc_1px"]), "AUC of the corner error to 1 px"),
            (_share(scores["auc_10px"]), "to 10 px"),
            (_share(scores["right_1px"]), "matches right to 1 px"),
            (_share(scores["coverage"]), "of the overlap covered"),
            (_share(scores["failed"]), "pairs failed"),
            (f"{scores['false_pairs']} of {scores['blank_pairs']}", "pairs of two different places believed"),
        ]
    items = [el("div", el("b", value), el("span", label), class_="card") for value, label in cards]
    return el("div", *items, class_="cards")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _curves(outcome: Outcome) -> Html:
    losses = [line for line in outcome.history if "coarse" in line]
    judged = validations(outcome)
    steps, at = [line["step"] for line in losses], [line["step"] for line in judged]

    def scored(key: str, name: str) -> Curve:
        return Curve(name, at, [line["validation"][key] for line in judged])

    charts = [
        chart("Coarse loss", [Curve("coarse", steps, [line["coarse"] for line in losses])], log=True),
        chart("Fine loss", [Curve("fine", steps, [line["fine"] for line in losses])], log=True),
    ]
    if any("imitation" in line for line in losses):
        taught = Curve("imitation", steps, [line.get("imitation") for line in losses])
        charts.append(chart("Distance from the teacher", [taught], log=True))
    if judged:
        best = outcome.best_step
        areas = [scored(f"auc_{px}px", f"to {px} px") for px in (1, 3, 5, 10)]
        charts.append(chart("Validation: AUC of the corner error", areas, best_step=best))
        shares = [("right_1px", "matches right to 1 px"), ("coverage", "overlap covered"), ("failed", "pairs failed")]
        charts.append(chart("Validation: shares", [scored(*s) for s in shares], best_step=best))
    note = "Losses are means since the point before. The vertical line marks the weights that are kept."
    return el("section", el("h2", "Curves"), el("div", *charts, class_="charts"), el("p", note, class_="note"))


def _pictures(outcome: Outcome) -> Html:
    parts: list[Html] = []
    if outcome.validation_pairs:
        legend = el("p", "Distance of a match from the truth: ", grade_legend(), class_="note")
        figures = [pair_figure(p, PAIR_BYTES, predicted=True) for p in outcome.validation_pairs]
        parts += [el("h2", "Matches on pairs that were held out"), legend, el("div", *figures, class_="pairs")]
    figures = [pair_figure(p, PAIR_BYTES, predicted=False) for p in outcome.training_pairs]
    note = "Pairs as they are cut for training, with places that belong together."
    parts += [el("h2", "What it is shown"), el("p", note, class_="note"), el("div", *figures, class_="pairs")]
    return el("section", *parts)


def _tables(outcome: Outcome) -> Html:
    facts, judged = outcome.facts, validations(outcome)
    parts: list[Html] = []
    if judged:
        heads = ["step", "mean AUC", *(said for _, said in LINES)]
        rows = [
            [str(line["step"]), _share(line["mean_auc"]), *(_cell(line["validation"][key]) for key, _ in LINES)]
            for line in judged
        ]
        parts.append(el("details", el("summary", "Every validation"), _table(heads, rows)))
    folders = sorted({*facts["train"]["folders"], *facts["validation"]["folders"]})
    data = [[f, *(str(facts[side]["folders"].get(f, 0)) for side in ("train", "validation"))] for f in folders]
    held = ", ".join(facts["validation"]["images"])
    parts += [
        el("h2", "Data"),
        _table(["Folder", "to train on", "held out"], data),
        el("p", f"Held out: {held}." if held else None, class_="note"),
        el("p", f"Licence of the images: {facts['licence'] or 'not given'}.", class_="note"),
        el("details", el("summary", "Settings"), _settings(facts["settings"])),
    ]
    return el("section", *parts)


def _settings(tables: Mapping[str, Mapping[str, Any]]) -> Html:
    rows = [[f"[{table}] {key}", _plain(value)] for table, values in tables.items() for key, value in values.items()]
    return _table(["Setting", "Value"], rows)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return a table whose first column is text and whose others are numbers."""
    head = el("thead", el("tr", *[el("th", h, class_="n" if k else None) for k, h in enumerate(heads)]))
    lines = [el("tr", *[el("td", c, class_="n" if k else None) for k, c in enumerate(row)]) for row in rows]
    return el("div", el("table", head, el("tbody", *lines)), class_="scroll")
