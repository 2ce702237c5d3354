"""What goes to a script and what comes back from it: plain values, never a Java object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.errors import InputError
from demis_ij.imagej.picture import Picture


def to_java(value: Any) -> Any:
    """Return the Java value of a Python one.

    None, bool, int, float and str become their Java counterparts, a Path a File, a `Picture` its ImagePlus, a list or
    tuple a List, a mapping a Map.

    Raises
    ------
    InputError
        The value is of another kind.
    """
    import jpype

    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Picture):
        return value._imageplus
    if isinstance(value, Path):
        return jpype.JClass("java.io.File")(str(value))
    if isinstance(value, (bool, np.bool_)):
        return jpype.JClass("java.lang.Boolean")(bool(value))
    if isinstance(value, (int, np.integer)):
        return jpype.JClass("java.lang.Integer" if -(2**31) <= value < 2**31 else "java.lang.Long")(int(value))
    if isinstance(value, (float, np.floating)):
        return jpype.JClass("java.lang.Double")(float(value))
    if isinstance(value, Mapping):
        table = jpype.JClass("java.util.LinkedHashMap")()
        for key, item in value.items():
            table.put(str(key), to_java(item))
        return table
    if isinstance(value, (list, tuple)):
        items = jpype.JClass("java.util.ArrayList")()
        for item in value:
            items.add(to_java(item))
        return items
    hint = ": make a picture of it first (to_imageplus)" if isinstance(value, np.ndarray) else ""
    msg = f"a script cannot be given a {type(value).__name__}{hint}"
    raise InputError(msg)


def from_java(value: Any) -> Any:
    """Return the Python value of a Java one: an ImagePlus as `Picture`, a ResultsTable as list of rows.

    Anything that has no counterpart comes as its text, so that no Java object leaves the room.
    """
    import jpype

    if value is None:
        return value
    for kind, turn in (
        ("java.lang.Boolean", bool), ("java.lang.Number", _number), ("java.io.File", lambda v: Path(str(v))),
        ("ij.ImagePlus", Picture), ("ij.measure.ResultsTable", _rows),
        ("java.util.Map", lambda v: {str(e.getKey()): from_java(e.getValue()) for e in v.entrySet()}),
        ("java.util.Collection", lambda v: [from_java(item) for item in v]),
    ):  # fmt: skip
        if isinstance(value, jpype.JClass(kind)):
            return turn(value)
    return str(value)


def _number(value: Any) -> int | float:
    import jpype

    whole = ("java.lang.Byte", "java.lang.Short", "java.lang.Integer", "java.lang.Long")
    return int(value) if any(isinstance(value, jpype.JClass(k)) for k in whole) else float(value.doubleValue())


def _rows(table: Any) -> list[dict[str, Any]]:
    headings = [str(h) for h in table.getHeadings()]
    rows = []
    for i in range(table.size()):
        row: dict[str, Any] = {}
        for heading in headings:
            text = str(table.getStringValue(heading, i))
            number = float(table.getValue(heading, i)) if heading != "Label" else float("nan")
            row[heading] = number if number == number else text
        rows.append(row)
    return rows
