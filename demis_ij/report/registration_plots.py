"""Predicted over true parameters of registrations, as in figure 1 of Luo et al.: as SVG, and as a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.display.markup import Html, el, join
from demis_ij.report.evaluation_figures import COLOURS

Numbers = NDArray[np.float64]
Sets = Mapping[str, tuple[Numbers, Numbers]]
"""Name to (true, predicted)."""

PARAMETERS: tuple[tuple[str, str, Callable[[Numbers], Numbers]], ...] = (
    ("Angle", "degrees", lambda v: v),
    ("Scale", "", np.exp),
    ("Shift x", "% of the field", lambda v: 100 * v),
    ("Shift y", "% of the field", lambda v: 100 * v),
)
"""Title, unit, and how it is shown, of (angle in degrees, logarithm of the scale, shifts as parts of the field)."""

PLOT_CSS = """
.charts.four{grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr))}
.dots circle{stroke:none;fill-opacity:.75}.chart .identity{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 4}
.chart ul{margin:.2rem 0;padding:0;list-style:none;font-size:.84rem;color:var(--soft)}
"""
_SIZE, _LEFT, _BOTTOM, _RIGHT, _TOP = 330.0, 46.0, 36.0, 10.0, 8.0
_ROOM = _SIZE - _LEFT - _RIGHT


@dataclass(frozen=True)
class Axis:
    """One scale for both directions of a plot.

    Attributes
    ----------
    low, high : float
        Its ends: those of the true values, and a little more.
    """

    low: float
    high: float

    @classmethod
    def of(cls, sets: Sets) -> Axis:
        """Return the axis that holds all true values; sets without any are left out."""
        true = np.concatenate([pair[0] for pair in sets.values()] or [np.zeros(0)])
        if not true.size:
            return cls(-1.0, 1.0)
        span = float(true.max() - true.min()) or 1.0
        return cls(float(true.min()) - 0.08 * span, float(true.max()) + 0.08 * span)

    def share(self, value: float) -> float:
        """Return how far along a value lies, 0 to 1; what is outside lies at the end."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Round values, at most seven."""
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / 3))
        step = next(s * step for s in (1, 2, 5, 10) if span / (s * step) <= 7)
        first = math.ceil(self.low / step)
        return [round(k * step, 10) for k in range(first, math.floor(self.high / step) + 1)]

    def outside(self, sets: Sets) -> int:
        """Return how many predictions are drawn at an end."""
        return sum(int(((p < self.low) | (p > self.high)).sum()) for _, p in sets.values())


def explained(true: Numbers, predicted: Numbers) -> float:
    """Return R^2, the coefficient of determination; NaN where the true values do not differ."""
    spread = float(((true - true.mean()) ** 2).sum()) if true.size else 0.0
    return 1 - float(((predicted - true) ** 2).sum()) / spread if spread else math.nan


def together(sets: Sets) -> tuple[Numbers, Numbers]:
    """Return (true, predicted) of all sets."""
    return (np.concatenate([p[0] for p in sets.values()]), np.concatenate([p[1] for p in sets.values()]))


def scatter(title: str, unit: str, sets: Sets) -> Html:
    """Return predicted values over true ones, a colour for each set, with the line where both are equal.

    Parameters
    ----------
    title, unit : str
    sets : mapping of str to (true, predicted)
        At most eight.
    """
    axis = Axis.of(sets)

    def x(value: float) -> float:
        return round(_LEFT + _ROOM * axis.share(value), 2)

    def y(value: float) -> float:
        return round(_TOP + _ROOM - _ROOM * axis.share(value), 2)

    grid = [
        join(
            el("line", x1=_LEFT, x2=_LEFT + _ROOM, y1=y(v), y2=y(v), class_="grid"),
            el("line", x1=x(v), x2=x(v), y1=_TOP, y2=_TOP + _ROOM, class_="grid"),
            el("text", f"{v:g}", x=_LEFT - 6, y=y(v) + 4, text_anchor="end"),
            el("text", f"{v:g}", x=x(v), y=_TOP + _ROOM + 16, text_anchor="middle"),
        )
        for v in axis.ticks
    ]
    line = el("line", x1=x(axis.low), y1=y(axis.low), x2=x(axis.high), y2=y(axis.high), class_="identity")
    dots = [
        el("g", *[el("circle", cx=x(t), cy=y(p), r=2.6) for t, p in zip(*pair, strict=True)],
           fill=COLOURS[n % len(COLOURS)], class_="dots")
        for n, pair in enumerate(sets.values())
    ]  # fmt: skip
    said = el("text", f"true, {unit}" if unit else "true", x=_LEFT + _ROOM, y=_SIZE - 4, text_anchor="end")
    svg = el(
        "svg", *grid, line, *dots, said, viewBox=f"0 0 {_SIZE:g} {_SIZE:g}", role="img",
        aria_label=f"{title}: predicted over true",
    )  # fmt: skip
    return el("figure", el("h4", title), svg, _keys(sets, axis.outside(sets)), class_="chart")


