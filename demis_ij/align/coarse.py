"""Turned and shifted sections, put where they roughly belong before anything is bent.

Where all neighbours fit as they lie, nothing moves. Of the others the turn and shift that stand out among all are
looked for (`demis_ij.align.searching`); where none does, SIFT and LoFTR are asked. Who moves, and who stays, is decided
by all that was found (`demis_ij.align.placing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij import geometry
from demis_ij.align.evidence import Series
from demis_ij.align.likeness import Compare, Likeness, alike, next_ones, runs_of
from demis_ij.align.placing import Said, groups_of, is_near, motions_of
from demis_ij.align.relaxing import Measured
from demis_ij.align.searching import brought_together
from demis_ij.align.sections import Pyramid
from demis_ij.config import StitchConfig
from demis_ij.config.aligning import AlignConfig
from demis_ij.errors import WeightsError
from demis_ij.images import TileStore
from demis_ij.images.reading import Grey, Mask
from demis_ij.pairs import match_pairs
from demis_ij.protocols import MATCHERS, Matcher
from demis_ij.records import Affine, Layout, PairMatch, Tile

FURTHER_MATCHERS = ("sift", "loftr")
_SHOWN_PX = 512  # the longer side that matchers look at is at most this
_FITS_FRAC = 0.06  # of the shorter side: shifts up to this the flow between neighbours finds by itself
_STANDS_OUT = 1.5  # over all other turns: this far no section does that is not a neighbour
_MAY_STAND_OUT = 1.15  # this far some do; they are believed if others agree
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
    compare: Compare,
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
    compare : callable
        Returns what measures pairs of a series at the coarsest level.
    """
    count = len(series.index)
    fitting, enough = _fitting(series, compare)
    lost = [(i, i + 1) for i in range(count - 1) if (i, i + 1) not in fitting]
    if not lost:
        return Placed((Affine(),) * count)
    asked = {(i + a, j + b) for i, j in lost for a, b in ((0, 0), (-1, 0), (0, 1))} - fitting
    alone = runs_of([j for i, j in lost if (j, j + 1) in lost])
    asked |= {(run[0] - 1, run[-1] + 1) for run in alone}  # what may show something else is stepped over
    said = _searched(
        series, sorted(p for p in asked if p[0] >= 0 and p[1] < count), levels[0], to_world, compare, enough
    )
    shape = _shape(series, levels[0])
    known = {(s.fixed, s.moving) for s in said if s.weight >= _STANDS_OUT - 1 or is_near(s.motion, shape)}
    more, reason = _matched(series, names, to_world, levels, [p for p in lost if p not in known], config)
    said += more
    groups = groups_of(count, fitting | {(s.fixed, s.moving) for s in said if is_near(s.motion, shape)})
    motion, reached = motions_of(groups, said, shape)
    notes = (
        f"sections {names[i]} and {names[j]} do not fit as they lie, and no turn was found: {reason[i, j]}"
        for i, j in lost
        if (i, j) in reason and not (reached[i] and reached[j])
    )
    return Placed(motion, tuple(notes))


# --- which sections fit, and how the others come together -------------------------------------------------------------


def _fitting(series: Series, compare: Compare) -> tuple[set[tuple[int, int]], float]:
    """Return the neighbours that fit as they lie, and how alike sections are that do."""
    enough = Likeness.of(series, compare).enough
    told = alike(series, compare, next_ones(series))
    return {(m.fixed, m.moving) for m, c in told if _fits(m, series, c, enough)}, enough


def _fits(measured: Measured, series: Series, likeness: float, enough: float) -> bool:
    """Return whether two sections fit well enough, as they lie, for the flow to do the rest."""
    believed = measured.weight > _BELIEVED
    if not believed.any():
        return False
    dx, dy = (float(np.median(o[believed])) for o in measured.offsets)
    return hypot(dx, dy) < _FITS_FRAC * min(series.grid.shape) and likeness > enough


