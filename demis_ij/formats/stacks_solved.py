"""Sections of a layout with one image a section, and the mosaics of a run of ``stitch``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demis_ij import formats, images
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.files import heights, slug, z_of
from demis_ij.formats.lenses import lens_losses
from demis_ij.formats.solutions import SolutionFile
from demis_ij.formats.stacks_files import Found, section_numbers
from demis_ij.records import Affine, Layout, Points, Tile


def of_layout(path: Path, relink: Path | None) -> Found:
    """Return the images of a layout that has one a section. Raises `InputError` where a section has several."""
    document = formats.read(path, relink=relink)
    layouts = [_seen_tiles(layout) for layout in document.layouts]
    several = [layout for layout in layouts if len(layout) > 1]
    if several:
        msg = (
            f"{path}: section {several[0].section} has {len(several[0])} tiles ({len(several)} of {len(layouts)}"
            " sections have several), one image a section was needed: stitch it first, then align the run folder"
        )
        raise InputError(msg)
    rising = sorted(zip(heights(layouts), layouts, strict=True), key=lambda pair: pair[0])
    z = [height for height, _ in rising]
    numbers = section_numbers(z) or ()
    size = next((layout.pixel_size for layout in layouts if layout.pixel_size), None)
    step = (z[1] - z[0]) / (numbers[1] - numbers[0]) if numbers else 1.0
    thick = (step * size[0], size[1]) if size and document.format == "trakem2" else None
    tiles = tuple(replace(layout.tiles[0], section=layout.section) for _, layout in rising)
    names = [t.id for t in tiles]
    if len(set(names)) < len(names):
        tiles = tuple(replace(t, id=f"{t.section}/{t.id}") for t in tiles)
    notes = (*document.warnings, *(f"the stack leaves out {lost}" for lost in lens_losses(layouts)))
    tiles = tuple(replace(t, lens=None) for t in tiles)
    return Found(tiles, numbers, placed=True, pixel_size=size, thickness=thick, notes=notes)


def _seen_tiles(layout: Layout) -> Layout:
    """Return a layout without hidden tiles, unless all are."""
    shown = tuple(t for t in layout if t.visible)
    return replace(layout, tiles=shown) if shown else layout


def of_run(path: Path) -> Found:
    """Return the mosaics of a run of ``stitch``, which lie on one canvas, with masks of what their tiles cover.

    The masks are drawn once, into ``.masks`` in the run folder: a mosaic's ragged border is 0, and 0 is a grey.

    Raises
    ------
    InputError
        When the run has one section, or sections without a mosaic.
    FormatError
        When ``solution.json`` cannot be read.
    """
    solution = path / "solution.json"
    sections, pixel_size = _solved_sections(solution)
    if len(sections) < 2:
        msg = f"{path}: the run has one section, a stack needs two at least: stitch the sections in one run"
        raise InputError(msg)
    pictures = {name: found for name in sections if (found := _mosaic(path, name)) is not None}
    missing = [name for name in sections if name not in pictures]
    if missing:
        msg = (
            f"{path}: {len(missing)} of {len(sections)} sections have no mosaic (first: {missing[0]}); draw them by"
            " running the same 'demis-ij stitch' command with --mosaic ome-tiff"
        )
        raise InputError(msg)
    tiles = [Tile(name, pictures[name], (0, 0), section=name) for name in _rising(sections)]
    z = [z_of(tile.id) for tile in tiles]
    numbers = section_numbers([v for v in z if v is not None]) if None not in z else None
    notes: list[str] = []
    try:
        tiles = [_covered(tile, sections[tile.id], path / ".masks", solution) for tile in tiles]
    except OSError as error:
        notes.append(f"{path}: masks of the mosaics cannot be kept there ({error.strerror or error}); where a mosaic's"
                     " border is ragged its black may be taken for tissue")  # fmt: skip
    return Found(tuple(tiles), numbers or (), placed=True, pixel_size=pixel_size, notes=tuple(notes))


def _solved_sections(solution: Path) -> tuple[dict[str, list[Points]], tuple[float, str] | None]:
    """Return the outlines (4, 2) of the tiles of each section, mosaic px, in order of the file, and the pixel size."""
    found = SolutionFile(solution)
    try:
        return {s.name: [_outline(tile) for tile in s.tiles.values()] for s in found}, found.pixel_size
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FormatError(solution, f"is no solution: {error!r}") from error


def _outline(tile: Mapping[str, Any]) -> Points:
    rows, cols = (int(n) - 1 for n in tile["shape"])
    corners = np.array([[0, 0], [cols, 0], [cols, rows], [0, rows]], np.float64)
    return Affine.from_matrix(tile["to_world"])(corners)


def _rising(sections: Iterable[str]) -> list[str]:
    """Return section names by the heights that they say, as they come where one says none or two say the same."""
    names = list(sections)
    heights_of = {name: z for name in names if (z := z_of(name)) is not None}
    if len(heights_of) < len(names) or len(set(heights_of.values())) < len(names):
        return names
    return sorted(names, key=lambda name: heights_of[name])


def _mosaic(path: Path, section: str) -> Path | None:
    """Return the mosaic of a section, the first kind that is there."""
    names = (f"mosaic_{slug(section)}{suffix}" for suffix in (".ome.tif", ".ome.zarr", ".tif"))
    return next((path / name for name in names if (path / name).exists()), None)


def _covered(tile: Tile, outlines: Sequence[Points], folder: Path, solution: Path) -> Tile:
    """Return a mosaic with a mask of what its tiles cover, drawn when it is not there. Raises `OSError`."""
    file = folder / f"{slug(tile.id)}.png"
    if file.is_file() and file.stat().st_mtime >= solution.stat().st_mtime:
        return replace(tile, mask_path=file)
    shape, _ = images.header(tile.path, tile.page)
    mask = np.zeros(shape, np.uint8)
    for outline in outlines:
        cv2.fillConvexPoly(mask, np.rint(outline * 16).astype(np.int32), 255, shift=4)
    mask = np.asarray(cv2.erode(mask, np.ones((3, 3), np.uint8)), np.uint8)  # the rim is covered in part
    folder.mkdir(exist_ok=True)
    part = folder / f".{file.name}.part"
    part.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    part.replace(file)
    return replace(tile, mask_path=file)
