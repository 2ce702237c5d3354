"""What the overlaps of a layout say of the brightness and contrast of its tiles, measured group by group of neighbours.

A group is the tiles whose middles lie in one square of the world, some tiles wide (`group_side`), and answers for the
overlaps of which its tiles are the first. It reads each of these tiles and of their neighbours once, at low
resolution, and depends on no other group: groups are tasks for workers, and what was found can be remembered under the
key of all that it depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.errors import DemisError, InputError
from demis_ij.pools import Pool, cores
from demis_ij.pools.tasks import SerialPool
from demis_ij.records import Layout, PairMatch, Tile
from demis_ij.render.placed import TileSource
from demis_ij.render.reduced import ReducedStore, reduced
from demis_ij.render.stamps import stamp
from demis_ij.render.worker_tiles import worker_tiles

Float = NDArray[np.float64]

THUMB_SIDE_PX = 128
LEAST_SAMPLES = 12
LEAST_SIDE, MOST_SIDE = 3, 12
"""Of a group, in tiles: a wider one reads fewer tiles twice, narrower ones spread over more workers."""
STORE_BYTES = 1 << 28


@dataclass(frozen=True)
class Seam:
    """What an overlap says: row numbers of the two tiles, means, standard deviations, correlation, samples."""

    first: int
    second: int
    mean: tuple[float, float]
    deviation: tuple[float, float]
    correlation: float
    samples: int


@dataclass(frozen=True)
class Level:
    """Mean, standard deviation and number of the data of a tile at low resolution."""

    mean: float
    deviation: float
    count: int


@dataclass(frozen=True, eq=False)
class GroupTask:
    """A group to be measured.

    Attributes
    ----------
    key : str
        Of all that it depends on.
    layout : Layout
        Its tiles and their neighbours.
    rows : tuple of int
        Where these are in the whole layout.
    pairs : tuple of (int, int)
        The overlaps that it answers for, as rows of its own layout.
    factor : int
        Px of a tile per px at which it is looked at.
    store_bytes : int
        What a worker may keep of tiles.
    """

    key: str
    layout: Layout
    rows: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    factor: int
    store_bytes: int


@dataclass(frozen=True)
class Measured:
    """What a group says; rows are those of the whole layout."""

    seams: tuple[Seam, ...]
    levels: Mapping[int, Level]


def measure(
    layout: Layout,
    store: TileSource,
    pairs: Sequence[PairMatch] | None,
    *,
    threads: int = 1,
    pool: Pool | None = None,
    store_bytes: int | None = None,
    remember: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Return what all overlaps say; `demis_ij.render.solve_intensity` describes the arguments."""
    known = _remembered(remember)
    tasks = list(_groups(layout, _overlapping(layout) if pairs is None else _rows(layout, pairs), pool, store_bytes))
    seams: list[Seam] = []
    levels: dict[int, Level] = {}
    done = 0

    def take(found: Measured) -> None:
        nonlocal done
        done += 1
        seams.extend(found.seams)
        levels.update(found.levels)
        if progress is not None:
            progress(done, len(tasks))

    for task in tasks:
        if task.key in known:
            take(_from_rows(known[task.key], task.rows))
    todo = [task for task in tasks if task.key not in known]
    for task, found in _done(todo, store, threads, pool):
        if remember is not None:
            _append(remember, task.key, found)
        take(_from_rows(found, task.rows))
    return Measured(tuple(sorted(seams, key=lambda s: (s.first, s.second))), levels)


def _done(
    tasks: Sequence[GroupTask], store: TileSource, threads: int, pool: Pool | None
) -> Iterator[tuple[GroupTask, Measured]]:
    if pool is not None and not isinstance(pool, SerialPool):
        with closing(pool.unordered(measure_group, tasks)) as loop:  # type: ignore[type-var]
            for done in loop:
                if done.problem is not None:
                    where = f"brightness of tiles near {done.task.layout.tiles[0].id}"
                    msg = f"{where}: {done.problem}; run the command again"
                    raise DemisError(msg)
                yield done.task, done.value
        return
    function = partial(measure_group_from, source=store)
    many = min(threads or cores(), len(tasks))
    if many <= 1:
        yield from ((task, function(task)) for task in tasks)
        return
    with ThreadPoolExecutor(many, thread_name_prefix="intensity") as workers:
        for start in range(0, len(tasks), many):
            some = tasks[start : start + many]
            yield from zip(some, workers.map(function, some), strict=True)


