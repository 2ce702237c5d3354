"""A mosaic with the outlines of its tiles, how far each was moved, and its seams coloured by residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from demis_ij.display.colours import NOT_MATCHED, residual_colour
from demis_ij.errors import InputError
from demis_ij.records import Affine, Layout, PairMatch, Points, Rejected, Solution, Tile
from demis_ij.views.overlaps import seam_line

PLACED_COLOURS = {"loftr": "#56b4e9", "sift": "#00b386", "correlation": "#cc79a7", "stage": "#e69f00", "": "#ffffff"}
"""Outlines by who placed the tile (Okabe and Ito's colours, which colour-blind people tell apart)."""
OTHER_COLOUR = "#d9d9d9"
"""Outlines of tiles placed by a matcher of the user's own."""
MOVED_PX = 0.5
"""A tile that moved less, full-resolution px, gets no arrow."""
DECIMALS = 3


@dataclass(frozen=True)
class TileView:
    """One tile of a mosaic.

    Attributes
    ----------
    id, name : str
        The layout's id; the name of the image file.
    outline : tuple of four (x, y)
        Outer corners, px of the picture.
    colour : str
        ``#rrggbb``, by who placed the tile.
    placed_by : str
        A matcher, ``stage``, or nothing for a layout that nobody solved.
    sigma_px : float or None
        One standard deviation of its position, full-resolution px; None when only the stage holds it.
    moved_px : float
        How far its centre moved against the stage, full-resolution px, without the common shift.
    """

    id: str
    name: str
    outline: tuple[tuple[float, float], ...]
    colour: str
    placed_by: str
    sigma_px: float | None
    moved_px: float


@dataclass(frozen=True)
class ArrowView:
    """The way of one tile's centre.

    Attributes
    ----------
    id : str
        The tile.
    start, end : (x, y)
        Where the stage put the centre, after the common shift, and where it lies; px of the picture. JSON calls them
        ``from`` and ``to``.
    moved_px : float
        Full-resolution px.
    """

    id: str
    start: tuple[float, float]
    end: tuple[float, float]
    moved_px: float


@dataclass(frozen=True)
class SeamView:
    """One pair of tiles.

    Attributes
    ----------
    tile_a, tile_b : str
        Fixed and moving.
    matches, inliers : int
        Points offered, and those that agree.
    dx, dy : float or None
        What the pair says that the stage was wrong by: the mean step that takes the moving tile's inliers onto the
        fixed one's where the stage put the tiles, full-resolution px. None for a pair that was not matched.
    residual_px : float or None
        Root mean square distance of the inliers in the solved mosaic, full-resolution px.
    weight : float
        Final robust weight; 0 for a pair that was not matched.
    is_used : bool
        Whether the solver believed it. JSON says ``yes`` or ``no``.
    reason : str
        Why it was not used; empty when it was.
    line : (x1, y1, x2, y2)
        The middle of the overlap, px of the picture.
    colour : str
        ``#rrggbb``, by residual; grey for a pair that was not matched.
    """

    tile_a: str
    tile_b: str
    matches: int
    inliers: int
    dx: float | None
    dy: float | None
    residual_px: float | None
    weight: float
    is_used: bool
    reason: str
    line: tuple[float, float, float, float]
    colour: str


@dataclass(frozen=True)
class MosaicView:
    """What lies over the picture of a mosaic.

    Attributes
    ----------
    title : str
    width, height : int
        Of the picture, px.
    scale : float
        Picture px a full-resolution px.
    pixel_size : (float, str) or None
        Side of a pixel of the picture, and its unit.
    tiles : tuple of TileView
        In layout order.
    arrows : tuple of ArrowView
        Of the tiles that moved.
    seams : tuple of SeamView
        Worst first: pairs that were not matched, overruled ones, then the largest residual.
    """

    title: str
    width: int
    height: int
    scale: float
    pixel_size: tuple[float, str] | None
    tiles: tuple[TileView, ...]
    arrows: tuple[ArrowView, ...] = ()
    seams: tuple[SeamView, ...] = ()


@dataclass(frozen=True)
class _Picture:
    """World px to the picture's own, integers at pixel corners."""

    from_world: Affine

    def points(self, world: Points) -> tuple[tuple[float, float], ...]:
        return tuple((rounded(x), rounded(y)) for x, y in self.from_world(world) + 0.5)


def rounded(value: float) -> float:
    """Return a number short enough to be read, finer than anything that is drawn; never minus zero."""
    return round(float(value), DECIMALS) + 0.0


def finite(value: float) -> float | None:
    """Return a number, rounded, or None for what is not known."""
    return rounded(value) if isfinite(value) else None


def layout_view(
    layout: Layout, *, to_picture: Affine, shape: tuple[int, int], scale: float, title: str = ""
) -> MosaicView:
    """Return the outlines of a layout as it stands, over a picture of it.

    Parameters
    ----------
    layout : Layout
        Tiles of unknown shape are left out.
    to_picture : Affine
        World px to px of the picture, pixel centres at integers on both sides (``Canvas.from_world``).
    shape : tuple of int
        (rows, cols) of the picture.
    scale : float
        Picture px a world px.
    title : str

    Raises
    ------
    InputError
        When the picture has no pixels or the scale is not positive.
    """
    picture = _Picture(to_picture)
    tiles = [_tile(t, picture, "", None, 0.0) for t in layout if min(t.shape) > 0]
    return _view(layout, tiles, shape, scale, title)


def mosaic_view(
    before: Layout,
    solution: Solution,
    pairs: Sequence[PairMatch | Rejected],
    placed_by: Mapping[str, str],
    *,
    to_picture: Affine,
    shape: tuple[int, int],
    scale: float,
    title: str = "",
) -> MosaicView:
    """Return outlines, moves and seams of a solved section, over a picture of its mosaic.

    Moves are measured after the layout's common shift, the median over the tiles of each coordinate, has been taken
    out: where the whole section lies says nothing about a tile.

    Parameters
    ----------
    before : Layout
        As the stage said; tiles that it lacks count as not moved.
    solution : Solution
        Where the tiles lie.
    pairs : sequence of PairMatch or Rejected
        Every pair that was looked at. Pairs of tiles that the solution does not hold are left out.
    placed_by : mapping of str to str
        Tile id to the matcher that holds it, or ``stage``.
    to_picture, shape, scale, title
        As in `layout_view`.

    Raises
    ------
    InputError
        When the picture has no pixels or the scale is not positive.
    """
    solved, picture = solution.layout, _Picture(to_picture)
    shown = [t for t in solved if min(t.shape) > 0]
    now = np.array([_centre(t) for t in shown]).reshape(-1, 2)
    expected = np.array([_centre(before[t.id]) if t.id in before else _centre(t) for t in shown]).reshape(-1, 2)
    expected = expected + (np.median(now - expected, axis=0) if len(shown) else 0.0)
    moved = np.linalg.norm(now - expected, axis=1)
    tiles = [
        _tile(t, picture, placed_by.get(t.id, "stage"), finite(solution.sigma_px.get(t.id, np.inf)), rounded(d))
        for t, d in zip(shown, moved, strict=True)
    ]
    ends = zip(picture.points(expected), picture.points(now), strict=True)
    arrows = [
        ArrowView(t.id, start, end, rounded(d))
        for t, (start, end), d in zip(shown, ends, moved, strict=True)
        if d >= MOVED_PX
    ]
    known = {t.id for t in shown}
    seams = [_seam(before, solution, p, picture) for p in pairs if p.fixed in known and p.moving in known]
    return _view(solved, tiles, shape, scale, title, arrows, sorted(seams, key=_goodness))


def _view(
    layout: Layout,
    tiles: Sequence[TileView],
    shape: tuple[int, int],
    scale: float,
    title: str,
    arrows: Sequence[ArrowView] = (),
    seams: Sequence[SeamView] = (),
) -> MosaicView:
    rows, cols = (int(v) for v in shape)
    if rows < 1 or cols < 1 or not 0 < scale < np.inf:
        msg = f"a view lies over a picture: {rows} rows, {cols} columns, scale {scale!r} found, positive numbers needed"
        raise InputError(msg)
    size = None if layout.pixel_size is None else (layout.pixel_size[0] / scale, layout.pixel_size[1])
    return MosaicView(title, cols, rows, float(scale), size, tuple(tiles), tuple(arrows), tuple(seams))


def _centre(tile: Tile) -> Points:
    rows, cols = tile.shape
    return tile.to_world(((cols - 1) / 2, (rows - 1) / 2))


def _tile(tile: Tile, picture: _Picture, placed_by: str, sigma_px: float | None, moved_px: float) -> TileView:
    name = tile.path.name if tile.page is None else f"{tile.path.name} slice {tile.page + 1}"
    colour = PLACED_COLOURS.get(placed_by, OTHER_COLOUR)
    return TileView(tile.id, name, picture.points(tile.world_corners), colour, placed_by, sigma_px, moved_px)


def _seam(before: Layout, solution: Solution, pair: PairMatch | Rejected, picture: _Picture) -> SeamView:
    fixed, moving = solution.layout[pair.fixed], solution.layout[pair.moving]
    (x1, y1), (x2, y2) = picture.points(seam_line(fixed, moving))
    line = (x1, y1, x2, y2)
    if isinstance(pair, Rejected):
        return SeamView(
            pair.fixed, pair.moving, pair.matches, pair.inliers, None, None, None, 0.0, False, pair.reason, line,
            NOT_MATCHED,
        )  # fmt: skip
    key = (pair.fixed, pair.moving)
    dx, dy = _step(before, pair)
    residual = solution.pair_residual_px.get(key, pair.residual_px)
    is_used = solution.believes(*key)
    reason = "" if is_used else "contradicts its neighbours"
    weight = rounded(solution.pair_weight.get(key, 1.0))
    return SeamView(
        pair.fixed, pair.moving, pair.matches, pair.inliers, dx, dy, finite(residual), weight, is_used, reason, line,
        residual_colour(residual),
    )  # fmt: skip


def _step(before: Layout, pair: PairMatch) -> tuple[float | None, float | None]:
    """Return the mean step from the moving tile's inliers to the fixed one's under the stage's positions."""
    if pair.fixed not in before or pair.moving not in before or not len(pair.fixed_xy):
        return None, None
    fixed = before[pair.fixed].to_world(pair.fixed_xy)
    x, y = (fixed - before[pair.moving].to_world(pair.moving_xy)).mean(0)
    return rounded(x), rounded(y)


def _goodness(seam: SeamView) -> tuple[int, float]:
    """Return what seams are sorted by: not matched, overruled, then the largest residual first."""
    if seam.is_used:
        return 2, -(seam.residual_px if seam.residual_px is not None else np.inf)
    return (0, 0.0) if seam.residual_px is None else (1, -seam.residual_px)
