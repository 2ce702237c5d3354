"""A stitched stack as one page: a line a section, the worst first, each with a link to the section's own report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import demis_ij
from demis_ij.display.markup import Html, count, el, join, px, seconds
from demis_ij.report.figures import grade_bar, grade_legend
from demis_ij.report.page import POLICY, WARNINGS_SHOWN
from demis_ij.report.section_facts import SectionFacts
from demis_ij.report.style import CSS, DEFINITIONS, SCRIPT
from demis_ij.report.tables import cell, graded, number, table

PICTURES = 300
"""Sections with a small picture, the worst first; the others have their link."""
STRIP = (1000.0, 90.0)
"""Width and height of the strip that shows all sections in order."""
ORDER = {"bad": 0, "check": 1, "good": 2}

VOLUME_CSS = """
body{max-width:1400px}
.sections img{display:block;height:64px;max-width:128px;object-fit:contain;background:var(--plate)}
.sections .scroll{max-height:none} .sections .id{min-width:0} .sections td,.sections th{padding:.28rem .45rem}
.sections .notes{min-width:14rem}
.strip{width:100%;height:7rem;display:block;background:var(--panel);border-radius:4px}
.strip rect{stroke:none} .strip a:hover rect{fill-opacity:.6}
.strip .good{fill:var(--good)} .strip .check{fill:var(--check)} .strip .bad{fill:var(--bad)}
td.good{color:var(--good)} td.check{color:var(--check)} td.bad{color:var(--bad)}
td.good,td.check,td.bad{font-weight:600}
"""
WORDS = {"good": "good", "check": "look", "bad": "bad"}

HEAD = (
    ("", "the mosaic, small"),
    ("section", "link to its own report"),
    ("verdict", "good: all seams within a pixel, all tiles held; look: something to look at; bad: do not trust it"),
    ("what to know", ""),
    ("tiles", ""),
    ("by stage", "tiles that no seam holds"),
    ("strange", "tiles that are missing, unreadable, blank, there twice or in another's place"),
    ("pairs", "pairs of tiles that were looked at"),
    ("failed", "pairs that were not matched"),
    ("overruled", "pairs that agree with themselves and that the others contradict"),
    ("worst, px", "residual of a believed seam after the solve"),
    ("median, px", "residual of a seam after the solve"),
    ("parts", "connected parts"),
    ("time", "computing time"),
)
ACROSS_HEAD = (
    ("across z", "pairs of tiles believed, of those compared with other sections"),
    ("across, px", "largest of the median residuals to another section, which tissue that differs adds to"),
)


def write_volume_report(
    path: Path,
    facts: Sequence[SectionFacts],
    links: Mapping[str, str],
    *,
    title: str = "",
    warnings: Sequence[str] = (),
    extra: Html | None = None,
) -> None:
    """Write the page of a volume; an existing one is replaced when the new one is whole, and left when it is the same.

    Parameters
    ----------
    path : Path
        The page.
    facts : sequence of SectionFacts
        One a section, in the order of the stack.
    links : mapping of str to str
        Section to the address of its own report, seen from the page.
    title : str
        Heading.
    warnings : sequence of str
        Of all sections, one line each.
    extra : Html, optional
        What else is to be shown above the table.
    """
    page = volume_page(facts, links, title=title, warnings=warnings, extra=extra).encode()
    if path.is_file() and path.read_bytes() == page:
        return
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(page)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def volume_page(
    facts: Sequence[SectionFacts],
    links: Mapping[str, str],
    *,
    title: str = "",
    warnings: Sequence[str] = (),
    extra: Html | None = None,
) -> Html:
    """Return the page; see `write_volume_report`."""
    heading = title or "Stitched volume"
    worst = worst_first(facts)
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS + VOLUME_CSS)),
    )
    parts = [
        Html(DEFINITIONS),
        el("header", el("h1", heading), _source(facts)),
        _banner(facts, worst),
        _cards(facts),
        el("h2", "All sections in order"),
        _strip(facts, links),
        extra,
        _warnings(warnings),
        el("h2", "Sections, worst first"),
        el("p", "Residuals fall into classes: ", grade_legend(), class_="note"),
        el("div", _table(worst, links), class_="sections"),
        el("p", "Hover over a heading for its meaning, click it to sort.", class_="note"),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
        el("script", Html(SCRIPT)),
    ]
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *parts), lang="en"), Html("\n"))


def worst_first(facts: Sequence[SectionFacts]) -> list[SectionFacts]:
    """Return the sections: those that could not be done, bad ones, those to look at; in each, the worst seam first."""

    def key(f: SectionFacts) -> tuple[bool, int, float, int]:
        worst = f.worst_px if math.isfinite(f.worst_px) else 0.0
        untied = bool(f.across) and not any(a.believed for a in f.across)
        return not f.problem, ORDER.get(f.level, 0) - untied, -worst, -len(f.suspects)

    return sorted(facts, key=key)


def _source(facts: Sequence[SectionFacts]) -> Html:
    tiles = sum(f.tiles for f in facts)
    said = [count(len(facts), "section"), count(tiles, "tile")]
    size = next((f.pixel_size for f in facts if f.pixel_size), None)
    if size:
        said.append("{:g} {} a pixel".format(*size))
    return el("p", " · ".join(said), class_="source")


def _banner(facts: Sequence[SectionFacts], worst: Sequence[SectionFacts]) -> Html:
    levels = Counter("bad" if f.problem else f.level for f in facts)
    level = next((name for name in ORDER if levels[name]), "good")
    mark = {"good": "✓", "check": "!", "bad": "✕"}[level]
    told = [
        f"{levels['good']} of {count(len(facts), 'section')} can be trusted as they are",
        f"{levels['check']} should be looked at" if levels["check"] else "",
        f"{levels['bad']} should not be trusted" if levels["bad"] else "",
    ]
    remarks = []
    lost = [f for f in facts if f.problem]
    if lost:
        remarks.append(f"{count(len(lost), 'section')} could not be stitched: {_names(lost)}.")
    first = [f for f in worst if not f.problem and f.level != "good"][:3]
    remarks += [f"Section {f.section}: {f.sentence}" for f in first]
    listed = el("ul", *[el("li", line) for line in remarks]) if remarks else None
    said = el("p", el("strong", f"{mark} "), "; ".join(t for t in told if t) + ".", class_="said")
    return el("section", said, listed, class_=f"verdict {level}", aria_label="Verdict")


def _names(facts: Sequence[SectionFacts], most: int = 8) -> str:
    names = ", ".join(f.section for f in facts[:most])
    return names + (f" and {len(facts) - most} more" if len(facts) > most else "")


def _cards(facts: Sequence[SectionFacts]) -> Html:
    residuals = [v for f in facts for v in f.residuals_px]
    worst = [f.worst_px for f in facts if math.isfinite(f.worst_px)]
    tiles, pairs = sum(f.tiles for f in facts), sum(f.pairs for f in facts)
    kinds = Counter(s.kind for f in facts for s in f.suspects)
    tied = any(f.across for f in facts)  # their pairs across z belong to no section
    cards = [
        (f"{tiles - sum(f.placed_by.get('stage', 0) for f in facts)} of {tiles}", "tiles held by a seam"),
        (f"{pairs - sum(f.failed for f in facts)} of {pairs}", "pairs matched"),
        (f"{px(float(np.median(residuals)))} px" if residuals else "–", "residual of a seam, median"),
        (f"{px(max(worst))} px" if worst else "–", "residual of a believed seam, worst"),
        (", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none", "strange tiles"),
        (seconds(sum(sum(f.seconds.values()) for f in facts)), "computing time" + " of sections" * tied),
    ]
    drawn = [el("div", el("b", value), el("span", label), class_="card") for value, label in cards]
    bar = grade_bar(residuals, "seam") if residuals else None
    return join(el("div", *drawn, class_="cards"), bar)


def _strip(facts: Sequence[SectionFacts], links: Mapping[str, str]) -> Html:
    """Return the sections in order as bars: the worst seam of each (at least 0.1, at most 100 px, logarithmic)."""
    wide, high = STRIP
    step = wide / max(1, len(facts))
    bars = []
    for i, f in enumerate(facts):
        worst = 100.0 if f.problem else f.worst_px if math.isfinite(f.worst_px) else 0.1
        share = (math.log10(min(100.0, max(0.1, worst))) + 1) / 3
        tall = 4 + share * (high - 4)
        said = f.problem or f"worst seam {px(f.worst_px)} px; {f.sentence}"
        bar = el(
            "rect",
            el("title", f"Section {f.section}: {said}"),
            x=round(i * step, 3),
            y=round(high - tall, 2),
            width=round(min(24.0, max(step * 0.85, 0.2)), 3),
            height=round(tall, 2),
            class_="bad" if f.problem else f.level,
        )
        bars.append(el("a", bar, href=links[f.section]) if f.section in links else bar)
    drawn = el(
        "svg", *bars, viewBox=f"0 0 {wide:g} {high:g}", preserveAspectRatio="none", class_="strip", role="img",
        aria_label="Worst seam of each section, in the order of the stack",
    )  # fmt: skip
    note = "Each bar is a section, as tall as its worst seam is wrong (0.1 to 100 px, logarithmic). A click opens it."
    return el("figure", drawn, el("figcaption", note))


def _warnings(lines: Sequence[str]) -> Html | None:
    if not lines:
        return None
    items = [el("li", line) for line in lines]
    first, rest = items[:WARNINGS_SHOWN], items[WARNINGS_SHOWN:]
    more = None
    if rest:
        more = el("details", el("summary", f"{len(rest)} more"), el("ul", *rest, class_="warnings"))
    return join(el("h3", f"Warnings ({len(items)})"), el("ul", *first, class_="warnings"), more)


def _table(facts: Sequence[SectionFacts], links: Mapping[str, str]) -> Html:
    across = any(f.across for f in facts)
    head = (*HEAD[:-1], *(ACROSS_HEAD if across else ()), HEAD[-1])
    return table(head, [_row(f, links, pictured=i < PICTURES, across=across) for i, f in enumerate(facts)])


def _row(f: SectionFacts, links: Mapping[str, str], *, pictured: bool, across: bool) -> list[Html]:
    name = el("a", f.section, href=links[f.section]) if f.section in links else f.section
    if f.problem:
        nothing = [number(math.inf, "–") for _ in range(12 if across else 10)]
        return [cell(""), cell(name, "id"), _level("bad", "not done"), cell(f.problem, "notes"), *nothing]
    picture = el("img", src=f.thumbnail, alt="", loading="lazy") if pictured and f.thumbnail else ""
    median = float(np.median(f.residuals_px)) if f.residuals_px else math.nan
    alone = f.placed_by.get("stage", 0)
    counts = (f.tiles, alone, len(f.suspects), f.pairs, f.failed, f.overruled)
    return [
        cell(picture),
        cell(name, "id"),
        _level(f.level, WORDS.get(f.level, f.level)),
        cell(_told(f), "notes"),
        *[number(n, str(n)) for n in counts],
        graded(f.worst_px),
        number(median),
        number(len(f.components), str(len(f.components))),
        *(_across_cells(f) if across else ()),
        number(sum(f.seconds.values()), seconds(sum(f.seconds.values()))),
    ]


def _across_cells(f: SectionFacts) -> list[Html]:
    tried, believed = sum(a.pairs for a in f.across), sum(a.believed for a in f.across)
    worst = max((a.median_px for a in f.across if a.median_px is not None), default=math.nan)
    return [number(believed / max(1, tried), f"{believed} of {tried}"), number(worst)]


def _level(level: str, word: str) -> Html:
    return el("td", word, class_=level, data_v=str(ORDER.get(level, 0)))


def _told(f: SectionFacts) -> Html:
    """Return what to know of a section that is not good: its verdict, and each strange tile."""
    lines = [f.sentence] if f.level != "good" else []
    apart = [a.other for a in f.across if not a.believed]
    if apart:
        lines.append(f"nothing ties it to section {', '.join(apart)}")
    lines += [s.line for s in f.suspects[:4]]
    if len(f.suspects) > 4:
        lines.append(f"and {len(f.suspects) - 4} more strange tiles")
    return join(*[el("div", line) for line in lines])


__all__ = ["volume_page", "worst_first", "write_volume_report"]
