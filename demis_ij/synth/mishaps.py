"""What goes wrong between the knife and the camera, one section at a time, each with its mask.

Knife marks come from nicks in the knife: in every section of a series they run the same way and through the same
places. Everything else strikes each section by itself. All work on stain, before the microscope blurs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.synth.fields import Plane, Streams, smooth_field, smoothstep

FOLD, TEAR, CRACK, KNIFE, DIRT, PRECIPITATE, CHARGING = range(1, 8)
NAMES = ("", "fold", "tear", "crack", "knife mark", "dirt", "precipitate", "charging")


@dataclass(frozen=True, kw_only=True)
class Mishaps:
    """How often each thing goes wrong: the chance that it strikes a section, 0 for never, 1 for always.

    Attributes
    ----------
    fold, tear, crack, knife_marks, chatter, dirt, precipitate, charging, uneven_light, missing : float
        In [0, 1].
    contrast : float
        Sd of each section's brightness and contrast, as a part of the range of grey.
    noise : float
        Sd of the camera's noise, grey levels.
    """

    fold: float = 0.0
    tear: float = 0.0
    crack: float = 0.0
    knife_marks: float = 0.0
    chatter: float = 0.0
    dirt: float = 0.0
    precipitate: float = 0.0
    charging: float = 0.0
    uneven_light: float = 0.0
    missing: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            value, most = getattr(self, name), 100.0 if name == "noise" else 1.0
            if not 0 <= value <= most:
                msg = f"{name} of a series' mishaps lies between 0 and {most:g}, found {value}"
                raise InputError(msg)


TYPICAL = Mishaps(
    fold=0.06, tear=0.02, crack=0.02, knife_marks=0.25, chatter=0.2, dirt=0.3, precipitate=0.15, charging=0.05,
    uneven_light=1.0, missing=0.01, contrast=0.04, noise=5.0,
)  # fmt: skip


def _bent_line(shape: tuple[int, int], rng: np.random.Generator, bend: float) -> NDArray[np.float64]:
    """Return (N, 2) points (x, y) of a line across the picture that bends a little."""
    rows, cols = shape
    count = 60
    turns = rng.uniform(0, pi) + np.cumsum(rng.normal(0, bend, count))
    line = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0) * (rows + cols) * 1.2 / count
    return np.asarray(line + rng.uniform(0.25, 0.75, 2) * (cols, rows) - line[count // 2])


def _distance_to(line: NDArray[np.float64], shape: tuple[int, int]) -> Plane:
    """Return how far each pixel is from a line, px."""
    free = np.ones(shape, np.uint8)
    cv2.polylines(free, [np.round(line).astype(np.int32)], False, (0,), 1)
    return np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)


class _Section:
    """A section's stain and its mask while things go wrong with it."""

    def __init__(self, stain: Plane, scale: float, streams: Streams) -> None:
        self.stain, self.mask = stain.copy(), np.zeros(stain.shape, np.uint8)
        self.shape, self.scale = (stain.shape[0], stain.shape[1]), scale
        self.streams = streams

    def mark(self, where: NDArray[np.bool_], what: int) -> None:
        self.mask[where] = what

    def add_fold(self, rng: np.random.Generator) -> None:
        """Lay three layers of tissue over each other along a band, dark where it creases."""
        away = _distance_to(_bent_line(self.shape, rng, 0.06), self.shape)
        ragged = smooth_field(self.shape, rng, 60 * self.scale) * np.float32(0.2)
        half = np.float32(self.scale * rng.uniform(9, 26)) * np.clip(1 + ragged, 0.4, 1.6)
        inside = smoothstep(half - away, -1, 1)
        dy, dx = rng.integers(-int(40 * self.scale) - 2, int(40 * self.scale) + 3, 2).tolist()
        over = np.roll(self.stain, (dy, dx), (0, 1)) + np.roll(self.stain, (-dx, dy), (0, 1))
        crease = np.exp(-(((away - half) / np.float32(3 * self.scale)) ** 2)) * np.float32(0.25)
        pulled = np.exp(-np.maximum(away - half, 0) / np.float32(14 * self.scale)) * np.float32(0.05)
        folded = np.minimum(self.stain * np.float32(0.7) + 0.6 * over, np.float32(1.1))
        self.stain += inside * (folded - self.stain) + crease - pulled * (1 - inside)
        self.mark(inside > 0.5, FOLD)

    def add_tear(self, rng: np.random.Generator) -> None:
        """Open a gap, widest in its middle, with nothing in it."""
        line = _bent_line(self.shape, rng, 0.1)
        if rng.random() < 0.6:  # it begins or ends inside
            line = line[int(rng.integers(12, 26)) : int(rng.integers(34, 48))]
        away = _distance_to(line, self.shape)
        middle = line[len(line) // 2]
        ys, xs = np.mgrid[: self.shape[0], : self.shape[1]].astype(np.float32)
        far = np.hypot(xs - np.float32(middle[0]), ys - np.float32(middle[1])) / np.float32(0.5 * sum(self.shape))
        widest = self.scale * rng.uniform(12, 40)
        half = np.float32(widest) * np.clip(1 - far**2, 0.05, 1) + smooth_field(self.shape, rng, 9) * np.float32(
            0.08 * widest
        )
        self._empty(away, half, TEAR, rim=0.16)

    def add_crack(self, rng: np.random.Generator) -> None:
        """Open thin, forked, meandering gaps."""
        line = _bent_line(self.shape, rng, 0.25)
        away = _distance_to(line, self.shape)
        for _ in range(int(rng.integers(1, 4))):
            turns = rng.uniform(0, 2 * pi) + np.cumsum(rng.normal(0, 0.3, 18))
            moves = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0) * 0.02 * sum(self.shape)
            away = np.minimum(away, _distance_to(line[int(rng.integers(15, 45))] + moves, self.shape))
        half = np.float32(self.scale * rng.uniform(1.2, 3.5)) * (
            1 + np.float32(0.3) * smooth_field(self.shape, rng, 12)
        )
        self._empty(away, half, CRACK, rim=0.1)

    def _empty(self, away: Plane, half: Plane, what: int, rim: float) -> None:
        inside = smoothstep(half - away, -1, 1)
        edge = np.exp(-(((away - half - 2) / np.float32(3 * self.scale + 1)) ** 2)) * np.float32(rim)
        self.stain += edge
        self.stain += inside * (np.float32(-0.05) - self.stain)
        self.mark(inside > 0.3, what)

    def add_knife_marks(self, rng: np.random.Generator) -> None:
        """Draw the nicks of the knife, the same ones in every section that shows them."""
        knife = self.streams.rng(101, 0)
        angle = knife.uniform(0, pi)
        normal = np.array([-sin(angle), cos(angle)])
        ys, xs = np.mgrid[: self.shape[0], : self.shape[1]].astype(np.float32)
        across = xs * np.float32(normal[0]) + ys * np.float32(normal[1])
        across += smooth_field(self.shape, rng, 200 * self.scale) * np.float32(1.2 * self.scale)
        for _ in range(int(knife.integers(2, 7))):
            at = knife.uniform(across.min(), across.max()) + rng.normal(0, 1.5)
            wide, depth = (
                self.scale * knife.uniform(0.8, 3.0),
                knife.choice((-1, 1)) * knife.uniform(0.05, 0.2) * rng.uniform(0.6, 1.2),
            )
            x = (across - np.float32(at)) / np.float32(wide)
            mark = np.exp(-x * x) - np.float32(0.5) * np.exp(-((x - 1.8) ** 2))
            self.stain += mark * np.float32(depth)
            self.mark(np.abs(mark * depth) > 0.03, KNIFE)

    def add_chatter(self, rng: np.random.Generator) -> None:
        """Make the section thicker and thinner in bands across the way of the knife."""
        angle = self.streams.rng(101, 0).uniform(0, pi)
        ys, xs = np.mgrid[: self.shape[0], : self.shape[1]].astype(np.float32)
        along = xs * np.float32(cos(angle)) + ys * np.float32(sin(angle))
        along += smooth_field(self.shape, rng, 150 * self.scale) * np.float32(14 * self.scale)
        bands = np.sin(along * np.float32(2 * pi / (self.scale * rng.uniform(70, 220))) + np.float32(rng.uniform(0, 6)))
        self.stain *= 1 + np.float32(rng.uniform(0.05, 0.16)) * bands

    def add_grains(self, rng: np.random.Generator, *, fine: bool) -> None:
        """Drop dirt, or precipitate of stain: smaller, darker, in clusters."""
        rows, cols = self.shape
        area = rows * cols / (1e6 * self.scale**2)
        count = int(rng.integers(12, 30)) if fine else 1 + int(rng.poisson(2.5 * area))
        heart = rng.uniform(0, 1, 2) * (cols, rows)
        for _ in range(count):
            radius = self.scale * (rng.uniform(1.5, 4.5) if fine else rng.lognormal(2.1, 0.6))
            x, y = heart + rng.normal(0, 60 * self.scale, 2) if fine else rng.uniform(0, 1, 2) * (cols, rows)
            half = int(3 * radius) + 4
            y0, y1 = max(0, int(y) - half), min(rows, int(y) + half + 1)
            x0, x1 = max(0, int(x) - half), min(cols, int(x) + half + 1)
            if y1 - y0 < 2 or x1 - x0 < 2:
                continue
            ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
            rough = smooth_field(ys.shape, rng, max(1.0, radius / 2.5)) * np.float32(0.5 * radius)
            grain = smoothstep(np.float32(radius) - np.hypot(ys - np.float32(y), xs - np.float32(x)) + rough, -0.7, 0.9)
            self.stain[y0:y1, x0:x1] += grain * (np.float32(1.08) - self.stain[y0:y1, x0:x1])
            self.mask[y0:y1, x0:x1][grain > 0.3] = PRECIPITATE if fine else DIRT

    def add_charging(self, rng: np.random.Generator) -> None:
        """Brighten a soft blob with a trail along the scan line."""
        rows, cols = self.shape
        y, x = rng.uniform(0, rows), rng.uniform(0, cols)
        spread = rng.uniform(0.05, 0.15) * min(rows, cols)
        down = np.exp(-(((np.arange(rows) - y) / spread) ** 2)).astype(np.float32)[:, None]
        ahead = np.arange(cols) - x
        trail = np.exp(-np.where(ahead < 0, (ahead / spread) ** 2, ahead / (4 * spread))).astype(np.float32)[None]
        glow = np.float32(rng.uniform(0.08, 0.25)) * down * trail
        self.stain -= glow
        self.mark(glow > 0.04, CHARGING)

    def add_uneven_light(self, rng: np.random.Generator) -> None:
        """Light the section from one side and through a lens that darkens the corners."""
        ys, xs = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in self.shape), indexing="ij")
        tilt = rng.normal(0, 0.015, 2)
        self.stain += np.float32(tilt[0]) * xs + np.float32(tilt[1]) * ys
        self.stain += np.float32(rng.uniform(0, 0.03)) * (xs * xs + ys * ys)


