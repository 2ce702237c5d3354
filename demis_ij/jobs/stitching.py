"""A document in, a run folder out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij import formats, images
from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import all_paths, common_canvas, draw_mosaics, make_preview, mosaic_targets
from demis_ij.jobs.plans import JobResult, StitchJob, check_parts, ready_sections, settings_of
from demis_ij.jobs.solved_layouts import check_project_out, write_solved_layout
from demis_ij.records import Affine, Layout, Tile
from demis_ij.report import write_csv, write_report
from demis_ij.runs import RunFolder, check_folder, fingerprint, slug, solution_json, write_json
from demis_ij.stitch import AXES, Progress, StitchResult, find_axes, stitch, usable, with_axes


def run_stitch(
    document: Document,
    out: Path,
    job: StitchJob,
    *,
    progress: Progress | None = None,
    truth: Layout | None = None,
    on_section: Callable[[str], None] | None = None,
) -> JobResult:
    """Stitch every section of a document into a run folder: solution, solved layout, mosaics, report.

    Parameters
    ----------
    document : Document
        What was read.
    out : Path
        The run folder; a run with the same settings is gone on with.
    job : StitchJob
        What to do.
    progress : callable, optional
        Told how far the work is.
    truth : Layout, optional
        Where the tiles really lie, for the report of made-up data.
    on_section : callable, optional
        Told the name of each section before it begins.

    Raises
    ------
    InputError
        When something given cannot be used; nothing of the user's was changed then.
    """
    tell = progress or (lambda _what, _done, _all: None)
    store = TileStore(clip=job.config.clahe_clip)
    sections, notes = ready_sections(document, job, store)
    settings = settings_of(document, job)
    check_project_out(document, job, out)
    if not check_folder(out, settings):
        check_parts(job.config)
    folder = RunFolder(out, settings)
    results: list[StitchResult] = []
    left_out: dict[str, list[Tile]] = {}
    for section in sections:
        if on_section:
            on_section(section.section)
        layout, found = oriented(section, job.config, job.stage_axes, store, tell, folder)
        notes += found
        memory = folder.memory(section.section)
        result = stitch(layout, job.config, store=store, memory=memory, progress=tell)
        results.append(result)
        left_out[section.section] = placed_beside_neighbours(layout, result)
    if on_section:
        on_section("")
    canvas = common_canvas([r.solution.layout for r in results])
    pixel_size = next((r.layout.pixel_size for r in results if r.layout.pixel_size), None)
    solution = solution_json(results, canvas.origin, pixel_size, left_out)
    broken = {r.layout.section: _broken(r, store) for r in results}
    warnings = [*document.warnings, *notes, *(w for r in results for w in _told(r, broken[r.layout.section]))]
    state = fingerprint([solution["tiles"], solution["pairs"]])
    files = {"solution": folder.path / "solution.json"}
    mosaics = mosaic_targets(folder, results, job)
    if not folder.is_done("mosaic", state, all_paths(mosaics)):
        write_json(files["solution"], {**solution, "warnings": warnings})  # the mosaic may take long
    layouts = _with_left_out(results, left_out)
    files |= write_solved_layout(document, layouts, folder, state, job, warnings)
    if job.write_mosaic:
        said = draw_mosaics(folder, results, mosaics, canvas, job, store, tell, state)
        known = tuple(f"tile {tile_id} is left out" for found in broken.values() for tile_id in found)
        warnings += [line for line in said if not line.startswith(known)]
        files |= {f"mosaic {kind}": path for kind, path in mosaics[0].items()}
    write_json(files["solution"], {**solution, "warnings": warnings})
    files |= _report(folder, results, store, truth, document.path.name, state, tell)
    lost = _lost(document, layouts, files)
    drawn = tuple(mosaics) if job.write_mosaic else ()
    return JobResult(tuple(results), files, tuple(warnings), folder.resumed, lost, drawn, canvas)


def _broken(result: StitchResult, store: TileStore) -> dict[str, str]:
    """Return the tiles whose header is right and whose pixels cannot be read, and why; they matched with nothing."""
    found = {}
    for tile_id, how in result.placed_by.items():
        if how == "stage":
            try:
                store.mask(result.layout[tile_id])
            except InputError as error:
                found[tile_id] = str(error)
    return found


def _told(result: StitchResult, broken: Mapping[str, str]) -> list[str]:
    """Return the warnings of a section, with one line for a tile that cannot be read instead of what comes of it."""
    follows = tuple(f"tile {tile_id}: matched with no neighbour" for tile_id in broken)
    kept = [line for line in result.warnings if not line.startswith(follows)]
    return _without_loftr(result) + [f"tile {tile_id}: {why}" for tile_id, why in broken.items()] + kept


def _without_loftr(result: StitchResult) -> list[str]:
    """Return a line when ``auto`` had to do without LoFTR, which its pairs remember."""
    reasons = (reason for pair in result.pairs for _, reason in (*pair.tried, ("", getattr(pair, "reason", ""))))
    found = next((reason for reason in reasons if reason.startswith("loftr cannot be used")), None)
    return [found] if found else []


def _lost(document: Document, layouts: Sequence[Layout], files: Mapping[str, Path]) -> tuple[str, ...]:
    """Return what the solved layout in the user's own format does not hold of the solution."""
    if "layout" not in files:
        return ()
    lost = formats.losses("tileconfig" if document.format == "grid" else document.format, layouts)
    return (f"{files['layout'].name} cannot hold {'; '.join(lost)}: {files['project'].name} does",) if lost else ()


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


