"""One section: under which axes it lies, stitched, what is left out of it, and what there is to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from demis_ij import images
from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.jobs.faulty import lines_of, with_suspects
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.pools import Pool
from demis_ij.records import Affine, Layout, Tile
from demis_ij.runs import RunFolder, slug
from demis_ij.stitch import AXES, Progress, StitchResult, find_axes, stitch, usable, with_axes


@dataclass(frozen=True, eq=False)
class SectionDone:
    """One section, stitched.

    Attributes
    ----------
    given : Layout
        The section under the axes it was found to have.
    result : StitchResult
        Of the tiles that could be read.
    left_out : tuple of Tile
        The others, where the stage puts them beside their neighbours.
    notes, warnings : tuple of str
        One line each.
    """

    given: Layout
    result: StitchResult
    left_out: tuple[Tile, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def layout(self) -> Layout:
        """The solved section, with the tiles that were not looked at."""
        solved = self.result.solution.layout
        return replace(solved, tiles=(*solved.tiles, *self.left_out))


def work_on(
    section: Layout,
    job: StitchJob,
    folder: RunFolder,
    store: TileStore,
    *,
    tell: Progress | None = None,
    pool: Pool | None = None,
) -> SectionDone:
    """Return a section stitched, going on with what its run folder remembers.

    Parameters
    ----------
    section : Layout
        As read.
    job : StitchJob
        How.
    folder : RunFolder
        Remembers axes and pairs.
    store : TileStore
        Where images come from.
    tell : callable, optional
        Told how far the work is.
    pool : Pool, optional
        Workers among whom the pairs are spread.

    Raises
    ------
    InputError
        When no tile can be read.
    """
    said = tell or (lambda _what, _done, _all: None)
    layout, notes = oriented(section, job.config, job.stage_axes, store, said, folder)
    memory = folder.memory(section.section)
    result = stitch(layout, job.config, store=store, memory=memory, progress=said, pool=pool)
    result = with_suspects(layout, result, store)
    left_out = tuple(placed_beside_neighbours(layout, result))
    return SectionDone(layout, result, left_out, tuple(notes), tuple(lines_of(result)))


def oriented(
    layout: Layout, config: StitchConfig, given: str | None, store: TileStore, tell: Progress, folder: RunFolder
) -> tuple[Layout, list[str]]:
    """Return the layout under the stage axes given or found, and what to say of it; what was found is remembered."""
    if given:
        return with_axes(images.with_shapes(layout)[0], given), []
    if any(t.locked for t in layout):
        return layout, []  # locked tiles say where they lie: nothing is to be flipped
    mark = axes_mark(layout.section)
    known = folder.notes(mark)
    if not known:
        axes, scores = find_axes(usable(layout, config)[0], config, store, progress=tell)
        known = [axes, f"{100 * scores[axes]:.0f} % of neighbours agree, {100 * scores[AXES[0]]:.0f} % as written"]
        folder.mark_done(mark, "", known)
    if known[0] == AXES[0]:
        return layout, []
    note = f"section {layout.section}: stage axes {known[0]} are used ({known[1]}; --stage-axes decides)"
    return with_axes(images.with_shapes(layout)[0], known[0]), [note]


def axes_mark(section: str) -> str:
    """Return what the run folder calls its note of the axes of a section."""
    return f"axes-{slug(section)}"


def placed_beside_neighbours(layout: Layout, result: StitchResult) -> list[Tile]:
    """Return the tiles whose images could not be used, moved by the stage as their nearest solved neighbours were."""
    solved = result.solution.layout
    include = result.config.include_hidden
    todo = [t for t in layout if t.id not in solved and (t.visible or include)]
    if not todo:
        return []
    usual = solved.tiles[0].shape
    before = np.array([_middle(result.layout[t.id]) for t in solved])
    shift = np.array([_middle(t) for t in solved]) - before
    out = []
    for tile in todo:
        known = replace(tile, shape=tile.shape if min(tile.shape) > 0 else usual)
        near = np.argsort(np.linalg.norm(before - _middle(known), axis=1), kind="stable")[:4]
        move = Affine() if tile.locked else Affine.translation(*np.median(shift[near], axis=0))
        out.append(replace(known, to_world=move @ tile.to_world))
    return out


def _middle(tile: Tile) -> Any:
    return tile.to_world(((tile.shape[1] - 1) / 2, (tile.shape[0] - 1) / 2))


def report_name(result: StitchResult, results: Sequence[StitchResult]) -> str:
    """Return what a result is called in the report."""
    return result.config.matcher if len(results) == 1 else f"section {result.layout.section}"
