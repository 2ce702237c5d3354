"""Where an image has no data: black borders, data bars, scale bars."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.images.reading import (
    Grey,
    Mask,
)

SHARED = 0.95
"""Share of the columns that step at once where an opaque data bar begins."""


def _grey_step(image: Grey) -> float:
    """Return 1/255 of the image's own range: the step that an 8-bit image would have."""
    low, high, *_ = cv2.minMaxLoc(image)
    return max((high - low) / 255.0, 1e-12)


def _data_bar_top(image: Grey) -> int:
    """Return the first row of a burnt-in data bar, or the number of rows when there is none.

    An opaque bar starts at a step that all columns share, reaches the bottom, and is mostly one grey value. Text drawn
    on the image itself is known by its scale bar: a rectangle of full white, wide and low, at the bottom.
    """
    rows, cols = int(image.shape[0]), int(image.shape[1])
    if rows < 64 or cols < 64:
        return rows
    start = int(rows * 0.75)
    step = _grey_step(image)
    shown = image[start - 1 :]
    # no more columns may miss the step than SHARED leaves, so that most of any eighth of them have it, too
    eighth = max(1, cols // 8)
    least = max(0.0, 1 - (1 - SHARED) * cols / eighth)
    for i in np.flatnonzero(_stepping(shown[:, :eighth], step) >= least - 1e-6):  # row i: from row start-1+i to start+i
        if _stepping(shown[i : i + 2], step)[0] < SHARED:
            continue
        bar = shown[i + 1 :].astype(np.float32) / step
        values, counts = np.unique(np.rint(bar), return_counts=True)
        same = (np.abs(bar - values[counts.argmax()]) <= 3).mean()
        flat = (np.abs(np.diff(bar, axis=1)) <= 1.5).mean()
        if len(bar) >= 8 and same >= 0.5 and flat >= 0.75:
            return int(start + i)
    return _scale_bar_top(image, step)


def _stepping(rows: Grey, step: float) -> NDArray[np.float64]:
    """Return the share of columns that grow, or of those that fall, by 1.5 steps from each row to the next."""
    change = np.diff(rows.astype(np.float32) / step, axis=0)
    return np.asarray(np.maximum((change > 1.5).mean(1), (change < -1.5).mean(1)), np.float64)


def _scale_bar_top(image: Grey, step: float) -> int:
    """Return the top row of a white rectangle that can only be a scale bar, or the number of rows."""
    rows, cols = int(image.shape[0]), int(image.shape[1])
    start = int(rows * 0.85)
    white = (image[start:] >= image.max() - 4 * step).astype(np.uint8)
    kernel = np.ones((1, max(16, cols // 25)), np.uint8)
    if np.count_nonzero(white) < kernel.size:
        return rows
    long_runs = cv2.erode(white, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    count, _, stats, _ = cv2.connectedComponentsWithStats(long_runs, connectivity=4)
    for x, y, w, h, area in stats[1:count]:
        above, below = white[max(0, y - 6) : max(0, y - 3), x : x + w], white[y + h + 3 : y + h + 6, x : x + w]
        around = np.concatenate([above.ravel(), below.ravel()])
        if 2 <= h <= rows // 30 and area >= 0.97 * w * h and around.size and around.mean() < 0.3:
            ends = white[y : y + h].sum(1)
            if ends.max() - ends.min() <= 0.05 * cols:
                # ticks and letters stand a little higher than the bar: up to the first quiet row, two bars' heights
                return int(max(start, start + y - max(4, 2 * h)))
    return rows


def _corner_values(image: Grey) -> set[float]:
    """Return the grey values that fill a run of 16 px along a side, from a corner on."""
    found = set()
    for turned in (image, image[::-1], image[:, ::-1], image[::-1, ::-1]):
        for run in (turned[0, :16], turned[:16, 0]):
            if (run == run[0]).all():
                found.add(float(run[0]))
    return found


def _constant_border(image: Grey) -> Mask:
    """Return the pixels of exactly one value that reach in from a corner and leave a compact image inside.

    Tiles that were corrected for lens distortion, turned or shifted have such borders. The natural black between
    grains reaches the border too, but is ragged, or what it leaves does not fill its own convex hull: it stays data.
    """
    out = np.zeros(image.shape, bool)
    values = _corner_values(image)
    if not values:
        return out
    for value in values:
        same = (image == value).astype(np.uint8)
        _, label = cv2.connectedComponents(same, connectivity=4)
        for number in {int(label[r, c]) for r in (0, -1) for c in (0, -1)} - {0}:
            part = (label == number).astype(np.uint8)
            if _has_straight_sides(part):
                out |= part.astype(bool)
    if not out.any() or out.mean() > 0.6 or not _fills_its_hull(~out):
        return np.zeros(image.shape, bool)
    # the border's inner seam is interpolated (one pixel) or rung by JPEG (a block, where it is as dark as the border)
    seam = cv2.dilate(out.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if image[out].max() > image.min():
        return np.asarray(out | seam, bool)
    near = cv2.dilate(out.astype(np.uint8), np.ones((17, 17), np.uint8)).astype(bool)
    return np.asarray(out | seam | (near & (image <= image.min() + 6 * _grey_step(image))), bool)


def _has_straight_sides(part: NDArray[np.uint8]) -> bool:
    """Return whether outlines are polygons of few sides to 3 px; a natural hole has a corner every 20 to 40 px."""
    core = cv2.morphologyEx(part, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    if core.sum() < 0.7 * part.sum():
        return False
    outlines, _ = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = sum(len(cv2.approxPolyDP(o, 3, True)) for o in outlines)
    return corners <= 4 * len(outlines) + sum(len(o) for o in outlines) / 100


def _fills_its_hull(data: Mask) -> bool:
    """Return whether the largest part of ``data``, its holes filled, takes at least 97 % of its convex hull."""
    outlines, _ = cv2.findContours(data.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return False
    largest = max(outlines, key=cv2.contourArea)
    hull = cv2.contourArea(cv2.convexHull(largest))
    return bool(hull > 0.3 * data.size and cv2.contourArea(largest) >= 0.97 * hull)


def data_mask(image: Grey) -> Mask:
    """Return where an image has data: False on constant borders, on a burnt-in data bar and on NaN.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        Grey values.

    Returns
    -------
    ndarray of shape (H, W), bool
        An image of one grey value is all data: nothing tells its border from its inside.
    """
    finite: Mask = np.isfinite(image) if image.dtype.kind == "f" else np.ones(image.shape, bool)
    if not finite.any():
        return finite
    shown = image if finite.all() else np.where(finite, image, image[finite].min())
    if shown.min() == shown.max():
        return finite
    mask = finite.copy()
    top = _data_bar_top(shown)
    mask[top:] = False
    above = shown[:top]
    if above.size and above.min() < above.max():
        mask[:top] &= ~_constant_border(above)
    return mask
