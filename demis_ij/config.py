"""One frozen dataclass a verb: every default of the project, checked on construction; TOML; unknown keys refused."""

from __future__ import annotations

import difflib
import math
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
    """

    pairs: int = 48
    every: int = 500
    patience: int = 10
    max_error_px: float = 3.0
    min_inliers: int = 8

    def __post_init__(self) -> None:
        _check_types(self)
        _in_range("pairs", self.pairs, 0, 100_000)
        _in_range("every", self.every, 1, 100_000_000)
        _in_range("patience", self.patience, 0, 1_000_000)
        _in_range("max_error_px", self.max_error_px, 0.1, 100)
        _in_range("min_inliers", self.min_inliers, 3, 10_000)


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """Size of a LoFTR; the defaults are those of the weights that ship.

    Attributes
    ----------
    stride : int
        Pixels a coarse cell: 8 (fine features at a half) or 16 (at a quarter).
    widths : tuple of int
        Channels of the backbone's levels: three for stride 8, four for stride 16. The last is the coarse
        transformer's width, the first the fine one's.
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
        if self.widths[0] % self.heads or self.widths[-1] % self.heads or self.widths[-1] % 4:
            msg = f"widths: the first and the last of {list(self.widths)} are not multiples of {self.heads} heads"
            raise InputError(msg + (" and the last of 4" if self.widths[-1] % 4 else ""))


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