def _searched(
    series: Series, asked: Sequence[tuple[int, int]], level: int, to_world: Sequence[Affine], compare: Compare,
    enough: float,
) -> list[Said]:  # fmt: skip
    """Return what pairs of sections say whose best turn and shift stand out among all others."""
    out = []
    for i, j in asked:
        found = brought_together(*(series.pyramid.get(series.index[k], level) for k in (i, j)))
        if found is None or found.stands_out < _MAY_STAND_OUT:
            continue
        to_fixed = _refined(series, (i, j), _full(found.to_fixed, level), compare, enough)
        motion = to_world[i] @ to_fixed @ to_world[j].inverse
        out.append(Said(i, j, motion, min(found.stands_out - 1, 1.0)))
    return out


def _refined(series: Series, pair: tuple[int, int], to_fixed: Affine, compare: Compare, enough: float) -> Affine:
    """Return the rigid motion of all that the flow finds between two sections once one is moved; as it was if none."""
    i, j = (series.index[k] for k in pair)
    placing = series.placing[pair[0]]
    two = Series(series.pyramid, (i, j), (placing, to_fixed.inverse @ placing), series.grid)
    ((flow, likeness),) = alike(two, compare, next_ones(two))
    if not _fits(flow, two, likeness, enough):
        return to_fixed
    rows, cols = np.nonzero(flow.weight > _BELIEVED)
    at = np.stack([cols, rows], axis=1) * two.grid.stride
    # the step that the fixed section would take is where the moving section's tissue lies in the fixed one
    fixed_xy, moving_xy = two.placing[0](at + flow.offsets[:, rows, cols].T), two.placing[1](at)
    return Affine.from_matrix(geometry.fit_rigid(moving_xy, fixed_xy))


def _shape(series: Series, level: int) -> tuple[int, int]:
    """Return the (rows, cols) in the middle of those of all sections, full px."""
    rows, cols = np.median([series.pyramid.get(i, level)[0].shape for i in series.index], axis=0) * level
    return int(rows), int(cols)


# --- matchers ---------------------------------------------------------------------------------------------------------


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
    series: Series, names: Sequence[str], to_world: Sequence[Affine], levels: Sequence[int],
    pairs: Sequence[tuple[int, int]], config: AlignConfig,
) -> tuple[list[Said], dict[tuple[int, int], str]]:  # fmt: skip
    """Return what matchers say of some pairs, each asked only about what the one before did not find, or why not."""
    if not pairs:
        return [], {}
    level = _shown_level(series, levels)
    layout = _layout(series, names, to_world, level)
    store = _ReducedStore(series.pyramid, level, dict(zip(names, series.index, strict=True)))
    settings = StitchConfig(
        model="rigid", resolution=1.0, refine=False, max_rotation_deg=180.0, max_scale_frac=0.1,
        max_error_px=max(2.0, _TOLERANCE_FRAC * max(layout.tiles[0].shape)), device=config.device,
    )  # fmt: skip
    place = {name: k for k, name in enumerate(names)}
    out: list[Said] = []
    reason = dict.fromkeys(pairs, "")
    for name in FURTHER_MATCHERS:
        pending = [(names[i], names[j]) for i, j in reason]
        try:
            matcher = _matcher(name, config)
        except WeightsError as error:
            reason = dict.fromkeys(reason, f"{name} cannot be used: {error}")
            continue
        got = match_pairs(store, layout, pending, matcher, settings, stage_error_frac=1.0) if pending else []
        for match in got:
            pair = place[match.fixed], place[match.moving]
            if isinstance(match, PairMatch):
                to_fixed = _full(Affine.from_matrix(match.to_fixed), level)
                out.append(Said(*pair, to_world[pair[0]] @ to_fixed @ to_world[pair[1]].inverse, 1.0))
                del reason[pair]
            else:
                reason[pair] = match.reason
    return out, reason


def _matcher(name: str, config: AlignConfig) -> Matcher:
    kind = MATCHERS[name]
    if name == "loftr":
        return kind(resolution=0.5, weights="shipped", device=config.device)  # type: ignore[no-any-return]
    return kind(resolution=1.0)  # type: ignore[no-any-return]
