"""Nothing that a client sends is believed: names, types and ranges are checked here, and every refusal is one line.

A checker takes a name and a value and returns what the verb works with. None, an empty text and an empty list mean
"not given".
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.worker import API

Check = Callable[[str, Any], Any]


def checked(verb: str, inputs: Mapping[str, Any], known: Mapping[str, Check], needed: Iterable[str]) -> dict[str, Any]:
    """Return the inputs that were given, each as its checker makes it.

    Raises
    ------
    InputError
        When one is unknown (with the nearest name), wrong, or missing.
    """
    for name in inputs:
        if name not in known:
            msg = f"{verb}: unknown input {name!r}{nearest(name, known)}"
            raise InputError(msg)
    given = {name: known[name](name, value) for name, value in inputs.items() if is_given(value)}
    missing = next((name for name in needed if name not in given), None)
    if missing is not None:
        msg = f"{verb}: the input {missing!r} is missing"
        raise InputError(msg)
    return given


def is_given(value: Any) -> bool:
    """Return whether a value says anything: an empty field of a dialog does not."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != [] and value != {}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that names what was probably meant, or all that is known."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"


def check_client(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs without what a client says of itself. Raises `InputError` when it speaks another language."""
    rest = dict(inputs)
    client = rest.pop("client", None)
    if client is None:
        return rest
    if not isinstance(client, dict):
        msg = f"client: {client!r} is not an object with 'version' and 'api'"
        raise InputError(msg)
    if client.get("api") != API:
        msg = (
            f"these scripts are of demis_ij {client.get('version', '?')} (api {client.get('api', '?')}), this Python "
            f"has demis_ij {__version__} (api {API}): run 'demis-ij fiji install' again with this Python"
        )
        raise InputError(msg)
    return rest


# --- checkers ---------------------------------------------------------------------------------------------------------


def _refuse(name: str, value: Any, needed: str) -> InputError:
    return InputError(f"{name}: {value!r} is not {needed}")


def anything(_name: str, value: Any) -> Any:
    """Return the value; who works with it checks it."""
    return value


def text(name: str, value: Any) -> str:
    """Return a text that a file name can be made of. Raises `InputError`."""
    if not isinstance(value, str):
        raise _refuse(name, value, "text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refuse(name, value, "text: it holds half a character") from error
    if "\0" in value:
        raise _refuse(name, value, "text: it holds a zero character")
    return value


def flag(name: str, value: Any) -> bool:
    """Return true or false. Raises `InputError`, for a text that says so, too."""
    if not isinstance(value, bool):
        raise _refuse(name, value, "true or false")
    return value


def whole(low: int, high: int) -> Check:
    """Return a checker of whole numbers from ``low`` to ``high``."""

    def check(name: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _refuse(name, value, "a whole number")
        if not low <= value <= high:
            raise _refuse(name, value, f"between {low} and {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """Return a checker of finite numbers from ``low`` to ``high``."""

    def check(name: str, value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise _refuse(name, value, "a number")
        if not low <= value <= high:
            raise _refuse(name, value, f"between {low:g} and {high:g}")
        return float(value)

    return check


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of text, or one text, as a tuple. Raises `InputError`."""
    some = [value] if isinstance(value, str) else value
    if not isinstance(some, list):
        raise _refuse(name, value, "a list of text")
    return tuple(text(name, v) for v in some if is_given(v))


def path(name: str, value: Any) -> Path:
    """Return an absolute path. Raises `InputError`."""
    found = Path(text(name, value))
    if not found.is_absolute():
        raise _refuse(name, value, "a whole path (nobody knows which folder it would start from)")
    return found


def paths(name: str, value: Any) -> tuple[Path, ...]:
    """Return a list of absolute paths. Raises `InputError`."""
    return tuple(path(name, v) for v in texts(name, value))


def existing(name: str, value: Any) -> Path:
    """Return the path of a file or folder that is there. Raises `InputError`."""
    found = path(name, value)
    try:
        os.stat(found)  # noqa: PTH116 - its error says why, where Path.exists says False
    except OSError as error:
        msg = f"{name}: {found}: {error.strerror or 'no such file or folder'}"
        raise InputError(msg) from error
    return found


def folder(name: str, value: Any) -> Path:
    """Return the path of a folder that is there. Raises `InputError`."""
    found = existing(name, value)
    if not found.is_dir():
        msg = f"{name}: {found} is a file, needed a folder"
        raise InputError(msg)
    return found


def file(name: str, value: Any) -> Path:
    """Return the path of a file that is there. Raises `InputError`."""
    found = existing(name, value)
    if not found.is_file():
        msg = f"{name}: {found} is a folder, needed a file"
        raise InputError(msg)
    return found


def table(known: Mapping[str, Check]) -> Check:
    """Return a checker of an object with some of the known keys."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refuse(name, value, f"an object with {', '.join(known)}")
        return checked(name, value, known, ())

    return check
