"""A new TrakEM2 project from any layout: the header that TrakEM2's line-based parser accepts, layers and patches."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import tifffile

from demis_ij import images
from demis_ij.errors import InputError
from demis_ij.formats.files import heights, relative_or_absolute
from demis_ij.formats.lenses import MESH_COLUMNS, deformed_box, lens_spec
from demis_ij.formats.trakem2_bytes import escape
from demis_ij.formats.trakem2_ct import Spec
from demis_ij.formats.trakem2_matrix import format_matrix, to_corner_frame
from demis_ij.records import Affine, Layout, Tile

ENCODING = "iso-8859-1"
GRAY8, GRAY16, GRAY32, RGB = 0, 1, 2, 4
COLOURS = {tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR, tifffile.PHOTOMETRIC.PALETTE}

HEADER = """\
<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE trakem2_anything [
\t<!ELEMENT trakem2 (project,t2_layer_set,t2_display)>
\t<!ELEMENT project (anything)>
\t<!ELEMENT anything EMPTY>
] >

<trakem2>
"""
PROJECT = """\
\t<project
\t\tid="0"
\t\ttitle="{title}"
\t\tunuid="{unuid}"
\t\tmipmaps_folder="trakem2.{unuid}/trakem2.mipmaps/"
\t\tstorage_folder=""
\t\tmipmaps_format="4"
\t\timage_resizing_mode="Area downsampling"
\t>
\t\t<anything id="2" expanded="true"/>
\t</project>
\t<t2_layer_set oid="3" width="20.0" height="20.0" transform="matrix(1.0,0.0,0.0,1.0,0.0,0.0)" title="Top Level" \
links=""
\t\tlayer_width="{width!r}" layer_height="{height!r}" rot_x="0.0" rot_y="0.0" rot_z="0.0"
\t\tsnapshots_quality="true" snapshots_mode="Full" color_cues="true" area_color_cues="true" \
avoid_color_cue_colors="false"
\t\tn_layers_color_cue="0" paint_arrows="true" paint_tags="true" paint_edge_confidence_boxes="true" prepaint="false" \
preload_ahead="0"
\t>
\t\t<t2_calibration pixelWidth="{pixel!r}" pixelHeight="{pixel!r}" pixelDepth="1.0" xOrigin="0.0" yOrigin="0.0" \
zOrigin="0.0" info="null" valueUnit="Gray Value" timeUnit="sec" unit="{unit}"/>
"""
LAYER = '\t\t<t2_layer oid="{oid}"\n\t\t\t thickness="{thickness!r}"\n\t\t\t z="{z!r}"\n\t\t\t title=""\n\t\t>\n'
PATCH = """\
\t\t\t<t2_patch oid="{oid}" width="{box_width}.0" height="{box_height}.0" transform="{transform}"{flags} \
title="{title}" links="" type="{type}"
\t\t\t\tfile_path="{path}" style="fill-opacity:1.0;stroke:#ffff00;" o_width="{width}" o_height="{height}" \
min="{low!r}" max="{high!r}" mres="{columns}">
{deformed}\t\t\t</t2_patch>
"""
TRANSFORM = '\t\t\t\t\t<ict_transform class="{name}" data="{data}"/>\n'
TRANSFORMS = "\t\t\t\t<ict_transform_list>\n{entries}\t\t\t\t</ict_transform_list>\n"
FOOTER = "\t</t2_layer_set>\n</trakem2>\n"


@dataclass(frozen=True)
class Deformed:
    """What TrakEM2 does to an image before its matrix.

    Attributes
    ----------
    specs : tuple of (str, str)
        Class and data of each coordinate transform, the first one first.
    columns : int
        Columns of the mesh that it is drawn with (``mres``).
    size : tuple of int
        (width, height) of the transformed image's box.
    """

    specs: tuple[Spec, ...]
    columns: int
    size: tuple[int, int]


def project_xml(
    path: Path,
    layouts: Sequence[Layout],
    *,
    deformed: Mapping[str, Deformed] | None = None,
    shape: tuple[int, int] | None = None,
) -> bytes:
    """Return a whole new project as ISO-8859-1 bytes.

    ``deformed`` holds the coordinate transforms of tiles, by id; the ``to_world`` of such a tile leads from its box.
    ``shape`` is (rows, cols) of the project's canvas, which ends behind the last tile when not given.

    Tiles keep their ids as oids where all of them are numbers above the ones the project itself needs; else they are
    numbered. A tile whose size neither the layout nor its image tells gets the size of the others, if they agree.

    Raises
    ------
    InputError
        When the size of a tile is unknown and cannot be taken from its image.
    """
    layouts = [layout for layout in layouts if len(layout)]
    layouts = [_with_known_shapes(layout) for layout in layouts]
    oids = _oids(layouts)
    bounds = np.array([layout.bounds() for layout in layouts])
    pixel, unit = next((layout.pixel_size for layout in layouts if layout.pixel_size), (1.0, "pixel"))
    unuid = f"{time.time_ns() // 1_000_000}.{secrets.randbelow(2**31)}.{secrets.randbelow(2**31)}"
    size = np.ceil(np.maximum(bounds.max(0)[2:], 1)) if shape is None else np.array(shape[::-1])
    parts = [HEADER.encode(ENCODING)]
    project = PROJECT.format(
        title=_text(path.name.split(".xml")[0]),
        unuid=unuid,
        width=float(size[0]),
        height=float(size[1]),
        pixel=float(pixel),
        unit=_text(unit),
    )
    parts.append(project.encode(ENCODING))
    z = heights(layouts)
    for i, layout in enumerate(layouts):
        parts.append(_layer_head(z, i).encode(ENCODING))
        looks = _Looks(layout)
        for tile in layout:
            kind, low, high = looks.of(tile)
            from_box, bent = _bent(tile, (deformed or {}).get(tile.id))
            text = PATCH.format(
                oid=oids[layout.section, tile.id],
                box_width=bent.size[0],
                box_height=bent.size[1],
                columns=bent.columns,
                deformed=_transforms(bent.specs),
                width=tile.shape[1],
                height=tile.shape[0],
                transform=format_matrix(to_corner_frame(from_box)),
                flags=(' locked="true"' if tile.locked else "") + ("" if tile.visible else ' visible="false"'),
                title=_text(tile.path.name.replace('"', "^#^")),
                type=kind,
                path=_text(_file_path(tile, path.parent)),
                low=low,
                high=high,
            )
            parts.append(text.encode(ENCODING))
        parts.append(b"\t\t</t2_layer>\n")
    parts.append(FOOTER.encode(ENCODING))
    return b"".join(parts)


def _bent(tile: Tile, known: Deformed | None) -> tuple[Affine, Deformed]:
    """Return px of a tile's box to world px, and what is done to its image before."""
    if known is not None:
        return tile.to_world, known
    if tile.lens is None:
        return tile.to_world, Deformed((), MESH_COLUMNS, tile.shape[::-1])
    x, y, width, height = deformed_box(tile.lens, tile.shape)
    return tile.to_world @ Affine.translation(x, y), Deformed(
        (lens_spec(tile.lens, tile.shape),), MESH_COLUMNS, (width, height)
    )


