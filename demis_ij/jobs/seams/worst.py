"""The seams of a run, worst first, with their errors: read from its solution as a stream, however many there are."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.solutions import lenses_in
from demis_ij.formats.streamed_json import StreamedJson, at
from demis_ij.records import Affine, Tile
from demis_ij.runs import read_json
from demis_ij.stitch import Progress

BELIEVED, OVERRULED, FAILED = "believed", "not believed", "failed"
STATES = (BELIEVED, OVERRULED, FAILED)


@dataclass(frozen=True, slots=True)
class SeamRow:
    """One pair of tiles that was looked at.

    Attributes
    ----------
    section, fixed, moving : str
        Where it is; tiles as the solution names them.
    state : str
        believed, not believed (the solver gave it no weight), or failed (no matcher could match it).
    error_px : float or None
        Root mean square distance of its points in the solved layout: what the seam shows. None when it failed.
    sigma_px : float or None
        The error to expect.
    residual_px : float or None
        The same distance after the pair's own transform.
    weight : float
        How much the solver believed it, 0 to 1.
    matcher : str
        Who found it, or was asked last.
    matches, inliers : int
        Points offered; points that agree.
    x, y : float or None
        The middle between the two tiles' centres, px of the mosaic. None when the solution does not know the tiles.
    fixed_x, fixed_y, moving_x, moving_y : float or None
        The tiles' centres.
    reason : str
        Why it failed or was not believed.
    tried : str
        Who was asked before, and why each was refused.
    """

    section: str
    fixed: str
    moving: str
    state: str
    error_px: float | None
    sigma_px: float | None
    residual_px: float | None
    weight: float
    matcher: str
    matches: int
    inliers: int
    x: float | None
    y: float | None
    fixed_x: float | None
    fixed_y: float | None
    moving_x: float | None
    moving_y: float | None
    reason: str
    tried: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamChoice:
    """Which seams are meant.

    Attributes
    ----------
    worse_than : float or None
        Only those whose error is larger, px.
    section : str or None
        Only those of one section.
    failed : bool
        Those that failed, instead of those that have an error.
    most : int or None
        No more than so many, the worst; all when None.
    """

    worse_than: float | None = None
    section: str | None = None
    failed: bool = False
    most: int | None = None


@dataclass(frozen=True)
class _File:
    """One file of a solution: a whole one, or that of a section."""

    path: Path
    head: str
    shift: tuple[float, float]


class RunSeams:
    """The seams of a finished run, found and put in order by one pass through its solution.

    Of each seam only its error and its place in the file are kept; `rows` reads those that are asked for. So two
    million seams take a few dozen megabytes.

    Parameters
    ----------
    run : Path
        A run folder of ``stitch``, or its ``solution.json``.
    choice : SeamChoice
        Which seams are meant.
    progress : callable, optional
        Told how far the reading is, in MiB.

    Attributes
    ----------
    counts : dict of str to int
        Seams of the sections looked at, by their state.
    chosen : int
        How many seams are meant by the choice, the worst first.

    Raises
    ------
    InputError
        When there is no finished run, or no such section.
    FormatError
        When its solution cannot be read.
    """

    def __init__(self, run: Path, choice: SeamChoice, progress: Progress | None = None) -> None:
        self.path = solution_of(run)
        self.choice = choice
        self.counts = dict.fromkeys(STATES, 0)
        self.sections: dict[str, None] = {}
        self._files = list(_files_of(self.path))
        badness, places, self._tiles = self._scan(progress or (lambda _what, _done, _all: None))
        if choice.section is not None and choice.section not in self.sections:
            msg = f"{run}: no section {choice.section!r}; there are {', '.join(list(self.sections)[:20])}"
            raise InputError(msg)
        order = np.argsort(-badness, kind="stable")
        self._order = places[order if choice.most is None else order[: choice.most]]
        self.chosen = len(badness)

    def rows(self) -> Iterator[SeamRow]:
        """Yield the seams that are meant, worst first; those that failed in the solution's order."""
        opened = [file.path.open("rb") for file in self._files]
        try:
            for place in self._order:
                number, start, end = map(int, place)
                yield _row(at(opened[number], start, end), self._files[number].head, self._tiles)
        finally:
            for file in opened:
                file.close()

    def tiles(self, names: Collection[str]) -> dict[str, Tile]:
        """Return some tiles where the solution puts them, by their names; those that it does not know are left out."""
        wanted, found = set(names), {}
        for file in self._files:
            with file.path.open("rb") as opened:
                stream = StreamedJson(opened, file.path)
                for key in stream.members():
                    if key != "tiles":
                        stream.skip()
                        continue
                    for name in stream.members():
                        _, start, end = stream.value()
                        if file.head + name in wanted:
                            found[file.head + name] = (file, start, end)
        return {name: _tile(name, *place) for name, place in found.items()}

    def _scan(self, tell: Progress) -> tuple[NDArray[np.float64], NDArray[np.int64], _Centres]:
        badness, places, centres = array("d"), array("q"), _Centres()
        whole, before = sum(_size(file.path) for file in self._files), 0
        try:
            for number, file in enumerate(self._files):
                with file.path.open("rb") as opened:
                    stream = StreamedJson(opened, file.path, partial(_tell_bytes, tell, before, whole))
                    for key in stream.members():
                        if key == "tiles":
                            for name in stream.members():
                                tile = stream.value()[0]
                                centres.add(file.head + name, tile, file.shift)
                                self.sections[_true_text(tile["section"])] = None  # also one without any seam
                        elif key == "pairs":
                            for _ in stream.elements():
                                pair, start, end = stream.value()
                                found = self._judge(pair)
                                if found is not None:
                                    badness.append(found)
                                    places.extend((number, start, end))
                        else:
                            stream.skip()
                before += _size(file.path)
        except FormatError:
            raise  # it says what is wrong, and where
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise FormatError(file.path, f"is no solution: {error!r}") from error
        except OSError as error:
            raise FormatError(file.path, f"cannot be read: {error.strerror}") from error
        return np.frombuffer(badness, np.float64), np.frombuffer(places, np.int64).reshape(-1, 3), centres.ready()

    def _judge(self, pair: Mapping[str, Any]) -> float | None:
        """Count a pair, and return how bad it is, None when it is not meant."""
        section = _true_text(pair["section"])
        self.sections[section] = None
        if self.choice.section is not None and section != self.choice.section:
            return None
        state = _state(pair)
        self.counts[state] += 1
        if self.choice.failed or state == FAILED:
            return 0.0 if self.choice.failed and state == FAILED else None
        error = pair.get("solved_residual_px")
        bad = math.inf if error is None else float(error)
        return None if self.choice.worse_than is not None and bad <= self.choice.worse_than else bad


