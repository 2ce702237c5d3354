"""The seams of a run as tables: CSV and JSON, written one after the other; and pairs named by such a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from demis_ij.errors import InputError
from demis_ij.jobs.seams.worst import RunSeams, SeamRow

COLUMNS = tuple(f.name for f in fields(SeamRow))


def write_csv(seams: RunSeams, path: Path) -> int:
    """Write the seams as a UTF-8 CSV file with a header line (RFC 4180), all or nothing; return how many.

    Raises
    ------
    InputError
        When the file exists, or its folder does not.
    """
    if path.exists():
        msg = f"--csv {path} exists already: choose another name"
        raise InputError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"--csv {path}: there is no folder {path.absolute().parent}"
        raise InputError(msg)
    part = path.with_name(f".{path.name}.part")
    number = 0
    try:
        with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
            out = csv.writer(file)
            out.writerow(COLUMNS)
            for row in seams.rows():
                out.writerow([_cell(getattr(row, name)) for name in COLUMNS])
                number += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return number


def _cell(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def write_json(seams: RunSeams, out: TextIO, more: Mapping[str, Any]) -> None:
    """Write the seams as one JSON object, one after the other: they are never all in memory."""
    facts = {"run": str(seams.path.parent), "counts": seams.counts, "chosen": seams.chosen, **more}
    out.write(json.dumps(facts, allow_nan=False)[:-1] + ', "seams": [')
    for number, row in enumerate(seams.rows()):
        out.write((", " if number else "") + json.dumps(asdict(row), allow_nan=False))
    out.write("]}\n")


def pairs_of_csv(path: Path) -> list[tuple[str, str]]:
    """Return the pairs that a CSV file with the columns ``fixed`` and ``moving`` names.

    Raises
    ------
    InputError
        When it cannot be read, or lacks one of them.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            heads: Sequence[str] = lines.fieldnames or ()
            if not {"fixed", "moving"} <= set(heads):
                msg = f"{path}: needed a table with the columns fixed and moving, found {', '.join(heads) or 'nothing'}"
                raise InputError(msg)
            return [(line["fixed"], line["moving"]) for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InputError(msg) from error


__all__ = ["COLUMNS", "pairs_of_csv", "write_csv", "write_json"]
