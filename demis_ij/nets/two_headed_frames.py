"""Pictures of any size in the frame of the two-headed network, and its answer in their own pixels.

Both pictures are reduced to one pixel size (their own, where it is known) and laid in the middle of a square; the
network says how the squares lie on each other, and the same steps backwards give a transform from pixel to pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from demis_ij.errors import InputError
from demis_ij.nets.two_headed import TwoHeaded
from demis_ij.nets.two_headed_passes import find
from demis_ij.records import Affine

LEAST_PX = 32
"""Pictures with a shorter side than this are refused."""
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_FLAT = 0.25  # of the whole picture's deviation: what varies less is not blown up to texture
_CLIP = 4.0
_WINDOW = 1 / 8  # of the frame: deviation of the window in which pictures are evened out


@dataclass(frozen=True, eq=False)
class Look:
    """One picture to be registered.

    Attributes
    ----------
    image : ndarray of shape (rows, cols) or (rows, cols, 3 or 4)
        Any grey values, or colour, red first; where it is not finite there is no data.
    mask : ndarray of shape (rows, cols), bool, or None
        True where there is data.
    pixel_size : float or None
        Length of a px, in any unit that both pictures of a pair share.
    """

    image: NDArray[Any]
    mask: NDArray[np.bool_] | None = None
    pixel_size: float | None = None


@dataclass(frozen=True)
class Prediction:
    """How a moving picture lies to a fixed one, as the network sees it.

    Attributes
    ----------
    to_moving : Affine
        Where a px of the fixed picture lies in the moving one; both in full size.
    angle_deg, scale : float
        Of that transform: turn from x towards y; moving px for one fixed px.
    shift_xy : tuple of float
        How far the middle of the fixed picture lies from the middle of the moving one, moving px.
    sigma_px : float
        Expected error of the fixed picture's corners, moving px.
    match_logit : float
        Above 0 when they show one thing rather than not.
    """

    to_moving: Affine
    angle_deg: float
    scale: float
    shift_xy: tuple[float, float]
    sigma_px: float
    match_logit: float


@dataclass(frozen=True, eq=False)
class Framed:
    """A picture in the frame.

    Attributes
    ----------
    picture, share : ndarray of shape (side, side), float32
        Local mean 0 and deviation about 1, 0 where nothing is known; and the share of data in each px.
    to_image : Affine
        Where a px of the frame lies in the picture.
    """

    picture: NDArray[np.float32]
    share: NDArray[np.float32]
    to_image: Affine


def grey_of(image: ArrayLike, what: str) -> NDArray[np.float32]:
    """Return a picture in grey.

    Raises
    ------
    InputError
        When it is tiny, of one grey level, without data, or of another number of channels.
    """
    given = np.asarray(image)
    if given.ndim == 3 and given.shape[2] in {3, 4}:
        grey = given[..., :3].astype(np.float32) @ _LUMA
    elif given.ndim == 3 and given.shape[2] == 1:
        grey = given[..., 0].astype(np.float32)
    elif given.ndim == 2:
        grey = given.astype(np.float32)
    else:
        msg = f"{what}: an array of {given.shape}, needed grey (rows, cols) or colour (rows, cols, 3 or 4)"
        raise InputError(msg)
    if min(grey.shape) < LEAST_PX:
        msg = f"{what}: {grey.shape[1]} x {grey.shape[0]} px, needed {LEAST_PX} px to a side at least"
        raise InputError(msg)
    return grey


def prepared(
    image: NDArray[Any], mask: NDArray[np.bool_] | None, side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a square picture and the share of data in each px, as the network takes them.

    Parameters
    ----------
    image : ndarray of shape (n, n)
    mask : ndarray of shape (n, n), bool, or None
        True where there is data; what is not finite is no data, too.
    side : int
        Px of the frame.
    """
    made = framed(np.asarray(image, np.float32), mask, len(image) / side, side)
    return made.picture, made.share


