"""An evaluation of registrations between light and electrons as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import demis_ij
from demis_ij.display.markup import Html, count, el, join, px
from demis_ij.errors import InputError
from demis_ij.evaluate.scores import StyleScore
from demis_ij.evaluate.style_rows import style_rows, tier_of
from demis_ij.evaluate.summary import ALL, Row
from demis_ij.evaluate.tables import COLUMNS, Column, cell
from demis_ij.metrics.tiers import CENTRAL, LIMITS, TIERS
from demis_ij.report.evaluation_figures import CSS as MORE_CSS
from demis_ij.report.page import POLICY
from demis_ij.report.style import CSS
from demis_ij.report.style_pictures import Pictured, figure

WORST = 30
"""Pairs in the table of the worst."""
_TONES = {"poor": "#c23b4e", "bad": "#e39a3b", "decent": "#a8c96a", "good": "#2f9e6e"}
_CSS = """
.tiers{display:grid;grid-template-columns:max-content 1fr;gap:.35rem .9rem;align-items:center;margin:.6rem 0}
.tiers .name{font-size:.9rem;white-space:nowrap}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.7rem;margin:.5rem 0 1.4rem}
.panels img{display:block;border:1px solid var(--line)}
"""


def write_style_evaluation(
    path: Path, scores: Sequence[StyleScore], *, shown: Sequence[Pictured] = (), notes: Sequence[str] = ()
) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
        Replaced when the new one is whole.
    scores : sequence of StyleScore
        One at least.
    shown : sequence of Pictured
        Registrations to be looked at.
    notes : sequence of str
        What else is to be said, one line each.

    Raises
    ------
    InputError
        When there is nothing to show.
    """
    if not scores:
        msg = "a page of an evaluation needs one score at least, found none"
        raise InputError(msg)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(style_evaluation_page(scores, shown=shown, notes=notes), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def style_evaluation_page(
    scores: Sequence[StyleScore], *, shown: Sequence[Pictured] = (), notes: Sequence[str] = ()
) -> Html:
    """Return the page."""
    names = list(dict.fromkeys(s.configuration for s in scores))
    kinds = list(dict.fromkeys(s.scene for s in scores))
    rows = style_rows(scores)
    heading = "Registering light with electrons"
    source = f"{count(len(names), 'method')} · {count(len(scores) // len(names), 'pair')} each · {', '.join(kinds)}"
    parts: list[Html | None] = [
        el("header", el("h1", heading), el("p", source, class_="source")),
        el("ul", *[el("li", n) for n in notes], class_="warnings") if notes else None,
        el("p", _rule(), class_="note"),
        *[part for scene in _scenes(rows) for part in _scene(scene, [r for r in rows if r.scene == scene])],
        _judged(scores),
        join(el("h2", "Looked at"), *[figure(one) for one in shown]) if shown else None,
        _worst(scores),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
    ]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS + MORE_CSS + _CSS)),
    )
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *parts), lang="en"), Html("\n"))


def _rule() -> str:
    return (
        f"Against the known warp, over the central {CENTRAL:.0%} of each side. Good: mean residual at most "
        f"{LIMITS.good_px:g} px, 95 % of the pixels within {LIMITS.good_95_px:g} px. Decent: mean at most "
        f"{LIMITS.decent_px:g} px. Poor: worse than doing nothing, or more than {LIMITS.folded_frac:.0%} folded. Bad: "
        "the rest."
    )


def _scenes(rows: Sequence[Row]) -> list[str]:
    scenes = list(dict.fromkeys(r.scene for r in rows))
    return sorted(scenes, key=lambda s: s != ALL)


def _scene(scene: str, rows: Sequence[Row]) -> list[Html]:
    bars = [part for r in rows for part in (el("span", r.configuration, class_="name"), _bar(r))]
    head = el("thead", el("tr", el("th", "figure"), *[el("th", r.configuration, class_="n") for r in rows]))
    body = el("tbody", *[_line(c, rows) for c in COLUMNS["style"]])
    table = el("div", el("table", head, body, class_="figures"), class_="scroll whole")
    title = "steel and tissue" if scene == ALL else scene
    return [el("h2", title), el("div", *bars, class_="tiers"), table]


def _bar(row: Row) -> Html:
    held = [(t, int(row.values[t])) for t in TIERS]
    parts = [
        el("span", f"{n} {t}" if n > 0.08 * row.values["pairs"] else str(n),
           style=f"flex-grow:{n};background:{_TONES[t]}", title=f"{n} {t}")
        for t, n in held if n
    ]  # fmt: skip
    return el("div", *parts, class_="bar", role="img", aria_label=", ".join(f"{n} {t}" for t, n in held))


def _line(column: Column, rows: Sequence[Row]) -> Html:
    nothing: Mapping[str, str] = {}
    return el("tr", el("th", column.head, title=column.meaning), *[el("td", cell(r, column, nothing)) for r in rows])


def _judged(scores: Sequence[StyleScore]) -> Html:
    """Return how tiers without truth compare with tiers by truth, all methods together."""
    held = [s for s in scores if s.tier]
    head = el("thead", el("tr", el("th", "by the truth"), *[el("th", f"called {t}", class_="n") for t in TIERS]))
    lines = [
        el("tr", el("th", true),
           *[el("td", sum(s.tier == true and s.overlap_tier == told for s in held), class_="n") for told in TIERS])
        for true in TIERS
    ]  # fmt: skip
    same = sum(s.tier == s.overlap_tier for s in held)
    said = f"By edges, mutual information and strain alone, {same} of {len(held)} registrations get the tier they have."
    return join(el("h2", "Without the truth"), el("p", said), el("table", head, el("tbody", *lines)))


def _worst(scores: Sequence[StyleScore]) -> Html:
    """Return the worst registrations of styled methods, or of all where there are none."""
    some = [s for s in scores if s.configuration.startswith("styled")] or list(scores)
    ranked = sorted(some, key=lambda s: (TIERS.index(tier_of(s)), -(s.mean_px or math.inf)))[:WORST]
    titles = ("method", "kind", "pair", "tier", "residual px", "95 %", "before", "folded", "called", "")
    head = el("thead", el("tr", *[el("th", t) for t in titles]))
    lines = [
        el("tr", el("td", s.configuration), el("td", s.scene), el("td", s.pair, class_="n"), el("td", tier_of(s)),
           *[el("td", px(v), class_="n") for v in (s.mean_px, s.p95_px, s.before_px)],
           el("td", "" if s.folded_frac is None else f"{s.folded_frac:.2%}", class_="n"), el("td", s.overlap_tier),
           el("td", s.problem))
        for s in ranked
    ]  # fmt: skip
    return join(el("h2", "The worst"), el("div", el("table", head, el("tbody", *lines)), class_="scroll"))


__all__ = ["style_evaluation_page", "write_style_evaluation"]
