"""Files of a dataset: all or nothing, so that an interruption leaves none that only looks whole."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.errors import FormatError


def put_bytes(path: Path, data: bytes) -> Path:
    """Write a file under another name, then rename; a full disk or Ctrl-C leaves nothing. Returns the path."""
    part = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # writing to an open file names none
        raise
    finally:
        part.unlink(missing_ok=True)
    return path


def put_text(path: Path, text: str) -> Path:
    """Write a text file, UTF-8 with plain line ends, all or nothing."""
    return put_bytes(path, text.encode())


def put_json(path: Path, value: Any) -> Path:
    """Write JSON all or nothing; numbers that JSON lacks are refused."""
    return put_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def put_tiff(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write a grey TIFF, all or nothing."""
    held = BytesIO()  # numpy's own writing to a full disk raises an error without a number
    tifffile.imwrite(held, image, photometric="minisblack")
    return put_bytes(path, held.getvalue())


def put_png(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write a picture, blue first, all or nothing."""
    return put_bytes(path, cv2.imencode(".png", image)[1].tobytes())


def get_json(path: Path) -> Any:
    """Return a JSON file's value. Raises `FormatError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error