def framed(grey: NDArray[np.float32], mask: NDArray[np.bool_] | None, reduction: float, side: int) -> Framed:
    """Return a picture reduced by a factor and laid in the middle of the frame.

    Parameters
    ----------
    grey : ndarray of shape (rows, cols), float32
    mask : ndarray of shape (rows, cols), bool, or None
    reduction : float
        Px of the picture for one px of the frame.
    side : int
        Px of the frame; what lies outside is left out.
    """
    rows, cols = grey.shape
    small = (max(1, round(cols / reduction)), max(1, round(rows / reduction)))
    known = np.isfinite(grey) if mask is None else np.asarray(mask, bool) & np.isfinite(grey)
    way = cv2.INTER_AREA if reduction >= 1 else cv2.INTER_LINEAR
    if known.all():
        reduced = np.asarray(cv2.resize(grey, small, interpolation=way), np.float32)
        share = np.ones(reduced.shape, np.float32)
    else:
        share = np.asarray(cv2.resize(known.astype(np.float32), small, interpolation=way), np.float32)
        known_only = cv2.resize(np.where(known, grey, np.float32(0)), small, interpolation=way)
        reduced = np.asarray(known_only / np.maximum(share, 1e-3), np.float32)
    left, top = (side - small[0]) // 2, (side - small[1]) // 2
    picture, data = (_laid(plane, left, top, side) for plane in (reduced, share))
    x, y = cols / small[0], rows / small[1]
    to_image = Affine(x, 0.0, 0.0, y, (0.5 - left) * x - 0.5, (0.5 - top) * y - 0.5)
    return Framed(evened(picture, data > 0.5), np.where(data > 0.5, data, 0).astype(np.float32), to_image)


def _laid(plane: NDArray[np.float32], left: int, top: int, side: int) -> NDArray[np.float32]:
    out = np.zeros((side, side), np.float32)
    y0, x0, y1, x1 = max(0, top), max(0, left), min(side, top + plane.shape[0]), min(side, left + plane.shape[1])
    out[y0:y1, x0:x1] = plane[y0 - top : y1 - top, x0 - left : x1 - left]
    return out


