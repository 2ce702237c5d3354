"""Tables and cards whose look is written on each element: a notebook may take a style sheet away."""

from __future__ import annotations

from collections.abc import Sequence

from demis_ij.display.colours import residual_colour
from demis_ij.display.drawing import NOTE
from demis_ij.display.markup import Html, el, join, px

MOST_ROWS = 10
LINE = "1px solid rgba(128,128,128,.45)"
CELL = "padding:.15em .7em;border:0;background:none;color:inherit;vertical-align:top;"


def card(title: str, *parts: object) -> Html:
    """Return parts under a title, one below the other."""
    return el("div", el("div", el("b", title)), *parts, style="color:inherit;margin:.3em 0")


def facts(rows: Sequence[tuple[str, object]]) -> Html:
    """Return names and values, one a line; values that are None or empty are left out."""
    lines = [
        el("tr", el("th", name, style=CELL + "text-align:left;font-weight:normal;opacity:.75"), _value(value))
        for name, value in rows
        if value is not None and str(value)
    ]
    return el("table", el("tbody", *lines), style="border-collapse:collapse;margin:.2em 0;border:0")


def _value(value: object) -> Html:
    return el("td", value, style=CELL + "text-align:left;overflow-wrap:anywhere")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, noun: str = "row", most: int = MOST_ROWS) -> Html:
    """Return a table, cut after ``most`` rows, which it says.

    Parameters
    ----------
    head : sequence of str
    rows : sequence of sequence of object
        Numbers stand to the right: floats as px, whole numbers as they are.
    noun : str
        What a row is, for the line that tells of rows left out.
    """
    top = el("tr", *[_cell("th", name, is_number=_is_number(rows, i)) for i, name in enumerate(head)])
    body = [
        el("tr", *[_cell("td", v, is_number=_is_number(rows, i)) for i, v in enumerate(row)]) for row in rows[:most]
    ]
    whole = el("table", el("thead", top), el("tbody", *body), style="border-collapse:collapse;margin:.3em 0;border:0")
    if len(rows) <= most:
        return whole
    return join(whole, el("div", f"{most} of {len(rows)} {noun}s", style=NOTE))


def _is_number(rows: Sequence[Sequence[object]], column: int) -> bool:
    values = [row[column] for row in rows if row[column] is not None]
    return bool(values) and all(isinstance(v, int | float) or getattr(v, "is_number", False) for v in values)


def _cell(tag: str, value: object, *, is_number: bool) -> Html:
    shown = px(value) if isinstance(value, float) else "–" if value is None else value
    line = f"border-bottom:{LINE};" if tag == "th" else ""
    return el(tag, shown, style=f"{CELL}{line}text-align:{'right' if is_number else 'left'}")


class _Number(Html):
    """Markup of a number, which stands to the right."""

    __slots__ = ()
    is_number = True


def swatch(residual_px: float) -> Html:
    """Return a residual with its colour before it."""
    return _Number(join(el("span", "■", style=f"color:{residual_colour(residual_px)}"), " ", px(residual_px)))


def listed(lines: Sequence[str], *, most: int = MOST_ROWS) -> Html | None:
    """Return lines of text as a list, cut after ``most``; None when there are none."""
    if not lines:
        return None
    rest = [el("li", f"and {len(lines) - most} more")] if len(lines) > most else []
    return el("ul", *[el("li", line) for line in lines[:most]], *rest, style="margin:.2em 0")
