"""Figures of an evaluation, drawn by hand as SVG: recall curves, histograms, bars, matches on a pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from demis_ij.display.colours import grade
from demis_ij.display.markup import Html, el, join
from demis_ij.report.pictures import Strip, data_uri

COLOURS = ("#2f7ed8", "#d9662b", "#1fa187", "#b0479a", "#8a7a1f", "#6b6f76", "#c23b4e", "#4b5fc4")
DASHES = (None, "7 4", "2 4", "10 3 2 3")
_LOW, _HIGH = 0.003, 10.0  # px, ends of the logarithmic error axis
_WIDE, _TALL, _LEFT, _TOP, _BELOW = 640.0, 300.0, 46.0, 10.0, 40.0

CSS = """
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,34rem),1fr));gap:1.2rem;margin:.6rem 0}
.plot svg{display:block;width:100%;height:auto}
.plot text{fill:var(--ink);font-size:13px}.plot .soft{fill:var(--soft)}
.plot .axis{stroke:var(--line);stroke-width:1}.plot .curve{fill:none;stroke-width:2.2}
.plot .whisker{stroke:var(--ink);stroke-width:1.4}
.figures th{white-space:nowrap}.figures td{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.figures small{display:block;color:var(--soft)}.figures td.best{font-weight:700}
.shown{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1rem;align-items:start}
"""


def colour_of(names: Sequence[str], name: str) -> str:
    """Return the colour of a configuration, by its place in the list."""
    return COLOURS[list(names).index(name) % len(COLOURS)]


def dash_of(names: Sequence[str], name: str) -> str | None:
    """Return the dashes of a configuration, by its place, so that curves can be told apart without colour."""
    return DASHES[list(names).index(name) % len(DASHES)]


def legend(names: Sequence[str]) -> Html:
    """Return the configurations with their colours and dashes."""
    keys = [
        el(
            "span",
            el(
                "svg",
                el("line", x1=1, y1=5, x2=33, y2=5, stroke=colour_of(names, n), stroke_width=3,
                   stroke_dasharray=dash_of(names, n)),
                width=34, height=10, aria_hidden="true",
            ),
            f" {n}",
            class_="key",
        )
        for n in names
    ]  # fmt: skip
    return el("p", *keys, class_="legend")


def _x(error_px: float) -> float:
    share = (math.log10(min(max(error_px, _LOW), _HIGH)) - math.log10(_LOW)) / (math.log10(_HIGH) - math.log10(_LOW))
    return _LEFT + share * (_WIDE - _LEFT - 12)


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_TALL - _TOP - _BELOW)


def _axes(x_label: str, y_label: str, top: str) -> list[Html]:
    lines = []
    for error in (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10):
        x = _x(error)
        lines.append(el("line", x1=x, x2=x, y1=_y(0), y2=_y(1), class_="axis"))
        lines.append(el("text", f"{error:g}", x=x, y=_y(0) + 16, text_anchor="middle", class_="soft"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        lines.append(el("line", x1=_LEFT, x2=_WIDE - 12, y1=_y(share), y2=_y(share), class_="axis"))
    lines += [
        el("text", top, x=_LEFT - 5, y=_y(1) + 5, text_anchor="end", class_="soft"),
        el("text", "0", x=_LEFT - 5, y=_y(0) + 4, text_anchor="end", class_="soft"),
        el("text", x_label, x=(_LEFT + _WIDE) / 2, y=_TALL - 6, text_anchor="middle"),
        el("text", y_label, transform=f"translate(13 {(_y(0) + _y(1)) / 2:.0f}) rotate(-90)", text_anchor="middle"),
    ]
    return lines


def _figure(parts: Sequence[Html], title: str, said: str, height: float = _TALL) -> Html:
    svg = el("svg", *parts, viewBox=f"0 0 {_WIDE:.0f} {height:.0f}", role="img", aria_label=f"{title}. {said}")
    return el("figure", el("h4", title), svg, el("figcaption", said), class_="plot")


def recall_curves(errors_px: Mapping[str, Sequence[float]], title: str, said: str) -> Html:
    """Return for each configuration which share of its errors is below each size; infinite ones never are."""
    names = list(errors_px)
    curves = []
    for name, errors in errors_px.items():
        held = np.sort(np.asarray(errors, np.float64))
        if not held.size:
            continue
        grid = np.logspace(math.log10(_LOW), math.log10(_HIGH), 240)
        share = np.searchsorted(held, grid, side="right") / held.size
        points = " ".join(f"{_x(float(e)):.1f},{_y(float(s)):.1f}" for e, s in zip(grid, share, strict=True))
        curves.append(
            el(
                "polyline", el("title", name), points=points, class_="curve", stroke=colour_of(names, name),
                stroke_dasharray=dash_of(names, name),
            )
        )  # fmt: skip
    return _figure([*_axes("error, px", "share of corners below", "1"), *curves], title, said)


def histogram(errors_px: Mapping[str, Sequence[float]], title: str, said: str) -> Html:
    """Return how many errors of each configuration fall into each class of size, side by side; the last is over 10."""
    names, edges = list(errors_px), np.array([0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, np.inf])
    labels = ("–.01", "–.03", "–.1", "–.3", "–1", "–3", "–10", "fail")
    counts = {}
    for name, errors in errors_px.items():
        finite = np.asarray(errors, np.float64)
        inner = np.histogram(finite[np.isfinite(finite)], edges[:-1])[0]
        counts[name] = [*inner.tolist(), len(finite) - int(inner.sum())]
    most = max((max(c) for c in counts.values()), default=0) or 1
    slot = (_WIDE - _LEFT - 12) / len(labels)
    bar = 0.84 * slot / max(1, len(names))
    parts: list[Html] = [el("line", x1=_LEFT, x2=_WIDE - 12, y1=_y(0), y2=_y(0), class_="axis")]
    for k, label in enumerate(labels):
        left = _LEFT + k * slot
        parts.append(el("text", label, x=left + slot / 2, y=_y(0) + 16, text_anchor="middle", class_="soft"))
        for n, name in enumerate(names):
            number = counts[name][k]
            top, x = _y(0.93 * number / most), left + 0.08 * slot + n * bar
            parts.append(
                el("rect", el("title", f"{name}: {number}"), x=x, y=top, width=bar * 0.92, height=_y(0) - top,
                   fill=colour_of(names, name))
            )  # fmt: skip
            if number and bar > 12:
                parts.append(el("text", str(number), x=x + bar / 2, y=top - 3, text_anchor="middle", class_="soft"))
    parts.append(el("text", "error, px", x=(_LEFT + _WIDE) / 2, y=_TALL - 6, text_anchor="middle"))
    return _figure(parts, title, said)


def bars(
    values: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], title: str, said: str, digits: int = 3
) -> Html:
    """Return one bar a configuration with its number, and a whisker over its 95 % interval where there is one."""
    names, left = list(values), 190.0
    finite = [v for v in values.values() if math.isfinite(v)]
    finite += [high for _, high in intervals.values() if math.isfinite(high)]
    unit = (_WIDE - left - 90) / (max(finite, default=0) or 1)
    parts: list[Html] = []
    for n, (name, value) in enumerate(values.items()):
        y = 8 + 30 * n
        length = max(value, 0) * unit if math.isfinite(value) else 0.0
        shown = name if len(name) <= 26 else name[:25] + "…"
        parts.append(el("text", el("title", name), shown, x=left - 8, y=y + 16, text_anchor="end"))
        parts.append(el("rect", x=left, y=y, width=length, height=22, fill=colour_of(names, name)))
        end = length
        if name in intervals and all(math.isfinite(v) for v in intervals[name]):
            low, high = (left + v * unit for v in intervals[name])
            parts.append(el("line", x1=low, x2=high, y1=y + 11, y2=y + 11, class_="whisker"))
            end = max(end, high - left)
        text = f"{value:.{digits}f}" if math.isfinite(value) else "–"
        parts.append(el("text", text, x=left + end + 6, y=y + 16))
    return _figure(parts, title, said, 12 + 30 * len(names))


def matches_picture(
    views: tuple[Strip, Strip], drawn: Sequence[Sequence[float]], max_bytes: int, *, stacked: bool
) -> Html:
    """Return the overlap as both tiles hold it, fixed first, with a line for each match coloured by its error."""
    first, second = views
    shapes = [np.array(v.image.shape[::-1], float) for v in views]
    shift = np.array([0, shapes[0][1] + 40]) if stacked else np.array([shapes[0][0] + 40, 0])
    wide, high = np.maximum(shapes[0], shapes[1] + shift)
    rows = np.asarray(drawn, np.float64).reshape(-1, 5)
    start, end = first.crop.from_tile(rows[:, :2]) + 0.5, second.crop.from_tile(rows[:, 2:4]) + 0.5 + shift
    lines = []
    for (x1, y1), (x2, y2), error in zip(start, end, rows[:, 4], strict=True):
        kind = f"g{grade(float(error))}"
        lines.append(
            join(
                el("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind),
                el("circle", cx=f"{x1:.1f}", cy=f"{y1:.1f}", r=1.6, class_=kind),
                el("circle", cx=f"{x2:.1f}", cy=f"{y2:.1f}", r=1.6, class_=kind),
            )
        )
    pictures = [
        el("image", href=data_uri(v.image, max_bytes // 2), x=float(s[0]), y=float(s[1]), width=v.image.shape[1],
           height=v.image.shape[0])
        for v, s in ((first, np.zeros(2)), (second, shift))
    ]  # fmt: skip
    return el(
        "svg", *pictures, *lines, viewBox=f"-2 -2 {wide + 4:.0f} {high + 4:.0f}", role="img", class_="matches",
        aria_label="Matches between the two tiles",
    )  # fmt: skip
