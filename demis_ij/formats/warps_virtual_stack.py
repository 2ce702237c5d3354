"""Warps as register_virtual_stack_slices keeps them: a folder with one XML of coordinate transforms an image.

*Plugins > Transform > Transform Virtual Stack Slices* applies them: it pairs images and files by the order of their
names, takes each line that has ``class=`` and ``data=``, and leads from image pixel to world, pixel centres at
integers. Its output is the box that holds all sections, not our canvas; it draws with a mesh of 32 columns.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from demis_ij import fields
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.files import read_raw, read_text, slug, write_new
from demis_ij.formats.trakem2_ct import CoordinateTransform, UnknownTransformError, nearest_affine, parse_transforms
from demis_ij.formats.warps import StackWarps
from demis_ij.formats.warps_pushed import inverted
from demis_ij.formats.warps_trakem2 import said, transform_of
from demis_ij.records import Field, Stack, Tile, Warp

MESH_COLUMNS = 32
"""Of the mesh that the plug-in draws with."""

_ENTRY = re.compile(r'class\s*=\s*"([^"]*)"\s+data\s*=\s*"([^"]*)"')
_MISSED_PX = 0.05
_BEYOND = 2.0  # strides outside the image from which on nothing is known


def file_names(stack: Stack) -> tuple[str, ...]:
    """Return the name of each section's file: the image's with ``.xml``, the section's id where images are pages."""
    stems = [t.path.stem for t in stack]
    if len(set(stems)) < len(stems):
        stems = [slug(t.id) for t in stack]
    return tuple(f"{stem}.xml" for stem in stems)


def write_transforms(
    folder: Path, stack: Stack, warps: StackWarps, *, most_intervals: int = 64, overwrite: bool = False
) -> tuple[str, ...]:
    """Write one XML a section into a folder, and return what there is to say.

    Parameters
    ----------
    folder : Path
        Made when it is not there.
    stack : Stack
        The images.
    warps : StackWarps
        One a section.
    most_intervals : int
        Of the splines.
    overwrite : bool
        Replace existing files; otherwise they are refused.

    Raises
    ------
    InputError
        When there are not as many warps as sections, or a file exists or cannot be written.
    """
    folder = Path(folder)
    if len(stack) != len(warps):
        msg = f"{len(warps)} warp(s) for {len(stack)} sections: one for each was needed"
        raise InputError(msg)
    found = []
    for name, tile, warp in zip(file_names(stack), stack, warps.warps, strict=True):
        (kind, data), departs = transform_of(warp, tile.shape, most_intervals=most_intervals, columns=MESH_COLUMNS)
        text = f'<ict_transform class="{kind}" data="{data}"/>\n'
        write_new(folder / name, text.encode("ascii"), overwrite=overwrite)
        found.append(departs)
    return said(folder.name, found)


def read_transforms(
    folder: Path,
    stack: Stack,
    shape: tuple[int, int],
    *,
    origin_xy: tuple[float, float] = (0.0, 0.0),
    stride: float = 8.0,
) -> StackWarps:
    """Return the warps of a folder of XML files, also of those that the plug-in itself has written.

    Parameters
    ----------
    folder : Path
        One ``.xml`` a section: of the image's name, or as many as there are sections, in the order of their names.
    stack : Stack
        The images.
    shape, origin_xy : tuples
        (rows, cols) of the output canvas, and where its pixel (0, 0) lies in the world of the transforms.
    stride : float
        Of the fields, px.

    Raises
    ------
    FormatError
        When a file is missing, or is none.
    """
    folder = Path(folder)
    files = [folder / name for name in file_names(stack)]
    if not all(f.is_file() for f in files):
        files = sorted(folder.glob("*.xml"))
    if len(files) != len(stack):
        raise FormatError(folder, f"{len(files)} transform file(s) for {len(stack)} sections: one for each was needed")
    warps = []
    for file, tile in zip(files, stack, strict=True):
        field = pulled(_transform(file), tile, shape, origin_xy, stride)
        warps.append(Warp((field,), shape, origin_xy))
    return StackWarps(tuple(warps), stack.ids, stack.z)


def _transform(path: Path) -> CoordinateTransform:
    """Return the transforms of a file, line by line as the plug-in reads them. Raises `FormatError`."""
    lines = read_text(path, read_raw(path)).lines
    specs = [(found[1], found[2]) for line in lines if (found := _ENTRY.search(line))]
    if not specs:
        raise FormatError(path, 'holds no transform: a line with class="..." data="..." was needed')
    try:
        return parse_transforms(specs)
    except (UnknownTransformError, ValueError) as error:
        raise FormatError(path, str(error)) from error


def pulled(
    transform: CoordinateTransform, tile: Tile, shape: tuple[int, int], origin_xy: tuple[float, float], stride: float
) -> Field:
    """Return the pull map of a transform over a canvas: unknown where no pixel of the image comes from nearby."""
    near, _ = nearest_affine(transform, tile.shape)
    at = fields.nodes(fields.grid_of(shape, stride), stride)
    found, missed = inverted(transform, at.reshape(-1, 2) + np.array(origin_xy), near)
    low, high = -_BEYOND * stride, np.array(tile.shape[::-1]) - 1 + _BEYOND * stride
    known = (missed < _MISSED_PX) & (found >= low).all(axis=1) & (found <= high).all(axis=1)
    found[~known] = np.nan
    return Field(np.moveaxis(found.reshape(at.shape) - at, -1, 0).astype(np.float32), stride)
