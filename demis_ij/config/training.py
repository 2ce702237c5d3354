"""Settings of ``train``."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of, shapes, whole_numbers, words
from demis_ij.errors import InputError

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
        check_types(self)
        for name in ("folders", "validation_folders"):
            object.__setattr__(self, name, words(name, getattr(self, name)))
        in_range("held_out_frac", self.held_out_frac, 0, 0.9)
        in_range("generated", self.generated, 0, 100_000)
        in_range("generated_px", self.generated_px, 128, 8192)
        in_range("one_in", self.one_in, 1, 1_000_000)


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
        check_types(self)
        object.__setattr__(self, "shapes", shapes(self.shapes))
        one_of("precision", self.precision, PRECISIONS)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        in_range("learning_rate", self.learning_rate, 1e-9, 1)
        in_range("clip_norm", self.clip_norm, 1e-6, 1e6)
        for name in ("weight_decay", "ema_decay", "mine"):
            in_range(name, getattr(self, name), 0, 1)
        for name in ("teacher_weight", "fine_weight"):
            in_range(name, getattr(self, name), 0, 1000)
        for name in ("steps", "batch", "gpus", "save_every", "log_every"):
            in_range(name, getattr(self, name), 1, 100_000_000)
        for name in ("warmup_steps", "seed", "threads", "workers"):
            in_range(name, getattr(self, name), 0, 2**32 - 1)
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
        check_types(self)
        in_range("pairs", self.pairs, 0, 100_000)
        in_range("every", self.every, 1, 100_000_000)
        in_range("patience", self.patience, 0, 1_000_000)
        in_range("max_error_px", self.max_error_px, 0.1, 100)
        in_range("min_inliers", self.min_inliers, 3, 10_000)
        in_range("min_inlier_ratio", self.min_inlier_ratio, 0, 1)


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
        check_types(self)
        if self.stride not in {8, 16}:
            msg = f"stride: {self.stride} is neither 8 nor 16"
            raise InputError(msg)
        if self.fine_window not in {5, 7}:
            msg = f"fine_window: {self.fine_window} is neither 5 nor 7"
            raise InputError(msg)
        object.__setattr__(self, "widths", whole_numbers("widths", self.widths))
        needed = 3 if self.stride == 8 else 4
        if len(self.widths) != needed or min(self.widths) < 1:
            msg = f"widths: {list(self.widths)}, needed {needed} positive numbers for stride {self.stride}"
            raise InputError(msg)
        for name in ("coarse_layers", "fine_layers", "heads"):
            in_range(name, getattr(self, name), 1, 64)
        fine, coarse = self.widths[0 if self.stride == 8 else 1], self.widths[-1]
        if fine % self.heads or coarse % self.heads or coarse % 4:
            msg = f"widths: {fine} (fine) and {coarse} (coarse) are not both multiples of {self.heads} heads"
            raise InputError(msg if coarse % 4 == 0 else f"widths: the last, {coarse}, is not a multiple of 4")