def _keys(sets: Sets, outside: int) -> Html:
    """Return the sets' colours with the R^2 of each, and of all together."""
    lines = [
        el("li", el("i", style=f"background:{COLOURS[n % len(COLOURS)]}", class_="swatch"),
           f"{name}: R² {_told(explained(*pair))} ({len(pair[0])})")
        for n, (name, pair) in enumerate(sets.items())
    ]  # fmt: skip
    if len(sets) > 1:
        everything = together(sets)
        lines.append(el("li", el("b", f"all: R² {_told(explained(*everything))} ({len(everything[0])})")))
    if outside:
        lines.append(el("li", f"{outside} beyond the edge are drawn on it"))
    return el("ul", *lines)


def _told(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


# --- the same as a picture, for documents -----------------------------------------------------------------------------

_SIDE, _PAD, _HEAD, _FOOT = 264, 44, 30, 26  # px of a plot, left of it, above, below
_INK, _SOFT, _LINE = (36, 31, 27), (110, 100, 90), (224, 218, 213)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FINE = 4  # bits below a pixel, of what OpenCV draws


def plots_picture(rows: Mapping[str, Sequence[tuple[str, str, Sets]]]) -> NDArray[np.uint8]:
    """Return rows of plots under their names as one picture, blue first, with the colours of the sets at the bottom.

    Parameters
    ----------
    rows : mapping of str to sequence of (title, unit, sets)
        The sets of all plots have the same names.
    """
    bands = [np.vstack([_words(name, len(some)), np.hstack([_drawn(*one) for one in some])]) for name, some in
             rows.items()]  # fmt: skip
    width = max(b.shape[1] for b in bands)
    names = list(dict.fromkeys(n for some in rows.values() for *_, sets in some for n in sets))
    bands.append(_key(names, width))
    return np.vstack([np.pad(b, ((0, 0), (0, width - b.shape[1]), (0, 0)), constant_values=255) for b in bands])


def _words(text: str, plots: int) -> NDArray[np.uint8]:
    bar = np.full((30, plots * (_SIDE + _PAD + 10), 3), 255, np.uint8)
    cv2.putText(bar, text, (8, 22), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
    return bar


def _key(names: Sequence[str], width: int) -> NDArray[np.uint8]:
    bar = np.full((28, width, 3), 255, np.uint8)
    left = _PAD
    for n, name in enumerate(names):
        cv2.circle(bar, (left, 13), 5, _bgr(n), -1, cv2.LINE_AA)
        cv2.putText(bar, name, (left + 10, 18), _FONT, 0.42, _SOFT, 1, cv2.LINE_AA)
        left += 34 + cv2.getTextSize(name, _FONT, 0.42, 1)[0][0]
    return bar


def _bgr(number: int) -> tuple[int, int, int]:
    text = COLOURS[number % len(COLOURS)]
    return int(text[5:7], 16), int(text[3:5], 16), int(text[1:3], 16)


def _drawn(title: str, unit: str, sets: Sets) -> NDArray[np.uint8]:
    """Return one plot."""
    picture = np.full((_HEAD + _SIDE + _FOOT, _PAD + _SIDE + 10, 3), 255, np.uint8)
    axis = Axis.of(sets)

    def at(true: float, predicted: float) -> tuple[int, int]:
        x, y = _PAD + _SIDE * axis.share(true), _HEAD + _SIDE * (1 - axis.share(predicted))
        return round(x * 2**_FINE), round(y * 2**_FINE)

    for v in axis.ticks:
        for ends in (((v, axis.low), (v, axis.high)), ((axis.low, v), (axis.high, v))):
            cv2.line(picture, at(*ends[0]), at(*ends[1]), _LINE, 1, cv2.LINE_AA, _FINE)
        x, y = (n >> _FINE for n in at(v, v))
        _text(picture, f"{v:g}", (x, _HEAD + _SIDE + 15), middle=True)
        _text(picture, f"{v:g}", (_PAD - 5, y + 4), right=True)
    cv2.line(picture, at(axis.low, axis.low), at(axis.high, axis.high), _SOFT, 1, cv2.LINE_AA, _FINE)
    for n, pair in enumerate(sets.values()):
        for t, p in zip(*pair, strict=True):
            cv2.circle(picture, at(t, p), round(3.2 * 2**_FINE), _bgr(n), -1, cv2.LINE_AA, _FINE)
    _text(picture, f"{title}, {unit}" if unit else title, (_PAD, 20), size=0.46)
    _text(picture, f"R^2 {_told(explained(*together(sets)))}".replace("–", "-"), (_PAD + _SIDE, 20), right=True)
    return picture


def _text(
    picture: NDArray[np.uint8], words: str, at: tuple[int, int], *, size: float = 0.4, middle: bool = False,
    right: bool = False,
) -> None:  # fmt: skip
    """Write words into a picture."""
    wide = cv2.getTextSize(words, _FONT, size, 1)[0][0]
    x = at[0] - (wide // 2 if middle else wide if right else 0)
    cv2.putText(picture, words, (x, at[1]), _FONT, size, _SOFT, 1, cv2.LINE_AA)


__all__ = ["PARAMETERS", "PLOT_CSS", "Axis", "explained", "plots_picture", "scatter", "together"]
