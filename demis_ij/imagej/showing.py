"""Layouts, mosaics and matches as pictures in ImageJ, with what `demis_ij.views` says over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demis_ij import views
from demis_ij.errors import InputError
from demis_ij.imagej.marks import Arrow, Label, Line, Mark, Outline, Points
from demis_ij.imagej.painting import display_range, paint, paint_tile
from demis_ij.imagej.picture import Picture
from demis_ij.imagej.session import running_or_started
from demis_ij.images import TileStore, with_shapes
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Solution, Tile

LONGEST_PX = 2000
"""Side of a picture that is drawn here; an image of one's own may have any size."""

FACTORS = (1, 2, 5, 10, 20, 50, 100)
"""How many times too long arrows may be drawn: moves of a few px are not seen on a mosaic."""

MOST_NAMES = 60
"""More tiles than these are not named on the picture; the list of regions has all names."""

MARGIN_PX = 16
"""Around what two tiles share."""


class Stitched(Protocol):
    """What `show_mosaic` and `show_matches` ask of a result; `demis_ij.stitch.StitchResult` has it."""

    @property
    def layout(self) -> Layout:
        """As the stage said."""

    @property
    def solution(self) -> Solution:
        """Where the tiles lie."""

    @property
    def pairs(self) -> Sequence[PairMatch | Rejected]:
        """Every pair that was looked at."""

    @property
    def placed_by(self) -> Mapping[str, str]:
        """Tile id to the matcher that holds it, or ``stage``."""


def show_layout(layout: Layout, *, longest_px: int = LONGEST_PX) -> Picture:
    """Return the tiles where a layout has them, later ones on top, with their outlines.

    Parameters
    ----------
    layout : Layout
        Its images are read; those that cannot be are left out.
    longest_px : int
        Longest side of the picture.

    Raises
    ------
    InputError
        There is no tile that can be read.
    """
    layout = with_shapes(layout)[0]
    image, to_picture, scale = paint(layout, TileStore(), longest_px)
    view = views.layout_view(
        layout, to_picture=to_picture, shape=image.shape[:2], scale=scale, title=f"layout, section {layout.section}"
    )
    return _shown(view, image)


def show_mosaic(
    result: Stitched | Solution | views.MosaicView,
    image: NDArray[Any] | Picture | None = None,
    *,
    longest_px: int = LONGEST_PX,
) -> Picture:
    """Return a mosaic with the outlines of its tiles, an arrow for each that was moved, and its seams by residual.

    Arrows lead from where the stage had a tile's centre, after the shift that all tiles share, to where it lies; short
    ones are drawn too long by one factor, which the title tells.

    Parameters
    ----------
    result : StitchResult, Solution or MosaicView
        A solution alone has outlines only. A view needs its image.
    image : ndarray of shape (rows, cols), or Picture, optional
        The mosaic, over the outer edges of the solved layout, reduced or not. Without it the tiles are drawn where
        they lie, later ones on top and unblended.
    longest_px : int
        Longest side of a picture that is drawn here.

    Raises
    ------
    InputError
        The image is not of the shape that the view or the layout says, or no tile can be read.
    """
    if isinstance(result, views.MosaicView):
        if image is None:
            msg = "a view lies over an image: give the mosaic too"
            raise InputError(msg)
        return _shown(result, image)
    layout = result.layout if isinstance(result, Solution) else result.solution.layout
    if image is None:
        layout = with_shapes(layout)[0]
        image, to_picture, scale = paint(layout, TileStore(), longest_px)
    else:
        to_picture, scale = _over_all(layout, _shape(image))
    title = f"mosaic, section {layout.section}"
    if isinstance(result, Solution):
        view = views.layout_view(layout, to_picture=to_picture, shape=_shape(image), scale=scale, title=title)
    else:
        view = views.mosaic_view(
            result.layout, result.solution, result.pairs, result.placed_by, to_picture=to_picture,
            shape=_shape(image), scale=scale, title=title,
        )  # fmt: skip
    return _shown(view, image)


def show_matches(result: Stitched, fixed: str, moving: str) -> Picture:
    """Return what two tiles share as a stack of two slices, with a line for each match, coloured by its residual.

    The first slice is the fixed tile, the second the moving one, both where the stage put them: a line leads from a
    point in the first to the same tissue in the second. `demis_ij.views.residual_colour` says what a colour means.

    Parameters
    ----------
    result : StitchResult
        Holds the pair.
    fixed, moving : str
        Tile ids, in either order.

    Raises
    ------
    InputError
        The pair was not looked at, a tile cannot be read, or the two are too far apart to share anything.
    """
    pair = _pair(result, fixed, moving)
    tiles = [with_shapes(Layout((result.layout[name],)))[0].tiles[0] for name in (pair.fixed, pair.moving)]
    origin, shape = _shared(*tiles)
    to_box = Affine.translation(-origin[0], -origin[1])
    store = TileStore()
    stack = np.stack([paint_tile(store, tile, to_box @ tile.to_world, shape) for tile in tiles])
    view = views.pair_view(
        pair, fixed_to_picture=to_box @ tiles[0].to_world, moving_to_picture=to_box @ tiles[1].to_world, shape=shape,
        solved=result.solution.layout,
    )  # fmt: skip
    marks: list[Mark] = []
    for (x1, y1, x2, y2, residual), colour in zip(view.lines, view.colours, strict=True):
        marks.append(Line((x1, y1), (x2, y2), colour=colour, name=f"{residual:.2f} px"))
        marks.append(Points(((x1, y1),), colour=colour, plane=1))
        marks.append(Points(((x2, y2),), colour=colour, plane=2))
    session = running_or_started()
    picture = session.to_imageplus(
        stack, title=view.title, axes="zyx", pixel_size=result.layout.pixel_size, display_range=display_range(stack),
        marks=marks,
    )  # fmt: skip
    return session.show(picture)


