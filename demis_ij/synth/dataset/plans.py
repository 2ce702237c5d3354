"""What a dataset will hold: how large each source's grids are, and everything random about a grid but its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from demis_ij.config import GridsConfig
from demis_ij.errors import InputError
from demis_ij.synth.dataset.gaps import draw_missing, draw_resin, least_side
from demis_ij.synth.dataset.sources import Source
from demis_ij.synth.grid import GridSpec

_GAPS, _PIXELS, _SECTION = 1, 2, 3  # streams of random numbers of one source


@dataclass(frozen=True)
class GridPlan:
    """One grid to be cut.

    Attributes
    ----------
    index : int
        Its number in the dataset.
    source : Source
    number : int
        Which of the source's grids it is.
    spec : GridSpec
    """

    index: int
    source: Source
    number: int
    spec: GridSpec


def spec_of(config: GridsConfig, rows: int, cols: int) -> GridSpec:
    """Return a grid of a config without gaps, resin or decoy. Raises `InputError` when no such grid can be."""
    return GridSpec(
        rows=rows, cols=cols, tile_px=config.tile_px, overlap=config.overlap, rotation_deg=config.rotation_deg,
        shift_frac=config.shift_frac, stage_error_frac=config.stage_error_frac, noise_sd=config.noise_sd,
        gain_sd=config.gain_sd, bias_sd=config.bias_sd, blur_px=config.blur_px, source_blur_px=config.source_blur_px,
        resin_sd=config.resin_sd, style=None, placement=config.placement, overlap_for_turns=config.overlap_for_turns,
        noise_first=config.noise_first, double=True,
    )  # fmt: skip


def smallest(config: GridsConfig) -> GridSpec:
    """Return the smallest grid that a config admits: two tiles at least, and room for its parts and its decoy.

    Raises
    ------
    InputError
        When the settings contradict each other.
    """
    need = max(least_side(config.components, decoy=config.decoy_frac > 0), 1 if config.rows * config.cols == 1 else 2)
    rows, cols = config.rows or 1, config.cols or 1
    if max(rows, cols) < need:
        if not config.cols:
            cols = need
        elif not config.rows:
            rows = need
        else:
            msg = f"rows and cols: a grid of {rows} x {cols} cannot fall into {config.components} parts"
            raise InputError(msg)
    if config.decoy_frac and cols < 2:
        if config.cols:
            msg = "decoy_frac: a decoy needs two tiles in a row, cols is 1"
            raise InputError(msg)
        cols = 2
    for name, least, most in (("rows", rows, config.max_rows), ("cols", cols, config.max_cols)):
        if not getattr(config, name) and least > most:
            msg = f"max_{name}: {most} is too few for these settings, needed {least}"
            raise InputError(msg)
    return spec_of(config, rows, cols)


def largest(config: GridsConfig, shape: tuple[int, int]) -> tuple[int, int]:
    """Return (rows, cols) of the grid that an image of ``shape`` is cut into; `misfit` must have let it pass."""
    rows, cols = smallest(config).most(shape)
    return config.rows or min(rows, config.max_rows), config.cols or min(cols, config.max_cols)


def misfit(config: GridsConfig, shape: tuple[int, int]) -> str:
    """Return why an image of ``shape`` cannot be cut, in words; nothing when it can.

    >>> misfit(GridsConfig(tile_px=256), (290, 700))
    '700 x 290 px (wide x high); a grid of 1 x 2 tiles of 256 px needs 516 x 298 with these settings'
    """
    least = smallest(config)
    options = [least]
    free = not (config.rows or config.cols or config.decoy_frac)
    if free and least.rows < least.cols <= config.max_rows:
        options.append(replace(least, rows=least.cols, cols=least.rows))  # either way up
    for spec in options:
        need = spec.source_shape
        if shape[0] >= need[0] and shape[1] >= need[1]:
            return ""
    need = least.source_shape
    return (
        f"{shape[1]} x {shape[0]} px (wide x high); a grid of {least.rows} x {least.cols} tiles of {least.tile_px} px"
        f" needs {need[1]} x {need[0]} with these settings"
    )


def rng_of(seed: int, key: str, *stream: int) -> np.random.Generator:
    """Return the random numbers of a source (or of a made-up section) and a purpose; the same everywhere."""
    words = [int(key[k : k + 8], 16) for k in range(0, 64, 8)]
    return np.random.default_rng(np.random.SeedSequence([seed, *words, *stream]))


def pixels_rng(seed: int, plan: GridPlan) -> np.random.Generator:
    """Return the random numbers of a grid's place, poses and camera."""
    return rng_of(seed, plan.source.key, _PIXELS, plan.number)


def section_rng(seed: int, key: str) -> np.random.Generator:
    """Return the random numbers of a made-up section."""
    return rng_of(seed, key, _SECTION)


def plan_grids(sources: Sequence[Source], config: GridsConfig, seed: int) -> list[GridPlan]:
    """Return every grid of a dataset, source by source."""
    out: list[GridPlan] = []
    for source in sources:
        rows, cols = largest(config, source.shape)
        for number in range(config.grids_per_source):
            rng = rng_of(seed, source.key, _GAPS, number)
            decoy = bool(rng.uniform() < config.decoy_frac)
            missing = draw_missing(rows, cols, config.missing_frac, config.components, rng, decoy=decoy)
            resin = draw_resin(rows, cols, missing, config.resin_frac, rng, decoy=decoy)
            spec = replace(spec_of(config, rows, cols), missing=missing, resin=resin, decoy=decoy)
            out.append(GridPlan(len(out), source, number, spec))
    return out
