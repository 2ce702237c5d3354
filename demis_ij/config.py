"""One frozen dataclass a verb: every default of the project, checked on construction; TOML; unknown keys refused."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from demis_ij.errors import FormatError, InputError
from demis_ij.geometry import ESTIMATORS, MODELS

T = TypeVar("T")

MATCHER_CHOICES = ("auto", "loftr", "sift", "correlation")
SOLVER_CHOICES = ("sparse", "slam", "factor_graph")
MOSAIC_FORMATS = ("ome-tiff", "ome-zarr", "png")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(str(value), known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        msg = f"{name}: {value!r} is not one of {', '.join(known)}{hint}"
        raise InputError(msg)


def _in_range(name: str, value: Any, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and low <= value <= high):
        msg = f"{name}: {value!r} is not between {low:g} and {high:g}"
        raise InputError(msg)


def _check_types(config: object) -> None:
    """Check that every field is of its default's type. Raises `InputError` naming the setting."""
    for f in fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        if isinstance(f.default, bool):
            fits, needed = isinstance(value, bool), "true or false"
        elif isinstance(f.default, str):
            fits, needed = isinstance(value, str), "text"
        elif isinstance(f.default, int):
            fits, needed = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        else:
            continue
        if not fits:
            msg = f"{f.name}: {value!r} is not {needed}"
            raise InputError(msg)


@dataclass(frozen=True, kw_only=True)
class StitchConfig:
    """How `demis_ij.stitch` works. TrakEM2's parameter names are given in brackets.

    Attributes
    ----------
    matcher : str
        auto, loftr, sift or correlation.
    model : str
        What a tile may do: translation, rigid, similarity, affine or homography [desired transformation].
    solver : str
        sparse, slam or factor_graph.
    weights : str
        LoFTR weights: ``shipped``, a checkpoint's path, or ``outdoor`` / ``indoor_new`` (kornia's, downloaded).
    device : str
        auto, cpu, cuda or mps.
    resolution : float
        Scale at which LoFTR and SIFT look at the overlap.
    max_error_px : float
        A match agrees with its pair's transform below this distance, px of the tile [maximal alignment error].
        TrakEM2's default of 100 px admits almost anything; matches here are exact to a fraction of a pixel.
    estimator : str
        Robust estimator of a pair's transform: ransac (OpenCV's), usac (MAGSAC++) or lmeds.
    min_inliers : int
        Matches that must agree [minimal number of inliers].
    min_inlier_ratio : float
        Share of matches that must agree [minimal inlier ratio].
    stage_error_frac : float
        What a tile's expected position may be wrong by, as a fraction of the tile's longer side.
    stage_search_frac : float
        What the second pass searches for pairs that found nothing in the first.
    max_rotation_deg, max_scale_frac : float
        What a pair may be turned and scaled by, relative to the expected layout.
    refine : bool
        Sub-pixel refinement of the matches.
    fast : bool
        LoFTR without its fine stage, where the refinement makes the points exact: two thirds of the time of a pair.
    largest_graph_only : bool
        Move only the tiles of the largest component [consider largest graph only].
    include_hidden : bool
        Stitch tiles that the project hides, too.
    clahe_clip : float
        Contrast limit of the normalisation; 0 switches CLAHE off.
    """

    matcher: str = "auto"
    model: str = "rigid"
    solver: str = "sparse"
    weights: str = "shipped"
    device: str = "auto"
    resolution: float = 0.5
    max_error_px: float = 4.0
    estimator: str = "ransac"
    min_inliers: int = 8
    min_inlier_ratio: float = 0.15
    stage_error_frac: float = 0.06
    stage_search_frac: float = 0.35
    max_rotation_deg: float = 8.0
    max_scale_frac: float = 0.06
    refine: bool = True
    fast: bool = False
    largest_graph_only: bool = False
    include_hidden: bool = False
    clahe_clip: float = 0.5

    def __post_init__(self) -> None:
        _check_types(self)
        _one_of("matcher", self.matcher, MATCHER_CHOICES)
        _one_of("model", self.model, MODELS)
        _one_of("solver", self.solver, SOLVER_CHOICES)
        _one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
        _in_range("resolution", self.resolution, 0.05, 1)
        _in_range("max_error_px", self.max_error_px, 0.1, 1000)
        _one_of("estimator", self.estimator, ESTIMATORS)
        _in_range("min_inliers", self.min_inliers, 3, 10_000)
        _in_range("min_inlier_ratio", self.min_inlier_ratio, 0, 1)
        _in_range("stage_error_frac", self.stage_error_frac, 0, 1)
        _in_range("stage_search_frac", self.stage_search_frac, 0, 1)
        _in_range("max_rotation_deg", self.max_rotation_deg, 0, 180)
        _in_range("max_scale_frac", self.max_scale_frac, 0, 1)
        _in_range("clahe_clip", self.clahe_clip, 0, 100)
        if self.fast and not self.refine:
            msg = "fast leaves it to the refinement to make points exact, which is switched off: drop one of the two"
            raise InputError(msg)


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """How `demis_ij.render` draws a mosaic.

    Attributes
    ----------
    interpolation : str
        nearest, linear or cubic.
    blend : str
        feather (linear over the overlap) or none (the first tile wins).
    correct_intensity : bool
        Solve a gain and an offset for each tile on the overlaps.
    block_px : int
        Side of a block.
    formats : tuple of str
        Any of ome-tiff, ome-zarr, png.
    """

    interpolation: str = "linear"
    blend: str = "feather"
    correct_intensity: bool = True
    block_px: int = 1024
    formats: tuple[str, ...] = ("ome-tiff", "png")

    def __post_init__(self) -> None:
        _check_types(self)
        _one_of("interpolation", self.interpolation, ("nearest", "linear", "cubic"))
        _one_of("blend", self.blend, ("feather", "none"))
        _in_range("block_px", self.block_px, 64, 8192)
        given: Any = self.formats
        formats = (given,) if isinstance(given, str) else given
        if not isinstance(formats, list | tuple):
            msg = f"formats: {formats!r} is not a list of {', '.join(MOSAIC_FORMATS)}"
            raise InputError(msg)
        for name in formats:
            _one_of("format", name, MOSAIC_FORMATS)
        object.__setattr__(self, "formats", tuple(dict.fromkeys(formats)))


PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class TrainDataConfig:
    """Where training pairs are cut from.

    Attributes
    ----------
    folders : tuple of str
        Searched for images, with their sub-folders.
    validation_folders : tuple of str
        Folders whose images are held out; without any, a share of the sources is.
    held_out_frac : float
        That share. Whole sources are held out, never crops of them.
    generated, generated_px : int
        How many sections of the project's own generator to add, and their side.
    one_in : int
        Take one image in this many of a folder with more than 50.
    licence : str
        What the images may be used for; goes to the card of the weights.
    """

    folders: tuple[str, ...] = ()
    validation_folders: tuple[str, ...] = ()
    held_out_frac: float = 0.15
    generated: int = 40
    generated_px: int = 900
    one_in: int = 1
    licence: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("folders", "validation_folders"):
            object.__setattr__(self, name, _words(name, getattr(self, name)))
        _in_range("held_out_frac", self.held_out_frac, 0, 0.9)
        _in_range("generated", self.generated, 0, 100_000)
        _in_range("generated_px", self.generated_px, 128, 8192)
        _in_range("one_in", self.one_in, 1, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how hard LoFTR is trained.

    Attributes
    ----------
    init : str
        Weights to start from: empty (from scratch), ``shipped``, a checkpoint's path, ``outdoor`` or ``indoor_new``.
    teacher : str
        Weights, named as in ``init``, whose coarse matches are imitated, too; empty: nobody's.
    teacher_weight, fine_weight : float
        Weights of the teacher's and of the fine loss beside the coarse loss.
    steps, batch : int
        Optimiser steps; pairs a step, over all processes together.
    shapes : tuple of (int, int)
        (rows, cols) of the crops; one is drawn a step. Multiples of the coarse stride.
    learning_rate, weight_decay, clip_norm : float
        AdamW with cosine decay; gradients are clipped to the norm.
    warmup_steps : int
        Steps over which the rate rises at the start.
    ema_decay : float
        Decay of the averaged weights, which are the ones that are judged and kept.
    mine : float
        Share of a batch drawn from the pairs that were hardest so far.
    seed : int
        Of everything random.
    precision : str
        Of the backbone: float32, bfloat16, or float16 (with scaled gradients, for a GPU).
    device : str
        auto, cpu or cuda.
    gpus : int
        Processes on this machine, each with a GPU of its own (on a CPU: processes that share the work).
    threads, workers : int
        torch's threads a process (0: torch decides), and threads that cut the pairs of the next steps (0: none).
    save_every, log_every : int
        Steps between checkpoints, and between points of the loss curve.
    """

    init: str = ""
    teacher: str = ""
    teacher_weight: float = 1.0
    fine_weight: float = 1.0
    steps: int = 20_000
    batch: int = 4
    shapes: tuple[tuple[int, int], ...] = ((192, 192), (128, 256), (256, 128), (96, 320))
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    warmup_steps: int = 300
    ema_decay: float = 0.999
    mine: float = 0.0
    seed: int = 1
    precision: str = "float32"
    device: str = "auto"
    gpus: int = 1
    threads: int = 0
    workers: int = 1
    save_every: int = 500
    log_every: int = 50

    def __post_init__(self) -> None:
        _check_types(self)
        object.__setattr__(self, "shapes", _shapes(self.shapes))
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("device", self.device, ("auto", "cpu", "cuda"))
        _in_range("learning_rate", self.learning_rate, 1e-9, 1)
        _in_range("clip_norm", self.clip_norm, 1e-6, 1e6)
        for name in ("weight_decay", "ema_decay", "mine"):
            _in_range(name, getattr(self, name), 0, 1)
        for name in ("teacher_weight", "fine_weight"):
            _in_range(name, getattr(self, name), 0, 1000)
        for name in ("steps", "batch", "gpus", "save_every", "log_every"):
            _in_range(name, getattr(self, name), 1, 100_000_000)
        for name in ("warmup_steps", "seed", "threads", "workers"):
            _in_range(name, getattr(self, name), 0, 2**32 - 1)
        if self.batch % self.gpus:
            msg = f"batch: {self.batch} pairs cannot be shared evenly by {self.gpus} processes (gpus)"
            raise InputError(msg)


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How a training is judged while it runs, on pairs cut from sources that it never sees.

    Attributes
    ----------
    pairs : int
        How many; always the same ones. 0: no validation, the last weights are the result.
    every : int
        Steps between validations.
    patience : int
        Stop after this many validations without a better one; 0: never.
    max_error_px : float
        A match agrees with its pair's transform below this distance.
    min_inliers : int
        Matches that must agree, else the pair has failed.
    min_inlier_ratio : float
        Share of matches that must agree.
    """

    pairs: int = 48
    every: int = 500
    patience: int = 10
    max_error_px: float = 3.0
    min_inliers: int = 8
    min_inlier_ratio: float = 0.15

    def __post_init__(self) -> None:
        _check_types(self)
        _in_range("pairs", self.pairs, 0, 100_000)
        _in_range("every", self.every, 1, 100_000_000)
        _in_range("patience", self.patience, 0, 1_000_000)
        _in_range("max_error_px", self.max_error_px, 0.1, 100)
        _in_range("min_inliers", self.min_inliers, 3, 10_000)
        _in_range("min_inlier_ratio", self.min_inlier_ratio, 0, 1)


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """Size of a LoFTR; the defaults are those of the weights that ship.

    Attributes
    ----------
    stride : int
        Pixels a coarse cell: 8 (fine features at a half) or 16 (at a quarter).
    widths : tuple of int
        Channels of the backbone's levels: three for stride 8, four for stride 16. The last is the coarse
        transformer's width; the fine one's is the first, at stride 16 the second.
    coarse_layers, fine_layers : int
        Pairs of a self- and a cross-attention layer.
    heads : int
        Attention heads; divide both widths.
    fine_window : int
        Side of the fine stage's window, fine cells: 5 or 7.
    """

    stride: int = 8
    widths: tuple[int, ...] = (16, 32, 64)
    coarse_layers: int = 2
    fine_layers: int = 1
    heads: int = 4
    fine_window: int = 5

    def __post_init__(self) -> None:
        _check_types(self)
        if self.stride not in {8, 16}:
            msg = f"stride: {self.stride} is neither 8 nor 16"
            raise InputError(msg)
        if self.fine_window not in {5, 7}:
            msg = f"fine_window: {self.fine_window} is neither 5 nor 7"
            raise InputError(msg)
        object.__setattr__(self, "widths", _whole_numbers("widths", self.widths))
        needed = 3 if self.stride == 8 else 4
        if len(self.widths) != needed or min(self.widths) < 1:
            msg = f"widths: {list(self.widths)}, needed {needed} positive numbers for stride {self.stride}"
            raise InputError(msg)
        for name in ("coarse_layers", "fine_layers", "heads"):
            _in_range(name, getattr(self, name), 1, 64)
        fine, coarse = self.widths[0 if self.stride == 8 else 1], self.widths[-1]
        if fine % self.heads or coarse % self.heads or coarse % 4:
            msg = f"widths: {fine} (fine) and {coarse} (coarse) are not both multiples of {self.heads} heads"
            raise InputError(msg if coarse % 4 == 0 else f"widths: the last, {coarse}, is not a multiple of 4")


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
        _check_types(self)
        _one_of("placement", self.placement, ("free", "stepped"))
        _one_of("split_by", self.split_by, ("image", "folder"))
        for name, (low, high) in _GRIDS_RANGES.items():
            _in_range(name, getattr(self, name), low, high)
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


def _words(name: str, value: Any) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
        msg = f"{name}: {value!r} is not a list of text"
        raise InputError(msg)
    return tuple(words)


def _whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    fits = isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if not fits:
        msg = f"{name}: {value!r} is not a list of whole numbers"
        raise InputError(msg)
    return tuple(value)


def _shapes(value: Any) -> tuple[tuple[int, int], ...]:
    given = value if isinstance(value, list | tuple) else ()
    shapes = [_whole_numbers("shapes", v) for v in given]
    if not shapes or any(len(s) != 2 or min(s) < 32 for s in shapes):
        msg = f"shapes: {value!r} is not a list of [rows, cols], each 32 px at least"
        raise InputError(msg)
    return tuple((s[0], s[1]) for s in shapes)


def to_dict(config: object) -> dict[str, Any]:
    """Return a config as plain values for JSON."""
    return asdict(config)  # type: ignore[call-overload, no-any-return]


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a config from plain values. An unknown key raises `InputError` with the nearest name."""
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            msg = f"unknown setting {key!r}{hint}"
            raise InputError(msg)
    return kind(**values)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises `FormatError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"not a TOML file: {error}") from error
