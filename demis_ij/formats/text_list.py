"""TrakEM2's text list ("Import from text file..."): ``path x y [z [width height min max type]]`` a line.

Positions are the tile's top-left pixel, px, x right, y down; z names the section ("0" where there is none). Columns
are separated by tabs, commas or blanks (a path with blanks needs tabs or commas); ``-`` is unknown; ``#`` starts a
comment at the start of a line or after a blank. A tile's id is its path exactly as written, slice included
(``stack.tif-----#slice=3``, 1-based).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demis_ij.errors import FormatError
from demis_ij.formats.document import Document
from demis_ij.formats.files import (
    ImageFinder,
    Text,
    digest,
    finite,
    heights,
    mask_losses,
    packed,
    read_head_lines,
    read_text,
    relative_or_absolute,
    same_folder,
    section_losses,
    section_of,
    solved_path,
    write_new,
)
from demis_ij.formats.lenses import lens_losses
from demis_ij.formats.tileconfig import position_of, turn_losses
from demis_ij.records import Affine, Layout, Tile

COMMENT = re.compile(r"(^|\s)#.*$")
SLICE = re.compile(r"^(?P<path>.*?)-----#slice=(?P<slice>\d+)$")
SBEM = re.compile(r"^[^;]+\.\w+(;-?\d+){4}\s*$")


@dataclass(frozen=True)
class Row:
    """One tile's line."""

    number: int
    columns: tuple[str, ...]
    separator: str
    xyz: tuple[float, float, float]
    shape: tuple[int, int]

    @property
    def id(self) -> str:
        """The path exactly as written."""
        return self.columns[0]


def split_columns(line: str) -> tuple[list[str], str]:
    """Return a line's columns and what separates them: tabs, else commas, else blanks."""
    for separator in ("\t", ","):
        columns = [c.strip() for c in line.split(separator)]
        if len(columns) >= 3:
            return columns, separator
    return line.replace(",", " ").split(), " "


def parse(path: Path, text: Text) -> list[Row]:
    """Return the tiles' lines of a text list.

    Raises
    ------
    FormatError
        Naming the line: columns missing, a number that is none, a tile twice.
    """
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.lines, 1):
        bare = COMMENT.sub("", line).rstrip()
        if not bare:
            continue
        if not rows and [c.lower() for c in split_columns(bare)[0][1:3]] == ["x", "y"]:
            continue  # the names of the columns
        row = _row(path, number, bare)
        if row.id in seen:
            raise FormatError(path, f"tile {row.id!r} again, first on line {seen[row.id]}", f"line {number}")
        seen[row.id] = number
        rows.append(row)
    if not rows:
        raise FormatError(path, "holds no tile: lines like 'tile.tif<tab>0<tab>0<tab>0' were needed")
    return rows


def _row(path: Path, number: int, line: str) -> Row:
    where = f"line {number}"
    if SBEM.match(line):
        raise FormatError(path, "an SBEMimage list, whose positions are nm: convert it to px first", where)
    columns, separator = split_columns(line)
    if not 3 <= len(columns) <= 9:
        raise FormatError(path, f"{len(columns)} column(s), 'path x y z' was needed: {line!r}", where)
    if not columns[0]:
        raise FormatError(path, f"no path: {line!r}", where)
    hint = "" if separator != " " else " (a path with blanks needs tabs between the columns)"
    try:
        x, y = (finite(columns[i], path, where, "xy"[i - 1]) for i in (1, 2))
        z = 0.0 if len(columns) < 4 or columns[3] == "-" else finite(columns[3], path, where, "z")
        width, height = (_size(columns, i, path, where) for i in (4, 5))
    except FormatError as error:
        raise FormatError(path, error.problem + hint, where) from error
    return Row(number, tuple(columns), separator, (x, y, z), (height, width))


def _size(columns: Sequence[str], index: int, path: Path, where: str) -> int:
    if len(columns) <= index or columns[index] == "-":
        return 0
    value = finite(columns[index], path, where, ("width", "height")[index - 4])
    if value != int(value) or value < 0:
        raise FormatError(path, f"{('width', 'height')[index - 4]}: {columns[index]!r} is no number of pixels", where)
    return int(value)


def split_slice(name: str) -> tuple[str, int | None]:
    """Return a path without its ``-----#slice=N``, and the 0-based page (None without)."""
    found = SLICE.match(name)
    return (found["path"], int(found["slice"]) - 1) if found else (name, None)


