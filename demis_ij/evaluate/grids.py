"""Grids: every scene stitched by every configuration, against where its tiles really are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from demis_ij.errors import SolveError
from demis_ij.evaluate.configurations import Configuration
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.scenes import Known, Pair, Source, on_disk
from demis_ij.evaluate.scores import FAIL_PX, GridScore
from demis_ij.evaluate.stitched import aligned, grid_measures
from demis_ij.metrics import corner_error_px, missing_measures, overlap_error_px, true_to_fixed
from demis_ij.records import Layout
from demis_ij.stitch import StitchResult, stitch

Progress = Callable[[str, int, int], None]


def evaluate_grids(
    sources: Sequence[Source],
    configurations: Sequence[Configuration],
    *,
    kept: Kept | None = None,
    progress: Progress | None = None,
) -> list[GridScore]:
    """Return one score for each configuration and scene, stitched as a whole.

    Parameters
    ----------
    sources : sequence of Source
        `generated`, `of_folder` or `of_dataset` make them.
    configurations : sequence of Configuration
        `read_configurations` makes them.
    kept : Kept, optional
        What an earlier run measured.
    progress : callable, optional
        Called with (what is being done, how much is done, how much there is).

    Raises
    ------
    InputError, WeightsError
        When an image or the weights cannot be used.
    """
    tell, memory = progress or (lambda _what, _done, _all: None), kept or Kept(None)
    skip = tuple(missing_measures())
    scores: list[GridScore] = []
    for source in sources:
        known: Known | None = None
        for c in configurations:
            key = ("grids", source.fingerprint, c.fingerprint, skip)
            found = memory.get(GridScore, *key)
            if not found:
                known = known or source.load()
                with on_disk(known) as readable:
                    found = [_grid(readable, c, skip, tell)]
                memory.put(found, *key)
            scores += [replace(s, scene=source.name, configuration=c.name) for s in found]
    return scores


def _grid(known: Known, c: Configuration, skip: Sequence[str], tell: Progress) -> GridScore:
    store = known.store(c.stitch.clahe_clip)
    for tile in known.layout:
        store.normalised(tile)
        store.mask(tile)
    label = f"{c.name} on {known.name}"
    score = GridScore(scene=known.name, configuration=c.name, tiles=len(known.layout))
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        result = stitch(
            known.layout,
            c.stitch,
            store=store,
            progress=lambda what, done, total: tell(f"{label}: {what}", done, total),
        )
    except SolveError as error:
        return replace(score, problem=str(error))
    spent = time.process_time() - cpu, time.perf_counter() - wall
    tell(f"{label}: pictures", 0, 1)
    score = replace(
        _measured(known, result, score),
        cpu_s=round(spent[0], 4),
        wall_s=round(spent[1], 4),
        measures=grid_measures(known, store, result.solution.layout, parts(result), skip),
    )
    tell(f"{label}: pictures", 1, 1)
    return score


def parts(result: StitchResult) -> list[list[str]]:
    """Return the ids of the tiles of each connected part, the largest first."""
    found: dict[int, list[str]] = {}
    for tile, component in result.solution.component.items():
        found.setdefault(component, []).append(tile)
    return sorted(found.values(), key=len, reverse=True)


def _measured(known: Known, result: StitchResult, score: GridScore) -> GridScore:
    solved = result.solution.layout
    there = aligned(solved, known.truth, parts(result))
    rich = {i for pair in known.textured for i in pair}
    errors: dict[bool, list[float]] = {True: [], False: []}
    for tile in there:
        off = np.linalg.norm(tile.to_world(tile.corners) - known.truth[tile.id].world_corners, axis=1)
        errors[tile.id in rich] += [round(float(v), 6) for v in off]
    textured, weak = ([p for p in some if _both(p, solved)] for some in (known.textured, known.weak))
    failed = [sum(not _overlap(known, solved, p) <= FAIL_PX for p in some) for some in (textured, weak)]
    corners = (corner_error_px(true_to_fixed(solved, *p), known.truth, *p) for p in textured)
    return replace(
        score,
        by_stage=sum(how == "stage" for how in result.placed_by.values()),
        components=len(result.solution.component_sizes),
        textured_px=tuple(errors[True]),
        other_px=tuple(errors[False]),
        pair_corner_px=tuple(tuple(round(float(v), 6) for v in e) for e in corners),
        textured_pairs=len(textured),
        weak_pairs=len(weak),
        textured_failed=failed[0],
        weak_failed=failed[1],
    )


def _both(pair: Pair, layout: Layout) -> bool:
    return pair[0] in layout and pair[1] in layout


def _overlap(known: Known, solved: Layout, pair: Pair) -> float:
    return overlap_error_px(true_to_fixed(solved, *pair), known.truth, *pair)
