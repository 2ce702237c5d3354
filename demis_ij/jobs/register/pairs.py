"""A list of pairs of images, each registered by itself: one that fails does not stop the others."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from demis_ij import __version__
from demis_ij.config import to_dict
from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import DemisError, FormatError, InputError
from demis_ij.formats.files import read_raw, read_text
from demis_ij.jobs.register.registering import FixedImage, Start, check_sizes
from demis_ij.jobs.register.runs import register_settings
from demis_ij.runs import RunFolder, check_folder, fingerprint, occupied, write_text

PROBLEMS = (DemisError, OSError, ValueError, ArithmeticError, MemoryError, cv2.error)
"""What one odd image among many can raise, here or in what it is read and registered by: the others are done."""

NEEDED = ("fixed", "moving")
COLUMNS = (*NEEDED, "name", "fixed_pixel_size", "moving_pixel_size")
KEPT = "registrations.jsonl"
"""In the run folder: one line a pair, written as they come."""
HEADS = ("name", "matched", "angle_deg", "scale", "tx", "ty", "sigma_px", "standing", "method", "milliseconds")


@dataclass(frozen=True)
class Pair:
    """What is to be registered.

    Attributes
    ----------
    fixed, moving : Path
        The images.
    name : str
        What the pair is called.
    sizes : tuple of float or None
        Size of a px of each, in one unit, where the list says.
    """

    fixed: Path
    moving: Path
    name: str
    sizes: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class PairOutcome:
    """What came of a pair: ``facts`` as JSON types, with ``error`` instead of numbers when it could not be tried."""

    pair: Pair
    facts: dict[str, Any]


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Return the pairs of a CSV file with a line of heads; relative paths start at its folder.

    Raises
    ------
    FormatError
        When it cannot be read, lacks a column or a value, or has an unknown one; it names the line.
    """
    path = Path(path)
    text = "\n".join(read_text(path, read_raw(path)).lines)
    heads, *rows = [[c.strip() for c in row] for row in csv.reader(io.StringIO(text))] or [[]]
    unknown = [h for h in heads if h not in COLUMNS]
    if unknown or any(n not in heads for n in NEEDED):
        said = f"unknown column {unknown[0]!r}" if unknown else f"its columns are {', '.join(heads) or 'none'}"
        raise FormatError(path, f"{said}: needed fixed and moving; known: {', '.join(COLUMNS)}", "line 1")
    found = [_pair(path, n, dict(zip(heads, row, strict=False))) for n, row in enumerate(rows, 2) if any(row)]
    if not found:
        raise FormatError(path, "holds no pair: one line for each is needed below the heads")
    return tuple(found)


def _pair(path: Path, number: int, told: dict[str, str]) -> Pair:
    where = f"line {number}"
    if not (told.get("fixed") and told.get("moving")):
        raise FormatError(path, "needs a fixed and a moving image", where)
    sizes = [_size(path, where, name, told.get(name, "")) for name in COLUMNS[3:]]
    try:
        check_sizes(*sizes)
    except InputError as error:
        raise FormatError(path, str(error), where) from error
    fixed, moving = (path.parent / told[name] for name in NEEDED)
    name = told.get("name") or f"{fixed.stem} {moving.stem}"
    return Pair(fixed, moving, name, (sizes[0], sizes[1]) if all(sizes) else None)


def _size(path: Path, where: str, name: str, text: str) -> float:
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise FormatError(path, f"{name}: {text!r} is no number above 0", where)
    return value


def run_pairs(
    pairs: Sequence[Pair],
    config: RegisterConfig,
    out: Path | None = None,
    *,
    tell: Callable[[str], None] | None = None,
) -> Iterator[PairOutcome]:
    """Yield what comes of each pair, in order.

    Parameters
    ----------
    pairs : sequence of Pair
    config : RegisterConfig
    out : Path, optional
        A run folder: every outcome is on disk before it is yielded, and what an earlier run has done is not done
        again. ``registrations.csv`` is written when the last one is, or when the caller stops.
    tell : callable, optional
        Told once what there is to say of all pairs, and what there is to say of one, with its name.

    Raises
    ------
    InputError
        When the folder holds something else, or somebody else works there.
    WeightsError
        When the weights cannot be used.
    """
    check_sizes(config.fixed_pixel_size, config.moving_pixel_size)
    start = Start.of(config)
    done: list[PairOutcome] = []
    fixed: FixedImage | None = None
    said: set[str] = set()
    with ExitStack() as ending:
        memory = None
        if out is not None:
            check_folder(out, _settings(config))
            ending.enter_context(occupied(out))
            memory = _Memory(out, config)
            ending.callback(_write_table, out, done)
        for pair in pairs:
            kept = memory.kept(pair) if memory else None
            if kept is None:
                kept, fixed = _registered(pair, config, fixed, start)
                if memory:
                    memory.put(pair, kept)
            for note in kept.get("notes", []):
                line = note if note in start.notes else f"{pair.name}: {note}"
                if tell is not None and line not in said:
                    said.add(line)
                    tell(line)
            done.append(PairOutcome(pair, kept))
            yield done[-1]


