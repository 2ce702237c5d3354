"""What a layout file holds once it has been read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demis_ij.errors import InputError
from demis_ij.records import Layout


@dataclass(frozen=True)
class Document:
    """A layout file, read.

    Attributes
    ----------
    layouts : tuple of Layout
        One a section, in the order of the file; none is empty.
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
    """

    layouts: tuple[Layout, ...]
    format: str
    path: Path
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    digest: str = ""
    relink: Path | None = None

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of the sections, in the order of the file."""
        return tuple(layout.section for layout in self.layouts)

    def __getitem__(self, section: str) -> Layout:
        for layout in self.layouts:
            if layout.section == section:
                return layout
        msg = f"{self.path}: no section {section!r}; there are {', '.join(self.sections)}"
        raise InputError(msg)
