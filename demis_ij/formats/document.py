"""What a layout file holds once it has been read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from demis_ij.errors import InputError
from demis_ij.records import Layout


class LayoutsOnDemand(Sequence[Layout]):
    """Sections that are read one at a time, when they are asked for; only the last one is kept.

    Parameters
    ----------
    names : sequence of str
        The sections; they differ.
    read : callable
        Returns a section by its name.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], Layout]) -> None:
        self.names = tuple(names)
        self._read = read
        self._last: tuple[str, Layout] | None = None

    @overload
    def __getitem__(self, index: int) -> Layout: ...
    @overload
    def __getitem__(self, index: slice) -> LayoutsOnDemand: ...
    def __getitem__(self, index: int | slice) -> Layout | LayoutsOnDemand:
        if isinstance(index, slice):
            return LayoutsOnDemand(self.names[index], self._read)
        name = self.names[index]
        if self._last is None or self._last[0] != name:
            self._last = (name, self._read(name))
        return self._last[1]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Document:
    """A layout file, read.

    Attributes
    ----------
    layouts : sequence of Layout
        One a section, in the order of the file; none is empty. A file's are all in memory; those of a folder with a
        layout file a section are read when they are asked for.
    format : str
        Name of the format, a key of `demis_ij.protocols.FORMATS`.
    path : Path
        The file.
    warnings : tuple of str
        One line each: what was read tolerantly and what a solved copy will not carry.
    annotations : mapping of str to mapping of str to int
        Section to kind ("treelines") to count. They lie in world coordinates and would be left behind by tiles that
        move. TrakEM2 only; a section without any is absent.
    digest : str
        SHA-256 of the file as read, so that a solved copy is never made of another file.
    relink : Path or None
        The folder in which images were looked up by their base names.
    parts : mapping of str to Path
        Section to its own file, where the document is a folder with a layout file a section.
    """

    layouts: Sequence[Layout]
    format: str
    path: Path
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    digest: str = ""
    relink: Path | None = None
    parts: Mapping[str, Path] = field(default_factory=dict)

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of the sections, in the order of the file."""
        if isinstance(self.layouts, LayoutsOnDemand):
            return self.layouts.names
        return tuple(layout.section for layout in self.layouts)

    def __getitem__(self, section: str) -> Layout:
        if section in self.sections:
            return self.layouts[self.sections.index(section)]
        msg = f"{self.path}: no section {section!r}; there are {', '.join(self.sections)}"
        raise InputError(msg)