def _write_table(out: Path, done: Sequence[PairOutcome]) -> None:
    if done:
        write_text(out / "registrations.csv", pairs_csv(done))


def _settings(config: RegisterConfig) -> dict[str, Any]:
    """Return what all pairs of a run folder have in common."""
    kept = {k: v for k, v in to_dict(config).items() if k not in {"threads", "device"}}
    return {"job": "register pairs", **kept}


def _registered(
    pair: Pair, config: RegisterConfig, fixed: FixedImage | None, start: Start
) -> tuple[dict[str, Any], FixedImage | None]:
    """Return what came of a pair, and its fixed image, which the next may share."""
    told = {"name": pair.name, "fixed": str(pair.fixed), "moving": str(pair.moving)}
    try:
        if fixed is None or fixed.picture.path != pair.fixed:
            fixed = FixedImage(pair.fixed, config, start)
        return {"name": pair.name, **fixed.register(pair.moving, pair.sizes).facts}, fixed
    except PROBLEMS as error:
        return {**told, "matched": False, "error": in_one_line(error)}, fixed


def in_one_line(error: BaseException) -> str:
    """Return what a problem with one image says."""
    said = " ".join(str(error).split())
    return said if isinstance(error, DemisError | OSError) else f"{type(error).__name__}: {said}"


class _Memory:
    """Outcomes in a run folder, one JSON line each; a line that was cut off is done again."""

    def __init__(self, out: Path, config: RegisterConfig) -> None:
        folder = RunFolder(out, _settings(config))
        self._config, self._path = config, folder.path / KEPT
        self._kept = {line["key"]: line["facts"] for line in whole_lines(self._path) if "key" in line}

    def _key(self, pair: Pair) -> str:
        settings = register_settings(pair.fixed, pair.moving, self._config)
        return fingerprint([__version__, settings, pair.name, pair.sizes])

    def kept(self, pair: Pair) -> dict[str, Any] | None:
        """Return what came of a pair whose images and settings are the same."""
        return self._kept.get(self._key(pair))

    def put(self, pair: Pair, facts: dict[str, Any]) -> None:
        """Keep what came of a pair, on disk before this returns."""
        append_line(self._path, {"key": self._key(pair), "facts": facts})


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; what a crash has cut off at its end is taken away.

    Raises
    ------
    FormatError
        When a whole line is something else: the file is somebody else's and is left alone.
    """
    if not path.exists():
        return []
    raw = read_raw(path)
    whole = raw[: raw.rfind(b"\n") + 1]
    found = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise FormatError(path, "is no line of JSON: choose another file", f"line {number}") from error
        if not isinstance(value, dict):
            raise FormatError(path, "is no object of JSON: choose another file", f"line {number}")
        found.append(value)
    if len(whole) < len(raw):
        if not raw.startswith(b"{"):
            raise FormatError(path, "is no file of JSON lines: choose another file", "line 1")
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return found


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Append one object to a file of JSON lines."""
    with path.open("ab") as file:
        file.write(json.dumps(value, allow_nan=False).encode() + b"\n")


# --- tables -----------------------------------------------------------------------------------------------------------


def _row(outcome: PairOutcome) -> dict[str, Any]:
    facts = outcome.facts
    there = facts.get("to_moving") or [[None] * 3] * 2
    told = {**facts, "tx": there[0][2], "ty": there[1][2]}
    return {head: told.get(head) for head in HEADS}


def pairs_table(done: Sequence[PairOutcome]) -> list[dict[str, Any]]:
    """Return a row for each pair, for the screen."""
    digits = {"angle_deg": 3, "scale": 4, "tx": 2, "ty": 2, "sigma_px": 2, "standing": 1, "milliseconds": 0}
    shown = []
    for outcome in done:
        row = _row(outcome)
        shown.append({k: f"{v:.{digits[k]}f}" if k in digits and v is not None else v for k, v in row.items()})
        shown[-1]["matched"] = "yes" if row["matched"] else ("error" if outcome.facts.get("error") else "no")
    return shown


def pairs_csv(done: Sequence[PairOutcome]) -> str:
    """Return the outcomes as a CSV file: six numbers each way, how sure, and why not."""
    heads = ["name", "fixed", "moving", "matched"]
    heads += [f"{way}_{n}" for way in ("to_moving", "to_fixed") for n in ("a", "b", "tx", "c", "d", "ty")]
    heads += ["angle_deg", "scale", "sigma_px", "score", "standing", "overlap", "method", "milliseconds", "reason"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for outcome in done:
        facts = dict(outcome.facts)
        for way in ("to_moving", "to_fixed"):
            names = [f"{way}_{n}" for n in ("a", "b", "tx", "c", "d", "ty")]
            numbers = [v for row in facts.get(way) or [] for v in row]
            facts |= dict(zip(names, numbers, strict=False))
        facts["reason"] = facts.get("error") or facts.get("reason")
        writer.writerow(["" if facts.get(h) is None else facts[h] for h in heads])
    return text.getvalue()


__all__ = [
    "COLUMNS", "PROBLEMS", "Pair", "PairOutcome", "append_line", "in_one_line", "pairs_csv", "pairs_table",
    "read_pairs", "run_pairs", "whole_lines",
]  # fmt: skip
