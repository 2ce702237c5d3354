"""What the tiles of a run were: whose image has been replaced since, and who was moved, added or taken away.

One file a section, ``tiles/<section>.parquet``: the tile's id, its file with size and time (none where it could not be
found), and where the layout put it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from demis_ij.errors import FormatError
from demis_ij.formats.files import slug
from demis_ij.records import Layout, Tile
from demis_ij.runs.files import whole_file

FOLDER = "tiles"
_SCHEMA = pa.schema(
    [
        pa.field("tile", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("to_world", pa.list_(pa.float64()), nullable=False),
    ]
)


def stamp_of(tile: Tile) -> dict[str, Any]:
    """Return what tells whether a tile or its place has changed, without reading its image."""
    size = mtime_ns = None
    try:
        found = tile.path.stat()
        size, mtime_ns = found.st_size, found.st_mtime_ns
    except OSError:
        pass  # a tile that is not there is told where tiles are read; here it is one that was not there
    place = [value for row in tile.to_world.rows for value in row]
    return {"tile": tile.id, "path": str(tile.path.absolute()), "size": size, "mtime_ns": mtime_ns, "to_world": place}


def remember_tiles(run: Path, sections: Iterable[Layout], *, anew: bool = False) -> None:
    """Write down what the tiles of sections are, all or nothing for each section.

    Parameters
    ----------
    run : Path
        The run folder.
    sections : iterable of Layout
        As read.
    anew : bool
        Whether to do so where it was written already.
    """
    for section in sections:
        path = _path(run, section.section)
        if anew or not path.exists():
            path.parent.mkdir(exist_ok=True)
            with whole_file(path) as stream:
                pq.write_table(pa.Table.from_pylist([stamp_of(t) for t in section], _SCHEMA), stream)


def changed_tiles(run: Path, section: Layout) -> dict[str, str]:
    """Return the tiles of a section that are not what they were for a run, and what has become of each.

    What has become of it is one of: ``has another image``, ``was moved in the layout``, ``is new``, ``is gone``.
    Empty where the run never wrote it down.

    Raises
    ------
    FormatError
        When what the run wrote down cannot be read.
    """
    path = _path(run, section.section)
    return _changes(_stamps(path), {tile.id: stamp_of(tile) for tile in section}) if path.exists() else {}


def other_tiles(run: Path, other: Path) -> dict[str, str]:
    """Return the tiles that are not the same for two runs, by ``section/tile``, and what they are for the other one.

    Only what both runs wrote down is compared. Raises `FormatError` when that cannot be read.
    """
    found: dict[str, str] = {}
    for path in sorted((run / FOLDER).glob("*.parquet")):
        there = other / FOLDER / path.name
        if there.exists():
            found |= {f"{path.stem}/{tile}": said for tile, said in _changes(_stamps(path), _stamps(there)).items()}
    return found


def _stamps(path: Path) -> dict[str, dict[str, Any]]:
    """Return what was written down of the tiles of a section."""
    try:
        return {row["tile"]: row for row in pq.read_table(path).to_pylist()}
    except (pa.ArrowException, KeyError) as error:
        raise FormatError(path, f"is damaged ({str(error).splitlines()[0]}): choose a new folder") from error


def _changes(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    changed = {name: said for name, stamp in now.items() if (said := _change(before.get(name), stamp))}
    return changed | {name: "is gone" for name in before if name not in now}


def _change(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        return "is new"
    if any(before[name] != now[name] for name in ("path", "size", "mtime_ns")):
        return "has another image"
    return "was moved in the layout" if before["to_world"] != now["to_world"] else ""


def _path(run: Path, section: str) -> Path:
    return run / FOLDER / f"{slug(section)}.parquet"
