"""Made-up grids and volumes of up to millions of tiles, as columns: the recipe of `demis_ij.testing.grids.make_grid`.

made = simulate_grid(1000, 1000, np.random.default_rng(0), wrong=0.02)
solved = solve_columns(made.tiles(), made.pairs(), SolveSettings())
error = made.corner_errors(solved.motion)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.solvers.measurements import moved_places
from demis_ij.solvers.sums import pair_table_of_sums, tile_table_of_arrays
from demis_ij.solvers.tables import Array, PairTable, Rows, TileTable
from demis_ij.testing.grids import errors_after_alignment

PAIRS_AT_ONCE = 20_000


@dataclass(frozen=True, eq=False)
class Simulated:
    """Stage places, the truth, and what was measured, as columns.

    Attributes
    ----------
    side : int
        Side of a tile, px.
    stage, truth : ndarray of shape (n, 2, 3)
        Tile px to world px, as the stage has it and as it is.
    section : ndarray of shape (n,)
        Section of each tile.
    fixed, moving : ndarray of shape (m,)
        Rows of the pairs' tiles.
    sums : ndarray of shape (m, 15)
        `demis_ij.solvers.sums.sums_of_points` of each pair.
    wrong : ndarray of shape (m,), bool
        Pairs that are grossly wrong.
    """

    side: int
    stage: Array
    truth: Array
    section: Rows
    fixed: Rows
    moving: Rows
    sums: Array
    wrong: NDArray[np.bool_]

    def tiles(self, locked: NDArray[np.bool_] | None = None) -> TileTable:
        """Return the tiles as the stage has them."""
        return tile_table_of_arrays(self.stage, (self.side, self.side), locked, self.section)

    def pairs(self, keep: NDArray[np.bool_] | slice = slice(None)) -> PairTable:
        """Return the pairs, or some of them."""
        return pair_table_of_sums(self.tiles(), self.stage, self.fixed[keep], self.moving[keep], self.sums[keep])

    def corner_errors(self, motion: Array) -> Array:
        """Return (n, 4) distances of solved tile corners from the truth, px (`errors_after_alignment`)."""
        found = self._corners(moved_places(self.stage, self.tiles(), motion))
        return errors_after_alignment(found, self._corners(self.truth)).reshape(-1, 4)

    def _corners(self, places: Array) -> Array:
        low, high = -0.5, self.side - 0.5
        corner = np.array([[low, low], [high, low], [high, high], [low, high]])
        return np.asarray(corner @ places[:, :, :2].transpose(0, 2, 1) + places[:, None, :, 2]).reshape(-1, 2)


def turned(angle: Array, shift: Array, about: Array) -> Array:
    """Return (n, 2, 3) rigid motions: a turn about points (n, 2), then a shift (n, 2)."""
    c, s = np.cos(angle), np.sin(angle)
    linear = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    place = about + shift - np.einsum("nij,nj->ni", linear, about)
    return np.concatenate([linear, place[:, :, None]], axis=2)


def after(outer: Array, inner: Array) -> Array:
    """Return (n, 2, 3) places ``outer(inner(x))``."""
    place = np.einsum("nij,nj->ni", outer[:, :, :2], inner[:, :, 2]) + outer[:, :, 2]
    return np.concatenate([outer[:, :, :2] @ inner[:, :, :2], place[:, :, None]], axis=2)


def simulate_grid(
    rows: int,
    cols: int,
    rng: np.random.Generator,
    *,
    sections: int = 1,
    side: int = 1024,
    overlap: float = 0.1,
    turn_deg: float = 2.0,
    shift_frac: float = 0.03,
    matches: int = 40,
    noise_px: float = 0.5,
    wrong: float = 0.0,
    stretch: float = 0.0,
    section_turn_deg: float = 0.0,
    section_shift_px: float = 0.0,
    noise_across_px: float = 2.0,
    misfit_across_px: float = 0.0,
) -> Simulated:
    """Return grids whose tiles are turned and shifted from where the stage says, one section above the other.

    Parameters
    ----------
    rows, cols, sections : int
        Size of the volume.
    rng : numpy.random.Generator
        Source of all chance.
    side : int
        Side of a tile, px.
    overlap : float
        Of neighbours on the stage, as a fraction of the side.
    turn_deg, shift_frac : float
        Each tile is turned about its centre and shifted along each axis by up to so much (uniform; fraction of side).
    matches : int
        Points a pair, uniform over the stage's overlap; between sections over the whole tile.
    noise_px, noise_across_px : float
        Normal error of each point along each axis, in both tiles, within a section and between two.
    wrong : float
        Share of pairs whose points are moved together by up to +-200 px an axis and +-5 degrees.
    stretch : float
        Standard deviation of each entry of the tiles' own linear parts: what an affine tile has to find.
    section_turn_deg, section_shift_px : float
        The stage is wrong about each section as a whole by up to so much (uniform), turned about its middle.
    misfit_across_px : float
        Standard deviation, an axis, of a shift that all points of a pair between sections share.
    """
    place = _grid_places(rows, cols, sections, side * (1 - overlap))
    n = len(place)
    section = np.repeat(np.arange(sections), rows * cols)
    middle = np.full((n, 2), (side - 1) / 2)
    jitter = turned(
        np.deg2rad(rng.uniform(-turn_deg, turn_deg, n)), rng.uniform(-shift_frac, shift_frac, (n, 2)) * side, middle
    )
    if stretch:
        linear = np.eye(2) + rng.normal(0, stretch, (n, 2, 2))
        own = np.concatenate([linear, (middle - np.einsum("nij,nj->ni", linear, middle))[:, :, None]], axis=2)
        jitter = after(jitter, own)
    truth = after(place, jitter)
    centre = np.tile(place[:, :, 2].mean(0) + middle[0], (sections, 1))
    whole = turned(
        np.deg2rad(rng.uniform(-section_turn_deg, section_turn_deg, sections)),
        rng.uniform(-section_shift_px, section_shift_px, (sections, 2)),
        centre,
    )
    stage = after(whole[section], place) if section_turn_deg or section_shift_px else place
    fixed, moving, corner, extent, across = _neighbours(rows, cols, sections, side, overlap)
    sums, bad = np.empty((len(fixed), 15)), rng.uniform(0, 1, len(fixed)) < wrong
    for start in range(0, len(fixed), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        p = corner[part, None] + rng.uniform(0, 1, (len(fixed[part]), matches, 2)) * extent[part, None]
        noise = np.where(across[part], noise_across_px, noise_px)
        shared = np.where(across[part], misfit_across_px, 0.0)
        q = _seen_from(truth[fixed[part]], truth[moving[part]], p)
        p, q = (
            p + noise[:, None, None] * rng.standard_normal(p.shape),
            q + noise[:, None, None] * rng.standard_normal(q.shape),
        )
        q = q + (shared[:, None] * rng.standard_normal((len(q), 2)))[:, None]
        q = np.where(bad[part, None, None], _spoilt(q, rng), q)
        sums[part] = _sums(p - (side - 1) / 2, q - (side - 1) / 2)
    return Simulated(side, stage, truth, section, fixed, moving, sums, bad)


def _grid_places(rows: int, cols: int, sections: int, pitch: float) -> Array:
    place = np.zeros((sections, rows, cols, 2, 3))
    place[..., 0, 0] = place[..., 1, 1] = 1
    place[..., 0, 2] = np.arange(cols) * pitch
    place[..., 1, 2] = np.arange(rows)[:, None] * pitch
    return place.reshape(-1, 2, 3)


def _neighbours(
    rows: int, cols: int, sections: int, side: int, overlap: float
) -> tuple[Rows, Rows, Array, Array, NDArray[np.bool_]]:
    """Return (fixed, moving, corner and extent of the shared box in the fixed tile, whether across sections)."""
    number = np.arange(sections * rows * cols).reshape(sections, rows, cols)
    inner, strip = (1 - overlap) * side, overlap * side
    kinds = (
        (number[:, :, :-1], number[:, :, 1:], (inner, 0.0), (strip, side), False),
        (number[:, :-1], number[:, 1:], (0.0, inner), (side, strip), False),
        (number[:-1], number[1:], (0.0, 0.0), (side, side), True),
    )
    fixed = np.concatenate([a.ravel() for a, *_ in kinds])
    moving = np.concatenate([b.ravel() for _, b, *_ in kinds])
    sizes = [a.size for a, *_ in kinds]
    corner = np.repeat(np.array([k[2] for k in kinds]), sizes, axis=0)
    extent = np.repeat(np.array([k[3] for k in kinds], float), sizes, axis=0)
    order = np.lexsort((moving, fixed))
    across = np.repeat(np.array([k[4] for k in kinds]), sizes)
    return fixed[order], moving[order], corner[order], extent[order], across[order]


def _seen_from(fixed: Array, moving: Array, points: Array) -> Array:
    """Return where (k, s, 2) points of fixed tiles lie in the moving ones."""
    world = points @ fixed[:, :, :2].transpose(0, 2, 1) + fixed[:, None, :, 2]
    return np.asarray((world - moving[:, None, :, 2]) @ np.linalg.inv(moving[:, :, :2]).transpose(0, 2, 1))


def _spoilt(points: Array, rng: np.random.Generator) -> Array:
    """Return points of every pair moved together, grossly."""
    shift, angle = rng.uniform(-200, 200, (len(points), 2)), np.deg2rad(rng.uniform(-5, 5, len(points)))
    motion = turned(angle, shift, points.mean(1))
    return np.asarray(points @ motion[:, :, :2].transpose(0, 2, 1) + motion[:, None, :, 2])


def _sums(p: Array, q: Array) -> Array:
    """Return the (k, 15) sums of (k, s, 2) points about the tiles' centres."""
    pp, qq, pq = (a.transpose(0, 2, 1) @ b for a, b in ((p, p), (q, q), (p, q)))
    count = np.full((len(p), 1), p.shape[1], float)
    upper = ([0, 0, 1], [0, 1, 1])
    squares = [pp[:, upper[0], upper[1]], qq[:, upper[0], upper[1]], pq.reshape(-1, 4)]
    return np.concatenate([count, p.sum(1), q.sum(1), *squares], axis=1)
