"""An aligned stack to look at: cut along z, section over section, and what a warp does."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.align import AlignResult
from demis_ij.errors import InputError
from demis_ij.records import Field, Stack
from demis_ij.report.alignment_figures import coloured_areas, coloured_lengths
from demis_ij.report.alignment_pictures import bending, compared, cuts_through, neighbour_of
from demis_ij.views import Drawn, beside

LEAST_ROWS_PX = 120
"""A cut is at least so high: every section is drawn several pixels thick."""


def look_at_cuts(stack: Stack, result: AlignResult, *, width_px: int = 420) -> Drawn:
    """Return the stack cut along z: xz above, yz below, left as given and right aligned.

    Parameters
    ----------
    stack : Stack
        The sections; their images are read.
    result : AlignResult
        Their warps.
    width_px : int
        Of one cut.
    """
    rows = []
    for cut in cuts_through(stack, result).cuts:
        thick = max(1, round(LEAST_ROWS_PX / cut.before.shape[0]))
        shape = (width_px, cut.before.shape[0] * thick)
        rows.append(beside(*(Drawn(_resized(p, shape)) for p in (cut.before, cut.after))).pixels)
    gap = np.full((12, rows[0].shape[1], 3), 255, np.uint8)
    return Drawn(np.concatenate([rows[0], gap, rows[1]]))


def look_at_section(stack: Stack, result: AlignResult, index: int, *, neighbour: int | None = None) -> Drawn:
    """Return a section in cyan over its neighbour in red, left as given and right aligned: grey where they agree.

    Parameters
    ----------
    stack : Stack
        The sections; two of them are read.
    result : AlignResult
        Their warps.
    index : int
        Which section, from 0.
    neighbour : int, optional
        Which other; the nearest that was compared when not given.

    Raises
    ------
    InputError
        When there is no such section, or one of the two cannot be read.
    """
    _check(result, index)
    other = neighbour_of(result, index) if neighbour is None else _check(result, neighbour)
    if other is None:
        msg = f"section {stack[index].id} has no neighbour that was compared"
        raise InputError(msg)
    views = compared(stack, result, index, other)
    return beside(*(Drawn(np.stack([v.fixed, v.moving, v.moving], axis=-1)) for v in views))


def look_at_warp(result: AlignResult, index: int, *, most_px: float = 0.0, side_px: int = 320) -> Drawn:
    """Return what a warp adds to turn and shift: left the displacement, right the area (Jacobian).

    Displacement goes from dark (none) over the colours of residuals to purple (most). Areas are blue where tissue
    was stretched (half the input for an area of output), white where it is as it was, orange where it was pressed
    together, purple where it folds.

    Parameters
    ----------
    result : AlignResult
        Warps and verdicts.
    index : int
        Which section, from 0.
    most_px : float
        What the last colour stands for; the largest displacement when 0.
    side_px : int
        Longest side of each picture.

    Raises
    ------
    InputError
        When there is no such section.
    """
    _check(result, index)
    field = bending(result, index) or Field(np.zeros((2, 2, 2), np.float32), float(max(result.warps[index].shape)))
    length = np.hypot(*field.offsets)
    most = most_px or max(1e-6, float(np.nanmax(length)) if field.known.any() else 0.0)
    rows, cols = result.warps[index].shape
    scale = side_px / max(rows, cols)
    shape = (max(1, round(cols * scale)), max(1, round(rows * scale)))
    pictures = (coloured_lengths(length, most), coloured_areas(field))
    return beside(*(Drawn(_resized(np.ascontiguousarray(p[..., ::-1]), shape)) for p in pictures))


def _check(result: AlignResult, index: int) -> int:
    if not 0 <= index < len(result.warps):
        msg = f"no section {index}: the stack has {len(result.warps)}, counted from 0"
        raise InputError(msg)
    return index


def _resized(picture: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, shape, interpolation=cv2.INTER_NEAREST), np.uint8)
