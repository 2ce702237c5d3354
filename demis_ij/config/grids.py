"""Settings of ``synth grids``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from demis_ij.config.checks import check_types, in_range, one_of
from demis_ij.errors import InputError


@dataclass(frozen=True, kw_only=True)
class GridsConfig:
    """How ``demis-ij synth grids`` cuts large images into grids of tiles. Greys are of 255; see also `GRID_PRESETS`.

    Attributes
    ----------
    tile_px : int
        Side of the square tiles.
    rows, cols : int
        Size of a grid; 0: as many as fit, at most ``max_rows`` and ``max_cols``.
    max_rows, max_cols : int
        Bounds of a grid that is as large as fits.
    grids_per_source : int
        Grids cut from one image, each from a place of its own where the image leaves room.
    placement : str
        free: turns and shifts are continuous and uniform. stepped: as the published code draws them, whole degrees that
        wander from tile to tile, whole px to the right and down only.
    overlap : float
        Overlap of neighbours on the regular grid, as a fraction of the tile.
    overlap_for_turns : bool
        Neighbours overlap by ceil(tile sin(rotation_deg)) px more, as in the published code.
    rotation_deg : float
        A tile is turned about its centre by up to this.
    shift_frac : float
        A tile is shifted in x and in y by up to this fraction of itself.
    stage_error_frac : float
        The position that the layout files give is wrong by up to this besides.
    gain_sd : float
        Contrast: a tile's greys are multiplied by 1 + N(0, gain_sd), kept in 0.5 to 1.5.
    bias_sd : float
        Brightness: N(0, bias_sd), kept within 50, is added to them.
    noise_sd : float
        Standard deviation of the Gaussian noise, whose mean is zero.
    noise_first : bool
        The noise is added before contrast and brightness change, as in the published code.
    blur_px : float
        A tile is blurred by a Gaussian of sigma uniform in 0 to this.
    source_blur_px : float
        The source is blurred by this first, so that tiles do not share the noise of a real image.
    missing_frac : float
        Share of tiles that do not exist.
    resin_frac : float
        Share of tiles that show only resin.
    resin_sd : float
        Contrast of the resin: standard deviation after a Gaussian low-pass of sigma 4 px.
    components : int
        Parts that missing tiles cut a grid into.
    decoy_frac : float
        Share of grids with one pair of neighbours that show the same content, turned by 180 degrees, in most of their
        strip.
    generated : int
        How many sections of the project's own generator to cut, too.
    generated_px : int
        Their side.
    style : str
        Style of those sections; empty: drawn for each.
    validation_frac : float
        Share of the sources whose grids are for validation.
    test_frac : float
        Share of the sources whose grids are for testing; the rest is for training.
    split_by : str
        image: every image goes to one split. folder: all images of a folder do, for sections of one volume.
    name : str
        What the files' names begin with.
    """

    tile_px: int = 1024
    rows: int = 0
    cols: int = 0
    max_rows: int = 6
    max_cols: int = 6
    grids_per_source: int = 1
    placement: str = "free"
    overlap: float = 0.15
    overlap_for_turns: bool = False
    rotation_deg: float = 2.0
    shift_frac: float = 0.03
    stage_error_frac: float = 0.0
    gain_sd: float = 0.0
    bias_sd: float = 0.0
    noise_sd: float = 5.0
    noise_first: bool = False
    blur_px: float = 0.0
    source_blur_px: float = 0.0
    missing_frac: float = 0.0
    resin_frac: float = 0.0
    resin_sd: float = 2.5
    components: int = 1
    decoy_frac: float = 0.0
    generated: int = 0
    generated_px: int = 4096
    style: str = ""
    validation_frac: float = 0.15
    test_frac: float = 0.15
    split_by: str = "image"
    name: str = "demis"

    def __post_init__(self) -> None:
        check_types(self)
        one_of("placement", self.placement, ("free", "stepped"))
        one_of("split_by", self.split_by, ("image", "folder"))
        for name, (low, high) in _GRIDS_RANGES.items():
            in_range(name, getattr(self, name), low, high)
        if self.validation_frac + self.test_frac > 1 + 1e-9:
            both = f"{self.validation_frac:g} + {self.test_frac:g}"
            msg = f"validation_frac and test_frac: {both} is more than all sources, needed at most 1 together"
            raise InputError(msg)
        if self.missing_frac + self.resin_frac > 0.9:
            both = f"{self.missing_frac:g} + {self.resin_frac:g}"
            msg = f"missing_frac and resin_frac: {both} leaves next to no tissue, needed at most 0.9 together"
            raise InputError(msg)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.name):
            msg = f"name: {self.name!r} is not letters, digits, '-' and '_' (at most 64)"
            raise InputError(msg)


_GRIDS_RANGES: dict[str, tuple[float, float]] = {
    "tile_px": (32, 16384), "rows": (0, 1000), "cols": (0, 1000), "max_rows": (1, 1000), "max_cols": (1, 1000),
    "grids_per_source": (1, 10_000), "overlap": (0, 0.9), "rotation_deg": (0, 45), "shift_frac": (0, 0.4),
    "stage_error_frac": (0, 1), "gain_sd": (0, 0.5), "bias_sd": (0, 100), "noise_sd": (0, 128), "blur_px": (0, 20),
    "source_blur_px": (0, 20), "missing_frac": (0, 0.8), "resin_frac": (0, 0.8), "resin_sd": (0, 50),
    "components": (1, 100), "decoy_frac": (0, 1), "generated": (0, 100_000), "generated_px": (64, 32_000),
    "validation_frac": (0, 1), "test_frac": (0, 1),
}  # fmt: skip

GRID_PRESETS: dict[str, dict[str, Any]] = {
    "ours": {},
    # what the paper says: turns, shifts, brightness, contrast and Gaussian noise, no figures; these are the published
    # code's, drawn continuously and both ways, noise last
    "paper": {
        "overlap": 0.2, "overlap_for_turns": True, "rotation_deg": 5.0, "shift_frac": 0.015, "gain_sd": 0.0033**0.5,
        "bias_sd": 75**0.5, "noise_sd": 5.0, "max_rows": 1000, "max_cols": 1000,
    },
    "published": {
        "placement": "stepped", "overlap": 0.2, "overlap_for_turns": True, "rotation_deg": 5.0, "shift_frac": 0.03,
        "gain_sd": 0.0033**0.5, "bias_sd": 75**0.5, "noise_sd": 5.0, "noise_first": True, "max_rows": 1000,
        "max_cols": 1000,
    },
    "hard": {
        "overlap": 0.08, "rotation_deg": 2.5, "shift_frac": 0.02, "stage_error_frac": 0.03, "gain_sd": 0.1,
        "bias_sd": 20.0, "noise_sd": 15.0, "blur_px": 1.5, "source_blur_px": 1.0, "missing_frac": 0.05,
        "resin_frac": 0.1, "decoy_frac": 0.25,
    },
}  # fmt: skip
"""Settings of `GridsConfig` that a preset changes: ours, the DEMIS paper's, those of its published code
(https://github.com/PSilling/demis, EM424), and hard ones."""
