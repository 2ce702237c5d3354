"""What the parts of two images say: where a specimen was bent, no turn, scale and shift fits all of it.

A fit of the whole then follows what has the most edges, and stands out little. Here each part of the fixed image is
looked for by itself near where the whole puts it, and the turn, scale and shift that most parts agree with is taken: a
robust vote, with weights that fall with the distance (Geman & McClure 1985). Of strangers, few parts agree.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.structure import Mask, structure_of
from demis_ij.geometry import fit_similarity
from demis_ij.records import Affine
from demis_ij.register.looks import Look
from demis_ij.register.results import Attempt

DOUBTFUL = 13.0
"""A place that stands out by less is asked of the parts."""
NEEDED = 7.0
"""Standard deviations that suffice where the parts agree; strangers were seen to reach 6.2."""
_SIDE, _STEP, _REACH = 64, 32, 10  # px of the look: of a part, from part to part, how far it is looked for
_SIGMA_PX = 1.0
_AGREES_PX, _AGREE_FRAC = 3.0, 0.3  # by chance one part in ten lies so near; of bent specimens two in five
_FEWEST = 24
_KNOWN_FRAC = 0.9
_CLEAR = 2.0  # standard deviations of a part's correlation, from which its place counts
_ROUNDS, _VOTES, _SCALE_PX = 2, 20, 2.4

Float = NDArray[np.float64]
Planes = NDArray[np.float32]


def by_parts(fixed: Look, moving: Look, found: Attempt) -> Attempt:
    """Return a doubtful place as the parts correct it, with less needed to believe it; else the place as it is.

    Parameters
    ----------
    fixed, moving : Look
    found : Attempt
        What was fitted to the whole.
    """
    if not NEEDED <= found.standing < DOUBTFUL:
        return found
    at = found.to_moving
    for _ in range(_ROUNDS):
        xy, there, weight = _places(fixed, moving, at)
        if len(xy) < _FEWEST or not weight.any():
            return found
        at, off = _vote(xy, at(there), weight)
    if float((off < _AGREES_PX).mean()) < _AGREE_FRAC:
        return found
    return replace(found, to_moving=at, needed=min(found.needed, NEEDED))


def _places(fixed: Look, moving: Look, at: Affine) -> tuple[Float, Float, Float]:
    """Return the middles of parts, where each is found (both px of the fixed look), and how clearly."""
    size = fixed.image.shape[::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(moving.image, at.matrix[:2], size, flags=flags)
    known = cv2.warpAffine(moving.mask.astype(np.float32), at.matrix[:2], size, flags=flags) > 0.99
    (one, there_one), (two, there_two) = (_planes(*p) for p in ((fixed.image, fixed.mask), (drawn, known)))
    xy, there, weight = [], [], []
    for y in range(_REACH, one.shape[1] - _SIDE - _REACH, _STEP):
        for x in range(_REACH, one.shape[2] - _SIDE - _REACH, _STEP):
            part = slice(y, y + _SIDE), slice(x, x + _SIDE)
            if min(there_one[part].mean(), there_two[part].mean()) < _KNOWN_FRAC:
                continue
            around = slice(y - _REACH, y + _SIDE + _REACH), slice(x - _REACH, x + _SIDE + _REACH)
            score = _correlation(one[:, *part], two[:, *around])
            row, col = np.unravel_index(int(score.argmax()), score.shape)
            middle = np.array((x, y)) + (_SIDE - 1) / 2
            spread = float(score.std())
            clear = (float(score.max() - score.mean()) / spread if spread else 0.0) - _CLEAR
            xy.append(middle)
            there.append(middle + np.array((int(col), int(row))) - _REACH)
            weight.append(max(0.0, clear) ** 2 * max(0.0, float(score.max())))
    return np.reshape(xy, (-1, 2)), np.reshape(there, (-1, 2)), np.array(weight)


def _planes(image: Planes, mask: Mask) -> tuple[Planes, Mask]:
    seen = structure_of(image, np.asarray(mask, bool), _SIGMA_PX)
    return np.ascontiguousarray(seen.planes, np.float32), seen.known


def _correlation(part: Planes, around: Planes) -> Planes:
    """Return the correlation of a part at every place of its surroundings."""
    own = float((part**2).sum())
    ones = np.ones(part.shape[1:], np.float32)
    energy = cv2.matchTemplate((around**2).sum(axis=0), ones, cv2.TM_CCORR)
    both = sum(
        cv2.matchTemplate(np.ascontiguousarray(a), np.ascontiguousarray(p), cv2.TM_CCORR)
        for a, p in zip(around, part, strict=True)
    )
    return np.asarray(both / np.sqrt(own * np.maximum(energy, 0) + 1e-9), np.float32)


def _vote(xy: Float, to: Float, weight: Float) -> tuple[Affine, Float]:
    """Return the similarity that most parts agree with, and how far each is from it, px of the fixed look."""
    counts = weight
    for _ in range(_VOTES):
        at = Affine.from_matrix(fit_similarity(xy, to, counts))
        off = np.hypot(*(at(xy) - to).T) / at.scale
        counts = weight / (1 + (off / _SCALE_PX) ** 2)
    return at, off


__all__ = ["DOUBTFUL", "NEEDED", "by_parts"]
