"""Local contrast of an image, whatever its sign: what two instruments show alike where greys say nothing.

What one instrument shows as a step from grey to grey, another draws as a line, bright or dark. The spread of grey
values around a px has one crest over each of them::

    spread   = standard deviation of a softened image within 5 px, all channels together
    contrast = (spread - around) / (spread + around)    around: its mean within some 25 px; from -1 to 1

So it is what a style that was trained without partners is held to (`demis_ij.train.style_loss.moved_edges`), and what
is compared afterwards: such a style knows where structure is and how it looks, not which grain is the brighter one.

The spread within a patch, in place of grey values, as what images of two kinds share: Wachinger and Navab 2012,
doi:10.1016/j.media.2011.03.001, who take the entropy.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from demis_ij.nets.style_look import Look, Mask

_SOFT, _NEAR, _WIDE, _WIDER = 1, 2, 16, 8  # px to each side, of windows
_FLAT = 1e-5  # variance of what is no structure
_LEAST_AROUND = 0.02


def contrast_of(images: Tensor, mask: Tensor) -> Tensor:
    """Return the local contrast of images, (N, 1, H, W), from -1 to 1; 0 where there is no data.

    Parameters
    ----------
    images : Tensor of shape (N, C, H, W)
        Looks, from -1 to 1.
    mask : Tensor of shape (N, 1, H, W)
        1 where there is data: what lies elsewhere is in no window.
    """
    soft = _mean(images, mask, _SOFT)
    variance = _mean(soft * soft, mask, _NEAR) - _mean(soft, mask, _NEAR).square()
    spread = (variance.clamp(min=0).sum(1, keepdim=True) + _FLAT).sqrt()
    around = _mean(_mean(spread, mask, _WIDE), mask, _WIDER) + _LEAST_AROUND
    return (spread - around) / (spread + around) * mask


def polarity_of(images: Tensor, mask: Tensor) -> Tensor:
    """Return how far edges are the brighter places, (N,): the correlation of local contrast with softened greys.

    Above 0 where boundaries are drawn bright, below 0 where dark; images of one instrument agree in it, and an image
    whose greys are turned over has it with the other sign.

    Parameters
    ----------
    images : Tensor of shape (N, C, H, W)
    mask : Tensor of shape (N, 1, H, W)
    """
    contrast, grey = contrast_of(images, mask), _mean(images.mean(1, keepdim=True), mask, _NEAR)
    first, second = (_centred(x, mask) for x in (contrast, grey))
    lengths = (first.square().sum((1, 2, 3)) * second.square().sum((1, 2, 3)) + _FLAT).sqrt()
    return (first * second).sum((1, 2, 3)) / lengths


def _centred(plane: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum((1, 2, 3), keepdim=True).clamp(min=1)
    return (plane - (plane * mask).sum((1, 2, 3), keepdim=True) / count) * mask


def _mean(images: Tensor, mask: Tensor, radius: int) -> Tensor:
    """Return means of the data within a square window."""

    def summed(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2 * radius + 1, 1, radius)

    return summed(images * mask) / summed(mask).clamp(min=1e-6)


def contrast_look(look: Look, mask: Mask) -> Look:
    """Return the local contrast (1, H, W) of a look (C, H, W), float32, where there is data: a mask (H, W)."""
    with torch.inference_mode():
        return np.asarray(contrast_of(*_tensors(look, mask))[0].numpy(), np.float32)


def polarity_look(look: Look, mask: Mask, reduce: int = 1) -> float:
    """Return how far edges of a look (C, H, W) are the brighter places (`polarity_of`), at a resolution reduced."""
    if reduce > 1:
        size = tuple(max(1, round(n / reduce)) for n in mask.shape)[::-1]
        look = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in look])
        mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
    with torch.inference_mode():
        return float(polarity_of(*_tensors(look, mask))[0])


def _tensors(look: Look, mask: Mask) -> tuple[Tensor, Tensor]:
    known = np.ascontiguousarray(mask, np.float32)
    return torch.from_numpy(np.ascontiguousarray(look))[None], torch.from_numpy(known)[None, None]


__all__ = ["contrast_look", "contrast_of", "polarity_look", "polarity_of"]
