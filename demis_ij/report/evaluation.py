"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import demis_ij
from demis_ij.display.markup import Html, count, el, join, px, signed
from demis_ij.errors import InputError
from demis_ij.evaluate import GridScore, Known, PairScore, Source
from demis_ij.evaluate.summary import ALL, Row, pair_differences
from demis_ij.evaluate.tables import COLUMNS, Column, cell
from demis_ij.report.evaluation_figures import CSS as MORE_CSS
from demis_ij.report.evaluation_figures import bars, histogram, legend, matches_picture, recall_curves
from demis_ij.report.figures import grade_legend
from demis_ij.report.page import POLICY
from demis_ij.report.pictures import strips
from demis_ij.report.style import CSS, DEFINITIONS, SCRIPT

PICTURE_BYTES = 90_000
"""What one picture of a pair may take."""
WORST = 40
"""Pairs in the table of the worst."""
WORST_SHOWN = 2
"""Worst pairs of each configuration that get a picture."""
_NUMBERS = frozenset(
    {"px off", "matches", "outliers", "inliers", "tiles", "by stage", "parts", "median px", "worst px"}
)


def write_evaluation(
    path: Path,
    what: str,
    rows: Sequence[Row],
    scores: Sequence[PairScore] | Sequence[GridScore],
    *,
    sources: Sequence[Source] = (),
    missing: Mapping[str, str] | None = None,
    title: str = "",
) -> None:
    """Write a page with the table, the curves, and matches on a textured, a weak and a barely overlapping pair.

    Parameters
    ----------
    path : Path
        The page; an existing one is replaced when the new one is whole.
    what : str
        pairs or grids.
    rows : sequence of Row
    scores : sequence of PairScore or of GridScore
    sources : sequence of Source
        Where the pictures of pairs come from; a pair whose scene is not among them has none.
    missing : mapping of str to str
        Measures that could not be taken, and what to do.
    title : str
        Heading.

    Raises
    ------
    InputError
        When there is nothing to show.
    """
    if not rows or not scores:
        msg = "a page of an evaluation needs one score at least, found none"
        raise InputError(msg)
    names = list(dict.fromkeys(r.configuration for r in rows))
    heading = title or f"Evaluation of {what}"
    parts: list[Html | None] = [
        Html(DEFINITIONS),
        el("header", el("h1", heading), el("p", _source(what, scores, names), class_="source")),
        _missing(missing or {}),
        *_tables(what, rows, missing or {}),
        el("h2", "Curves"),
        legend(names),
    ]
    if what == "pairs":
        parts += _pairs([s for s in scores if isinstance(s, PairScore)], rows, names, sources)
    else:
        parts += _grids([s for s in scores if isinstance(s, GridScore)], rows, names)
    parts.append(el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")))
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS + MORE_CSS)),
    )
    page = join(
        Html("<!doctype html>\n"), el("html", head, el("body", *parts, el("script", Html(SCRIPT))), lang="en"), "\n"
    )
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _source(what: str, scores: Sequence[PairScore] | Sequence[GridScore], names: Sequence[str]) -> str:
    scenes = list(dict.fromkeys(s.scene for s in scores))
    shown = ", ".join(scenes[:8]) + (f" and {len(scenes) - 8} more" if len(scenes) > 8 else "")
    each = len(scores) // max(1, len(names))
    return f"{count(len(names), 'configuration')} · {count(each, what.rstrip('s'))} each · {shown}"


def _missing(missing: Mapping[str, str]) -> Html | None:
    if not missing:
        return None
    return el(
        "ul", *[el("li", f"{name} could not be measured: {why}") for name, why in missing.items()], class_="warnings"
    )


# --- tables ---------------------------------------------------------------------------------------------------------


