"""All sections in one solve: their own pairs, kept as columns, and the pairs across z; the sections follow from it.

A section is stitched by itself first. Of that its places and the sums of its pairs are kept (some hundred bytes a
tile), so a volume is solved without any tile or pair as an object.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij.config import StitchConfig
from demis_ij.jobs.sections import SectionDone, placed_beside_neighbours
from demis_ij.jobs.volume.across import AcrossPair
from demis_ij.jobs.volume.section_files import FOLDER
from demis_ij.records import OVERRULED_WEIGHT, Affine, Layout, PairMatch, Solution
from demis_ij.runs import slug, whole_file, write_text
from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.lens import straightened
from demis_ij.solvers.measurements import moved_places, places_of
from demis_ij.solvers.settings import SolveSettings
from demis_ij.solvers.sums import pair_table_of_sums, sums_of_points, tile_table_of_arrays

Float = NDArray[np.float64]
SUMS = 15


@dataclass(frozen=True, eq=False)
class PlaneSection:
    """One section as columns, stitched by itself.

    Attributes
    ----------
    ids : tuple of str
        Its tiles.
    stage, solved : ndarray of shape (n, 2, 3)
        Tile px to world px before and after.
    shape : ndarray of shape (n, 2)
        (rows, cols) of each tile.
    locked : ndarray of shape (n,), bool
    fixed, moving : ndarray of shape (m,)
        Rows of the tiles of each pair that agrees.
    sums : ndarray of shape (m, 15)
        Of its points.
    """

    ids: tuple[str, ...]
    stage: Float
    solved: Float
    shape: NDArray[np.int64]
    locked: NDArray[np.bool_]
    fixed: NDArray[np.int64]
    moving: NDArray[np.int64]
    sums: Float

    @classmethod
    def of(cls, done: SectionDone) -> PlaneSection:
        """Return the columns of a stitched section."""
        before, after = done.result.layout, done.result.solution.layout
        matches = straightened(after, [p for p in done.result.pairs if isinstance(p, PairMatch)])
        sums = [sums_of_points(m.fixed_xy, m.moving_xy, before[m.fixed].shape, before[m.moving].shape) for m in matches]
        return cls(
            before.ids,
            places_of(before),
            places_of(after),
            np.array([t.shape for t in before], np.int64).reshape(-1, 2),
            np.array([t.locked for t in before], bool),
            np.array([before.index(m.fixed) for m in matches], np.int64),
            np.array([before.index(m.moving) for m in matches], np.int64),
            np.array(sums, float).reshape(-1, SUMS),
        )

    @staticmethod
    def file(run: Path, section: str) -> Path:
        """Return where a section's columns lie."""
        return run / FOLDER / f"{slug(section)}.plane.npz"

    def write(self, path: Path) -> None:
        """Write the columns all or nothing."""
        with whole_file(path) as file:
            np.savez(file, ids=np.array(self.ids, np.str_), **{name: getattr(self, name) for name in COLUMNS})

    @classmethod
    def read(cls, path: Path) -> PlaneSection:
        """Return the columns of a file that `write` has made."""
        with np.load(path, allow_pickle=False) as kept:
            return cls(tuple(kept["ids"].tolist()), *(kept[name] for name in COLUMNS))

    def at(self, layout: Layout) -> Layout:
        """Return a section's tiles where it was solved to by itself, with shapes."""
        known = {
            name: (Affine.from_matrix(place), (int(shape[0]), int(shape[1])))
            for name, place, shape in zip(self.ids, self.solved, self.shape, strict=True)
        }
        tiles = (replace(t, to_world=known[t.id][0], shape=known[t.id][1]) for t in layout if t.id in known)
        return replace(layout, tiles=tuple(tiles))


COLUMNS = ("stage", "solved", "shape", "locked", "fixed", "moving", "sums")


