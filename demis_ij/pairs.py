"""Pairs of tiles: who overlaps whom, what a matcher is shown of them, and whether its answer is believed.

The story of one pair: `overlap_crops` cuts what the two tiles should share, `view` normalises it, a matcher finds
points, `estimate_pair` finds the transform that most of them agree with and judges it, `demis_ij.matchers.refine`
makes the points exact, and `estimate_pair` has the last word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import geometry
from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.geometry import Box, Crop, Estimate, Model
from demis_ij.images import TileStore
from demis_ij.matchers.refine import agreement, refine
from demis_ij.protocols import Matcher, View
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Points, Rejected, Tile

_SMALLEST_CROP_PX = 16
_EDGE_SHARE = 0.35  # of a side that neighbours share along their seam; a diagonal neighbour shares less
_CHUNK = 16  # pairs shown to a matcher together


# --- who overlaps whom ----------------------------------------------------------------------------------------------


def neighbours(layout: Layout, *, margin_frac: float = 0.0, min_overlap_px: float = 8.0) -> list[tuple[str, str]]:
    """Return the pairs of tiles that should share an edge strip, (fixed, moving) in layout order, each once.

    Two tiles are neighbours when their boxes in the world, each grown by ``margin_frac`` of its longer side (so that a
    small gap in the expected layout does not hide an overlap), share at least ``min_overlap_px`` both ways, and
    along one way at least 35 % of the smaller tile's side. Diagonal neighbours share only a corner of overlap x
    overlap; they say little that the edge neighbours do not, and their turn is poorly held: left out unless the overlap
    is so large that the corner is one.

    Parameters
    ----------
    layout : Layout
        Tiles with known shapes; tiles of shape (0, 0) have no neighbours.
    margin_frac : float
        What the expected positions may be wrong by, as a fraction of a tile's longer side.
    min_overlap_px : float
        World px.
    """
    usable = np.array([i for i, t in enumerate(layout.tiles) if min(t.shape) > 0], np.int64)
    if len(usable) < 2:
        return []
    boxes = _world_boxes([layout.tiles[i] for i in usable])
    size = boxes[:, 2:] - boxes[:, :2]
    margin = margin_frac * size.max(1)
    first, second = _near(boxes, margin)
    low = np.maximum(boxes[first, :2], boxes[second, :2])
    high = np.minimum(boxes[first, 2:], boxes[second, 2:])
    grown = high - low + (margin[first] + margin[second])[:, None] / 2
    share = (high - low) / np.minimum(size[first], size[second])
    keep = (grown.min(1) >= min_overlap_px) & (share.max(1) >= _EDGE_SHARE)
    rows = np.stack([usable[first[keep]], usable[second[keep]]], 1)
    rows = np.unique(np.sort(rows, 1), axis=0)
    ids = layout.ids
    return [(ids[i], ids[j]) for i, j in rows]


def _world_boxes(tiles: Sequence[Tile]) -> NDArray[np.float64]:
    """Return (N, 4) x0, y0, x1, y1 of the tiles in world px."""
    m = np.array([(t.to_world.a, t.to_world.b, t.to_world.c, t.to_world.d) for t in tiles]).reshape(-1, 2, 2)
    shift = np.array([(t.to_world.tx, t.to_world.ty) for t in tiles])
    sides = np.array([(t.shape[1], t.shape[0]) for t in tiles], float)
    centre = np.einsum("nij,nj->ni", m, (sides - 1) / 2) + shift
    half = np.einsum("nij,nj->ni", np.abs(m), sides) / 2
    return np.hstack([centre - half, centre + half])


def _near(boxes: NDArray[np.float64], margin: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return index pairs of boxes that may touch, from a grid hash for each class of sizes; each pair once."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = (boxes[:, 2:] - boxes[:, :2]).max(1) + margin
    level = np.ceil(np.log2(np.maximum(reach, 1e-9))).astype(np.int64)
    firsts, seconds = [], []
    for k in np.unique(level):
        cell = np.floor((centre - boxes[:, :2].min(0)) / 2.0**k).astype(np.int64) + 1
        width = int(cell[:, 0].max()) + 2
        key = cell[:, 1] * width + cell[:, 0]
        smaller = np.flatnonzero(level <= k)
        order = smaller[np.argsort(key[smaller], kind="stable")]
        sorted_keys = key[order]
        asking = np.flatnonzero(level == k)
        for down in (-1, 0, 1):
            row = key[asking] + down * width
            start, stop = np.searchsorted(sorted_keys, row - 1, "left"), np.searchsorted(sorted_keys, row + 1, "right")
            count = stop - start
            one = np.repeat(asking, count)
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            two = order[np.repeat(start, count) + within]
            once = (level[two] < k) | (one < two)
            firsts.append(one[once])
            seconds.append(two[once])
    return np.concatenate(firsts), np.concatenate(seconds)


# --- what a matcher sees --------------------------------------------------------------------------------------------


def expected_to_fixed(fixed: Tile, moving: Tile) -> Affine:
    """Return the map from moving to fixed tile px that the layout expects."""
    return fixed.to_world.inverse @ moving.to_world


def overlap_crops(fixed: Tile, moving: Tile, margin_px: float, *, multiple: int = 1) -> tuple[Crop, Crop] | None:
    """Return the part of each tile where the other may lie: the expected overlap grown by the stage's error.

    Parameters
    ----------
    fixed, moving : Tile
        With shapes.
    margin_px : float
        What the expected position may be wrong by, px.
    multiple : int
        Sides are enlarged to a multiple of this where the tile has room.

    Returns
    -------
    tuple of Crop, or None
        At full resolution, each in its own tile's px. None when the tiles do not come within reach, or share less than
        16 px one way.
    """
    to_fixed = expected_to_fixed(fixed, moving)
    boxes = []
    for tile, other, to_tile in ((fixed, moving, to_fixed), (moving, fixed, to_fixed.inverse)):
        h, w = other.shape
        m = margin_px
        grown = np.array(
            [[-0.5 - m, -0.5 - m], [w - 0.5 + m, -0.5 - m], [w - 0.5 + m, h - 0.5 + m], [-0.5 - m, h - 0.5 + m]]
        )
        seen = _clipped(to_tile(grown), tile.shape)
        if seen is None:
            return None
        box = _to_multiple(Box.around(seen) & Box.of_shape(tile.shape), tile.shape, multiple)
        if min(box.shape) < _SMALLEST_CROP_PX:
            return None
        boxes.append(box)
    return Crop(boxes[0]), Crop(boxes[1])


def _clipped(polygon: Points, shape: tuple[int, int]) -> Points | None:
    """Return the convex polygon's part inside a tile (Sutherland & Hodgman 1974), or None when there is none."""
    h, w = shape
    for axis, sign, bound in ((0, 1.0, -0.5), (0, -1.0, w - 0.5), (1, 1.0, -0.5), (1, -1.0, h - 0.5)):
        inside = sign * (polygon[:, axis] - bound)
        out = []
        for i in range(len(polygon)):
            j = (i + 1) % len(polygon)
            if inside[i] >= 0:
                out.append(polygon[i])
            if (inside[i] >= 0) != (inside[j] >= 0):
                t = inside[i] / (inside[i] - inside[j])
                out.append(polygon[i] + t * (polygon[j] - polygon[i]))
        if len(out) < 3:
            return None
        polygon = np.array(out)
    return polygon


