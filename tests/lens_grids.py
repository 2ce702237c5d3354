"""Grids of points and of pixels that are seen through a known lens, for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demis_ij.records import Lens
from demis_ij.records.lens import lens_terms, split_polynomial
from demis_ij.testing.grids import Grid, make_grid, make_pair

SIDE = 1024


def barrel(shape: tuple[int, int] = (SIDE, SIDE), frac: float = 0.005) -> Lens:
    """Return a barrel: a point at half a side from the middle is moved outward by ``frac`` of that."""
    rows, cols = shape
    at = np.stack(np.meshgrid(np.linspace(0, cols - 1, 25), np.linspace(0, rows - 1, 25)), -1).reshape(-1, 2)
    away = (at - ((cols - 1) / 2, (rows - 1) / 2)) / (max(shape) / 2)
    bent = at + frac * max(shape) / 2 * away * (away**2).sum(1, keepdims=True)
    lens = split_polynomial(at, bent, shape)[1]
    if lens is None:
        raise AssertionError
    return lens


def some_lens(shape: tuple[int, int], degree: int, size_px: float = 1.0, seed: int = 0, camera: str = "") -> Lens:
    """Return a lens with normal coefficients."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, size_px, (2, len(lens_terms(degree))))
    return Lens.of_shape(shape, degree, x, y, camera)


def grid_behind(lens: Lens | None, rows: int, cols: int, noise_px: float = 0.1, wrong: float = 0.0) -> Grid:
    """Return a made-up grid whose points are seen through a lens."""
    rng = np.random.default_rng(5)
    grid = make_grid(rows, cols, rng, side=SIDE, noise_px=0, wrong=wrong, turn_deg=0.5, shift_frac=0.01)
    pairs = []
    for p in grid.pairs:
        inside = ((p.fixed_xy > 0) & (p.fixed_xy < SIDE - 1)).all(1)
        if (p.fixed, p.moving) not in grid.wrong:
            inside &= ((p.moving_xy > 0) & (p.moving_xy < SIDE - 1)).all(1)
        both = [xy[inside] if lens is None else lens.inverse(xy[inside]) for xy in (p.fixed_xy, p.moving_xy)]
        both = [xy + rng.normal(0, noise_px, xy.shape) for xy in both]
        pairs.append(make_pair(p.fixed, p.moving, both[0], both[1]))
    return replace(grid, pairs=pairs)


def rms_apart(one: Lens, other: Lens) -> float:
    """Return how far apart two lenses move pixels, root mean square over the tile."""
    at = one.lattice()
    return float(np.sqrt(((one.displacement(at) - other.displacement(at)) ** 2).sum(1).mean()))
