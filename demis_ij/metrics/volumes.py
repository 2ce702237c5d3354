"""How well the sections of a volume lie on each other: labels, grey values, and fields against the true ones.

Everything is counted where both sections of a pair are data. Correlation misleads: an aligner can raise it above that
of the true warps by pressing structures that are not the same onto each other. Labels and true fields cannot be
fooled so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.records import Offsets

Labels = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]
_LARGEST = 50
_BLUR_PX = 1.5


def largest_objects(labels: Sequence[Labels], masks: Sequence[Mask], count: int = _LARGEST) -> NDArray[np.int64]:
    """Return the ids of the largest objects of a volume, the largest first; fewer where there are fewer.

    Parameters
    ----------
    labels : sequence of ndarray of shape (H, W), int
        Which object owns each pixel; 0 and less is none.
    masks : sequence of ndarray of shape (H, W), bool
        Where the labels are known.
    count : int
        How many.
    """
    sizes: dict[int, int] = {}
    for label, mask in zip(labels, masks, strict=True):
        for name, size in zip(*np.unique(label[mask & (label > 0)], return_counts=True), strict=True):
            sizes[int(name)] = sizes.get(int(name), 0) + int(size)
    ranked = sorted(sizes, key=lambda name: (-sizes[name], name))
    return np.array(ranked[:count], np.int64)


def object_dice(
    one: Labels, two: Labels, shared: Mask, objects: NDArray[np.int64], least_px: float = 0.0
) -> NDArray[np.float64]:
    """Return the Dice coefficient of each object between two sections.

    Parameters
    ----------
    one, two : ndarray of shape (H, W), int
        Labels.
    shared : ndarray of shape (H, W), bool
        Where both are known; nothing else counts.
    objects : ndarray of shape (K,)
        Ids, all different.
    least_px : float
        Objects with fewer pixels than this, mean of both sections, are NaN: they are too small to say anything.

    Returns
    -------
    ndarray of shape (K,)
        2 |A and B| / (|A| + |B|) (Dice 1945, doi:10.2307/1932409); NaN where the object is in neither.
    """
    table = _shared_px(one[shared], two[shared], objects)
    sizes = table.sum(axis=1)[1:] + table.sum(axis=0)[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        dice = 2 * np.diag(table)[1:] / sizes
    return np.where(sizes >= max(1.0, 2 * least_px), dice, np.nan)


def _shared_px(one: Labels, two: Labels, objects: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many pixels are object i in one and j in two, (K + 1, K + 1); 0 stands for all others."""
    order = np.argsort(objects)
    ranked, width = objects[order], len(objects) + 1

    def place(label: Labels) -> NDArray[np.int64]:
        at = np.minimum(np.searchsorted(ranked, label), max(len(ranked) - 1, 0))
        return np.where(ranked[at] == label, order[at] + 1, 0) if len(ranked) else np.zeros(label.shape, np.int64)

    counts = np.bincount(place(one) * width + place(two), minlength=width * width)
    return counts.reshape(width, width).astype(np.float64)


def neighbour_dice(
    labels: Sequence[Labels], masks: Sequence[Mask], objects: NDArray[np.int64], least_px: float = 0.0
) -> float:
    """Return the mean Dice of objects between neighbouring sections where both are known; NaN when there is none.

    Every object of every pair counts the same. ``least_px`` as in `object_dice`.
    """
    found = [
        object_dice(a, b, ma & mb, objects, least_px)
        for (a, ma), (b, mb) in pairwise(zip(labels, masks, strict=True))
    ]  # fmt: skip
    return _mean(np.concatenate(found)) if found else float("nan")


def truth_dice(
    labels: Sequence[Labels], masks: Sequence[Mask], truth: Sequence[Labels], objects: NDArray[np.int64]
) -> float:
    """Return the mean Dice of whole objects, all sections together, against where they were before anything moved.

    What drifts falls, however well neighbours agree. Where a section is not known (outside, empty) it does not show
    the object, and that counts; so compare with doing nothing on the same stack.
    """
    table = np.zeros((len(objects) + 1,) * 2)
    for label, mask, true in zip(labels, masks, truth, strict=True):
        table += _shared_px(np.where(mask, label, 0).ravel(), true.ravel(), objects)
    sizes = table.sum(axis=1)[1:] + table.sum(axis=0)[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        return _mean(2 * np.diag(table)[1:] / sizes)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def neighbour_ncc(sections: Sequence[NDArray[Any]], masks: Sequence[Mask], blur_px: float = _BLUR_PX) -> list[float]:
    """Return the normalised cross correlation of each section with the next, where both are data.

    Parameters
    ----------
    sections : sequence of ndarray of shape (H, W)
        Grey values.
    masks : sequence of ndarray of shape (H, W), bool
        Where they are data.
    blur_px : float
        Standard deviation that all are blurred with first, so that noise and interpolation do not decide; 0 is none.

    Returns
    -------
    list of float
        One less than there are sections; NaN where two share fewer than 16 pixels or one of them is flat.
    """
    smooth = (_blurred(s, m, blur_px) for s, m in zip(sections, masks, strict=True))
    return [_ncc(a, b, ma & mb) for (a, ma), (b, mb) in pairwise(zip(smooth, masks, strict=True))]


def _blurred(section: NDArray[Any], mask: Mask, sigma: float) -> NDArray[np.float32]:
    grey, known = np.where(mask, section, 0).astype(np.float32), mask.astype(np.float32)
    if sigma <= 0:
        return grey
    weight = np.asarray(cv2.GaussianBlur(known, (0, 0), sigma), np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma) / np.maximum(weight, 1e-6), np.float32)


def _ncc(one: NDArray[np.float32], two: NDArray[np.float32], shared: Mask) -> float:
    if shared.sum() < 16:
        return float("nan")
    a, b = (p[shared].astype(np.float64) for p in (one, two))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else float("nan")


def neighbour_residual_px(leads: Sequence[Offsets]) -> list[NDArray[np.float64]]:
    """Return how far two neighbours that are shown at one place were apart before anything was deformed, px.

    Parameters
    ----------
    leads : sequence of ndarray of shape (2, H, W)
        For each section (dx, dy) from a pixel of the aligned volume to the point of the undeformed section that is
        shown there; NaN where there is none. Any warp that all sections share takes nothing away and adds nothing.

    Returns
    -------
    list of ndarray of shape (N,)
        One for each pair of neighbours: the pixels where both are known.
    """
    out = []
    for a, b in pairwise(leads):
        apart = np.hypot(*(b.astype(np.float64) - a)).ravel()
        out.append(apart[~np.isnan(apart)])
    return out


def gained(before: float, after: float, true: float) -> float:
    """Return the share of what could be gained that was gained: 0 like doing nothing, 1 like the true warps.

    NaN when nothing could be gained: the true warps are no better than doing nothing.

    Examples
    --------
    >>> round(gained(before=0.60, after=0.75, true=0.80), 3)
    0.75
    """
    return (after - before) / (true - before) if true > before else float("nan")
