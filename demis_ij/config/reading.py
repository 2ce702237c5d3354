"""Settings from TOML and from plain values, and back."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from demis_ij.errors import FormatError, InputError

T = TypeVar("T")


def to_dict(config: object) -> dict[str, Any]:
    """Return a config as plain values for JSON."""
    return asdict(config)  # type: ignore[call-overload, no-any-return]


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a config from plain values. An unknown key raises `InputError` with the nearest name."""
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            msg = f"unknown setting {key!r}{hint}"
            raise InputError(msg)
    return kind(**values)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises `FormatError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"not a TOML file: {error}") from error
