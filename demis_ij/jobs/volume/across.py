"""Two neighbouring sections: put on each other roughly, and their tiles compared; a task for a worker.

First small pictures of both are brought together, whatever the turn and shift (`demis_ij.align.searching`), then again
at a finer scale; from there tiles that lie over each other are matched (`demis_ij.pairs.across`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from demis_ij import geometry
from demis_ij.align.searching import brought_together
from demis_ij.errors import WeightsError
from demis_ij.images import TileStore
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.matchers.correlation import CorrelationMatcher
from demis_ij.pairs.across import match_across, pairs_across
from demis_ij.protocols import View
from demis_ij.records import Affine, Layout, PairMatch, Points, Rejected
from demis_ij.render import Canvas, preview
from demis_ij.runs import MatchStore, RunFolder, read_json, slug, write_json
from demis_ij.solvers.sums import sums_of_points
from demis_ij.stitch import AUTO, Outcome, make_matcher

FOLDER = "matches_across"
AT_ONCE = 16
"""Pairs of tiles after which what was found is kept: what a kill may lose."""
ROUGH_PX, FINER_PX = 256, 1024
"""Longer side of the pictures of whole sections by which they are put on each other."""
ROUGH_ERROR_PX, FINER_ERROR_PX = 8.0, 6.0
"""What the answers of either may be wrong by, px of the pictures."""
BLOCKS = "blocks"
"""Who found a pair that was tied by blocks of the pictures of whole sections."""
MAY_STAND_OUT = 1.15
"""By how much the best turn must beat the others; below it the sections are taken to lie on each other as they are."""
USUAL_FRAC, MOST_FRAC = 0.06, 0.25
"""What tissue may have moved by besides, as a fraction of a tile's longer side, and the most that is looked for."""
LEAST_FINER = 12
"""Blocks of the finer pictures that must agree for their answer to be taken."""
LEAST_PAIRS = 3
"""Where fewer pairs of tiles were matched, the blocks of the pictures tie the sections together, too."""


@dataclass(frozen=True, eq=False)
class AcrossTask:
    """Two sections to compare.

    Attributes
    ----------
    fixed, moving : Layout
        Solved, in the layout's coordinates.
    job : StitchJob
    run : Path
        The run folder.
    settings : mapping
        Of the run.
    keep_bytes : int
        What may be kept of tiles.
    """

    fixed: Layout
    moving: Layout
    job: StitchJob
    run: Path
    settings: Mapping[str, Any]
    keep_bytes: int

    @property
    def names(self) -> tuple[str, str]:
        """The two sections."""
        return self.fixed.section, self.moving.section


@dataclass(frozen=True)
class AcrossPair:
    """Two tiles of two sections.

    Attributes
    ----------
    fixed, moving : str
        Tile ids, each in its own section.
    sums : tuple of float
        Sums of the points (`demis_ij.solvers.sums`); empty where the pair was not believed.
    matcher, reason : str
        Who was asked last, and why it was not believed.
    matches, inliers : int
        Points offered, and those that agree.
    residual_px : float or None
        Of the pair alone.
    """

    fixed: str
    moving: str
    sums: tuple[float, ...]
    matcher: str
    reason: str
    matches: int
    inliers: int
    residual_px: float | None


def compared_sections(task: AcrossTask) -> list[AcrossPair]:
    """Return what became of the tile pairs of two sections; what an earlier run has found is not looked for again."""
    folder = RunFolder(task.run, task.settings)
    kept = known_pairs(folder, task.names)
    if kept is not None:
        return kept
    store = TileStore(task.keep_bytes, clip=task.job.config.clahe_clip)
    placed = put_together(task.fixed, task.moving, store)
    there = task.moving.moved({t.id: placed.motion @ t.to_world for t in task.moving})
    one, two = _named(task.fixed), _named(there)
    side = max(max(t.shape) for t in (*one, *two))
    found = _matched(one, two, store, task, min(MOST_FRAC, USUAL_FRAC + placed.error_px / side))
    own = [_told(outcome, one, two) for outcome in found]
    if sum(1 for pair in own if pair.sums) < LEAST_PAIRS:
        own = _with_blocks(own, placed, one, two)
    heads = [f"{name}/" for name in task.names]  # a section's name may hold a slash, too
    pairs = [replace(p, fixed=p.fixed.removeprefix(heads[0]), moving=p.moving.removeprefix(heads[1])) for p in own]
    write_json(_file(folder.path, task.names), {"pairs": [list(_columns(p)) for p in pairs]})
    folder.mark_done(_mark(task.names), "")
    return pairs