def measure_group(task: GroupTask) -> Measured:
    """Return what a group says, with tiles read here; rows are those of the group's own layout."""
    return measure_group_from(task, worker_tiles(task.store_bytes))


def measure_group_from(task: GroupTask, source: TileSource) -> Measured:
    """Return what a group says, with tiles from ``source``."""
    small, thumbs = reduced(task.layout, task.factor), ReducedStore(source, task.layout, task.factor)
    seams: list[Seam] = []
    levels: dict[int, Level] = {}
    for i, j in task.pairs:
        try:
            a, b = _common(small.tiles[i], small.tiles[j], thumbs)
        except InputError:
            continue  # an unreadable tile takes part in no seam; drawing reports it
        for k in (i, j):
            if k not in levels:
                levels[k] = _level(small.tiles[k], thumbs)
        seam = _measure(i, j, a, b)
        if seam is not None:
            seams.append(seam)
    return Measured(tuple(seams), levels)


# --- groups ---------------------------------------------------------------------------------------------------------


def group_side(count: int) -> int:
    """Return how many tiles wide groups are: four groups at least of a layout of ``count`` tiles, where it has enough.

    Not by the number of workers: what was remembered of a group is good for any number of them.
    """
    return min(MOST_SIDE, max(LEAST_SIDE, ceil(sqrt(count / 4))))


