"""Stacks of sections, read: a folder of images, a multi-page TIFF, an OME-Zarr, a layout, a run of ``stitch``.

**Where sections lie before they are aligned.** A layout or a run says it. Where nothing does, sections of one size lie
on top of each other, and a smaller one in the middle of the largest, by whole pixels: who cuts out a smaller part
mostly cuts about the same middle, and a section that has to be turned turns about its middle.

**Section numbers.** Of the numbers in the file names, the layers' z, or the pages. Where the numbers show that
sections are missing, they leave a gap. An image that cannot be read leaves one, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij import images
from demis_ij.errors import InputError
from demis_ij.formats.grid import list_images
from demis_ij.formats.stacks_files import Found, of_folder, of_tiff, of_zarr
from demis_ij.formats.stacks_solved import of_layout, of_run
from demis_ij.formats.trakem2_new import is_colour
from demis_ij.images.reading import TIFF_MAGIC, first_bytes
from demis_ij.images.zarr_planes import is_zarr
from demis_ij.records import Affine, Stack, Tile

FORMATS = ("folder", "tiff", "ome-zarr", "layout", "run")


def read_stack(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002
    pattern: str | None = None,
    channel: int = 0,
    masks: Path | None = None,
    relink: Path | None = None,
) -> Stack:
    """Return the sections that a file or folder holds, in order; of the images only the headers are read.

    Parameters
    ----------
    path : Path
        A folder of images (in natural order of their names), a multi-page TIFF, an OME-Zarr with a z axis, a layout
        with one image a section, or a run folder of ``stitch`` with several sections (its mosaics).
    format : str, optional
        folder, tiff, ome-zarr, layout or run; found by itself when not given.
    pattern : str, optional
        Of a folder only: what the names look like, ``slice_{i}.png`` (``*`` is any text); other files are left out.
    channel : int
        Which channel, from 0, of a TIFF or OME-Zarr that has several.
    masks : Path, optional
        A folder of images whose zeros are no data: one for each section, of the same name but for the suffix, or as
        many as there are sections.
    relink : Path, optional
        Of a layout only: as for `demis_ij.formats.read`.

    Raises
    ------
    InputError
        When there are no two sections that can be read, a section has several tiles, a mask has another size than its
        section, or an option does not belong to what is read.
    FormatError
        When a file is not what it should be.
    """
    path = Path(path)
    kind = _kind(path) if format is None else format
    _refuse_options(path, kind, pattern=pattern, channel=channel or None, relink=relink)
    found = _found(path, kind, pattern, channel, relink)
    return _looked_at(path, found, None if masks is None else Path(masks))


def _kind(path: Path) -> str:
    """Return what a path is, by its name and first bytes."""
    if path.is_dir():
        if is_zarr(path):
            return "ome-zarr"
        return "run" if (path / "solution.json").is_file() else "folder"
    return "tiff" if first_bytes(path, 4) in TIFF_MAGIC else "layout"


def _refuse_options(path: Path, kind: str, **given: Any) -> None:
    if kind not in FORMATS:
        msg = f"stack format {kind!r} is not one of {', '.join(FORMATS)}"
        raise InputError(msg)
    belongs = {"pattern": ("folder",), "channel": ("tiff", "ome-zarr"), "relink": ("layout",)}
    for name, value in given.items():
        if value is not None and kind not in belongs[name]:
            msg = f"{name} belongs to {' or '.join(belongs[name])}, and {path} is read as {kind}: leave it out"
            raise InputError(msg)


def _found(path: Path, kind: str, pattern: str | None, channel: int, relink: Path | None) -> Found:
    readers: dict[str, Callable[[], Found]] = {
        "folder": lambda: of_folder(path, pattern),
        "tiff": lambda: of_tiff(path, channel),
        "ome-zarr": lambda: of_zarr(path, channel),
        "layout": lambda: of_layout(path, relink),
        "run": lambda: of_run(path),
    }
    return readers[kind]()


# --- what the images themselves say -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What an image's header says, or why it cannot be read."""

    shape: tuple[int, int] = (0, 0)
    dtype: str = ""
    colour: bool = False
    problem: str = ""


