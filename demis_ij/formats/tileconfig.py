"""``TileConfiguration.txt`` of Fiji's Grid/Collection stitching: a name, a series and a position a line.

Positions are the tile's top-left pixel, px, x right, y down; the same as the centre of pixel (0, 0) here, because the
format knows translations only. ``dim = 3`` gives a z, which names the section. A tile's id is its name exactly as
written, followed by ``"; <series>"`` where the line has a series (``"stack.czi; 1"``); the series is the tile's page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
from demis_ij.records import Affine, Layout, Tile

SETTING = re.compile(r"^\s*(\w+)\s*=\s*(.*?)\s*$")
TUPLE = re.compile(r"^\s*\(([^()]*)\)\s*$")
LOOKS_LIKE = re.compile(r"^\s*dim\s*=\s*[23]\s*$|^[^;#]+;[^;]*;\s*\([^)]*\)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One tile's line: where it stands in the text and what it says."""

    number: int
    name: str
    series: str
    position: tuple[float, ...]

    @property
    def id(self) -> str:
        """The tile's id: the name as written, with its series if there is one."""
        return f"{self.name}; {self.series}" if self.series else self.name


def parse(path: Path, text: Text) -> tuple[list[Row], dict[str, str]]:
    """Return the tiles' lines and the settings (keys in lower case) of a TileConfiguration.

    Raises
    ------
    FormatError
        Naming the line: fields missing, a number that is none, a tile twice, another dimension than promised.
    """
    rows: list[Row] = []
    settings: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(text.lines, 1):
        bare = line.strip()
        if len(bare) < 3 or bare.startswith("#"):
            continue
        setting = SETTING.match(line) if ";" not in line else None
        if setting:
            settings[setting[1].lower()] = setting[2]
            continue
        row = _row(path, number, bare, settings)
        if row.id in seen:
            raise FormatError(path, f"tile {row.id!r} again, first on line {seen[row.id]}", f"line {number}")
        seen[row.id] = number
        rows.append(row)
    if not rows:
        raise FormatError(path, "holds no tile: lines like 'tile.tif; ; (0.0, 0.0)' were needed")
    return rows, settings


def _row(path: Path, number: int, line: str, settings: dict[str, str]) -> Row:
    where = f"line {number}"
    fields = line.split(";")
    if len(fields) != 3:
        raise FormatError(path, f"{len(fields)} field(s), 'name; series; (x, y)' was needed: {line!r}", where)
    name, series = fields[0].strip(), fields[1].strip()
    inside = TUPLE.match(fields[2])
    if not name or not inside:
        raise FormatError(path, f"'name; series; (x, y)' was needed: {line!r}", where)
    numbers = tuple(finite(part, path, where, "position") for part in inside[1].split(","))
    dim = settings.get("dim")
    if dim not in {None, "2", "3"}:
        raise FormatError(path, f"dim = {dim}, 2 or 3 was needed", where)
    wanted = {2, 3} if dim is None else {int(dim)}
    if len(numbers) not in wanted:
        raise FormatError(path, f"{len(numbers)} coordinate(s), dim says {dim or '2 or 3'}", where)
    if series and not series.isdecimal():
        raise FormatError(path, f"series {series!r} is no number", where)
    return Row(number, name, series, numbers)


def position_of(tile: Tile) -> tuple[float, float]:
    """Return where a tile's top-left pixel goes: exact for a translation, else so that the tile's centre stays."""
    centre = np.array([max(tile.shape[1] - 1, 0) / 2, max(tile.shape[0] - 1, 0) / 2])
    to = tile.to_world
    if is_translation(to):
        return to.tx, to.ty
    x, y = to(centre) - centre
    return float(x), float(y)


def is_translation(affine: Affine) -> bool:
    """Return whether an affine turns, scales and shears by less than 1e-9."""
    return max(abs(affine.a - 1), abs(affine.b), abs(affine.c), abs(affine.d - 1)) < 1e-9


def turn_losses(layouts: Sequence[Layout]) -> tuple[str, ...]:
    """Return what of the tiles' transforms a list of positions cannot hold: anything but translations."""
    turned = [t for layout in layouts for t in layout if not is_translation(t.to_world)]
    return (f"the rotation, scale or shear of {len(turned)} tile(s) (first: {turned[0].id})",) if turned else ()