@dataclass(frozen=True, eq=False)
class VolumeSection:
    """One section of a solved volume, as columns in the order of its `PlaneSection`.

    Attributes
    ----------
    places : ndarray of shape (n, 2, 3)
        Tile px to the world of the volume.
    component : ndarray of shape (n,)
        Of the whole volume, 0 the largest.
    sigma_px : ndarray of shape (n,)
    weight, residual_px, pair_sigma_px : ndarray of shape (m,)
        Of its own pairs.
    held_by : mapping of str to str
        Tiles that pairs across z hold, and the matcher that found those.
    """

    places: Float
    component: NDArray[np.intp]
    sigma_px: Float
    weight: Float
    residual_px: Float
    pair_sigma_px: Float
    held_by: Mapping[str, str]

    @property
    def state(self) -> str:
        """What says whether the section was solved to the same places."""
        return hashlib.sha256(np.ascontiguousarray(self.places, "<f8").tobytes()).hexdigest()


@dataclass(frozen=True)
class AcrossSolved:
    """A pair of tiles across z after the solve.

    Attributes
    ----------
    sections : tuple of str
        The fixed and the moving tile's section.
    pair : AcrossPair
    weight : float
        How much the solver believed it; 0 where it was not matched.
    residual_px : float
        Root mean square distance of its points after the solve; NaN where it was not matched.
    """

    sections: tuple[str, str]
    pair: AcrossPair
    weight: float
    residual_px: float

    @property
    def is_believed(self) -> bool:
        """Whether it was matched, and believed by the solver."""
        return self.weight > OVERRULED_WEIGHT


def solve_volume(
    planes: Mapping[str, PlaneSection], across: Mapping[tuple[str, str], Sequence[AcrossPair]], config: StitchConfig
) -> tuple[dict[str, VolumeSection], list[AcrossSolved]]:
    """Return every section of a volume in one frame, and what became of the pairs across z.

    Parameters
    ----------
    planes : mapping of str to PlaneSection
        The sections in the order of z.
    across : mapping of (str, str) to sequence of AcrossPair
        Pairs of sections to pairs of their tiles.
    config : StitchConfig
        Model, and what the stage is worth.
    """
    first = dict(zip(planes, np.cumsum([0, *(len(p.ids) for p in planes.values())])[:-1].tolist(), strict=True))
    number = {name: {tile: first[name] + i for i, tile in enumerate(p.ids)} for name, p in planes.items()}
    each = list(planes.values())
    stage = np.concatenate([p.stage for p in each])
    shape = np.concatenate([p.shape for p in each])
    section = np.repeat(np.arange(len(each)), [len(p.ids) for p in each])
    tiles = tile_table_of_arrays(stage, shape, np.concatenate([p.locked for p in each]), section)
    listed = [(names, pair) for names, pairs in across.items() for pair in pairs]
    found = [(names, pair) for names, pair in listed if pair.sums]
    fixed = [p.fixed + first[n] for n, p in planes.items()]
    moving = [p.moving + first[n] for n, p in planes.items()]
    fixed.append(np.array([number[n[0]][p.fixed] for n, p in found], np.int64))
    moving.append(np.array([number[n[1]][p.moving] for n, p in found], np.int64))
    sums = np.concatenate([*(p.sums for p in each), np.array([p.sums for _, p in found], float).reshape(-1, SUMS)])
    pairs = pair_table_of_sums(tiles, stage, np.concatenate(fixed), np.concatenate(moving), sums)
    sigma = max(1.0, config.stage_error_frac * float(shape.max(initial=1)) / 2)
    solved = solve_columns(tiles, pairs, SolveSettings(model=config.model, stage_sigma_px=sigma))
    places = moved_places(stage, tiles, solved.motion)
    own = sum(len(p.fixed) for p in each)
    told = [
        AcrossSolved(names, pair, float(solved.weight[own + i]), float(solved.residual_px[own + i]))
        for i, (names, pair) in enumerate(found)
    ]
    told += [AcrossSolved(names, pair, 0.0, float("nan")) for names, pair in listed if not pair.sums]
    held = _held(told)
    out, tile, row = {}, 0, 0
    for name, plane in planes.items():
        n, m = slice(tile, tile + len(plane.ids)), slice(row, row + len(plane.fixed))
        out[name] = VolumeSection(
            places[n], solved.component[n], solved.sigma_px[n], solved.weight[m], solved.residual_px[m],
            solved.pair_sigma_px[m], held.get(name, {}),
        )  # fmt: skip
        tile, row = n.stop, m.stop
    return out, told


