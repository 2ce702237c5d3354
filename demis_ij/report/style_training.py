"""The page of a style network's training: curves, and held-out images before and after."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

import demis_ij
from demis_ij.display.markup import Html, count, el, join, seconds
from demis_ij.report.style import CSS
from demis_ij.report.training_figures import CHART_CSS, Curve, chart

if TYPE_CHECKING:
    from demis_ij.nets.style_check import StyleCheck
    from demis_ij.train.style_outcome import TrainedStyle

_SIDE, _QUALITY = 360, 82
_CSS = """
.rows{display:grid;gap:1rem} .row{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.5rem}
.row img{width:100%;image-rendering:auto;border:1px solid var(--line)} .row figcaption{text-align:center}
.sample{break-inside:avoid;border-top:1px solid var(--line);padding-top:.6rem}
"""


def style_training_page(trained: TrainedStyle) -> Html:
    """Return the page of a training: what it can do, curves, and held-out crops before and after."""
    facts = trained.facts
    heading = f"Style: {facts['source']} to {facts['target']}" + (" and back" if facts["back"] else "")
    body = [
        el("h1", heading),
        el("p", _said(facts)),
        el("div", *_charts(trained), class_="charts"),
        el("h2", "Held-out images" if facts["held_out"] else "Images that it was trained on (none was held out)"),
        el("p", _EXPLAINED, class_="note"),
        el("div", *[_sample(one, facts) for one in trained.shown], class_="rows"),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
    ]
    head = el("head", el("meta", charset="utf-8"), el("title", heading), el("style", Html(CSS + CHART_CSS + _CSS)))
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *body), lang="en"), Html("\n"))


_EXPLAINED = (
    "Structure without a cause: strong edges of the restyled image that have no edge of its source within 3 px, 0 % "
    "when all have one, 100 % as if it were another image's. Displaced: where windows of its edges fit the source's "
    "best. Texture that light cannot resolve has no cause in a light micrograph: a critic makes a network paint it, "
    "grey values alone do not. What is painted in the wrong place moves a registration."
)


def _said(facts: dict[str, Any]) -> str:
    images = " and ".join(count(n, "image") for n in facts["images"])
    return (
        f"{facts['parameters']} parameters, method {facts['method']}, step {facts['step']} of {facts['steps']} after "
        f"{seconds(facts['seconds'])}; {images}, {facts['held_out']} held out; crops of {facts['crop_px']} px."
    )


def _charts(trained: TrainedStyle) -> list[Html]:
    steps = [int(line["step"]) for line in trained.history]

    def curve(name: str, key: str) -> Curve:
        values = [line[key] for line in trained.history]
        return Curve(name, steps, [v if math.isfinite(v) else None for v in values])

    def known(*curves: Curve) -> list[Curve]:
        return [c for c in curves if any(c.values)]

    parts = [chart("Loss", known(curve("all", "loss"), curve("critic", "critic"), curve("fooling it", "adversarial")),
                   log=True)]  # fmt: skip
    likeness = known(
        curve("local correlation with the partner", "likeness"), curve("with what is left of it to compare", "alike")
    )
    if likeness:
        parts.append(chart("Likeness of held-out images", likeness))
    off = known(curve("difference from the partner", "difference"), curve("there and back", "cycle"))
    if off:
        parts.append(chart("Difference of grey values", off, log=True))
    parts.append(
        chart("Structure of held-out images", known(curve("without a cause", "invented"), curve("lost", "lost")))
    )
    return parts


def _sample(one: Any, facts: dict[str, Any]) -> Html:
    pictures = [(facts["source"], one.source), (f"as {facts['target']}", one.restyled)]
    if one.target is not None:
        pictures.append((f"{facts['target']}, really", one.target))
    if one.plain is not None:
        pictures.append((f"{facts['target']}, what is left to compare", one.plain))
    if one.returned is not None:
        pictures.append(("there and back", one.returned))
    figures = [
        el("figure", el("img", src=picture_uri(look), alt=f"{one.name}: {what}"), el("figcaption", what))
        for what, look in pictures
    ]
    return el(
        "div", el("h4", one.name), el("div", *figures, class_="row"), el("p", one.check.said, class_="note"),
        class_="sample",
    )  # fmt: skip


def picture_uri(look: NDArray[np.float32]) -> str:
    """Return a look (C, H, W) as a small JPEG in a URI: colour when it has three channels, else its first channel."""
    planes = look if len(look) == 3 else look[:1]
    shown = np.clip(np.moveaxis(planes, 0, -1) * 127 + 128, 0, 255).astype(np.uint8)
    ratio = _SIDE / max(shown.shape[:2])
    if ratio < 1:
        shown = np.asarray(cv2.resize(shown, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA), np.uint8)
    shown = shown[..., ::-1] if shown.ndim == 3 and shown.shape[2] == 3 else shown
    coded = cv2.imencode(".jpg", np.ascontiguousarray(shown), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def check_cards(check: StyleCheck) -> Html:
    """Return what became of an image's structure, as cards for any report."""
    shown = (
        (_percent(check.invented), "structure without a cause"),
        (_percent(check.lost), "structure lost"),
        ("–" if math.isnan(check.moved_px) else f"{check.moved_px:.1f} px", "edges displaced (90 % at most)"),
    )
    return el("div", *[el("div", el("b", v), el("span", what), class_="card") for v, what in shown], class_="cards")


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


__all__ = ["check_cards", "picture_uri", "style_training_page"]
