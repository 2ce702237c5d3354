"""Pairs of tiles of two sections: who lies over whom, and what they have in common.

Serial sections show the same cells cut anew, bent a little: tiles are compared as wholes, reduced to a size at which
cells are what is seen, and matches may be off by what tissue bends. Two sections must lie roughly on each other; what
that takes is for the caller to see to (`demis_ij.jobs.volume.across` puts them there by small pictures of both).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from demis_ij import geometry
from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.geometry import Box, Crop
from demis_ij.images import TileStore
from demis_ij.matchers.refine import agreement
from demis_ij.pairs.gate import Gate, estimate_pair
from demis_ij.pairs.overlap import overlap_crops
from demis_ij.protocols import Matcher, View
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Rejected, Tile

SHOWN_PX = 512
"""The longer side of what a matcher is shown."""
LEAST_SHARE = 0.25
"""Of a tile's area that must lie under another for the two to be compared."""
EACH = 2
"""Tiles under a tile with which it is compared, those that cover most of it first."""
CANDIDATES = 8
"""Tiles of the nearest centres among which they are looked for."""
BENT_FRAC = 0.02
"""What tissue may bend between two sections, as a fraction of a tile's longer side."""
KEPT_POINTS = 96
"""Points kept of a pair: its seam is as well known by them as by thousands."""


def pairs_across(fixed: Layout, moving: Layout) -> list[tuple[str, str]]:
    """Return the pairs (fixed, moving) of tiles of two sections to compare: each tile with those that cover it most.

    Parameters
    ----------
    fixed, moving : Layout
        Two sections that lie roughly on each other, with shapes.
    """
    if not len(fixed) or not len(moving):
        return []
    here, there = _boxes(fixed), _boxes(moving)
    centre = (here[:, :2] + here[:, 2:]) / 2
    _, near = cKDTree(centre).query((there[:, :2] + there[:, 2:]) / 2, k=min(CANDIDATES, len(fixed)))
    rows = near.reshape(len(moving), -1)
    low = np.maximum(here[rows, :2], there[:, None, :2])
    high = np.minimum(here[rows, 2:], there[:, None, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area = np.minimum(
        np.prod(here[rows, 2:] - here[rows, :2], axis=2), np.prod(there[:, None, 2:] - there[:, None, :2], axis=2)
    )
    share = shared / np.maximum(area, 1e-9)
    out = []
    for j, tile in enumerate(moving):
        best = np.argsort(-share[j], kind="stable")[:EACH]
        out += [(fixed.tiles[rows[j, k]].id, tile.id) for k in best if share[j, k] >= LEAST_SHARE]
    return out


def _boxes(layout: Layout) -> NDArray[np.float64]:
    corners = np.array([t.world_corners for t in layout])
    return np.concatenate([corners.min(1), corners.max(1)], axis=1)


def match_across(
    store: TileStore,
    fixed: Layout,
    moving: Layout,
    pairs: Sequence[tuple[str, str]],
    matcher: Matcher,
    config: StitchConfig,
    *,
    error_frac: float,
) -> list[PairMatch | Rejected]:
    """Return what a matcher says of tiles of two sections, judged, in the order of ``pairs``.

    Parameters
    ----------
    store : TileStore
        Where images come from.
    fixed, moving : Layout
        Two sections that lie roughly on each other.
    pairs : sequence of (str, str)
        Tile ids (fixed, moving).
    matcher : Matcher
        Made for views that are reduced already.
    config : StitchConfig
        The gate.
    error_frac : float
        What two tiles may be off by, as a fraction of the longer side.
    """
    out: list[PairMatch | Rejected] = []
    for one, two in pairs:
        out.append(_match(store, fixed[one], moving[two], matcher, config, error_frac))
    return out


def _match(
    store: TileStore, fixed: Tile, moving: Tile, matcher: Matcher, config: StitchConfig, error_frac: float
) -> PairMatch | Rejected:
    side = max(*fixed.shape, *moving.shape)
    crops = overlap_crops(fixed, moving, error_frac * side)
    if crops is None:
        return Rejected(fixed.id, moving.id, "they do not come within reach of each other", matcher.name)
    longest = max(*crops[0].box.shape, *crops[1].box.shape)
    scale = min(1.0, SHOWN_PX / longest)
    try:
        shown = [reduced_view(store, t, crop.box, scale) for t, crop in zip((fixed, moving), crops, strict=True)]
    except InputError as error:
        return Rejected(fixed.id, moving.id, str(error), matcher.name)
    (view, crop), (other, other_crop) = shown
    answer = matcher(view, other)
    found = Correspondences(crop.to_tile(answer.fixed_xy), other_crop.to_tile(answer.moving_xy), answer.score)
    usual = Gate.of(config, fixed, moving, error_frac)
    bent = max(usual.max_error_px, BENT_FRAC * side)
    gate = replace(usual, max_error_px=bent, max_seam_error_px=max(usual.max_seam_error_px, bent))
    got = estimate_pair(fixed, moving, found, model="rigid", gate=gate, matcher=matcher.name)
    if isinstance(got, Rejected):
        return got
    seen = geometry.fit_rigid(other_crop.from_tile(got.moving_xy), crop.from_tile(got.fixed_xy))
    likeness = agreement(view, other, Affine.from_matrix(seen))
    if likeness is not None and likeness < gate.min_agreement:
        reason = (
            f"{got.inliers} matches agree, but the images do not: their correlation there is {likeness:.1f} times "
            f"that of wrong places, {gate.min_agreement:g} needed"
        )
        return Rejected(fixed.id, moving.id, reason, matcher.name, len(found), got.inliers)
    return _thinned(got)


def _thinned(match: PairMatch) -> PairMatch:
    """Return the pair with a part of its points, spread over them as they come."""
    number = len(match.fixed_xy)
    if number <= KEPT_POINTS:
        return match
    keep = np.linspace(0, number - 1, KEPT_POINTS).round().astype(int)
    return replace(match, fixed_xy=match.fixed_xy[keep], moving_xy=match.moving_xy[keep], agreeing=number)


def reduced_view(store: TileStore, tile: Tile, box: Box, scale: float) -> tuple[View, Crop]:
    """Return a box of a tile, normalised and reduced (areas averaged), and the way back. Raises `InputError`."""
    image, mask = store.normalised(tile)[box.slices], store.mask(tile)[box.slices]
    if scale >= 1:
        return View(np.ascontiguousarray(image), np.ascontiguousarray(mask)), Crop(box)
    size = max(16, round(box.width * scale)), max(16, round(box.height * scale))
    grey = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    known = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 250
    return View(grey, np.asarray(known, np.bool_)), Crop.resized(box, grey.shape)