def _held(told: Sequence[AcrossSolved]) -> dict[str, dict[str, str]]:
    held: dict[str, dict[str, str]] = {}
    for one in told:
        if one.is_believed:
            held.setdefault(one.sections[0], {})[one.pair.fixed] = one.pair.matcher
            held.setdefault(one.sections[1], {})[one.pair.moving] = one.pair.matcher
    return held


def in_volume(done: SectionDone, solved: VolumeSection) -> SectionDone:
    """Return a section as the volume's solve has it, with the tiles that could not be used beside their neighbours."""
    result = done.result
    ids = result.layout.ids
    keys = [(p.fixed, p.moving) for p in result.pairs if isinstance(p, PairMatch)]
    moved = result.layout.moved({name: Affine.from_matrix(p) for name, p in zip(ids, solved.places, strict=True)})
    solution = Solution(
        layout=moved,
        component=dict(zip(ids, _renumbered(solved.component), strict=True)),
        sigma_px=dict(zip(ids, solved.sigma_px.tolist(), strict=True)),
        pair_residual_px=dict(zip(keys, solved.residual_px.tolist(), strict=True)),
        pair_sigma_px=dict(zip(keys, solved.pair_sigma_px.tolist(), strict=True)),
        pair_weight=dict(zip(keys, solved.weight.tolist(), strict=True)),
    )
    placed = {name: solved.held_by.get(name, how) if how == "stage" else how for name, how in result.placed_by.items()}
    again = replace(result, solution=solution, placed_by=placed)
    warnings = tuple(w for w in done.warnings if not _was_alone(w, solved.held_by))
    return replace(done, result=again, left_out=tuple(placed_beside_neighbours(done.given, again)), warnings=warnings)


def _was_alone(line: str, held_by: Mapping[str, str]) -> bool:
    """Return whether a warning says of a tile that nobody matched it, which pairs across z have done since."""
    head, _, rest = line.removeprefix("tile ").partition(": ")
    return rest.startswith("matched with no neighbour") and head in held_by


def _renumbered(component: NDArray[np.intp]) -> list[int]:
    """Return components of one section by number, 0 the largest."""
    numbers, inverse, sizes = np.unique(component, return_inverse=True, return_counts=True)
    order = np.lexsort((numbers, -sizes))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    return [int(n) for n in rank[inverse]]


def section_pairs(names: Sequence[str], reach: int) -> Iterator[tuple[str, str]]:
    """Yield the pairs of sections that are up to ``reach`` apart, (lower, higher)."""
    for i, name in enumerate(names):
        for other in names[i + 1 : i + 1 + reach]:
            yield name, other


ACROSS_COLUMNS = (
    "fixed_section", "fixed", "moving_section", "moving", "accepted", "matcher", "matches", "inliers",
    "pair_residual_px", "residual_px", "weight", "reason",
)  # fmt: skip


def write_across_csv(path: Path, told: Sequence[AcrossSolved]) -> None:
    """Write one line a pair across z, believed or not, as CSV (RFC 4180); a file that is the same is not touched."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(ACROSS_COLUMNS)
    out.writerows(_line(one) for one in told)
    write_text(path, text.getvalue())


def _line(one: AcrossSolved) -> list[str]:
    p = one.pair
    alone = "" if p.residual_px is None else repr(p.residual_px)
    after = repr(one.residual_px) if p.sums else ""
    overruled = "contradicts its neighbours: the solver gave it no weight" if p.sums and not one.is_believed else ""
    (fixed, moving), believed = one.sections, "1" if one.is_believed else "0"
    return [
        fixed, p.fixed, moving, p.moving, believed, p.matcher, str(p.matches), str(p.inliers), alone, after,
        repr(one.weight) if p.sums else "", p.reason or overruled,
    ]  # fmt: skip