def _with_left_out(results: Sequence[StitchResult], left_out: Mapping[str, Sequence[Tile]]) -> list[Layout]:
    """Return the solved layouts with the tiles that were not looked at, complete."""
    solved = [r.solution.layout for r in results]
    return [replace(s, tiles=(*s.tiles, *left_out.get(s.section, ()))) for s in solved]


def _report(
    folder: RunFolder,
    results: Sequence[StitchResult],
    store: TileStore,
    truth: Layout | None,
    title: str,
    state: str,
    tell: Progress,
) -> dict[str, Path]:
    """Write the page and the tables of seams, unless they are there; return where they are."""
    page = folder.path / "report.html"
    tables = {
        report_name(r, results): folder.path
        / ("seams.csv" if len(results) == 1 else f"seams_{slug(r.layout.section)}.csv")
        for r in results
    }
    files = {"report": page, "seams": next(iter(tables.values()))}
    if folder.is_done("report", state, [page, *tables.values()]):
        return files
    tell("report", 0, 1)
    named = {report_name(r, results): r for r in results}
    previews = {name: make_preview(r, store) for name, r in named.items()}
    write_report(page, named, previews=previews, store=store, truth=truth, title=title)
    for name, r in named.items():
        write_csv(tables[name], r)
    folder.mark_done("report", state)
    tell("report", 1, 1)
    return files


def report_name(result: StitchResult, results: Sequence[StitchResult]) -> str:
    """Return what a result is called in the report."""
    return result.config.matcher if len(results) == 1 else f"section {result.layout.section}"


def oriented(
    layout: Layout, config: StitchConfig, given: str | None, store: TileStore, tell: Progress, folder: RunFolder
) -> tuple[Layout, list[str]]:
    """Return the layout under the stage axes given or found, and what to say of it; what was found is remembered."""
    if given:
        return with_axes(images.with_shapes(layout)[0], given), []
    if any(t.locked for t in layout):
        return layout, []  # locked tiles say where they lie: nothing is to be flipped
    mark = f"axes-{slug(layout.section)}"
    known = folder.notes(mark)
    if not known:
        axes, scores = find_axes(usable(layout, config)[0], config, store, progress=tell)
        known = [axes, f"{100 * scores[axes]:.0f} % of neighbours agree, {100 * scores[AXES[0]]:.0f} % as written"]
        folder.mark_done(mark, "", known)
    if known[0] == AXES[0]:
        return layout, []
    note = f"section {layout.section}: stage axes {known[0]} are used ({known[1]}; --stage-axes decides)"
    return with_axes(images.with_shapes(layout)[0], known[0]), [note]


def summary(result: JobResult) -> dict[str, Any]:
    """Return what a program wants to know of a job, as JSON types."""
    pairs = [p for r in result.results for p in r.pairs]
    residual = [v for r in result.results for v in r.solution.pair_residual_px.values() if np.isfinite(v)]
    placed = [how for r in result.results for how in r.placed_by.values()]
    return {
        "tiles": len(placed),
        "placed_by": {how: placed.count(how) for how in sorted(set(placed))},
        "pairs": len(pairs),
        "pairs_accepted": len(residual),
        "median_residual_px": float(np.median(residual)) if residual else None,
        "components": [r.solution.component_sizes for r in result.results],
        "files": {name: str(path) for name, path in result.files.items()},
        "warnings": list(result.warnings),
        "notes": list(result.notes),
        "resumed": result.resumed,
        "seconds": {k: round(v, 2) for r in result.results for k, v in r.timings_s.items()},
    }
