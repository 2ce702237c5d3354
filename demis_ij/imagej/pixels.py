"""Pixels from numpy to Java and back: one bulk copy a plane, no loop over elements.

ImageJ keeps each plane as one Java array; numpy memory is shown to Java as a direct buffer, and the virtual machine
copies the whole plane at once. Arrays of another byte order, with gaps, or transposed are put in order first; that is
the only further copy, and it is needed.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError

CHUNK_BYTES = 1 << 30
"""A direct buffer holds less than 2^31 bytes; a plane may hold more."""

MOST_PIXELS = 2**31 - 1
"""Of one plane: the length of a Java array."""

CASTS = {
    "int8": "array.astype(np.float32) keeps its values",
    "int16": "array.astype(np.float32) keeps its values",
    "int32": "array.astype(np.float32) keeps values up to 16 777 216, array.astype(np.uint16) those of 0 to 65535",
    "uint32": "array.astype(np.float32) keeps values up to 16 777 216, array.astype(np.uint16) those up to 65535",
    "int64": "array.astype(np.float32) keeps values up to 16 777 216, array.astype(np.uint16) those of 0 to 65535",
    "uint64": "array.astype(np.float32) keeps values up to 16 777 216, array.astype(np.uint16) those up to 65535",
    "float16": "array.astype(np.float32) keeps its values",
    "float64": "array.astype(np.float32) rounds to 24 bits",
    "complex64": "np.abs(array)",
    "complex128": "np.abs(array).astype(np.float32)",
}


@dataclass(frozen=True)
class Kind:
    """A kind of pixel that ImageJ and numpy share.

    Attributes
    ----------
    dtype : numpy dtype
        In native byte order.
    java : str
        Element of the Java array: ``byte``, ``short``, ``float`` or ``int``.
    view : str
        Method that makes a ByteBuffer one of these elements.
    """

    dtype: np.dtype[Any]
    java: str
    view: str


GREY = {
    8: Kind(np.dtype(np.uint8), "byte", ""),
    16: Kind(np.dtype(np.uint16), "short", "asShortBuffer"),
    32: Kind(np.dtype(np.float32), "float", "asFloatBuffer"),
}
RGB = Kind(np.dtype(np.uint32), "int", "asIntBuffer")
"""24-bit colour: one integer a pixel, 0xffRRGGBB."""


def java_ready(plane: NDArray[Any]) -> NDArray[Any]:
    """Return a (rows, cols) or (rows, cols, 3) plane as ImageJ holds it: contiguous, native, of one `Kind`.

    bool becomes 0 and 255, red-green-blue one integer a pixel; uint8, uint16 and float32 stay as they are, without a
    copy where they are contiguous and native already.
    """
    if plane.ndim == 3:
        four = cv2.cvtColor(np.ascontiguousarray(plane), cv2.COLOR_RGB2BGRA)
        packed: NDArray[np.uint32] = four.view("<u4")[..., 0].astype(np.uint32, copy=False)  # blue is the lowest byte
        return packed
    if plane.dtype == bool:
        grey: NDArray[np.uint8] = np.multiply(plane, np.uint8(255), dtype=np.uint8, order="C")
        return grey
    native: NDArray[Any] = np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("="))
    return native


def check_dtype(array: NDArray[Any], *, is_rgb: bool) -> None:
    """Refuse what ImageJ has no pixels for, with the cast that makes it fit.

    Raises
    ------
    InputError
        The array is not bool, uint8, uint16 or float32 (of either byte order), or colour that is not uint8.
    """
    name = array.dtype.newbyteorder("=").name
    if is_rgb and name != "uint8":
        msg = f"red, green and blue of {name}: ImageJ's colour has 8 bits each, scale it and cast to np.uint8"
        raise InputError(msg)
    if name not in {"bool", "uint8", "uint16", "float32"}:
        cast = CASTS.get(name, "cast it to one of these")
        msg = f"pixels of {name}: ImageJ has uint8, uint16 and float32 (and bool as 0 and 255); {cast}"
        raise InputError(msg)


def kind_of(plane: NDArray[Any]) -> Kind:
    """Return the kind of a plane that `java_ready` made."""
    return RGB if plane.dtype == np.uint32 else GREY[plane.dtype.itemsize * 8]


def to_java(plane: NDArray[Any]) -> Any:
    """Return a Java array with the pixels of a plane that `java_ready` made, row after row."""
    import jpype

    kind = kind_of(plane)
    target = jpype.JArray(_element(kind))(plane.size)
    for start, count, buffer in _chunks(plane, kind):
        buffer.get(target, start, count)
    return target


def from_java(source: Any, kind: Kind, plane: NDArray[Any]) -> None:
    """Fill a contiguous plane of the kind's dtype from a Java array of as many elements."""
    for start, count, buffer in _chunks(plane, kind):
        buffer.put(source, start, count)


def unpack_rgb(packed: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return (rows, cols, 3) red, green and blue of (rows, cols) packed colour."""
    four = packed.astype("<u4", copy=False).view(np.uint8).reshape(*packed.shape, 4)
    return np.asarray(cv2.cvtColor(four, cv2.COLOR_BGRA2RGB), np.uint8)


def _element(kind: Kind) -> Any:
    import jpype

    return {"byte": jpype.JByte, "short": jpype.JShort, "float": jpype.JFloat, "int": jpype.JInt}[kind.java]


def _chunks(plane: NDArray[Any], kind: Kind) -> list[tuple[int, int, Any]]:
    """Return (first element, elements, buffer) of pieces that a direct buffer can hold."""
    import jpype

    order = jpype.JClass("java.nio.ByteOrder").nativeOrder()
    step = CHUNK_BYTES // plane.itemsize
    pieces = []
    for start in range(0, plane.size, step):
        count = min(step, plane.size - start)
        # through ctypes: JPype asks for writable memory, and a read-only array is only read here
        raw = (ctypes.c_char * (count * plane.itemsize)).from_address(plane.ctypes.data + start * plane.itemsize)
        buffer = jpype.nio.convertToDirectBuffer(memoryview(raw)).order(order)
        pieces.append((start, count, getattr(buffer, kind.view)() if kind.view else buffer))
    return pieces
