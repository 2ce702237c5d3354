"""The page of a two-headed network's training: losses, and predicted against true parameters (the paper's figure 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import demis_ij
from demis_ij.display.markup import Html, el, join
from demis_ij.report.registration_plots import PARAMETERS, PLOT_CSS, scatter
from demis_ij.report.style import CSS
from demis_ij.report.training_figures import CHART_CSS, Curve, chart

if TYPE_CHECKING:
    from demis_ij.train.two_headed_outcome import TrainedTwoHeaded


def two_headed_page(trained: TrainedTwoHeaded) -> Html:
    """Return the page of a training: losses, held-out errors, and four plots of predicted over true parameters."""
    steps = [int(line["step"]) for line in trained.history]

    def curve(name: str, key: str) -> Curve:
        return Curve(name, steps, [line[key] for line in trained.history])

    losses = [curve("angle, scale and shift, coarse", "coarse"), curve("fine", "fine"), curve("place", "place")]
    kinds = [curve(k.replace("_", ", "), k) for k in ("mono", "xray", "light", "light_hard")]
    plots = []
    in_degrees = np.array([180 / np.pi, 1, 1, 1])
    for n, (title, unit, shown) in enumerate(PARAMETERS):
        sets = {
            name: (shown(in_degrees[n] * scores.truth[:, n]), shown(in_degrees[n] * scores.found[:, n]))
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
            "Test: of images that were never trained on. The line is prediction = truth.",
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
    head = el("head", el("meta", charset="utf-8"), el("title", heading), el("style", Html(CSS + CHART_CSS + PLOT_CSS)))
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


__all__ = ["two_headed_page"]
