"""Outlines of tiles and the links between them as an SVG picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor, inf, isfinite, log10, sqrt
from statistics import median

from demis_ij.display.colours import GRADE_LABELS, GRADES_PX, NOT_MATCHED, residual_colour
from demis_ij.display.markup import Html, count, el, join

Point = tuple[float, float]

MOST_TILES = 1000
"""More tiles than these are thinned."""
MOST_LINKS = 2000
"""More links than these are cut: the worst stay."""
SIDE = 1000
"""Longest side of the tiles in the picture's own units."""
SHOWN_PX = 560
"""Longest side of the picture on the page."""
MARGIN = 14
SMALLEST_LETTERS = 17.0
LARGEST_LETTERS = 30.0
GOLDEN = (sqrt(5) - 1) / 2
LETTER_WIDTH = 0.62
"""Of a letter, as a part of its height."""

GROUND = "#23282f"
INK = "#e6e9ed"
STYLE = {
    "": {"fill": "#8fb7d9", "stroke": "#dbe6ef"},
    "locked": {"fill": "#c9a6ff", "stroke": "#c9a6ff"},
    "hidden": {"fill": "none", "stroke": "#9aa0a6", "stroke_dasharray": "10 8"},
    "stage": {"fill": "#ff9124", "stroke": "#ffb52e"},
}
"""How a kind of tile is drawn. Fills are faint, so that overlaps of two and four tiles stand out."""
MEANING = {"locked": "locked", "hidden": "hidden", "stage": "held by the stage only"}


@dataclass(frozen=True)
class Outline:
    """One tile.

    Attributes
    ----------
    corners : sequence of (x, y)
        Outer corners in order, world px.
    label : str
        Written inside when it fits.
    kind : str
        A key of `STYLE`.
    """

    corners: Sequence[Point]
    label: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Link:
    """One pair of tiles, drawn between their centres.

    Attributes
    ----------
    start, end : (x, y)
        World px.
    residual_px : float or None
        Gives the colour; None for a pair that was not matched.
    is_used : bool
        False is drawn dotted.
    """

    start: Point
    end: Point
    residual_px: float | None
    is_used: bool = True


def drawing(
    outlines: Sequence[Outline],
    links: Sequence[Link] = (),
    *,
    pixel_size: tuple[float, str] | None = None,
    said: str = "",
) -> Html:
    """Return a picture of tiles, and what was left out of it.

    Parameters
    ----------
    outlines : sequence of Outline
        Beyond `MOST_TILES` some are drawn, spread over all.
    links : sequence of Link
        Beyond `MOST_LINKS` the worst are drawn.
    pixel_size : (float, str), optional
        Side of a world pixel and its unit: a scale bar is drawn.
    said : str
        For those who cannot see the picture.

    Returns
    -------
    Html
        An ``img``, then a line on what is not drawn; only that line when there is nothing to draw.
    """
    known = [o for o in outlines if all(isfinite(v) for corner in o.corners for v in corner)]
    if not known:
        return el("div", "nothing to draw", style=NOTE)
    plan = _Plan(known)
    shown = _spread(known)
    tile_side = plan.typical_side(shown)
    worst = sorted(links, key=lambda k: inf if k.residual_px is None else k.residual_px)[-MOST_LINKS:]
    bar = _scale_bar(plan, pixel_size) if pixel_size and pixel_size[0] > 0 and isfinite(pixel_size[0]) else None
    height = plan.height + (34 if bar is not None else 0)
    svg = el(
        "svg",
        el("rect", width=plan.width, height=height, fill=GROUND),
        *[_group(kind, [o for o in shown if o.kind == kind], plan, min(2.0, tile_side / 30)) for kind in STYLE],
        _lines(worst, plan, min(5.0, tile_side / 8)),
        _labels(shown, plan, above=bool(worst)),
        bar,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {plan.width:.0f} {height:.0f}",
    )
    left_out = []
    if len(shown) < len(known):
        left_out.append(f"{len(shown)} of {count(len(known), 'tile')} drawn")
    if len(links) > len(worst):
        left_out.append(f"the worst {len(worst)} of {count(len(links), 'link')} drawn")
    note = el("div", "; ".join(left_out), style=NOTE) if left_out else None
    return join(_image(svg, plan.width, height, said), note)


NOTE = "opacity:.75;font-size:90%"


def _image(svg: Html, width: float, height: float, said: str) -> Html:
    ratio = SHOWN_PX / max(width, height)
    return el(
        "img",
        src="data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii"),
        alt=said,
        width=round(width * ratio),
        height=round(height * ratio),
        style="max-width:100%;height:auto;display:block;margin:.3em 0",
    )


class _Plan:
    """World px to the picture's own units."""

    def __init__(self, outlines: Sequence[Outline]) -> None:
        xs = [x for o in outlines for x, _ in o.corners]
        ys = [y for o in outlines for _, y in o.corners]
        self.low = (min(xs), min(ys))
        wide, high = max(xs) - self.low[0], max(ys) - self.low[1]
        self.unit = SIDE / max(wide, high, 1e-9)
        self.width, self.height = wide * self.unit + 2 * MARGIN, high * self.unit + 2 * MARGIN

    def __call__(self, point: Point) -> Point:
        return (point[0] - self.low[0]) * self.unit + MARGIN, (point[1] - self.low[1]) * self.unit + MARGIN

    def typical_side(self, outlines: Sequence[Outline]) -> float:
        """Return the median width of outlines in the picture's units."""
        return self.unit * median(max(x for x, _ in o.corners) - min(x for x, _ in o.corners) for o in outlines)


