"""Sections of a folder of images, of a multi-page TIFF and of an OME-Zarr, as their names and headers say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd, isfinite, prod
from pathlib import Path

import numpy as np
import tifffile

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.grid import IMAGE_SUFFIXES, compile_pattern, natural_key, running_numbers
from demis_ij.images import pixel_size
from demis_ij.images.reading import translated
from demis_ij.images.zarr_planes import open_zarr
from demis_ij.records import Tile

MOST_MISSING_FRAC = 0.5
"""Names whose numbers would leave more than this share of the sections missing do not number sections."""


@dataclass(frozen=True)
class Found:
    """Sections as a file or folder names them, before anyone has looked at the images.

    Attributes
    ----------
    tiles : tuple of Tile
        In order.
    z : tuple of float
        Their numbers; none where nothing says them.
    placed : bool
        Whether ``to_world`` is said, not assumed.
    pixel_size, thickness : tuple of (float, str) or None
        As in `demis_ij.records.Stack`.
    notes : tuple of str
        What was noticed.
    """

    tiles: tuple[Tile, ...]
    z: tuple[float, ...] = ()
    placed: bool = False
    pixel_size: tuple[float, str] | None = None
    thickness: tuple[float, str] | None = None
    notes: tuple[str, ...] = ()


def section_numbers(values: Sequence[float]) -> tuple[float, ...] | None:
    """Return section numbers from rising heights that are whole multiples of one step; None where they are not.

    Every third slice of a series, or layers 10 px apart, are neighbours: the step is what all distances share.

    Examples
    --------
    >>> section_numbers([0, 10, 20, 40])
    (0.0, 1.0, 2.0, 4.0)
    >>> section_numbers([7, 8, 9])
    (7.0, 8.0, 9.0)
    """
    steps = np.diff(np.asarray(values, float))
    if not len(steps) or not (steps > 0).all():
        return None
    for parts in range(1, 5):  # steps of 20 and 30 share 10, a half of the smallest
        counts = np.rint(steps / steps.min() * parts)
        if np.abs(steps / steps.min() * parts - counts).max() < 1e-3:
            shared = reduce(gcd, [int(n) for n in counts])
            first = values[0] / (steps.min() / parts * shared)
            start = round(first) if abs(first - round(first)) < 1e-6 else 0
            return tuple(float(start + n) for n in np.concatenate([[0], np.cumsum(counts / shared)]))
    return None


# --- a folder ---------------------------------------------------------------------------------------------------------


def of_folder(path: Path, pattern: str | None) -> Found:
    """Return the images of a folder, not of its subfolders, in natural order of their names. Raises `InputError`."""
    try:
        entries = [p for p in path.iterdir() if not p.name.startswith(".")]
    except OSError as error:
        msg = f"{path}: a folder of sections was needed: {error.strerror}"
        raise InputError(msg) from error
    files = sorted((p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)
    numbers = running_numbers(files, whole=True)
    if pattern is not None:
        files, numbers = _fitting(path, files, pattern)
    if not files:
        msg = f"{path}: no image ({', '.join(IMAGE_SUFFIXES)}) is in it; a folder of sections was needed"
        raise InputError(msg)
    tiles = tuple(Tile(p.name, p, (0, 0)) for p in files)
    return Found(tiles, _believed(numbers), pixel_size=_size_of(files[0]))


def _fitting(path: Path, files: Sequence[Path], pattern: str) -> tuple[list[Path], list[int] | None]:
    """Return the files whose names fit a pattern, and the numbers that it names."""
    numbered = re.search(r"\{i+(?::0?\d*d?)?\}", pattern) is not None
    expression = compile_pattern(pattern) if numbered else re.compile(".*".join(map(re.escape, pattern.split("*"))))
    fitting = [(p, found) for p in files if (found := expression.fullmatch(p.name))]
    if not fitting:
        named = f"; the first one is {files[0].name!r}" if files else ""
        msg = f"{path}: no file name fits the pattern {pattern!r}{named}"
        raise InputError(msg)
    if not numbered:
        kept = [p for p, _ in fitting]
        return kept, running_numbers(kept, whole=True)
    fitting.sort(key=lambda pair: int(pair[1]["i"]))
    return [p for p, _ in fitting], [int(found["i"]) for _, found in fitting]


def _believed(numbers: Sequence[int] | None) -> tuple[float, ...]:
    """Return section numbers from those in file names, none where they rather number something else."""
    if numbers is None:
        return ()
    z = section_numbers(numbers)
    if z is None or (z[-1] - z[0] + 1) * (1 - MOST_MISSING_FRAC) > len(z):
        return ()
    return z


def _size_of(path: Path) -> tuple[float, str] | None:
    try:
        return pixel_size(path)
    except InputError:
        return None  # an image that cannot be read is told of where its header is looked at


# --- one file ---------------------------------------------------------------------------------------------------------


def of_tiff(path: Path, channel: int) -> Found:
    """Return the pages of a TIFF that are sections: of one channel, without thumbnails. Raises `InputError`."""
    found: Found = translated(path, lambda: _of_tiff(path, channel))
    return found


def _of_tiff(path: Path, channel: int) -> Found:
    with tifffile.TiffFile(path) as tiff:
        imagej = tiff.imagej_metadata or {}
        if len(tiff.series) == 1 and len(tiff.series[0].shape) > 2:
            axes = [a for a in tiff.series[0].axes if a not in "YXS"]
            lengths = [n for n, a in zip(tiff.series[0].shape, tiff.series[0].axes, strict=True) if a not in "YXS"]
            pages, notes = _chosen(path, axes, lengths, channel)
            indices = [_page_number(tiff, p) for p in pages]
        else:
            indices = [i for i, page in enumerate(tiff.pages) if not page.aspage().is_reduced]
            notes = ()
        size = pixel_size(path)
        spacing = imagej.get("spacing")
    thick = None
    if size is not None and isinstance(spacing, int | float) and isfinite(spacing) and spacing > 0:
        thick = (float(spacing), str(imagej.get("unit", "")).replace("\\u00B5", "µ"))
    width = len(str(max(len(indices) - 1, 1)))
    tiles = tuple(Tile(f"{path.name}:{i:0{width}d}", path, (0, 0), page=page) for i, page in enumerate(indices))
    return Found(tiles, pixel_size=size, thickness=thick, notes=notes)


def _page_number(tiff: tifffile.TiffFile, plane: int) -> int:
    """Return the number of the page that holds a plane of the first series; of ImageJ's large stacks, of the plane."""
    pages = tiff.series[0].pages
    page = pages[plane] if plane < len(pages) else None
    if page is None:
        return plane
    return int(np.ravel(page.index)[0])