def _to_multiple(box: Box, shape: tuple[int, int], multiple: int) -> Box:
    """Return the box with sides enlarged to a multiple, as far as the tile goes; the seam side grows inwards."""

    def side(low: int, high: int, limit: int) -> tuple[int, int]:
        wanted = min(limit, math.ceil((high - low) / multiple) * multiple)
        low = max(0, low - (wanted - (high - low))) if high == limit else low
        return low, min(limit, low + wanted)

    (x0, x1), (y0, y1) = side(box.x0, box.x1, shape[1]), side(box.y0, box.y1, shape[0])
    return Box(x0, y0, x1, y1)


def view(store: TileStore, tile: Tile, crop: Crop) -> View:
    """Return the normalised crop of a tile and its mask, at full resolution. Raises `InputError` when unreadable."""
    rows, cols = crop.box.slices
    image, mask = store.normalised(tile)[rows, cols], store.mask(tile)[rows, cols]
    return View(np.ascontiguousarray(image), np.ascontiguousarray(mask))


# --- whether an answer is believed ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a pair must satisfy before it is believed.

    Attributes
    ----------
    max_error_px : float
        A match agrees with the transform below this distance.
    min_inliers : int
        Matches that must agree.
    min_inlier_ratio : float
        Share of the matches (of those within the stage's error) that must agree.
    stage_error_px : float
        What the tiles may be shifted by against each other, along either axis, apart from their own turns.
    max_rotation : float
        What it may be turned by against the expected layout, radians.
    max_scale_frac : float
        What it may be scaled by against the expected layout.
    max_seam_error_px : float
        Largest expected error (one standard deviation) of the transform anywhere in the overlap: too few or too
        clustered points cannot hold a seam.
    rival_share : float
        A second, different transform with this share of the first's inliers makes the pair ambiguous.
    """

    max_error_px: float = 4.0
    min_inliers: int = 8
    min_inlier_ratio: float = 0.15
    stage_error_px: float = 64.0
    max_rotation: float = math.radians(8)
    max_scale_frac: float = 0.06
    max_seam_error_px: float = 2.0
    min_agreement: float = 4.0
    rival_share: float = 0.5

    @classmethod
    def of(cls, config: StitchConfig, fixed: Tile, moving: Tile, stage_error_frac: float | None = None) -> Gate:
        """Return the gate that a config means for two tiles; ``stage_error_frac`` replaces the config's."""
        frac = config.stage_error_frac if stage_error_frac is None else stage_error_frac
        return cls(
            max_error_px=config.max_error_px,
            min_inliers=config.min_inliers,
            min_inlier_ratio=config.min_inlier_ratio,
            stage_error_px=frac * max(*fixed.shape, *moving.shape),
            max_rotation=math.radians(config.max_rotation_deg),
            max_scale_frac=config.max_scale_frac,
        )


def within_stage_error(fixed: Tile, moving: Tile, found: Correspondences, gate: Gate) -> Correspondences:
    """Return the matches whose displacement a shift, turn and scale within the gate can explain."""
    expected = expected_to_fixed(fixed, moving)
    offset = np.abs(found.fixed_xy - expected(found.moving_xy)).max(1, initial=0)
    # each tile may be turned about its own centre by half of what the pair may be turned by
    arms = np.linalg.norm(found.fixed_xy - _centre(fixed), axis=1) + np.linalg.norm(
        found.moving_xy - _centre(moving), axis=1
    )
    reach = gate.stage_error_px + arms * (gate.max_rotation + gate.max_scale_frac) / 2 + gate.max_error_px
    return found.where(offset <= reach)


def _centre(tile: Tile) -> Points:
    return np.array([(tile.shape[1] - 1) / 2, (tile.shape[0] - 1) / 2])


def estimate_pair(
    fixed: Tile,
    moving: Tile,
    found: Correspondences,
    *,
    model: Model,
    gate: Gate,
    matcher: str,
    tried: Iterable[tuple[str, str]] = (),
) -> PairMatch | Rejected:
    """Return the transform that most matches agree with, or why it is not believed.

    Only matches that the stage's error can explain are considered. The transform with most inliers that turns, scales
    and shifts within the gate is judged by number, share and spread of its inliers (the expected error of the seam,
    from their covariance), and by whether a second, different transform explains nearly as many (repeated texture).

    Parameters
    ----------
    fixed, moving : Tile
        The pair.
    found : Correspondences
        Full-resolution px of the tiles.
    model : str
        translation, rigid, similarity, affine or homography.
    gate : Gate
        What must hold.
    matcher : str
        Who found the points.
    tried : iterable of (str, str)
        Matchers tried before and why each was rejected.
    """
    tried = tuple(tried)

    def rejected(reason: str, inliers: int = 0) -> Rejected:
        return Rejected(fixed.id, moving.id, reason, matcher, len(found), inliers, tried)

    needed = max(gate.min_inliers, geometry.MINIMUM_POINTS[model] + 1)
    if len(found) < needed:
        return rejected(f"{len(found)} matches found, {needed} needed")
    near = within_stage_error(fixed, moving, found, gate)
    if len(near) < needed:
        return rejected(f"{len(near)} of {len(found)} matches lie within the stage's error, {needed} needed")
    best, reason, rest = _best_within_gate(fixed, moving, near, model, gate, needed)
    if best is None:
        return rejected(reason, 0)
    count = int(best.inlier.sum())
    if count < needed:
        return rejected(f"{count} of {len(near)} matches agree, {needed} needed", count)
    if count < gate.min_inlier_ratio * len(near):
        share = f"{count} of {len(near)} matches agree ({count / len(near):.0%})"
        return rejected(f"{share}, {gate.min_inlier_ratio:.0%} needed", count)
    inliers = near.where(best.inlier)
    covariance = shift_turn_covariance(inliers.fixed_xy, best.residual_px)
    seam = _seam_error(fixed, moving, inliers.fixed_xy, covariance, best.to_fixed)
    if seam > gate.max_seam_error_px:
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(inliers.fixed_xy.T)))[::-1]
        where = f"{count} inliers spread over only {spread[0]:.0f} x {spread[1]:.0f} px (standard deviation)"
        return rejected(f"{where} leave the seam uncertain by {seam:.1f} px, {gate.max_seam_error_px:g} allowed", count)
    if rival := _rival(fixed, moving, rest, best, model, gate, count):
        return rejected(rival, count)
    return PairMatch(
        fixed.id,
        moving.id,
        inliers.fixed_xy,
        inliers.moving_xy,
        best.to_fixed,
        model,
        covariance,
        best.residual_px,
        matcher,
        len(found),
        tried,
    )


