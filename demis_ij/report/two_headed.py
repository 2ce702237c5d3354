"""The page of a two-headed network's training: losses, and predicted against true parameters (the paper's figure 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import demis_ij
from demis_ij.display.markup import Html, el, join
from demis_ij.report.style import CSS
from demis_ij.report.training_figures import CHART_CSS, Curve, chart

if TYPE_CHECKING:
    from demis_ij.train.two_headed_outcome import TrainedTwoHeaded

_SIZE, _LEFT, _BOTTOM, _RIGHT, _TOP = 330.0, 46.0, 36.0, 10.0, 8.0
_SHOWN: tuple[tuple[str, str, Callable[[NDArray[np.float64]], NDArray[np.float64]]], ...] = (
    ("Angle", "degrees", np.degrees),
    ("Scale", "", np.exp),
    ("Shift x", "% of the field", lambda v: 100 * v),
    ("Shift y", "% of the field", lambda v: 100 * v),
)
_SCATTER_CSS = """
.dots circle{stroke-width:1.3;fill:none}.chart .identity{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 4}
"""


def scatter(title: str, unit: str, sets: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Html:
    """Return predicted values over true ones, a kind of dot for each set, with the line where both are equal.

    Parameters
    ----------
    title, unit : str
    sets : dict of str to (true, predicted)
        At most four.
    """
    everything = np.concatenate([np.concatenate(pair) for pair in sets.values()])
    true = np.concatenate([pair[0] for pair in sets.values()])
    span = float(true.max() - true.min()) or 1.0
    low, high = float(true.min()) - 0.08 * span, float(true.max()) + 0.08 * span
    room = _SIZE - _LEFT - _RIGHT

    def at(value: float) -> float:
        return room * (min(max(value, low), high) - low) / (high - low)

    def x(value: float) -> float:
        return round(_LEFT + at(value), 2)

    def y(value: float) -> float:
        return round(_TOP + room - at(value), 2)

    ticks = _round_values(low, high)
    grid = [
        join(
            el("line", x1=_LEFT, x2=_LEFT + room, y1=y(v), y2=y(v), class_="grid"),
            el("line", x1=x(v), x2=x(v), y1=_TOP, y2=_TOP + room, class_="grid"),
            el("text", f"{v:g}", x=_LEFT - 6, y=y(v) + 4, text_anchor="end"),
            el("text", f"{v:g}", x=x(v), y=_TOP + room + 16, text_anchor="middle"),
        )
        for v in ticks
    ]
    line = el("line", x1=x(low), y1=y(low), x2=x(high), y2=y(high), class_="identity")
    dots = [
        el(
            "g",
            *[el("circle", cx=x(t), cy=y(p), r=3, class_=f"c{n}") for t, p in zip(*pair, strict=True)],
            class_="dots",
        )
        for n, pair in enumerate(sets.values())
    ]
    axis = el("text", f"true, {unit}" if unit else "true", x=_LEFT + room, y=_SIZE - 4, text_anchor="end")
    svg = el(
        "svg", *grid, line, *dots, axis, viewBox=f"0 0 {_SIZE:g} {_SIZE:g}", role="img",
        aria_label=f"{title}: predicted over true",
    )  # fmt: skip
    outside = int(((everything < low) | (everything > high)).sum())
    said = [f"{name}: R² {_explained(*pair):.4f}" for name, pair in sets.items()]
    if outside:
        said.append(f"{outside} beyond the edge are drawn on it")
    return el("figure", el("h4", title), el("p", "; ".join(said), class_="note"), svg, class_="chart")


def _explained(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    spread = float(((true - true.mean()) ** 2).sum())
    return 1 - float(((predicted - true) ** 2).sum()) / spread if spread else math.nan


def _round_values(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(s * step for s in (1, 2, 5, 10) if (high - low) / (s * step) <= 7)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step) + 1)]


def two_headed_page(trained: TrainedTwoHeaded) -> Html:
    """Return the page of a training: losses, held-out errors, and four plots of predicted over true parameters."""
    steps = [int(line["step"]) for line in trained.history]

    def curve(name: str, key: str) -> Curve:
        return Curve(name, steps, [line[key] for line in trained.history])

    losses = [curve("angle, scale and shift, coarse", "coarse"), curve("fine", "fine"), curve("place", "place")]
    kinds = [curve(k.replace("_", ", "), k) for k in ("mono", "xray", "light", "light_hard")]
    plots = []
    for n, (title, unit, shown) in enumerate(_SHOWN):
        sets = {
            name: (shown(scores.truth[:, n]), shown(scores.found[:, n]))
            for name, scores in (("training", trained.train), ("test", trained.test))
        }
        plots.append(scatter(title, unit, sets))
    heading = "Two-headed network"
    body = [
        el("h1", heading),
        el("p", _said(trained.facts)),
        el("h2", "Predicted and true parameters, two passes"),
        el(
            "p",
            "Blue: training. Orange: test, of images that were never trained on. The line is prediction = truth.",
            class_="note",
        ),
        el("div", *plots, class_="charts"),
        el("h2", "Training"),
        el(
            "div",
            chart("Loss", losses, log=True),
            chart("Held-out error, one pass, px of 512", kinds, log=True),
            class_="charts",
        ),
        _table(trained.facts),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
    ]
    head = el(
        "head", el("meta", charset="utf-8"), el("title", heading), el("style", Html(CSS + CHART_CSS + _SCATTER_CSS))
    )
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *body), lang="en"), Html("\n"))


def _said(facts: dict[str, Any]) -> str:
    return (
        f"{facts['parameters']} parameters, step {facts['step']} of {facts['steps']} after {facts['seconds']} s. "
        f"{facts['twice']['lost']:.1%} of held-out pairs are further off after two passes than a finish can catch; "
        f"{facts['regressor']['wrong']:.1%} of matches and strangers are told wrongly."
    )


def _table(facts: dict[str, Any]) -> Html:
    rows = [
        el(
            "tr",
            el("td", kind.replace("_", ", ")),
            el("td", f"{once:.3g}"),
            el("td", f"{facts['twice']['median_px'][kind]:.3g}"),
        )
        for kind, once in facts["once"]["median_px"].items()
    ]
    head = el("tr", el("th", "Moving picture"), el("th", "one pass"), el("th", "two passes"))
    return join(el("h2", "Median corner error of held-out pairs, px of 512"), el("table", head, *rows))


__all__ = ["scatter", "two_headed_page"]
