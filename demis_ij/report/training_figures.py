"""Figures of a training: curves over steps, and pairs with their matches. SVG drawn by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from demis_ij.display.colours import grade
from demis_ij.display.markup import Html, el, join
from demis_ij.records import Points
from demis_ij.report.figures import MATCH_LINES
from demis_ij.report.pictures import data_uri
from demis_ij.train.scores import PairPicture

WIDTH, HEIGHT = 520.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 34.0

CHART_CSS = """
:root{--c0:#0b5cad;--c1:#b35900;--c2:#0b6e4f;--c3:#a3195b}
@media(prefers-color-scheme:dark){:root{--c0:#7ab8ff;--c1:#ffb066;--c2:#5fd3ac;--c3:#ff7fb6}}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem;margin:.6rem 0}
.chart{border:1px solid var(--line);border-radius:4px;padding:.6rem .7rem;break-inside:avoid}
.chart svg{display:block;width:100%} .chart text{fill:var(--soft);font-size:12px}
.chart .grid{stroke:var(--line);stroke-width:1} .chart polyline{fill:none;stroke-width:2.2}
.chart .best{stroke:var(--soft);stroke-width:1.4;stroke-dasharray:3 4}
.c0{stroke:var(--c0)} .c1{stroke:var(--c1);stroke-dasharray:9 3} .c2{stroke:var(--c2);stroke-dasharray:2 3}
.c3{stroke:var(--c3);stroke-dasharray:9 3 2 3} circle.c0,circle.c1,circle.c2,circle.c3{stroke-dasharray:none;
fill:var(--page);stroke-width:2} .chart .keys svg{display:inline-block;width:2.4em;height:.7em;margin-right:.35em}
.chart .keys{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.87rem;color:var(--soft)}
"""


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a chart.

    Attributes
    ----------
    name : str
        For the key.
    steps : sequence of int
        Where.
    values : sequence of float or None
        None where nothing is known.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float | None]


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    log: bool = False,
    best_step: int | None = None,
    levels: Sequence[float] | None = None,
    across: str = "steps",
) -> Html:
    """Return curves over steps, on a share of 0 to 1, on ``levels`` or (``log``) on a logarithmic scale.

    Parameters
    ----------
    title : str
        What is drawn.
    curves : sequence of Curve
        At most four.
    log : bool
        Logarithmic, from the least to the greatest value; else from 0 to 1.
    best_step : int, optional
        Marked by a line.
    levels : sequence of float, optional
        Rising; the values of the lines across the chart, for another scale than 0 to 1.
    across : str
        What the steps are.
    """
    known = [v for c in curves for v in c.values if v is not None and math.isfinite(v) and (v > 0 or not log)]
    last = max((s for c in curves for s in c.steps), default=0)
    if not known or not last:
        return el("figure", el("h4", title), el("p", "Nothing to draw yet.", class_="note"), class_="chart")
    levels = _decades(min(known), max(known)) if log else levels or [0.0, 0.25, 0.5, 0.75, 1.0]
    low, high = levels[0], max(levels[-1], max(known))

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    lines = [
        join(
            el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(v), y2=y(v), class_="grid"),
            el("text", f"{v:g}", x=LEFT - 6, y=y(v) + 4, text_anchor="end"),
        )
        for v in levels
    ]
    ticks = [
        el("text", f"{s:g}", x=x(s), y=HEIGHT - BOTTOM + 18, text_anchor="middle" if s < last * 0.97 else "end")
        for s in _round_steps(last)
    ]
    mark = None
    if best_step is not None:
        mark = el("line", el("title", "best weights"), x1=x(best_step), x2=x(best_step), y1=TOP, y2=HEIGHT - BOTTOM,
                  class_="best")  # fmt: skip
    drawn = [_polyline(n, c, x, y, log) for n, c in enumerate(curves)]
    axis = el("text", across, x=WIDTH - RIGHT, y=HEIGHT - 2, text_anchor="end")
    said = ", ".join(c.name for c in curves)
    svg = el(
        "svg", *lines, *ticks, axis, mark, *drawn, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img",
        aria_label=f"{title}: {said}",
    )  # fmt: skip
    keys = el("div", *[_key(n, c) for n, c in enumerate(curves)], class_="keys") if len(curves) > 1 else None
    return el("figure", el("h4", title), keys, svg, class_="chart")


def _polyline(number: int, curve: Curve, x: Callable[[float], float], y: Callable[[float], float], log: bool) -> Html:
    runs: list[list[str]] = [[]]
    for step, value in zip(curve.steps, curve.values, strict=True):
        if value is None or not math.isfinite(value) or (log and value <= 0):
            runs.append([])
        else:
            runs[-1].append(f"{x(step):.1f},{y(value):.1f}")
    parts = [el("polyline", points=" ".join(r), class_=f"c{number}") for r in runs if len(r) > 1]
    dots = [p.split(",") for r in runs for p in r] if sum(map(len, runs)) <= 40 else []
    parts += [el("circle", cx=a, cy=b, r=2.6, class_=f"c{number}") for a, b in dots]
    return join(*parts)


def _key(number: int, curve: Curve) -> Html:
    line = el("line", x1=0, x2=34, y1=5, y2=5, class_=f"c{number}", stroke_width=3)
    return el("span", el("svg", line, viewBox="0 0 34 10", aria_hidden="true"), curve.name, class_="key")


def _decades(low: float, high: float) -> list[float]:
    """Return round levels (1, 2, 5 times powers of ten) that hold the range."""
    steps = [
        m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
    ]
    inside = [s for s in steps if low < s < high]
    below = max((s for s in steps if s <= low), default=steps[0])
    above = min((s for s in steps if s >= high), default=steps[-1] * 2)
    out = [below, *inside, above] if above > below else [below, below * 2]
    keep = math.ceil(len(out) / 7)
    return [out[0], *out[1:-1][keep - 1 :: keep], out[-1]]


def _round_steps(last: int) -> list[float]:
    """Return up to six round numbers of steps from 0.

    Examples
    --------
    >>> _round_steps(150)
    [0.0, 50.0, 100.0, 150.0]
    """
    raw = last / 5
    unit = 10.0 ** math.floor(math.log10(max(raw, 1)))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
    return [float(s) for s in np.arange(0, last + 1e-9, step)]


def pair_figure(pair: PairPicture, max_bytes: int, *, predicted: bool) -> Html:
    """Return a pair side by side with lines between its matches: by their error, or all alike where they are true."""
    (h0, w0), (h1, w1) = pair.fixed.shape, pair.moving.shape
    stacked = w0 > h0
    gap = 24.0
    shift = np.array([0, h0 + gap]) if stacked else np.array([w0 + gap, 0])
    width, height = (max(w0, w1), h0 + gap + h1) if stacked else (w0 + gap + w1, max(h0, h1))
    order = np.argsort(pair.error_px)
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MATCH_LINES)).round().astype(int))]
    pictures = [
        el("image", href=data_uri(image, max_bytes // 2), x=float(at[0]), y=float(at[1]), width=image.shape[1],
           height=image.shape[0])
        for image, at in ((pair.fixed, np.zeros(2)), (pair.moving, shift))
    ]  # fmt: skip
    lines = [
        _line(pair.fixed_xy[i] + 0.5, pair.moving_xy[i] + 0.5 + shift, f"g{grade(float(pair.error_px[i]))}")
        for i in shown
    ]
    svg = el(
        "svg", *pictures, *lines, viewBox=f"-2 -2 {width + 4:.0f} {height + 4:.0f}", role="img", class_="matches",
        aria_label="Matches between the two crops" if predicted else "True places in the two crops",
    )  # fmt: skip
    number = f"{len(shown)} of {len(order)} drawn; " if len(shown) < len(order) else ""
    return el("article", el("figure", svg, el("figcaption", number + pair.said)), class_="pair")


def _line(start: Points, end: Points, kind: str) -> Html:
    (x1, y1), (x2, y2) = start, end
    ends = [el("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=1.6, class_=kind) for x, y in ((x1, y1), (x2, y2))]
    return join(el("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind), *ends)
