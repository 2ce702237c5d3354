"""Sections as the alignment compares them: read by blocks, brightness evened out, reduced, kept.

Of a section only a block is in memory at a time, and what its finest compared level needs: a section may be larger than
memory. "No data" is a mask from here on: what lies there is never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demis_ij.align.grids import reduced
from demis_ij.config.aligning import AlignConfig
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images.evening import Evening, blocks_of
from demis_ij.images.opening import opened_section
from demis_ij.images.warping import Pixels
from demis_ij.records import Affine, Stack

Grey = NDArray[np.uint8]
BLOCK_PX = 1024
"""Side of the blocks that sections are read and evened out in."""

_WHOLE_PX = 1 << 23  # pixels of a section up to which its borders are looked for in every one


class Sections(Protocol):
    """Where sections come from; each is read when it is asked for."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Names."""
        ...

    @property
    def z(self) -> tuple[float, ...]:
        """Section numbers."""
        ...

    @property
    def to_world(self) -> tuple[Affine, ...]:
        """Where each is thought to lie."""
        ...

    def shape(self, index: int) -> tuple[int, int]:
        """Return (rows, cols); (0, 0) while unknown."""
        ...

    def opened(self, index: int) -> tuple[Pixels, Pixels]:
        """Return image and mask, to be sliced; slices may raise `InputError`, too, when they cannot be read."""
        ...


class StackSections:
    """The sections of a `Stack`, in their files.

    Of an OME-Zarr, an uncompressed TIFF and a large tiled one only what is asked for is read. Compressed TIFFs in
    strips, PNG, JPEG and the like can only be read whole.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ids = stack.ids
        self.z = stack.z
        self.to_world = tuple(t.to_world for t in stack)

    def shape(self, index: int) -> tuple[int, int]:
        """Return (rows, cols); (0, 0) while unknown."""
        return self.stack[index].shape

    def opened(self, index: int) -> tuple[Pixels, Pixels]:
        """Return image and mask. Raises `InputError` when it cannot be read."""
        return opened_section(self.stack[index], whole_px=_WHOLE_PX)


class ArraySections:
    """Sections that are in memory.

    Parameters
    ----------
    pictures : sequence of ndarray of shape (H, W)
        Grey values.
    masks : sequence of ndarray of shape (H, W), optional
        True where they are data; everywhere but on NaN when not given.

    Raises
    ------
    InputError
        When there are no images, or a mask has another size than its image.
    """

    def __init__(self, pictures: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]] | None = None) -> None:
        if len(pictures) == 0 or any(np.ndim(p) != 2 for p in pictures):
            msg = f"sections are 2-D images, found {[np.shape(p) for p in pictures][:3]}"
            raise InputError(msg)
        if masks is not None and [np.shape(m) for m in masks] != [np.shape(p) for p in pictures]:
            msg = "every section needs a mask of its own size, or none has one"
            raise InputError(msg)
        self._pictures, self._masks = pictures, masks
        self.ids = tuple(str(i) for i in range(len(pictures)))
        self.z = tuple(float(i) for i in range(len(pictures)))
        self.to_world = (Affine(),) * len(pictures)

    def shape(self, index: int) -> tuple[int, int]:
        """Return (rows, cols)."""
        rows, cols = np.shape(self._pictures[index])
        return rows, cols

    def opened(self, index: int) -> tuple[Pixels, Pixels]:
        """Return image and mask."""
        image = np.asarray(self._pictures[index])
        mask = np.isfinite(image) if self._masks is None else np.asarray(self._masks[index], bool) & np.isfinite(image)
        return image, mask


@dataclass(frozen=True)
class Looked:
    """What was seen of a section when it was read.

    Attributes
    ----------
    problem : str
        Why it cannot be compared; empty when it can.
    data_frac : float
        Share of its pixels that are data.
    shape : tuple of int
        (rows, cols); (0, 0) when it could not be read.
    """

    problem: str
    data_frac: float
    shape: tuple[int, int]


class Pyramid:
    """Every section at every level, as grey values and masks (0 or 255): in memory, or in files below ``folder``.

    Files are mapped, not read: of a large section only the blocks that are compared come into memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._kept: dict[tuple[int, int, str], Grey] = {}

    def room(self, index: int, level: int, shape: tuple[int, int]) -> tuple[Grey, Grey]:
        """Return (grey, mask) of a section at a level, to be filled in."""
        for kind in ("grey", "mask"):
            if self.folder is None:
                self._kept[index, level, kind] = np.empty(shape, np.uint8)
            else:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{index}-{level}-{kind}.npy"
                self._kept[index, level, kind] = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        return self.get(index, level)

    def get(self, index: int, level: int) -> tuple[Grey, Grey]:
        """Return (grey, mask) of a section at a level."""
        return self._kept[index, level, "grey"], self._kept[index, level, "mask"]

    def __contains__(self, key: tuple[int, int]) -> bool:
        return (*key, "grey") in self._kept

    def close(self) -> None:
        """Let go of everything and remove the files."""
        names = [(i, q, kind) for i, q, kind in self._kept]
        self._kept.clear()
        for index, level, kind in names:
            if self.folder is not None:
                (self.folder / f"{index}-{level}-{kind}.npy").unlink(missing_ok=True)
        if self.folder is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def prepare(
    sections: Sections, index: int, levels: Sequence[int], config: AlignConfig, window_px: float, pyramid: Pyramid
) -> Looked:
    """Read a section, even it out and keep it at all levels; or say why it cannot be compared.

    Parameters
    ----------
    sections : Sections
        Where it comes from.
    index : int
        Which.
    levels : sequence of int
        Reductions, each a power of two.
    config : AlignConfig
        How much data is enough.
    window_px : float
        Standard deviation of the window that is evened out.
    pyramid : Pyramid
        What it is kept in.
    """
    try:
        return _prepared(sections, index, sorted(levels), config, window_px, pyramid)
    except InputError as error:
        return Looked(f"missing: {error}", 0.0, sections.shape(index))


