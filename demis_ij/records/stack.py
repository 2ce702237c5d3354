"""Serial sections in their order, one image each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path

from demis_ij.errors import InputError
from demis_ij.records import shown
from demis_ij.records.tiles import Tile


@dataclass(frozen=True)
class Stack:
    """The sections of a volume, one image each.

    Attributes
    ----------
    sections : tuple of Tile
        In order, ids differ. ``to_world`` says where an image is thought to lie before anything is aligned.
    z : tuple of float
        Number of each section, rising; counted 0, 1, 2, ... when not given. A step of more than one is a gap: there
        were sections between that are missing.
    pixel_size : tuple of (float, str) or None
        Side of a pixel and its unit.
    thickness : tuple of (float, str) or None
        From one section number to the next, and its unit.
    source : Path or None
        What it was read from.
    warnings : tuple of str
        What was noticed on reading, one line each: gaps, images that cannot be read, mixed sizes and types.

    Raises
    ------
    InputError
        When there is no section, an id occurs twice, or the numbers do not rise.
    """

    sections: tuple[Tile, ...]
    z: tuple[float, ...] = ()
    pixel_size: tuple[float, str] | None = None
    thickness: tuple[float, str] | None = None
    source: Path | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sections", tuple(self.sections))
        z = tuple(float(v) for v in self.z) or tuple(float(i) for i in range(len(self.sections)))
        object.__setattr__(self, "z", z)
        object.__setattr__(self, "warnings", tuple(self.warnings))
        if not self.sections:
            msg = "a stack has at least one section, found none"
            raise InputError(msg)
        seen: set[str] = set()
        for tile in self.sections:
            if tile.id in seen:
                msg = f"section {tile.id!r} occurs twice in the stack: ids must differ"
                raise InputError(msg)
            seen.add(tile.id)
        if len(z) != len(self.sections):
            msg = f"a stack of {len(self.sections)} sections needs as many section numbers, found {len(z)}"
            raise InputError(msg)
        if not all(isfinite(v) for v in z) or any(b <= a for a, b in pairwise(z)):
            msg = f"section numbers are finite and rise, found {', '.join(f'{v:g}' for v in z[:20])}"
            raise InputError(msg)

    def __len__(self) -> int:
        return len(self.sections)

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.sections)

    def __getitem__(self, index: int) -> Tile:
        return self.sections[index]

    def _repr_html_(self) -> str:
        return shown.stack_card(self)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the sections, in order."""
        return tuple(t.id for t in self.sections)

    @property
    def missing(self) -> tuple[float, ...]:
        """Numbers of the sections that are missing between the first and the last.

        Examples
        --------
        >>> from pathlib import Path
        >>> tiles = [Tile(name, Path(name), (8, 8)) for name in "abc"]
        >>> Stack(tuple(tiles), z=(4, 5, 8)).missing
        (6.0, 7.0)
        """
        return tuple(a + k for a, b in pairwise(self.z) for k in range(1, round(b - a)))
