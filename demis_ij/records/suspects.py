"""Tiles whose image is not what their place says."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("missing", "unreadable", "blank", "duplicate", "exchanged", "elsewhere")


@dataclass(frozen=True)
class Suspect:
    """A tile that no neighbour agrees with, and what its image looks like instead.

    Attributes
    ----------
    tile : str
        Tile id.
    kind : str
        missing (no file), unreadable (a file, but no image), blank (nothing to be seen), duplicate (the image of
        another tile once more), exchanged (its image fits the place of another tile, whose image fits here) or
        elsewhere (its image fits the place of another tile).
    said : str
        One line for people, without the tile's name.
    other : str
        The other tile; empty where there is none.
    """

    tile: str
    kind: str
    said: str
    other: str = ""

    @property
    def line(self) -> str:
        """The warning: the tile and what is said of it."""
        return f"tile {self.tile}: {self.said}"
