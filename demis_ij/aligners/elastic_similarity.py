"""What two images have in common when one is drawn on the other: four measures, and what each pixel says of them.

Each measure turns an image into features once, and then compares the features of one image with those of the other,
looked up where a spline says. It answers with its energy (less is more alike), with the derivative of the energy by
every looked-up value (``pull``) and with a positive stand-in for the second derivative (``curvature``): what
Gauss-Newton needs, whatever the measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

_LEAST_CONTRAST = 0.2  # of the image's standard deviation: what is flatter is noise, also that of a style network
_LEAST_CORRELATION = 0.1  # what is alike by chance still pulls a little
_CERTAIN = 0.1  # added to 1 - ncc^2: nothing is more than ten times as believable as anything
_STEADY = 0.3  # a window that correlates less is stepped in as if it did so much
_BINS = 32
_BEYOND = 3.0  # standard deviations from the mean to the last bin
_PARZEN = (1 / 6, 4 / 6, 1 / 6)  # cubic B-spline at whole numbers
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Compared:
    """How alike two sets of features are.

    Attributes
    ----------
    energies : Tensor of shape (D, H, W)
        What each pixel says, 0 where one of the two has no data.
    pull : Tensor of shape (D, C, H, W)
        Derivative of each pixel's part in the energy by the looked-up feature.
    curvature : Tensor of shape (D, 1, H, W)
        What stands for the second derivative, 0 or more.
    """

    energies: Tensor
    pull: Tensor
    curvature: Tensor

    def energy(self, known: Tensor) -> Tensor:
        """Return the mean over the pixels (D, H, W) that are 1, as (D,)."""
        return mean_of(self.energies, known)


class Similarity(Protocol):
    """One measure of likeness, at one level of the pyramid."""

    def features(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the features (D, C, H, W) of images (D, H, W) whose masks (D, H, W) are 1 where there is data."""
        ...

    def compare(self, fixed: Tensor, found: Tensor, known: Tensor) -> Compared:
        """Compare features (D, C, H, W), looked up where ``known`` (D, H, W) is 1."""
        ...

    def score(self, fixed: Tensor, found: Tensor, known: Tensor) -> float:
        """Return how alike the first pair is, for a reader: more is more alike."""
        ...


class Window:
    """Means in a Gaussian window, by one matrix for rows and one for columns; coarser than the image inside.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    sigma : float
        Standard deviation, px.
    device : torch.device
    """

    def __init__(self, shape: tuple[int, int], sigma: float, device: torch.device) -> None:
        self._down = [_window(n, sigma, device) for n in shape]

    def __call__(self, planes: Tensor) -> Tensor:
        """Return the windowed sums of planes (..., H, W), scaled to be means where nothing is cut off."""
        (rows, back_rows), (cols, back_cols) = self._down
        return back_rows @ (rows @ planes @ cols.T) @ back_cols.T

    def mean(self, planes: Tensor, weight: Tensor) -> Tensor:
        """Return the windowed means of planes by their weights, both (..., H, W)."""
        return self(planes * weight) / self(weight).clamp_min(_TINY)


