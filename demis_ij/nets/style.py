"""Style networks: an image of one instrument in, the same field as another instrument would show it out.

Čermák et al., "Deep Learning Style Transfer for Elastic Image Registration of Visually Distinct Correlative Microscopy
Images", make light micrographs look like electron micrographs, so that a registration by grey values succeeds; they
train a GAN and propose a plain U-Net, which needs fewer pairs. Here the generator is that U-Net, whichever way it is
trained::

    look (C, H, W) ─ 2 x 2 px to channels ─ features at 1/2 ─ 1/4 ─ 1/8 ─┐
                                                 │            │          │  bilinear, and past features beside it
    output (C', H, W) ─ channels to 2 x 2 px ────┴────────────┴──────────┘

U-Net: Ronneberger et al. 2015, arXiv:1505.04597. Sub-pixel convolution: Shi et al. 2016, arXiv:1609.05158. The critic
looks at patches (PatchGAN, Isola et al. 2017, arXiv:1611.07004).

Light does not show all that electrons show. What it cannot tell, texture within a cell, say, is missing from what is
restyled, and misleads a comparison with images by electrons as they are. So a second network of the same form learns
to make of an image by electrons what the first one makes of its partner by light (`Form.plain`; ours).

Differences from pix2pix: batch normalisation with fixed statistics instead of that of the image at hand, so that what
a pixel becomes depends on its surroundings (`Form.reach_px`) and on nothing else, and tiles fit without seams; spectral
normalisation of the critic (Miyato et al. 2018, arXiv:1802.05957); no dropout, so that the output is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrizations import spectral_norm

from demis_ij.errors import InputError

KIND = "style"
MOST_CHANNELS = 16


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a style network is made of, and how it looks at images; kept with its weights.

    Attributes
    ----------
    source_channels, target_channels : int
        1 for grey, 3 for colour.
    source_window_px, target_window_px : float
        Standard deviation of the window in which brightness and contrast are evened out before an image is looked at;
        0 stretches the whole image instead (`demis_ij.nets.style_look`).
    target_blur_px : float
        Standard deviation of a Gaussian over the target: what the source cannot show is not asked for.
    reduce : int
        Px of an image to a px that the network looks at, along each side.
    widths : tuple of int
        Channels at a half, a quarter, ... of that.
    """

    source_channels: int = 1
    target_channels: int = 1
    source_window_px: float = 32.0
    target_window_px: float = 32.0
    target_blur_px: float = 0.0
    reduce: int = 1
    widths: tuple[int, ...] = (24, 48, 96)

    def __post_init__(self) -> None:
        widths = tuple(int(w) for w in self.widths)
        channels = (self.source_channels, self.target_channels)
        fits = 2 <= len(widths) <= 7 and min(widths) >= 1 and all(1 <= c <= MOST_CHANNELS for c in channels)
        lengths = (self.source_window_px, self.target_window_px, self.target_blur_px)
        if not (fits and 1 <= self.reduce <= 64 and min(lengths) >= 0):
            msg = (
                f"a style network has two to seven widths, 1 to {MOST_CHANNELS} channels on each side, a reduction of "
                f"1 to 64 and lengths of 0 or more: found {self}"
            )
            raise InputError(msg)
        object.__setattr__(self, "widths", widths)

    @property
    def reversed(self) -> Form:
        """The form of the network that leads back."""
        return Form(
            source_channels=self.target_channels,
            target_channels=self.source_channels,
            source_window_px=self.target_window_px,
            target_window_px=self.source_window_px,
            target_blur_px=self.target_blur_px,
            reduce=self.reduce,
            widths=self.widths,
        )

    @property
    def plain(self) -> Form:
        """The form of the network that leaves of a target what restyled images show, too."""
        return Form(
            source_channels=self.target_channels,
            target_channels=self.target_channels,
            source_window_px=self.target_window_px,
            target_window_px=self.target_window_px,
            reduce=self.reduce,
            widths=self.widths,
        )

    @property
    def multiple(self) -> int:
        """What sides are padded to a multiple of, px that the network looks at."""
        return 1 << len(self.widths)

    @property
    def reach_px(self) -> int:
        """How far a px of the output sees, px that the network looks at, to each side; an upper bound."""
        cells = [2 << k for k in range(len(self.widths))]
        down = sum(2 * c for c in cells)  # two convolutions of 3 x 3 each
        up = sum(2 * c for c in cells[:-1]) + sum(cells[1:])  # and linear interpolation from each coarser level
        return down + up + cells[0] + cells[-1] + 2  # the last convolution; cells are filled as wholes

    @property
    def least_px(self) -> int:
        """Shortest side of an image, px of the image: what a px of the output sees, to both sides."""
        return (2 * self.reach_px + 1) * self.reduce


def _block(inside: int, outside: int) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class Generator(nn.Module):
    """The U-Net.

    Parameters
    ----------
    form : Form
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        w = form.widths
        self.first = nn.Sequential(nn.PixelUnshuffle(2), _block(4 * form.source_channels, w[0]), _block(w[0], w[0]))
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), _block(a, b), _block(b, b)) for a, b in pairwise(w))
        self.across = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(w))
        self.up = nn.ModuleList(nn.Sequential(_block(2 * a, a), _block(a, a)) for a in w[:-1])
        self.last = nn.Conv2d(w[0], 4 * form.target_channels, 3, padding=1)
        with torch.no_grad():  # the four px of a cell begin alike: no pattern of cells has to be unlearned
            kernel = self.last.weight[::4].clone() * 0.5
            self.last.weight.copy_(kernel.repeat_interleave(4, 0))
            nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Return outputs (N, C', H, W) of looks (N, C, H, W), whose sides are multiples of `Form.multiple`."""
        seen = [self.first(images)]
        for down in self.down:
            seen.append(down(seen[-1]))
        x = seen.pop()
        for across, up, past in zip(reversed(self.across), reversed(self.up), reversed(seen), strict=True):
            x = functional.interpolate(across(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat([x, past], 1))
        return functional.pixel_shuffle(self.last(x), 2)


class Critic(nn.Module):
    """What tells targets from outputs of a generator, patch by patch (34 px), by a number each that is 1 for targets.

    Parameters
    ----------
    channels : int
        Of the target, with those of the source when it is shown too (pix2pix); without them for unaligned images.
    width : int
        Channels of its first layer.
    """

    def __init__(self, channels: int, width: int = 24) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for inside, outside in pairwise(sizes):
            stride = 1 if outside == sizes[-1] else 2
            layers += [spectral_norm(nn.Conv2d(inside, outside, 4, stride=stride, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 1, h, w), h and w about a quarter of the sides."""
        found: Tensor = self.layers(images)
        return found


def _convolution(layer: nn.Module) -> nn.Conv2d:
    if not isinstance(layer, nn.Conv2d):
        msg = f"a block begins with a convolution, found {type(layer).__name__}"
        raise TypeError(msg)
    return layer


def folded(net: Generator) -> Generator:
    """Return the same function with its normalisations folded into its convolutions; the network given is left."""
    out = Generator(net.form)
    out.load_state_dict(net.state_dict())
    out.eval().requires_grad_(False)
    for parent in list(out.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential) and len(child) == 3 and isinstance(child[1], nn.BatchNorm2d):
                setattr(parent, name, nn.Sequential(fuse_conv_bn_eval(_convolution(child[0]), child[1]), child[2]))
    return out.to(memory_format=torch.channels_last)


__all__ = ["KIND", "MOST_CHANNELS", "Critic", "Form", "Generator", "folded"]
