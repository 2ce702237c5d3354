"""Match stores of several run folders joined into one, for runs of one layout, its tiles, and one way to match them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from shutil import copyfile
from typing import Any

from demis_ij.errors import InputError
from demis_ij.jobs.parts import Part, mark_part, parts_in
from demis_ij.runs import (
    MatchStore,
    check_folder,
    differences,
    occupant,
    occupied,
    other_tiles,
    settings_in,
    write_json,
)
from demis_ij.runs.folder import MATCHES
from demis_ij.runs.tiles import FOLDER as TILES
from demis_ij.stitch import Progress

NOT_OF_MATCHING = {"formats", "write_mosaic", "project_out", "images_only"}
"""Settings of a run that no match depends on, with all of ``render``."""
SHOWN = 3
"""Of missing parts, so many are named."""
FIRST = "first-"
"""Stages whose outcomes depend on tiles, stage and settings alone; what was searched later depends on a solution."""


@dataclass(frozen=True)
class Merged:
    """What `merge_runs` did.

    Attributes
    ----------
    run : Path
        The run folder that holds everything now.
    taken : mapping of Path to int
        Outcomes that were new, by the run they came from.
    pairs : int
        Of all sections, those that something is known of.
    layout : Path
        What is stitched.
    warnings : tuple of str
        One line each.
    """

    run: Path
    taken: Mapping[Path, int]
    pairs: int
    layout: Path
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        taken = {str(run): count for run, count in self.taken.items()}
        return {"run": str(self.run), "taken": taken, "pairs": self.pairs, "warnings": list(self.warnings)}


def merge_runs(run: Path, others: Sequence[Path], *, progress: Progress | None = None) -> Merged:
    """Put what other runs found of their pairs into one run folder; the others are only read.

    Of pairs that several know, the one counts that came first. A merge that was killed goes on when it is run again.

    Parameters
    ----------
    run : Path
        A run folder; a new one gets the settings of the first of the others.
    others : sequence of Path
        Run folders of the same layout, tiles and settings.
    progress : callable, optional
        Told how many runs are done.

    Raises
    ------
    InputError
        When one of them is no run of ``stitch``, or another layout's, or was made with other settings or of other
        tiles. Nothing was changed then.
    FormatError
        When a store is damaged or of another version.
    """
    tell = progress or (lambda _what, _done, _all: None)
    _checked(run, others)  # refused before the folder is touched
    with occupied(run):
        is_new, settings = _checked(run, others)  # once more: somebody may have been at work there until now
        stores = {other: _stores(other) for other in others}  # refused where one of them cannot be read
        busy = {other: who for other in others if (who := occupant(other))}
        warnings = [f"{other} is still being worked on ({who})" for other, who in busy.items()]
        if is_new:
            write_json(run / "run.json", settings)
        _copy_stamps(others[0], run)
        taken = {}
        for number, other in enumerate(others):
            tell("runs merged", number, len(others))
            taken[other] = sum(_taken(run / MATCHES / name, store) for name, store in stores[other].items())
        tell("runs merged", len(others), len(others))
        known = _stores(run)
        for store in known.values():
            store.finish()
        for part in parts_in(other for other in others if other not in busy):
            mark_part(run, part)
        warnings += _missing(parts_in([run, *others]))
    return Merged(run, taken, sum(map(_pairs, known.values())), Path(settings["layout"]), tuple(warnings))


def _checked(run: Path, others: Sequence[Path]) -> tuple[bool, dict[str, Any]]:
    """Return whether a run is to be made, and its settings. Raises `InputError` where another one does not fit."""
    is_new = _is_new(run)
    first = others[0] if is_new else run
    settings = _settings(first)
    for other in others:
        _check(run, settings, first, other)
    return is_new, settings


def _is_new(run: Path) -> bool:
    """Return whether a folder is to become a run. Raises `InputError` when it holds something else."""
    return not (run / "run.json").is_file() and not check_folder(run, {})


def _settings(run: Path) -> dict[str, Any]:
    """Return the settings of a run of ``stitch``. Raises `InputError` when there is none."""
    if not (run / "run.json").is_file():
        there = "holds no run of 'stitch'" if run.is_dir() else "is no folder"
        msg = f"{run} {there}: name run folders that 'stitch' made"
        raise InputError(msg)
    settings = settings_in(run)
    if "stitch" not in settings or "layout" not in settings:
        msg = f"{run} holds no run of 'stitch': name run folders that 'stitch' made"
        raise InputError(msg)
    return settings


def _check(run: Path, settings: Mapping[str, Any], of: Path, other: Path) -> None:
    """Raise `InputError` when another run does not belong to the settings, which are those of a folder."""
    if run.exists() and other.exists() and run.samefile(other):
        msg = f"{other}: is the run to merge into; name the others"
        raise InputError(msg)
    theirs = _settings(other)
    render = {**settings.get("render", {}), **theirs.get("render", {})}
    differs = {
        key: said
        for key, said in differences(settings, theirs).items()
        if key not in NOT_OF_MATCHING and key not in render
    }
    tiles = other_tiles(of, other) if "tiles_sha256" in differs else {}
    if tiles:
        name, what = next(iter(tiles.items()))
        more = f" and {len(tiles) - 1} more tiles differ" if len(tiles) > 1 else ""
        differs = {key: said for key, said in differs.items() if not key.endswith("_sha256")}
        differs = {"tiles": f"tile {name} {what}{more}", **differs}
    if differs:
        said = list(differs.values())
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        msg = f"{other} cannot be merged with {of}: {'; '.join(said[:3])}{more}. Nothing was merged"
        raise InputError(msg)


def _stores(run: Path) -> dict[str, MatchStore]:
    """Return the match stores of a run by the names of their folders. Raises `FormatError`."""
    return {folder.name: MatchStore(folder) for folder in sorted((run / MATCHES).glob("*")) if folder.is_dir()}


def _copy_stamps(other: Path, run: Path) -> None:
    """Let a run know what another one, of the same tiles, knows of them."""
    (run / TILES).mkdir(exist_ok=True)
    for path in sorted((other / TILES).glob("*.parquet")):
        if not (run / TILES / path.name).exists():
            part = run / TILES / f".{path.name}.part"
            copyfile(path, part)
            part.replace(run / TILES / path.name)


def _taken(folder: Path, other: MatchStore) -> int:
    """Take over what is new in another store; return how many outcomes."""
    mine = MatchStore(folder)

    def is_first(key: tuple[str, str, str]) -> bool:
        return key[0].startswith(FIRST)

    if not mine.lacks(other, is_first):
        return 0
    mine.forget_where(lambda key: not is_first(key))  # it was looked for where a solution without the new pairs said
    return mine.take_from(other, is_first)


def _pairs(store: MatchStore) -> int:
    """Return of how many pairs a store knows something."""
    table = store.columns(("fixed", "moving"))
    return len(set(zip(table.column("fixed").to_pylist(), table.column("moving").to_pylist(), strict=True)))


def _missing(parts: set[Part]) -> list[str]:
    """Return what to say of parts that no run is finished with."""
    lines = []
    for of in sorted({part.of for part in parts}):
        there = {part.number for part in parts if part.of == of}
        if len(there) == of:
            continue
        gone = (str(Part(number, of)) for number in range(1, of + 1) if number not in there)
        count = of - len(there)
        more = f" and {count - SHOWN} more" if count > SHOWN else ""
        some = ", ".join(islice(gone, SHOWN))
        lines.append(f"no run is finished with part {some}{more}: the next 'stitch' matches what is missing")
    return lines


__all__ = ["Merged", "merge_runs"]