def _spread(outlines: Sequence[Outline]) -> list[Outline]:
    """Return at most `MOST_TILES` of the outlines, spread so that no row or column of a grid goes as a whole."""
    share = MOST_TILES / len(outlines)
    return [o for i, o in enumerate(outlines) if share >= 1 or (i * GOLDEN) % 1 < share][:MOST_TILES]


def _group(kind: str, outlines: Sequence[Outline], plan: _Plan, width: float) -> Html | None:
    if not outlines:
        return None
    paths = [el("path", d=_path(o, plan)) for o in outlines]
    return el("g", *paths, **STYLE[kind], fill_opacity=0.22, stroke_width=width)


def _path(outline: Outline, plan: _Plan) -> str:
    """Return a closed path in whole units, from corner to corner."""
    at = [tuple(round(v) for v in plan(corner)) for corner in outline.corners]
    steps = [f"{x1 - x0} {y1 - y0}" for (x0, y0), (x1, y1) in pairwise(at)]
    return f"M{at[0][0]} {at[0][1]}l" + " ".join(steps) + "z"


def _lines(links: Sequence[Link], plan: _Plan, width: float) -> Html:
    """Return one path for each look that links have, in the order of the links."""
    drawn: dict[tuple[str, str | None], list[str]] = {}
    for link in links:
        (x1, y1), (x2, y2) = ((round(x), round(y)) for x, y in (plan(link.start), plan(link.end)))
        drawn.setdefault(_look(link), []).append(f"M{x1} {y1}L{x2} {y2}")
    paths = [el("path", d="".join(d), stroke=colour, stroke_dasharray=dash) for (colour, dash), d in drawn.items()]
    return el("g", *paths, fill="none", stroke_width=width, stroke_linecap="round")


def _look(link: Link) -> tuple[str, str | None]:
    """Return the colour and the dashes of a link."""
    if link.residual_px is None:
        return NOT_MATCHED, "3 12"
    return residual_colour(link.residual_px), None if link.is_used else "14 10"


def _labels(outlines: Sequence[Outline], plan: _Plan, *, above: bool) -> Html:
    """Return the labels that fit: in the middle of their tiles, or above it and beside, where links meet there."""
    if above:
        labels = [_label(o, plan, 0.25, 0.45) or _label(o, plan, 0.0, 0.85) for o in outlines]
    else:
        labels = [_label(o, plan, 0.0, 0.85, raised=0.0) for o in outlines]
    return el("g", *labels, fill=INK, text_anchor="middle", font_family="sans-serif")


def _label(outline: Outline, plan: _Plan, aside: float, room: float, raised: float = 0.25) -> Html | None:
    """Return the label when it fits into ``room`` of its tile's width in letters that can be read."""
    at = [plan(corner) for corner in outline.corners]
    wide = max(x for x, _ in at) - min(x for x, _ in at)
    high = max(y for _, y in at) - min(y for _, y in at)
    letters = min(room * wide / (LETTER_WIDTH * max(len(outline.label), 1)), 0.2 * high, LARGEST_LETTERS)
    if not outline.label or letters < SMALLEST_LETTERS:
        return None
    x, y = sum(x for x, _ in at) / len(at) - aside * wide, sum(y for _, y in at) / len(at) - raised * high
    return el("text", outline.label, x=round(x), y=round(y + 0.35 * letters), font_size=round(letters, 1))


def _scale_bar(plan: _Plan, pixel_size: tuple[float, str]) -> Html:
    """Return a bar of a round length, at most a quarter of the picture."""
    size, unit = pixel_size
    units_long = (plan.width - 2 * MARGIN) / plan.unit * size / 4
    power = 10.0 ** floor(log10(units_long))
    length = max(step * power for step in (1, 2, 5) if step * power <= units_long)
    drawn = length / size * plan.unit
    y = plan.height + 8
    words = el("text", _length(length, unit), x=MARGIN + drawn + 10, y=y + 9, fill=INK, font_size=24.0)
    bar = el("rect", x=MARGIN, y=round(y - 3), width=round(drawn, 1), height=7, fill=INK)
    return el("g", bar, words, font_family="sans-serif")


def _length(value: float, unit: str) -> str:
    """Return a length in the unit that people would choose.

    Examples
    --------
    >>> _length(5000, "nm"), _length(200, "nm"), _length(2, "µm"), _length(0.5, "pixel")
    ('5 µm', '200 nm', '2 µm', '0.5 pixel')
    """
    if unit == "nm" and value >= 1000:
        value, unit = value / 1000, "µm"
    return f"{value:g} {unit}"


def legend(*, kinds: Sequence[str] = (), residuals: bool = False) -> Html:
    """Return what the colours mean: of the kinds of tiles that occur, and of residuals."""
    keys = [_key(str(STYLE[kind]["stroke"]), MEANING[kind], "□") for kind in MEANING if kind in kinds]
    if residuals:
        keys += [_key(residual_colour(v), label) for v, label in zip((*GRADES_PX, inf), GRADE_LABELS, strict=True)]
    return el("div", *keys, style=NOTE) if keys else Html("")


def _key(colour: str, label: str, sign: str = "■") -> Html:
    return el("span", el("span", sign, style=f"color:{colour}"), f" {label}", style="margin-right:1em")