def befall(
    stain: Plane, mishaps: Mishaps, streams: Streams, number: int, scale: float
) -> tuple[Plane, NDArray[np.uint8], tuple[str, ...]]:
    """Return a section's stain after what went wrong with it, where that was, and what.

    Returns
    -------
    stain : ndarray of shape (rows, cols), float32
    mask : ndarray of shape (rows, cols), uint8
        0 where the tissue is as it was, else a number that counts in `NAMES`.
    what : tuple of str
        The fields of `Mishaps` that struck.
    """
    section = _Section(stain, scale, streams)
    steps: dict[str, Callable[[np.random.Generator], None]] = {
        "chatter": section.add_chatter,
        "uneven_light": section.add_uneven_light,
        "charging": section.add_charging,
        "knife_marks": section.add_knife_marks,
        "fold": section.add_fold,
        "crack": section.add_crack,
        "tear": section.add_tear,
        "precipitate": lambda rng: section.add_grains(rng, fine=True),
        "dirt": lambda rng: section.add_grains(rng, fine=False),
    }
    struck = []
    for place, (name, step) in enumerate(steps.items()):
        rng = streams.rng(110 + place, number)
        if rng.random() < getattr(mishaps, name):
            step(rng)
            struck.append(name)
    return section.stain, section.mask, tuple(struck)
