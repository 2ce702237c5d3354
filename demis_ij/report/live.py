"""A small page that shows a run while it goes on: it loads itself anew from the disk, without a server or a script.

The mosaic is one picture of flat colours, so that a hundred thousand tiles make the page no heavier than ten.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.display.colours import GRADE_COLOURS, GRADE_LABELS, NOT_MATCHED
from demis_ij.display.markup import Html, count, el, join, px
from demis_ij.errors import InputError

WAITING, THERE, MATCHED, BY_STAGE, PROBLEM = range(5)
TILE_LABELS = ("waiting", "there, not matched yet", "matched", "no seam holds it", "cannot be read")
TILE_COLOURS = ("#f4f5f7", "#cfd6de", "#b8d4ec", "#f3d9a4", "#4a4a4a")
TILE_RIM = "#8d97a3"

FAILED_SEAM, OPEN_SEAM = len(GRADE_LABELS), len(GRADE_LABELS) + 1
"""Codes of seams beside the classes of their error."""
SEAM_LABELS = (*GRADE_LABELS, "failed")
SEAM_COLOURS = (*GRADE_COLOURS, NOT_MATCHED)

SIDE = 1100
"""Longest side of the picture, px."""
RIM = 10
SMOOTH_PX = 40
"""Lines of smaller tiles are drawn without soft rims, which would make the file larger."""
TINY_PX, BAD_GRADE = 18, 2
"""Of tiles that are drawn smaller only seams from this class on are drawn, and those that failed."""
REFRESH_S = 3
LINES_SHOWN = 12
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
CSS = """
body{font:14px/1.45 system-ui,sans-serif;margin:1.2em auto;max-width:1180px;padding:0 1em;color:#1c2430;background:#fff}
h1{font-size:1.25em;margin:0 0 .2em}p{margin:.3em 0}.now{color:#4a5563}
img{max-width:100%;height:auto;border:1px solid #d5dae0;background:#fff;display:block;margin:.6em 0}
.key{margin-right:1.1em;white-space:nowrap}.swatch{display:inline-block;width:.85em;height:.85em;margin-right:.35em;
vertical-align:-.08em;border:1px solid #8d97a3}table{border-collapse:collapse;margin:.5em 0}
td,th{padding:.1em .9em .1em 0;text-align:left;font-weight:normal}th{color:#4a5563}td.n{text-align:right}
progress{width:14em;vertical-align:-.1em}ul{margin:.3em 0;padding-left:1.2em}
.columns{display:flex;flex-wrap:wrap;gap:0 3em}
"""


@dataclass(frozen=True, eq=False)
class LivePlan:
    """Where tiles lie and which seams they have, as plain numbers.

    Attributes
    ----------
    boxes : ndarray of shape (N, 4)
        x0, y0, x1, y1 of each tile, px of any one frame.
    tiles : ndarray of shape (N,), int
        `WAITING`, `THERE`, `MATCHED`, `BY_STAGE` or `PROBLEM`.
    ends : ndarray of shape (M, 2), int
        The two tiles of each seam.
    seams : ndarray of shape (M,), int
        The class of the seam's error (`display.colours.grade`), `FAILED_SEAM` or `OPEN_SEAM`.
    """

    boxes: NDArray[np.float64]
    tiles: NDArray[np.int64]
    ends: NDArray[np.int64]
    seams: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LiveFacts:
    """What the page says beside the picture.

    Attributes
    ----------
    title, now : str
        What it is; what is being done.
    written : str
        When, as people read it.
    is_over : bool
        Whether nothing more will come: the page then no longer loads itself anew.
    stages : sequence of (str, int, int, str)
        Name, steps done, steps in all, rate and time left.
    worst : sequence of (str, str, float)
        Seams (fixed, moving, px) of the largest error.
    lines : sequence of str
        What was said, the latest last.
    """

    title: str
    now: str
    written: str
    is_over: bool = False
    stages: Sequence[tuple[str, int, int, str]] = ()
    worst: Sequence[tuple[str, str, float]] = ()
    lines: Sequence[str] = ()


def live_page(plan: LivePlan, facts: LiveFacts) -> str:
    """Return the page as HTML."""
    head = [
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        None if facts.is_over else el("meta", http_equiv="refresh", content=str(REFRESH_S)),
        el("title", f"{facts.now} – {facts.title}"),
        el("style", Html(CSS)),
    ]
    body = [
        el("h1", facts.title),
        el("p", f"{facts.now}. ", el("span", f"Written {facts.written}.", class_="now")),
        _stages(facts.stages),
        el("p", *_keys(TILE_LABELS, TILE_COLOURS, plan.tiles, "Tiles: ")),
        el("p", *_keys(SEAM_LABELS, SEAM_COLOURS, plan.seams, "Seams: ")),
        _image(plan),
        el("div", _worst(facts.worst), _lines(facts.lines), class_="columns"),
    ]
    return f"<!doctype html>\n{el('html', el('head', *head), el('body', *body), lang='en')}\n"


def _stages(stages: Sequence[tuple[str, int, int, str]]) -> Html | None:
    if not stages:
        return None
    rows = [
        el("tr", el("td", name), el("td", el("progress", value=done, max=max(total, 1))),
           el("td", f"{done} of {total}", class_="n"), el("td", said))
        for name, done, total, said in stages
    ]  # fmt: skip
    return el("table", *rows)


def _keys(labels: Sequence[str], colours: Sequence[str], codes: NDArray[np.int64], before: str) -> list[Html]:
    numbers = np.bincount(codes, minlength=len(labels)) if len(codes) else np.zeros(len(labels), int)
    keys = [
        el("span", el("i", class_="swatch", style=f"background:{colour}"), f"{label}: {numbers[code]}", class_="key")
        for code, (label, colour) in enumerate(zip(labels, colours, strict=True))
        if numbers[code]
    ]
    return [join(before), *(keys or [Html("none yet")])]


def _worst(worst: Sequence[tuple[str, str, float]]) -> Html | None:
    if not worst:
        return None
    rows = [
        el("tr", el("td", fixed), el("td", moving), el("td", px(error), class_="n")) for fixed, moving, error in worst
    ]
    return el("table", el("tr", el("th", "worst seams"), el("th"), el("th", "px")), *rows)


def _lines(lines: Sequence[str]) -> Html | None:
    if not lines:
        return None
    return el("ul", *(el("li", line) for line in reversed(lines[-LINES_SHOWN:])))


def _image(plan: LivePlan) -> Html | None:
    if not len(plan.boxes):
        return None
    picture = live_picture(plan)
    done, coded = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:  # OpenCV says no more than this
        msg = f"OpenCV could not code a picture of {picture.shape} as PNG"
        raise InputError(msg)
    source = "data:image/png;base64," + base64.b64encode(coded.tobytes()).decode("ascii")
    rows, cols = picture.shape[:2]
    said = f"{count(len(plan.boxes), 'tile')} where the layout puts them, coloured by state, with their seams by error"
    return el("img", src=source, width=cols, height=rows, alt=said)


def live_picture(plan: LivePlan, side: int = SIDE) -> NDArray[np.uint8]:
    """Return tiles as rectangles and seams as lines between their middles: (H, W, 3), red first, not empty."""
    low, high = plan.boxes[:, :2].min(0), plan.boxes[:, 2:].max(0)
    scale = (side - 2 * RIM) / max(float((high - low).max()), 1e-9)
    cols, rows = (round(float(v) * scale) + 2 * RIM for v in high - low)
    picture = np.full((rows, cols, 3), 255, np.uint8)
    corners = np.rint((plan.boxes.reshape(-1, 2, 2) - low) * scale + RIM).astype(np.int64)
    size = float(np.median((plan.boxes[:, 2:] - plan.boxes[:, :2]).min(1))) * scale
    fills = [_rgb(colour) for colour in TILE_COLOURS]
    for code in np.argsort(plan.tiles, kind="stable"):  # tiles that wait are drawn first, problems last
        start, end = (tuple(map(int, p)) for p in corners[code])
        cv2.rectangle(picture, start, end, fills[plan.tiles[code]], cv2.FILLED)
        if size >= 6:
            cv2.rectangle(picture, start, end, _rgb(TILE_RIM), 1)
    middles = corners.mean(1)
    _draw_seams(picture, plan, middles, size)
    return picture


def _draw_seams(picture: NDArray[np.uint8], plan: LivePlan, middles: NDArray[np.float64], size: float) -> None:
    """Draw the middle of the way from tile to tile, the worst over the others; of tiny tiles only the bad ones."""
    width = max(3, round(size / 9))
    colours = [_rgb(colour) for colour in SEAM_COLOURS]
    order = np.argsort(np.where(plan.seams == FAILED_SEAM, -1, plan.seams), kind="stable")
    for number in order:
        code = int(plan.seams[number])
        if code == OPEN_SEAM or (size < TINY_PX and code < BAD_GRADE):
            continue
        one, two = middles[plan.ends[number, 0]], middles[plan.ends[number, 1]]
        start, end = (tuple(int(v) for v in np.rint(one + (two - one) * part)) for part in (0.3, 0.7))
        cv2.line(picture, start, end, colours[code], width, cv2.LINE_AA if size >= SMOOTH_PX else cv2.LINE_8)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


__all__ = [
    "BY_STAGE", "FAILED_SEAM", "MATCHED", "OPEN_SEAM", "PROBLEM", "THERE", "WAITING", "LiveFacts", "LivePlan",
    "live_page", "live_picture",
]  # fmt: skip