def shift_turn_covariance(fixed_xy: Points, residual_px: float) -> NDArray[np.float64]:
    """Return the (3, 3) covariance of (shift x, shift y, turn) about the centre of the inliers, px and radians.

    Least squares of a rigid motion on N points with residuals of ``residual_px`` root mean square (both axes together)
    over 2 N - 3 degrees of freedom. Residuals below 0.1 px are not taken at their word: real images share noise and
    interpolation errors that neighbouring points have in common.
    """
    n = len(fixed_xy)
    variance = max(residual_px**2 * n / max(1, 2 * n - 3), 0.1**2 / 2)
    arms = float(((fixed_xy - fixed_xy.mean(0)) ** 2).sum())
    return np.diag([variance / n, variance / n, variance / max(arms, 1e-9)])


def _overlap_corners(fixed: Tile, moving: Tile, to_fixed: NDArray[np.float64]) -> Points:
    """Return the corners of the two tiles' overlap in fixed px; of the fixed tile's nearest part when there is none."""
    seen = _clipped(geometry.apply(to_fixed, moving.corners), fixed.shape)
    return fixed.corners if seen is None else seen


def _seam_error(
    fixed: Tile, moving: Tile, fixed_xy: Points, covariance: NDArray[np.float64], to_fixed: NDArray[np.float64]
) -> float:
    """Return the largest standard deviation of a point of the overlap, px."""
    arms = _overlap_corners(fixed, moving, to_fixed) - fixed_xy.mean(0)
    return float(np.sqrt(covariance[0, 0] + covariance[1, 1] + covariance[2, 2] * (arms**2).sum(1).max()))


