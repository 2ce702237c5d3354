"""The images that grids are cut from: found in folders or made up, looked over once, read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import images
from demis_ij.errors import InputError

SUFFIXES = frozenset(
    {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".jp2", ".bmp", ".pgm", ".pnm", ".ppm", ".pbm", ".webp"}
)
NO_SOURCES = ("mask", "seg", "label")
"""An image with one of these in its name is a drawing on an image, as in `demis_ij.train.sources`."""


@dataclass(frozen=True)
class Source:
    """An image that can be cut.

    Attributes
    ----------
    path : Path
    name : str
        The folder's name as given and the path in it, with forward slashes (the whole path where two would be named
        the same); of a made-up section one without a slash. Names differ.
    shape : tuple of int
        (rows, cols).
    sha256 : str
        Of the file.
    pixels_sha256 : str
        Of what was read from it: the same for one image in two formats.
    key : str
        64 hexadecimal digits; all that is random about it comes from these and the seed. The file's digest, or for a
        made-up section that of its number.
    """

    path: Path
    name: str
    shape: tuple[int, int]
    sha256: str
    pixels_sha256: str
    key: str

    @property
    def folder(self) -> str:
        """The name of the folder it lies in; nothing for a made-up section."""
        return self.name.rpartition("/")[0]


def find_images(folders: Sequence[Path], *, leave_out: Path) -> list[tuple[Path, str]]:
    """Return (path, name) of every image in folders and their sub-folders, in order of the folders and names.

    An image named by itself is taken whatever its name. Images below ``leave_out``, those whose names hold ``mask``,
    ``seg`` or ``label``, hidden ones and those found before are left out.

    Raises
    ------
    InputError
        When a folder does not exist.
    """
    out: dict[Path, tuple[Path, str]] = {}
    names: set[str] = set()

    def take(path: Path, name: str) -> None:
        real = path.resolve()
        if real not in out:
            out[real] = (path, real.as_posix() if name in names else name)
            names.add(name)

    for given in folders:
        if given.is_file():
            take(given, f"{given.resolve().parent.name}/{given.name}")
            continue
        if not given.is_dir():
            msg = f"{given}: no such folder or image"
            raise InputError(msg)
        for path in sorted(given.rglob("*"), key=lambda p: p.relative_to(given).as_posix()):
            if _is_source(path, given) and not path.resolve().is_relative_to(leave_out.resolve()):
                take(path, f"{given.resolve().name}/{path.relative_to(given).as_posix()}")
    return list(out.values())


def _is_source(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    drawn = any(word in path.name.lower() for word in NO_SOURCES)
    return path.suffix.lower() in SUFFIXES and not hidden and not drawn and path.is_file()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise InputError(msg) from error


def pixels_digest(image: NDArray[Any]) -> str:
    """Return the SHA-256 of an image's shape, type and pixels, the same on every machine."""
    little = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    head = f"{image.shape} {image.dtype.kind}{image.dtype.itemsize} ".encode()
    digest = hashlib.sha256(head)
    digest.update(little.data)
    return digest.hexdigest()


def read_grey(path: Path) -> tuple[NDArray[Any], str]:
    """Return an image in grey levels of 255, and its `pixels_digest`.

    8-bit images stay as they are. Others are stretched: their percentiles 0.1 and 99.9 become 0 and 255 (float32).

    Raises
    ------
    InputError
        When it cannot be read, has pixels that are not numbers, or shows one grey value only.
    """
    image = images.read(path)
    digest = pixels_digest(image)
    if image.dtype == np.uint8:
        low, high = float(image.min()), float(image.max())
    else:
        some = image[:: max(1, image.shape[0] // 2048), :: max(1, image.shape[1] // 2048)].astype(np.float64)
        if not np.isfinite(image).all():
            msg = f"{path}: has pixels that are not numbers"
            raise InputError(msg)
        low, high = (float(v) for v in np.percentile(some, (0.1, 99.9)))
    if not high > low:
        msg = f"{path}: shows one grey value only"
        raise InputError(msg)
    if image.dtype == np.uint8:
        return image, digest
    grey = image.astype(np.float32)
    grey -= np.float32(low)
    grey *= np.float32(255 / (high - low))
    return np.clip(grey, 0, 255, out=grey), digest


def survey(
    found: Sequence[tuple[Path, str]],
    fits: Callable[[tuple[int, int]], str],
    *,
    keys: Mapping[Path, str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Iterator[Source | str]:
    """Return each image that can be cut, and for each other one the line that says why not.

    Parameters
    ----------
    found : sequence of (path, name)
    fits : callable
        Says of a shape what is wrong with it; nothing when it is large enough.
    keys : mapping of Path to str, optional
        Keys of sources that do not have their file's digest for one.
    progress : callable, optional
        Called with (done, all).
    """
    keys = keys or {}
    seen: dict[str, str] = {}
    progress(0, len(found))
    for k, (path, name) in enumerate(found, 1):
        try:
            shape, _ = images.header(path)
            wrong = fits(shape)
            if wrong:
                yield f"{name}: {wrong}"
            else:
                yield _looked_over(path, name, shape, seen, keys)
        except InputError as error:
            yield f"{error}"
        progress(k, len(found))


def _looked_over(
    path: Path, name: str, shape: tuple[int, int], seen: dict[str, str], keys: Mapping[Path, str]
) -> Source | str:
    digest = read_grey(path)[1]
    if digest in seen:
        return f"{name}: the same image as {seen[digest]}"
    seen[digest] = name
    whole = digest_of(path)
    return Source(path, name, shape, whole, digest, keys.get(path, whole))
