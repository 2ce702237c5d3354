"""What a synthetic grid of tiles is made of: the DEMIS dataset recipe as numbers, and the sets A to K.

The recipe is that of the DEMIS dataset (Šilling and Španěl 2025,
https://scitepress.org/publishedPapers/2025/133149/pdf/index.html) with two differences: rotations are continuous, and
noise is drawn in floating point with mean zero and rounded once, at the end. (The published code writes normal noise
into an unsigned 8-bit array, which drops its negative half.) ``placement="stepped"``, ``overlap_for_turns`` and
``noise_first`` bring back what else the published code does (https://github.com/PSilling/demis, ``EM424``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, hypot, radians, sin

import numpy as np

from demis_ij.errors import InputError
from demis_ij.synth.styles import STYLES, Style

Position = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class GridSpec:
    """How a large image is cut into tiles. Fractions are of the tile's side, greys are of 255.

    Attributes
    ----------
    rows, cols, tile_px : int
        Grid, and side of the square tiles.
    overlap : float
        Overlap of neighbours on the regular grid.
    rotation_deg, shift_frac : float
        A tile is turned about its centre by up to this, and shifted by up to this in x and in y, uniformly.
    stage_error_frac : float
        The nominal position is wrong by up to this in x and in y besides; it does not show in the images.
    noise_sd : float
        Gaussian noise of mean zero, drawn for each tile by itself after gain and bias.
    gain_sd, bias_sd : float
        Brightness of a tile: grey times 1 + N(0, gain_sd) (kept in 0.5 to 1.5) plus N(0, bias_sd) (kept within 50).
    blur_px : float
        A tile is blurred by a Gaussian of sigma uniform in 0 to this.
    source_blur_px : float
        The source is blurred by this first, so that tiles do not share the noise of a real image.
    resin, missing : tuple of (row, column)
        Tiles that show only resin with weak structure, and tiles that do not exist.
    resin_sd : float
        Contrast of the resin: standard deviation after a Gaussian low-pass of sigma 4 px.
    decoy : bool
        Whether one pair of neighbours shows the same content, turned by 180 degrees, in most of its strip.
    style : str or Style or None
        Tissue of a made-up source; None draws one.
    placement : str
        ``free``: as said above. ``stepped``: as in EM424, turns are whole degrees that wander from tile to tile, row by
        row, the first tile 0, each in max(last - R, -R) to min(last + R, R) - 1 for R = ``rotation_deg``; shifts are
        whole px, 0 to less than ``shift_frac`` of the tile, to the right only (not in the first column) and down only
        (not in the first row); the turn is about pixel ``tile_px // 2``.
    overlap_for_turns : bool
        Whether neighbours overlap by ceil(tile_px sin(rotation_deg)) more, as in EM424.
    noise_first : bool
        Whether the noise is added before gain and bias, as in EM424, instead of after.
    double : bool
        Blurs, resin and noise in double precision by filters of a fixed order, so that a grey value that is rounded
        comes out the same on every machine; `SETS` are older and need only be the same on one.

    Raises
    ------
    InputError
        When a number is out of range, a position is outside the grid or both resin and missing, no tile is left, or
        the shifts could part neighbours.
    """

    rows: int
    cols: int
    tile_px: int = 1024
    overlap: float = 0.15
    rotation_deg: float = 2.0
    shift_frac: float = 0.03
    stage_error_frac: float = 0.0
    noise_sd: float = 5.0
    gain_sd: float = 0.0
    bias_sd: float = 0.0
    blur_px: float = 0.0
    source_blur_px: float = 0.0
    resin: tuple[Position, ...] = ()
    missing: tuple[Position, ...] = ()
    resin_sd: float = 2.5
    decoy: bool = False
    style: str | Style | None = "tem"
    placement: str = "free"
    overlap_for_turns: bool = False
    noise_first: bool = False
    double: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value: object = getattr(self, name)
            whole = name in _WHOLE
            kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
            if (
                not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high
            ):  # NaN is refused too
                msg = (
                    f"{name} is {value!r}; it must be {'a whole number' if whole else 'a number'} from {low} to {high}"
                )
                raise InputError(msg)
        for name in ("resin", "missing"):
            self._check_positions(name)
        self._check_placement()
        both = sorted(set(self.resin) & set(self.missing))
        if both:
            msg = f"tile {both[0]} cannot be both resin and missing"
            raise InputError(msg)
        if not self.positions:
            msg = f"all {self.rows * self.cols} tiles of the grid are missing: at least one is needed"
            raise InputError(msg)
        if self.decoy and self.decoy_positions is None:
            msg = "a decoy needs two neighbours in one row that are neither resin nor missing"
            raise InputError(msg)
        if isinstance(self.style, str) and self.style not in STYLES:
            msg = f"no style {self.style!r}; known: {', '.join(STYLES)}"
            raise InputError(msg)

    def _check_placement(self) -> None:
        if self.placement not in PLACEMENTS:
            msg = f"placement is {self.placement!r}; it must be one of {', '.join(PLACEMENTS)}"
            raise InputError(msg)
        stepped = self.placement == "stepped"
        if stepped and self.rotation_deg != int(self.rotation_deg):
            msg = f"rotation_deg is {self.rotation_deg}; stepped placement needs a whole number of degrees"
            raise InputError(msg)
        if self.step_px < 1:
            msg = f"an overlap of {self.overlap} and what is added for turns leave no step between tiles"
            raise InputError(msg)
        shared = self.overlap + self._extra_px / self.tile_px
        if len(self.positions) > 1 and shared <= (1 if stepped else 2) * self.shift_frac:
            less = "less" if stepped else "below half"
            msg = f"shifts of {self.shift_frac} can part neighbours that overlap by {shared:.4g}: keep {less}"
            raise InputError(msg)

    def _check_positions(self, name: str) -> None:
        given = tuple((int(r), int(c)) for r, c in getattr(self, name))
        for row, col in given:
            if not (0 <= row < self.rows and 0 <= col < self.cols):
                msg = f"{name} tile ({row}, {col}) is outside the grid of {self.rows} rows and {self.cols} columns"
                raise InputError(msg)
        object.__setattr__(self, name, given)

    @property
    def positions(self) -> tuple[Position, ...]:
        """(row, column) of the tiles that exist, row by row."""
        gone = set(self.missing)
        return tuple((r, c) for r in range(self.rows) for c in range(self.cols) if (r, c) not in gone)

    @property
    def neighbours(self) -> tuple[tuple[Position, Position], ...]:
        """Pairs of tiles that exist: each with the one to its right and the one below."""
        there = set(self.positions)
        return tuple(((r, c), other) for r, c in self.positions for other in ((r, c + 1), (r + 1, c)) if other in there)

    @property
    def decoy_positions(self) -> tuple[Position, Position] | None:
        """The pair that is given a decoy: the one in a row that is nearest to the middle of the grid."""
        weak = set(self.resin)
        pairs = [(a, b) for a, b in self.neighbours if a[0] == b[0] and a not in weak and b not in weak]
        middle = ((self.rows - 1) / 2, (self.cols - 1) / 2)
        return min(pairs, key=lambda p: hypot(p[0][0] - middle[0], p[0][1] + 0.5 - middle[1]), default=None)

    @property
    def step_px(self) -> float:
        """Distance of neighbouring tiles on the regular grid."""
        return round(self.tile_px * (1 - self.overlap)) - self._extra_px

    @property
    def _extra_px(self) -> int:
        """What neighbours overlap by so that turns leave no gap."""
        return ceil(self.tile_px * sin(radians(self.rotation_deg))) if self.overlap_for_turns else 0

    @property
    def margin_px(self) -> int:
        """How far a tile can reach outside the regular grid, and what interpolation needs besides."""
        turned = self.tile_px / 2 * abs(sin(radians(self.rotation_deg)))
        return ceil(self.tile_px * self.shift_frac + turned) + 8

    @property
    def source_shape(self) -> tuple[int, int]:
        """(rows, cols) of the smallest image from which the grid can be cut."""
        step, rest = int(self.step_px), self.tile_px + 2 * self.margin_px
        return (self.rows - 1) * step + rest, (self.cols - 1) * step + rest

    def most(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return (rows, cols) of the largest grid of such tiles that an image of ``shape`` holds; (0, 0) when none."""
        step, rest = int(self.step_px), self.tile_px + 2 * self.margin_px
        rows, cols = (max(0, (side - rest) // step + 1) for side in shape)
        return (rows, cols) if rows and cols else (0, 0)


PLACEMENTS = ("free", "stepped")
_WHOLE = {"rows", "cols", "tile_px"}
_RANGES = {
    "rows": (1, 1000),
    "cols": (1, 1000),
    "tile_px": (32, 16384),
    "overlap": (0.0, 0.9),
    "rotation_deg": (0.0, 45.0),
    "shift_frac": (0.0, 0.4),
    "stage_error_frac": (0.0, 1.0),
    "noise_sd": (0.0, 128.0),
    "gain_sd": (0.0, 0.5),
    "bias_sd": (0.0, 100.0),
    "blur_px": (0.0, 20.0),
    "source_blur_px": (0.0, 20.0),
    "resin_sd": (0.0, 50.0),
}
_TISSUE = replace(STYLES["tem"], vessels=0.0)  # an empty vessel would make a textured pair weak by chance
_H_GAP = tuple((row, 2) for row in range(3))

SETS: dict[str, GridSpec] = {
    "A": GridSpec(rows=6, cols=6, gain_sd=0.06, bias_sd=9, resin=((0, 3), (5, 2)), style=_TISSUE),
    "B": GridSpec(
        rows=6, cols=6, overlap=0.10, shift_frac=0.02, noise_sd=15, gain_sd=0.1, bias_sd=20, blur_px=1.5,
        source_blur_px=1, resin=((2, 1), (0, 4)), style=_TISSUE,
    ),
    # the resin tiles (3, 4) and (4, 3) leave (4, 4) without a textured neighbour
    "C": GridSpec(
        rows=5, cols=5, overlap=0.12, shift_frac=0.02, resin=((0, 2), (3, 4), (4, 3)),
        missing=((0, 4), (1, 1), (2, 0), (3, 3)), style=_TISSUE,
    ),
    # meant for one real TEM image of at least 2000 x 2000 px as the source; its noise is smoothed away first
    "D": GridSpec(rows=2, cols=2, source_blur_px=1, style=_TISSUE),
    "D512": GridSpec(rows=4, cols=4, tile_px=512, source_blur_px=1, style=_TISSUE),
    "E": GridSpec(
        rows=6, cols=6, overlap=0.10, rotation_deg=0.1, shift_frac=0.01, resin=((3, 4), (5, 1)), style=_TISSUE
    ),
    "F": GridSpec(rows=4, cols=4, decoy=True, style=_TISSUE),
    "G": GridSpec(rows=4, cols=4, style=_TISSUE),
    "H": GridSpec(rows=3, cols=5, missing=_H_GAP, style=_TISSUE),
    # little to go by: a strip of 51 px, noise beside which a detector sees nothing, and both
    "I": GridSpec(
        rows=5, cols=5, overlap=0.05, rotation_deg=0.5, shift_frac=0.008, gain_sd=0.06, bias_sd=9, style=_TISSUE
    ),
    "J": GridSpec(rows=5, cols=5, noise_sd=80, gain_sd=0.06, bias_sd=9, style=_TISSUE),
    "K": GridSpec(
        rows=5, cols=5, overlap=0.05, rotation_deg=0.5, shift_frac=0.008, noise_sd=40, gain_sd=0.06, bias_sd=9,
        style=_TISSUE,
    ),
}  # fmt: skip
"""The sets on which `demis_ij` is judged: overlaps, turns, noise, one trouble each (``D512`` is D in small tiles)."""

DEMO = GridSpec(
    rows=3, cols=3, tile_px=768, overlap=0.12, rotation_deg=1.5, shift_frac=0.02, stage_error_frac=0.03, noise_sd=6,
    gain_sd=0.06, bias_sd=9, resin=((0, 2),), style=replace(STYLES["tem"], somas=0.5, vessels=0.0, axons=3.0),
)  # fmt: skip
"""The grid of `demo_scene`."""