def _tables(what: str, rows: Sequence[Row], missing: Mapping[str, str]) -> list[Html]:
    scenes = list(dict.fromkeys(r.scene for r in rows))
    scenes.sort(key=lambda s: s != ALL)  # all together first
    out: list[Html] = []
    for n, scene in enumerate(scenes):
        some = [r for r in rows if r.scene == scene]
        head = el("thead", el("tr", el("th", "figure"), *[el("th", r.configuration, class_="n") for r in some]))
        body = el("tbody", *[_line(c, some, missing) for c in COLUMNS[what]])
        table = el("div", el("table", head, body, class_="figures"), class_="scroll whole")
        if n < 3:
            out += [el("h2", scene), table]
        else:
            out.append(el("details", el("summary", scene), table))
    note = "Hover over a figure's name for its meaning. Small: the 95 % interval from resampling pairs."
    return [*out, el("p", note, class_="note")]


def _line(column: Column, rows: Sequence[Row], missing: Mapping[str, str]) -> Html:
    cells = []
    for row in rows:
        ends = row.intervals.get(column.key)
        small = None
        if ends and all(math.isfinite(v) for v in ends):
            small = el("small", f"{ends[0]:.{column.digits}f} – {ends[1]:.{column.digits}f}")
        cells.append(el("td", cell(row, column, missing), small))
    return el("tr", el("th", column.head, title=column.meaning), *cells)


def _pooled(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Row]:
    """Return for each configuration the row of all its scenes."""
    out = {}
    for name in names:
        mine = [r for r in rows if r.configuration == name]
        out[name] = next((r for r in mine if r.scene == ALL), mine[0])
    return out


def _bar(rows: Mapping[str, Row], key: str, title: str, said: str) -> Html:
    values = {n: r.values.get(key, math.nan) for n, r in rows.items()}
    return bars(values, {n: r.intervals[key] for n, r in rows.items() if key in r.intervals}, title, said)


# --- pairs ----------------------------------------------------------------------------------------------------------


def _pairs(
    scores: Sequence[PairScore], rows: Sequence[Row], names: Sequence[str], sources: Sequence[Source]
) -> list[Html | None]:
    pooled = _pooled(rows, names)
    figures = []
    for kind in ("textured", "weak"):
        some = {n: [s for s in scores if s.configuration == n and s.kind == kind] for n in names}
        if not any(some.values()):
            continue
        corners = {n: [e for s in each for e in s.corners_px] for n, each in some.items()}
        said = "The higher and the farther left, the better; rejected pairs never come below any error."
        figures.append(recall_curves(corners, f"Corner error, {kind} pairs", said))
        errors = {n: [s.error_px for s in each] for n, each in some.items()}
        said = "Root mean square error over the true overlap, pairs a class; fail: rejected, or over 10 px."
        figures.append(histogram(errors, f"Overlap error, {kind} pairs", said))
    figures.append(_bar(pooled, "cpu_s", "Processor time a pair, s", "Features, matching, gate and refinement."))
    said = "Share of 32 px blocks of the true overlap with an inlier right to 1 px, textured pairs; whisker: 95 %."
    figures.append(_bar(pooled, "coverage", "Coverage", said))
    known: dict[str, Known] = {}
    parts: list[Html | None] = [
        el("div", *figures, class_="plots"),
        _differences(scores),
        *_shown(scores, names, sources, known),
    ]
    return [*parts, *_worst(scores, names, sources, known)]


_DIFFERENCES = ("corner_median_px", "auc_1px", "auc_5px", "coverage", "failure_rate")


