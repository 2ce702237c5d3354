"""Made-up grids of tiles with known truth: stage layout, pairs with noise, pairs that are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij.geometry import fit_rigid
from demis_ij.records import Affine, Layout, PairMatch, Points, Tile


@dataclass(frozen=True, eq=False)
class Grid:
    """A layout as the stage has it, the truth, and what was measured.

    Attributes
    ----------
    layout : Layout
        Tiles ``row_col`` at their stage positions.
    truth : dict of str to Affine
        Tile px to world px, as it really is.
    pairs : list of PairMatch
        Right neighbours and lower neighbours.
    wrong : frozenset of (str, str)
        Pairs that are grossly wrong.
    """

    layout: Layout
    truth: dict[str, Affine]
    pairs: list[PairMatch]
    wrong: frozenset[tuple[str, str]]


def make_pair(fixed: str, moving: str, fixed_xy: Points, moving_xy: Points, matcher: str = "made up") -> PairMatch:
    """Return the pair of some points, with its rigid motion and the covariance that follows from the residuals."""
    count = len(fixed_xy)
    to_fixed = fit_rigid(moving_xy, fixed_xy)
    off = moving_xy @ to_fixed[:2, :2].T + to_fixed[:2, 2] - fixed_xy
    rms = float(np.sqrt((off**2).sum(1).mean()))
    variance = max(rms, 1e-3) ** 2 / 2
    spread = max(1.0, float(((fixed_xy - fixed_xy.mean(0)) ** 2).sum()))
    covariance = np.diag([variance / count, variance / count, variance / spread])
    return PairMatch(fixed, moving, fixed_xy, moving_xy, to_fixed, "rigid", covariance, rms, matcher, count)


def make_grid(
    rows: int,
    cols: int,
    rng: np.random.Generator,
    *,
    side: int = 1024,
    overlap: float = 0.1,
    turn_deg: float = 2.0,
    shift_frac: float = 0.03,
    matches: int = 40,
    noise_px: float = 0.5,
    wrong: float = 0.0,
) -> Grid:
    """Return a grid whose tiles are turned and shifted from where the stage says.

    Parameters
    ----------
    rows, cols : int
        Size of the grid.
    rng : numpy.random.Generator
        Source of all chance.
    side : int
        Side of a tile, px.
    overlap : float
        Of neighbours on the stage, as a fraction of the side.
    turn_deg, shift_frac : float
        Each tile is turned about its centre and shifted along each axis by up to so much (uniform; fraction of side).
    matches : int
        Points a pair, uniform over the stage's overlap.
    noise_px : float
        Normal error of each point along each axis, in both tiles.
    wrong : float
        Share of pairs whose points are moved together by up to +-200 px an axis and +-5 degrees.
    """
    pitch, middle = side * (1 - overlap), (side - 1) / 2
    truth, tiles = {}, []
    for row in range(rows):
        for col in range(cols):
            stage = Affine.translation(col * pitch, row * pitch)
            angle = np.deg2rad(rng.uniform(-turn_deg, turn_deg))
            x, y = rng.uniform(-shift_frac, shift_frac, 2) * side
            name = f"{row}_{col}"
            truth[name] = stage @ Affine.about(Affine.rigid(angle, x, y), (middle, middle))
            tiles.append(Tile(name, Path(f"{name}.tif"), (side, side), stage))
    pairs, bad = [], set()
    for row in range(rows):
        for col in range(cols):
            for down, right in ((0, 1), (1, 0)):
                if row + down >= rows or col + right >= cols:
                    continue
                a, b = f"{row}_{col}", f"{row + down}_{col + right}"
                strip = np.array([overlap, 1.0]) if right else np.array([1.0, overlap])
                fixed = rng.uniform(0, 1, (matches, 2)) * side * strip + side * (1 - overlap) * np.array([right, down])
                moving = truth[b].inverse(truth[a](fixed))
                fixed = fixed + rng.normal(0, noise_px, fixed.shape)
                moving = moving + rng.normal(0, noise_px, moving.shape)
                if rng.uniform() < wrong:
                    bad.add((a, b))
                    x, y = rng.uniform(-200, 200, 2)
                    error = Affine.rigid(np.deg2rad(rng.uniform(-5, 5)), x, y)
                    moving = Affine.about(error, moving.mean(0))(moving)
                pairs.append(make_pair(a, b, fixed, moving))
    return Grid(Layout(tuple(tiles)), truth, pairs, frozenset(bad))


def corner_errors(solved: Layout, truth: dict[str, Affine]) -> NDArray[np.float64]:
    """Return (n, 4) distances of tile corners from the truth, px, after one rigid alignment of the whole to it.

    The alignment looks away from tiles that are far off, so that a few wrong tiles count as wrong, not all.
    """
    found = np.concatenate([t.to_world(t.corners) for t in solved])
    wanted = np.concatenate([truth[t.id](t.corners) for t in solved])
    return errors_after_alignment(found, wanted).reshape(-1, 4)


def errors_after_alignment(found: Points, wanted: Points) -> NDArray[np.float64]:
    """Return (N,) distances of points from where they should be, after one rigid alignment of them all.

    The alignment looks away from points that are far off, so that a few wrong tiles count as wrong, not all.
    """
    for _ in range(3):
        error = np.linalg.norm(found - wanted, axis=1)
        near = error <= max(1e-9, 3 * float(np.median(error)))
        back = fit_rigid(found[near], wanted[near])
        found = found @ back[:2, :2].T + back[:2, 2]
    return np.asarray(np.linalg.norm(found - wanted, axis=1))
