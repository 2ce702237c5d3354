"""How a picture of few marks lies on a picture of everything: by local contrast, where there are marks.

Fluorescence beside electrons is the case. It is tried where structure found nothing, and only when one of the two
pictures is empty for the most part: where both are full, structure is the better judge.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import cv2
import numpy as np

from demis_ij.aligners.intensity import Contrast, contrast_of
from demis_ij.aligners.intensity_search import SignedPlace, marked_places
from demis_ij.aligners.standing import standing
from demis_ij.aligners.structure_fit import Fit, Freedom, Template
from demis_ij.aligners.structure_search import scales_between, turns_between
from demis_ij.records import Affine
from demis_ij.register.looks import Look, full_px, reduced_px
from demis_ij.register.results import Attempt

MOSTLY_EMPTY = 1 / 3
"""A picture with marks on less than this share of its data has few; fluorescence of chromatin has them on 0.14, made-up
tissue and metals by any instrument on 0.26 to 1, electron images on 0.5 to 1."""
MARKS_STAND_OUT = 11.0
"""Standard deviations from which a place of marks is believed: strangers were seen to reach 6.5, places where but some
of the marks fit 10.7, and pairs of chromatin and electrons at least 12.9."""
_WINDOWS: Final = {4: (0.5, 1.5), 2: (0.7, 2.5), 1: (1.0, 3.0)}  # px of the level: details, and their surroundings
_SEARCHED, _JUDGED, _LAST = _WINDOWS
_STEPS = {4: 8, 2: 8, 1: 10}
_KEPT = {4: 8, 2: 3, 1: 1}  # how many places are fitted at each level
_TELLS = 2.0  # the error seen over the one that the residuals alone promise
_APART_PX = 1.2  # of the look: marks by light and what they mark by electrons are registered no better than that
_TURNS = turns_between(-35, 35, 4)
_SCALES = scales_between(0.7, 1 / 0.7, 1.067)


def by_intensity(fixed: Look, moving: Look, model: str) -> Attempt | None:
    """Return the best place of two pictures by local contrast; None when neither has few marks, or there is none.

    Turns to 35 degrees, scales 0.7 to 1.43, shifts that leave half of the marks on the other picture's data.

    Parameters
    ----------
    fixed, moving : Look
    model : str
        What the map may do besides shifting: ``rigid``, ``similarity`` or ``affine``.
    """
    shares = [_contrast(look, _SEARCHED).loud_frac for look in (fixed, moving)]
    if not 0 < min(shares) < MOSTLY_EMPTY:
        return None
    first = shares[0] < shares[1]
    found = _marks_on(fixed, moving, model) if first else _marks_on(moving, fixed, model)
    if found is None:
        return None
    fit, out = found
    at, px = (fit.to_moving, 1.0) if first else (fit.to_moving.inverse, fit.to_moving.scale)
    sigma = px * sqrt((_TELLS * fit.sigma_px) ** 2 + _APART_PX**2)
    return Attempt(at, fit.score, _covered(fixed, moving, at), sigma, out, MARKS_STAND_OUT)


def _contrast(look: Look, level: int) -> Contrast:
    return contrast_of(*look.reduced(level), *_WINDOWS[level])


def _marks_on(marks: Look, other: Look, model: str) -> tuple[Fit, float] | None:
    """Return where the marks lie on the other picture, px of the looks, and by how much the place stands out."""
    two = {level: (_contrast(marks, level), _contrast(other, level)) for level in _WINDOWS}
    scales = [1.0] if model == "rigid" else _SCALES
    places = marked_places(*two[_SEARCHED], _TURNS, scales, keep=_KEPT[_SEARCHED])
    found = _fitted(places, two, model)
    if found is None:
        return None
    fit, sign = found
    seen, field = two[_JUDGED]
    return fit, standing(seen.where_loud(sign), field.everywhere(), reduced_px(fit.to_moving, _JUDGED))


def _fitted(places: list[SignedPlace], two: dict[int, tuple[Contrast, Contrast]], model: str) -> tuple[Fit, int] | None:
    """Return the best fit from several places at the last level, and its sign: fewer of them at each finer level."""
    first: Freedom = "rigid" if model == "rigid" else "similarity"
    last: Freedom = "affine" if model == "affine" else first
    held = [(p.to_moving, p.sign) for p in places]
    found: list[tuple[Fit, int]] = []
    for level, (marks, other) in two.items():
        field, found = other.everywhere(), []
        templates = {
            sign: Template(marks.where_loud(sign), last if level == _LAST else first) for sign in {s for _, s in held}
        }
        for start, sign in held[: _KEPT[level]]:
            fit = templates[sign].fit(field, start, _STEPS[level])
            if fit is not None:
                found.append((fit, sign))
        found.sort(key=lambda f: -f[0].score * sqrt(f[0].overlap))
        held = [(full_px(f.to_moving, 2), sign) for f, sign in found]
    return found[0] if found else None


def _covered(fixed: Look, moving: Look, to_moving: Affine) -> float:
    """Return the share of the fixed picture's data that has data of the moving one."""
    (_, own), (_, other) = (look.reduced(_SEARCHED) for look in (fixed, moving))
    drawn = cv2.warpAffine(
        other.astype(np.float32), reduced_px(to_moving, _SEARCHED).matrix[:2], own.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )  # fmt: skip
    return float((drawn > 0.5)[own].mean())
