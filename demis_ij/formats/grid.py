"""A plain grid of tiles without a layout file: positions from names, order and overlap.

Position px of tile (row, col): ``col * width * (1 - overlap)``, ``row * height * (1 - overlap)``, x right, y down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from demis_ij import images
from demis_ij.errors import InputError
from demis_ij.records import Affine, Layout, Tile

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".bmp", ".pgm", ".webp", ".mha", ".mhd")
ORDERS = ("row", "column", "snake-row", "snake-column")
STARTS = ("top-left", "top-right", "bottom-left", "bottom-right")
STAGE_AXES = ("+x+y", "-x+y", "+x-y", "-x-y", "+y+x", "-y+x", "+y-x", "-y-x")
"""What stage axis (with which sign) runs along the image's x, and what along its y."""

FIELD = re.compile(r"\{(row|col|x+|y+|i+)(?::0?\d*d?)?\}")
DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Cell:
    """A file and where its name or its turn puts it in the grid, counted from 0, before any flip."""

    path: Path
    row: int
    col: int


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which ``tile_2`` comes before ``tile_10``."""
    parts = DIGITS.split(path.name.casefold())
    return tuple((1, int(p), p) if p.isdecimal() else (0, 0, p) for p in parts)


def list_images(where: Path | Iterable[Path]) -> list[Path]:
    """Return the image files of a folder (not of its subfolders), or the files given, in natural order.

    Raises
    ------
    InputError
        When there is none, or the folder cannot be listed.
    """
    if not isinstance(where, Path):
        files = [Path(p) for p in where]
        what = "the files given"
    else:
        what = str(where)
        try:
            files = [p for p in where.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        except OSError as error:
            msg = f"{where}: a folder of tiles was needed: {error.strerror}"
            raise InputError(msg) from error
    if not files:
        msg = f"{what}: no image ({', '.join(IMAGE_SUFFIXES)}) among them; a grid needs tiles"
        raise InputError(msg)
    return sorted(files, key=natural_key)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression for a name pattern: ``{row}`` and ``{col}``, ``{y}`` and ``{x}``, or ``{i}``.

    ``*`` is any text. Fiji's repeated letters (``{iii}``) and Python's widths (``{i:03d}``) are understood; both mean
    any number of digits. Everything else, blanks and brackets included, stands for itself.

    Raises
    ------
    InputError
        When the pattern has neither a running number nor a row and a column.
    """
    out, last, fields = [], 0, []
    for found in FIELD.finditer(pattern):
        name = found[1] if found[1] in {"row", "col"} else found[1][0]
        name = {"y": "row", "x": "col"}.get(name, name)
        if name in fields:
            msg = f"pattern {pattern!r}: {found[0]} stands twice"
            raise InputError(msg)
        fields.append(name)
        out += [re.escape(pattern[last : found.start()]).replace(r"\*", ".*?"), rf"(?P<{name}>\d+)"]
        last = found.end()
    out.append(re.escape(pattern[last:]).replace(r"\*", ".*?"))
    if set(fields) not in ({"row", "col"}, {"i"}):
        msg = f"pattern {pattern!r}: it needs {{i}}, or {{row}} and {{col}}, or {{x}} and {{y}}"
        raise InputError(msg)
    return re.compile("".join(out))


def running_numbers(files: Sequence[Path], *, whole: bool = False) -> list[int] | None:
    """Return the number that counts the files, found as the digits of the names that differ; None when there is none.

    Digits that all names share in front are not part of it (WJE0680001 ... WJE0680008 count from 1 to 8) unless
    ``whole`` is set.
    """
    split = [DIGITS.split(p.name) for p in files]
    if len(files) < 2 or len({tuple(s[::2]) for s in split}) != 1:
        return None
    best: tuple[int, list[int]] | None = None
    for group in zip(*(s[1::2] for s in split), strict=True):
        values = [int(digits) for digits in group]
        if len(set(values)) < len(values):
            continue
        if not whole and len({len(digits) for digits in group}) == 1:
            shared = 0
            while len({digits[shared] for digits in group}) == 1:
                shared += 1
            values = [int(digits[shared:]) for digits in group]
        span = max(values) - min(values)
        if best is None or span <= best[0]:  # the last group wins among equals: counters stand at the end
            best = (span, values)
    return best[1] if best else None