def _chosen(path: Path, axes: Sequence[str], lengths: Sequence[int], channel: int) -> tuple[list[int], tuple[str, ...]]:
    """Return which planes are sections: one channel, all of the one other axis that is long."""
    notes: list[str] = []
    index: list[int | slice] = []
    along = [i for i, (a, n) in enumerate(zip(axes, lengths, strict=True)) if n > 1 and a.upper() != "C"]
    deep = [i for i in along if axes[i].upper() == "Z"] or along
    if len(deep) > 1 or len(along) > 1:
        found = " x ".join(f"{n} {axes[i]}" for i, n in enumerate(lengths))
        msg = f"{path}: holds {found} planes, a stack has one axis of sections: split it first"
        raise InputError(msg)
    for i, (axis, count) in enumerate(zip(axes, lengths, strict=True)):
        if i in deep:
            index.append(slice(None))
        elif axis.upper() == "C":
            if channel >= count:
                msg = f"{path}: channel {channel} was asked for, there are {count}, counted from 0"
                raise InputError(msg)
            index.append(channel)
            if count > 1:
                notes.append(f"{path.name}: {count} channels; channel {channel} (counted from 0) is read")
        else:
            index.append(0)
    numbers = np.arange(prod(lengths)).reshape(tuple(lengths))[tuple(index)]
    return [int(v) for v in np.atleast_1d(numbers)], tuple(notes)


def of_zarr(path: Path, channel: int) -> Found:
    """Return the planes of an OME-Zarr along z. Raises `FormatError` when it has no z axis."""
    image = open_zarr(path)
    if "z" not in image.axes:
        raise FormatError(path, f"a stack has a z axis, found {', '.join(image.axes)}")
    planes, notes = _chosen(path, image.axes[:-2], image.leading, channel)
    along = dict(zip(image.axes, zip(image.scale, image.units, strict=True), strict=True))
    size = along["x"] if along["x"][1] else None
    thick = along["z"] if along["z"][1] else None
    width = len(str(max(len(planes) - 1, 1)))
    tiles = tuple(Tile(f"z{i:0{width}d}", path, image.array.shape[-2:], page=p) for i, p in enumerate(planes))
    return Found(tiles, pixel_size=size, thickness=thick, notes=notes)
