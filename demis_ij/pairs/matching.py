"""The story of a pair: crops, matcher, estimate, exact points, the last word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import geometry
from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.geometry import Crop, Model
from demis_ij.images import TileStore
from demis_ij.matchers.refine import agreement, refine
from demis_ij.pairs.gate import Gate, estimate_pair
from demis_ij.pairs.overlap import overlap_crops, view
from demis_ij.protocols import Matcher, View
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Rejected, Tile

_CHUNK = 16  # pairs shown to a matcher together


def match_pairs(
    store: TileStore,
    layout: Layout,
    pairs: Sequence[tuple[str, str]],
    matcher: Matcher,
    config: StitchConfig,
    *,
    stage_error_frac: float | None = None,
    tried: dict[tuple[str, str], tuple[tuple[str, str], ...]] | None = None,
) -> list[PairMatch | Rejected]:
    """Return what a matcher says of each pair, judged, in the order of ``pairs``.

    Parameters
    ----------
    store : TileStore
        Where the images come from.
    layout : Layout
        Tiles with shapes, at their expected positions.
    pairs : sequence of (str, str)
        Tile ids (fixed, moving).
    matcher : Matcher
        Who is asked, in batches.
    config : StitchConfig
        Model, gate and refinement.
    stage_error_frac : float, optional
        Replaces the config's, for a second, wider search.
    tried : dict, optional
        For each pair, the matchers tried before and their reasons.
    """
    out: list[PairMatch | Rejected] = []
    for start in range(0, len(pairs), _CHUNK):
        out += _match_chunk(
            store, layout, pairs[start : start + _CHUNK], matcher, config, stage_error_frac, tried or {}
        )
    return out


def match_pair(
    store: TileStore,
    layout: Layout,
    pair: tuple[str, str],
    matcher: Matcher,
    config: StitchConfig,
    *,
    stage_error_frac: float | None = None,
    tried: tuple[tuple[str, str], ...] = (),
) -> PairMatch | Rejected:
    """Return what a matcher says of one pair, judged; see `match_pairs`."""
    return match_pairs(store, layout, [pair], matcher, config, stage_error_frac=stage_error_frac, tried={pair: tried})[
        0
    ]


@dataclass(frozen=True, eq=False)
class _Shown:
    """A pair as a matcher sees it."""

    fixed: Tile
    moving: Tile
    crops: tuple[Crop, Crop]
    views: tuple[View, View]


def _show(store: TileStore, fixed: Tile, moving: Tile, margin_px: float) -> _Shown | str:
    """Return the pair's crops and views, or why there are none."""
    crops = overlap_crops(fixed, moving, margin_px)
    if crops is None:
        return "the layout puts these tiles too far apart to share anything"
    try:
        views = view(store, fixed, crops[0]), view(store, moving, crops[1])
    except InputError as error:
        return str(error)
    for tile, seen in ((fixed, views[0]), (moving, views[1])):
        if seen.mask.mean() < 0.01:
            return f"tile {tile.id} has no data in the expected overlap"
    return _Shown(fixed, moving, crops, views)


def _match_chunk(
    store: TileStore,
    layout: Layout,
    pairs: Sequence[tuple[str, str]],
    matcher: Matcher,
    config: StitchConfig,
    stage_error_frac: float | None,
    tried: dict[tuple[str, str], tuple[tuple[str, str], ...]],
) -> list[PairMatch | Rejected]:
    frac = config.stage_error_frac if stage_error_frac is None else stage_error_frac
    shown: list[_Shown | str] = []
    for one, two in pairs:
        fixed, moving = layout[one], layout[two]
        shown.append(_show(store, fixed, moving, frac * max(*fixed.shape, *moving.shape)))
    able = [s for s in shown if isinstance(s, _Shown)]
    answers = iter(matcher.batch([s.views for s in able]) if able else [])
    out: list[PairMatch | Rejected] = []
    for pair, one_shown in zip(pairs, shown, strict=True):
        before = tried.get(pair, ())
        if isinstance(one_shown, str):
            out.append(Rejected(*pair, one_shown, matcher.name, tried=before))
        else:
            got = _judge(one_shown, next(answers), matcher, config, frac, before)
            finer: Matcher | None = getattr(matcher, "finer", None)
            if finer is not None and (isinstance(got, Rejected) or got.every is None):
                got = _judge(one_shown, finer(*one_shown.views), finer, config, frac, before)
            out.append(got)
    return out


def _judge(
    shown: _Shown,
    answer: Correspondences,
    matcher: Matcher,
    config: StitchConfig,
    stage_error_frac: float,
    tried: tuple[tuple[str, str], ...],
) -> PairMatch | Rejected:
    """Return the pair estimate of a matcher's answer: a first estimate, exact points, a final estimate."""
    fixed, moving, (fixed_crop, moving_crop) = shown.fixed, shown.moving, shown.crops
    gate = Gate.of(config, fixed, moving, stage_error_frac)
    found = _in_tiles(answer, shown)
    rough = replace(gate, max_error_px=max(gate.max_error_px, getattr(matcher, "error_px", 0.0)))
    first = estimate_pair(fixed, moving, found, model=_model(config), gate=rough, matcher=matcher.name, tried=tried)
    if isinstance(first, Rejected):
        return replace(first, matches=len(found))
    start = Correspondences(
        fixed_crop.from_tile(first.fixed_xy), moving_crop.from_tile(first.moving_xy), np.ones(first.inliers)
    )
    likeness = agreement(*shown.views, Affine.from_matrix(geometry.fit_rigid(start.moving_xy, start.fixed_xy)))
    if likeness is not None and likeness < gate.min_agreement:
        reason = (
            f"{first.inliers} matches agree, but the images do not: their correlation there is {likeness:.1f} times "
            f"that of wrong places, {gate.min_agreement:g} needed"
        )
        return Rejected(fixed.id, moving.id, reason, matcher.name, len(found), first.inliers, tried)
    if not config.refine:
        return first
    # the matcher's own places are rough: a match that is right may lie beyond the bound of the exact ones
    off = _apart(first, found, shown)
    near = found.where(off < 2 * rough.max_error_px)
    also = Correspondences(fixed_crop.from_tile(near.fixed_xy), moving_crop.from_tile(near.moving_xy), near.score)
    exact = refine(*shown.views, start, also=also)
    exact_found = _in_tiles(exact.points, shown)
    final = estimate_pair(
        fixed, moving, exact_found, model=_model(config), gate=gate, matcher=matcher.name, tried=tried
    )
    if isinstance(final, Rejected):
        return first  # too weak or too noisy a texture for exact points; the matcher's own are the best there are
    every = _in_tiles(exact.start, shown)
    off = _apart(final, every, shown)
    every = every.where(off < gate.max_error_px)
    return replace(final, matches=len(found), agreeing=len(every), every=every)


def _apart(pair: PairMatch, points: Correspondences, shown: _Shown) -> NDArray[np.float64]:
    """Return how far apart a pair's transform leaves matches, (N,) px, behind the tiles' lenses."""
    moved = geometry.apply(pair.to_fixed, shown.moving.straight(points.moving_xy))
    return np.asarray(np.linalg.norm(moved - shown.fixed.straight(points.fixed_xy), axis=1))


def _in_tiles(points: Correspondences, shown: _Shown) -> Correspondences:
    fixed, moving = shown.crops
    return Correspondences(fixed.to_tile(points.fixed_xy), moving.to_tile(points.moving_xy), points.score)


def _model(config: StitchConfig) -> Model:
    model: Any = config.model  # checked by the config
    return model  # type: ignore[no-any-return]
