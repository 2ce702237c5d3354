"""A stack as a folder with one layout file a section: the files are read when their turn comes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.document import Document, LayoutsOnDemand
from demis_ij.formats.files import digest, read_raw
from demis_ij.records import Layout


def read_parts(folder: Path, pattern: str, *, format: str | None = None, relink: Path | None = None) -> Document:  # noqa: A002
    """Return the stack whose sections are the files below a folder that fit a pattern, in natural order.

    Sections are called by what differs in the files' names: ``layouts/0012.txt`` is section 12, ``s3/tiles.txt``
    section 3.

    Parameters
    ----------
    folder : Path
        Where to look.
    pattern : str
        As of `pathlib.Path.glob`: ``*.txt``, ``*/TileConfiguration.txt``.
    format, relink : optional
        As of `demis_ij.formats.read`, for each file.

    Raises
    ------
    InputError
        When no file fits; a file that is no layout of one section is told of when its turn comes.
    """
    try:
        files = [path for path in folder.glob(pattern) if path.is_file()]
    except (ValueError, NotImplementedError) as error:
        msg = f"--each {pattern}: {error}"
        raise InputError(msg) from error
    if not files:
        msg = f"--each {pattern}: no file below {folder} fits"
        raise InputError(msg)
    files.sort(key=lambda path: _natural(path.relative_to(folder).as_posix()))
    parts = dict(zip(_names([path.relative_to(folder).as_posix() for path in files]), files, strict=True))
    first = formats.read(files[0], format=format, relink=relink)

    def read(name: str) -> Layout:
        document = formats.read(parts[name], format=first.format, relink=relink)
        if len(document.layouts) != 1:
            raise FormatError(parts[name], f"holds {len(document.layouts)} sections, one a file was needed")
        layout = document.layouts[0]
        return replace(layout, section=name, tiles=tuple(replace(t, section=name) for t in layout))

    whole = digest("".join(f"{name} {digest(read_raw(path))}\n" for name, path in parts.items()).encode())
    layouts = LayoutsOnDemand(tuple(parts), read)
    return Document(layouts, first.format, folder, digest=whole, relink=relink, parts=parts)


def write_solved_parts(document: Document, layouts: Sequence[Layout], out: Path) -> Path:
    """Write the solved copy of each section's file into a folder of its own, and return the folder.

    Raises
    ------
    InputError
        When a file cannot be written, or has changed since it was read.
    """
    out.mkdir(exist_ok=True)
    for layout in layouts:
        path = document.parts[layout.section]
        own = formats.read(path, format=document.format, relink=document.relink)
        name = own.layouts[0].section
        back = replace(layout, section=name, tiles=tuple(replace(t, section=name) for t in layout))
        folder = out / path.parent.relative_to(document.path)
        folder.mkdir(parents=True, exist_ok=True)
        formats.write_solved(own, [back], folder, overwrite=True, allow_lossy=True)
    return out


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Return what text sorts by when its numbers count as numbers."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)]


def _names(paths: Sequence[str]) -> list[str]:
    """Return what differs in the names of files; numbers without leading zeros where they still differ."""
    if len(paths) == 1:
        return [Path(paths[0]).stem]
    head = re.sub(r"\d+$", "", _common(paths))
    tail = re.sub(r"^\d+", "", _common([path[::-1] for path in paths])[::-1])
    room = min(map(len, paths)) - len(head)
    tail = tail[len(tail) - max(0, min(len(tail), room)) :]
    plain = [path[len(head) : len(path) - len(tail)] or path for path in paths]
    short = [str(int(name)) if name.isdigit() else name for name in plain]
    return short if len(set(short)) == len(short) else plain


def _common(texts: Sequence[str]) -> str:
    """Return the characters with which all texts begin."""
    same = [len(set(letters)) == 1 for letters in zip(*texts, strict=False)]
    return texts[0][: same.index(False) if False in same else len(same)]
