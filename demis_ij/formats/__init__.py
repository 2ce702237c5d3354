"""Layouts in and out: which file format it is, reading it, writing it, and the solved copy of a user's file.

Every format converts to the project's frames at its own door (pixel centres at integers, world px, y down).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.document import Document
from demis_ij.formats.files import digest, read_head, read_raw
from demis_ij.protocols import FORMATS, LayoutFormat
from demis_ij.records import Layout

__all__ = ["Document", "format_for", "losses", "read", "recognise", "solved_losses", "write", "write_solved"]

SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"II+\x00": "a BigTIFF image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF file",
    b"<": "an XML or HTML file that is no TrakEM2 project",
    b"{": "a JSON file without tile specs",
    b"[": "a JSON file without tile specs",
}


class _Format(LayoutFormat, Protocol):
    """What the formats of this room offer beyond `demis_ij.protocols.LayoutFormat`."""

    def read_document(self, path: Path, raw: bytes, relink: Path | None) -> Document: ...

    def losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]: ...

    def solved_losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]: ...

    def write_new(self, path: Path, layouts: Sequence[Layout], *, overwrite: bool) -> Path: ...

    def write_solved(
        self, document: Document, raw: bytes, layouts: Sequence[Layout], out: Path | None, *, overwrite: bool
    ) -> Path: ...


def _format(name: str) -> _Format:
    return cast("_Format", FORMATS[name]())


def recognise(path: Path) -> LayoutFormat:
    """Return the format of a layout file, by its name and first bytes.

    Raises
    ------
    FormatError
        When it is none of the known formats; says what was found and which are known.
    """
    return _recognise(Path(path))


def _recognise(path: Path) -> _Format:
    if not path.is_file():
        read_raw(path)  # says why: a folder, missing, not allowed
    for name in FORMATS.names:
        found = _format(name)
        if found.recognises(path):
            return found
    head = read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    what = next((says for start, says in SIGNATURES.items() if head.startswith(start)), "")
    if not what:
        what = f"it starts with {head[:40]!r}" if head else "it is empty or cannot be unpacked"
    raise FormatError(path, f"no layout: {what}. Known formats: {', '.join(FORMATS.names)}")


def read(path: Path, *, format: str | None = None, relink: Path | None = None) -> Document:  # noqa: A002
    """Return a layout file's sections, and what was noticed on reading it.

    Parameters
    ----------
    path : Path
        The layout file. A tile whose image is missing is not an error.
    format : str, optional
        Name of the format; found by itself when not given.
    relink : Path, optional
        A folder: images found in it (or below) by their base names are taken from there.

    Raises
    ------
    FormatError
        When the file is no layout, is truncated, has no tile, a tile twice, or a number that is none.
    InputError
        When ``format`` is unknown or ``relink`` is no folder.
    """
    path = Path(path)
    kind = _recognise(path) if format is None else _format(format)
    return kind.read_document(path, read_raw(path), None if relink is None else Path(relink))


def losses(format: str, layouts: Sequence[Layout]) -> tuple[str, ...]:  # noqa: A002
    """Return what of the tiles a new file of a format cannot hold, one phrase each; nothing when it holds all."""
    return _format(format).losses(layouts)


def solved_losses(document: Document, layouts: Sequence[Layout]) -> tuple[str, ...]:
    """Return what of a solution the document's own format cannot hold, one phrase each (a turn, in a text list)."""
    return _format(document.format).solved_losses(layouts)


def _refuse_losses(name: str, found: tuple[str, ...], path: Path, allow_lossy: bool) -> None:
    if found and not allow_lossy:
        msg = f"{path}: {name} cannot hold {'; '.join(found)}. Choose another format, or accept the loss with --lossy"
        raise InputError(msg)


def format_for(path: Path) -> str:
    """Return the format that a new file's name asks for. Raises `InputError` when it asks for none."""
    name = path.name.lower()
    if name.endswith((".xml", ".xml.gz")):
        return "trakem2"
    if name.endswith((".json", ".json.gz")):
        return "render"
    if name.endswith(".txt") and "tileconfiguration" in name.replace("_", "").replace("-", ""):
        return "tileconfig"
    if name.endswith((".registered.txt", ".tileconfig.txt")):
        return "tileconfig"
    if name.endswith((".txt", ".tsv", ".csv")):
        return "text"
    msg = f"{path}: its name does not say which format to write; name one of {', '.join(FORMATS.names)}"
    raise InputError(msg)


def write(
    path: Path,
    layouts: Sequence[Layout],
    *,
    format: str | None = None,  # noqa: A002
    overwrite: bool = False,
    allow_lossy: bool = False,
) -> Path:
    """Write layouts as a new file, all or nothing, and return its path.

    Parameters
    ----------
    path : Path
        The new file. Its name says the format where ``format`` does not (``.xml``, ``.xml.gz``, ``.json``,
        ``TileConfiguration*.txt``, other ``.txt``).
    layouts : sequence of Layout
        One a section.
    overwrite : bool
        Replace an existing file; otherwise it is refused.
    allow_lossy : bool
        Write even what the format cannot hold (see `losses`).

    Raises
    ------
    InputError
        When there is nothing to write, the format cannot hold it, or the file exists or cannot be written.
    """
    path = Path(path)
    name = format or format_for(path)
    if not any(len(layout) for layout in layouts):
        msg = f"{path}: there is no tile to write"
        raise InputError(msg)
    kind = _format(name)
    _refuse_losses(name, kind.losses(layouts), path, allow_lossy)
    return kind.write_new(path, layouts, overwrite=overwrite)


def write_solved(
    document: Document,
    layouts: Sequence[Layout],
    out: Path | None = None,
    *,
    overwrite: bool = False,
    allow_lossy: bool = False,
) -> Path:
    """Write the solved copy of a layout file in its own format, and return its path. The original stays.

    What did not move is left as it was written. TrakEM2: ``<name>.demis.xml(.gz)``, byte for byte the original but
    for the ``transform`` of tiles that moved (and paths, when it goes to another folder or was relinked).
    TileConfiguration: ``<name>.registered.txt``. Text list and Render JSON: ``<name>.demis.<suffix>``.

    Parameters
    ----------
    document : Document
        What `read` returned.
    layouts : sequence of Layout
        Solved sections, or some of them; tiles that are not in them stay where they are.
    out : Path, optional
        A folder, or a file (when it has a suffix); beside the original when not given.
    overwrite, allow_lossy : bool
        As for `write`. The original itself is never overwritten.

    Raises
    ------
    InputError
        When the file exists, is the original, cannot be written, or cannot hold the result.
    FormatError
        When the original has changed since it was read.
    """
    raw = read_raw(document.path)
    if document.digest and digest(raw) != document.digest:
        raise FormatError(document.path, "has changed since it was read: read it again")
    kind = _format(document.format)
    _refuse_losses(document.format, kind.solved_losses(layouts), document.path, allow_lossy)
    return kind.write_solved(document, raw, layouts, None if out is None else Path(out), overwrite=overwrite)