def _groups(
    layout: Layout, pairs: Iterable[tuple[int, int]], pool: Pool | None, store_bytes: int | None
) -> Iterator[GroupTask]:
    """Yield the groups that have overlaps, those near each other soon after each other."""
    each = None if pool is None else pool.bytes_each
    bytes_ = STORE_BYTES if each is None else min(STORE_BYTES, each // 4)
    bytes_ = bytes_ if store_bytes is None else store_bytes
    longest = max((max(t.shape) for t in layout), default=1)
    factor = max(1, round(longest / THUMB_SIDE_PX))
    side = group_side(len(layout)) * max(1, longest)
    place = {}
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, j in pairs:
        if i not in place:
            x, y = layout.tiles[i].world_corners.mean(axis=0)
            place[i] = (int(y // side), int(x // side))
        groups.setdefault(place[i], []).append((i, j))
    stamps: dict[Path, str] = {}
    for _, inside in sorted(groups.items()):
        rows = sorted({k for pair in inside for k in pair})
        own = {row: k for k, row in enumerate(rows)}
        part = replace(layout, tiles=tuple(layout.tiles[k] for k in rows), source=None)
        local = tuple((own[i], own[j]) for i, j in inside)
        digest = hashlib.sha256(repr((__version__, factor, local)).encode())
        for tile in part:
            told = (tile, stamp(tile.path, stamps), tile.mask_path and stamp(tile.mask_path, stamps))
            digest.update(repr(told).encode())
        yield GroupTask(digest.hexdigest(), part, tuple(rows), local, factor, bytes_)


def _from_rows(found: Measured, rows: Sequence[int]) -> Measured:
    """Return what a group says with its rows as those of the whole layout."""
    seams = tuple(replace(s, first=rows[s.first], second=rows[s.second]) for s in found.seams)
    return Measured(seams, {rows[k]: level for k, level in found.levels.items()})


def _remembered(path: Path | None) -> dict[str, Measured]:
    """Return what groups said before; from a line cut off by a crash on, nothing is believed."""
    found: dict[str, Measured] = {}
    if path is None or not path.is_file():
        return found
    raw, whole = path.read_bytes(), 0
    for line in raw.splitlines(keepends=True):
        try:
            told = json.loads(line) if line.endswith(b"\n") else {}
            found[told["key"]] = Measured(
                tuple(Seam(s[0], s[1], (s[2], s[3]), (s[4], s[5]), s[6], s[7]) for s in told["seams"]),
                {int(k): Level(*v) for k, v in told["levels"].items()},
            )
        except (ValueError, KeyError, TypeError, IndexError):
            break
        whole += len(line)
    if whole != len(raw):
        with path.open("r+b") as file:
            file.truncate(whole)
    return found


def _append(path: Path, key: str, found: Measured) -> None:
    told: dict[str, Any] = {
        "key": key,
        "seams": [(s.first, s.second, *s.mean, *s.deviation, s.correlation, s.samples) for s in found.seams],
        "levels": {k: (v.mean, v.deviation, v.count) for k, v in found.levels.items()},
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")


def _rows(layout: Layout, pairs: Sequence[PairMatch]) -> list[tuple[int, int]]:
    found = {tuple(sorted((layout.index(p.fixed), layout.index(p.moving)))) for p in pairs}
    return sorted((i, j) for i, j in found)


def _overlapping(layout: Layout) -> Iterable[tuple[int, int]]:
    """Yield the pairs of rows whose bounds in the world overlap, in layout order, by a sweep over x."""
    usable = [i for i, t in enumerate(layout) if min(t.shape) > 0]
    if not usable:
        return
    corners = np.stack([layout.tiles[i].world_corners for i in usable])
    low, high = corners.min(1), corners.max(1)
    order = np.argsort(low[:, 0], kind="stable")
    starts = low[order, 0]
    pairs = []
    for place, k in enumerate(order):
        stop = int(np.searchsorted(starts, high[k, 0]))
        near = order[place + 1 : stop]
        near = near[(low[near, 1] < high[k, 1]) & (high[near, 1] > low[k, 1])]
        pairs += [tuple(sorted((usable[k], usable[n]))) for n in near]
    yield from sorted((int(i), int(j)) for i, j in pairs)


# --- one overlap ----------------------------------------------------------------------------------------------------


def _common(first: Tile, second: Tile, thumbs: ReducedStore) -> tuple[Float, Float]:
    """Return the grey values of two tiles at the same places, both data: (N,) and (N,)."""
    image, mask = thumbs.image(second), thumbs.mask(second)
    other, other_mask = thumbs.image(first), thumbs.mask(first)
    rows, cols = image.shape
    y, x = (v.ravel() for v in np.mgrid[0:rows, 0:cols])
    at = (first.to_world.inverse @ second.to_world)(np.stack([x, y], 1).astype(np.float64))
    inside = mask.ravel() & ((at >= 0) & (at <= (other.shape[1] - 1, other.shape[0] - 1))).all(1)
    if not inside.any():
        return np.empty(0), np.empty(0)
    where = at[inside].astype(np.float32)
    drawn = [_at_points(v.astype(np.float32), where) for v in (np.where(other_mask, other, 0), other_mask)]
    data = drawn[1] > 0.999
    return drawn[0][data].astype(np.float64), image.ravel()[inside][data].astype(np.float64)


def _at_points(image: NDArray[np.float32], points_xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image sampled at (N, 2) points, (N,)."""
    width = 1024  # OpenCV's maps have at most 32767 rows
    padded = np.zeros((-(-len(points_xy) // width) * width, 2), np.float32)
    padded[: len(points_xy)] = points_xy
    x, y = (np.ascontiguousarray(padded[:, k].reshape(-1, width)) for k in (0, 1))
    drawn = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.float32).ravel()[: len(points_xy)]


def _level(tile: Tile, thumbs: ReducedStore) -> Level:
    """Return mean, standard deviation and number of the data of a thumbnail."""
    data = thumbs.image(tile)[thumbs.mask(tile)].astype(np.float64)
    return Level(float(data.mean()), float(data.std()), len(data)) if len(data) else Level(0.0, 0.0, 0)


def _measure(first: int, second: int, a: Float, b: Float) -> Seam | None:
    """Return what an overlap says, None when nothing; dirt, charging or a fold in one of the two is left out."""
    for _ in range(3):
        if len(a) < LEAST_SAMPLES:
            return None
        sa, sb = float(a.std()), float(b.std())
        if sa <= 0 or sb <= 0:
            break
        residual = (a - a.mean()) / sa - (b - b.mean()) / sb
        spread = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
        keep = np.abs(residual - np.median(residual)) <= 3 * max(spread, 1e-9)
        if keep.all():
            break
        a, b = a[keep], b[keep]
    if len(a) < LEAST_SAMPLES:
        return None
    sa, sb = float(a.std()), float(b.std())
    rho = float(((a - a.mean()) * (b - b.mean())).mean() / (sa * sb)) if sa > 0 and sb > 0 else 0.0
    return Seam(first, second, (float(a.mean()), float(b.mean())), (sa, sb), rho, len(a))
