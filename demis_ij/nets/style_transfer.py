"""A style applied to images of any size: looked at as a whole, sent through the network in tiles without seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.nets.style import Form, Generator, folded
from demis_ij.nets.style_contrast import contrast_look
from demis_ij.nets.style_look import Look, Mask, known_of, look_at, planes_of, to_bytes
from demis_ij.nets.style_weights import COMPARED, LoadedStyle, load_style
from demis_ij.nets.two_headed_start import device_named

TILE_PX = 1024
"""Side of the tiles, px that the network looks at, without their margins; a multiple of any `Form.multiple`."""
_WHOLE = 1.5  # tiles: an image this large at most is sent through as one


@dataclass(frozen=True, eq=False)
class Restyled:
    """An image in its new style.

    Attributes
    ----------
    image : ndarray of shape (H, W) or (H, W, C), uint8
        Even in brightness and contrast, its middle 128.
    mask : ndarray of shape (H, W), bool
        Where there is data: where the image had some.
    edges : ndarray of shape (H, W), uint8, or None
        Its local contrast, where that alone may be compared.
    """

    image: NDArray[np.uint8]
    mask: Mask
    edges: NDArray[np.uint8] | None = None

    @property
    def compared(self) -> NDArray[np.uint8]:
        """What a registration compares: the image, or its local contrast where greys mean nothing."""
        return self.image if self.edges is None else self.edges


class Style:
    """What leads from images of one instrument to the look of another's.

    Parameters
    ----------
    net : Generator
    source, target : str
        What it leads from and to.
    name : str
        For reports and errors.
    back : Generator, optional
        What leads the other way.
    plain : Generator, optional
        What leaves of a target what restyled images show, too.
    device : str
        auto, cpu, cuda or mps.
    tile_px : int
        Side of the tiles, px that the network looks at.
    compare : str
        Of `demis_ij.nets.style_weights.COMPARED`: what of both images a registration compares.
    polarity : tuple of float, optional
        Between what most targets lie (`demis_ij.nets.style_contrast.polarity_of`): whether edges are bright in them.
    """

    def __init__(
        self,
        net: Generator,
        source: str = "source",
        target: str = "target",
        *,
        name: str = "style",
        back: Generator | None = None,
        plain: Generator | None = None,
        device: str = "auto",
        tile_px: int = TILE_PX,
        compare: str = COMPARED[0],
        polarity: tuple[float, float] | None = None,
    ) -> None:
        if tile_px < 1 or tile_px % net.form.multiple:
            msg = f"tile_px: {tile_px} is not a multiple of {net.form.multiple}, which this style's cells need"
            raise InputError(msg)
        self.form, self.source, self.target, self.name, self.tile_px = net.form, source, target, name, tile_px
        self.compare, self.polarity = compare, polarity
        self._device_name, self.device = device, device_named(device)
        self._given, self._given_back, self._given_plain = net, back, plain

    @cached_property
    def _net(self) -> Generator:
        return folded(self._given).to(self.device)

    @cached_property
    def _plain(self) -> Style | None:
        """What targets are sent through before they are compared with restyled images."""
        if self._given_plain is None:
            return None
        return Style(
            self._given_plain, self.target, self.target, name=self.name, device=self._device_name, tile_px=self.tile_px
        )

    @cached_property
    def reversed(self) -> Style | None:
        """The style that leads back; None where that was not trained."""
        if self._given_back is None:
            return None
        return Style(
            self._given_back, self.target, self.source, name=self.name, back=self._given, device=self._device_name,
            tile_px=self.tile_px, compare=self.compare,
        )  # fmt: skip

    def fits(self, image: NDArray[Any]) -> bool:
        """Return whether an image, (H, W) or (H, W, C), has as many channels as the style leads from."""
        return int(planes_of(image).shape[2]) == self.form.source_channels

    def check(self, image: NDArray[Any]) -> None:
        """Raise `InputError` when an image cannot be restyled: other channels than it leads from, or too small."""
        channels, wanted = int(planes_of(image).shape[2]), self.form.source_channels
        if channels != wanted:
            other = " (it has that of the target: was the other image meant?)" * (
                channels == self.form.target_channels != wanted
            )
            msg = (
                f"style {self.name} leads from {self.source} of {_channels(wanted)} to {self.target}, found an image "
                f"of {_channels(channels)}{other}"
            )
            raise InputError(msg)
        check_size(image.shape[:2], self.form, f"style {self.name}")

    def __call__(
        self,
        image: NDArray[Any],
        mask: Mask | None = None,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Restyled:
        """Return an image in the look of the target.

        Parameters
        ----------
        image : ndarray of shape (H, W) or (H, W, C)
            Grey or colour of any type; NaN is no data.
        mask : ndarray of shape (H, W), bool, optional
            Where there is data.
        progress : callable
            Told how many tiles are done, and how many there are.

        Raises
        ------
        InputError
            When the image has other channels than the style leads from, or is smaller than what a pixel is told by.
        """
        self.check(image)
        out = self.sent_through(look_at(image, mask, window_px=self.form.source_window_px), progress=progress)
        known = known_of(image, mask)
        out[:, ~known] = 0
        return self._seen(out, known)

    def shown(self, image: NDArray[Any], mask: Mask | None = None) -> Restyled:
        """Return an image of the target instrument in the look that restyled images have: what they compare with.

        Raises
        ------
        InputError
            As for images that are restyled.
        """
        if self._plain is not None:
            return self._plain(image, mask)
        known = known_of(image, mask)
        return self._seen(target_look(image, known, self.form), known)

    def _seen(self, look: Look, known: Mask) -> Restyled:
        edges = to_bytes(contrast_look(look, known)) if self.compare == "edges" else None
        return Restyled(to_bytes(look), known, edges)

    def sent_through(self, look: Look, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Look:
        """Return what the network makes of a look (C, H, W), in tiles with margins that no seam reaches through."""
        shape = look.shape[1:]
        if self.form.reduce > 1:
            look = _resized(look, tuple(max(1, round(n / self.form.reduce)) for n in shape), cv2.INTER_AREA)
        rows, cols = look.shape[1:]
        out = np.empty((self.form.target_channels, rows, cols), np.float32)
        tiles = list(self._tiles(rows, cols))
        for done, (y0, y1, x0, x1) in enumerate(tiles):
            out[:, y0:y1, x0:x1] = self._tile(look, y0, y1, x0, x1)
            progress(done + 1, len(tiles))
        return out if out.shape[1:] == shape else _resized(out, shape, cv2.INTER_LINEAR)

    def _tiles(self, rows: int, cols: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the rows and columns of tiles, from the first to the one after the last."""
        whole = _WHOLE * self.tile_px
        down, across = (n if n <= whole else self.tile_px for n in (rows, cols))
        for y in range(0, rows, down):
            for x in range(0, cols, across):
                yield y, min(y + down, rows), x, min(x + across, cols)

    def _tile(self, look: Look, y0: int, y1: int, x0: int, x1: int) -> Look:
        """Return the output of a tile; it is cut with its margin on the grid of cells of the whole image."""
        step = self.form.multiple
        margin = -(-self.form.reach_px // step) * step
        spans = []
        for first, last, side in ((y0, y1, look.shape[1]), (x0, x1, look.shape[2])):
            low = max(first - margin, 0)
            high = min(last + margin, side)
            spans.append((low, high, -(high - low) % step))
        (top, bottom, below), (left, right, beside) = spans
        part = look[:, top:bottom, left:right]
        if below or beside:
            part = np.pad(part, ((0, 0), (0, below), (0, beside)), mode="edge")
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(part))[None].to(self.device)
            found = self._net(given.contiguous(memory_format=torch.channels_last))[0].cpu().numpy()
        return np.asarray(found[:, y0 - top : y1 - top, x0 - left : x1 - left], np.float32)


