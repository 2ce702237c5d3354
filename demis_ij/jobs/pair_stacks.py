"""What two tiles share, as stacks of two slices that plain ImageJ opens, from a finished run folder.

Both slices are in the frame of the fixed tile: its own pixels, and those of the moving tile where the stage put it. So
a flip between the slices shows what the stage was wrong by, and the lines between them what was found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij import views
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.solutions import SolutionFile
from demis_ij.geometry import Box
from demis_ij.images import TileStore
from demis_ij.pairs import expected_to_fixed, overlap_crops
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Tile
from demis_ij.runs import MatchStore, RunFolder, make_folder, read_solution, slug
from demis_ij.sinks.reduction import stretched
from demis_ij.stitch import Progress

MARGIN_PX = 16
FOLDER = "pairs"


@dataclass(frozen=True, eq=False)
class _Run:
    """A finished run, as its folder holds it."""

    path: Path
    solution: Mapping[str, Any]

    @cached_property
    def tiles(self) -> dict[str, Tile]:
        """Tiles by the names of ``solution.json``, where the solution puts them, mosaic px."""
        return {t.id: t for layout in read_solution(self.path)[0] for t in layout}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every pair, worst first: not matched, not believed, then the largest residual."""
        return sorted(self.solution["pairs"], key=_goodness)

    @cached_property
    def memories(self) -> dict[str, MatchStore]:
        """What is remembered of the pairs of each section."""
        sections = {row["section"] for row in self.solution["pairs"]}
        return {name: RunFolder.remembered(self.path, name) for name in sections}

    def at_stage(self, name: str) -> Tile | None:
        """Return a tile where the stage put it, mosaic px; None where the run does not know."""
        rows = self.solution["tiles"][name].get("stage_to_world")
        return None if rows is None else replace(self.tiles[name], to_world=Affine.from_matrix(rows))

    def outcome(self, row: Mapping[str, Any]) -> PairMatch | Rejected:
        """Return what a row tells of, with the points that agreed where the run remembers them."""
        names = row["fixed"], row["moving"]
        if row["residual_px"] is not None:
            memory = self.memories[row["section"]]
            head = f"{row['section']}/"
            for ids in (names, tuple(name.removeprefix(head) for name in names)):
                for found in reversed(memory.agreed((ids[0], ids[1]))):
                    if found.matcher == row["matcher"] and np.isclose(found.residual_px, row["residual_px"]):
                        return replace(found, fixed=names[0], moving=names[1])
        return Rejected(*names, row["reason"], row["matcher"], row["matches"], row["inliers"])


def _goodness(row: Mapping[str, Any]) -> tuple[int, float]:
    if row["residual_px"] is None:
        return 0, 0.0
    residual = row.get("solved_residual_px")
    return (2 if row["accepted"] else 1), -(float("inf") if residual is None else residual)


