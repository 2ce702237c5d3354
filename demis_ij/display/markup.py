"""HTML and SVG elements whose text is escaped unless it is already an element."""

from __future__ import annotations

import math
from html import escape


class Html(str):
    """Markup that is already safe. Every other string is text and is escaped when it enters an element."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "col"})


def text(value: object) -> Html:
    """Return markup of a value: `Html` as it is, anything else escaped."""
    return value if isinstance(value, Html) else Html(escape(_printable(str(value)), quote=True))


def _printable(value: str) -> str:
    """Return text that can be encoded and shown: control characters and lone surrogates become U+FFFD."""
    return "".join("�" if (c < " " and c not in "\t\n") or "\ud800" <= c <= "\udfff" else c for c in value)


def el(tag: str, *children: object, **attributes: object) -> Html:
    """Return one element.

    Parameters
    ----------
    tag : str
        Its name.
    *children : object
        `Html` is kept, None is left out, anything else is escaped text.
    **attributes : object
        ``class_`` gives ``class`` and ``stroke_width`` gives ``stroke-width``; True gives a bare attribute, None and
        False leave it out; numbers are written with few digits.

    Examples
    --------
    >>> el("td", "a < b", class_="id", colspan=2)
    '<td class="id" colspan="2">a &lt; b</td>'
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{text(_attribute(value))}"')
    opening = "<" + " ".join(parts) + ">"
    if tag in _VOID:
        return Html(opening)
    return Html(opening + "".join(text(c) for c in children if c is not None) + f"</{tag}>")


def _attribute(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def join(*parts: object) -> Html:
    """Return parts one after the other."""
    return Html("".join(text(p) for p in parts if p is not None))


# --- numbers --------------------------------------------------------------------------------------------------------


def px(value: float | None) -> str:
    """Return a length in px with two decimals below 10, one below 100, none above; a dash for what is not known.

    Examples
    --------
    >>> px(0.1234), px(12.345), px(1234.5), px(float("nan"))
    ('0.12', '12.3', '1234', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    return signed(value, 2 if size < 9.995 else 1 if size < 99.95 else 0)


def signed(value: float, decimals: int) -> str:
    """Return a number with a real minus sign, and none before zero.

    Examples
    --------
    >>> signed(-1.5, 1), signed(-0.001, 2)
    ('−1.5', '0.00')
    """
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def px_at_most(value: float) -> str:
    """Return a bound in px, rounded up so that "within" stays true.

    Examples
    --------
    >>> px_at_most(0.381), px_at_most(12.31)
    ('0.39', '12.4')
    """
    step = 100 if value < 10 else 10
    return px(math.ceil(round(value * step, 6)) / step)


def count(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "seam"), count(2, "seam"), count(0, "match", "matches")
    ('1 seam', '2 seams', '0 matches')
    """
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def seconds(value: float) -> str:
    """Return a duration as people read it.

    Examples
    --------
    >>> seconds(0.0123), seconds(4.25), seconds(75), seconds(7300)
    ('0.012 s', '4.2 s', '1 min 15 s', '2 h 2 min')
    """
    if value < 1:
        return f"{value:.3f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes = round(value / 60)
    if value < 3599.5:
        return f"{round(value) // 60} min {round(value) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"