def grid_layout(
    where: Path | Iterable[Path],
    *,
    rows: int | None = None,
    cols: int | None = None,
    overlap: float | tuple[float, float] = 0.1,
    order: str = "row",
    start: str = "top-left",
    pattern: str | None = None,
    missing: Sequence[int] = (),
    first: int | None = None,
    stage_axes: str = "+x+y",
    shape: tuple[int, int] | None = None,
    pixel_size: tuple[float, str] | None = None,
) -> Layout:
    """Return the layout of a plain grid of tiles.

    Parameters
    ----------
    where : Path or files
        A folder, or the image files.
    rows, cols : int, optional
        Size of the grid; one is enough when the files are numbered, none when names hold row and column.
    overlap : float or (float, float)
        Part of a tile's side that it shares with the next one; (along x, along y) when they differ.
    order : str
        How running numbers fill the grid: row, column, snake-row or snake-column.
    start : str
        The corner of the mosaic where the first tile (number, row and column) lies: top-left, top-right,
        bottom-left or bottom-right.
    pattern : str, optional
        What the names look like: ``tile_{row}_{col}.tif``, ``ex[Grid@{x} {y}].jpg``, ``1-{i}.jpg`` (see
        `compile_pattern`); x is the column, y the row, from 0 or from 1. Files of other names are left out. Without
        a pattern the running number in the names is found; a number that is left out leaves a hole.
    missing : sequence of int
        Places, counted from 1 in the grid's order, that have no file; only for names without a running number.
    first : int, optional
        The running number of the first place; 0 or 1 by itself, or the smallest where the numbers do not fit else.
    stage_axes : str
        Which grid axis, with which sign, runs along the image's x and y: ``+x+y`` as it is, ``+y+x`` swapped, ...
    shape : tuple of int, optional
        (rows, cols) of a tile in px; read from the first image that can be read when not given.
    pixel_size : (float, str), optional
        Side of a pixel and its unit.

    Raises
    ------
    InputError
        When there is no tile, an option is unknown, the names do not fit the pattern or the grid, or no image can be
        read and ``shape`` is not given.
    """
    _one_of("order", order, ORDERS)
    _one_of("start", start, STARTS)
    _one_of("stage axes", stage_axes, STAGE_AXES)
    along_x, along_y = overlap if isinstance(overlap, tuple) else (overlap, overlap)
    if not (0 <= along_x < 1 and 0 <= along_y < 1):
        msg = f"overlap {overlap}: a fraction of a tile's side from 0 to below 1 was needed"
        raise InputError(msg)
    files = list_images(where)
    cells, rows, cols = _cells(files, rows, cols, order, pattern, missing, first)
    height, width = shape if shape is not None else _shape_of(files)
    tiles = []
    for cell, name in zip(cells, _ids([cell.path for cell in cells]), strict=True):
        col = cols - 1 - cell.col if start.endswith("right") else cell.col
        row = rows - 1 - cell.row if start.startswith("bottom") else cell.row
        x, y = _turn(stage_axes, col, row)
        to_world = Affine.translation(x * width * (1 - along_x), y * height * (1 - along_y))
        tiles.append(Tile(name, cell.path, shape or (0, 0), to_world))
    tiles = _from_zero(tiles)
    return Layout(tuple(tiles), pixel_size=pixel_size, source=where if isinstance(where, Path) else None)


def flip_axes(layout: Layout, axes: str) -> Layout:
    """Return the layout with its positions flipped or swapped: what a stage's axes really mean on the images.

    The centres of the tiles move; the tiles themselves are neither turned nor mirrored.

    Parameters
    ----------
    layout : Layout
        Tile shapes known.
    axes : str
        One of `STAGE_AXES`; ``-x+y`` mirrors the positions left to right.

    Raises
    ------
    InputError
        When ``axes`` is unknown.
    """
    _one_of("stage axes", axes, STAGE_AXES)
    out = []
    for tile in layout:
        at = tile.to_world([(tile.shape[1] - 1) / 2, (tile.shape[0] - 1) / 2])
        dx, dy = np.array(_turn(axes, float(at[0]), float(at[1]))) - at
        out.append(replace(tile, to_world=Affine.translation(dx, dy) @ tile.to_world))
    return replace(layout, tiles=tuple(out))


def _turn(axes: str, x: float, y: float) -> tuple[float, float]:
    given = {"x": x, "y": y}
    along_x, along_y = axes[:2], axes[2:]
    return tuple((-1 if a[0] == "-" else 1) * given[a[1]] for a in (along_x, along_y))  # type: ignore[return-value]


def _from_zero(tiles: Sequence[Tile]) -> list[Tile]:
    """Return the tiles shifted so that the smallest position is (0, 0)."""
    x0, y0 = min(t.to_world.tx for t in tiles), min(t.to_world.ty for t in tiles)
    return [replace(t, to_world=Affine.translation(t.to_world.tx - x0, t.to_world.ty - y0)) for t in tiles]


