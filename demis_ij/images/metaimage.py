"""MetaImage, ITK's and elastix's own format: ``.mha``, header and pixels in one file, or ``.mhd`` beside a raw file.

The header is lines of ``Key = value``, the last of them ``ElementDataFile``; the pixels follow, plain or by zlib
(the format's page at ITK: https://docs.itk.org/en/latest/learn/metaio.html).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import FormatError

SUFFIXES = (".mha", ".mhd")
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1 << 16
_MOST_BYTES = 1 << 36  # a damaged size is not allocated
_COARSEST_MM = 1.0


@dataclass(frozen=True)
class MetaImage:
    """What the header of a MetaImage says.

    Attributes
    ----------
    path : Path
        Of the header.
    shape : tuple of int
        (rows, cols), of a volume with the slices in front.
    channels : int
        Values a pixel.
    dtype : numpy.dtype
        Of a value, in the file's byte order.
    data : Path
        Where the pixels are.
    start : int
        First byte of them there; -1: as many as are needed, at the end.
    packed : bool
        Whether they are compressed by zlib.
    spacing_mm : tuple of float
        Size of a pixel along x, y and z: millimetres, as ITK takes them. Empty when the file does not say.
    """

    path: Path
    shape: tuple[int, ...]
    channels: int
    dtype: np.dtype[Any]
    data: Path
    start: int
    packed: bool
    spacing_mm: tuple[float, ...]

    @property
    def pixel_mm(self) -> float | None:
        """Side of a pixel; None where it is 1 mm, which is written when nobody said, or more: no microscope's."""
        return self.spacing_mm[0] if self.spacing_mm and 0 < self.spacing_mm[0] < _COARSEST_MM else None


def is_metaimage(path: Path) -> bool:
    """Return whether a path is named like a MetaImage; its header has no mark of its own."""
    return path.suffix.lower() in SUFFIXES


def open_metaimage(path: Path) -> MetaImage:
    """Return what a header says, the pixels unread.

    Raises
    ------
    FormatError
        When it cannot be read, is no header, or says what is not supported; it names the line's key.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST_HEADER)
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror or error}") from error
    told: dict[str, str] = {}
    at = 0
    while "ElementDataFile" not in told:
        end = head.find(b"\n", at)
        key, equals, value = head[at : end if end >= 0 else len(head)].decode("latin-1").partition("=")
        if not equals or (end < 0 and key.strip() != "ElementDataFile"):
            raise FormatError(path, "is no MetaImage: lines of 'Key = value' up to ElementDataFile are needed")
        told[key.strip()] = value.strip()
        at = end + 1
    try:
        return _understood(path, told, at)
    except FormatError:
        raise
    except (KeyError, ValueError) as error:
        raise FormatError(path, f"is no MetaImage that can be read: {type(error).__name__} {error}") from error


def _understood(path: Path, told: dict[str, str], after: int) -> MetaImage:
    """Return a header's meaning."""
    sizes = [int(v) for v in told["DimSize"].split()]
    if not 2 <= len(sizes) <= 3 or len(sizes) != int(told["NDims"]) or min(sizes) < 1:
        raise FormatError(path, f"needs 2 or 3 sizes above 0, found NDims {told['NDims']}, DimSize {told['DimSize']}")
    kind = told["ElementType"].removesuffix("_ARRAY")
    if kind not in _TYPES:
        raise FormatError(path, f"ElementType {told['ElementType']!r} is not known; known: {', '.join(_TYPES)}")
    where = told["ElementDataFile"]
    if where.upper() == "LIST" or "%" in where:
        raise FormatError(path, f"ElementDataFile {where!r}: pixels in several files are not supported, give one file")
    if not _yes(told, "BinaryData", default=True):
        raise FormatError(path, "BinaryData is False: pixels as text are not supported")
    big = _yes(told, "ElementByteOrderMSB", default=_yes(told, "BinaryDataByteOrderMSB", default=False))
    local = where.upper() == "LOCAL"
    spacing = told.get("ElementSpacing") or told.get("ElementSize") or ""
    return MetaImage(
        path, tuple(reversed(sizes)), int(told.get("ElementNumberOfChannels", "1")),
        np.dtype(_TYPES[kind]).newbyteorder(">" if big else "<"), path if local else path.parent / where,
        after if local else int(told.get("HeaderSize", "0")), _yes(told, "CompressedData", default=False),
        tuple(float(v) for v in spacing.split()),
    )  # fmt: skip


def _yes(told: dict[str, str], key: str, *, default: bool) -> bool:
    return told[key].lower() in {"true", "t", "1", "yes"} if key in told else default


def metaimage_plane(path: Path, page: int | None) -> NDArray[Any]:
    """Return one plane, (rows, cols) or (rows, cols, channels), in the machine's byte order.

    Raises
    ------
    FormatError
        When there is no such plane, or the pixels are missing or cut off.
    """
    image = open_metaimage(path)
    planes = image.shape[0] if len(image.shape) == 3 else 1
    number = 0 if page is None else page
    if not 0 <= number < planes:
        raise FormatError(path, f"plane {number} was asked for, the file has {planes}")
    count = int(np.prod(image.shape[-2:], dtype=np.int64)) * image.channels
    size = count * image.dtype.itemsize
    if count < 1 or size * planes > _MOST_BYTES:
        raise FormatError(path, f"says that it has {size * planes} bytes of pixels")
    try:
        raw = _bytes(image, number * size, size, size * planes)
    except OSError as error:
        raise FormatError(path, f"its pixels cannot be read: {error.strerror or error}") from error
    except zlib.error as error:
        raise FormatError(path, f"its pixels cannot be unpacked: {error}") from error
    if len(raw) < size:
        raise FormatError(path, f"truncated: plane {number} needs {size} bytes, {len(raw)} are there")
    pixels = np.frombuffer(raw, image.dtype, count).astype(image.dtype.newbyteorder("="))
    return pixels.reshape(*image.shape[-2:], *([image.channels] if image.channels > 1 else []))


def _bytes(image: MetaImage, start: int, size: int, whole: int) -> bytes:
    """Return a plane's bytes; of compressed ones no more than is asked for is unpacked."""
    with image.data.open("rb") as file:
        if image.packed:
            file.seek(max(image.start, 0))
            return zlib.decompressobj().decompress(file.read(), start + size)[start:]
        first = image.data.stat().st_size - whole if image.start < 0 else image.start
        file.seek(max(first, 0) + start)
        return file.read(size)


__all__ = ["SUFFIXES", "MetaImage", "is_metaimage", "metaimage_plane", "open_metaimage"]
