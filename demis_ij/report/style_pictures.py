"""A registration between light and electrons in pictures: before, restyled, after, checkerboards, the grid."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.display.markup import Html, el
from demis_ij.errors import InputError
from demis_ij.records import Offsets

Colours = NDArray[np.uint8]
FIELD_PX = 64
"""Side of a field of the chessboard."""
_GRID_PX = 32
_SHOWN_PX = 384
_BLANK = 255
_LINE = (214, 84, 30)
_GAP_PX = 6


@dataclass(frozen=True, eq=False)
class Pictured:
    """One registration to be shown.

    Attributes
    ----------
    title, said : str
        What it is, and what is to be said of it.
    fixed : ndarray of shape (rows, cols), uint8
    moving : ndarray of shape (rows, cols, 3), uint8
        Red first.
    compared : ndarray of shape (rows, cols), uint8
        The moving picture as it was compared: raw, restyled, its gradient.
    offsets : ndarray of shape (2, rows, cols)
        ``registered(x, y) = moving(x + dx, y + dy)``; NaN where nothing is known.
    """

    title: str
    said: str
    fixed: NDArray[np.uint8]
    moving: Colours
    compared: NDArray[np.uint8]
    offsets: Offsets


def panels(shown: Pictured) -> list[tuple[str, Colours]]:
    """Return captions and pictures (rows, cols, 3), red first; no data is white."""
    fixed = np.repeat(shown.fixed[..., None], 3, axis=2)
    after = registered(shown.moving, shown.offsets)
    return [
        ("SEM, fixed", fixed),
        ("LOM, moving", shown.moving),
        ("LOM as compared", np.repeat(shown.compared[..., None], 3, axis=2)),
        ("LOM registered", after),
        ("before", checkerboard(fixed, shown.moving)),
        ("after", checkerboard(fixed, after)),
        ("deformation", deformation_grid(shown.moving, shown.offsets)),
    ]


def registered(moving: Colours, offsets: Offsets) -> Colours:
    """Return a moving picture as offsets show it; what is not known, or lies outside it, is white."""
    y, x = np.mgrid[: offsets.shape[1], : offsets.shape[2]].astype(np.float32)
    at = [np.where(np.isfinite(o), o + p, -9).astype(np.float32) for o, p in zip(offsets, (x, y), strict=True)]
    white = (_BLANK,) * 3
    seen = cv2.remap(moving, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=white)
    return np.asarray(seen, np.uint8)


def checkerboard(one: Colours, other: Colours) -> Colours:
    """Return fields of two pictures in turn."""
    rows, cols = one.shape[:2]
    odd = (np.arange(rows)[:, None] // FIELD_PX + np.arange(cols) // FIELD_PX) % 2 > 0
    return np.asarray(np.where(odd[..., None], one, other), np.uint8)


def deformation_grid(moving: Colours, offsets: Offsets) -> Colours:
    """Return a faint moving picture with the lines that become a square grid when it is registered."""
    out = np.asarray(255 - (255 - moving.astype(np.int16)) * 0.4, np.uint8).copy()
    rows, cols = offsets.shape[1:]
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    at = np.stack([x + offsets[0], y + offsets[1]], -1)
    lines = [at[k] for k in range(_GRID_PX // 2, rows, _GRID_PX)]
    lines += [at[:, k] for k in range(_GRID_PX // 2, cols, _GRID_PX)]
    for line in lines:
        known = line[np.isfinite(line).all(axis=-1)]
        points = np.rint(np.clip(known, -9999, 9999) * 8).astype(np.int32)
        cv2.polylines(out, [points.reshape(-1, 1, 2)], False, _LINE, 1, cv2.LINE_AA, 3)
    return out


def strip(shown: Pictured, *, side_px: int = _SHOWN_PX, chosen: Sequence[str] = ()) -> Colours:
    """Return the panels of a registration side by side, (rows, cols, 3), red first.

    Parameters
    ----------
    shown : Pictured
    side_px : int
        Rows of each panel.
    chosen : sequence of str
        Captions of the panels to be shown; all when empty.
    """
    parts: list[NDArray[np.uint8]] = []
    for caption, picture in panels(shown):
        if chosen and caption not in chosen:
            continue
        small = cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA)
        parts += [np.asarray(small, np.uint8), np.full((side_px, _GAP_PX, 3), _BLANK, np.uint8)]
    return np.hstack(parts[:-1])


def figure(shown: Pictured) -> Html:
    """Return a registration as a figure: its panels with captions."""
    pictures = [
        el("figure", el("img", src=_uri(picture), alt=caption, width="100%"), el("figcaption", caption))
        for caption, picture in panels(shown)
    ]
    return el("section", el("h3", shown.title), el("p", shown.said), el("div", *pictures, class_="panels"))


def _uri(picture: Colours) -> str:
    small = cv2.resize(picture, (_SHOWN_PX, _SHOWN_PX), interpolation=cv2.INTER_AREA)
    done, coded = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 82])
    if not done:  # OpenCV says no more than this
        msg = f"OpenCV could not code a picture of {picture.shape} as JPEG"
        raise InputError(msg)
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


__all__ = ["FIELD_PX", "Pictured", "checkerboard", "deformation_grid", "figure", "panels", "registered", "strip"]
