"""Sections as the alignment compares them: read once, brightness evened out, reduced, kept.

"No data" is a mask from here on: what lies there is never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import images
from demis_ij.align.grids import reduced
from demis_ij.config.aligning import AlignConfig
from demis_ij.errors import InputError
from demis_ij.records import Affine, Stack

Grey = NDArray[np.uint8]
_GREY, _CONTRAST = 128.0, 45.0  # what mean and standard deviation of a window become
_LEAST_CONTRAST = 1 / 85  # of the section's range: flatter than that is noise


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

    def read(self, index: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return image and mask. Raises `InputError` when it cannot be read."""
        ...


class StackSections:
    """The sections of a `Stack`, read from their files."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ids = stack.ids
        self.z = stack.z
        self.to_world = tuple(t.to_world for t in stack)

    def shape(self, index: int) -> tuple[int, int]:
        """Return (rows, cols); (0, 0) while unknown."""
        return self.stack[index].shape

    def read(self, index: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return image and mask. Raises `InputError` when it cannot be read."""
        return images.section(self.stack[index])


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

    def read(self, index: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return image and mask."""
        image = np.asarray(self._pictures[index])
        mask = np.isfinite(image) if self._masks is None else np.asarray(self._masks[index], bool) & np.isfinite(image)
        return image, mask


def evened(image: NDArray[Any], mask: NDArray[np.bool_], window_px: float) -> Grey:
    """Return an image whose mean and contrast are the same everywhere: 128 +- 45 in a Gaussian window of the data.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values.
    mask : ndarray of shape (H, W), bool
        Where they are data; the result is 128 elsewhere.
    window_px : float
        Standard deviation of the window.
    """
    known = mask.astype(np.float32)
    values = image[mask]
    if not values.size:
        return np.full(image.shape, int(_GREY), np.uint8)
    low, high = float(values.min()), float(values.max())
    grey = np.where(mask, (image.astype(np.float32) - low) / max(high - low, 1e-12), 0).astype(np.float32)

    def windowed(a: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(_blurred(a, window_px), np.float32)

    weight = windowed(known) + 1e-3
    mean = windowed(grey * known) / weight
    variance = windowed((grey - mean) ** 2 * known) / weight
    even = _GREY + _CONTRAST * (grey - mean) / np.sqrt(np.maximum(variance, _LEAST_CONTRAST**2))
    return np.where(mask, np.clip(np.rint(even), 0, 255), _GREY).astype(np.uint8)


def _blurred(a: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return a Gaussian blur; a wide one is done at reduced size, where it is the same and cheaper."""
    step = max(1, int(sigma / 6))
    if step == 1:
        return np.asarray(cv2.GaussianBlur(a, (0, 0), sigma))
    rows, cols = a.shape
    small = cv2.resize(a, (max(1, cols // step), max(1, rows // step)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(small, (cols, rows), interpolation=cv2.INTER_LINEAR))


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

    def put(self, index: int, level: int, grey: Grey, mask: Grey) -> None:
        """Keep a section at a level."""
        for kind, pixels in (("grey", grey), ("mask", mask)):
            if self.folder is None:
                self._kept[index, level, kind] = pixels
            else:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{index}-{level}-{kind}.npy"
                np.save(path, pixels)
                self._kept[index, level, kind] = np.load(path, mmap_mode="r")

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
        image, mask = sections.read(index)
    except InputError as error:
        return Looked(f"missing: {error}", 0.0, sections.shape(index))
    shape = (int(image.shape[0]), int(image.shape[1]))
    data = float(mask.mean())
    if data < config.min_data_frac:
        return Looked(f"mostly empty: {data:.0%} of its pixels are data", data, shape)
    values = image[mask]
    if values.min() == values.max():
        return Looked(f"blank: every pixel is {values[0]}", data, shape)
    grey, known = evened(image, mask, window_px), mask.astype(np.uint8) * np.uint8(255)
    level = 1
    for wanted in sorted(levels):
        while level < wanted:
            grey, known = reduced(grey, known)
            level *= 2
        pyramid.put(index, level, grey, known)
    return Looked("", data, shape)
