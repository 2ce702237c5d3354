"""What neighbouring sections say of each other: dense displacements there and back, averaged at the nodes.

Two sections are warped by what is known of them so far, the optical flow between them is found in both directions
(DIS, Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29), and each pixel is weighted by how well there-and-back
closes. Damage and tissue without likeness do not close, so they lose their say; where there is no data, there is no
flow. The weighted displacements are averaged with a Gaussian and read at the nodes.

Only a few sections are held at a time. One that is larger than a block is compared block by block, with a margin: the
averages are formed on the nodes of the whole canvas afterwards, so that no seam can show in them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.align.grids import Float, Grid
from demis_ij.align.relaxing import Measured
from demis_ij.align.sections import Grey, Pyramid
from demis_ij.geometry import Box
from demis_ij.records import Affine, Offsets

Progress = Callable[[str, int, int], None]
_MARGIN_PX = 96
_FULL = 250  # of 255: a warped mask is data where all that enters is
_NOWHERE = 1e-4  # weight of data that does not close: it counts only where nothing else is near
_RASTER_PX = 24  # three px from patch to patch, at 1/8 of the size
_COARSEST_SCALE = 3  # of the flow where coarser levels came before: a patch of 8 px spans 64
_FAST_FROM_PX = 384  # from this side on the flow is searched at half of the level's size, and averaged anyway


@dataclass(frozen=True, eq=False)
class Series:
    """The usable sections of a stack, where they are compared.

    Attributes
    ----------
    pyramid : Pyramid
        The sections.
    index : tuple of int
        Which sections of the stack, in order.
    placing : tuple of Affine
        Canvas px to px of each section, before anything bends.
    grid : Grid
        The nodes.
    """

    pyramid: Pyramid
    index: tuple[int, ...]
    placing: tuple[Affine, ...]
    grid: Grid

    def warped(self, place: int, offsets: Offsets | None, level: int, box: Box) -> tuple[Grey, Grey]:
        """Return a section and its mask in a box of a level's canvas; 128 and 0 where there is no data.

        Parameters
        ----------
        place : int
            Its place in the series.
        offsets : ndarray of shape (2, rows, cols) or None
            What its field adds at the nodes; nothing when None.
        level : int
            Reduction.
        box : Box
            px of the level.
        """
        x = np.broadcast_to((np.arange(box.x0, box.x1) + 0.5) * level - 0.5, box.shape)
        y = np.broadcast_to(((np.arange(box.y0, box.y1) + 0.5) * level - 0.5)[:, None], box.shape)
        if offsets is not None:
            dx, dy = self.grid.spread(offsets, level, box)
            x, y = x + dx, y + dy
        m = self.placing[place]
        if m != Affine():
            x, y = m.a * x + m.b * y + m.tx, m.c * x + m.d * y + m.ty
        return self._looked_up(place, level, (x + 0.5) / level - 0.5, (y + 0.5) / level - 0.5)

    def _looked_up(self, place: int, level: int, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Grey, Grey]:
        grey, mask = self.pyramid.get(self.index[place], level)
        x0, y0 = max(0, int(x.min()) - 1), max(0, int(y.min()) - 1)
        x1, y1 = min(grey.shape[1], int(x.max()) + 3), min(grey.shape[0], int(y.max()) + 3)
        if x1 <= x0 or y1 <= y0:
            return np.full(x.shape, 128, np.uint8), np.zeros(x.shape, np.uint8)
        part = (slice(y0, y1), slice(x0, x1))
        at_x, at_y = (x - x0).astype(np.float32), (y - y0).astype(np.float32)

        def looked_up(pixels: Grey, outside: int) -> Grey:
            found = cv2.remap(
                np.asarray(pixels[part]), at_x, at_y, cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,),
            )  # fmt: skip
            return np.asarray(found, np.uint8)

        return looked_up(grey, 128), looked_up(mask, 0)


def pairs_of(z: Sequence[float], neighbours: int) -> list[tuple[int, int, float]]:
    """Return (fixed, moving, weight) of the pairs to compare: places in a series, weight 1 over (steps apart)^4.

    Where the nearest sections can be compared, those further away hardly count: tissue goes its own way over two
    steps. Across a section that is missing the nearest ones are all there is: they count fully, however far apart, or
    what lies before the gap and what lies behind it would be tied to nothing.

    Examples
    --------
    >>> pairs_of([0, 1, 3], 2)
    [(0, 1, 1.0), (0, 2, 0.0625), (1, 2, 1.0)]
    """
    count = len(z)
    found = [(i, i + k) for i in range(count) for k in range(1, neighbours + 1) if i + k < count]
    return [(i, j, float(j - i) ** -4) for i, j in found]


class Comparison:
    """Measures pairs of a series at one level.

    Parameters
    ----------
    series : Series
        The sections.
    level : int
        Reduction.
    sigma_px : float
        Of the Gaussian that displacements are averaged with, px of the sections.
    consistent_px : float
        There-and-back misses of this size, px of the level, have lost two thirds of their weight.
    block_px, threads : int
        Side of a block, px of the level; pairs at a time.
    coarsest : bool
        Whether no coarser level came before, so that large displacements are to be expected.
    """

    def __init__(
        self,
        series: Series,
        level: int,
        *,
        sigma_px: float,
        consistent_px: float,
        block_px: int,
        threads: int,
        coarsest: bool = False,
    ) -> None:
        self.series, self.level = series, level
        self.consistent_px, self.threads, self.coarsest = consistent_px, threads, coarsest
        self.shape = series.grid.level_shape(level)
        self.blocks = _blocks(self.shape, block_px)
        self.node_xy = series.grid.at_level(level)
        step = series.grid.stride / level  # px of the level
        self.before_px = max(0.8, step / 2)  # averaged at the level's pixels, the rest at the nodes
        rest = (sigma_px / series.grid.stride) ** 2 - (self.before_px / step) ** 2
        self.at_nodes = sqrt(max(rest, 0.09))
        self.margin = _MARGIN_PX + int(3 * self.before_px)
        self._kept = threading.local()

    def measure(
        self, offsets: Offsets, pairs: Sequence[tuple[int, int, float]], tell: Callable[[int, int], None] | None = None
    ) -> list[Measured]:
        """Return what each pair says, as the sections lie under ``offsets`` (n, 2, rows, cols)."""
        rows, cols = self.series.grid.nodes
        raw = np.zeros((len(pairs), 3, rows, cols), np.float32)
        shares = np.zeros((len(pairs), 2))
        for number, block in enumerate(self.blocks):
            for done, (pair, at, sampled, counted) in enumerate(self._of_block(offsets, pairs, block)):
                raw[(pair, slice(None), *at)] = sampled
                shares[pair] += counted
                if tell:
                    tell((number * len(pairs) + done + 1) // len(self.blocks), len(pairs))
        return [self._measured(*p, raw[k], shares[k]) for k, p in enumerate(pairs)]

    def _measured(self, fixed: int, moving: int, weight: float, raw: Float, share: NDArray[np.float64]) -> Measured:
        """Return a pair's weighted displacements, averaged over the nodes of the whole canvas."""
        smooth = np.stack([cv2.GaussianBlur(a, (0, 0), self.at_nodes) for a in raw])
        total = np.maximum(smooth[2], 1e-12)
        offsets = smooth[:2] / total * self.level
        return Measured(fixed, moving, offsets, total * np.float32(weight), float(share[0] / max(share[1], 1.0)))

    def _of_block(
        self, offsets: Offsets, pairs: Sequence[tuple[int, int, float]], block: Box
    ) -> Iterator[tuple[int, tuple[slice, slice], Float, tuple[float, float]]]:
        """Compare all pairs in one block; only the sections within reach of each other are held."""
        grown = _on_raster(block.grown(self.margin)) & Box.of_shape(self.shape)
        at = self._nodes_in(block)
        waiting: dict[int, Future[tuple[Float, tuple[float, float]]]] = {}
        held: dict[int, tuple[Grey, Grey]] = {}
        by_moving: dict[int, list[int]] = {}
        for number, (_, moving, _) in enumerate(pairs):
            by_moving.setdefault(moving, []).append(number)
        reach = max((j - i for i, j, _ in pairs), default=0)
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for place in range(len(offsets)):
                    held[place] = self.series.warped(place, offsets[place], self.level, grown)
                    for number in by_moving.get(place, ()):
                        two = held[pairs[number][0]], held[place]
                        waiting[number] = pool.submit(self._compared, *two, block, grown, at)
                    held.pop(place - reach, None)
                    while len(waiting) > 2 * self.threads:
                        number = next(iter(waiting))
                        yield number, at, *waiting.pop(number).result()
                for number, future in waiting.items():
                    yield number, at, *future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _nodes_in(self, block: Box) -> tuple[slice, slice]:
        """Return the (rows, cols) of nodes that stand in a block."""
        spans = zip(reversed(self.node_xy), ((block.y0, block.y1), (block.x0, block.x1)), strict=True)
        rows, cols = (
            slice(*(int(k) for k in np.searchsorted(at, (low - 0.5, high - 0.5)))) for at, (low, high) in spans
        )
        return rows, cols

    def _compared(
        self, fixed: tuple[Grey, Grey], moving: tuple[Grey, Grey], block: Box, grown: Box, at: tuple[slice, slice]
    ) -> tuple[Float, tuple[float, float]]:
        """Return (dx w, dy w, w) at the block's nodes, and how much of the common data is consistent, and how much."""
        there, back = self.flow(moving[0], fixed[0]), self.flow(fixed[0], moving[0])
        common = ((fixed[1] > _FULL) & (moving[1] > _FULL)).astype(np.float32)
        first, second = (
            np.exp(-((there_and_back(*two) / self.consistent_px) ** 2)) * common
            for two in ((there, back), (back, there))
        )
        told = (float((first + second).sum() / 2), float(common.sum()))
        first, second = first + _NOWHERE * common, second + _NOWHERE * common
        # both say the same of the same place, once seen from either section: neither order of the stack is favoured
        stacked = np.dstack([there * first[..., None] - back * second[..., None], first + second]) / 2
        smooth = cv2.GaussianBlur(stacked, (0, 0), self.before_px)
        x, y = self.node_xy[0][at[1]] - np.float32(grown.x0), self.node_xy[1][at[0]] - np.float32(grown.y0)
        if not (x.size and y.size):
            return np.zeros((3, y.size, x.size), np.float32), told
        grid_x, grid_y = np.meshgrid(x, y)
        sampled = cv2.remap(smooth, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.ascontiguousarray(np.moveaxis(sampled, -1, 0)), told

    def flow(self, fixed: Grey, moving: Grey) -> Float:
        """Return the displacements (rows, cols, 2): fixed pixel plus displacement is the same tissue in moving."""
        if not hasattr(self._kept, "engine"):
            self._kept.engine = flow_engine(self.shape, coarsest=self.coarsest)
        return np.asarray(self._kept.engine.calc(fixed, moving, None), np.float32)


def flow_engine(shape: tuple[int, ...], *, coarsest: bool) -> Any:
    """Return OpenCV's DIS, set up for blocks of images of a shape; the same for every block."""
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    engine.setFinestScale(1 if min(shape) >= _FAST_FROM_PX else 0)
    if not coarsest and min(shape) >> _COARSEST_SCALE >= 16 and hasattr(engine, "setCoarsestScale"):
        engine.setCoarsestScale(_COARSEST_SCALE)
    return engine


def there_and_back(there: Float, back: Float) -> Float:
    """Return by how much each pixel misses itself after going there and coming back, px."""
    y, x = np.mgrid[0 : there.shape[0], 0 : there.shape[1]].astype(np.float32)
    returned = cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.hypot(there[..., 0] + returned[..., 0], there[..., 1] + returned[..., 1]), np.float32)


def _on_raster(box: Box) -> Box:
    """Return a box grown so that the flow's patches stand on the same pixels at all scales, whichever block it is."""
    return Box(box.x0 // _RASTER_PX * _RASTER_PX, box.y0 // _RASTER_PX * _RASTER_PX, box.x1, box.y1)


def _blocks(shape: tuple[int, int], block_px: int) -> list[Box]:
    """Return boxes that tile a canvas, of nearly equal size and at most ``block_px`` a side."""

    def cuts(length: int) -> list[int]:
        count = -(-length // block_px)
        return [round(length * k / count) for k in range(count + 1)]

    across, down = cuts(shape[1]), cuts(shape[0])
    return [Box(x0, y0, x1, y1) for y0, y1 in pairwise(down) for x0, x1 in pairwise(across)]