def known_pairs(folder: RunFolder, names: tuple[str, str]) -> list[AcrossPair] | None:
    """Return the pairs of two sections that were compared already, None when they were not."""
    file = _file(folder.path, names)
    if not folder.is_done(_mark(names), "", [file]):
        return None
    return [_pair_of(*row) for row in read_json(file)["pairs"]]


def _pair_of(fixed: str, moving: str, sums: list[float], *rest: Any) -> AcrossPair:
    return AcrossPair(fixed, moving, tuple(sums), *rest)


def _columns(pair: AcrossPair) -> tuple[Any, ...]:
    return (
        pair.fixed, pair.moving, list(pair.sums), pair.matcher, pair.reason, pair.matches, pair.inliers,
        pair.residual_px,
    )  # fmt: skip


def _file(run: Path, names: tuple[str, str]) -> Path:
    return run / FOLDER / f"{slug('~'.join(names))}.json"


def _mark(names: tuple[str, str]) -> str:
    return f"across-{slug('~'.join(names))}"


def _named(layout: Layout) -> Layout:
    """Return a section whose tiles' ids say which section they are of."""
    return replace(layout, tiles=tuple(replace(t, id=f"{layout.section}/{t.id}") for t in layout))


def _matched(fixed: Layout, moving: Layout, store: TileStore, task: AcrossTask, error_frac: float) -> list[Outcome]:
    """Return one outcome a pair of tiles: each matcher is asked about what the one before could not match."""
    config = replace(task.job.config, resolution=1.0)
    pairs = pairs_across(fixed, moving)
    memory = MatchStore(task.run / FOLDER / slug("~".join(task.names)))
    asked = AUTO if config.matcher == "auto" else (config.matcher,)
    chain = dict.fromkeys((*asked, "correlation"))  # what two sections share is seldom what a key point is made of
    outcome: dict[tuple[str, str], Outcome] = {}
    for name in chain:
        pending = [p for p in pairs if not isinstance(outcome.get(p), PairMatch)]
        stage = f"across-{name}"
        known = memory.get_many(stage, pending)
        missing = [p for p in pending if p not in known]
        if missing:
            try:
                matcher = make_matcher(name, config)
            except WeightsError:
                if config.matcher != "auto":
                    raise
                continue  # auto does without what is not there
            for start in range(0, len(missing), AT_ONCE):
                some = missing[start : start + AT_ONCE]
                new = match_across(store, fixed, moving, some, matcher, config, error_frac=error_frac)
                memory.put(stage, new)
                known |= {(o.fixed, o.moving): o for o in new}
        outcome |= known
    return [outcome[p] for p in pairs if p in outcome]


def _told(outcome: Outcome, fixed: Layout, moving: Layout) -> AcrossPair:
    common = outcome.fixed, outcome.moving
    if isinstance(outcome, Rejected):
        return AcrossPair(*common, (), outcome.matcher, outcome.reason, outcome.matches, outcome.inliers, None)
    one, two = fixed[outcome.fixed], moving[outcome.moving]
    sums = sums_of_points(one.straight(outcome.fixed_xy), two.straight(outcome.moving_xy), one.shape, two.shape)
    return AcrossPair(
        *common, tuple(sums.tolist()), outcome.matcher, "", outcome.matches, outcome.inliers, float(outcome.residual_px)
    )


# --- whole sections ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Small:
    """A section, small.

    Attributes
    ----------
    grey, mask : ndarray of shape (H, W), uint8
        Evened out around 128, and 255 where there is data.
    from_world : Affine
        World px to its px.
    """

    grey: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    from_world: Affine


@dataclass(frozen=True, eq=False)
class Placed:
    """How a section is put on the one before it.

    Attributes
    ----------
    motion : Affine
        Of the world: where the moving section lies to where it shows what the fixed one shows.
    error_px : float
        What that may be wrong by, world px.
    fixed_xy, moving_xy : ndarray of shape (N, 2)
        Places in both that show the same, world px (the moving ones before ``motion``); none where only whole pictures
        were compared.
    """

    motion: Affine
    error_px: float
    fixed_xy: Points
    moving_xy: Points


def put_together(fixed: Layout, moving: Layout, store: TileStore) -> Placed:
    """Return the turn and shift of the world that puts a section roughly on the one before it.

    Where no turn stands out and no blocks agree, the sections are taken to lie on each other as they are.
    """
    one, two = _small(fixed, store, ROUGH_PX), _small(moving, store, ROUGH_PX)
    found = brought_together((one.grey, one.mask), (two.grey, two.mask))
    nothing = np.empty((0, 2))
    rough = Placed(Affine(), 0.0, nothing, nothing)
    if found is not None and found.stands_out >= MAY_STAND_OUT:
        motion = one.from_world.inverse @ found.to_fixed @ two.from_world
        rough = Placed(motion, ROUGH_ERROR_PX / one.from_world.scale, nothing, nothing)
    return _finer(fixed, moving, store, rough)