def show_pairs(
    run: Path,
    *,
    fixed: str | None = None,
    moving: str | None = None,
    worst: int = 5,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make stacks of pairs of a finished run, in its folder ``pairs``.

    Parameters
    ----------
    run : Path
        A run folder of ``stitch``.
    fixed, moving : str, optional
        Tiles: one names the pairs that it is part of, two a pair (in any order).
    worst : int
        At most so many stacks. Where no tile is named: of the pairs that have points, those that were not believed and
        those of the largest residual; pairs that were not matched come after them.
    progress : callable, optional
        Told how far the work is.

    Returns
    -------
    dict
        ``pairs``: every pair, worst first; ``stacks``; ``warnings``.

    Raises
    ------
    InputError
        When the folder holds no finished run, or no such pair.
    """
    tell = progress or (lambda _what, _done, _all: None)
    there = _open(run)
    warnings: list[str] = []
    store = TileStore()
    stacks = []
    chosen = _chosen(there, fixed, moving)[: max(0, worst)]
    for n, row in enumerate(chosen):
        tell("pairs", n, len(chosen))
        try:
            stacks.append(_write_stack(there, row, store, warnings))
        except InputError as error:
            warnings.append(f"pair {row['fixed']} - {row['moving']} cannot be shown: {error}")
    tell("pairs", len(chosen), len(chosen))
    return {"pairs": there.rows, "stacks": stacks, "warnings": warnings}


def _open(run: Path) -> _Run:
    path = run / "solution.json"
    if not path.is_file():
        msg = f"{run} holds no finished run of 'stitch': choose the folder that 'stitch' made"
        raise InputError(msg)
    read_solution(run)  # says what is wrong with it
    opened = SolutionFile(run)
    try:
        sections = list(opened)
        solution = {
            "tiles": {name: tile for s in sections for name, tile in s.tiles.items()},
            "pairs": [pair for s in sections for pair in s.pairs],
            "pixel_size": opened.pixel_size,
        }
        found = _Run(run, solution)
        _ = found.rows, found.memories
    except (KeyError, TypeError) as error:
        raise FormatError(path, f"is no solution: {error!r}") from error
    return found


def _chosen(run: _Run, fixed: str | None, moving: str | None) -> list[dict[str, Any]]:
    """Return the rows to show. Raises `InputError` when a tile or a pair is not there."""
    named = [name for name in (fixed, moving) if name is not None]
    for name in named:
        if name not in run.tiles:
            msg = f"{run.path}: no tile {name!r}; there are {', '.join(list(run.tiles)[:20])}"
            raise InputError(msg)
    rows = [r for r in run.rows if {r["fixed"], r["moving"]}.issuperset(named)]
    if named and not rows:
        msg = f"{run.path}: no pair {' - '.join(named)} was looked at: the layout puts these tiles too far apart"
        raise InputError(msg)
    with_points = [r for r in rows if r["residual_px"] is not None]
    return [*with_points, *(r for r in rows if r["residual_px"] is None)]


def _write_stack(run: _Run, row: Mapping[str, Any], store: TileStore, warnings: list[str]) -> dict[str, Any]:
    """Write a pair's stack and its view; return what to say of them. Raises `InputError` when there is none."""
    pair = run.outcome(row)
    solved = run.tiles[pair.fixed], run.tiles[pair.moving]
    stage = run.at_stage(pair.fixed), run.at_stage(pair.moving)
    if isinstance(pair, Rejected) and row["residual_px"] is not None:
        warnings.append(f"pair {pair.fixed} - {pair.moving}: the run folder has lost the points that agreed")
    if stage[0] is None or stage[1] is None:
        warnings.append(
            f"pair {pair.fixed} - {pair.moving}: where the stage put it is not known, it is shown as solved"
        )
        shown = solved
    else:
        shown = stage[0], stage[1]
    box = _common_box(shown, solved)
    if box is None:
        msg = "the layout puts these tiles too far apart to share anything"
        raise InputError(msg)
    into_box = Affine.translation(-box.x0, -box.y0)
    moving_to_box = into_box @ expected_to_fixed(*shown)
    slices = [_slice(store, shown[0], into_box, box.shape), _slice(store, shown[1], moving_to_box, box.shape)]
    view = views.pair_view(
        pair,
        fixed_to_picture=into_box,
        moving_to_picture=moving_to_box,
        shape=box.shape,
        solved=Layout(solved),
        title=f"{pair.fixed} - {pair.moving}",
    )
    make_folder(run.path / FOLDER)
    path = run.path / FOLDER / f"{_short(pair.fixed)}--{_short(pair.moving)}.tif"
    _write_tiff(path, slices, (pair.fixed, pair.moving), run.solution.get("pixel_size"))
    beside = path.with_name(f"{path.stem}.view.json")
    views.write(view, beside)
    return {"fixed": pair.fixed, "moving": pair.moving, "path": str(path), "view": str(beside)}


def _common_box(*placed: tuple[Tile, Tile]) -> Box | None:
    """Return the part of the fixed tile that the moving one covers in any of the placements, with a margin."""
    crops = [overlap_crops(*tiles, float(MARGIN_PX)) for tiles in placed]
    boxes = [c[0].box for c in crops if c is not None]
    if not boxes:
        return None
    x0, y0 = min(b.x0 for b in boxes), min(b.y0 for b in boxes)
    return Box(x0, y0, max(b.x1 for b in boxes), max(b.y1 for b in boxes))


def _slice(store: TileStore, tile: Tile, to_box: Affine, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a tile drawn into the box with a contrast of its own, 0 where it has no data."""
    size = shape[1], shape[0]
    matrix = to_box.matrix[:2]
    grey = store.image(tile).astype(np.float32)
    values = cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(store.mask(tile).astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    return stretched(np.asarray(values, np.float32), np.asarray(inside, bool), 0.5, 99.5)


def _write_tiff(path: Path, slices: Sequence[NDArray[np.uint8]], labels: Sequence[str], size: Any) -> None:
    """Write slices as ImageJ writes a stack, all or nothing."""
    told: dict[str, Any] = {"axes": "ZYX", "Labels": list(labels)}
    resolution = None
    if size:
        told["unit"] = "um" if str(size[1]) == "µm" else str(size[1]).encode("ascii", "replace").decode()
        resolution = (1 / float(size[0]), 1 / float(size[0]))
    part = path.with_name(f".{path.name}.part")
    try:
        tifffile.imwrite(part, np.stack(slices), imagej=True, resolution=resolution, metadata=told)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _short(tile_id: str) -> str:
    """Return a file name for a tile, of a length that two of them can be one."""
    name = slug(tile_id)
    return name if len(name) <= 80 else f"{name[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
