"""What lies over a picture: lines, arrows, outlines, points and labels, to an ImageJ overlay and back.

Coordinates follow ImageJ's regions: px of the picture with integers at pixel *corners*, (0, 0) the outer corner of the
first pixel. `demis_ij.views` has the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from demis_ij.errors import InputError

XY = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """How a mark is drawn.

    Attributes
    ----------
    colour : str
        ``#rrggbb``.
    width_px : float
        Of its strokes; 0 is the thinnest line that a screen shows.
    name : str
        Shown in ImageJ's list of regions.
    plane : int
        The plane of a stack it lies on, from 1; 0 is all of them.
    """

    colour: str = "#ffff00"
    width_px: float = 0.0
    name: str = ""
    plane: int = 0


@dataclass(frozen=True)
class Line(_Drawn):
    """A line from ``start`` to ``end``."""

    start: XY
    end: XY


@dataclass(frozen=True)
class Arrow(_Drawn):
    """An arrow from ``start`` to its head at ``end``."""

    start: XY
    end: XY


@dataclass(frozen=True)
class Outline(_Drawn):
    """A closed polygon; other regions of ImageJ (rectangles, ovals, traced ones) come back as one."""

    corners: tuple[XY, ...]


@dataclass(frozen=True)
class Points(_Drawn):
    """Single points."""

    at: tuple[XY, ...]


@dataclass(frozen=True)
class Label(_Drawn):
    """Text with its upper left corner at ``at``, ``height_px`` high."""

    at: XY
    text: str
    height_px: int = 14


Mark = Line | Arrow | Outline | Points | Label


def to_overlay(marks: Iterable[Mark]) -> Any:
    """Return an ij.gui.Overlay of marks.

    Raises
    ------
    InputError
        A colour that is none.
    """
    import jpype

    overlay = jpype.JClass("ij.gui.Overlay")()
    for mark in marks:
        overlay.add(_roi(mark))
    return overlay


def from_overlay(overlay: Any) -> tuple[Mark, ...]:
    """Return the marks of an ij.gui.Overlay; None is none."""
    return () if overlay is None else tuple(_mark(roi) for roi in overlay.toArray())


def _roi(mark: Mark) -> Any:
    import jpype

    gui = {name: jpype.JClass(f"ij.gui.{name}") for name in ("Line", "Arrow", "PolygonRoi", "PointRoi", "TextRoi")}
    match mark:
        case Line(start, end) | Arrow(start, end):
            roi = gui[type(mark).__name__](*map(float, (*start, *end)))
        case Outline(corners):
            roi = gui["PolygonRoi"](*_floats(corners), 2)  # Roi.POLYGON
        case Points(at):
            roi = gui["PointRoi"](*_floats(at))
            roi.setPointType(2)  # PointRoi.DOT: crosses would hide what they mark
            roi.setSize(1)
        case Label(at, text, height):
            font = jpype.JClass("java.awt.Font")("SansSerif", 0, height)
            roi = gui["TextRoi"](float(at[0]), float(at[1]), text, font)
    roi.setStrokeColor(_colour(mark.colour))
    if mark.width_px:
        roi.setStrokeWidth(float(mark.width_px))
        if isinstance(mark, Arrow):
            roi.setHeadSize(max(4.0, 4.0 * mark.width_px))
    if mark.name:
        roi.setName(mark.name)
    if mark.plane:
        roi.setPosition(mark.plane)
    return roi


def _mark(roi: Any) -> Mark:
    import jpype

    kind = str(roi.getClass().getSimpleName())
    colour = roi.getStrokeColor()
    drawn: dict[str, Any] = {
        "colour": "#ffff00" if colour is None else f"#{int(colour.getRGB()) & 0xFFFFFF:06x}",
        "width_px": float(roi.getStrokeWidth()),
        "name": str(roi.getName() or ""),
        "plane": int(roi.getPosition()),
    }
    if kind in {"Line", "Arrow"}:
        line = Arrow if kind == "Arrow" else Line
        return line((float(roi.x1d), float(roi.y1d)), (float(roi.x2d), float(roi.y2d)), **drawn)
    if isinstance(roi, jpype.JClass("ij.gui.TextRoi")):
        at = (float(roi.getXBase()), float(roi.getYBase()))
        return Label(at, str(roi.getText()).rstrip("\n"), int(roi.getCurrentFont().getSize()), **drawn)
    polygon = roi.getFloatPolygon()
    corners = tuple((float(polygon.xpoints[i]), float(polygon.ypoints[i])) for i in range(int(polygon.npoints)))
    return Points(corners, **drawn) if kind == "PointRoi" else Outline(corners, **drawn)


def _floats(points: Iterable[XY]) -> tuple[Any, Any]:
    import jpype

    array = jpype.JArray(jpype.JFloat)
    listed = list(points)
    return array([float(x) for x, _ in listed]), array([float(y) for _, y in listed])


def _colour(text: str) -> Any:
    import jpype

    digits = text.removeprefix("#")
    if len(digits) != 6 or not all(d in "0123456789abcdefABCDEF" for d in digits):
        msg = f"{text!r} is no colour: '#rrggbb' is needed"
        raise InputError(msg)
    return jpype.JClass("java.awt.Color")(int(digits, 16))
