"""Arrays that are kept in files, which are mapped: any number of images of any size can be learned from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij.nets.weights import write_whole


def kept_array(path: Path) -> NDArray[np.uint8] | None:
    """Return the array of a file, mapped; None where there is no file, or none that is whole."""
    try:
        found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except (FileNotFoundError, EOFError, ValueError):  # cut short by a loss of power, say
        return None
    return found


def keep_array(path: Path, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an array from the file that it is written to, all or nothing, mapped."""
    content = io.BytesIO()
    np.save(content, array)
    write_whole(path, content.getbuffer())
    found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return found


__all__ = ["keep_array", "kept_array"]