def _seen(tile: Tile) -> _Seen:
    try:
        shape, dtype = images.header(tile.path, tile.page)
        if 0 not in tile.shape and shape != tile.shape:
            return _Seen(problem=f"{tile.path} is {_size(shape)} px, {_size(tile.shape)} px were said to be")
        return _Seen(shape, str(dtype), tile.path.is_file() and dtype == np.uint8 and is_colour(tile.path))
    except InputError as error:
        return _Seen(problem=str(error))


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _looked_at(path: Path, found: Found, masks: Path | None) -> Stack:
    """Return the stack of the sections that can be read, with all that was noticed."""
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(_seen, found.tiles))
    usable = [i for i, s in enumerate(seen) if not s.problem]
    numbers = found.z or tuple(float(i) for i in range(len(found.tiles)))
    notes = [*found.notes, *(f"section {found.tiles[i].id} is left out: {s.problem}"
                             for i, s in enumerate(seen) if s.problem)]  # fmt: skip
    if len(usable) < 2:
        what = "one section" if usable else "no section that can be read"
        more = f"; {notes[0]}" if notes else ""
        msg = f"{path}: {what} was found, two at least were needed{more}"
        raise InputError(msg)
    tiles = [replace(found.tiles[i], shape=seen[i].shape) for i in usable]
    tiles = _with_masks(tiles, masks)
    stack = Stack(
        tuple(tiles if found.placed else _in_the_middle(tiles)),
        tuple(numbers[i] for i in usable),
        found.pixel_size,
        found.thickness,
        path,
        (*notes, *_remarks(tiles, [seen[i] for i in usable], found.placed)),
    )
    if not found.z or not stack.missing:
        return stack
    return replace(stack, warnings=(*stack.warnings, _gap_note(stack.missing)))


def _gap_note(missing: Sequence[float]) -> str:
    shown = ", ".join(f"{z:g}" for z in missing[:10]) + (", ..." if len(missing) > 10 else "")
    return f"{len(missing)} section(s) are missing, by the numbers of the others: {shown}; they leave a gap"


def _remarks(tiles: Sequence[Tile], seen: Sequence[_Seen], placed: bool) -> list[str]:
    """Return a line for sections of another type, in colour, or of another size than most."""
    out = []
    kinds = Counter(s.dtype for s in seen).most_common()
    other = [(t.id, s.dtype) for t, s in zip(tiles, seen, strict=True) if s.dtype != kinds[0][0]]
    if other:
        out.append(f"{len(other)} section(s) are not {kinds[0][0]} as most are (first: {other[0][0]}, {other[0][1]});"
                   " grey values are not stretched")  # fmt: skip
    coloured = [t.id for t, s in zip(tiles, seen, strict=True) if s.colour]
    if coloured:
        out.append(f"{len(coloured)} section(s) are in colour (first: {coloured[0]}) and are read as grey (luma)")
    sizes = Counter(s.shape for s in seen).most_common()
    if len(sizes) > 1:
        how = "lie where the file says" if placed else "lie in the middle of the largest"
        out.append(f"sections differ in size ({', '.join(_size(s) for s, _ in sizes[:3])} px); they {how}")
    return out


def _in_the_middle(tiles: Sequence[Tile]) -> list[Tile]:
    """Return sections placed in the middle of the largest, by whole pixels."""
    rows, cols = (max(t.shape[k] for t in tiles) for k in (0, 1))
    return [replace(t, to_world=Affine.translation((cols - t.shape[1]) // 2, (rows - t.shape[0]) // 2)) for t in tiles]


def _with_masks(tiles: Sequence[Tile], masks: Path | None) -> list[Tile]:
    """Return sections with their mask images: by name, else by order. Raises `InputError`."""
    if masks is None:
        return list(tiles)
    files = list_images(masks)
    by_name = {p.stem: p for p in files}
    stems = [t.path.stem for t in tiles]
    if all(stem in by_name for stem in stems) and len(set(stems)) == len(stems):
        chosen = [by_name[stem] for stem in stems]
    elif len(files) == len(tiles):
        chosen = files
    else:
        msg = f"{masks}: {len(files)} mask(s) for {len(tiles)} sections, and their names are not those of the sections"
        raise InputError(msg)
    out = []
    for tile, file in zip(tiles, chosen, strict=True):
        shape, _ = images.header(file)
        if shape != tile.shape:
            msg = f"section {tile.id}: the mask {file} is {_size(shape)} px, the section {_size(tile.shape)}"
            raise InputError(msg)
        out.append(replace(tile, mask_path=file))
    return out
