"""``solution.json`` as it lies on disk: one file for a section or a small stack, an index for a large one.

Format version 1 holds every tile and every pair. Version 2 names one file a section, each of them of version 1 with
its tiles in the layout's own coordinates; read through the index, they come in px of the mosaics, and tiles are called
``section/id``. So a reader of a section needs the memory of one section, however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Lens

WHOLE = 1
INDEX = 2


@dataclass(frozen=True, eq=False)
class SolvedSection:
    """One section of a solution, as JSON types.

    Attributes
    ----------
    name : str
    tiles : mapping of str to mapping
        By the tile's name in the solution; ``to_world`` is in mosaic px, ``lens`` a `Lens` where the tile has one.
    pairs : tuple of mapping
        Every pair that was looked at, tiles by the same names.
    """

    name: str
    tiles: Mapping[str, Mapping[str, Any]]
    pairs: tuple[Mapping[str, Any], ...]


class SolutionFile:
    """A solution that was opened: what holds for all sections, and the sections one after the other.

    Parameters
    ----------
    path : Path
        A ``solution.json``, or the run folder that holds it.

    Attributes
    ----------
    path : Path
        The file.
    version : int
        1 or 2.
    pixel_size : tuple of (float, str) or None
        Side of a pixel and its unit.

    Raises
    ------
    FormatError
        When it is no solution.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / "solution.json" if path.is_dir() else path
        value = _read(self.path)
        version = value.get("format_version") if isinstance(value, dict) else None
        known = {WHOLE: "tiles", INDEX: "sections"}.get(version) if isinstance(version, int) else None
        if known is None or not value.get(known):
            raise FormatError(self.path, f"is no solution of format version {WHOLE} or {INDEX}")
        self.version = version
        self._value = value
        try:
            size = value.get("pixel_size")
            self.pixel_size = (float(size[0]), str(size[1])) if size else None
            self._files = self._index() if version == INDEX else {}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(self.path, f"is no solution: {error!r}") from error

    @property
    def world_origin(self) -> tuple[float, float]:
        """The layout's coordinate of the mosaics' pixel (0, 0). Raises `FormatError` when the file does not say it."""
        try:
            return float(self._value["world_origin"][0]), float(self._value["world_origin"][1])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(self.path, f"is no solution: {error!r}") from error

    def __iter__(self) -> Iterator[SolvedSection]:
        """Yield the sections in the order of the solution. Raises `FormatError` for a section's file that is none."""
        if self.version == INDEX:
            for name, file in self._files.items():
                yield self._of_file(name, file)
            return
        try:
            names = dict.fromkeys(str(tile["section"]) for tile in self._value["tiles"].values())
            for name in names:
                told = {key: tile for key, tile in self._value["tiles"].items() if str(tile["section"]) == name}
                tiles = _behind_lenses(told, lenses_of(self._value))
                pairs = tuple(p for p in self._value.get("pairs", ()) if str(p["section"]) == name)
                yield SolvedSection(name, tiles, pairs)
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise FormatError(self.path, f"is no solution: {error!r}") from error

    def _index(self) -> dict[str, Path]:
        return {str(entry["section"]): self.path.parent / str(entry["file"]) for entry in self._value["sections"]}

    def _of_file(self, name: str, file: Path) -> SolvedSection:
        value = _read(file)
        shift = Affine.translation(-self.world_origin[0], -self.world_origin[1])
        try:
            return SolvedSection(
                name,
                _behind_lenses(
                    {f"{name}/{key}": moved_tile(tile, shift) for key, tile in value["tiles"].items()},
                    lenses_of(value),
                ),
                tuple(renamed_pair(pair, f"{name}/") for pair in value["pairs"]),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, InputError) as error:
            raise FormatError(file, f"is no section of a solution: {error!r}") from error


def lenses_of(value: Mapping[str, Any]) -> dict[str, Lens]:
    """Return the lenses of a solution by the names that its tiles call them by."""
    return {str(name): Lens.from_json(told) for name, told in value.get("lenses", {}).items()}


def lenses_in(path: Path) -> dict[str, Lens]:
    """Return the lenses of a solution's file (version 1), which stand before its tiles; only that much is read.

    Raises
    ------
    FormatError
        When they are none.
    """
    with path.open("rb") as file:
        head = file.read(1 << 20).partition(b'"tiles":')[0]
    _, found, text = head.partition(b'"lenses":')
    if not found:
        return {}
    try:
        value, _ = json.JSONDecoder().raw_decode(text.decode("utf-8").lstrip())
        return lenses_of({"lenses": value})
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        raise FormatError(path, f"its lenses are none: {error!r}") from error


def _behind_lenses(tiles: dict[str, Any], lenses: Mapping[str, Lens]) -> dict[str, Any]:
    """Return the tiles with the lens itself where they name one."""
    if not lenses:
        return tiles
    return {key: {**tile, "lens": lenses[tile["lens"]]} if tile.get("lens") else tile for key, tile in tiles.items()}


def moved_tile(tile: Mapping[str, Any], shift: Affine) -> dict[str, Any]:
    """Return a tile of a solution in another frame."""
    rows = {key: tile[key] for key in ("to_world", "stage_to_world") if tile.get(key) is not None}
    return {**tile, **{key: (shift @ Affine.from_matrix(value)).rows for key, value in rows.items()}}


def renamed_pair(pair: Mapping[str, Any], head: str) -> dict[str, Any]:
    """Return a pair of a solution with ``head`` before the names of its tiles."""
    return {**pair, "fixed": f"{head}{pair['fixed']}", "moving": f"{head}{pair['moving']}"}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"is no solution, it is not JSON: {error}") from error
