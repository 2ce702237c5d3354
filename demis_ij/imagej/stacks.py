"""numpy arrays as ImageJ images of any number of planes, and back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.imagej import pixels

AXES = "tzcyxs"
"""Time, depth, channel, row, column, and the samples red, green, blue: the letters and the order of every array."""


def guess_axes(array: NDArray[Any]) -> str:
    """Return the axes of an array of two or three dimensions; others must be named.

    (rows, cols) is ``"yx"``; (rows, cols, 3) of uint8 is ``"yxs"``, a colour image; any other (planes, rows, cols) is
    ``"zyx"``.

    Raises
    ------
    InputError
        The array has another number of dimensions.
    """
    if array.ndim == 2:
        return "yx"
    if array.ndim == 3:
        return "yxs" if array.shape[2] == 3 and array.dtype == np.uint8 else "zyx"
    msg = f"an array of shape {array.shape} needs its axes named, for instance axes='zcyx' (letters of {AXES!r})"
    raise InputError(msg)


def check_array(array: Any, axes: str | None) -> str:
    """Return the axes of an array that can become an image.

    Raises
    ------
    InputError
        It cannot, and why.
    """
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        hint = (
            "; fill it first: array.filled(0)" if isinstance(array, np.ma.MaskedArray) else ": numpy.asarray makes one"
        )
        msg = f"a picture is made of a numpy array, found {type(array).__name__}{hint}"
        raise InputError(msg)
    names = guess_axes(array) if axes is None else axes.lower()
    in_order = [letter for letter in AXES if letter in names]
    if len(names) != array.ndim or "".join(in_order) != names or "yx" not in names:
        msg = f"axes {names!r} do not fit an array of shape {array.shape}: one letter each, in the order of {AXES!r}"
        raise InputError(msg)
    if "s" in names and array.shape[-1] != 3:
        msg = f"the samples of {names!r} are red, green and blue: 3, found {array.shape[-1]}"
        raise InputError(msg)
    if array.size == 0:
        msg = f"an array of shape {array.shape} has no pixels"
        raise InputError(msg)
    rows, cols = (array.shape[names.index(a)] for a in "yx")
    if rows * cols > pixels.MOST_PIXELS:
        msg = f"{rows} x {cols} px are more than a plane of ImageJ holds ({pixels.MOST_PIXELS}): cut or reduce it"
        raise InputError(msg)
    pixels.check_dtype(array, is_rgb="s" in names)
    return names


def to_imageplus(array: NDArray[Any], axes: str, title: str) -> Any:
    """Return an ij.ImagePlus of an array that `check_array` passed."""
    import jpype

    t, z, c = (array.shape[axes.index(a)] if a in axes else 1 for a in "tzc")
    rows, cols = (array.shape[axes.index(a)] for a in "yx")
    stack = jpype.JClass("ij.ImageStack")(cols, rows)
    for plane in _planes(array, axes):
        stack.addSlice("", pixels.to_java(pixels.java_ready(plane)))
    image = jpype.JClass("ij.ImagePlus")(title, stack)
    image.setDimensions(c, z, t)
    if sum(n > 1 for n in (c, z, t)) > 1:
        image.setOpenAsHyperStack(True)
    return image


def axes_of(image: Any) -> str:
    """Return the axes of an ij.ImagePlus that are longer than one, rows and columns always."""
    lengths = {"t": image.getNFrames(), "z": image.getNSlices(), "c": image.getNChannels()}
    return "".join(a for a in "tzc" if lengths[a] > 1) + ("yxs" if is_colour(image) else "yx")


def is_colour(image: Any) -> bool:
    """Return whether pixels are red, green and blue; a table of colours for grey values only changes what is seen."""
    return int(image.getType()) == 4  # ImagePlus.COLOR_RGB


def to_numpy(image: Any, axes: str | None) -> NDArray[Any]:
    """Return the pixels of an ij.ImagePlus; see `Picture.to_numpy`."""
    wanted = axes_of(image) if axes is None else axes.lower()
    lengths = {
        "t": int(image.getNFrames()), "z": int(image.getNSlices()), "c": int(image.getNChannels()),
        "y": int(image.getHeight()), "x": int(image.getWidth()),
    }  # fmt: skip
    in_order = "".join(a for a in AXES if a in wanted)
    dropped = [a for a in "tzc" if lengths[a] > 1 and a not in wanted]
    if in_order != wanted or "yx" not in wanted or dropped or ("s" in wanted) != is_colour(image):
        msg = f"axes {wanted!r} do not hold this picture: it has {axes_of(image)!r} (letters in the order of {AXES!r})"
        raise InputError(msg)
    outer = [lengths[a] for a in wanted if a in "tzc"]
    rows, cols = lengths["y"], lengths["x"]
    planes = [_plane(image, 1 + i, rows, cols) for i in range(lengths["t"] * lengths["z"] * lengths["c"])]
    shape = (*outer, rows, cols, 3) if is_colour(image) else (*outer, rows, cols)
    return planes[0].reshape(shape) if len(planes) == 1 else np.stack(planes).reshape(shape)


def _planes(array: NDArray[Any], axes: str) -> Iterator[NDArray[Any]]:
    """Yield the planes in ImageJ's order: channels run fastest, then depth, then time - the order of the axes."""
    outer = [range(array.shape[i]) for i, a in enumerate(axes) if a in "tzc"]
    for index in product(*outer):
        yield array[index]


def _plane(image: Any, number: int, rows: int, cols: int) -> NDArray[Any]:
    if is_colour(image):
        packed = np.empty((rows, cols), np.uint32)
        pixels.from_java(image.getStack().getPixels(number), pixels.RGB, packed)
        return pixels.unpack_rgb(packed)
    depth = int(image.getBitDepth())
    kind = pixels.GREY[depth]
    plane: NDArray[Any] = np.empty((rows, cols), kind.dtype)
    # a stack made on the spot for a single plane would look for its darkest and brightest pixel
    only = int(image.getStackSize()) == 1
    pixels.from_java(image.getProcessor().getPixels() if only else image.getStack().getPixels(number), kind, plane)
    if depth == 16 and bool(image.getLocalCalibration().isSigned16Bit()):
        return (plane ^ np.uint16(0x8000)).view(np.int16)
    return plane