def _tell_bytes(tell: Progress, before: int, whole: int, now: int) -> None:
    tell("seams read, MiB", min(before + now, whole) >> 20, whole >> 20)


def _size(path: Path) -> int:
    """Return a file's size; one that is missing is named when it is opened."""
    return path.stat().st_size if path.is_file() else 0


class _Centres:
    """Where tiles lie, by their names: 24 bytes a tile."""

    def __init__(self) -> None:
        self._keys, self._xy = array("Q"), array("d")
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._at: NDArray[np.float64] = np.empty((0, 2))

    def add(self, name: str, tile: Mapping[str, Any], shift: tuple[float, float]) -> None:
        (a, b, tx), (c, d, ty) = tile["to_world"]
        x, y = (tile["shape"][1] - 1) / 2, (tile["shape"][0] - 1) / 2
        self._keys.append(_key(name))
        self._xy.extend((a * x + b * y + tx + shift[0], c * x + d * y + ty + shift[1]))

    def ready(self) -> _Centres:
        keys = np.frombuffer(self._keys, np.uint64)
        order = np.argsort(keys, kind="stable")
        self._sorted, self._at = keys[order], np.frombuffer(self._xy, np.float64).reshape(-1, 2)[order]
        return self

    def of(self, name: str) -> tuple[float | None, float | None]:
        key = np.uint64(_key(name))
        place = int(np.searchsorted(self._sorted, key))
        if place >= len(self._sorted) or self._sorted[place] != key:
            return None, None
        return round(float(self._at[place, 0]), 3), round(float(self._at[place, 1]), 3)


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _true_text(value: Any) -> str:
    """Return text that was read as Latin-1 as what it is."""
    text = str(value)
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