def marks_of(view: views.MosaicView) -> list[Mark]:
    """Return what a mosaic's view says as marks: outlines, seams, arrows, then names on top."""
    width = max(1.0, max(view.width, view.height) / 1000)
    marks: list[Mark] = [Outline(t.outline, colour=t.colour, width_px=width, name=t.name) for t in view.tiles]
    for seam in reversed(view.seams):  # worst on top
        x1, y1, x2, y2 = seam.line
        told = seam.reason if seam.residual_px is None else f"{seam.residual_px:.2f} px"
        name = f"{seam.tile_a} - {seam.tile_b}: {told}"
        marks.append(Line((x1, y1), (x2, y2), colour=seam.colour, width_px=2 * width, name=name))
    factor = exaggeration(view)
    for arrow in view.arrows:
        start = tuple(e - factor * (e - s) for s, e in zip(arrow.start, arrow.end, strict=True))
        name = f"{arrow.id}: {arrow.moved_px} px"
        marks.append(Arrow((start[0], start[1]), arrow.end, colour="#ffffff", width_px=1.5 * width, name=name))
    if len(view.tiles) <= MOST_NAMES:
        for tile in view.tiles:
            at = min(x for x, _ in tile.outline) + 4 * width, min(y for _, y in tile.outline) + 4 * width
            marks.append(Label(at, tile.name, height_px=round(14 * width), colour=tile.colour))
    return marks


def exaggeration(view: views.MosaicView) -> int:
    """Return how many times too long arrows are drawn, so that the longest is at most a twelfth of the picture."""
    longest = max((hypot(a.end[0] - a.start[0], a.end[1] - a.start[1]) for a in view.arrows), default=0.0)
    room = max(view.width, view.height) / 12
    return max((f for f in FACTORS if f * longest <= room), default=1) if longest else 1


def _shown(view: views.MosaicView, image: NDArray[Any] | Picture) -> Picture:
    if _shape(image) != (view.height, view.width):
        msg = f"the view is of {view.height} rows and {view.width} columns, the image has {_shape(image)}"
        raise InputError(msg)
    factor = exaggeration(view)
    title = view.title if factor == 1 else f"{view.title} (arrows {factor} times as long)"
    session = running_or_started()
    if isinstance(image, Picture):
        return session.show(image.draw(marks_of(view)))
    shown = display_range(image) if image.ndim == 2 else None
    picture = session.to_imageplus(image, title=title, pixel_size=view.pixel_size, display_range=shown)
    return session.show(picture.draw(marks_of(view)))


def _shape(image: NDArray[Any] | Picture) -> tuple[int, int]:
    names = image.axes if isinstance(image, Picture) else "yxs"
    rows = names.index("y")
    return int(image.shape[rows]), int(image.shape[rows + 1])


def _over_all(layout: Layout, shape: tuple[int, int]) -> tuple[Affine, float]:
    """Return world px to picture px, and the scale, of an image that covers a layout from edge to edge."""
    x0, y0, x1, y1 = layout.bounds()
    rows, cols = shape
    scale = cols / (x1 - x0)
    if abs(rows - scale * (y1 - y0)) > max(2.0, 2.0 * scale):
        msg = (
            f"the image has {rows} rows and {cols} columns, the layout is {y1 - y0:.0f} px high and {x1 - x0:.0f} wide"
        )
        raise InputError(msg)
    return Affine(a=scale, d=scale, tx=-x0 * scale - 0.5, ty=-y0 * scale - 0.5), scale


def _pair(result: Stitched, fixed: str, moving: str) -> PairMatch | Rejected:
    for pair in result.pairs:
        if {pair.fixed, pair.moving} == {fixed, moving}:
            return pair
    partners = sorted({p.moving if p.fixed == fixed else p.fixed for p in result.pairs if fixed in {p.fixed, p.moving}})
    told = f"{fixed} was compared with {', '.join(partners)}" if partners else f"no pair has a tile {fixed!r}"
    msg = f"the pair {fixed} - {moving} was not looked at: {told}"
    raise InputError(msg)


def _shared(fixed: Tile, moving: Tile) -> tuple[tuple[float, float], tuple[int, int]]:
    """Return (x, y) of the first px and (rows, cols) of what two tiles share in the world, with a margin."""
    polygon = views.overlap_polygon(fixed, moving)
    if len(polygon) < 3:
        msg = f"{fixed.id} and {moving.id} do not overlap where the stage put them"
        raise InputError(msg)
    low, high = np.floor(polygon.min(0)) - MARGIN_PX, np.ceil(polygon.max(0)) + MARGIN_PX
    cols, rows = (int(v) for v in high - low)
    return (float(low[0]), float(low[1])), (rows, cols)