def _transforms(specs: Sequence[Spec]) -> str:
    entries = "".join(TRANSFORM.format(name=_text(name), data=_text(data)) for name, data in specs)
    return TRANSFORMS.format(entries=entries) if specs else ""


def _layer_head(z: Sequence[float], index: int) -> str:
    others = sorted(v for v in z if v > z[index])
    thickness = others[0] - z[index] if others else 1.0
    return LAYER.format(oid=4 + index, thickness=thickness, z=z[index])


def _text(text: str) -> str:
    return escape(text, ENCODING).decode(ENCODING)


def _file_path(tile: Tile, folder: Path) -> str:
    """Return the path as seen from the project where the image lies below it, else the absolute one."""
    absolute = tile.path.absolute()
    inside = absolute.is_relative_to(folder.absolute())
    name = relative_or_absolute(tile.path, folder) if inside else absolute.as_posix()
    return name if tile.page is None else f"{name}-----#slice={tile.page + 1}"


def _oids(layouts: Sequence[Layout]) -> dict[tuple[str, str], int]:
    """Return an oid for each (section, tile id): the id itself where all are fit, else running numbers."""
    keys = [(layout.section, tile.id) for layout in layouts for tile in layout]
    first = 4 + len(layouts)
    ids = [tile_id for _, tile_id in keys]
    fit = all(i.isascii() and i.isdecimal() and str(int(i)) == i and first <= int(i) < 2**62 for i in ids)
    if fit and len(set(ids)) == len(ids):
        return {key: int(key[1]) for key in keys}
    return {key: first + i for i, key in enumerate(keys)}


def _with_known_shapes(layout: Layout) -> Layout:
    """Return the layout with sizes from the image headers where the tiles have none."""
    if all(0 not in tile.shape for tile in layout):
        return layout
    looked_up, _, _ = images.with_shapes(layout)
    layout = replace(layout, tiles=tuple(b if 0 in a.shape else a for a, b in zip(layout, looked_up, strict=True)))
    known = {tile.shape for tile in layout if 0 not in tile.shape}
    unknown = [tile for tile in layout if 0 in tile.shape]
    if not unknown:
        return layout
    if len(known) != 1:
        msg = (
            f"tile {unknown[0].id!r} ({unknown[0].path}): its size is unknown and its image cannot be read, a TrakEM2"
            f" project needs it ({len(unknown)} such tile(s); the others have {len(known)} different sizes)"
        )
        raise InputError(msg)
    shape = known.pop()
    return replace(layout, tiles=tuple(replace(t, shape=shape) if 0 in t.shape else t for t in layout))


class _Looks:
    """ImagePlus type and display range of tiles; 16 bit and float tiles of a layout share the range of one of them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.ranges: dict[int, tuple[float, float]] = {}

    def of(self, tile: Tile) -> tuple[int, float, float]:
        """Return (type, min, max); 8 bit where the image cannot be read."""
        try:
            _, dtype = images.header(tile.path, tile.page)
        except InputError:
            return GRAY8, 0.0, 255.0
        if dtype == np.uint8:
            return (RGB if is_colour(tile.path) else GRAY8), 0.0, 255.0
        kind = GRAY16 if dtype == np.uint16 else GRAY32
        if kind not in self.ranges:
            self.ranges[kind] = _display_range(tile)
        return kind, *self.ranges[kind]


def _display_range(tile: Tile) -> tuple[float, float]:
    """Return the 0.1 and 99.9 percentiles of an image's finite values."""
    try:
        values = images.read(tile.path, tile.page)[::4, ::4]
    except InputError:
        return 0.0, 65535.0
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 65535.0
    low, high = np.percentile(values, (0.1, 99.9))
    return float(low), float(max(high, low + 1e-6))


def is_colour(path: Path) -> bool:
    """Return whether an 8-bit image has colour samples, by its header where that is cheap."""
    with path.open("rb") as file:
        head = file.read(26)
    if head.startswith(b"\x89PNG"):
        return head[25] in {2, 3, 6}
    if head[:2] in {b"II", b"MM"}:
        with tifffile.TiffFile(path) as tiff:
            return tiff.pages.first.photometric in COLOURS
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_REDUCED_COLOR_8)
    return found is not None and found.ndim == 3
