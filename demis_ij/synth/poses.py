"""Where tiles lie: the regular grid, what the stage says of it, and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, radians

import numpy as np

from demis_ij.records import Affine
from demis_ij.synth.grid import GridSpec, Position

Poses = dict[Position, tuple[Affine, Affine]]


def draw_poses(spec: GridSpec, seeds: Mapping[Position, np.random.SeedSequence]) -> Poses:
    """Return (what the stage says, the truth) of every position of the grid, the missing ones, too.

    Parameters
    ----------
    spec : GridSpec
    seeds : mapping of (row, column) to SeedSequence
        One for each position, row by row.
    """
    if spec.placement == "stepped":
        return _stepped(spec, seeds)
    return {position: _free(spec, position, np.random.default_rng(seed)) for position, seed in seeds.items()}


def _grid(spec: GridSpec, position: Position) -> Affine:
    return Affine.translation(position[1] * spec.step_px, position[0] * spec.step_px)


def _free(spec: GridSpec, position: Position, rng: np.random.Generator) -> tuple[Affine, Affine]:
    grid = _grid(spec, position)
    shift, wrong = (spec.tile_px * f * rng.uniform(-1, 1, 2) for f in (spec.shift_frac, spec.stage_error_frac))
    turn = Affine.rigid(radians(spec.rotation_deg) * float(rng.uniform(-1, 1)))
    middle = (spec.tile_px - 1) / 2
    truth = grid @ Affine.translation(*shift) @ Affine.about(turn, (middle, middle))
    return grid @ Affine.translation(*wrong), truth


def _stepped(spec: GridSpec, seeds: Mapping[Position, np.random.SeedSequence]) -> Poses:
    """Return poses as EM424 draws them: see `GridSpec`."""
    most, reach = int(spec.rotation_deg), ceil(spec.tile_px * spec.shift_frac)
    middle = (spec.tile_px // 2, spec.tile_px // 2)
    out: Poses = {}
    degrees = 0
    for position, seed in seeds.items():
        rng = np.random.default_rng(seed)
        low, high = max(degrees - most, -most), min(degrees + most, most)
        drawn = int(rng.integers(low, high)) if high > low else 0
        degrees = drawn if out else 0
        x, y = (int(v) for v in rng.integers(0, max(reach, 1), 2))
        wrong = spec.tile_px * spec.stage_error_frac * rng.uniform(-1, 1, 2)
        shift = Affine.translation(x if position[1] else 0, y if position[0] else 0)
        grid = _grid(spec, position)
        truth = grid @ shift @ Affine.about(Affine.rigid(radians(degrees)), middle)
        out[position] = (grid @ Affine.translation(*wrong), truth)
    return out