def _differences(scores: Sequence[PairScore]) -> Html | None:
    """Return what the other configurations have more or less than the first, with what chance alone may make of it."""
    rows = pair_differences(scores)
    if not rows:
        return None
    heads = {c.key: c.head for c in COLUMNS["pairs"]} | {"failure_rate": "failure rate"}
    head = el("thead", el("tr", el("th", "figure"), *[el("th", r.configuration, class_="n") for r in rows]))
    lines = []
    for key in _DIFFERENCES:
        cells = []
        for row in rows:
            value, ends = row.values[key], row.intervals.get(key)
            known = ends is not None and all(math.isfinite(v) for v in ends)
            small = el("small", f"{signed(ends[0], 3)} to {signed(ends[1], 3)}") if ends and known else None
            real = ends is not None and known and (ends[0] > 0 or ends[1] < 0)
            said = ("+" if value > 0 else "") + signed(value, 3) if math.isfinite(value) else "–"
            cells.append(el("td", said, small, class_="best" if real else None))
        lines.append(el("tr", el("th", heads[key]), *cells))
    said = "Same textured pairs, all scenes. Bold: the 95 % interval does not hold 0; the rest may be chance."
    table = el("div", el("table", head, el("tbody", *lines), class_="figures"), class_="scroll whole")
    title = f"Difference from {rows[0].scene.removeprefix('less ')}"
    return el("section", el("h2", title), table, el("p", said, class_="note"))


