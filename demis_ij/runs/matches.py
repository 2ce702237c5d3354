"""What became of the pairs of one section, on disk: Parquet files that grow by whole files.

Every batch is a small file of its own, on the disk before `MatchStore.put` returns. When there are many they are
joined; when the section is finished one file is left. A process may be killed at any time: what is half written has a
name that nobody reads, and a file that was joined already but not yet removed says so by its number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from demis_ij.records import PairMatch
from demis_ij.runs.match_files import (
    FINISHED,
    ROWS_AT_ONCE,
    MatchFile,
    clear,
    listed,
    name_of,
    opened,
    remove,
    row_groups,
    sorted_into,
    writer,
)
from demis_ij.runs.match_tables import KEY, SCHEMA, SMALL, outcomes_of, table_of
from demis_ij.stitch import Memory, Outcome, Pair

MANY = 64
"""So many small files are joined into one."""
Key = tuple[str, str, str]
T = TypeVar("T")


class MatchStore(Memory):
    """Remembers outcomes of the pairs of one section, on disk; an index of them is in memory, the points are not.

    One process may write a store at a time; others may read it meanwhile.

    Parameters
    ----------
    folder : Path
        Made by the first `put`.

    Raises
    ------
    FormatError
        When a file is damaged, or was written in another layout.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._place: dict[Key, tuple[Path, int]] = {}
        self._read()

    def _read(self) -> None:
        """Make the index anew from the files; once more where another process has joined some meanwhile."""

        def index() -> None:
            self._place = {}
            for file in listed(self.folder)[0]:
                with opened(file.path) as there:
                    self._index(file.path, there.read(list(KEY)))

        _steadily(index)

    def _index(self, path: Path, table: pa.Table) -> None:
        for row, key in enumerate(_keys(table)):
            self._place[key] = (path, row)

    def __len__(self) -> int:
        return len(self._place)

    def __bool__(self) -> bool:
        return True  # an empty store is one, all the same

    def get(self, stage: str, pair: Pair) -> Outcome | None:
        """Return what a stage of the work made of a pair, None when it has not come to it."""
        return self.get_many(stage, [pair]).get(pair)

    def get_many(self, stage: str, pairs: Iterable[Pair]) -> dict[Pair, Outcome]:
        """Return what a stage made of those of the pairs that it has come to."""
        asked = [(stage, *pair) for pair in pairs]
        found = self._steadily(lambda: self._outcomes([key for key in asked if key in self._place]))
        return {key[1:]: outcome for key, outcome in found}

    def agreed(self, pair: Pair) -> list[PairMatch]:
        """Return all that was ever found of a pair of tiles that agreed with itself."""
        found = self._steadily(lambda: self._outcomes([key for key in self._place if key[1:] == pair]))
        return [o for _, o in found if isinstance(o, PairMatch)]

    def columns(self, names: Sequence[str] = SMALL) -> pa.Table:
        """Return everything as a table: one row a pair and stage; the columns are those of `match_tables.SCHEMA`.

        The points (`match_tables.POINTS`) are read only when they are named. Rows are in no order that means anything.
        """
        wanted = list(dict.fromkeys((*KEY, *names)))

        def read() -> pa.Table:
            self._read()
            parts = []
            for file in listed(self.folder)[0]:
                with opened(file.path) as there:
                    table = there.read(wanted)
                parts.append(table.take(self._live(file.path, table)))
            whole = pa.concat_tables(parts) if parts else SCHEMA.empty_table()
            return whole.select(list(names))

        return self._steadily(read)

    def _steadily(self, read: Callable[[], T]) -> T:
        """Return what is read; when another process has joined files meanwhile, read again."""
        return _steadily(read, self._read)

    def _outcomes(self, keys: Iterable[Key]) -> list[tuple[Key, Outcome]]:
        """Return outcomes; each file is read once, a row group at a time."""
        wanted: dict[Path, dict[int, Key]] = {}
        for key in keys:
            path, row = self._place[key]
            wanted.setdefault(path, {})[row] = key
        found: list[tuple[Key, Outcome]] = []
        for path, rows in wanted.items():
            with opened(path) as file:
                for first, table in row_groups(file, rows):
                    mine = [row for row in rows if first <= row < first + len(table)]
                    some = table.take(pa.array([row - first for row in mine], pa.int64()))
                    found += [(rows[row], outcome) for row, outcome in zip(mine, outcomes_of(some), strict=True)]
        return found

    def put(self, stage: str, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes, on the disk before this returns."""
        kept = list(outcomes)
        if kept:
            self._add(table_of(stage, kept))

    def lacks(self, other: MatchStore, is_meant: Callable[[Key], bool]) -> bool:
        """Return whether another store of the same section holds anything that is meant and that this one does not."""
        return any(is_meant(key) and key not in self._place for key in other._place)

    def take_from(self, other: MatchStore, is_meant: Callable[[Key], bool] = lambda _key: True) -> int:
        """Keep what another store of the same section holds, is meant, and is not here; return how many outcomes.

        Another file of it comes whole or not at all, so that a process that is killed goes on where it was. Another
        process may be at work there: its files are looked for now, and once more where it has joined some meanwhile.

        Parameters
        ----------
        other : MatchStore
            Only read.
        is_meant : callable, optional
            Of a key (stage, fixed, moving).
        """
        before = len(self)

        def take() -> None:
            for file in reversed(listed(other.folder)[0]):  # the newest first: what it replaces is known then
                self._take_file(file.path, is_meant)

        other._steadily(take)
        return len(self) - before

    def _take_file(self, file: Path, is_meant: Callable[[Key], bool]) -> None:
        """Write one file of what is new in another store's file, a row group at a time."""
        with opened(file) as there:
            keys = enumerate(_keys(there.read(list(KEY))))
            last = {key: row for row, key in keys if key not in self._place and is_meant(key)}
            if not last:
                return
            fresh = {row: key for key, row in last.items()}
            number = self._numbers()[2]
            path = self.folder / name_of(number, number + 1)  # a name of many, which is not joined with small ones
            rows = sorted(fresh)
            with writer(path) as out:
                for first, table in row_groups(there, rows):
                    mine = [row - first for row in rows if first <= row < first + len(table)]
                    out.write_table(table.take(pa.array(mine, pa.int64())), row_group_size=ROWS_AT_ONCE)
        self._place |= {fresh[row]: (path, place) for place, row in enumerate(rows)}

    def _add(self, table: pa.Table) -> None:
        """Write a file of its own for some rows, and join the small files when there are many."""
        numbered, covered, number = self._numbers()
        path = self.folder / name_of(number, number)
        with writer(path) as out:
            out.write_table(table, row_group_size=ROWS_AT_ONCE)
        self._index(path, table)
        remove(f.path for f in covered)
        joined = max((f.last for f in numbered if f.first != f.last), default=-1)
        single = [f for f in numbered if f.first > joined]  # what a new name covers must be in the new file
        if len(single) + 1 >= MANY:
            self._join([*(f.path for f in single), path], self.folder / name_of(single[0].first, number))

    def _numbers(self) -> tuple[list[MatchFile], list[MatchFile], int]:
        """Return the numbered files of the store, those that only wait for removal, and the next number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files, covered = listed(self.folder)
        numbered = [f for f in files if not f.is_finished]
        return numbered, covered, numbered[-1].last + 1 if numbered else 0

    def _join(self, old: Sequence[Path], path: Path) -> None:
        """Put small files into one."""
        tables = []
        for part in old:
            with opened(part) as there:
                table = there.read()
            tables.append(table.take(self._live(part, table)))
        whole = pa.concat_tables(tables)
        with writer(path) as out:
            out.write_table(whole, row_group_size=ROWS_AT_ONCE)
        self._index(path, whole)
        remove(old)

    def _live(self, path: Path, table: pa.Table) -> pa.Array:
        """Return the rows of a file that no later file replaces."""
        rows = [row for row, key in enumerate(_keys(table)) if self._place.get(key) == (path, row)]
        return pa.array(rows, pa.int64())

    def forget(self, pairs: Collection[Pair]) -> int:
        """Forget all that is known of some pairs, so that they are matched again; return how many outcomes.

        Each file is replaced by one without them; a process that is killed meanwhile has forgotten some of them.
        """
        gone = set(pairs)
        return self.forget_where(lambda key: key[1:] in gone)

    def forget_where(self, is_gone: Callable[[Key], bool]) -> int:
        """Forget the outcomes whose key (stage, fixed, moving) is meant, as `forget` does; return how many."""
        count = sum(map(is_gone, self._place))
        if count:
            for file in listed(self.folder)[0]:
                with opened(file.path) as there:
                    whole = there.read()
                keep = [row for row, key in enumerate(_keys(whole)) if not is_gone(key)]
                if len(keep) < len(whole):
                    with writer(file.path) as out:
                        out.write_table(whole.take(pa.array(keep, pa.int64())), row_group_size=ROWS_AT_ONCE)
            self._read()
        return count

    def finish(self) -> None:
        """Put all files into one, sorted: its bytes depend on what is known, and not on the order it came in."""
        files, covered = listed(self.folder)
        numbered = [f.path for f in files if not f.is_finished]
        if numbered:
            path = self.folder / FINISHED
            sorted_into(path, [f.path for f in files], self._place)
            remove([*(f.path for f in covered), *numbered])  # oldest first: what is left is never out of date
            self._read()
        clear(self.folder)


def _steadily(read: Callable[[], T], prepare: Callable[[], None] = lambda: None) -> T:
    """Return what is read; where a file has gone meanwhile, prepare and read again."""
    for _ in range(4):
        try:
            return read()
        except FileNotFoundError:
            prepare()
    return read()


def _keys(table: pa.Table) -> Iterator[Key]:
    return zip(*(table.column(name).to_pylist() for name in KEY), strict=True)