def _state(pair: Mapping[str, Any]) -> str:
    if pair["residual_px"] is None and pair.get("to_fixed") is None:
        return FAILED
    return BELIEVED if pair["accepted"] else OVERRULED


def _tile(name: str, file: _File, start: int, end: int) -> Tile:
    with file.path.open("rb") as opened:
        told = at(opened, start, end)
    mask = told.get("mask_path")
    return Tile(
        name,
        Path(told["path"]),
        (int(told["shape"][0]), int(told["shape"][1])),
        Affine.translation(*file.shift) @ Affine.from_matrix(told["to_world"]),
        str(told["section"]),
        told["page"],
        mask_path=Path(mask) if mask else None,
        lens=lenses_in(file.path)[told["lens"]] if told.get("lens") else None,
        camera=str(told.get("camera", "")),
    )


def _row(pair: Mapping[str, Any], head: str, centres: _Centres) -> SeamRow:
    fixed, moving = f"{head}{pair['fixed']}", f"{head}{pair['moving']}"
    (x0, y0), (x1, y1) = centres.of(fixed), centres.of(moving)
    return SeamRow(
        section=str(pair["section"]),
        fixed=fixed,
        moving=moving,
        state=_state(pair),
        error_px=pair.get("solved_residual_px"),
        sigma_px=pair.get("sigma_px"),
        residual_px=pair["residual_px"],
        weight=float(pair.get("weight", 0.0)),
        matcher=str(pair["matcher"]),
        matches=int(pair["matches"]),
        inliers=int(pair["inliers"]),
        x=None if x0 is None or x1 is None else round((x0 + x1) / 2, 3),
        y=None if y0 is None or y1 is None else round((y0 + y1) / 2, 3),
        fixed_x=x0,
        fixed_y=y0,
        moving_x=x1,
        moving_y=y1,
        reason=str(pair["reason"]),
        tried="; ".join(f"{name}: {why}" for name, why in pair["tried"]),
    )


# --- files ----------------------------------------------------------------------------------------------------------


def solution_of(run: Path) -> Path:
    """Return a run's solution. Raises `InputError` when there is none."""
    if not run.exists():
        msg = f"{run}: there is no such folder; name the run folder that 'stitch' made"
        raise InputError(msg)
    path = run / "solution.json" if run.is_dir() else run
    if path.is_file():
        return path
    if _is_of_stitch(run):
        msg = f"{run} holds a run that is not finished: 'demis-ij redo {run}', or the same 'stitch' again, finishes it"
    else:
        msg = f"{run} holds no run of 'stitch': choose the folder that 'stitch' made"
    raise InputError(msg)


def _is_of_stitch(run: Path) -> bool:
    """Return whether a folder holds a run of ``stitch``, and not one of ``align`` or ``compare``, say."""
    if not (run / "run.json").is_file():
        return (run / "matches").is_dir()
    settings = read_json(run / "run.json")
    return isinstance(settings, dict) and "stitch" in settings


def _files_of(path: Path) -> Iterator[_File]:
    """Yield the files that hold the seams: the solution itself, or one a section where it is an index of them."""
    origin, entries, whole = (0.0, 0.0), None, False
    with path.open("rb") as opened:
        stream = StreamedJson(opened, path)
        for key in stream.members():
            if key in {"tiles", "pairs"}:
                whole = True
                break
            if key in {"sections", "world_origin"}:
                value = stream.value()[0]
                origin, entries = (value, entries) if key == "world_origin" else (origin, value)
            else:
                stream.skip()
    if whole:
        yield _File(path, "", (0.0, 0.0))
        return
    try:
        shift = (-float(origin[0]), -float(origin[1]))
        for entry in entries or ():
            yield _File(path.parent / _true_text(entry["file"]), f"{_true_text(entry['section'])}/", shift)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(path, f"is no solution: {error!r}") from error
    if not entries:
        raise FormatError(path, "is no solution: it holds neither seams nor sections")


__all__ = ["BELIEVED", "FAILED", "OVERRULED", "RunSeams", "SeamChoice", "SeamRow", "solution_of"]
