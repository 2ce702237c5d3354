"""Two tiles' pictures of what they share, with lines between the points that agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demis_ij.display.colours import residual_colour
from demis_ij.errors import InputError
from demis_ij.geometry import apply
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Points, Rejected
from demis_ij.views.mosaic import finite, rounded

MOST_LINES = 200
"""More lines than these hide the picture; they are drawn evenly over the range of residuals."""


@dataclass(frozen=True)
class PairView:
    """What lies over the two pictures of a pair, which have one size.

    Attributes
    ----------
    title : str
    fixed, moving : str
        Tile ids; the first and the second slice.
    width, height : int
        Of each picture, px.
    lines : tuple of (x1, y1, x2, y2, residual_px)
        From a point of the fixed tile's picture to the same tissue in the moving tile's, px of the pictures; the
        residual is in full-resolution px. Best first, so that the worst are drawn last, on top.
    colours : tuple of str
        ``#rrggbb`` of each line.
    residual_px : float or None
        Root mean square residual of all inliers; None for a pair that was not matched.
    inliers, matches : int
        Points that agree, and points offered.
    """

    title: str
    fixed: str
    moving: str
    width: int
    height: int
    lines: tuple[tuple[float, float, float, float, float], ...]
    colours: tuple[str, ...]
    residual_px: float | None
    inliers: int
    matches: int


def pair_view(
    pair: PairMatch | Rejected,
    *,
    fixed_to_picture: Affine,
    moving_to_picture: Affine,
    shape: tuple[int, int],
    solved: Layout | None = None,
    title: str = "",
    most_lines: int = MOST_LINES,
) -> PairView:
    """Return lines between the points of two tiles that agree, over pictures of both.

    Parameters
    ----------
    pair : PairMatch or Rejected
        A pair that was not matched has no lines. Where a match still knows every point that the matcher found, those
        are shown, else the points that the solver was given.
    fixed_to_picture, moving_to_picture : Affine
        Tile px to px of the tile's picture, pixel centres at integers on both sides.
    shape : tuple of int
        (rows, cols) of both pictures.
    solved : Layout, optional
        Residuals are distances in this layout; without it those of the pair's own transform.
    title : str
        Found by itself when empty.
    most_lines : int
        More inliers than these are thinned, evenly over the range of residuals.

    Raises
    ------
    InputError
        When the pictures have no pixels.
    """
    rows, cols = (int(v) for v in shape)
    if rows < 1 or cols < 1:
        msg = f"a pair is shown over pictures: {rows} rows and {cols} columns found, positive numbers needed"
        raise InputError(msg)
    title = title or f"{pair.fixed} - {pair.moving}"
    if isinstance(pair, Rejected):
        return PairView(title, pair.fixed, pair.moving, cols, rows, (), (), None, pair.inliers, pair.matches)
    points = pair.every or Correspondences(pair.fixed_xy, pair.moving_xy, np.zeros(len(pair.fixed_xy)))
    residuals = residuals_px(pair, points, solved)
    order = np.argsort(residuals, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), most_lines)).round().astype(int))]
    start = fixed_to_picture(points.fixed_xy[shown]) + 0.5
    end = moving_to_picture(points.moving_xy[shown]) + 0.5
    lines = tuple(
        (rounded(x1), rounded(y1), rounded(x2), rounded(y2), rounded(r))
        for (x1, y1), (x2, y2), r in zip(start, end, residuals[shown], strict=True)
    )
    rms = finite(float(np.sqrt(np.mean(residuals**2)))) if len(residuals) else None
    colours = tuple(residual_colour(r) for r in residuals[shown])
    return PairView(title, pair.fixed, pair.moving, cols, rows, lines, colours, rms, pair.inliers, pair.matches)


def residuals_px(pair: PairMatch, points: Correspondences, solved: Layout | None = None) -> Points:
    """Return every point's distance in full-resolution px, (N,): in a solved layout, else after the pair's fit."""
    if solved is None:
        apart = points.fixed_xy - apply(pair.to_fixed, points.moving_xy)
    else:
        apart = solved[pair.fixed].in_world(points.fixed_xy) - solved[pair.moving].in_world(points.moving_xy)
    return np.asarray(np.linalg.norm(apart, axis=1))
