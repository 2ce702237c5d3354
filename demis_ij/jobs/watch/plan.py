"""What a microscope is going to write: every tile and where it will lie, before its file is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demis_ij import formats
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.formats.grid import FIELD, compile_pattern, grid_layout, natural_key
from demis_ij.jobs.reading import read_layout
from demis_ij.records import Tile

Shape = tuple[int, int]


@dataclass(eq=False)
class ListedPlan:
    """The tiles of a layout file, each in a slot of its own that never changes.

    Parameters
    ----------
    path : Path
        The file.
    folder : Path
        Where tiles arrive.
    options : dict
        How the file is read.
    """

    path: Path
    folder: Path
    options: dict[str, Any]

    def __post_init__(self) -> None:
        read = formats.read(self.path, format=self.options.get("format_name"))
        whole = self.folder.resolve()
        inside = any(whole in t.path.resolve().parents for layout in read.layouts for t in layout)
        self.relink = None if inside else self.folder
        layouts = read.layouts if inside else tuple(
            replace(layout, tiles=tuple(replace(t, path=self.folder / t.path.name) for t in layout))
            for layout in read.layouts
        )  # fmt: skip
        self._document = replace(read, layouts=layouts)
        self._tiles = [tile for layout in layouts for tile in layout]
        self._slots = {tile.path: number for number, tile in enumerate(self._tiles)}
        self.sections = tuple(layout.section for layout in layouts)
        self.folders = tuple(dict.fromkeys(tile.path.parent for tile in self._tiles))
        if len(self._slots) < len(self._tiles):
            msg = (
                f"{self.path}: several tiles are pages of one file, and when a page is whole cannot be seen: stitch it"
            )
            raise InputError(msg)

    def tiles(self, shape: Shape) -> list[Tile]:
        """Return a tile a slot; those of unknown size are of ``shape``."""
        return [t if min(t.shape) > 0 else replace(t, shape=shape) for t in self._tiles]

    def slot(self, path: Path) -> int | str | None:
        """Return where a file belongs, None when the layout does not name it."""
        return self._slots.get(path)

    def order(self, slot: int, path: Path) -> Any:
        """Return the place of a tile: that in the layout."""
        return slot

    def document(self) -> Document | None:
        """Return the layout as ``stitch`` reads it."""
        return self._document

    def words(self) -> list[str]:
        """Return the words by which ``stitch`` is told of this layout."""
        relinked = ["--relink", str(self.relink)] if self.relink else []
        named = ["--format", self.options["format_name"]] if self.options.get("format_name") else []
        return [str(self.path), *relinked, *named]


@dataclass(eq=False)
class GridPlan:
    """The tiles of a plain grid whose names say where they lie, each in a slot of its own, as `ListedPlan` has them.

    Numbers count from 0 when a 0 is among them, else from 1, as in `demis_ij.formats.grid`. So a first tile 0 that
    comes late moves the others: `recount` says so.

    Parameters
    ----------
    folder : Path
        Where tiles arrive.
    options : dict
        rows, cols, overlap, order, start and pattern, as ``stitch`` takes them; None where not given.
    """

    folder: Path
    options: dict[str, Any]

    def __post_init__(self) -> None:
        missing = [f"--{name}" for name in ("pattern", "rows", "cols") if not self.options.get(name)]
        if missing:
            msg = f"tiles still to come need a --layout, or --pattern, --rows and --cols: {missing[0]} is missing"
            raise InputError(msg)
        self.pattern, self.rows, self.cols = (self.options[name] for name in ("pattern", "rows", "cols"))
        self._expression = compile_pattern(self.pattern)
        self.numbered = "i" in self._expression.groupindex
        self.sections: tuple[str, ...] = ("0",)
        self.folders: tuple[Path, ...] = (self.folder,)
        self.first: tuple[int, ...] = (1,) if self.numbered else (1, 1)
        self._taken: dict[int, Path] = {}

    def numbers(self, path: Path) -> tuple[int, ...] | None:
        """Return the numbers in a file's name: (row, col), or the running one; None where it does not fit."""
        found = self._expression.fullmatch(path.name)
        if found is None:
            return None
        return (int(found["i"]),) if self.numbered else (int(found["row"]), int(found["col"]))

    def recount(self, paths: Sequence[Path]) -> bool:
        """Look from where the numbers of these files count; return whether it is from elsewhere than was thought."""
        found = [numbers for path in paths if (numbers := self.numbers(path)) is not None]
        if not found:
            return False
        first = tuple(0 if min(column) == 0 else 1 for column in zip(*found, strict=True))
        changed, self.first = first != self.first, first
        if changed:
            self._taken = {}
        return changed

    def slot(self, path: Path) -> int | str | None:
        """Return where a file belongs; a line when its place is outside the grid or taken; None for other names."""
        numbers = self.numbers(path)
        if numbers is None:
            return None
        place = [number - first for number, first in zip(numbers, self.first, strict=True)]
        limits = (self.rows * self.cols,) if self.numbered else (self.rows, self.cols)
        if any(not 0 <= at < limit for at, limit in zip(place, limits, strict=True)):
            return f"{path.name} lies outside {self.rows} x {self.cols} tiles counted from {self.first[0]}: left alone"
        slot = place[0] if self.numbered else place[0] * self.cols + place[1]
        other = self._taken.setdefault(slot, path)
        return slot if other == path else f"{path.name} has the place of {other.name}: left alone"

    def order(self, slot: int, path: Path) -> Any:
        """Return the place of a tile: that of its name among the names."""
        return natural_key(path)

    def tiles(self, shape: Shape) -> list[Tile]:
        """Return a tile a slot, named as the pattern would have it."""
        count = self.rows * self.cols
        named = [self.folder / self._name(slot) for slot in range(count)]
        grid = {name: value for name, value in self.options.items() if value is not None and name in GRID_OPTIONS}
        layout = grid_layout(named, shape=shape, **grid)
        by_path = {tile.path: tile for tile in layout}
        return [by_path[path] for path in named]

    def _name(self, slot: int) -> str:
        place = (slot,) if self.numbered else divmod(slot, self.cols)
        numbers = dict(zip(("i",) if self.numbered else ("row", "col"), place, strict=True))
        first = dict(zip(numbers, self.first, strict=True))

        def filled(field: re.Match[str]) -> str:
            name = field[1] if field[1] in {"row", "col"} else {"y": "row", "x": "col", "i": "i"}[field[1][0]]
            width = len(field[1]) if field[1][0] in "xyi" else 0
            return f"{numbers[name] + first[name]:0{width}d}" if width > 1 else str(numbers[name] + first[name])

        return FIELD.sub(filled, self.pattern).replace("*", "")

    def document(self) -> Document | None:
        """Return the grid of the files that are there, as ``stitch`` reads it; None while none can be."""
        try:
            return read_layout(self.folder, **{k: v for k, v in self.options.items() if k in GRID_OPTIONS})
        except InputError:
            return None  # no file yet, or none that can be read, or a stray one: said where files are looked at

    def words(self) -> list[str]:
        """Return the words by which ``stitch`` is told of this layout."""
        given = [(name, self.options.get(name)) for name in GRID_OPTIONS]
        return [str(self.folder), *(word for name, value in given if value for word in (f"--{name}", str(value)))]


TilePlan = ListedPlan | GridPlan
GRID_OPTIONS = ("rows", "cols", "overlap", "order", "start", "pattern")

__all__ = ["GRID_OPTIONS", "GridPlan", "ListedPlan", "TilePlan"]
