"""The files of a match store: each is written whole or not at all, and read only when its layout is known.

Numbered files come one a batch; ``000010-000012.parquet`` stands for three of them that were joined, and what such a
file covers is out of date. ``all.parquet`` is the store of a finished section, sorted, so that its bytes know nothing
of the order of arrival.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from demis_ij.errors import FormatError
from demis_ij.runs.files import whole_file
from demis_ij.runs.match_tables import LAYOUT, LAYOUT_KEY, POINTS, SCHEMA

FINISHED = "all.parquet"
ROWS_AT_ONCE = 1024
"""Rows of a row group: what is read together. The files' bytes depend on it."""
SORTED_AT_ONCE = 16 * ROWS_AT_ONCE
"""Rows that are in memory while a store is sorted; about 100 MB."""
SORTING = ".sorting"
_NUMBERED = re.compile(r"(\d{6,})(?:-(\d{6,}))?\.parquet")
_DOUBLES = (*POINTS, "to_fixed", "covariance", "moments")


@dataclass(frozen=True, order=True)
class MatchFile:
    """A file and the numbers it stands for; a finished store comes before any number.

    Attributes
    ----------
    first, last : int
        The batches in it; -1 for a finished store.
    path : Path
        The file.
    """

    first: int
    last: int
    path: Path

    @property
    def is_finished(self) -> bool:
        """Whether it is the store of a finished section."""
        return self.last < 0


def listed(folder: Path) -> tuple[list[MatchFile], list[MatchFile]]:
    """Return the files that count, oldest first, and those that are covered by another and only wait for removal."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return [], []
    found = [MatchFile(-1, -1, folder / FINISHED)] if FINISHED in names else []
    for name in names:
        if numbers := _NUMBERED.fullmatch(name):
            first = int(numbers[1])
            found.append(MatchFile(first, int(numbers[2] or first), folder / name))
    found.sort(key=lambda f: (f.first, -f.last))
    counting: list[MatchFile] = []
    covered: list[MatchFile] = []
    for file in found:
        within = bool(counting) and not file.is_finished and file.last <= counting[-1].last
        (covered if within else counting).append(file)
    return counting, covered


def name_of(first: int, last: int) -> str:
    """Return the name of the file that holds some numbers."""
    return f"{first:06d}.parquet" if first == last else f"{first:06d}-{last:06d}.parquet"


def opened(path: Path) -> pq.ParquetFile:
    """Return a file that was checked. Raises `FormatError` when it is no store, damaged, or of another layout."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        said = str(error).splitlines()[0]
        msg = f"is damaged ({said}): delete it, and its pairs are matched again"
        raise FormatError(path, msg) from error
    metadata: Any = file.schema_arrow.metadata or {}
    said = metadata.get(LAYOUT_KEY)
    if said != LAYOUT or file.schema_arrow.names != SCHEMA.names:
        there = f"of layout {said.decode(errors='replace')}" if said else "by another program"
        msg = f"is a match store {there}, this version knows {LAYOUT.decode()}: choose a new folder"
        raise FormatError(path, msg)
    return file


def remove(paths: Iterable[Path]) -> None:
    """Remove files that may be gone already, in this order."""
    for path in paths:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def writer(path: Path) -> Iterator[pq.ParquetWriter]:
    """Yield a writer of a file that appears under its name when it is whole and on the disk, or never."""
    with whole_file(path) as stream, pq.ParquetWriter(stream, SCHEMA, **_settings()) as made:
        yield made


def _settings() -> dict[str, Any]:
    plain = [name for name in SCHEMA.names if name not in {*_DOUBLES, "residual_px"}]
    paths = [f"{name}.list.element" for name in _DOUBLES]
    return {
        "compression": "zstd",
        "use_dictionary": [name for name in plain if name != "tried"],
        "use_byte_stream_split": [*paths, "residual_px"],
        "write_statistics": False,
        "store_schema": True,
    }


def row_groups(file: pq.ParquetFile, rows: Collection[int] | None = None) -> Iterator[tuple[int, pa.Table]]:
    """Yield the number of the first row, and the table, of the row groups that hold some rows; of all by default."""
    wanted = None if rows is None else np.array(sorted(rows))
    first = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if wanted is None or np.searchsorted(wanted, first) < np.searchsorted(wanted, first + count):
            yield first, file.read_row_group(group)
        first += count


def sorted_into(path: Path, files: Sequence[Path], place: Mapping[tuple[str, str, str], tuple[Path, int]]) -> None:
    """Write all outcomes into one file, sorted by their keys.

    Parameters
    ----------
    path : Path
        The new file.
    files : sequence of Path
        The old ones.
    place : mapping
        For each key, the file and row that count.
    """
    rank: dict[Path, dict[int, int]] = {file: {} for file in files}
    for number, key in enumerate(sorted(place)):
        file, row = place[key]
        rank[file][row] = number
    if len(place) <= SORTED_AT_ONCE:
        parts = [part for file in files for part in _ranked(file, rank[file])]
        with writer(path) as out:
            _write_sorted(out, parts)
    else:
        _sort_by_parts(path, rank, -(-len(place) // SORTED_AT_ONCE))


def _ranked(path: Path, rank: Mapping[int, int]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield the rows of a file that count, a row group at a time, with their places in the order of all."""
    with opened(path) as file:
        for first, table in row_groups(file, rank.keys()):
            rows = [row for row in range(len(table)) if first + row in rank]
            yield np.array([rank[first + row] for row in rows]), table.take(pa.array(rows, pa.int64()))


def _write_sorted(out: pq.ParquetWriter, parts: Sequence[tuple[NDArray[np.int64], pa.Table]]) -> None:
    if parts:
        order = np.argsort(np.concatenate([ranks for ranks, _ in parts]))
        out.write_table(pa.concat_tables([t for _, t in parts]).take(pa.array(order)), row_group_size=ROWS_AT_ONCE)


def _sort_by_parts(path: Path, rank: Mapping[Path, Mapping[int, int]], parts: int) -> None:
    """Sort more than fits into memory: rows go to one of several files by their place, and each of those is sorted."""
    folder = path.with_name(SORTING)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ranks: list[list[NDArray[np.int64]]] = [[] for _ in range(parts)]
    try:
        with contextlib.ExitStack() as stack:
            out = [stack.enter_context(pq.ParquetWriter(folder / str(n), SCHEMA)) for n in range(parts)]
            for file, places in rank.items():
                for some, table in _ranked(file, places):
                    for n in np.unique(some // SORTED_AT_ONCE):
                        mine = some // SORTED_AT_ONCE == n
                        out[n].write_table(table.filter(pa.array(mine)))
                        ranks[n].append(some[mine])
        with writer(path) as made:
            for n in range(parts):
                _write_sorted(made, [(np.concatenate(ranks[n]), pq.read_table(folder / str(n)))])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear(folder: Path) -> None:
    """Remove what a process that was killed has left half written."""
    if folder.is_dir():
        remove(folder.glob(".*.part"))
        shutil.rmtree(folder / SORTING, ignore_errors=True)
