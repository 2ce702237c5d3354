"""What the page of an alignment shows of the pixels: cuts through the stack, and neighbours over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.align.results import AlignResult
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images.opening import opened, opened_mask
from demis_ij.images.warping import Pixels, warped
from demis_ij.records import Affine, Field, Stack, Warp
from demis_ij.report.pictures import GREY, CloseUp, to_grey

CUT_SECTIONS = 600
"""More sections than these are thinned out evenly in a cut."""
CUT_PX = 900
"""Longest line of a section in a cut; longer ones are reduced."""
WINDOW_PX = 400
"""Longest side of the window in which neighbours are compared."""

LIKENESS_LINES = 16
"""Lines of the canvas along which neighbours are correlated."""

Line = tuple[NDArray[np.float32], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Cut:
    """The stack cut along one line of the canvas, before and after.

    Attributes
    ----------
    name : str
        xz or yz.
    at : int
        Row (xz) or column (yz) of the canvas where it is cut.
    before, after : ndarray of shape (section numbers, px), uint8
        First section on top; 0 where there is no data.
    """

    name: str
    at: int
    before: GREY
    after: GREY


@dataclass(frozen=True, eq=False)
class Cuts:
    """Both cuts and how they were made.

    Attributes
    ----------
    cuts : tuple of Cut
        xz and yz.
    sections : int
        How many sections they show.
    likeness : tuple of (float, float)
        Of each section shown, how the grey values correlate with those of the one shown before it, as given and now;
        NaN where one of the two is not known.
    """

    cuts: tuple[Cut, ...]
    sections: int
    likeness: tuple[tuple[float, float], ...]


def lying_as_given(stack: Stack, result: AlignResult, index: int) -> Warp:
    """Return the warp that shows a section on the canvas where it lay before it was aligned."""
    after = result.warps[index]
    into = stack[index].to_world.inverse @ Affine.translation(*after.origin_xy)
    return Warp(() if into == Affine() else (into,), after.shape, after.origin_xy)


def bending(result: AlignResult, index: int) -> Field | None:
    """Return what a section is bent by besides being turned and shifted; None when by nothing."""
    return next((p for p in result.warps[index].parts if isinstance(p, Field)), None)


def cuts_through(stack: Stack, result: AlignResult) -> Cuts:
    """Return the stack cut through the middle of its canvas; a section that cannot be read is left black.

    Every section is brought to one brightness and contrast along its line, so that the course of the tissue is seen
    and not the microscope's.
    """
    rows, cols = result.warps[0].shape
    boxes = {
        "xz": (rows // 2, Box(0, rows // 2, cols, rows // 2 + 1)),
        "yz": (cols // 2, Box(cols // 2, 0, cols // 2 + 1, rows)),
    }
    shown = np.unique(np.linspace(0, len(stack) - 1, min(len(stack), CUT_SECTIONS)).round().astype(int))
    places, height = _places(stack, shown)
    length = {name: min(CUT_PX, max(box.shape)) for name, (_, box) in boxes.items()}
    pictures = {(name, when): np.zeros((height, length[name]), np.uint8) for name in boxes for when in (0, 1)}
    likeness = [(float("nan"), float("nan"))] * len(shown)
    last: list[Line] = []
    for number, (index, place) in enumerate(zip(shown, places, strict=True)):
        try:
            pixels = opened(stack[index])
            mask = opened_mask(stack[index], pixels)
        except (InputError, OSError):
            last = []
            continue  # the page says which sections could not be read
        warps = (lying_as_given(stack, result, index), result.warps[index])
        now = [_sampled(pixels, mask, warp) for warp in warps]
        if last:
            likeness[number] = (_correlation(last[0], now[0]), _correlation(last[1], now[1]))
        last = now
        for when, warp in enumerate(warps):
            for name, (_, box) in boxes.items():
                pictures[name, when][place] = _line(pixels, mask, warp, box, length[name])
    cuts = tuple(Cut(name, at, pictures[name, 0], pictures[name, 1]) for name, (at, _) in boxes.items())
    return Cuts(cuts, len(shown), tuple(likeness))


def _sampled(pixels: Pixels, mask: Pixels, warp: Warp) -> Line:
    """Return the grey values of a section along some lines of the canvas, one after the other."""
    rows, cols = warp.shape
    lines, width = min(rows, LIKENESS_LINES), min(cols, CUT_PX)
    step_x, step_y = cols / width, rows / lines
    spread = Affine(a=step_x, d=step_y, tx=(step_x - 1) / 2, ty=(step_y - 1) / 2)
    grey, known = warped(pixels, mask, Warp((spread, *warp.parts), (lines, width)))
    return grey.ravel().astype(np.float32), known.ravel()


def _correlation(one: Line, other: Line) -> float:
    """Return the correlation where both are data; NaN where that is next to nothing or flat."""
    both = one[1] & other[1]
    a, b = one[0][both].astype(np.float64), other[0][both].astype(np.float64)
    if both.sum() < 0.05 * both.size or a.size < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _places(stack: Stack, shown: Sequence[int] | NDArray[np.int_]) -> tuple[list[int], int]:
    """Return the row of each section that is shown, and how many rows there are: lost sections keep theirs."""
    span = round(stack.z[-1] - stack.z[0]) + 1
    if len(shown) < len(stack) or not len(stack) <= span <= 2 * len(stack):
        return list(range(len(shown))), len(shown)
    rows = [round(stack.z[i] - stack.z[0]) for i in shown]
    return (rows, span) if len(set(rows)) == len(rows) else (list(range(len(shown))), len(shown))


def _line(pixels: Pixels, mask: Pixels, warp: Warp, box: Box, length: int) -> GREY:
    """Return one line of a section, 128 +- 50 where it is data and 0 elsewhere."""
    grey, known = (a.ravel() for a in warped(pixels, mask, warp, box=box))
    if not known.any():
        return np.zeros(length, np.uint8)
    values = grey[known].astype(np.float32)
    even = np.where(known, 128 + 50 * (grey - values.mean()) / max(float(values.std()), 1e-6), 128).astype(np.float32)
    small = cv2.resize(even[None], (length, 1), interpolation=cv2.INTER_AREA)[0]
    data = cv2.resize(known.astype(np.float32)[None], (length, 1), interpolation=cv2.INTER_AREA)[0] > 0.5
    return np.where(data, np.clip(small, 1, 255), 0).astype(np.uint8)


def neighbour_of(result: AlignResult, index: int) -> int | None:
    """Return the nearest section that a section was compared with, the one before first; None without any."""
    usable = [i for i, s in enumerate(result.sections) if s.usable and i != index]
    return min(usable, key=lambda i: (abs(i - index), i > index), default=None)


def compared(stack: Stack, result: AlignResult, index: int, other: int) -> tuple[CloseUp, CloseUp]:
    """Return a section over its neighbour before and after, in the window where it is moved most.

    Raises
    ------
    InputError
        When one of the two cannot be read.
    """
    box = _window(result, index)
    seen: dict[tuple[int, int], GREY] = {}
    for k in (index, other):
        pixels = opened(stack[k])
        mask = opened_mask(stack[k], pixels)
        for when, warp in enumerate((lying_as_given(stack, result, k), result.warps[k])):
            seen[k, when] = to_grey(*warped(pixels, mask, warp, box=box))
    origin = (float(box.x0), float(box.y0))
    before, after = (CloseUp(seen[other, when], seen[index, when], origin) for when in (0, 1))
    return before, after


def _window(result: AlignResult, index: int) -> Box:
    """Return the window around the place where a section is bent most, as far as it fits inside, or the middle."""
    rows, cols = result.warps[index].shape
    height, width = min(rows, WINDOW_PX), min(cols, WINDOW_PX)
    field, at = bending(result, index), (cols / 2, rows / 2)
    length = np.zeros((1, 1)) if field is None else np.nan_to_num(np.hypot(*field.offsets))
    if field is not None:
        y, x = (np.arange(n) * field.stride for n in field.grid)
        inside_y, inside_x = (np.abs(a - n / 2) <= (n - w) / 2 for a, n, w in ((y, rows, height), (x, cols, width)))
        length = length * (inside_y[:, None] & inside_x[None])
    if field is not None and length.any():
        row, col = np.unravel_index(int(np.argmax(length)), field.grid)
        at = (float(col * field.stride), float(row * field.stride))
    x0 = int(np.clip(at[0] - width / 2, 0, cols - width))
    y0 = int(np.clip(at[1] - height / 2, 0, rows - height))
    return Box(x0, y0, x0 + width, y0 + height)