def style_of(name: str, *, device: str = "auto", threads: int = 0) -> Style:
    """Return a style by the name of its weights.

    Parameters
    ----------
    name : str
        One of `demis_ij.nets.style_weights.SHIPPED`, or a path.
    device : str
        auto, cpu, cuda or mps.
    threads : int
        For the processor; 0 leaves it to torch.

    Raises
    ------
    WeightsError
        When the weights are missing, damaged or those of another network.
    InputError
        When the device is not there.
    """
    if threads:
        torch.set_num_threads(threads)
    return style_from(load_style(name), device=device)


def style_from(loaded: LoadedStyle, *, device: str = "auto") -> Style:
    """Return the style of loaded weights."""
    return Style(
        loaded.forward,
        loaded.source,
        loaded.target,
        name=loaded.name,
        back=loaded.back,
        plain=loaded.plain,
        device=device,
        compare=loaded.compare,
        polarity=loaded.polarity,
    )


def target_look(image: NDArray[Any], known: Mask, form: Form) -> Look:
    """Return how a target looks, (C, H, W), as it is asked for in training and compared with afterwards."""
    look = look_at(image, known, window_px=form.target_window_px)
    if not form.target_blur_px:
        return look
    weight = np.maximum(_blurred(known.astype(np.float32), form.target_blur_px), np.float32(1e-6))
    return np.stack([np.where(known, _blurred(plane, form.target_blur_px) / weight, 0) for plane in look])


def check_size(shape: tuple[int, ...], form: Form, what: str) -> None:
    """Raise `InputError` when an image is smaller than what a pixel of the output is told by."""
    if min(shape) < form.least_px:
        msg = f"{what} sees {form.least_px} px at once, images are that a side or more: found {shape[1]}x{shape[0]} px"
        raise InputError(msg)


def _blurred(plane: Look, sigma_px: float) -> Look:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT), np.float32)


def _resized(look: Look, shape: tuple[int, ...], how: int) -> Look:
    return np.stack([np.asarray(cv2.resize(plane, shape[::-1], interpolation=how), np.float32) for plane in look])


def _channels(count: int) -> str:
    return {1: "1 channel (grey)", 3: "3 channels (colour)"}.get(count, f"{count} channels")


__all__ = ["TILE_PX", "Restyled", "Style", "check_size", "style_from", "style_of", "target_look"]
