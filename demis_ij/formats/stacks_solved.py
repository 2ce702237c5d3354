"""Sections of a layout with one image a section, and the mosaics of a run of ``stitch``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.files import heights, slug, z_of
from demis_ij.formats.stacks_files import Found, section_numbers
from demis_ij.records import Layout, Tile


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
    return Found(tiles, numbers, placed=True, pixel_size=size, thickness=thick, notes=document.warnings)


def _seen_tiles(layout: Layout) -> Layout:
    """Return a layout without hidden tiles, unless all are."""
    shown = tuple(t for t in layout if t.visible)
    return replace(layout, tiles=shown) if shown else layout


def of_run(path: Path) -> Found:
    """Return the mosaics of a run of ``stitch``, which lie on one canvas. Raises `InputError` where there are none."""
    solution = path / "solution.json"
    try:
        value = json.loads(solution.read_text(encoding="utf-8"))
        sections = list(dict.fromkeys(str(t["section"]) for t in value["tiles"].values()))
        size = value.get("pixel_size")
        pixel_size = (float(size[0]), str(size[1])) if size else None
    except OSError as error:
        raise FormatError(solution, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise FormatError(solution, f"is no solution: {error!r}") from error
    if len(sections) < 2:
        msg = f"{path}: the run has one section, a stack needs two at least: stitch the sections in one run"
        raise InputError(msg)
    pictures = [_mosaic(path, name) for name in sections]
    missing = [name for name, file in zip(sections, pictures, strict=True) if file is None]
    if missing:
        msg = (
            f"{path}: {len(missing)} of {len(sections)} sections have no mosaic (first: {missing[0]}); draw them with"
            f" 'demis-ij render {solution} --mosaic ome-tiff --out FOLDER', or stitch with --mosaic ome-tiff"
        )
        raise InputError(msg)
    heights_of = [z_of(name) for name in sections]
    known = [z for z in heights_of if z is not None]
    order = sorted(range(len(sections)), key=lambda i: known[i]) if len(known) == len(sections) else None
    rows = order if order is not None and len(set(known)) == len(known) else range(len(sections))
    tiles = tuple(
        Tile(sections[i], picture, (0, 0), section=sections[i]) for i in rows if (picture := pictures[i]) is not None
    )
    z = section_numbers([known[i] for i in rows]) if rows is order else None
    return Found(tiles, z or (), placed=True, pixel_size=pixel_size)


def _mosaic(path: Path, section: str) -> Path | None:
    """Return the mosaic of a section, the first kind that is there."""
    names = (f"mosaic_{slug(section)}{suffix}" for suffix in (".ome.tif", ".ome.zarr", ".tif"))
    return next((path / name for name in names if (path / name).exists()), None)