def _one_of(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        msg = f"{what} {value!r} is not one of {', '.join(known)}"
        raise InputError(msg)


def _ids(files: Sequence[Path]) -> list[str]:
    names = [p.name for p in files]
    return names if len(set(names)) == len(names) else [p.as_posix() for p in files]


def _shape_of(files: Sequence[Path]) -> tuple[int, int]:
    problem = ""
    for path in files:
        try:
            return images.header(path)[0]
        except InputError as error:
            problem = problem or str(error)
    msg = f"no tile of the grid can be read: {problem}"
    raise InputError(msg)


def _cells(
    files: Sequence[Path],
    rows: int | None,
    cols: int | None,
    order: str,
    pattern: str | None,
    missing: Sequence[int],
    first: int | None,
) -> tuple[list[Cell], int, int]:
    """Return where each file lies, and the size of the grid."""
    for name, size in (("rows", rows), ("cols", cols)):
        if size is not None and size < 1:
            msg = f"{name} = {size}: a grid needs one at least"
            raise InputError(msg)
    if pattern is None:
        numbers = None if missing else _numbers(files, rows, cols, first)
    else:
        expression = compile_pattern(pattern)
        fitting = [(p, found) for p in files if (found := expression.fullmatch(p.name))]
        if not fitting:
            msg = f"no file name fits the pattern {pattern!r}; the first one is {files[0].name!r}"
            raise InputError(msg)
        if "row" in expression.groupindex:
            named = [(p, int(found["row"]), int(found["col"])) for p, found in fitting]
            return _by_row_and_col(named, rows, cols)
        files = [p for p, _ in fitting]
        numbers = [int(found["i"]) for _, found in fitting]
    if rows is None and cols is None:
        msg = "a grid of numbered tiles needs its rows or its columns (or a pattern with {row} and {col})"
        raise InputError(msg)
    places = _places(files, numbers, rows, cols, missing, first)
    return _in_order(places, rows, cols, order)


def _numbers(files: Sequence[Path], rows: int | None, cols: int | None, first: int | None) -> list[int] | None:
    """Return the running numbers: whole where they fit the grid (or ``first`` is given), else without shared digits."""
    whole = running_numbers(files, whole=True)
    if whole is None or first is not None:
        return whole
    if rows and cols and max(whole) <= rows * cols:
        return whole
    return running_numbers(files)


def _by_row_and_col(
    places: Sequence[tuple[Path, int, int]], rows: int | None, cols: int | None
) -> tuple[list[Cell], int, int]:
    row_0, col_0 = _base([row for _, row, _ in places], rows), _base([col for _, _, col in places], cols)
    cells = [Cell(path, row - row_0, col - col_0) for path, row, col in places]
    seen: dict[tuple[int, int], Path] = {}
    for cell in cells:
        other = seen.setdefault((cell.row, cell.col), cell.path)
        if other != cell.path:
            msg = f"{cell.path.name!r} and {other.name!r} have the same row and column"
            raise InputError(msg)
    found = max(c.row for c in cells) + 1, max(c.col for c in cells) + 1
    for name, has, said in (("rows", found[0], rows), ("columns", found[1], cols)):
        if said is not None and has > said:
            msg = f"the names go up to {has} {name}, {said} were said"
            raise InputError(msg)
    return cells, rows or found[0], cols or found[1]


def _base(values: Sequence[int], size: int | None) -> int:
    """Return the number that counts as the first: 0 where it occurs, else 1, else the smallest that makes all fit."""
    low, high = min(values), max(values)
    if low == 0:
        return 0
    return 1 if size is None or high <= size else low


def _places(
    files: Sequence[Path],
    numbers: Sequence[int] | None,
    rows: int | None,
    cols: int | None,
    missing: Sequence[int],
    first: int | None,
) -> list[tuple[Path, int]]:
    """Return each file's place in the grid's order, counted from 0."""
    size = rows * cols if rows and cols else None
    if numbers is None:
        free = (i for i in range(len(files) + len(missing)) if i + 1 not in set(missing))
        places = list(zip(files, free, strict=False))
        count = len(files) + len(set(missing))
        if size is not None and count != size:
            msg = (
                f"{len(files)} file(s) and {len(set(missing))} missing place(s) do not fill {rows} x {cols}, and the"
                f" names have no running number (the first is {files[0].name!r}): name the missing places or a pattern"
            )
            raise InputError(msg)
        return places
    base = first if first is not None else _base(numbers, size)
    seen: dict[int, Path] = {}
    for path, number in zip(files, numbers, strict=True):
        if number < base or (size is not None and number - base >= size):
            msg = f"{path.name!r} is number {number}, outside {rows} x {cols} tiles counted from {base}"
            raise InputError(msg)
        if number in seen:
            msg = f"{path.name!r} and {seen[number].name!r} have the same number {number}"
            raise InputError(msg)
        seen[number] = path
    return [(path, number - base) for path, number in zip(files, numbers, strict=True)]


def _in_order(
    places: Sequence[tuple[Path, int]], rows: int | None, cols: int | None, order: str
) -> tuple[list[Cell], int, int]:
    """Return the cells of running places, by rows or columns, every other one backwards for a snake."""
    count = max(place for _, place in places) + 1
    rows = rows or -(-count // (cols or 1))
    cols = cols or -(-count // rows)
    line = rows if order.endswith("column") else cols
    cells = []
    for path, place in places:
        outer, inner = divmod(place, line)
        if order.startswith("snake") and outer % 2:
            inner = line - 1 - inner
        cells.append(Cell(path, inner, outer) if order.endswith("column") else Cell(path, outer, inner))
    return cells, rows, cols