def _finer(fixed: Layout, moving: Layout, store: TileStore, rough: Placed) -> Placed:
    """Return a rough motion made finer by blocks of larger pictures, or as it is where they do not agree."""
    there = moving.moved({t.id: rough.motion @ t.to_world for t in moving})
    one, two = _small(fixed, store, FINER_PX), _small(there, store, FINER_PX)
    points = CorrelationMatcher(max_turn_deg=2.5)(View(one.grey, one.mask > 0), View(two.grey, two.mask > 0))
    if len(points) < LEAST_FINER:
        return rough
    best = geometry.estimate(points.moving_xy, points.fixed_xy, "rigid", 0.01 * FINER_PX)
    if best is None or best.inlier.sum() < LEAST_FINER:
        return rough
    motion = one.from_world.inverse @ Affine.from_matrix(best.to_fixed) @ two.from_world @ rough.motion
    inliers = points.where(best.inlier)
    back = (two.from_world @ rough.motion).inverse
    return Placed(
        motion,
        FINER_ERROR_PX / one.from_world.scale,
        one.from_world.inverse(inliers.fixed_xy),
        back(inliers.moving_xy),
    )


def _with_blocks(pairs: Sequence[AcrossPair], placed: Placed, fixed: Layout, moving: Layout) -> list[AcrossPair]:
    """Return the pairs with those that the blocks of the pictures tie where the tiles themselves could not be matched.

    Parameters
    ----------
    pairs : sequence of AcrossPair
        What became of the tiles.
    placed : Placed
        With the blocks.
    fixed, moving : Layout
        The sections, the moving one where ``placed`` puts it.
    """
    known = {(p.fixed, p.moving): p for p in pairs}
    blocks: dict[tuple[str, str], list[int]] = {}
    here, there = _covering(fixed, placed.fixed_xy), _covering(moving, placed.motion(placed.moving_xy))
    for row, (one, other) in enumerate(zip(here, there, strict=True)):
        if one is not None and other is not None:
            blocks.setdefault((one, other), []).append(row)
    for names, rows in blocks.items():
        if len(rows) < 2 or (names in known and known[names].sums):
            continue
        tiles = fixed[names[0]], moving[names[1]]
        fixed_xy = tiles[0].to_world.inverse(placed.fixed_xy[rows])
        moving_xy = tiles[1].to_world.inverse(placed.motion(placed.moving_xy[rows]))
        sums = sums_of_points(fixed_xy, moving_xy, tiles[0].shape, tiles[1].shape)
        known[names] = AcrossPair(*names, tuple(sums.tolist()), BLOCKS, "", len(rows), len(rows), None)
    return list(known.values())


def _covering(layout: Layout, world_xy: Points) -> list[str | None]:
    """Return for each place the tile whose centre is nearest, if it covers the place."""
    if not len(world_xy):
        return []
    centre = np.array([t.world_corners.mean(0) for t in layout])
    _, near = cKDTree(centre).query(world_xy)
    out: list[str | None] = []
    for place, row in zip(world_xy, near, strict=True):
        tile = layout.tiles[row]
        x, y = tile.to_world.inverse(place)
        out.append(tile.id if 0 <= x < tile.shape[1] and 0 <= y < tile.shape[0] else None)
    return out


def _small(layout: Layout, store: TileStore, side_px: int) -> _Small:
    image, scale = preview(layout, store, max_side_px=side_px, on_unreadable=lambda _tile, _error: None)
    known = image > 0
    values = np.where(known, image, 0).astype(np.float32)
    # brightness differs between sections and over each of them: what counts is what is brighter than around it
    weight = np.maximum(cv2.GaussianBlur(known.astype(np.float32), (0, 0), side_px / 16), 1e-3)
    around = cv2.GaussianBlur(values, (0, 0), side_px / 16) / weight
    detail = np.where(known, values - around, 0)
    spread = max(float(detail[known].std()), 1e-6) if known.any() else 1.0
    grey = np.clip(np.rint(128 + 45 * detail / spread), 0, 255).astype(np.uint8)
    return _Small(grey, known.astype(np.uint8) * np.uint8(255), Canvas.of(layout, scale).from_world)
