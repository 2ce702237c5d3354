"""Ways to register side by side, as an HTML page and a picture: predicted over true parameters, tables, the worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

import demis_ij
from demis_ij.display.markup import Html, count, el, join, px
from demis_ij.evaluate.register_rows import kind_of, pooled_rows, register_rows, true_and_found
from demis_ij.evaluate.scores import RegisterScore
from demis_ij.evaluate.summary import Row
from demis_ij.evaluate.tables import COLUMNS, Column, cell
from demis_ij.report.evaluation_figures import CSS as MORE_CSS
from demis_ij.report.page import POLICY
from demis_ij.report.registration_plots import PARAMETERS, PLOT_CSS, Sets, plots_picture, scatter
from demis_ij.report.style import CSS
from demis_ij.report.training_figures import CHART_CSS

PICTURED = ("auto", "network")
"""Methods in the picture, when they were measured; else the first."""
WORST = 20
_OURS = {"auto": "The whole: network, search, fit, verdict", "network": "The network alone, two passes"}


def write_register_evaluation(
    path: Path, picture: Path, scores: Sequence[RegisterScore], *, notes: Sequence[str] = ()
) -> None:
    """Write the page, and the plots of its first methods as a PNG.

    Parameters
    ----------
    path, picture : Path
        Replaced when the new ones are whole.
    scores : sequence of RegisterScore
        One at least.
    notes : sequence of str
        What else is to be said, one line each.
    """
    names = list(dict.fromkeys(s.configuration for s in scores))
    shown = [n for n in PICTURED if n in names] or names[:1]
    rows = {f"{_OURS.get(n, n)}{_refused(_of(scores, n))}": plots_of(_of(scores, n)) for n in shown}
    coded = cv2.imencode(".png", plots_picture(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    page = register_evaluation_page(scores, notes=notes).encode("utf-8")
    for target, content in ((picture, coded), (path, page)):
        part = target.with_name(target.name + ".part")
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def register_evaluation_page(scores: Sequence[RegisterScore], *, notes: Sequence[str] = ()) -> Html:
    """Return the page."""
    names = list(dict.fromkeys(s.configuration for s in scores))
    scenes = list(dict.fromkeys(s.scene for s in scores))
    heading = "Evaluation of registering"
    source = f"{count(len(names), 'method')} · {count(len(scores) // len(names), 'pair')} each · {', '.join(scenes)}"
    parts: list[Html | None] = [
        el("header", el("h1", heading), el("p", source, class_="source")),
        el("ul", *[el("li", n) for n in notes], class_="warnings") if notes else None,
        el("h2", "Predicted and true parameters"),
        el("p", "Pairs that match and were not refused. The line is prediction = truth.", class_="note"),
        *[_plots(name, _of(scores, name)) for name in names],
        *_tables(scores),
        *_worst(scores),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
    ]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS + MORE_CSS + CHART_CSS + PLOT_CSS)),
    )
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *parts), lang="en"), Html("\n"))


def _of(scores: Sequence[RegisterScore], name: str) -> list[RegisterScore]:
    """Return the scores of a method on pairs that match."""
    return [s for s in scores if s.configuration == name and not s.stranger]


def _refused(scores: Sequence[RegisterScore]) -> str:
    """Return how many pairs there are, and how many of them are not in the plots."""
    lost = sum(not s.matched for s in scores)
    return f": {len(scores)} pairs, {lost} refused" if scores else ""


def plots_of(scores: Sequence[RegisterScore]) -> list[tuple[str, str, Sets]]:
    """Return title, unit and the sets of each of the four parameters: one set a kind of instrument."""
    kinds = list(dict.fromkeys(kind_of(s) for s in scores))
    held = {kind: true_and_found([s for s in scores if kind_of(s) == kind]) for kind in kinds}
    return [
        (title, unit, {kind: (as_shown(t[:, n]), as_shown(f[:, n])) for kind, (t, f) in held.items()})
        for n, (title, unit, as_shown) in enumerate(PARAMETERS)
    ]


def _plots(name: str, scores: Sequence[RegisterScore]) -> Html | None:
    if not any(s.found for s in scores):
        return None
    title = f"{name}: {_OURS[name].lower()}" if name in _OURS else name
    figures = [scatter(*one) for one in plots_of(scores)]
    return join(el("h3", title, _refused(scores)), el("div", *figures, class_="charts four"))


def _tables(scores: Sequence[RegisterScore]) -> list[Html]:
    """Return the figures of all pairs together and of each kind, and folded away those of each scene."""
    out = [el("h2", "Figures")]
    for rows, folded in ((pooled_rows(scores), False), (register_rows(scores), True)):
        for scene in dict.fromkeys(r.scene for r in rows):
            table = _table([r for r in rows if r.scene == scene])
            out.append(el("details", el("summary", scene), table) if folded else join(el("h3", scene), table))
    return [*out, el("p", "Hover over a figure's name for its meaning.", class_="note")]


def _table(rows: Sequence[Row]) -> Html:
    head = el("thead", el("tr", el("th", "figure"), *[el("th", r.configuration, class_="n") for r in rows]))
    used = [c for c in COLUMNS["register"] if any(math.isfinite(r.values.get(c.key, math.nan)) for r in rows)]
    body = el("tbody", *[_line(c, rows) for c in used])
    return el("div", el("table", head, body, class_="figures"), class_="scroll whole")


def _line(column: Column, rows: Sequence[Row]) -> Html:
    nothing: Mapping[str, str] = {}
    cells = [el("td", cell(row, column, nothing)) for row in rows]
    return el("tr", el("th", column.head, title=column.meaning), *cells)


def _worst(scores: Sequence[RegisterScore]) -> list[Html]:
    """Return the worst pairs of the first method: those that are believed and wrong, then refused, then by error."""
    first = scores[0].configuration

    def badness(s: RegisterScore) -> tuple[bool, float]:
        wrong = s.matched and (s.stranger or (s.error_px or 0.0) > 10)
        return wrong, math.inf if not s.matched else s.error_px or 0.0

    ranked = sorted((s for s in scores if s.configuration == first and (s.matched or not s.stranger)), key=badness)
    head = el("thead", el("tr", *[el("th", h) for h in ("scene", "pair", "error px", "expected", "found by", "")]))
    lines = [
        el("tr", el("td", s.scene), el("td", s.pair, class_="n"), el("td", px(s.error_px), class_="n"),
           el("td", px(s.sigma_px), class_="n"), el("td", s.route), el("td", s.problem or _said(s)))
        for s in reversed(ranked[-WORST:])
    ]  # fmt: skip
    return [el("h2", f"The worst of {first}"), el("div", el("table", head, el("tbody", *lines)), class_="scroll")]


def _said(s: RegisterScore) -> str:
    if s.stranger:
        return "strangers, believed"
    return "" if s.matched else f"refused; stands out by {s.standing:.1f} standard deviations"


__all__ = ["plots_of", "register_evaluation_page", "write_register_evaluation"]
