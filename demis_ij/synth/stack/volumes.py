"""Aligned volumes with labels: made up, from arrays, or from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij import images
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.grid import list_images
from demis_ij.formats.stacks import read_stack
from demis_ij.records import Stack
from demis_ij.synth.series import Series, series

Labels = NDArray[np.int32]


class LabelledVolume(Protocol):
    """Aligned sections of one size: ``volume[k]`` is (grey values of 0 to 255, labels)."""

    def __len__(self) -> int:
        """Return how many sections there are."""
        ...

    def __getitem__(self, number: int) -> tuple[NDArray[Any], Labels]:
        """Return image (H, W) and label (H, W) of a section; label 0 is no object."""
        ...


class ArrayVolume:
    """A volume in memory.

    Parameters
    ----------
    pictures : sequence of ndarray of shape (H, W)
        Grey values of 0 to 255.
    labels : sequence of ndarray of shape (H, W), int
        Which object owns each pixel; 0 is none.

    Raises
    ------
    InputError
        When there is no section, or they are not all of one size.
    """

    def __init__(self, pictures: Sequence[NDArray[Any]], labels: Sequence[NDArray[Any]]) -> None:
        sizes = {np.shape(a) for a in (*pictures, *labels)}
        if not len(pictures) or len(pictures) != len(labels) or len(sizes) != 1 or len(next(iter(sizes))) != 2:
            found = ", ".join(sorted("x".join(map(str, s)) for s in sizes)) or "none"
            msg = f"as many images as labels, of one size, were needed: {len(pictures)} and {len(labels)}, {found}"
            raise InputError(msg)
        self._pictures, self._labels = pictures, labels

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, number: int) -> tuple[NDArray[Any], Labels]:
        return np.asarray(self._pictures[number]), _checked(self._labels[number], "the labels")


class MadeUpVolume:
    """A series of made-up tissue as a volume. Section k does not depend on how many there are."""

    def __init__(self, made: Series) -> None:
        self._made = made

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, number: int) -> tuple[NDArray[Any], Labels]:
        section = self._made[number]
        return section.image, section.label


class FileVolume:
    """A volume on disk, read section by section."""

    def __init__(self, stack: Stack, label_files: Sequence[tuple[Path, int]]) -> None:
        self._stack, self._files = stack, tuple(label_files)

    def __len__(self) -> int:
        return len(self._stack)

    def __getitem__(self, number: int) -> tuple[NDArray[Any], Labels]:
        image, _ = images.section(self._stack[number])
        path, page = self._files[number]
        label = read_label(path, page)
        if label.shape != image.shape or image.shape != self._stack[0].shape:
            sizes = [f"{s[1]}x{s[0]}" for s in (image.shape, label.shape, self._stack[0].shape)]
            msg = f"{path}: image, label and first section are {', '.join(sizes)} px, they must have one size"
            raise InputError(msg)
        return _of_255(image), label


def made_up(side_px: int, count: int, seed: int, *, style: str = "tem", step_px: float | None = None) -> MadeUpVolume:
    """Return a volume of made-up tissue. Raises `InputError` when an argument cannot be used."""
    return MadeUpVolume(series((side_px, side_px), count, seed, style=style, step_px=step_px))


def read_volume(
    pictures: Path, labels: Path | None = None, *, every: int = 1, start: int = 0, count: int = 0
) -> LabelledVolume:
    """Return an aligned, labelled volume from files.

    Parameters
    ----------
    pictures : Path
        Anything that `demis_ij.formats.stacks.read_stack` reads, or a ``.npz`` with ``images`` and ``labels``.
    labels : Path
        A folder of label images, as many as sections, in natural order, or a multi-page TIFF; not needed for ``.npz``.
    every, start, count : int
        Every n-th section from one on, and how many (0: all there are).

    Raises
    ------
    InputError
        When images and labels do not belong to each other, or too few sections are there.
    """
    if pictures.suffix.lower() == ".npz":
        return _of_npz(pictures, every, start, count)
    if labels is None:
        msg = f"{pictures}: its labels were needed, too: a folder of label images, or a multi-page TIFF"
        raise InputError(msg)
    stack, files = read_stack(pictures), _label_files(labels)
    if len(files) != len(stack):
        msg = f"{labels}: {len(files)} label image(s) for {len(stack)} sections of {pictures}: as many were needed"
        raise InputError(msg)
    chosen = _chosen(len(stack), every, start, count, pictures)
    return FileVolume(Stack(tuple(stack[k] for k in chosen)), [files[k] for k in chosen])


def _chosen(found: int, every: int, start: int, count: int, path: Path) -> range:
    if every < 1 or start < 0 or count < 0:
        msg = f"every {every}, start {start}, count {count}: a step of 1 or more, from 0 or later, were needed"
        raise InputError(msg)
    all_of_them = range(start, found, every)
    if len(all_of_them) < max(count, 2):
        msg = f"{path}: {len(all_of_them)} section(s) from {start} on, every {every}, {max(count, 2)} were needed"
        raise InputError(msg)
    return all_of_them[: count or None]


def _of_npz(path: Path, every: int, start: int, count: int) -> ArrayVolume:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise FormatError(path, f"cannot be read as .npz: {error}") from error
    missing = [name for name in ("images", "labels") if name not in held]
    if missing:
        raise FormatError(path, f"{' and '.join(missing)} missing: arrays (sections, rows, cols) were needed")
    chosen = _chosen(len(held["images"]), every, start, count, path)
    pictures = [_of_255(held["images"][k]) for k in chosen]
    return ArrayVolume(pictures, [held["labels"][k] for k in chosen])


def _label_files(path: Path) -> list[tuple[Path, int]]:
    if path.is_dir():
        return [(p, 0) for p in list_images(path)]
    try:
        with tifffile.TiffFile(path) as tiff:
            return [(path, k) for k in range(len(tiff.pages))]
    except (OSError, tifffile.TiffFileError) as error:
        raise FormatError(path, f"a folder of label images or a multi-page TIFF was needed: {error}") from error


def read_label(path: Path, page: int = 0) -> Labels:
    """Return a label image, of any whole numbers below 2**31. Raises `FormatError`."""
    if path.suffix.lower() in (".tif", ".tiff"):
        try:
            return _checked(tifffile.imread(path, key=page), str(path))
        except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
            raise FormatError(path, f"cannot be read: {error}") from error
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise FormatError(path, "cannot be read as an image")
    return _checked(found, str(path))


def _checked(label: NDArray[Any], name: str) -> Labels:
    if label.ndim != 2 or label.dtype.kind not in "iu" or int(label.max(initial=0)) >= 2**31:
        msg = f"{name}: labels are whole numbers below 2**31, one a pixel; found {label.dtype} of shape {label.shape}"
        raise InputError(msg)
    return label.astype(np.int32)


def _of_255(image: NDArray[Any]) -> NDArray[Any]:
    """Return grey values of 0 to 255: those of 8 bits as they are, others stretched."""
    if image.dtype == np.uint8:
        return image
    low, high = np.nanmin(image), np.nanmax(image)
    stretched = (image.astype(np.float32) - low) * np.float32(255 / max(float(high - low), 1e-12))
    return np.asarray(np.nan_to_num(stretched, nan=0.0), np.float32)
