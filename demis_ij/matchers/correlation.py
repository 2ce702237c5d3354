"""Masked normalised cross-correlation in blocks: finds weak structure under noise, where key points find nothing.

First the whole overlap: both views are low-passed, reduced, and correlated at every shift and a few turns by FFT
(Padfield 2012, doi:10.1109/TIP.2011.2181402); the best shift must stand out from all others. Then blocks: both views
are warped half way towards each other and each block is looked for in the other view, both ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from demis_ij.geometry import Box, Crop
from demis_ij.matchers.refine import Middle, half_way
from demis_ij.protocols import View
from demis_ij.records import Affine, Correspondences

_Plane = NDArray[Any]  # float32


@dataclass(frozen=True, eq=False)
class _Small:
    """A reduced, band-passed view: zero where the mask is."""

    image: _Plane
    mask: _Plane
    crop: Crop


@dataclass(frozen=True)
class _Peak:
    """The best shift at one turn: how far it stands out (standard deviations), and by how much it beats the next."""

    strength: float
    next_strength: float
    shift_xy: tuple[float, float]
    turn: float


class CorrelationMatcher:
    """Masked normalised cross-correlation, first of the whole overlap, then of blocks.

    Parameters
    ----------
    reduction : int
        The whole overlap is correlated at one over this resolution.
    max_turn_deg, turn_step_deg : float
        Turns that are tried.
    min_share : float
        The least share of the smaller view that must lie in the overlap.
    strength : float
        How far, in standard deviations of all shifts, the best shift must stand out. See
        ``benchmarks/strangers.py`` for what pairs that do not overlap reach.
    next_share : float
        A second shift, elsewhere, that is this strong makes the answer ambiguous: no points.
    block_px, search_px : int
        Side of a block and how far it is looked for, px of the view. Blocks lie half a block apart or less.
    block_ncc : float
        What a block's correlation must reach.
    """

    name = "correlation"

    def __init__(
        self,
        reduction: int = 4,
        max_turn_deg: float = 5.0,
        turn_step_deg: float = 1.25,
        min_share: float = 0.1,
        strength: float = 6.5,
        next_share: float = 0.9,
        block_px: int = 96,
        search_px: int = 14,
        block_ncc: float = 0.3,
    ) -> None:
        self.reduction = reduction
        steps = round(max_turn_deg / turn_step_deg)
        self.turns = [math.radians(turn_step_deg) * k for k in range(-steps, steps + 1)]
        self.min_share = min_share
        self.strength = strength
        self.next_share = next_share
        self.block_px = block_px
        self.search_px = search_px
        self.block_ncc = block_ncc

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        """Return the centres of the blocks found in both views, px of the views; the score is the correlation."""
        found = self.coarse(fixed, moving)
        if found is None:
            return Correspondences.none()
        peak, to_fixed = found
        if peak.strength < self.strength or peak.next_strength > self.next_share * peak.strength:
            return Correspondences.none()
        return self._blocks(fixed, moving, to_fixed)

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        """Return `__call__` of each pair."""
        return [self(fixed, moving) for fixed, moving in pairs]

    def coarse(self, fixed: View, moving: View) -> tuple[_Peak, Affine] | None:
        """Return the best shift and turn of the whole overlap, moving to fixed px of the views, believed or not."""
        thin = min(*fixed.image.shape, *moving.image.shape)
        reduction = max(1, min(self.reduction, thin // 32))  # a thin strip keeps more of its pixels
        small = _reduced(fixed, reduction), _reduced(moving, reduction)
        if small[0] is None or small[1] is None:
            return None
        peaks = _correlate(small[0], small[1], self.turns, self.min_share)
        if not peaks:
            return None
        best = max(peaks, key=lambda p: p.strength)
        # the same place at another turn is no rival, another place is
        others = [p.strength for p in peaks if math.dist(p.shift_xy, best.shift_xy) * reduction > 48]
        best = _Peak(best.strength, max([best.next_strength, *others]), best.shift_xy, best.turn)
        h, w = small[1].image.shape
        turned = Affine.about(Affine.rigid(best.turn), ((w - 1) / 2, (h - 1) / 2))
        small_to_fixed = Affine.translation(*best.shift_xy) @ turned
        return best, _as_affine(small[0].crop) @ small_to_fixed @ _as_affine(small[1].crop).inverse

    def _blocks(self, fixed: View, moving: View, to_fixed: Affine) -> Correspondences:
        middle = _trimmed(half_way(fixed, moving, to_fixed, 2.5))
        if middle is None or min(middle.valid.shape) < 36:  # of a thin strip a strong low-pass leaves too little
            middle = _trimmed(half_way(fixed, moving, to_fixed, 1.0))
        if middle is None:
            return Correspondences.none()
        every = 2 if min(middle.valid.shape) >= 80 else 1  # low-passed: every second pixel says it all
        valid = middle.valid[::every, ::every]
        planes = [_levelled(p[::every, ::every], valid) for p in (middle.fixed, middle.moving)]
        reach = min(self.search_px // every, (min(valid.shape) - 12) // 2)
        if reach < 1:
            return Correspondences.none()
        # a short strip has few blocks: they lie closer there, and if that is not enough they are smaller
        whole = self.block_px // every
        for side, step in ((whole, 0.5), (whole, 0.25), (whole // 2, 0.25)):
            h, w = (min(side, n - 2 * reach) for n in valid.shape)
            rows, cols = (_starts(n, k, reach, step) for n, k in zip(valid.shape, (h, w), strict=True))
            if len(rows) * len(cols) >= 24:
                break
        at, moved, score = [], [], []
        for r in rows:
            for c in cols:
                block = Box(c, r, c + w, r + h)
                if valid[block.slices].mean() < 0.5:
                    continue
                there, back = _find(planes[0], planes[1], block, reach), _find(planes[1], planes[0], block, reach)
                if there is None or back is None or math.hypot(there[0] + back[0], there[1] + back[1]) * every > 3:
                    continue
                ncc = min(there[2], back[2])
                if ncc >= self.block_ncc:
                    at.append((every * (c + (w - 1) / 2), every * (r + (h - 1) / 2)))
                    moved.append((there[0] - back[0], there[1] - back[1]))  # twice the shift
                    score.append(ncc)
        if not at:
            return Correspondences.none()
        u, d = np.array(at), np.array(moved) * every / 4
        return Correspondences(middle.to_fixed(u - d), middle.to_moving(u + d), np.clip(score, 0, 1))


def _trimmed(middle: Middle | None) -> Middle | None:
    """Return the rows and columns that hold common data: borders without data would swallow the blocks."""
    if middle is None:
        return None
    rows, cols = (np.flatnonzero(middle.valid.any(axis)) for axis in (1, 0))
    if not len(rows) or min(rows[-1] - rows[0], cols[-1] - cols[0]) < 15:
        return None
    inside = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    origin = Affine.translation(float(cols[0]), float(rows[0]))
    fixed, moving, valid = (np.ascontiguousarray(p[inside]) for p in (middle.fixed, middle.moving, middle.valid))
    return Middle(fixed, moving, valid, middle.to_fixed @ origin, middle.to_moving @ origin)


def _levelled(plane: _Plane, valid: NDArray[np.bool_]) -> _Plane:
    """Return the plane less its local mean, zero where there is no data."""
    weight = valid.astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), 16), 1e-3)
    return (plane - cv2.GaussianBlur(plane * weight, (0, 0), 16) / share) * weight


def _starts(length: int, side: int, inset: int, step: float) -> list[int]:
    """Return where blocks begin: at most ``step`` of a block apart, first and last flush with the inset."""
    room = length - 2 * inset - side
    count = max(1, math.ceil(room / (side * step)) + 1)
    return sorted({inset + round(v) for v in np.linspace(0, room, count)})


def _as_affine(crop: Crop) -> Affine:
    """Return crop to tile px as an affine."""
    origin = crop.to_tile(np.zeros((1, 2)))[0]
    return Affine(1 / crop.scale_xy[0], 0, 0, 1 / crop.scale_xy[1], float(origin[0]), float(origin[1]))


def _reduced(view: View, reduction: int) -> _Small | None:
    """Return the view at one over ``reduction``, band-passed from about 8 to 100 px, or None when it is all blank."""
    rows, cols = (max(1, round(n / reduction)) for n in view.image.shape)
    if min(rows, cols) < 8:
        return None
    crop = Crop.resized(Box.of_shape((view.image.shape[0], view.image.shape[1])), (rows, cols))
    mask = view.mask.astype(np.float32)
    share = cv2.resize(mask, (cols, rows), interpolation=cv2.INTER_AREA)
    grey = cv2.resize(view.image * mask, (cols, rows), interpolation=cv2.INTER_AREA)

    def smooth(sigma: float) -> _Plane:
        top = cv2.GaussianBlur(grey, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        return top / np.maximum(cv2.GaussianBlur(share, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), 1e-3)

    inside = (share > 0.75).astype(np.float32)
    band = (smooth(3.0 / reduction) - smooth(50.0 / reduction)) * inside
    if inside.sum() < 256:
        return None
    spread = math.sqrt(float((band * band).sum() / inside.sum()))
    if spread < 0.02:  # grey levels: nothing but rounding
        return None
    # single bright spots (dust, charging) must not decide alone
    return _Small(np.clip(band / spread, -3, 3).astype(np.float32), inside, crop)


def _correlate(fixed: _Small, moving: _Small, turns: Sequence[float], min_share: float) -> list[_Peak]:
    """Return the best shift at each turn of the moving view about its centre."""
    (h, w), (mh, mw) = fixed.image.shape, moving.image.shape
    size = fft.next_fast_len(h + mh - 1, real=True), fft.next_fast_len(w + mw - 1, real=True)

    def spectrum(plane: _Plane) -> NDArray[Any]:
        return np.asarray(fft.rfft2(plane, size))

    f, fm, ff = (spectrum(p) for p in (fixed.image, fixed.mask, fixed.image * fixed.image))
    least = min_share * min(fixed.mask.sum(), moving.mask.sum())
    peaks = []
    for turn in turns:
        image, mask = _turned(moving, turn)
        g, gm, gg = (np.conj(spectrum(p)) for p in (image, mask, image * image))

        def back(product: NDArray[Any]) -> _Plane:
            return np.asarray(fft.irfft2(product, size))

        count = np.maximum(back(fm * gm), 0)
        fair = count > max(least, 64)
        n = np.where(fair, count, 1)
        sum_f, sum_g = back(f * gm), back(fm * g)
        top = back(f * g) - sum_f * sum_g / n
        spread = (back(ff * gm) - sum_f**2 / n) * (back(fm * gg) - sum_g**2 / n)
        fair &= spread > (1e-2 * n) ** 2
        if fair.sum() < 100:
            continue
        ncc = np.where(fair, top / np.sqrt(np.where(fair, spread, 1)), 0)
        peaks.append(_peak(np.clip(ncc, -1, 1) * np.sqrt(n), fair, turn, (h, w)))
    return peaks


def _turned(view: _Small, turn: float) -> tuple[_Plane, _Plane]:
    """Return image and mask turned about the centre, in the same frame (corners that leave it are lost)."""
    if turn == 0:
        return view.image, view.mask
    h, w = view.image.shape
    about = Affine.about(Affine.rigid(turn), ((w - 1) / 2, (h - 1) / 2)).matrix[:2]
    image = cv2.warpAffine(view.image, about, (w, h), flags=cv2.INTER_LINEAR)
    mask = (cv2.warpAffine(view.mask, about, (w, h), flags=cv2.INTER_LINEAR) > 0.99).astype(np.float32)
    return image * mask, mask


def _peak(score: _Plane, fair: NDArray[np.bool_], turn: float, shape: tuple[int, int]) -> _Peak:
    """Return the highest place of a score map (shifts wrap around), in robust standard deviations of the map."""
    rows, cols = score.shape
    noise = 1.4826 * float(np.median(np.abs(score[fair]))) + 1e-9
    r, c = (int(v) for v in np.unravel_index(int(np.where(fair, score, -np.inf).argmax()), score.shape))
    top = float(score[r, c])
    x_off = _summit(float(score[r, (c - 1) % cols]), top, float(score[r, (c + 1) % cols]))
    y_off = _summit(float(score[(r - 1) % rows, c]), top, float(score[(r + 1) % rows, c]))
    away = fair.copy()
    near = np.arange(-8, 9)
    away[np.ix_((r + near) % rows, (c + near) % cols)] = False
    second = float(score[away].max()) if away.any() else 0.0
    x = c if c < shape[1] else c - cols
    y = r if r < shape[0] else r - rows
    return _Peak(top / noise, second / noise, (x + x_off, y + y_off), turn)


def _find(here: _Plane, there: _Plane, block: Box, reach: int) -> tuple[float, float, float] | None:
    """Return (x, y) of a block's shift into the other plane and its correlation; None at the rim of the search."""
    ncc = cv2.matchTemplate(there[block.grown(reach).slices], here[block.slices], cv2.TM_CCOEFF_NORMED)
    _, top, _, (c, r) = cv2.minMaxLoc(ncc)
    if not (0 < r < ncc.shape[0] - 1 and 0 < c < ncc.shape[1] - 1) or not math.isfinite(top):
        return None
    x = _summit(float(ncc[r, c - 1]), top, float(ncc[r, c + 1]))
    y = _summit(float(ncc[r - 1, c]), top, float(ncc[r + 1, c]))
    return c + x - reach, r + y - reach, float(top)


def _summit(before: float, top: float, after: float) -> float:
    """Return where the parabola through three neighbouring values is highest, within half a step of the middle."""
    bend = before - 2 * top + after
    return min(0.5, max(-0.5, (before - after) / (2 * bend))) if bend < 0 else 0.0
