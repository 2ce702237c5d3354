"""A second look at tiles for which at least as many pairs were disbelieved as believed.

The robust solve ends in one consistent reading of the pairs; where a wrong pair got hold of a tile (a corner tile
with one right and one wrong pair), another reading may explain as many pairs and agree better with the stage. Each
such tile is tried at every place one of its pairs would put it, made good by all pairs that more or less agree, and at
the stage's. A place counts `EVIDENCE` for every pair less half its squared distance from the place in sigmas of its
class, at worst nothing, less half the place's own squared distance from the stage in sigmas, where the stage's place is
taken relative to the tiles around it and the sigmas are learnt from all tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from demis_ij.solvers.beliefs import DOUBTED, STAGE_LIMIT, Beliefs
from demis_ij.solvers.normal_equations import build_blocks
from demis_ij.solvers.residuals import Worth, joined, squares
from demis_ij.solvers.tables import Array, Flags, PairTable, Rows, TileTable
from demis_ij.solvers.tangents import stepped, tangents

EVIDENCE = STAGE_LIMIT**2 / 2  # a pair alone is believed up to STAGE_LIMIT sigmas from the stage
NEIGHBOURS = 24  # tiles that speak for the stage around a tile
FEWEST = 8
SOUND_ENOUGH = 50_000  # of so many tiles the stage's spread is learnt
AGREES = 16.0  # a place is refined by the pairs that are off by less than so many scales: it comes from one pair only
PER_SCALE = 1.5  # half the square of a normal law's sigmas in one squared scale (2.2 times the median square)


@dataclass(frozen=True, eq=False)
class _Half:
    """Every pair seen from both of its tiles, sorted by tile: ``tile`` is put somewhere by ``pair`` and ``other``."""

    tile: Rows
    other: Rows
    pair: Rows
    first: Rows  # (n + 1,) where each tile's rows begin

    @classmethod
    def of(cls, tiles: int, pairs: PairTable) -> _Half:
        tile = np.concatenate([pairs.fixed, pairs.moving])
        other = np.concatenate([pairs.moving, pairs.fixed])
        pair = np.tile(np.arange(len(pairs)), 2)
        order = np.lexsort((other, tile))
        first = np.searchsorted(tile[order], np.arange(tiles + 1))
        return cls(tile[order], other[order], pair[order], first)

    def pairs_of(self, tile: int) -> Rows:
        """Return the pairs of a tile."""
        return self.pair[self.first[tile] : self.first[tile + 1]]


class SecondLook:
    """Looks again, and again, at the tiles of a layout whose pairs are contested.

    Parameters
    ----------
    tiles, pairs, beliefs
        The problem.
    turn : bool
        Whether a tile may be turned.
    """

    def __init__(self, tiles: TileTable, pairs: PairTable, beliefs: Beliefs, *, turn: bool) -> None:
        self.tiles, self.pairs, self.beliefs = tiles, pairs, beliefs
        self.model = "rigid" if turn else "translation"
        self.half = _Half.of(len(tiles), pairs)
        # (tile, which of its pairs were believed): no tile is asked twice about the same, or it would go to and fro
        self.heard: set[tuple[int, bytes]] = set()

    def weights(self, motion: Array, weight: Array, scale: Array) -> Array | None:
        """Return weights to solve with again, None when every tile is where its pairs and the stage put it best.

        Parameters
        ----------
        motion, weight
            A robust solution.
        scale : ndarray of shape (m,)
            Squared: what a right seam of each pair is off by, units squared.
        """
        half, believed = self.half, weight > 0.5
        rejected = (weight < 0.05) & ~self.beliefs.barred
        for_it = np.bincount(half.tile, weights=believed[half.pair], minlength=len(self.tiles))
        against = np.bincount(half.tile, weights=rejected[half.pair], minlength=len(self.tiles))
        contested = (against > 0) & (against >= for_it) & ~self.tiles.locked
        said = {tile: believed[half.pairs_of(tile)].tobytes() for tile in np.flatnonzero(contested).tolist()}
        asked = np.array([tile for tile, what in said.items() if (tile, what) not in self.heard], np.intp)
        if len(asked) == 0:
            return None
        expected, spread = _stage_law(self.tiles, ~contested & (for_it >= 2), motion, asked)
        readings = []
        for tile, stage in zip(asked.tolist(), expected, strict=True):
            found = _best_reading(
                tile, half, self.tiles, self.pairs, self.beliefs, motion, scale, stage, spread, self.model
            )
            if found is not None:
                readings.append((found[0], tile, found[1]))
            else:
                self.heard.add((tile, said[tile]))
        followed, out = self._followed(readings, weight)
        self.heard |= {(tile, said[tile]) for tile in followed}
        return out if followed else None

    def _followed(self, readings: list[tuple[float, int, Flags]], weight: Array) -> tuple[list[int], Array]:
        """Return the tiles whose readings are followed, of neighbours only the better one's, and the weights then."""
        out, followed = weight.copy(), []
        touched: set[int] = set()
        for _, where, agree in sorted(readings, key=lambda r: (-r[0], r[1])):
            around: set[int] = set(self.half.other[self.half.first[where] : self.half.first[where + 1]].tolist())
            if where in touched or around & touched:
                continue  # its neighbours change now; it is looked at again when they have settled
            touched |= {where} | around
            followed.append(where)
            out[self.half.pairs_of(where)] = np.where(agree, 1.0, DOUBTED**2)
        return followed, out


def _place(motion: Array) -> Array:
    """Return (..., 3): shift x, y and turn of motions."""
    turn = np.arctan2(motion[..., 1, 0] - motion[..., 0, 1], motion[..., 0, 0] + motion[..., 1, 1])
    return np.stack([motion[..., 0, 2], motion[..., 1, 2], turn], axis=-1)