def _disagreement(fixed: Tile, moving: Tile, near: Correspondences, best: Estimate, gate: Gate) -> str:
    """Return how a transform contradicts the stage, or an empty string when it does not."""
    inliers = near.where(best.inlier)
    expected = expected_to_fixed(fixed, moving)
    similar = geometry.fit_similarity(expected(inliers.moving_xy), inliers.fixed_xy)
    turn = math.atan2(similar[1, 0], similar[0, 0])
    scale = math.hypot(similar[1, 0], similar[0, 0])
    # a few points on a thin strip measure scale badly: allow what their own scatter explains
    spread = math.sqrt(float(((inliers.fixed_xy - inliers.fixed_xy.mean(0)) ** 2).sum()))
    slack = 3 * best.residual_px / max(spread, 1e-9)
    if abs(turn) > gate.max_rotation + slack:
        allowed = math.degrees(gate.max_rotation)
        return f"turned by {math.degrees(turn):.1f} degrees against the layout, {allowed:.1f} allowed"
    if abs(scale - 1) > gate.max_scale_frac + slack:
        return f"scaled by {scale:.3f} against the layout, 1 +- {gate.max_scale_frac:.3f} allowed"
    # The shift is measured half way between the two centres, so that neither tile is favoured. Each may be turned about
    # its centre by up to half the pair's bound; both turned alike move the moving tile across the fixed one.
    rigid = geometry.fit_rigid(inliers.moving_xy, inliers.fixed_xy)
    half_way = (expected.inverse(_centre(fixed)) + _centre(moving)) / 2
    off = np.abs(geometry.apply(rigid, half_way[None]) - expected(half_way)).max()
    arm = np.linalg.norm(half_way - _centre(moving))
    common = arm * max(0.0, gate.max_rotation - abs(turn))
    reach = (
        gate.stage_error_px + common + gate.max_error_px + slack * np.linalg.norm(inliers.moving_xy.mean(0) - half_way)
    )
    if off > reach:
        return f"{off:.0f} px from where the layout expects it, {reach:.0f} allowed"
    return ""