def _examples(scores: Sequence[PairScore]) -> dict[str, PairScore]:
    """Return a textured pair, a weak one and the one with least overlap, by what they are examples of."""
    first = [s for s in scores if s.configuration == scores[0].configuration]
    textured = sorted((s for s in first if s.kind == "textured"), key=lambda s: s.overlap_share)
    weak = [s for s in first if s.kind == "weak"]
    out = {}
    if textured:
        out["A textured pair"] = textured[len(textured) // 2]
    if weak:
        out["A weak pair"] = weak[0]
    if len(textured) > 1:
        out["The textured pair with least overlap"] = textured[0]
    return out


def _shown(
    scores: Sequence[PairScore], names: Sequence[str], sources: Sequence[Source], known: dict[str, Known]
) -> list[Html]:
    parts = [el("h2", "Matches"), el("p", "Distance from the truth: ", grade_legend(), class_="note")]
    for title, example in _examples(scores).items():
        mine = {s.configuration: s for s in scores if (s.scene, s.pair) == (example.scene, example.pair)}
        share = f"{example.scene}, {example.fixed} – {example.moving}, overlap {100 * example.overlap_share:.1f} %"
        articles = [_article(mine[n], n, sources, known) for n in names if n in mine]
        parts += [el("h3", title), el("p", share, class_="note"), el("div", *articles, class_="shown")]
    return parts


def _article(s: PairScore, title: str, sources: Sequence[Source], known: dict[str, Known]) -> Html:
    if s.accepted:
        said = f"{s.inliers} inliers of {s.matches} offered, {px(s.overlap_error_px)} px off over the overlap"
        said += f", coverage {s.coverage:.2f}" if s.coverage is not None else ""
    else:
        said = f"Rejected: {s.reason}. {count(s.matches, 'match', 'matches')} offered, {s.outliers} outliers"
    picture = _picture(s, sources, known)
    return el("article", el("h4", title), el("p", said + "."), picture, class_="pair")


def _picture(s: PairScore, sources: Sequence[Source], known: dict[str, Known]) -> Html:
    source = next((one for one in sources if one.name == s.scene), None)
    if source is None:
        return el("p", "No picture: the scene is not at hand.", class_="note")
    if s.scene not in known:
        known[s.scene] = source.load()
    scene = known[s.scene]
    views = strips(scene.store(0.5), scene.truth, s.pair)
    if views is None:
        return el("p", "No picture: the tiles share nothing.", class_="note")
    stacked = all(v.image.shape[1] >= v.image.shape[0] for v in views)
    return matches_picture(views, s.drawn, PICTURE_BYTES, stacked=stacked)


def _worst(
    scores: Sequence[PairScore], names: Sequence[str], sources: Sequence[Source], known: dict[str, Known]
) -> list[Html]:
    ranked = sorted(scores, key=lambda s: (not s.wrong, -s.error_px if math.isfinite(s.error_px) else -1e9))
    heads = ("configuration", "scene", "pair", "kind", "px off", "matches", "outliers", "inliers", "what happened")
    lines = []
    for s in ranked[:WORST]:
        error = s.error_px
        told = "believed, and wrong" if s.wrong else "" if s.accepted else s.reason
        cells = [s.configuration, s.scene, f"{s.fixed} – {s.moving}", s.kind]
        numbers = [px(error) if math.isfinite(error) else "rejected", s.matches, s.outliers, s.inliers]
        values = [error if math.isfinite(error) else 1e9, s.matches, s.outliers, s.inliers]
        lines.append(
            el(
                "tr",
                *[el("td", c) for c in cells],
                *[el("td", n, class_="n", data_v=float(v)) for n, v in zip(numbers, values, strict=True)],
                el("td", told, class_="notes"),
            )
        )
    head = el("thead", el("tr", *[el("th", h, scope="col", class_="n" if h in _NUMBERS else None) for h in heads]))
    table = el("div", el("table", head, el("tbody", *lines), class_="sortable"), class_="scroll", tabindex=0)
    worst = []
    for name in names:
        mine = [s for s in ranked if s.configuration == name and s.failed][:WORST_SHOWN]
        worst += [_article(s, f"{name}: {s.scene}, {s.fixed} – {s.moving} ({s.kind})", sources, known) for s in mine]
    pictures = el("div", *worst, class_="shown") if worst else el("p", "No pair failed.")
    said = f"The {min(WORST, len(ranked))} worst of {len(ranked)}; wrong ones first, then rejected ones."
    return [el("h2", "Worst pairs"), el("p", said, class_="note"), table, el("h3", "Failed pairs"), pictures]


# --- grids ----------------------------------------------------------------------------------------------------------


def _grids(scores: Sequence[GridScore], rows: Sequence[Row], names: Sequence[str]) -> list[Html]:
    pooled = _pooled(rows, names)
    some = {n: [s for s in scores if s.configuration == n] for n in names}
    tiles = {n: [e for s in each for e in s.textured_px] for n, each in some.items()}
    near = {n: [e for s in each for p in s.pair_corner_px for e in p] for n, each in some.items()}
    everything = {n: [e for s in each for e in s.textured_px + s.other_px] for n, each in some.items()}
    figures = [
        recall_curves(tiles, "Global corner error, tiles with texture", "After one rigid move of each connected part."),
        recall_curves(
            near, "Corner error of neighbours in the solution", "Textured neighbours, relative to each other."
        ),
        histogram(everything, "Global corner error, all tiles", "Corners a class; fail: over 10 px."),
        _bar(pooled, "cpu_s_per_tile", "Processor time a tile, s", "The whole job, without drawing."),
        _bar(pooled, "textured_global_median_px", "Global corner error, median, px", "Tiles with texture."),
    ]
    heads = ("configuration", "grid", "tiles", "by stage", "parts", "median px", "worst px", "what happened")
    lines = []
    for s in sorted(scores, key=lambda s: -max(s.textured_px + s.other_px, default=math.inf)):
        errors = np.array(s.textured_px + s.other_px)
        median, worst = (float(np.median(errors)), float(errors.max())) if errors.size else (math.inf, math.inf)
        numbers = [s.tiles, s.by_stage, s.components, px(median), px(worst)]
        values = [s.tiles, s.by_stage, s.components, min(median, 1e9), min(worst, 1e9)]
        cells = [el("td", n, class_="n", data_v=float(v)) for n, v in zip(numbers, values, strict=True)]
        lines.append(
            el("tr", el("td", s.configuration), el("td", s.scene), *cells, el("td", s.problem, class_="notes"))
        )
    head = el("thead", el("tr", *[el("th", h, scope="col", class_="n" if h in _NUMBERS else None) for h in heads]))
    table = el("div", el("table", head, el("tbody", *lines), class_="sortable"), class_="scroll", tabindex=0)
    return [el("div", *figures, class_="plots"), el("h2", "Grids, worst first"), table]