def _stage_law(tiles: TileTable, sound: Flags, motion: Array, asked: Rows) -> tuple[Array, Array]:
    """Return where the sound tiles around say the stage puts some tiles (k, 3), and the sigma of such a saying (3,).

    Shift and turn are the mean over the nearest tiles: a drift of the stage is followed, and an error of each tile by
    itself averages out. With few sound tiles the stage says nothing (sigmas are infinite).
    """
    place, rows = _place(motion), np.flatnonzero(sound)
    if len(rows) < FEWEST:
        return np.zeros((len(asked), 3)), np.full(3, np.inf)
    tree = cKDTree(tiles.apart[rows])

    def mean_around(of: Rows) -> Array:
        near = rows[tree.query(tiles.apart[of], k=min(NEIGHBOURS + 1, len(rows)))[1]]
        others = near != of[:, None]
        return np.asarray((place[near] * others[..., None]).sum(1) / others.sum(1)[:, None])

    some = rows[:: 1 + len(rows) // SOUND_ENOUGH]
    spread = 1.4826 * np.median(np.abs(place[some] - mean_around(some)), axis=0)
    spread[:2] = spread[:2].mean()
    return mean_around(asked), np.maximum(spread, 1e-6)


@dataclass(frozen=True, eq=False)
class _Around:
    """A tile (row 0), the tiles at the other ends of its pairs, and these pairs."""

    tiles: TileTable
    pairs: PairTable
    motion: Array
    own: Array
    scale: Array  # squared: what a right seam is off by
    usable: Flags
    model: str

    def off(self, place: Array) -> Array:
        """Return how far every pair is off with the tile at a place, mean square over its points, in scales."""
        trial = self.motion.copy()
        trial[0] = place
        left = squares(joined(trial, self.pairs, self.tiles), self.pairs.moments)
        return np.asarray(np.maximum(0, left - self.own) / self.pairs.count / self.scale)

    def evidence(self, place: Array) -> Array:
        """Return (k,) what every pair says for a place: less than nothing is nothing, the pair is wrong then."""
        return np.where(self.usable, np.maximum(0, EVIDENCE - self.off(place) * PER_SCALE), 0)

    def refined(self, place: Array) -> Array:
        """Return the place that is least squares on all pairs that a place more or less agrees with."""
        for _ in range(2):
            agree = self.usable & (self.off(place) < AGREES**2)
            if agree.sum() < 2:
                break
            trial = self.motion.copy()
            trial[0] = place
            worth = Worth(agree.astype(float), np.where(agree, 1 / (self.scale * self.pairs.count), 0.0), np.zeros(2))
            blocks = build_blocks(self.pairs, self.tiles, trial, worth, self.model, 0.0)
            step = np.asarray(-np.linalg.solve(blocks.diagonal[:1], blocks.gradient[:1, :, None])[..., 0], np.float64)
            place = stepped(trial[:1], tangents(trial[:1], self.model), step, self.model)[0]
        return place


def _best_reading(
    tile: int,
    half: _Half,
    tiles: TileTable,
    pairs: PairTable,
    beliefs: Beliefs,
    motion: Array,
    scale: Array,
    expected: Array,
    spread: Array,
    model: str,
) -> tuple[float, Flags] | None:
    """Return (gain, which of the tile's pairs agree) of a better place than the present one, None if there is none."""
    part = slice(half.first[tile], half.first[tile + 1])
    rows, others = half.pair[part], half.other[part]
    ends = np.concatenate([[tile], others])
    local, near = pairs.only(rows).renumbered(ends), tiles.where(ends)
    around = _Around(near, local, motion[ends], beliefs.own[rows], scale[rows], ~beliefs.barred[rows], model)
    places = [_implied(tile, int(r), int(o), tiles, pairs, beliefs, motion) for r, o in zip(rows, others, strict=True)]
    c, s = np.cos(expected[2]), np.sin(expected[2])
    places.append(np.array([[c, -s, expected[0]], [s, c, expected[1]]]))
    present = around.evidence(motion[tile])
    now, best, gain = present > 0, present > 0, 0.0
    least = present.sum() - _distance(motion[tile], expected, spread)
    for start in places:
        place = around.refined(start)
        said = around.evidence(place)
        better = said.sum() - _distance(place, expected, spread) - least
        if better > gain + 0.1 and ((said > 0) != now).any():
            best, gain = said > 0, float(better)
    return (gain, best) if gain > 0 else None


def _distance(place: Array, expected: Array, spread: Array) -> float:
    off = (_place(place) - expected) / spread
    return float(off @ off) / 2


def _implied(
    tile: int, row: int, other: int, tiles: TileTable, pairs: PairTable, beliefs: Beliefs, motion: Array
) -> Array:
    """Return the motion that a pair and the tile at its other end imply for a tile."""
    z, shift = beliefs.turn[row], beliefs.shift[row]
    if pairs.fixed[row] == tile:  # the pair's motion leads from moving to fixed: M_fixed = M_moving E^-1
        z, shift = 1 / z, -shift / z
    linear = np.array([[z.real, -z.imag], [z.imag, z.real]])
    half = (tiles.centre[tile] - tiles.centre[other]) / 2
    # the tile's points, carried by the pair about the middle of the two tiles, then moved with the other tile
    start = linear @ half + (shift.real, shift.imag) + half  # of the tile's centre, from the other's
    out = np.empty((2, 3))
    out[:, :2] = motion[other, :, :2] @ linear
    out[:, 2] = motion[other, :, :2] @ start + motion[other, :, 2] + tiles.centre[other] - tiles.centre[tile]
    return out
