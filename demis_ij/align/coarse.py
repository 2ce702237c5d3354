"""Turned and shifted sections, put where they roughly belong before anything is bent.

SIFT is asked about all neighbours, at reduced size; where it finds nothing and the flow does not bring them together
either, LoFTR and then correlation are. Where all neighbours fit as they lie nothing moves. Else the robust solver
places all sections by turns and shifts; where most of them lie well, exactly those stay, and only the others move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij import geometry
from demis_ij.align.evidence import Comparison, Series
from demis_ij.align.relaxing import Measured
from demis_ij.align.sections import Pyramid
from demis_ij.align.verdicts import correlation
from demis_ij.config import StitchConfig
from demis_ij.config.aligning import AlignConfig
from demis_ij.errors import WeightsError
from demis_ij.geometry import Box
from demis_ij.images import TileStore
from demis_ij.images.reading import Grey, Mask
from demis_ij.pairs import match_pairs
from demis_ij.pairs.gate import shift_turn_covariance
from demis_ij.protocols import MATCHERS, SOLVERS, Matcher
from demis_ij.records import Affine, Layout, PairMatch, Tile

FURTHER_MATCHERS = ("loftr", "correlation")
_SHOWN_PX = 512  # the longer side that matchers look at is at most this
_FITS_NCC = 0.42  # correlation at the coarsest level that only neighbours reach which the flow has brought together
_REACH_FRAC = 0.06  # of the shorter side: shifts up to this the flow between neighbours finds by itself
_CORNER_FRAC = 0.13  # of the shorter side: what a turn may move the corners by for that
_NEAR_FRAC = 0.035  # of the shorter side: within this of most others, a section stays exactly where it is
_TOLERANCE_FRAC = 0.03  # of the longer side: what deformation may move a match by
_BELIEVED = 0.3  # weight of a node's displacement from which it serves as a match


@dataclass(frozen=True)
class Placed:
    """Where sections were put.

    Attributes
    ----------
    motion : tuple of Affine
        World px as they were to world px as they are, one a section of the series; the identity for those that stay.
    notes : tuple of str
        One line for each pair that does not fit and was not found.
    """

    motion: tuple[Affine, ...]
    notes: tuple[str, ...] = ()


class _ReducedStore(TileStore):
    """Serves the reduced sections of a pyramid as tiles."""

    def __init__(self, pyramid: Pyramid, level: int, index: Mapping[str, int]) -> None:
        super().__init__()
        self._pyramid, self._level, self._index = pyramid, level, index

    def image(self, tile: Tile) -> Grey:
        return np.asarray(self._pyramid.get(self._index[tile.id], self._level)[0])

    def mask(self, tile: Tile) -> Mask:
        return np.asarray(self._pyramid.get(self._index[tile.id], self._level)[1]) > 0

    def normalised(self, tile: Tile) -> NDArray[np.uint8]:
        return self.image(tile)


def put_in_place(
    series: Series, names: Sequence[str], to_world: Sequence[Affine], levels: Sequence[int], config: AlignConfig,
    comparison: Comparison,
) -> Placed:  # fmt: skip
    """Return how sections must be turned and shifted so that neighbours roughly fit.

    Parameters
    ----------
    series : Series
        The usable sections as they lie.
    names : sequence of str
        Of the sections of the series; they differ.
    to_world : sequence of Affine
        Where each is thought to lie.
    levels : sequence of int
        The reductions there are, the coarsest first.
    config : AlignConfig
        The device.
    comparison : Comparison
        At the coarsest level.
    """
    count = len(series.index)
    level = _shown_level(series, levels)
    store = _ReducedStore(series.pyramid, level, dict(zip(names, series.index, strict=True)))
    layout = _layout(series, names, to_world, level)
    beside = [(names[i], names[i + 1]) for i in range(count - 1)]
    found, _ = _matched(store, layout, beside, ("sift",), config)
    unknown = [i for i, pair in enumerate(beside) if pair not in {(m.fixed, m.moving) for m in found}]
    flowing = [m for m in _flows(series, unknown, comparison) if _fits(m, series, comparison.level)]
    if len(flowing) == len(unknown) and all(_is_near(m, layout) for m in found):
        return Placed((Affine(),) * count)
    lost = [i for i in unknown if i not in {m.fixed for m in flowing}]
    further = sorted(
        {(i, j) for k in lost for i, j in ((k, k + 1), (k - 1, k + 1), (k, k + 2)) if i >= 0 and j < count}
    )
    asked = [(names[i], names[j]) for i, j in further]
    also, _ = _matched(store, layout, [p for p in asked if p not in beside], ("sift",), config)
    more, notes = _matched(store, layout, [p for p in asked if p in beside], FURTHER_MATCHERS, config)
    found += [*also, *more, *(_as_match(m, series, names, level) for m in flowing)]
    if all(_is_near(m, layout) for m in found):
        return Placed((Affine(),) * count, tuple(notes))
    solved = SOLVERS["sparse"](model="rigid", stage_sigma_px=0.5 * max(layout.tiles[0].shape))(layout, found)
    motion = [_full(solved.layout[n].to_world @ layout[n].to_world.inverse, level) for n in names]
    return Placed(_most_stay(motion, series, _NEAR_FRAC * min(series.grid.shape)), tuple(notes))


def _flows(series: Series, places: Sequence[int], comparison: Comparison) -> list[Measured]:
    """Return what the flow says of some sections and the next ones, as they lie."""
    if not places:
        return []
    still = np.zeros((len(series.index), 2, *series.grid.nodes), np.float32)
    return comparison.measure(still, [(i, i + 1, 1.0) for i in places])


def _is_near(match: PairMatch, layout: Layout) -> bool:
    """Return whether two tiles are about where the layout has them relative to each other."""
    fixed, moving = layout[match.fixed], layout[match.moving]
    middle = moving.corners.mean(axis=0, keepdims=True)
    at = np.concatenate([moving.corners, middle])
    expected = (fixed.to_world.inverse @ moving.to_world)(at)
    off = np.linalg.norm(geometry.apply(match.to_fixed, at) - expected, axis=1)
    side = min(moving.shape)
    return bool(off[4] < _REACH_FRAC * side and np.sqrt((off[:4] ** 2).mean()) < _CORNER_FRAC * side)


def _fits(measured: Measured, series: Series, level: int) -> bool:
    """Return whether two sections fit well enough, as they lie, for the flow to do the rest."""
    believed = measured.weight > _BELIEVED
    if not believed.any():
        return False
    dx, dy = (float(np.median(o[believed])) for o in measured.offsets)
    box = Box.of_shape(series.grid.level_shape(level))
    brought = series.warped(measured.fixed, measured.offsets, level, box)
    likeness = correlation(*brought, *series.warped(measured.moving, None, level, box))
    return hypot(dx, dy) < _REACH_FRAC * min(series.grid.shape) and likeness > _FITS_NCC


def _shown_level(series: Series, levels: Sequence[int]) -> int:
    """Return the finest reduction at which all sections are at most `_SHOWN_PX` px a side, else the coarsest."""
    largest = max(max(series.pyramid.get(i, levels[0])[0].shape) for i in series.index) * levels[0]
    return next((q for q in reversed(levels) if largest / q <= _SHOWN_PX), levels[0])


def _layout(series: Series, names: Sequence[str], to_world: Sequence[Affine], level: int) -> Layout:
    """Return the reduced sections as tiles; the world is reduced like them."""
    tiles = []
    for name, index, place in zip(names, series.index, to_world, strict=True):
        rows, cols = series.pyramid.get(index, level)[0].shape
        tiles.append(Tile(name, Path(name), (rows, cols), _reduced(place, level)))
    return Layout(tuple(tiles))


def _halves(level: int) -> Affine:
    """Return the map from px of a reduced image to full px."""
    return Affine(level, 0, 0, level, (level - 1) / 2, (level - 1) / 2)


def _reduced(full: Affine, level: int) -> Affine:
    return _halves(level).inverse @ full @ _halves(level)


def _full(small: Affine, level: int) -> Affine:
    return _halves(level) @ small @ _halves(level).inverse


def _matched(
    store: TileStore, layout: Layout, pairs: list[tuple[str, str]], order: Sequence[str], config: AlignConfig
) -> tuple[list[PairMatch], list[str]]:
    """Return what matchers find of some pairs, each asked only about what the one before did not find."""
    settings = StitchConfig(
        model="rigid", resolution=1.0, refine=False, max_rotation_deg=180.0, max_scale_frac=0.1,
        max_error_px=max(2.0, _TOLERANCE_FRAC * max(layout.tiles[0].shape)), device=config.device,
    )  # fmt: skip
    found: list[PairMatch] = []
    reason: dict[tuple[str, str], str] = {}
    pending = pairs
    for name in order:
        if not pending:
            break
        try:
            matcher = _matcher(name, config)
        except WeightsError as error:
            reason |= dict.fromkeys(pending, f"{name} cannot be used: {error}")
            continue
        got = match_pairs(store, layout, pending, matcher, settings, stage_error_frac=1.0)
        found += [m for m in got if isinstance(m, PairMatch)]
        missed = [m for m in got if not isinstance(m, PairMatch)]
        reason |= {(m.fixed, m.moving): m.reason for m in missed}
        pending = [(m.fixed, m.moving) for m in missed]
    return found, [
        f"sections {a} and {b} do not fit as they lie, and no turn was found: {reason[a, b]}" for a, b in pending
    ]


def _matcher(name: str, config: AlignConfig) -> Matcher:
    kind = MATCHERS[name]
    if name == "loftr":
        return kind(resolution=0.5, weights="shipped", device=config.device)  # type: ignore[no-any-return]
    return kind(resolution=1.0) if name == "sift" else kind()  # type: ignore[no-any-return]


def _as_match(measured: Measured, series: Series, names: Sequence[str], level: int) -> PairMatch:
    """Return the flow between two sections that fit as a pair of tiles with points."""
    believed = measured.weight > _BELIEVED
    rows, cols = np.nonzero(believed)
    at = np.stack([cols, rows], axis=1) * series.grid.stride
    # the step that the fixed section would take is where the moving section's tissue lies in the fixed one
    one = series.placing[measured.fixed](at + measured.offsets[:, rows, cols].T)
    two = series.placing[measured.moving](at)
    fixed_xy, moving_xy = (_halves(level).inverse(p) for p in (one, two))
    keep = slice(None, None, max(1, len(at) // 200))
    fixed_xy, moving_xy = fixed_xy[keep], moving_xy[keep]
    to_fixed = geometry.fit_rigid(moving_xy, fixed_xy)
    off = geometry.apply(to_fixed, moving_xy) - fixed_xy
    residual = float(np.sqrt((off**2).sum(axis=1).mean()))
    return PairMatch(
        names[measured.fixed], names[measured.moving], fixed_xy, moving_xy, to_fixed, "rigid",
        shift_turn_covariance(fixed_xy, residual), residual, "flow", len(at),
    )  # fmt: skip


def _most_stay(motion: Sequence[Affine], series: Series, near_px: float) -> tuple[Affine, ...]:
    """Return the motions relative to the section that most others move with; those within reach of it do not move."""
    rows, cols = series.grid.shape
    corners = np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], np.float64)
    at = np.stack([m(corners) for m in motion])
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1).max(axis=-1)
    centre = int(np.argmin(np.median(apart, axis=1)))
    relative = [motion[centre].inverse @ m for m in motion]
    near = apart[centre] < near_px
    if near.mean() < 0.5:
        return tuple(relative)
    return tuple(Affine() if n else m for m, n in zip(relative, near, strict=True))
