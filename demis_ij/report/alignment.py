"""An aligned stack as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import demis_ij
from demis_ij.align.results import AlignResult, SectionVerdict, mean_of
from demis_ij.config import to_dict
from demis_ij.display.markup import Html, count, el, join, px, seconds
from demis_ij.errors import DemisError
from demis_ij.records import Stack
from demis_ij.report import tables
from demis_ij.report.alignment_figures import ALIGNMENT_CSS, along_the_stack, cut_figures, maps
from demis_ij.report.alignment_pictures import Cuts, compared, cuts_through, neighbour_of
from demis_ij.report.figures import overlay
from demis_ij.report.page import POLICY
from demis_ij.report.style import CSS, DEFINITIONS, SCRIPT
from demis_ij.report.training_figures import CHART_CSS

WORST = 6
"""Sections shown over their neighbour."""
MAPS = 12
"""Sections whose displacement and Jacobian are drawn."""
PAIR_BYTES = 150_000
"""What one section over its neighbour may take."""
WORSE = 0.02
"""Correlation by which neighbours must be less alike than before for the page to say that the stack got worse."""
NAMED = 8
"""Sections named in a sentence."""
WARNINGS_SHOWN = 8
"""More warnings than these are folded away."""


def write_alignment(
    path: Path,
    stack: Stack,
    result: AlignResult,
    *,
    warnings: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    title: str = "",
) -> None:
    """Write one HTML page that shows whether an aligned stack can be trusted: no other file is needed to read it.

    Parameters
    ----------
    path : Path
        The page. An existing one is replaced when the new one is whole.
    stack : Stack
        The sections; their images are read once more.
    result : AlignResult
        Their warps and verdicts.
    warnings : sequence of str
        What else is to be said, one line each, besides ``result.warnings``.
    settings : mapping, optional
        More settings than those of ``result.config``.
    title : str, optional
        Heading; the name of the stack when empty.
    """
    page = alignment_page(stack, result, warnings=warnings, settings=settings, title=title)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def alignment_page(
    stack: Stack,
    result: AlignResult,
    *,
    warnings: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    title: str = "",
) -> Html:
    """Return the page."""
    heading = title or (f"Aligning {stack.source.name}" if stack.source else "Alignment report")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS + CHART_CSS + ALIGNMENT_CSS)),
    )
    worst, cuts = worst_first(result), cuts_through(stack, result)
    parts = [
        Html(DEFINITIONS),
        el("header", el("h1", heading), _source(stack, result)),
        _banner(result, cuts),
        _cards(result, cuts),
        _cuts(stack, cuts),
        _warnings(dict.fromkeys([*warnings, *result.warnings])),
        el("h2", "Along the stack"),
        along_the_stack(result, cuts),
        _close_ups(stack, result, worst),
        _maps(result, worst),
        el("h2", "All sections, worst first"),
        _section_table(result, worst),
        _settings(result, settings or {}),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
        el("script", Html(SCRIPT)),
    ]
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *parts), lang="en"), Html("\n"))


# --- the verdict ----------------------------------------------------------------------------------------------------


def worst_first(result: AlignResult) -> list[int]:
    """Return the numbers of the sections: those that could not be compared, flagged ones, then by residual and NCC."""

    def key(index: int) -> tuple[bool, bool, float, float]:
        s = result.sections[index]
        residual = s.residual_after_px if math.isfinite(s.residual_after_px) else 0.0
        likeness = s.ncc_after if math.isfinite(s.ncc_after) else 1.0
        return s.usable, not s.flags, -residual, likeness

    return sorted(range(len(result.sections)), key=key)


def verdict(result: AlignResult, cuts: Cuts | None = None) -> tuple[str, str]:
    """Return a level (good, check, bad) and one sentence about the whole stack, with the likeness found in ``cuts``."""
    sections = result.sections
    lost = [s for s in sections if not s.usable]
    idle = [s for s in sections if s.usable and s.no_better]
    other = [s for s in sections if s.usable and s.flags and not s.no_better]
    before, after = _likeness(result, cuts)
    clauses = [f"{count(len(sections) - len(lost), 'section')} of {len(sections)} compared and aligned"]
    if math.isfinite(before) and math.isfinite(after):
        clauses.append(f"neighbours correlate by {_two(before)} as given, {_two(after)} aligned")
    if idle:
        clauses.append(f"{_named(idle)} no better than doing nothing")
    if other:
        clauses.append(f"{_named(other)} flagged")
    if lost:
        clauses.append(f"{_named(lost)} bridged")
    worst = _worst(result)
    if worst is not None:
        clauses.append(f"worst {worst.id}, {_worst_said(worst)}")
    usable = len(sections) - len(lost)
    if usable < 2 or after < before - WORSE:
        level = "bad"
    else:
        level = (
            "check"
            if idle or other or lost or result.warnings or any(s.min_jacobian <= 0 for s in sections)
            else "good"
        )
    return level, "; ".join(clauses) + "."


def _likeness(result: AlignResult, cuts: Cuts | None) -> tuple[float, float]:
    """Return the mean correlation of neighbours as given and aligned; NaN when not known."""
    if cuts is not None and cuts.sections == len(result.sections):
        pairs = [v for v in cuts.likeness if all(map(math.isfinite, v))]
        if pairs:
            before, after = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
            return before, after
    return _mean(result, "ncc_before"), _mean(result, "ncc_after")


def _worst(result: AlignResult) -> SectionVerdict | None:
    return next((result.sections[i] for i in worst_first(result) if result.sections[i].usable), None)


def _worst_said(section: SectionVerdict) -> str:
    if math.isfinite(section.residual_after_px):
        return f"{px(section.residual_after_px)} px from sections further away"
    return f"correlation {section.ncc_after:.2f}" if math.isfinite(section.ncc_after) else "not measured"


def _named(sections: Sequence[SectionVerdict]) -> str:
    names = ", ".join(s.id for s in sections[:NAMED])
    more = f" and {len(sections) - NAMED} more" if len(sections) > NAMED else ""
    return f"{len(sections)} ({names}{more})"


def _mean(result: AlignResult, name: str) -> float:
    found = mean_of([getattr(s, name) for s in result.sections if s.usable])
    return math.nan if found is None else found


def _banner(result: AlignResult, cuts: Cuts) -> Html:
    level, sentence = verdict(result, cuts)
    mark, word = {"good": ("✓", "Good"), "check": ("!", "Check"), "bad": ("✕", "Not better")}[level]
    return el("section", el("p", el("strong", f"{mark} {word}. "), sentence, class_="said"), class_=f"verdict {level}",
              aria_label="Verdict")  # fmt: skip


def _source(stack: Stack, result: AlignResult) -> Html:
    rows, cols = result.warps[0].shape
    said = [count(len(stack), "section"), f"canvas {cols} × {rows} px", f"method {result.config.method}"]
    if stack.missing:
        said.append(f"{count(len(stack.missing), 'section number')} missing")
    if stack.pixel_size is not None:
        said.append("{:g} {} a pixel".format(*stack.pixel_size))
    if stack.thickness is not None:
        said.append("{:g} {} a section".format(*stack.thickness))
    if stack.source is not None:
        said.append(str(stack.source))
    return el("p", " · ".join(said), class_="source")


def _cards(result: AlignResult, cuts: Cuts) -> Html:
    sections = result.sections
    moved = [s.displacement_max_px for s in sections]
    before, after = _likeness(result, cuts)
    left = [_mean(result, name) for name in ("residual_before_px", "residual_after_px")]
    cards = [
        (f"{sum(s.usable for s in sections)} of {len(sections)}", "sections compared"),
        (f"{_two(before)} → {_two(after)}", "correlation, as given → aligned"),
        (" → ".join(map(_two, left)), "px left, as given → aligned"),
        (f"{px(max(moved, default=math.nan))} px", "largest bending"),
        (f"× {min((s.min_jacobian for s in sections), default=1.0):.2f}", "smallest area; 0 would fold"),
        (seconds(sum(result.timings_s.values())), "computing time"),
    ]
    return el(
        "div", *[el("div", el("b", value), el("span", label), class_="card") for value, label in cards], class_="cards"
    )


# --- pictures -------------------------------------------------------------------------------------------------------


def _cuts(stack: Stack, found: Cuts) -> Html:
    note = "Brightness and contrast of each section are evened out along its line. "
    note += "As given: where the sections lay before, on the same canvas. "
    if found.sections < len(stack):
        note += f"{found.sections} of {len(stack)} sections are shown, evenly spread."
    return join(el("h2", "Cuts through the stack"), cut_figures(stack, found), el("p", note, class_="note"))


def _warnings(warnings: Mapping[str, None]) -> Html | None:
    if not warnings:
        return None
    lines = [el("li", w) for w in warnings]
    first, rest = lines[:WARNINGS_SHOWN], lines[WARNINGS_SHOWN:]
    more = el("details", el("summary", f"{len(rest)} more"), el("ul", *rest, class_="warnings")) if rest else None
    return join(el("h3", f"Warnings ({len(lines)})"), el("ul", *first, class_="warnings"), more)


def _close_ups(stack: Stack, result: AlignResult, worst: Sequence[int]) -> Html | None:
    shown = [i for i in worst if result.sections[i].usable][:WORST]
    cards = [_card(stack, result, i, other) for i in shown if (other := neighbour_of(result, i)) is not None]
    if not cards:
        return None
    note = "A section in cyan over its neighbour in red: grey where they agree. Blink shows them in turn. "
    note += "The window lies where the section is bent most, away from the rim; one canvas pixel a picture pixel."
    title = el("h2", "The worst sections over their neighbours")
    return join(title, el("p", note, class_="note"), el("div", *cards, class_="pairs"))


def _card(stack: Stack, result: AlignResult, index: int, other: int) -> Html:
    s = result.sections[index]
    title = el("h4", f"{s.id} over {result.sections[other].id}")
    said = f"Correlation {_two(s.ncc_before)} as given, {_two(s.ncc_after)} aligned; "
    said += f"displacement left {px(s.residual_before_px)} px as given, {px(s.residual_after_px)} px aligned."
    flags = el("p", "; ".join(s.flags) + ".", class_="note") if s.flags else None
    try:
        views = compared(stack, result, index, other)
    except (DemisError, OSError) as error:  # a section that cannot be read has no picture; the page says so
        pictures = el("p", f"No picture: {error}", class_="note")
    else:
        shown = [
            el("div", el("h5", when), overlay(view, f"s{index}-{when[:2]}", PAIR_BYTES), class_="overlay")
            for when, view in zip(("as given", "aligned"), views, strict=True)
        ]
        pictures = el("div", *shown, class_="views")
    return el("article", title, el("p", said), flags, pictures, class_="pair", id=f"s{index}")


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "–"


def _maps(result: AlignResult, worst: Sequence[int]) -> Html | None:
    by_length = sorted(range(len(result.sections)), key=lambda i: -result.sections[i].displacement_max_px)
    usable = [i for i in worst if result.sections[i].usable]
    shown = list(dict.fromkeys([*usable[: MAPS // 2], *by_length]))[:MAPS]
    drawn = maps(result, shown)
    if drawn is None:
        return None
    note = "The worst sections, then those that are bent most." if len(shown) < len(result.sections) else None
    return join(el("h2", "What the warps do"), el("p", note, class_="note") if note else None, drawn)


# --- tables ---------------------------------------------------------------------------------------------------------

_HEAD = (
    ("section", ""),
    ("z", "section number"),
    ("NCC before", "mean correlation with the neighbours as given, brightness evened out"),
    ("NCC after", ""),
    ("left before, px", "median displacement against sections that did not steer the alignment"),
    ("left after, px", ""),
    ("turn, °", "before anything was bent"),
    ("shift, px", "of its middle, before anything was bent"),
    ("bent, px", "median of what the field adds"),
    ("most, px", "largest of what the field adds"),
    ("area", "smallest area of input for an area of output; 0 or less would fold"),
    ("agrees", "share of its data where displacements there and back agree"),
    ("flags", ""),
)


def _section_table(result: AlignResult, worst: Sequence[int]) -> Html:
    return join(
        tables.table(_HEAD, [_row(result, i) for i in worst]),
        el("p", "Hover over a heading for its meaning, click it to sort. align.json holds the same.", class_="note"),
    )


def _row(result: AlignResult, index: int) -> list[Html]:
    s = result.sections[index]
    return [
        el("th", s.id, class_="id", scope="row"),
        tables.number(s.z, f"{s.z:g}"),
        tables.number(s.ncc_before, _two(s.ncc_before)),
        tables.number(s.ncc_after, _two(s.ncc_after)),
        tables.number(s.residual_before_px),
        tables.number(s.residual_after_px),
        tables.number(s.turn_deg, _two(s.turn_deg) if s.moved_coarsely else "–"),
        tables.number(s.shift_px, px(s.shift_px) if s.moved_coarsely else "–"),
        tables.number(s.displacement_px),
        tables.number(s.displacement_max_px),
        tables.number(s.min_jacobian, _two(s.min_jacobian)),
        tables.number(s.consistent_frac, f"{s.consistent_frac:.0%}" if math.isfinite(s.consistent_frac) else "–"),
        tables.cell("; ".join(s.flags), "notes"),
    ]


def _settings(result: AlignResult, more: Mapping[str, Any]) -> Html:
    settings = {**to_dict(result.config), **more}
    parts = [
        el("details", el("summary", "Settings"), tables.name_value_table({k: str(v) for k, v in settings.items()}))
    ]
    if result.timings_s:
        timings = {name: seconds(value) for name, value in result.timings_s.items()}
        summary = f"Timings ({seconds(sum(result.timings_s.values()))})"
        parts.append(el("details", el("summary", summary), tables.name_value_table(timings)))
    return join(*parts)
