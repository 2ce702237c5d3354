"""All settings of a training: from TOML tables and single values, and back to TOML."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from demis_ij.config import (
    ArchitectureConfig,
    TrainConfig,
    TrainDataConfig,
    ValidationConfig,
    from_dict,
    read_toml,
    to_dict,
)
from demis_ij.errors import InputError
from demis_ij.train.samples import SampleSpec

TABLES: dict[str, type[Any]] = {
    "data": TrainDataConfig,
    "train": TrainConfig,
    "validation": ValidationConfig,
    "architecture": ArchitectureConfig,
    "samples": SampleSpec,
}
FREE = frozenset({"device", "gpus", "threads", "workers", "save_every", "log_every"})
"""Settings of [train] that may differ when a run goes on: they change where and how fast it is computed."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a training run is told.

    Attributes
    ----------
    data, train, validation, samples : TrainDataConfig, TrainConfig, ValidationConfig, SampleSpec
        The tables of the file; ``samples.shape`` gives way to ``train.shapes``.
    architecture : ArchitectureConfig or None
        None: nothing was said, so it is that of the weights to start from, or the default.
    """

    data: TrainDataConfig = field(default_factory=TrainDataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    samples: SampleSpec = field(default_factory=SampleSpec)
    architecture: ArchitectureConfig | None = None

    def __post_init__(self) -> None:
        stride = self.architecture.stride if self.architecture else 8
        wrong = next((s for s in self.train.shapes if s[0] % stride or s[1] % stride), None)
        if wrong:
            msg = f"shapes: {list(wrong)} is not a multiple of the coarse stride of {stride} px"
            raise InputError(msg)


def read_settings(
    path: Path | None, assignments: Sequence[str] = (), named: Mapping[str, Mapping[str, Any]] | None = None
) -> TrainingSettings:
    """Return the settings: defaults, then a TOML file, then ``NAME=VALUE``, then what is given by name.

    Parameters
    ----------
    path : Path or None
        TOML with tables [data], [train], [validation], [samples] and [architecture]. Relative folders and checkpoints
        in it are relative to the working folder.
    assignments : sequence of str
        ``steps=300`` or ``validation.every=50``; a name alone must be the only one of its kind.
    named : mapping of str to mapping
        Table to setting to value.

    Raises
    ------
    InputError
        Unknown tables and settings, each with the nearest name; wrong values.
    """
    tables: dict[str, Any] = read_toml(path) if path else {}
    for table, content in tables.items():
        _known(table, TABLES, f"{path}: unknown table [{table}]")
        if not isinstance(content, dict):
            msg = f"{path}: {table} is {content!r}, needed a table [{table}]"
            raise InputError(msg)
    for item in assignments:
        table, key, text = _assignment(item)
        tables.setdefault(table, {})[key] = _value(text)
    for table, content in (named or {}).items():
        given = {k: v for k, v in content.items() if v is not None}
        if given:
            tables[table] = tables.get(table, {}) | given
    return from_tables(tables)


def from_tables(tables: Mapping[str, Mapping[str, Any]]) -> TrainingSettings:
    """Return the settings of plain tables. Raises `InputError` naming the table."""
    parts: dict[str, Any] = {}
    for name, kind in TABLES.items():
        if name not in tables and name == "architecture":
            continue
        try:
            parts[name] = (
                _sample_spec(tables.get(name, {})) if kind is SampleSpec else from_dict(kind, tables.get(name, {}))
            )
        except InputError as error:
            msg = f"[{name}] {error}"
            raise InputError(msg) from error
    return TrainingSettings(**parts)


def _sample_spec(values: Mapping[str, Any]) -> SampleSpec:
    """Return the ranges of pairs; all are numbers from 0, fractions at most 1."""
    if "shape" in values:
        msg = "shape: the shapes of crops are set by shapes in [train]"
        raise InputError(msg)
    for key, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (key.endswith("_frac") and value > 1):
            msg = f"{key}: {value!r} is not {'between 0 and 1' if key.endswith('_frac') else 'a number from 0'}"
            raise InputError(msg)
    return from_dict(SampleSpec, values)


def _known(name: str, known: Iterable[str], problem: str) -> None:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        msg = f"{problem}; {f'did you mean {near[0]!r}?' if near else 'known: ' + ', '.join(names)}"
        raise InputError(msg)


def _assignment(item: str) -> tuple[str, str, str]:
    """Return table, setting and text of ``NAME=VALUE`` or ``TABLE.NAME=VALUE``."""
    name, equals, text = item.partition("=")
    if not equals:
        msg = f"--set {item}: needed NAME=VALUE"
        raise InputError(msg)
    table, dot, key = name.strip().rpartition(".")
    settings = {(t, f.name) for t, kind in TABLES.items() for f in fields(kind) if (t, f.name) != ("samples", "shape")}
    if dot:
        _known(table, TABLES, f"--set {item}: unknown table {table!r}")
        _known(key, [k for t, k in settings if t == table], f"--set {item}: unknown setting {key!r} of [{table}]")
        return table, key, text
    _known(key, sorted(k for _, k in settings), f"--set {item}: unknown setting {key!r}")
    return next(t for t, k in settings if k == key), key, text


def _value(text: str) -> Any:
    """Return a value as JSON (and TOML) write it, else the text as it stands."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def to_tables(settings: TrainingSettings) -> dict[str, dict[str, Any]]:
    """Return the settings as plain tables, complete, for JSON and TOML."""
    out = {name: to_dict(getattr(settings, name)) for name in TABLES if getattr(settings, name) is not None}
    out["samples"].pop("shape")
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(out))
    return plain


def to_toml(settings: TrainingSettings) -> str:
    """Return the settings as a TOML file that `read_settings` reads back as the same."""
    lines = []
    for name, table in to_tables(settings).items():
        lines += [f"[{name}]", *(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in table.items()), ""]
    return "\n".join(lines)


def difference(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the first setting that would change a run's result ("steps was 300, is 400"), or nothing.

    Where the images lie is left out: what they hold is compared by itself.
    """
    for table in (t for t in TABLES if t != "data"):
        old, new = before.get(table, {}), now.get(table, {})
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key) and not (table == "train" and key in FREE):
                return f"{key} of [{table}] was {old.get(key)!r}, is {new.get(key)!r}"
    return ""
