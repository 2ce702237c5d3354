"""Views drawn over their pictures as pixels, for notebooks without ImageJ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.display.colours import NOT_MATCHED
from demis_ij.errors import InputError
from demis_ij.views.mosaic import MosaicView
from demis_ij.views.pair import PairView

Pixels = NDArray[np.uint8]

QUALITY = 85
GAP_PX = 16
"""Between the two pictures of a pair."""
_FINE = 4  # binary digits of a fraction of a px in OpenCV's drawing


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture that a notebook shows.

    Attributes
    ----------
    pixels : ndarray of shape (rows, cols) or (rows, cols, 3), uint8
        Grey, or red, green and blue.
    """

    pixels: Pixels

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        is_picture = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        if not is_picture or dtype != np.uint8 or not self.pixels.size:
            msg = f"a picture is (rows, cols) or (rows, cols, 3) uint8 and not empty, found {shape} {dtype}"
            raise InputError(msg)

    def __repr__(self) -> str:
        return f"<picture of {self.pixels.shape[1]} x {self.pixels.shape[0]} px>"

    def _repr_jpeg_(self) -> bytes:
        image = self.pixels if self.pixels.ndim == 2 else self.pixels[..., ::-1]
        done, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
        if not done:  # OpenCV says no more than this
            msg = f"OpenCV could not code a picture of {image.shape} as JPEG"
            raise InputError(msg)
        return coded.tobytes()


def beside(*pictures: Drawn, gap_px: int = GAP_PX) -> Drawn:
    """Return pictures side by side, at the top of a white ground."""
    if not pictures:
        msg = "no picture to put beside another"
        raise InputError(msg)
    height = max(p.pixels.shape[0] for p in pictures)
    columns: list[Pixels] = []
    for p in pictures:
        image = _in_colour(p.pixels)
        rows, cols = height - image.shape[0], gap_px if columns else 0
        columns.append(np.pad(image, ((0, rows), (cols, 0), (0, 0)), constant_values=255))
    return Drawn(np.hstack(columns))


@overload
def draw(view: MosaicView, image: Pixels) -> Drawn: ...
@overload
def draw(view: PairView, image: Pixels, moving_image: Pixels) -> Drawn: ...
def draw(view: MosaicView | PairView, image: Pixels, moving_image: Pixels | None = None) -> Drawn:
    """Return a view over its picture: outlines, arrows and seams of a mosaic, or the lines between two pictures.

    Parameters
    ----------
    view : MosaicView or PairView
    image : ndarray of shape (view.height, view.width), uint8
        The mosaic, or the fixed tile's picture.
    moving_image : ndarray of the same shape, uint8, optional
        The moving tile's picture: needed for a pair, which is drawn side by side, or one below the other when wide.

    Raises
    ------
    InputError
        When a picture is missing or is not of the view's size.
    """
    if isinstance(view, MosaicView):
        return _mosaic(view, _checked(image, view))
    if moving_image is None:
        msg = f"the pair {view.title} needs two pictures, one found"
        raise InputError(msg)
    return _pair(view, _checked(image, view), _checked(moving_image, view))


def _checked(image: Pixels, view: MosaicView | PairView) -> Pixels:
    if image.shape[:2] != (view.height, view.width) or image.dtype != np.uint8:
        msg = f"a picture of {(view.height, view.width)} uint8 is needed, found {image.shape[:2]} {image.dtype}"
        raise InputError(msg)
    return _in_colour(image)


def _in_colour(image: Pixels) -> Pixels:
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()


def _mosaic(view: MosaicView, image: Pixels) -> Drawn:
    side = min((_side(t.outline) for t in view.tiles), default=0.0)
    width = 1 if side < 150 else 2
    for tile in view.tiles:
        corners = np.array([_fine(p) for p in tile.outline], np.int32)
        cv2.polylines(image, [corners], True, _rgb(tile.colour), 1, cv2.LINE_AA, _FINE)
    for seam in reversed(view.seams):  # worst on top
        ends = _fine(seam.line[:2]), _fine(seam.line[2:])
        cv2.line(image, *ends, (0, 0, 0), width + 3, cv2.LINE_AA, _FINE)
        if seam.colour == NOT_MATCHED:
            _dashes(image, seam.line, _rgb(seam.colour), width)
        else:
            cv2.line(image, *ends, _rgb(seam.colour), width + 1, cv2.LINE_AA, _FINE)
    for arrow in view.arrows:
        start, end = _fine(arrow.start), _fine(arrow.end)
        if start != end:
            cv2.arrowedLine(image, start, end, (0, 0, 0), width + 2, cv2.LINE_AA, _FINE, 0.3)
            cv2.arrowedLine(image, start, end, (255, 255, 255), width, cv2.LINE_AA, _FINE, 0.3)
    return Drawn(image)


def _dashes(image: Pixels, line: tuple[float, float, float, float], colour: tuple[int, int, int], width: int) -> None:
    start, end = np.array(line[:2]), np.array(line[2:])
    number = max(1, int(np.linalg.norm(end - start) // 12))
    for i in range(number):
        a, b = (start + (end - start) * (i + part) / number for part in (0.0, 0.5))
        cv2.line(image, _fine(a), _fine(b), colour, width, cv2.LINE_AA, _FINE)


def _pair(view: PairView, fixed: Pixels, moving: Pixels) -> Drawn:
    wide = view.width > view.height
    shift = np.array([0, view.height + GAP_PX]) if wide else np.array([view.width + GAP_PX, 0])
    gap_shape = (GAP_PX, view.width, 3) if wide else (view.height, GAP_PX, 3)
    image = np.concatenate([fixed, np.full(gap_shape, 255, np.uint8), moving], axis=0 if wide else 1)
    for (x1, y1, x2, y2, _), colour in zip(view.lines, view.colours, strict=True):
        start, end = _fine((x1, y1)), _fine(np.array((x2, y2)) + shift)
        cv2.line(image, start, end, _rgb(colour), 1, cv2.LINE_AA, _FINE)
        for at in (start, end):
            cv2.circle(image, at, 2 << _FINE, _rgb(colour), -1, cv2.LINE_AA, _FINE)
    return Drawn(image)


def _fine(point: NDArray[np.float64] | tuple[float, ...]) -> tuple[int, int]:
    """Return a point as OpenCV draws it: px with a fraction, pixel centres at integers."""
    x, y = ((float(v) - 0.5) * (1 << _FINE) for v in point)
    return round(x), round(y)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _side(outline: tuple[tuple[float, float], ...]) -> float:
    return float(np.ptp(np.array(outline), axis=0).min())