class TextListFormat:
    """Reads and writes TrakEM2's text list."""

    name = "text"

    def recognises(self, path: Path) -> bool:
        """Return whether the first line that says something reads as ``path x y [z ...]``."""
        for line in read_head_lines(path):
            bare = COMMENT.sub("", line).strip()
            if bare:
                return self._reads(path, bare)
        return False

    @staticmethod
    def _reads(path: Path, line: str) -> bool:
        if line[0] in "<{[":
            return False
        if SBEM.match(line):
            return True
        columns, _ = split_columns(line)
        try:
            return 3 <= len(columns) <= 9 and all(float(c) is not None for c in columns[1:3])
        except ValueError:
            return path.suffix.lower() in {".txt", ".tsv", ".csv"}

    def read(self, path: Path) -> list[Layout]:
        """Return one layout a z."""
        return list(self.read_document(path, path.read_bytes(), None).layouts)

    def read_document(self, path: Path, raw: bytes, relink: Path | None) -> Document:
        """Return the sections of a text list; `demis_ij.formats.read` says the rest."""
        finder = ImageFinder(path.parent, relink)
        sections: dict[str, list[Tile]] = {}
        for row in parse(path, read_text(path, raw)):
            name, page = split_slice(row.id)
            section = section_of(row.xyz[2])
            tile = Tile(row.id, finder.find(name), row.shape, Affine.translation(*row.xyz[:2]), section, page)
            sections.setdefault(section, []).append(tile)
        layouts = tuple(Layout(tuple(tiles), section, source=path) for section, tiles in sections.items())
        return Document(layouts, self.name, path, tuple(finder.warnings()), digest=digest(raw), relink=relink)

    def losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return what a text list cannot hold."""
        return (*turn_losses(layouts), *lens_losses(layouts), *section_losses(layouts), *mask_losses(layouts))

    def solved_losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return what the positions of a solved copy cannot hold."""
        return (*turn_losses(layouts), *lens_losses(layouts))

    def write(self, path: Path, layouts: Sequence[Layout]) -> None:
        """Write a new text list."""
        self.write_new(path, layouts, overwrite=False)

    def write_new(self, path: Path, layouts: Sequence[Layout], *, overwrite: bool) -> Path:
        """Write a new text list: path, x, y, z with tabs."""
        layouts = [layout for layout in layouts if len(layout)]
        lines = ["# path\tx\ty\tz"]
        for layout, z in zip(layouts, heights(layouts), strict=True):
            for tile in layout:
                x, y = position_of(tile)
                name = _name_of(path, tile, relative_or_absolute(tile.path, path.parent))
                lines.append(f"{name}\t{x!r}\t{y!r}\t{section_of(z)}")
        return write_new(path, packed(path, ("\n".join(lines) + "\n").encode("utf-8")), overwrite=overwrite)

    def write_solved(
        self, document: Document, raw: bytes, layouts: Sequence[Layout], out: Path | None, *, overwrite: bool
    ) -> Path:
        """Write ``<name>.demis.<suffix>``: the original's lines with the new positions of the tiles that moved."""
        text = read_text(document.path, raw)
        source = document.path
        target = solved_path(source, out, f"{source.stem}.demis{source.suffix}")
        old = {t.id: t for layout in document.layouts for t in layout}
        new = {t.id: t for layout in layouts for t in layout}
        elsewhere = not same_folder(target.parent, source.parent)
        lines: dict[int, str] = {}
        for row in parse(source, text):
            tile = new.get(row.id, old[row.id])
            moved = tile.to_world != old[row.id].to_world
            columns = list(row.columns)
            if document.relink is not None or (elsewhere and not Path(split_slice(row.id)[0]).is_absolute()):
                columns[0] = _name_of(target, tile, relative_or_absolute(tile.path, target.parent))
            if moved:
                columns[1:3] = [repr(v) for v in position_of(tile)]
            if tuple(columns) != row.columns:
                separator = "\t" if row.separator == " " else row.separator
                lines[row.number - 1] = separator.join(columns)
        return write_new(target, packed(target, text.replaced(lines)), overwrite=overwrite)


def _name_of(path: Path, tile: Tile, name: str) -> str:
    if "\t" in name or "\n" in name or COMMENT.search(name):
        raise FormatError(path, f"the path {name!r} cannot stand in a text list", f"tile {tile.id!r}")
    return name if tile.page is None else f"{name}-----#slice={tile.page + 1}"
