"""What the settings of every verb are checked by."""

from __future__ import annotations

import difflib
import math
from dataclasses import fields
from typing import Any

from demis_ij.errors import InputError


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise `InputError`, with the nearest name, when a value is not one of those known."""
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(str(value), known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        msg = f"{name}: {value!r} is not one of {', '.join(known)}{hint}"
        raise InputError(msg)


def in_range(name: str, value: Any, low: float, high: float) -> None:
    """Raise `InputError` when a value is not a finite number within bounds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and low <= value <= high):
        msg = f"{name}: {value!r} is not between {low:g} and {high:g}"
        raise InputError(msg)


def check_types(config: object) -> None:
    """Check that every field is of its default's type. Raises `InputError` naming the setting."""
    for f in fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        if isinstance(f.default, bool):
            fits, needed = isinstance(value, bool), "true or false"
        elif isinstance(f.default, str):
            fits, needed = isinstance(value, str), "text"
        elif isinstance(f.default, int):
            fits, needed = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        else:
            continue
        if not fits:
            msg = f"{f.name}: {value!r} is not {needed}"
            raise InputError(msg)


def words(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of text, or one text, as a tuple. Raises `InputError`."""
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
        msg = f"{name}: {value!r} is not a list of text"
        raise InputError(msg)
    return tuple(words)


def whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    """Return a list of whole numbers as a tuple. Raises `InputError`."""
    fits = isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if not fits:
        msg = f"{name}: {value!r} is not a list of whole numbers"
        raise InputError(msg)
    return tuple(value)


def shapes(value: Any) -> tuple[tuple[int, int], ...]:
    """Return a list of (rows, cols), 32 px at least each, as tuples. Raises `InputError`."""
    given = value if isinstance(value, list | tuple) else ()
    shapes = [whole_numbers("shapes", v) for v in given]
    if not shapes or any(len(s) != 2 or min(s) < 32 for s in shapes):
        msg = f"shapes: {value!r} is not a list of [rows, cols], each 32 px at least"
        raise InputError(msg)
    return tuple((s[0], s[1]) for s in shapes)
