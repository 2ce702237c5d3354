"""A stitched section to look at without ImageJ: its mosaic, and the overlap of a pair."""

from __future__ import annotations

import numpy as np

from demis_ij import views
from demis_ij.images import TileStore, with_shapes
from demis_ij.jobs.mosaics import make_preview
from demis_ij.records import Affine, Layout, PairMatch, Rejected
from demis_ij.render import Canvas, preview
from demis_ij.report.pictures import GREY, Strip, strips
from demis_ij.stitch import StitchResult
from demis_ij.views import Drawn


def look_at_mosaic(result: StitchResult, *, max_side_px: int = 700, overlay: bool = True) -> Drawn:
    """Return a small picture of a stitched section.

    Parameters
    ----------
    result : StitchResult
    max_side_px : int
        Longest side of the picture.
    overlay : bool
        Whether outlines, moves and seams are drawn.
    """
    preview = make_preview(result, TileStore(), max_side_px)
    if not overlay:
        return Drawn(preview.image)
    view = views.mosaic_view(
        result.layout,
        result.solution,
        result.pairs,
        result.placed_by,
        to_picture=preview.from_world,
        shape=(preview.image.shape[0], preview.image.shape[1]),
        scale=preview.scale,
    )
    return views.draw(view, preview.image)


def look_at_layout(layout: Layout, *, max_side_px: int = 700, overlay: bool = True) -> Drawn:
    """Return a small picture of a layout as it stands, with the outlines of its tiles unless ``overlay`` is False.

    Raises
    ------
    InputError
        When no tile can be read.
    """
    layout = with_shapes(layout)[0]
    image, scale = preview(layout, TileStore(), max_side_px=max_side_px)
    if not overlay:
        return Drawn(image)
    canvas = Canvas.of(layout, scale)
    view = views.layout_view(layout, to_picture=canvas.from_world, shape=(image.shape[0], image.shape[1]), scale=scale)
    return views.draw(view, image)


def look_at_pair(result: StitchResult, pair: PairMatch | Rejected, *, most_lines: int = 60) -> Drawn | None:
    """Return what two tiles share as each of them holds it, with lines between the matches that agree.

    Parameters
    ----------
    result : StitchResult
        Where the pair belongs to; its solution gives the residuals.
    pair : PairMatch or Rejected
        A pair that was not matched is shown without lines.
    most_lines : int
        More are thinned, evenly over the range of residuals.

    Returns
    -------
    Drawn or None
        None when the two tiles share nothing where the solution puts them.
    """
    solved = result.solution.layout
    both = strips(TileStore(), solved, (pair.fixed, pair.moving))
    if both is None:
        return None
    rows, cols = (max(s.image.shape[axis] for s in both) for axis in (0, 1))
    view = views.pair_view(
        pair,
        fixed_to_picture=to_picture(both[0]),
        moving_to_picture=to_picture(both[1]),
        shape=(rows, cols),
        solved=solved,
        most_lines=most_lines,
    )
    fixed, moving = (_padded(s.image, rows, cols) for s in both)
    return views.draw(view, fixed, moving)


def to_picture(strip: Strip) -> Affine:
    """Return tile px to px of the strip's picture, pixel centres at integers."""
    (x, y), (sx, sy) = (strip.crop.box.x0, strip.crop.box.y0), strip.crop.scale_xy
    return Affine(a=sx, d=sy, tx=(0.5 - x) * sx - 0.5, ty=(0.5 - y) * sy - 0.5)


def _padded(image: GREY, rows: int, cols: int) -> GREY:
    return np.pad(image, ((0, rows - image.shape[0]), (0, cols - image.shape[1])))