def evened(picture: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a picture of local mean 0 and local deviation about 1: tone and uneven light are gone after it.

    Parameters
    ----------
    picture : ndarray of shape (side, side), float32
    inside : ndarray of shape (side, side), bool
        True where there is data; 0 comes out elsewhere.
    """
    if not inside.any():
        return np.zeros_like(picture)
    x = np.where(inside, picture - picture[inside].mean(dtype=np.float64), 0).astype(np.float32)
    whole = math.sqrt(float((x**2).sum(dtype=np.float64)) / int(inside.sum()))
    sigma = len(picture) * _WINDOW
    area = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma) + np.float32(1e-3)
    x = np.where(inside, x - cv2.GaussianBlur(x, (0, 0), sigma) / area, 0).astype(np.float32)
    local = np.sqrt(cv2.GaussianBlur(x**2, (0, 0), sigma) / area)
    return np.asarray(np.clip(x / np.maximum(local, max(_FLAT * whole, 1e-9)), -_CLIP, _CLIP), np.float32)


def predict(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    net: TwoHeaded,
    fixed_mask: NDArray[np.bool_] | None = None,
    moving_mask: NDArray[np.bool_] | None = None,
    pixel_sizes: tuple[float, float] | None = None,
    passes: int = 2,
) -> Prediction:
    """Return how a moving picture lies to a fixed one.

    Parameters
    ----------
    fixed, moving : array_like of shape (rows, cols) or (rows, cols, 3 or 4)
        Of any sizes and grey values.
    net : TwoHeaded
        Of `demis_ij.nets.two_headed_weights.load_two_headed`.
    fixed_mask, moving_mask : ndarray of bool, optional
        True where there is data.
    pixel_sizes : tuple of float, optional
        Length of a px of the fixed and of the moving picture; without it their px are taken to be alike, and the
        network's range of scales is around 1.
    passes : int
        1 or 2; the second looks again, at the moving picture brought near the fixed one.

    Raises
    ------
    InputError
        When a picture cannot be used.
    """
    sizes = pixel_sizes or (None, None)
    one = (Look(np.asarray(fixed), fixed_mask, sizes[0]), Look(np.asarray(moving), moving_mask, sizes[1]))
    return predict_batch([one], net=net, passes=passes)[0]


@torch.no_grad()
def predict_batch(pairs: Sequence[tuple[Look, Look]], *, net: TwoHeaded, passes: int = 2) -> list[Prediction]:
    """Return `predict` of several pairs at once: (fixed, moving) each."""
    if not pairs:
        return []
    side = net.form.side
    shown = [_pair_framed(fixed, moving, side) for fixed, moving in pairs]
    planes = []
    for part in ("picture", "share"):
        for k in (0, 1):
            planes.append(torch.from_numpy(np.stack([getattr(pair[k], part) for pair in shown])[:, None]))
    device = net.mean.device
    found = find(net, *(p.to(device) for p in planes), passes=passes)
    rows = [x.double().cpu().numpy() for x in (found.transforms, found.sigma, found.match)]
    return [
        _in_full(transform, float(sigma), float(match), pair, looks, side)
        for transform, sigma, match, pair, looks in zip(*rows, shown, pairs, strict=True)
    ]


def _pair_framed(fixed: Look, moving: Look, side: int) -> tuple[Framed, Framed]:
    """Return both pictures in frames of one scale, which the larger of them fills."""
    named = (("the fixed picture", fixed), ("the moving picture", moving))
    greys = [grey_of(look.image, name) for name, look in named]
    sizes = [look.pixel_size for look in (fixed, moving)]
    known = [s if s is not None and all(sizes) else 1.0 for s in sizes]
    if min(known) <= 0 or not all(map(math.isfinite, known)):
        msg = f"pixel sizes are above 0, found {known[0]:g} and {known[1]:g}"
        raise InputError(msg)
    unit = max(max(g.shape) * s for g, s in zip(greys, known, strict=True)) / side
    out = []
    for (name, look), grey, size in zip(named, greys, known, strict=True):
        if look.mask is not None and np.shape(look.mask) != grey.shape:
            msg = f"{name}: its mask is {np.shape(look.mask)}, needed {grey.shape}"
            raise InputError(msg)
        made = framed(grey, look.mask, unit / size, side)
        if not made.picture.any():
            msg = f"{name} has one grey level or no data: there is nothing to be registered by"
            raise InputError(msg)
        out.append(made)
    return out[0], out[1]


def _in_full(
    transform: NDArray[np.float64],
    sigma: float,
    match: float,
    pair: tuple[Framed, Framed],
    looks: tuple[Look, Look],
    side: int,
) -> Prediction:
    middle, half = (side - 1) / 2, side / 2
    (a, b, x), (c, d, y) = transform.tolist()
    frame = Affine.translation(middle + half * x, middle + half * y) @ Affine(a, b, c, d)
    frame = frame @ Affine.translation(-middle, -middle)
    to_moving = pair[1].to_image @ frame @ pair[0].to_image.inverse
    centres = [np.array([n - 1 for n in np.shape(look.image)[1::-1]]) / 2 for look in looks]
    shift = to_moving(centres[0]) - centres[1]
    px = sigma * side * pair[1].to_image.scale
    return Prediction(
        to_moving, math.degrees(to_moving.angle), to_moving.scale, (float(shift[0]), float(shift[1])), px, match
    )


__all__ = [
    "LEAST_PX", "Framed", "Look", "Prediction", "evened", "framed", "grey_of", "predict", "predict_batch", "prepared",
]  # fmt: skip
