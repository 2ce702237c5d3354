"""bUnwarpJ's files of one warp: raw (every pixel) and elastic (a cubic B-spline); and its landmarks.

Both are pull maps as ours are, target (output) pixel to source (input) point, absolute coordinates in px with pixel
centres at integers. The raw file holds the canvas; the elastic one does not: it means whatever target image it is
applied to, which must be of the canvas' size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij import fields
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.files import NOT_ALLOWED, finite, read_raw, read_text
from demis_ij.formats.splines import CubicSpline, Misfit, intervals_for, spline_of
from demis_ij.formats.warps_pushed import completed, stride_of
from demis_ij.geometry import Box
from demis_ij.records import Field, Warp

_RULE = "-----------------------------------"
_LANDMARKS = ("Index", "xSource", "ySource", "xTarget", "yTarget")
_BAND = 256  # rows of a raw file that are made at once


# --- raw --------------------------------------------------------------------------------------------------------------


def write_raw(path: Path, warp: Warp, *, overwrite: bool = False) -> None:
    """Write a raw transformation: the source x of every target pixel, then the y, with all their digits.

    A file that was read comes back to the bit.

    NaN where the warp knows nothing: bUnwarpJ paints such a pixel black, as one outside the source.

    Raises
    ------
    InputError
        When the file exists or cannot be written.
    """
    _write_lines(Path(path), _raw_lines(warp), overwrite)


def _raw_lines(warp: Warp) -> Iterator[str]:
    rows, cols = warp.shape
    yield f"Width={cols}"
    yield f"Height={rows}"
    for k, name in enumerate("XY"):
        yield ""
        yield f"{name} Trans {_RULE}"
        for top in range(0, rows, _BAND):
            box = Box(0, top, cols, min(top + _BAND, rows))
            offsets = fields.dense(warp, box)[k].astype(np.float64)
            at = np.arange(cols) if k == 0 else np.arange(box.y0, box.y1)[:, None]
            for line in offsets + at:
                yield " ".join("NaN" if v != v else repr(v) for v in line.tolist())


def read_raw_transformation(path: Path) -> Warp:
    """Return the warp of a raw file: a field with a node on every pixel; what is not finite is unknown.

    Raises
    ------
    FormatError
        When it is none; names the line.
    """
    path = Path(path)
    lines = read_text(path, read_raw(path)).lines
    sizes = []
    for number, name in enumerate(("Width", "Height"), 1):
        key, _, value = lines[number - 1].partition("=") if len(lines) >= number else ("", "", "")
        if key.strip() != name or not value.strip().isdecimal() or int(value) < 1:
            raise FormatError(path, f"'{name}=' and a number was needed", f"line {number}")
        sizes.append(int(value))
    cols, rows = sizes
    at = np.stack([_block(path, lines, f"{name} Trans", rows, cols) for name in "XY"])
    at[:, ~np.isfinite(at).all(axis=0)] = np.nan
    y, x = np.mgrid[0:rows, 0:cols]
    return Warp((Field((at - np.stack([x, y])).astype(np.float32), 1.0),), (rows, cols))


def _block(path: Path, lines: tuple[str, ...], head: str, rows: int, cols: int) -> NDArray[np.float64]:
    """Return the numbers below a headline. Raises `FormatError` naming the line."""
    start = next((i for i, line in enumerate(lines) if line.startswith(head)), None)
    if start is None:
        raise FormatError(path, f"a line '{head} ---' was needed")
    out = []  # not made in one: sizes that a broken file tells may be of any number
    for k in range(rows):
        number = start + 2 + k
        words = lines[number - 1].split() if number <= len(lines) else []
        if len(words) != cols:
            raise FormatError(path, f"{cols} numbers were needed, found {len(words)}", f"line {number}")
        try:
            out.append(np.array([float(word) for word in words]))
        except ValueError as error:
            raise FormatError(path, str(error), f"line {number}") from error
    return np.stack(out)


# --- elastic ----------------------------------------------------------------------------------------------------------


def write_elastic(path: Path, warp: Warp, *, most_intervals: int = 64, overwrite: bool = False) -> Misfit:
    """Write an elastic transformation (``_direct_transf.txt``) and return how far it departs from the warp.

    The spline has as many intervals as it needs to stay within a tenth of a px at 99 of 100 pixels, no more than the
    warp has nodes; bUnwarpJ itself makes 1 to 16, and reads more. Where the warp knows nothing the spline goes on.

    Raises
    ------
    InputError
        When the file exists or cannot be written.
    """
    most = intervals_for(warp.shape, stride_of(warp), most_intervals)
    spline, departs = spline_of(completed(warp), warp.shape, most=most)
    write_spline(path, spline, overwrite=overwrite)
    return departs


def write_spline(path: Path, spline: CubicSpline, *, overwrite: bool = False) -> None:
    """Write an elastic transformation whose spline is known: its coefficients, with all their digits.

    Raises
    ------
    InputError
        When a coefficient is not finite, or the file exists or cannot be written.
    """
    if not (np.isfinite(spline.x).all() and np.isfinite(spline.y).all()):
        msg = f"{path}: an elastic file holds finite coefficients, found NaN: nothing was registered"
        raise InputError(msg)
    _write_lines(Path(path), _elastic_lines(spline), overwrite)


def _elastic_lines(spline: CubicSpline) -> Iterator[str]:
    yield f"Intervals={spline.intervals}"
    for name, coefficients in (("X", spline.x), ("Y", spline.y)):
        yield ""
        yield f"{name} Coeffs {_RULE}"
        for line in coefficients:
            yield " ".join(f"{v!r:>21}" for v in line.tolist())


def read_elastic(path: Path, shape: tuple[int, int], *, stride: float = 8.0) -> Warp:
    """Return the warp of an elastic file over a target image of ``shape`` (rows, cols), which the file does not tell.

    Raises
    ------
    FormatError
        When it is none; names the line.
    """
    spline = read_spline(path, shape)
    at = fields.nodes(fields.grid_of(shape, stride), stride)
    found = spline(at.reshape(-1, 2)).reshape(at.shape) - at
    return Warp((Field(np.moveaxis(found, -1, 0).astype(np.float32), stride),), shape)


def read_spline(path: Path, shape: tuple[int, int]) -> CubicSpline:
    """Return the spline of an elastic file over a target image of ``shape`` (rows, cols).

    Raises
    ------
    FormatError
        When it is none; names the line.
    """
    path = Path(path)
    lines = read_text(path, read_raw(path)).lines
    key, _, value = lines[0].partition("=") if lines else ("", "", "")
    if key.strip().lower() != "intervals":
        raise FormatError(path, "'Intervals=' and a number was needed", "line 1")
    intervals = finite(value, path, "line 1", "Intervals")
    if intervals != int(intervals) or not 1 <= intervals <= 10_000:
        raise FormatError(path, f"Intervals: {value.strip()!r} is no number of intervals", "line 1")
    side = int(intervals) + 3
    x, y = (_block(path, lines, f"{name} Coeffs", side, side) for name in "XY")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise FormatError(path, "a coefficient is not finite")
    return CubicSpline(x, y, shape)


# --- landmarks --------------------------------------------------------------------------------------------------------


def write_landmarks(path: Path, fixed_xy: ArrayLike, moving_xy: ArrayLike, *, overwrite: bool = False) -> None:
    """Write landmarks (K, 2) as bUnwarpJ's dialog saves and loads them: the moving image is its source.

    Raises
    ------
    InputError
        When the numbers of points differ, or the file exists or cannot be written.
    """
    pairs = [np.asarray(p, np.float64) for p in (moving_xy, fixed_xy)]
    if pairs[0].shape != pairs[1].shape or pairs[0].ndim != 2 or pairs[0].shape[1] != 2:
        msg = f"landmarks are as many points (x, y) in either image, found {pairs[0].shape} and {pairs[1].shape}"
        raise InputError(msg)
    rows = np.hstack(pairs).tolist()
    lines = ["\t".join((str(k), *(repr(v) for v in row))) for k, row in enumerate(rows)]
    _write_lines(Path(path), iter(["\t".join(_LANDMARKS), *lines]), overwrite)


def read_landmarks(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return landmarks as points (K, 2) of the fixed (target) and of the moving (source) image, px.

    Raises
    ------
    FormatError
        When the file is none; names the line.
    """
    path = Path(path)
    lines = read_text(path, read_raw(path)).lines
    if not lines or [w.lower() for w in lines[0].split()] != [w.lower() for w in _LANDMARKS]:
        raise FormatError(path, f"landmarks begin with the columns {' '.join(_LANDMARKS)}", "line 1")
    found = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if not words:
            continue
        if len(words) != len(_LANDMARKS):
            raise FormatError(path, f"{len(_LANDMARKS)} columns were needed, found {len(words)}", f"line {number}")
        found.append([finite(w, path, f"line {number}", n) for w, n in zip(words[1:], _LANDMARKS[1:], strict=True)])
    if not found:
        raise FormatError(path, "no landmark is in it")
    table = np.array(found)
    return table[:, 2:], table[:, :2]


# --- all --------------------------------------------------------------------------------------------------------------


def _write_lines(path: Path, lines: Iterator[str], overwrite: bool) -> None:
    """Write a text file line by line, all or nothing."""
    if path.exists() and not overwrite:
        msg = f"{path} exists and is not overwritten: move it, or choose another name"
        raise InputError(msg)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="ascii", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)
        part.replace(path)
    except OSError as error:
        if error.errno in NOT_ALLOWED:
            msg = f"{path} cannot be written: {error.strerror}"
            raise InputError(msg) from error
        raise
    finally:
        part.unlink(missing_ok=True)