def _prepared(
    sections: Sections, index: int, levels: Sequence[int], config: AlignConfig, window_px: float, pyramid: Pyramid
) -> Looked:
    """Read a section twice: how bright it is, then its evened blocks. Raises `InputError` when that cannot be done."""
    image, mask = sections.opened(index)
    shape = (int(image.shape[0]), int(image.shape[1]))
    evening = Evening(shape, window_px)
    boxes = list(blocks_of(shape, max(BLOCK_PX, levels[0])))
    for box in boxes:
        evening.see(image[box.slices], mask[box.slices], box)
    data = evening.count / max(shape[0] * shape[1], 1)
    if data < config.min_data_frac or not evening.count:
        return Looked(f"mostly empty: {data:.0%} of its pixels are data", data, shape)
    if evening.low == evening.high:
        return Looked(f"blank: every pixel is {evening.low:g}", data, shape)
    target = pyramid.room(index, levels[0], _reduced_shape(shape, levels[0]))
    for box in boxes:
        known = mask[box.slices]
        grey = evening.evened(image[box.slices], known, box)
        _fill(target, box, grey, known.astype(np.uint8) * np.uint8(255), levels[0])
    for finer, level in pairwise(levels):
        source, target = target, pyramid.room(index, level, _reduced_shape(shape, level))
        for box in blocks_of(source[0].shape, BLOCK_PX * (level // finer)):
            _fill(target, box, source[0][box.slices], source[1][box.slices], level // finer)
    return Looked("", data, shape)


def _reduced_shape(shape: tuple[int, int], level: int) -> tuple[int, int]:
    return -(-shape[0] // level), -(-shape[1] // level)


def _fill(target: tuple[Grey, Grey], box: Box, grey: Grey, known: Grey, times: int) -> None:
    """Write the pixels of a box, reduced, to where they belong; the box stands on multiples of ``times``."""
    for _ in range(times.bit_length() - 1):
        grey, known = reduced(grey, known)
    y, x = box.y0 // times, box.x0 // times
    at = slice(y, y + grey.shape[0]), slice(x, x + grey.shape[1])
    target[0][at], target[1][at] = grey, known
