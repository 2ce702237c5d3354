"""The pyramid of two images as elastic registration sees it: features, their slopes, and where there is data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from demis_ij.aligners.elastic_similarity import Compared, Similarity, similarity
from demis_ij.config.elastic import ElasticSettings
from demis_ij.nets.bspline_grid import Lattice

_CELLS = 4  # places an interval at which products of splines are summed up, along either side


@dataclass(frozen=True, eq=False)
class Seen:
    """Each image against the other, looked up where splines say.

    Attributes
    ----------
    compared : Compared
    slopes : Tensor of shape (D, C, 2, h, w)
        Of the looked-up features, a px of displacement along x and y.
    known : Tensor of shape (D, h, w)
        1 where both have data.
    found : Tensor of shape (D, C, h, w)
        The looked-up features.
    """

    compared: Compared
    slopes: Tensor
    known: Tensor
    found: Tensor


@dataclass(frozen=True, eq=False)
class Level:
    """Both images at one reduction, with the spline that is solved for there.

    Attributes
    ----------
    reduction : int
        Px of the image to one of this level.
    intervals : int
        N of the spline.
    images : Tensor of shape (2, h, w)
        Grey values of the fixed and of the moving image.
    features : Tensor of shape (2, C, h, w)
        What is compared of them.
    packed : Tensor of shape (2, 3 C + 1, h, w)
        Features, their slopes along x and y (a px of the image), and the mask.
    mask : Tensor of shape (2, h, w)
    pixels, cells : Lattice
        The spline at the level's pixels, and at the places where products are summed up.
    to_rows, to_cols : Tensor of shape (cells, h) and (cells, w)
        How pixels are spread over these places.
    measure : Similarity
    """

    reduction: int
    intervals: int
    images: Tensor
    features: Tensor
    packed: Tensor
    mask: Tensor
    pixels: Lattice
    cells: Lattice
    to_rows: Tensor
    to_cols: Tensor
    measure: Similarity

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the level."""
        return int(self.mask.shape[-2]), int(self.mask.shape[-1])

    def seen(self, splines: Tensor) -> Seen:
        """Compare each image with the other, looked up where splines (D, 2, N + 3, N + 3) say."""
        count, channels = len(splines), self.features.shape[1]
        offsets = self.pixels(splines) / self.reduction
        there = functional.grid_sample(
            self.packed.flip(0)[:count], _normalised(offsets), mode="bilinear", padding_mode="zeros", align_corners=True
        )
        known = (there[:, -1] > 0.999).to(there.dtype) * self.mask[:count]
        found = there[:, :channels]
        slopes = torch.stack([there[:, channels : 2 * channels], there[:, 2 * channels : -1]], dim=2)
        return Seen(self.measure.compare(self.features[:count], found, known), slopes, known, found)

    def score(self, splines: Tensor) -> float:
        """Return how alike the fixed image and the moving one are where the first of some splines says."""
        seen = self.seen(splines[:1])
        return self.measure.score(self.features[:1], seen.found, seen.known)


def _normalised(offsets: Tensor) -> Tensor:
    """Return where pixels moved by offsets (D, 2, h, w) lie, as `grid_sample` counts: (D, h, w, 2)."""
    rows, cols = offsets.shape[-2:]
    x = offsets[:, 0] + torch.arange(cols, device=offsets.device, dtype=offsets.dtype)
    y = offsets[:, 1] + torch.arange(rows, device=offsets.device, dtype=offsets.dtype)[:, None]
    return torch.stack([2 * x / max(cols - 1, 1) - 1, 2 * y / max(rows - 1, 1) - 1], dim=-1)


def pyramid(images: Tensor, masks: Tensor, settings: ElasticSettings) -> list[Level]:
    """Return the levels of two images, the coarsest first; the spline halves its intervals with the image.

    Parameters
    ----------
    images, masks : Tensor of shape (2, H, W)
        Grey values, and 1 where they are data.
    settings : ElasticSettings
    """
    shape = (int(images.shape[-2]), int(images.shape[-1]))
    levels: list[Level] = []
    reduction, intervals = 1, settings.intervals_for(shape)
    finest = 2**settings.finest
    while True:
        if reduction >= finest or 2 * settings.coarsest_px > min(images.shape[-2:]):
            levels.append(level_of(images, masks, shape, reduction, intervals, settings))
        if min(images.shape[-2:]) // 2 < settings.coarsest_px:
            return levels[::-1]
        images, masks = _halved(images, masks)
        reduction *= 2
        if reduction > finest:
            intervals = max(1, intervals // 2)


def _halved(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return images and masks of half the size: means of two by two pixels of data."""
    pad = (0, images.shape[-1] % 2, 0, images.shape[-2] % 2)
    grey, data = (functional.avg_pool2d(functional.pad(v, pad)[:, None], 2)[:, 0] for v in (images * masks, masks))
    return grey / data.clamp_min(1e-6), (data > 0.49).to(data.dtype)


def level_of(
    images: Tensor, masks: Tensor, shape: tuple[int, int], reduction: int, intervals: int, settings: ElasticSettings
) -> Level:
    """Return one level from both images and their masks, (2, h, w), reduced from ``shape`` (rows, cols)."""
    size = (int(images.shape[-2]), int(images.shape[-1]))
    device = images.device
    measure = similarity(settings.similarity, size, settings.window_px, device)
    features = measure.features(images, masks)
    pixels = [(torch.arange(n, device=device) + 0.5) * reduction - 0.5 for n in size]
    count = _CELLS * intervals
    middles = [(torch.arange(count, device=device) + 0.5) * ((n - 1) / count) for n in shape]
    spread = [_spread(p, n, count) for p, n in zip(pixels, shape, strict=True)]
    slopes = _slopes(features, masks) / reduction
    packed = torch.cat([features, slopes[:, 0], slopes[:, 1], masks[:, None]], dim=1)
    return Level(
        reduction, intervals, images, features, packed, masks, Lattice.at(pixels[0], pixels[1], shape, intervals),
        Lattice.at(middles[0], middles[1], shape, intervals), spread[0], spread[1], measure,
    )  # fmt: skip


def _spread(pixels: Tensor, size: int, count: int) -> Tensor:
    """Return (count, pixels): each pixel's share in the two places next to it; the shares add up to 1."""
    at = (pixels * (count / max(size - 1, 1)) - 0.5).clamp(0, count - 1)
    return (1 - (at - torch.arange(count, device=pixels.device)[:, None]).abs()).clamp_min(0)


def _slopes(features: Tensor, masks: Tensor) -> Tensor:
    """Return (D, 2, C, h, w): central differences of features along x and y, 0 beside what is no data."""
    wide = functional.pad(features, (1, 1, 1, 1), mode="replicate")
    data = functional.pad(masks[:, None], (1, 1, 1, 1), mode="replicate")
    x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2 * data[..., 1:-1, 2:] * data[..., 1:-1, :-2]
    y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2 * data[..., 2:, 1:-1] * data[..., :-2, 1:-1]
    return torch.stack([x, y], dim=1) * masks[:, None, None]


__all__ = ["Level", "Seen", "level_of", "pyramid"]
