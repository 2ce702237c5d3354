"""Pictures against pictures: RMSE, PSNR, SSIM, FSIM; and BRISQUE, which knows no truth.

Pixels outside a mask do not count. Where a measure needs whole neighbourhoods (SSIM), only pixels whose window lies
within the mask count; where it needs a rectangle (FSIM, BRISQUE), the largest one within the mask is taken.

SSIM is scikit-image's, FSIM piq's, BRISQUE that of the package ``brisque`` with the model its wheel holds (trained by
the authors of the method on the LIVE database of photographs, so that its numbers rank pictures of one kind only).
They come with ``pip install 'demis_ij[evaluate]'``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError, MissingPart
from demis_ij.geometry import Box

Picture = NDArray[np.generic]
Mask = NDArray[np.bool_]

RANGE = 255.0
"""Grey values run from 0 to this."""
EXTRA = "evaluate"
"""The extra of demis_ij that brings the packages."""
_WINDOW = 11  # px, side of SSIM's Gaussian window (sigma 1.5, cut at 3.5 sigma), as in the paper
_BAND = 1024  # rows of SSIM taken at a time
_LEAST_SIDE = 32  # px; FSIM's filters and BRISQUE's half-size picture say nothing about less
_CELLS = 256  # the largest rectangle is looked for among this many cells a side


def _checked(picture: Picture, truth: Picture, mask: Mask | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, two = np.asarray(picture, np.float64), np.asarray(truth, np.float64)
    if one.ndim != 2 or one.shape != two.shape or (mask is not None and mask.shape != one.shape):
        shapes = [one.shape, two.shape] + ([] if mask is None else [mask.shape])
        msg = f"pictures that are compared are grey and of one shape, their mask too; found {shapes}"
        raise InputError(msg)
    return one, two


def _part(name: str, package: str = "") -> Any:
    """Return an optional module. Raises `MissingPart`."""
    try:
        with warnings.catch_warnings():  # what these packages' own imports grumble about is nothing of ours
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError as error:
        raise MissingPart(package or name, EXTRA) from error


def rmse(picture: Picture, truth: Picture, mask: Mask | None = None) -> float:
    """Return the root mean square difference in grey values, of 255; NaN when no pixel counts.

    Parameters
    ----------
    picture, truth : ndarray of shape (H, W)
    mask : ndarray of shape (H, W), bool, optional
        Pixels that count; all when not given.

    Raises
    ------
    InputError
        When shapes differ.

    Examples
    --------
    >>> rmse(np.full((2, 2), 4.0), np.full((2, 2), 1.0))
    3.0
    """
    one, two = _checked(picture, truth, mask)
    off = (one - two)[mask] if mask is not None else (one - two).ravel()
    return float(np.sqrt(np.mean(off**2))) if off.size else float("nan")


def psnr(picture: Picture, truth: Picture, mask: Mask | None = None) -> float:
    """Return the peak signal to noise ratio, dB, of a range of 255; ``inf`` for equal pictures. See `rmse`.

    Examples
    --------
    >>> round(psnr(np.zeros((2, 2)), np.full((2, 2), 25.5)), 6)
    20.0
    """
    off = rmse(picture, truth, mask)
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(np.float64(RANGE) / off))


def ssim(picture: Picture, truth: Picture, mask: Mask | None = None) -> float:
    """Return the mean structural similarity, 1 for equal pictures; NaN when no whole window lies within the mask.

    Wang et al. 2004 (doi:10.1109/TIP.2003.819861): Gaussian window of 11 px and sigma 1.5, K1 0.01, K2 0.03. See
    `rmse`.

    Raises
    ------
    MissingPart
        When scikit-image is not installed.
    InputError
        When shapes differ.
    """
    one, two = _checked(picture, truth, mask)
    similarity = _part("skimage.metrics", "scikit-image").structural_similarity
    if min(one.shape) < _WINDOW:
        return float("nan")
    counts = np.ones(one.shape, np.uint8) if mask is None else mask.astype(np.uint8)
    around = cv2.erode(counts, np.ones((_WINDOW, _WINDOW), np.uint8), borderValue=0) > 0
    total, number, reach = 0.0, 0, _WINDOW // 2
    for start in range(0, len(one), _BAND):  # a whole mosaic at once would take gigabytes
        low, high = max(0, start - reach - 1), min(len(one), start + _BAND + reach + 1)
        rows = slice(low, max(high, min(len(one), low + _WINDOW)))
        kept = around[start : start + _BAND]
        if rows.stop - low < _WINDOW or not kept.any():
            continue
        full = similarity(
            one[rows], two[rows], data_range=RANGE, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )[1]  # fmt: skip
        total += float(full[start - low : start - low + len(kept)][kept].sum())
        number += int(kept.sum())
    return total / number if number else float("nan")


def fsim(picture: Picture, truth: Picture, mask: Mask | None = None) -> float:
    """Return the feature similarity of the largest rectangle within the mask, 1 for equal pictures.

    Zhang et al. 2011 (doi:10.1109/TIP.2011.2109730), for grey pictures. NaN when the rectangle is under 32 px a side.
    See `rmse`.

    Raises
    ------
    MissingPart
        When piq is not installed.
    InputError
        When shapes differ.
    """
    one, two = _checked(picture, truth, mask)
    piq, torch = _part("piq"), _part("torch")
    box = Box.of_shape(one.shape) if mask is None else largest_rectangle(mask)
    if min(box.shape) < _LEAST_SIDE:
        return float("nan")
    views = [torch.from_numpy(np.clip(p[box.slices] / RANGE, 0, 1).astype(np.float32))[None, None] for p in (one, two)]
    with torch.inference_mode():
        return float(piq.fsim(*views, data_range=1.0, chromatic=False))


@cache
def _brisque_model() -> Any:
    return _part("brisque").BRISQUE()


def brisque(picture: Picture, mask: Mask | None = None) -> float:
    """Return the BRISQUE score of the largest rectangle within the mask, from about 0 (natural) to 100 (distorted).

    Mittal et al. 2012 (doi:10.1109/TIP.2012.2214050). The regression knows photographs; what it says of an electron
    micrograph may be compared with other pictures of the same specimen and size only. NaN when the rectangle is under
    32 px a side, or flat.

    Parameters
    ----------
    picture : ndarray of shape (H, W)
        Grey values, 0 to 255.
    mask : ndarray of shape (H, W), bool, optional
        Pixels that count.

    Raises
    ------
    MissingPart
        When the package brisque is not installed.
    InputError
        When shapes differ.
    """
    one, _ = _checked(picture, picture, mask)
    model = _brisque_model()
    box = Box.of_shape(one.shape) if mask is None else largest_rectangle(mask)
    if min(box.shape) < _LEAST_SIDE:
        return float("nan")
    seen = np.clip(one[box.slices] / RANGE, 0, 1)
    half = cv2.resize(seen, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
    if not seen.std() > 1e-4:
        return float("nan")
    # the package's own ``score`` makes numbers of one-element arrays, which numpy 2.4 refuses
    features = [float(np.ravel(f)[0]) for level in (seen, half) for f in model.calculate_brisque_features(level)]
    if not np.isfinite(features).all():
        return float("nan")
    return float(model.calculate_image_quality_score(features))


def largest_rectangle(mask: Mask) -> Box:
    """Return a large rectangle of True pixels: the largest among those on a lattice of at most 256 cells a side.

    Up to 256 px a side it is the largest there is (stack over the histogram of each row). Empty when nothing is True.

    Examples
    --------
    >>> held = np.zeros((4, 6), bool)
    >>> held[1:4, 2:5] = True
    >>> largest_rectangle(held)
    Box(x0=2, y0=1, x1=5, y1=4)
    """
    step = max(1, -(-max(mask.shape) // _CELLS))
    rows, cols = (n // step for n in mask.shape)
    whole = mask[: rows * step, : cols * step].reshape(rows, step, cols, step)
    cells: Mask = np.asarray(whole.all(axis=(1, 3)), bool)
    height, best, found = np.zeros(cols + 1, int), 0, Box(0, 0, 0, 0)
    for row in range(rows):
        height[:cols] = np.where(cells[row], height[:cols] + 1, 0)
        stack: list[int] = []
        for col, tall in enumerate(height.tolist()):
            while stack and height[stack[-1]] >= tall:
                top = int(height[stack.pop()])
                left = stack[-1] + 1 if stack else 0
                if top * (col - left) > best:
                    best, found = top * (col - left), Box(left, row - top + 1, col, row + 1)
            stack.append(col)
    return Box(found.x0 * step, found.y0 * step, found.x1 * step, found.y1 * step)


FULL_REFERENCE: dict[str, Callable[[Picture, Picture, Mask | None], float]] = {
    "rmse": rmse,
    "psnr_db": psnr,
    "ssim": ssim,
    "fsim": fsim,
}
"""Measures that need a true picture, by name."""


def missing_measures() -> dict[str, str]:
    """Return the measures that cannot be taken here, and what to do about each. Nothing is imported for it."""
    needed = {"ssim": ("skimage", "scikit-image"), "fsim": ("piq", "piq"), "brisque": ("brisque", "brisque")}
    return {
        name: str(MissingPart(package, EXTRA))
        for name, (module, package) in needed.items()
        if find_spec(module) is None
    }
