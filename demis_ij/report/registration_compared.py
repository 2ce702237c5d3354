"""Methods side by side on pairs of images of which nothing is known: one page, and a sheet of overlays a pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import demis_ij
from demis_ij.display.markup import Html, count, el, join, px, signed
from demis_ij.report.evaluation_figures import CSS as MORE_CSS
from demis_ij.report.figures import overlay
from demis_ij.report.page import POLICY
from demis_ij.report.pictures import GREY, CloseUp
from demis_ij.report.registration_pictures import red_cyan
from demis_ij.report.style import CSS, DEFINITIONS

PICTURE_BYTES = 400_000
"""What one picture of both images may take."""
SHEET_PX = 420
"""Longer side of a picture on a sheet."""
_ACROSS = 4  # pictures in a row of a sheet
_BAR = 22


@dataclass(frozen=True, eq=False)
class ComparedView:
    """A pair as it is shown.

    Attributes
    ----------
    name, fixed, moving : str
        What it is called, and its images.
    rows : sequence of dict
        What each method says.
    under : ndarray of shape (H, W), uint8, or None
        The fixed image; None when no method could be tried.
    pictures : mapping of str to ndarray of shape (H, W), uint8
        The moving image on its grid: as it came, then by each method that has a place.
    """

    name: str
    fixed: str
    moving: str
    rows: Sequence[Mapping[str, Any]]
    under: GREY | None
    pictures: Mapping[str, GREY]


def overlay_sheet(view: ComparedView) -> bytes:
    """Return the overlays of a pair as one PNG, each under its name. The view has pictures."""
    tiles = [_titled(name, red_cyan(_of(view), moving)[..., ::-1]) for name, moving in view.pictures.items()]
    while len(tiles) > _ACROSS and len(tiles) % _ACROSS:
        tiles.append(np.full_like(tiles[0], 255))
    rows = [np.hstack(tiles[k : k + _ACROSS]) for k in range(0, len(tiles), _ACROSS)]
    return cv2.imencode(".png", np.vstack(rows))[1].tobytes()


def _of(view: ComparedView) -> GREY:
    return view.under if view.under is not None else np.zeros((1, 1), np.uint8)


def _titled(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture, blue first, reduced for a sheet, with its name in a bar above and a white rim."""
    step = max(1.0, max(picture.shape[:2]) / SHEET_PX)
    size = max(1, round(picture.shape[1] / step)), max(1, round(picture.shape[0] / step))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    bar = np.full((_BAR, size[0], 3), 255, np.uint8)
    cv2.putText(bar, name, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.vstack([bar, small]), ((0, 4), (0, 4), (0, 0)), constant_values=255)


def comparison_page(views: Sequence[ComparedView], methods: Sequence[str], notes: Sequence[str] = ()) -> Html:
    """Return one HTML page that needs no other file."""
    heading = "Ways to register, side by side"
    source = f"{count(len(views), 'pair')} · {', '.join(methods)}"
    parts: list[Html | None] = [
        Html(DEFINITIONS),
        el("header", el("h1", heading), el("p", source, class_="source")),
        el("ul", *[el("li", n) for n in notes], class_="warnings") if notes else None,
        el("p", "The truth is not known. What several methods find by themselves is likely right; a place that does not"
           " stand out from all others is refused, whoever found it. Look at the overlays: grey where both agree.",
           class_="note"),
        *[_pair(k, view) for k, view in enumerate(views)],
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
    ]  # fmt: skip
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS + MORE_CSS)),
    )
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *parts), lang="en"), Html("\n"))


_HEADS = (
    ("method", ""),
    ("matched", ""),
    ("turn, °", "x towards y"),
    ("scale", "moving px for a fixed px"),
    ("shift x, px", "from middle to middle, moving px"),
    ("shift y, px", "from middle to middle, moving px"),
    ("expected error, px", "at the corners, fixed px"),
    ("stands out", "standard deviations from all other shifts"),
    ("likeness", "correlation of the structure"),
    ("apart, px", "corners from where the first method that matched puts them, moving px"),
    ("ms", "from images in memory"),
    ("said", ""),
)


def _pair(number: int, view: ComparedView) -> Html:
    head = el("thead", el("tr", *[el("th", name, title=meaning or None) for name, meaning in _HEADS]))
    table = el("table", head, el("tbody", *[_line(row) for row in view.rows]))
    shown = [
        el("article", el("h4", name), overlay(CloseUp(_of(view), moving, (0.0, 0.0)), f"v{number}-{k}", PICTURE_BYTES),
           class_="pair")
        for k, (name, moving) in enumerate(view.pictures.items())
    ]  # fmt: skip
    return join(
        el("h2", view.name),
        el("p", f"{view.fixed} · {view.moving}", class_="source"),
        el("div", table, class_="scroll whole"),
        el("div", *shown, class_="pairs") if shown else None,
    )


def _line(row: Mapping[str, Any]) -> Html:
    def told(key: str, digits: int) -> Html:
        value = row[key]
        known = value is not None and math.isfinite(value)
        return el("td", signed(value, digits) if known else "–", class_="n")

    said = row["said"] or (f"found by {row['found_by']}" if row["found_by"] != row["method"] else "")
    return el(
        "tr", el("td", row["method"]), el("td", "yes" if row["matched"] else "no"), told("angle_deg", 3),
        told("scale", 5), told("shift_x_px", 2), told("shift_y_px", 2),
        el("td", px(row["sigma_px"]), class_="n"), told("standing", 1), told("score", 2),
        el("td", px(row["apart_px"]), class_="n"), told("milliseconds", 0), el("td", said, class_="notes"),
    )  # fmt: skip


__all__ = ["ComparedView", "comparison_page", "overlay_sheet"]