def _window(size: int, sigma: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what sums a line of pixels in windows, fewer than pixels, and what goes back to all pixels."""
    step = max(1.0, sigma / 2)
    count = max(2, round((size - 1) / step) + 1)
    centres = torch.linspace(0, size - 1, count)
    pixels = torch.arange(size, dtype=torch.float32)
    gauss = torch.exp(-0.5 * ((pixels - centres[:, None]) / sigma) ** 2) / (sigma * (2 * torch.pi) ** 0.5)
    apart = (size - 1) / (count - 1)
    hat = (1 - (pixels[:, None] - centres).abs() / apart).clamp_min(0)
    return gauss.to(device), hat.to(device)


class Ncc:
    """Correlation in Gaussian windows; a window that fits well has more say than one that hardly fits.

    Notes
    -----
    The energy is the mean of log(1 - ncc^2) / 2 for positive ncc: what two Gaussian variables say of each other. Where
    an artefact, damage or an invention of a network lowers the correlation, it has little weight, and noise only lowers
    the gain. Window by window, nothing but mean and contrast of the two need not agree.
    """

    def __init__(self, shape: tuple[int, int], window_px: float, device: torch.device) -> None:
        self._window = Window(shape, window_px, device)

    def features(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return images of even brightness and contrast, as one channel."""
        weight = self._window(mask).clamp_min(_TINY)
        centred = (image - self._window(image * mask) / weight) * mask
        variance = self._window(centred**2) / weight
        least = _LEAST_CONTRAST**2 * mean_of(centred**2, mask)[:, None, None]
        return (centred / (variance + least).sqrt().clamp_min(_TINY))[:, None]

    def compare(self, fixed: Tensor, found: Tensor, known: Tensor) -> Compared:
        """Compare in windows."""
        both = known[:, None]
        a, b = fixed * both, found * both
        sums = self._window(torch.cat([a * b, a * a, b * b, both], dim=1))
        weight = sums[:, 3:].clamp_min(_TINY)
        product, one, two = (sums[:, k : k + 1] / weight for k in range(3))
        one, two = one + _LEAST_CONTRAST, two + _LEAST_CONTRAST
        ncc = product / (one * two).sqrt()
        say = ncc.clamp_min(_LEAST_CORRELATION) / (1 + _CERTAIN - ncc**2)
        pull = -say * both * (a / one.sqrt() - ncc * b / two.sqrt()) / two.sqrt()
        curvature = say * both * ncc.clamp_min(_STEADY) / two
        energy = 0.5 * torch.log(1 + _CERTAIN - ncc.clamp_min(0) ** 2) - _LEAST_CORRELATION * ncc.clamp_max(0)
        return Compared(energy[:, 0] * known, pull, curvature)

    def score(self, fixed: Tensor, found: Tensor, known: Tensor) -> float:
        """Return the correlation of the evened images."""
        return _correlation(fixed, found, known)


class Ssd:
    """Squared difference of grey values, both in units of the two images' common standard deviation."""

    def features(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return grey values, centred and scaled in common, as one channel."""
        total = mask.sum().clamp_min(1)
        middle = (image * mask).sum() / total
        spread = (((image - middle) * mask) ** 2).sum() / total
        return ((image - middle) * mask / spread.sqrt().clamp_min(_TINY))[:, None]

    def compare(self, fixed: Tensor, found: Tensor, known: Tensor) -> Compared:
        """Compare pixel by pixel."""
        return _squared(fixed, found, known)

    def score(self, fixed: Tensor, found: Tensor, known: Tensor) -> float:
        """Return the correlation of the features."""
        return _correlation(fixed, found, known)


class Mind:
    """Squared difference of modality-independent neighbourhood descriptors.

    Notes
    -----
    Heinrich et al. 2012, doi:10.1016/j.media.2012.05.008, equations 3 to 6 in two dimensions: the squared difference of
    a pixel's patch and those of its four neighbours, over their mean, as exp(-d); patches are Gaussians of 1 px.
    """

    _reach = 2  # px to a neighbour

    def __init__(self, shape: tuple[int, int], device: torch.device) -> None:
        self._patch = Window(shape, 1.0, device)

    def features(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return four channels."""
        filled = torch.where(mask > 0, image, mean_of(image, mask)[:, None, None])
        reach = self._reach
        wide = functional.pad(filled[:, None], (reach,) * 4, mode="replicate")[:, 0]
        rows, cols = image.shape[-2:]
        apart = []
        for dy, dx in ((0, reach), (0, -reach), (reach, 0), (-reach, 0)):
            moved = wide[:, reach + dy : reach + dy + rows, reach + dx : reach + dx + cols]
            apart.append(self._patch((filled - moved) ** 2))
        distance = torch.stack(apart, dim=1)
        noise = distance.mean(dim=1, keepdim=True)
        least = 1e-3 * noise.mean(dim=(2, 3), keepdim=True) + _TINY
        found = torch.exp(-distance / (noise + least))
        found = found / found.amax(dim=1, keepdim=True).clamp_min(_TINY)
        return 2 * found * mask[:, None]

    def compare(self, fixed: Tensor, found: Tensor, known: Tensor) -> Compared:
        """Compare channel by channel."""
        return _squared(fixed, found, known)

    def score(self, fixed: Tensor, found: Tensor, known: Tensor) -> float:
        """Return the correlation of the features."""
        return _correlation(fixed, found, known)


class MutualInformation:
    """Mutual information of a joint histogram with cubic B-spline Parzen windows; its derivative by autograd.

    Notes
    -----
    Mattes et al. 2003, doi:10.1109/TMI.2003.809072. The derivative of the information by a grey value is the score of
    a likelihood; its mean square (Fisher's information) stands for the second derivative.
    """

    def features(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return grey values in standard deviations, as one channel."""
        middle = mean_of(image, mask)[:, None, None]
        spread = mean_of((image - middle) ** 2, mask)[:, None, None].sqrt().clamp_min(_TINY)
        return ((image - middle) / spread * mask)[:, None]

    def compare(self, fixed: Tensor, found: Tensor, known: Tensor) -> Compared:
        """Compare by a histogram of each pair."""
        energies, pull = [], []
        for a, b, weight in zip(fixed[:, 0], found[:, 0], known, strict=True):
            with torch.enable_grad():
                free = b.detach().requires_grad_(requires_grad=True)
                told = _told(a, free, weight)
                (slope,) = torch.autograd.grad(-told.sum(), free)
            energies.append(-told.detach())
            pull.append(slope)
        score = torch.stack(pull)[:, None]
        sharp = mean_of(score[:, 0] ** 2, known)[:, None, None].clamp_min(_TINY)
        return Compared(torch.stack(energies), score, sharp[:, None] * known[:, None])

    def score(self, fixed: Tensor, found: Tensor, known: Tensor) -> float:
        """Return the mutual information, nats a pixel."""
        told = _told(fixed[0, 0], found[0, 0], known[0])
        return float(told.sum() / known[0].sum().clamp_min(1))


def _told(fixed: Tensor, found: Tensor, weight: Tensor) -> Tensor:
    """Return what each pixel of one image (H, W) tells of the other's, nats; 0 where the weight is.

    The mean is the mutual information. The derivative by the second image is that of the mean: to first order the
    histogram's own change adds nothing, because its logarithm's mean is stationary.
    """
    at = [((v / _BEYOND + 1) / 2 * (_BINS - 3) + 1).clamp(1, _BINS - 2 - 1e-3) for v in (fixed, found)]
    low = [v.detach().floor() for v in at]
    share = [v - f for v, f in zip(at, low, strict=True)]
    corners = []
    for i in (0, 1):
        for j in (0, 1):
            index = ((low[0] + i) * _BINS + low[1] + j).long()
            corners.append((index, (share[0] if i else 1 - share[0]) * (share[1] if j else 1 - share[1])))
    counts = torch.zeros(_BINS * _BINS, dtype=fixed.dtype, device=fixed.device)
    for index, part in corners:
        counts.index_add_(0, index.flatten(), (part.detach() * weight).flatten())
    table = _log_ratio(counts.reshape(_BINS, _BINS)).flatten()
    return torch.stack([table[index] * part for index, part in corners]).sum(0) * weight


def _log_ratio(counts: Tensor) -> Tensor:
    """Return log p(a, b) / p(a) p(b) of a histogram, smoothed by the Parzen window before and after."""
    window = torch.tensor(_PARZEN, dtype=counts.dtype, device=counts.device)
    kernel = (window[:, None] * window)[None, None]
    joint = functional.conv2d(counts[None, None], kernel, padding=1)[0, 0]
    joint = joint / joint.sum().clamp_min(_TINY) + 1e-9
    ratio = (joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))).log()
    return functional.conv2d(ratio[None, None], kernel, padding=1)[0, 0]


def _squared(fixed: Tensor, found: Tensor, known: Tensor) -> Compared:
    apart = (found - fixed) * known[:, None]
    return Compared(0.5 * (apart**2).sum(1), apart, known[:, None])


def _correlation(fixed: Tensor, found: Tensor, known: Tensor) -> float:
    a, b = fixed[0] * known[0], found[0] * known[0]
    return float((a * b).sum() / ((a**2).sum() * (b**2).sum()).sqrt().clamp_min(_TINY))


def mean_of(planes: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of each plane (D, H, W) as (D,)."""
    return (planes * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp_min(_TINY)


def similarity(name: str, shape: tuple[int, int], window_px: float, device: torch.device) -> Similarity:
    """Return a measure by its name, for images of ``shape``."""
    if name == "ncc":
        return Ncc(shape, window_px, device)
    if name == "mind":
        return Mind(shape, device)
    return Ssd() if name == "ssd" else MutualInformation()


__all__ = ["Compared", "Mind", "MutualInformation", "Ncc", "Similarity", "Ssd", "Window", "mean_of", "similarity"]
