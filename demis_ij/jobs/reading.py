"""Layouts as a user names them (a file, or a folder of tiles and how they lie), and from one format to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demis_ij import formats
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.images import with_shapes
from demis_ij.stitch import with_axes


def read_layout(
    path: Path,
    *,
    format_name: str | None = None,
    relink: Path | None = None,
    rows: int | None = None,
    cols: int | None = None,
    overlap: float | None = None,
    order: str | None = None,
    start: str | None = None,
    pattern: str | None = None,
    each: str | None = None,
) -> Document:
    """Return what a user means by LAYOUT: a layout file, a folder with a grid's description, or one of layout files.

    Raises
    ------
    InputError
        When it is neither, or an option does not belong to it.
    """
    grid = {"rows": rows, "cols": cols, "overlap": overlap, "order": order, "start": start, "pattern": pattern}
    given = {name: value for name, value in grid.items() if value is not None}
    if each is not None:
        return _read_each(path, each, given, format_name, relink)
    if path.is_dir():
        return _read_grid(path, given, {"format": format_name, "relink": relink})
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise InputError(msg)
    if given:
        msg = f"--{next(iter(given))} describes a folder of tiles, and {path} is a file: leave it out, or give a folder"
        raise InputError(msg)
    return formats.read(path, format=format_name, relink=relink)


def _read_each(path: Path, each: str, grid: dict[str, Any], format_name: str | None, relink: Path | None) -> Document:
    from demis_ij.formats.parts import read_parts

    if grid:
        msg = f"--{next(iter(grid))} describes a folder of tiles, --each a folder of layout files: leave one out"
        raise InputError(msg)
    if not path.is_dir():
        msg = f"--each {each}: {path} is no folder; the files that fit are looked for below it"
        raise InputError(msg)
    return read_parts(path, each, format=format_name, relink=relink)


def _read_grid(path: Path, given: dict[str, Any], other: dict[str, Any]) -> Document:
    from demis_ij.formats.grid import grid_layout

    wrong = next((name for name, value in other.items() if value is not None), None)
    if wrong:
        msg = f"--{wrong} belongs to a layout file, and {path} is a folder of tiles: leave it out"
        raise InputError(msg)
    if not given.keys() & {"rows", "cols", "pattern"}:
        msg = (
            f"{path} is a folder: say how the tiles lie, with --rows and --cols, or with --pattern; "
            "of a folder with a layout file a section, say which with --each '*.txt'"
        )
        raise InputError(msg)
    return Document((grid_layout(path, **given),), "grid", path)


@dataclass(frozen=True)
class Converted:
    """What `convert_layout` wrote.

    Attributes
    ----------
    path : Path
        The new file.
    tiles, sections : int
        How much is in it.
    warnings : tuple of str
        One line each.
    """

    path: Path
    tiles: int
    sections: int
    warnings: tuple[str, ...]


def convert_layout(
    document: Document,
    out: Path,
    *,
    to: str | None = None,
    allow_lossy: bool = False,
    stage_axes: str | None = None,
) -> Converted:
    """Write a layout as a new file of any format.

    Parameters
    ----------
    document : Document
        What was read.
    out : Path
        The new file.
    to : str, optional
        Its format; said by its name when not given.
    allow_lossy : bool
        Write even what the format cannot hold.
    stage_axes : str, optional
        Flips and swaps of the positions; as they are when not given.

    Raises
    ------
    InputError
        When the file exists or cannot be written, or its format cannot hold the layout.
    """
    warnings = list(document.warnings)
    ready = []
    for section in document.layouts:
        known, found, bad = with_shapes(section)
        warnings += found
        if bad:
            known = replace(known, tiles=tuple(section[t.id] if t.id in bad else t for t in known))
        ready.append(with_axes(known, stage_axes) if stage_axes else known)
    written = formats.write(out, ready, format=to, allow_lossy=allow_lossy)
    return Converted(written, sum(map(len, ready)), len(ready), tuple(warnings))