def _best_within_gate(
    fixed: Tile, moving: Tile, near: Correspondences, model: Model, gate: Gate, needed: int
) -> tuple[Estimate | None, str, Correspondences]:
    """Return the transform with most inliers that agrees with the stage, else the reason, and the points it leaves.

    A transform that does not agree (the same content seen turned, say) takes its inliers with it, and the rest are
    asked again.
    """
    left = np.ones(len(near), bool)
    reason = f"the {len(near)} matches within the stage's error agree on nothing"
    for _ in range(4):
        index = np.flatnonzero(left)
        if len(index) < needed:
            break
        some = near.where(index)
        found = geometry.estimate(some.moving_xy, some.fixed_xy, model, gate.max_error_px)
        if found is None:
            break
        contradiction = _disagreement(fixed, moving, some, found, gate)
        error = np.linalg.norm(geometry.apply(found.to_fixed, near.moving_xy) - near.fixed_xy, axis=1)
        inlier = error < gate.max_error_px
        if not contradiction:
            residual = float(np.sqrt((error[inlier] ** 2).mean()))
            rest = near.where(~inlier)
            return Estimate(found.to_fixed, inlier, residual), "", rest
        if found.inlier.sum() >= needed:
            reason = f"the {int(found.inlier.sum())} matches that agree are {contradiction}"
        left &= ~inlier
    return None, reason, near


def _rival(
    fixed: Tile, moving: Tile, rest: Correspondences, best: Estimate, model: Model, gate: Gate, count: int
) -> str:
    """Return why a second transform makes the first doubtful, or an empty string."""
    enough = max(gate.min_inliers, math.ceil(gate.rival_share * count))
    if len(rest) < enough:
        return ""
    second = geometry.estimate(
        rest.moving_xy, rest.fixed_xy, "rigid" if model == "homography" else model, gate.max_error_px
    )
    if second is None or second.inlier.sum() < enough or _disagreement(fixed, moving, rest, second, gate):
        return ""
    corners = _overlap_corners(moving, fixed, np.asarray(np.linalg.inv(best.to_fixed), np.float64))
    apart = np.linalg.norm(geometry.apply(second.to_fixed, corners) - geometry.apply(best.to_fixed, corners), axis=1)
    if np.median(apart) <= 4 * gate.max_error_px:  # bent, not repeated
        return ""
    number = int(second.inlier.sum())
    return f"repeated texture: {count} matches agree, and {number} others on a place {np.median(apart):.0f} px away"


# --- the story of a pair --------------------------------------------------------------------------------------------


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
            out.append(_judge(one_shown, next(answers), matcher.name, config, frac, before))
    return out


def _judge(
    shown: _Shown,
    answer: Correspondences,
    matcher: str,
    config: StitchConfig,
    stage_error_frac: float,
    tried: tuple[tuple[str, str], ...],
) -> PairMatch | Rejected:
    """Return the pair estimate of a matcher's answer: a first estimate, exact points, a final estimate."""
    fixed, moving, (fixed_crop, moving_crop) = shown.fixed, shown.moving, shown.crops
    gate = Gate.of(config, fixed, moving, stage_error_frac)
    found = Correspondences(fixed_crop.to_tile(answer.fixed_xy), moving_crop.to_tile(answer.moving_xy), answer.score)
    first = estimate_pair(fixed, moving, found, model=_model(config), gate=gate, matcher=matcher, tried=tried)
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
        return Rejected(fixed.id, moving.id, reason, matcher, len(found), first.inliers, tried)
    if not config.refine:
        return first
    exact = refine(*shown.views, start)
    exact_found = Correspondences(fixed_crop.to_tile(exact.fixed_xy), moving_crop.to_tile(exact.moving_xy), exact.score)
    final = estimate_pair(fixed, moving, exact_found, model=_model(config), gate=gate, matcher=matcher, tried=tried)
    if isinstance(final, Rejected):
        return first  # too weak or too noisy a texture for exact points; the matcher's own are the best there are
    return replace(final, matches=len(found))


def _model(config: StitchConfig) -> Model:
    model: Any = config.model  # checked by the config
    return model  # type: ignore[no-any-return]