class TileConfigFormat:
    """Reads and writes TileConfiguration files."""

    name = "tileconfig"

    def recognises(self, path: Path) -> bool:
        """Return whether a file has a ``dim =`` line or lines of the form ``name; ; (x, y)``."""
        return any(LOOKS_LIKE.match(line) for line in read_head_lines(path))

    def read(self, path: Path) -> list[Layout]:
        """Return one layout a z."""
        return list(self.read_document(path, path.read_bytes(), None).layouts)

    def read_document(self, path: Path, raw: bytes, relink: Path | None) -> Document:
        """Return the sections of a TileConfiguration; `demis_ij.formats.read` says the rest."""
        rows, _ = parse(path, read_text(path, raw))
        finder = ImageFinder(path.parent, relink)
        sections: dict[str, list[Tile]] = {}
        for row in rows:
            section = section_of(row.position[2]) if len(row.position) == 3 else "0"
            tile = Tile(
                id=row.id,
                path=finder.find(row.name),
                shape=(0, 0),
                to_world=Affine.translation(*row.position[:2]),
                section=section,
                page=int(row.series) if row.series else None,
            )
            sections.setdefault(section, []).append(tile)
        layouts = tuple(Layout(tuple(tiles), section, source=path) for section, tiles in sections.items())
        return Document(layouts, self.name, path, tuple(finder.warnings()), digest=digest(raw), relink=relink)

    def losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return what a TileConfiguration cannot hold."""
        return (*turn_losses(layouts), *lens_losses(layouts), *section_losses(layouts), *mask_losses(layouts))

    def solved_losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return what the positions of a solved copy cannot hold."""
        return (*turn_losses(layouts), *lens_losses(layouts))

    def write(self, path: Path, layouts: Sequence[Layout]) -> None:
        """Write a new TileConfiguration."""
        self.write_new(path, layouts, overwrite=False)

    def write_new(self, path: Path, layouts: Sequence[Layout], *, overwrite: bool) -> Path:
        """Write a new TileConfiguration: ``dim = 2`` for one section, ``dim = 3`` for several."""
        layouts = [layout for layout in layouts if len(layout)]
        flat = len(layouts) == 1
        lines = ["# Define the number of dimensions we are working on", f"dim = {2 if flat else 3}"]
        if any(tile.page is not None for layout in layouts for tile in layout):
            lines.append("multiseries = true")
        lines += ["", "# Define the image coordinates"]
        for layout, z in zip(layouts, heights(layouts), strict=True):
            for tile in layout:
                x, y = position_of(tile)
                position = f"({x!r}, {y!r})" if flat else f"({x!r}, {y!r}, {z!r})"
                series = "" if tile.page is None else str(tile.page)
                name = _name_of(path, tile, relative_or_absolute(tile.path, path.parent))
                lines.append(f"{name}; {series}; {position}")
        return write_new(path, packed(path, ("\n".join(lines) + "\n").encode("utf-8")), overwrite=overwrite)

    def write_solved(
        self, document: Document, raw: bytes, layouts: Sequence[Layout], out: Path | None, *, overwrite: bool
    ) -> Path:
        """Write ``<name>.registered.txt``: the original's lines with the new positions of the tiles that moved."""
        text = read_text(document.path, raw)
        rows, _ = parse(document.path, text)
        target = solved_path(document.path, out, _registered_name(document.path.name))
        old = {t.id: t for layout in document.layouts for t in layout}
        new = {t.id: t for layout in layouts for t in layout}
        elsewhere = not same_folder(target.parent, document.path.parent)
        lines: dict[int, str] = {}
        for row in rows:
            tile = new.get(row.id, old[row.id])
            moved = tile.to_world != old[row.id].to_world and not old[row.id].locked
            position = (*position_of(tile), *row.position[2:]) if moved else row.position
            name = row.name
            if document.relink is not None or (elsewhere and not Path(row.name).is_absolute()):
                name = _name_of(target, tile, relative_or_absolute(tile.path, target.parent))
            if moved or name != row.name:
                numbers = ", ".join(repr(v) for v in position)
                lines[row.number - 1] = f"{name}; {row.series}; ({numbers})"
        return write_new(target, packed(target, text.replaced(lines)), overwrite=overwrite)


def _registered_name(name: str) -> str:
    stem = name[: -len(".txt")] if name.lower().endswith(".txt") else name
    if stem.lower().endswith(".registered"):
        stem = stem[: -len(".registered")] + ".demis"
    return f"{stem}.registered.txt"


def _name_of(path: Path, tile: Tile, name: str) -> str:
    if ";" in name or "\n" in name or name.startswith("#"):
        raise FormatError(path, f"the name {name!r} cannot stand in a TileConfiguration", f"tile {tile.id!r}")
    return name
