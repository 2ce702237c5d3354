"""Whole jobs, as the command line and the worker call them: a document in, a run folder out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij import formats, images
from demis_ij.config import RenderConfig, StitchConfig, from_dict, to_dict
from demis_ij.errors import FormatError, InputError
from demis_ij.formats import Document
from demis_ij.formats.trakem2 import is_solved_copy, solved_name
from demis_ij.images import TileStore
from demis_ij.pairs import neighbours
from demis_ij.protocols import SINKS
from demis_ij.records import Affine, Layout, PairMatch, Tile
from demis_ij.render import Canvas, Rendered, common_dtype, preview, render, solve_intensity
from demis_ij.report import Preview, write_csv, write_report
from demis_ij.runs import (
    DiskMemory,
    RunFolder,
    check_folder,
    fingerprint,
    make_folder,
    slug,
    solution_json,
    write_json,
)
from demis_ij.stitch import (
    AUTO,
    AXES,
    Progress,
    StitchResult,
    find_axes,
    make_matcher,
    make_solver,
    stitch,
    usable,
    with_axes,
)

SUFFIX = {"ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr", "png": ".png"}


@dataclass(frozen=True, kw_only=True)
class StitchJob:
    """What to do with a document.

    Attributes
    ----------
    config, render : StitchConfig, RenderConfig
        How.
    sections : tuple of str
        Only these; all when empty.
    stage_axes : str or None
        Flips and swaps of the stage; found by trying when None.
    images_only : bool
        Move tiles although annotations would be left behind.
    project_out : Path or None
        Where the solved layout goes; beside the original (TrakEM2) when None.
    relink : Path or None
        Where moved images are.
    write_mosaic : bool
        False stops after the solution and the report.
    read_options : mapping
        How the layout was read, as JSON types, so that the report can be made anew.
    """

    config: StitchConfig = field(default_factory=StitchConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    sections: tuple[str, ...] = ()
    stage_axes: str | None = None
    images_only: bool = False
    project_out: Path | None = None
    relink: Path | None = None
    write_mosaic: bool = True
    read_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job made.

    Attributes
    ----------
    results : tuple of StitchResult
        One a section.
    files : mapping of str to Path
        What was written, by what it is.
    warnings : tuple of str
        One line each, of all sections.
    resumed : bool
        Whether an earlier run was gone on with.
    notes : tuple of str
        What is good to know and no flaw.
    """

    results: tuple[StitchResult, ...]
    files: Mapping[str, Path]
    warnings: tuple[str, ...]
    resumed: bool
    notes: tuple[str, ...] = ()


def chosen_sections(document: Document, job: StitchJob) -> list[Layout]:
    """Return the sections to work on. Raises `InputError` for unknown ones and for annotations left behind."""
    names = dict.fromkeys(job.sections)
    chosen = [document[name] for name in names] if names else list(document.layouts)
    if not chosen:
        msg = f"{document.path}: no section to stitch"
        raise InputError(msg)
    held = {s.section: document.annotations[s.section] for s in chosen if document.annotations.get(s.section)}
    if held and not job.images_only:
        found = "; ".join(
            f"section {name}: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}" for name, kinds in held.items()
        )
        msg = (
            f"{document.path}: annotations lie in world coordinates and would stay behind when tiles move ({found}). "
            "Stitch before annotating, or use --images-only"
        )
        raise InputError(msg)
    return chosen


def ready_sections(document: Document, job: StitchJob, store: TileStore) -> tuple[list[Layout], list[str]]:
    """Return the sections that can be stitched, and a warning for each that cannot. Nothing is written.

    Raises
    ------
    InputError
        When an option does not fit, or no section has a tile that can be read.
    """
    if job.stage_axes is not None and job.stage_axes not in AXES:
        msg = f"stage axes {job.stage_axes!r}: needed one of {', '.join(AXES)}"
        raise InputError(msg)
    ready, problems = [], []
    for section in chosen_sections(document, job):
        if job.stage_axes not in {None, AXES[0]} and any(t.locked for t in section):
            msg = f"section {section.section}: --stage-axes would move its locked tiles: unlock them first"
            raise InputError(msg)
        try:
            known, _ = usable(section, job.config)
            _read_one(known, store)
        except InputError as error:
            problems.append(error)
        else:
            ready.append(_with_pixel_size(section))
    if not ready:
        raise problems[0]
    return ready, [f"{error}; the section is left out" for error in problems]


def _read_one(layout: Layout, store: TileStore) -> None:
    """Read the first tile that can be read. Raises `InputError` when there is none."""
    problem: InputError | None = None
    for tile in layout:
        try:
            store.image(tile)
        except InputError as error:
            problem = problem or error
        else:
            return
    msg = f"section {layout.section!r}: no tile can be read; the first: {problem}"
    raise InputError(msg)


def check_parts(config: StitchConfig) -> None:
    """Make the solver and the matchers once, so that what is missing is known before anything is written.

    Raises
    ------
    InputError, WeightsError
        When a package, a device or weights are missing, or the solver does not know the model.
    """
    make_solver(config)
    for name in AUTO if config.matcher == "auto" else (config.matcher,):
        if config.matcher == "auto" and name == "loftr" and config.weights == "shipped" and config.device == "auto":
            continue  # nothing was asked for; without it the pairs say so and the next matcher takes over
        make_matcher(name, config)


def plan(document: Document, job: StitchJob, out: Path) -> dict[str, Any]:
    """Return what would be done: one entry a section, and the folder; nothing is written.

    Raises
    ------
    InputError
        When the job would be refused.
    """
    sections, warnings = ready_sections(document, job, TileStore())
    resumes = check_folder(out, _settings(document, job))
    project = _project_target(document, job)
    entries = []
    for section in sections:
        layout, found = usable(section, job.config)
        x0, y0, x1, y1 = layout.bounds()
        entries.append(
            {
                "section": section.section,
                "tiles": len(layout),
                "pairs": len(neighbours(layout)),
                "mosaic_px": [round(x1 - x0), round(y1 - y0)],
                "warnings": found,
            }
        )
    return {
        "dry_run": True,
        "sections": entries,
        "out": str(out),
        "resumes": resumes,
        "project": str(project or out / "project.xml"),
        "mosaics": list(job.render.formats) if job.write_mosaic else [],
        "warnings": [*document.warnings, *warnings],
    }


def _stamp(tile: Tile) -> list[Any]:
    """Return what tells whether a tile's image has changed, without reading it."""
    try:
        found = tile.path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _settings(document: Document, job: StitchJob) -> dict[str, Any]:
    chosen = chosen_sections(document, job)
    stamps = [[t.id, str(t.path.absolute()), t.to_world.rows, _stamp(t)] for s in chosen for t in s]
    return {
        "layout": os.path.abspath(document.path),  # noqa: PTH100 - links are kept as the user named them
        "layout_sha256": document.digest,
        "tiles_sha256": fingerprint(stamps),
        "stitch": to_dict(job.config),
        "render": {**to_dict(job.render), "formats": list(job.render.formats)},
        "sections": list(dict.fromkeys(job.sections)),
        "stage_axes": job.stage_axes,
        "images_only": job.images_only,
        "project_out": str(job.project_out.absolute()) if job.project_out else None,
        "relink": str(job.relink.absolute()) if job.relink else None,
        "write_mosaic": job.write_mosaic,
        "read": dict(job.read_options),
    }


def _with_pixel_size(layout: Layout) -> Layout:
    """Return the layout with the pixel size that its first readable images say, where it says none itself."""
    if layout.pixel_size is not None:
        return layout
    for tile in [t for t in layout if t.path.is_file()][:3]:
        try:
            found = images.pixel_size(tile.path)
        except InputError:
            continue  # an unreadable tile is named where tiles are read
        if found:
            return replace(layout, pixel_size=found)
    return layout


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
    store = TileStore()
    sections, notes = ready_sections(document, job, store)
    settings = _settings(document, job)
    _check_project_out(document, job, out)
    if not check_folder(out, settings):
        check_parts(job.config)
    folder = RunFolder(out, settings)
    results: list[StitchResult] = []
    left_out: dict[str, list[Tile]] = {}
    for section in sections:
        if on_section:
            on_section(section.section)
        layout, found = _oriented(section, job.config, job.stage_axes, store, tell, folder)
        notes += found
        memory = folder.memory(section.section)
        result = stitch(layout, job.config, store=store, memory=memory, progress=tell)
        results.append(result)
        left_out[section.section] = placed_beside_neighbours(layout, result)
    if on_section:
        on_section("")
    canvas = _common_canvas([r.solution.layout for r in results])
    pixel_size = next((r.layout.pixel_size for r in results if r.layout.pixel_size), None)
    solution = solution_json(results, canvas.origin, pixel_size, left_out)
    broken = {r.layout.section: _broken(r, store) for r in results}
    warnings = [*document.warnings, *notes, *(w for r in results for w in _told(r, broken[r.layout.section]))]
    state = fingerprint([solution["tiles"], solution["pairs"]])
    files = {"solution": folder.path / "solution.json"}
    mosaics = _mosaic_targets(folder, results, job)
    if not folder.is_done("mosaic", state, _all_paths(mosaics)):
        write_json(files["solution"], {**solution, "warnings": warnings})  # the mosaic may take long
    layouts = _with_left_out(results, left_out)
    files |= write_solved_layout(document, layouts, folder, state, job, warnings)
    if job.write_mosaic:
        said = _mosaics(folder, results, mosaics, canvas, job, store, tell, state)
        known = tuple(f"tile {tile_id} is left out" for found in broken.values() for tile_id in found)
        warnings += [line for line in said if not line.startswith(known)]
        files |= {f"mosaic {kind}": path for kind, path in mosaics[0].items()}
    write_json(files["solution"], {**solution, "warnings": warnings})
    files |= _report(folder, results, store, truth, document.path.name, state, tell)
    return JobResult(tuple(results), files, tuple(warnings), folder.resumed, _lost(document, layouts, files))


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
        _report_name(r, results): folder.path
        / ("seams.csv" if len(results) == 1 else f"seams_{slug(r.layout.section)}.csv")
        for r in results
    }
    files = {"report": page, "seams": next(iter(tables.values()))}
    if folder.is_done("report", state, [page, *tables.values()]):
        return files
    tell("report", 0, 1)
    named = {_report_name(r, results): r for r in results}
    previews = {name: make_preview(r, store) for name, r in named.items()}
    write_report(page, named, previews=previews, store=store, truth=truth, title=title)
    for name, r in named.items():
        write_csv(tables[name], r)
    folder.mark_done("report", state)
    tell("report", 1, 1)
    return files


def _report_name(result: StitchResult, results: Sequence[StitchResult]) -> str:
    return result.config.matcher if len(results) == 1 else f"section {result.layout.section}"


def _oriented(
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


def _common_canvas(layouts: Sequence[Layout]) -> Canvas:
    """Return one canvas for all sections, so that their mosaics lie on top of each other."""
    each = [Canvas.of(layout) for layout in layouts]
    x0, y0 = min(c.origin[0] for c in each), min(c.origin[1] for c in each)
    x1 = max(c.origin[0] + c.shape[1] for c in each)
    y1 = max(c.origin[1] + c.shape[0] for c in each)
    return Canvas((x0, y0), (y1 - y0, x1 - x0))


def make_preview(result: StitchResult, store: TileStore, max_side_px: int = 1600) -> Preview:
    """Return a small picture of the mosaic for the report; tiles that cannot be read are left out of it."""
    layout = result.solution.layout
    image, scale = preview(
        layout,
        store,
        max_side_px=max_side_px,
        intensity=solve_intensity(layout, store),
        on_unreadable=lambda _tile, _error: None,  # named once, where the mosaic is drawn
    )
    x, y = Canvas.of(layout, scale).from_world.inverse([0.0, 0.0])
    return Preview(image, scale, (float(x), float(y)))


# --- solved layouts -------------------------------------------------------------------------------------------------


def _project_target(document: Document, job: StitchJob) -> Path | None:
    """Return where the solved copy goes first of all, None for the run folder."""
    if document.format != "trakem2":
        return job.project_out
    name = solved_name(document.path.name)
    if job.project_out is None:
        return document.path.parent / name
    if job.project_out.is_dir() or not job.project_out.suffix:
        return job.project_out / name
    return job.project_out


def _check_project_out(document: Document, job: StitchJob, out: Path) -> None:
    """Check ``--project-out`` before anything is done. Raises `InputError`."""
    target = job.project_out
    if target is None:
        return
    parent = next(p for p in (target, *target.absolute().parents) if p.exists() and not (p == target and p.is_file()))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problem = "cannot be written" if parent.is_dir() else "is a file"
        msg = f"--project-out {target}: {parent} {problem}"
        raise InputError(msg)
    if not target.is_file():
        return
    written = RunFolder.noted(out, "project")
    ours = is_solved_copy(document, target) if document.format == "trakem2" else written[1:] == [_sha256(target)]
    if not ours:
        msg = f"--project-out {target} exists and is not a solved copy made here: choose another name"
        raise InputError(msg)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_solved_layout(
    document: Document,
    layouts: Sequence[Layout],
    folder: RunFolder,
    state: str,
    job: StitchJob,
    warnings: list[str],
) -> dict[str, Path]:
    """Write the solved layout in the document's own format, and as a TrakEM2 project where it was none.

    A TrakEM2 project gets its solved copy beside it (or at ``job.project_out``); other formats in the run folder. What
    a user has done to such a file since is never overwritten.
    """
    if document.format == "trakem2":
        return {"project": _trakem2(document, layouts, folder.path, job, warnings)}
    known = [Path(text) for text in folder.notes("project")[:1]]
    project = folder.path / "project.xml"
    if known and folder.is_done("project", state, [*known, project]):
        layout = known[0]
    else:
        layout = _own_format(document, layouts, folder, job, warnings)
        formats.write(project, layouts, format="trakem2", overwrite=True, allow_lossy=True)
        folder.mark_done("project", state, [str(layout.absolute()), _sha256(layout)])
    return {"layout": layout, "project": project}


def _own_format(
    document: Document, layouts: Sequence[Layout], folder: RunFolder, job: StitchJob, warnings: list[str]
) -> Path:
    """Write the solved layout in the format it came in (a folder of tiles: as a tile configuration)."""

    def write(target: Path, *, overwrite: bool) -> Path:
        if document.format != "grid":
            return formats.write_solved(document, layouts, target, overwrite=overwrite, allow_lossy=True)
        path = target if target.suffix and not target.is_dir() else target / "TileConfiguration.registered.txt"
        return formats.write(path, layouts, format="tileconfig", overwrite=overwrite, allow_lossy=True)

    if job.project_out is None:
        return write(folder.path, overwrite=True)
    try:  # a file named as such was checked to be our own before anything was done
        return write(job.project_out, overwrite=job.project_out.is_file())
    except InputError as error:
        warnings.append(f"{error}; the solved layout is in {folder.path} instead")
        return write(folder.path, overwrite=True)


def _trakem2(document: Document, layouts: Sequence[Layout], out: Path, job: StitchJob, warnings: list[str]) -> Path:
    """Write the solved project; a file of that name that is more than our own earlier output keeps its place."""
    first = _project_target(document, job)
    if first is None:
        return formats.write_solved(document, layouts, out, overwrite=True)
    if job.project_out is None and not os.access(first.parent, os.W_OK):
        warnings.append(f"{first.parent} cannot be written: the solved project is in {out}")
        first = out / first.name
    target = first
    number = 1
    while target.exists() and not is_solved_copy(document, target):
        number += 1
        head, _, tail = first.name.rpartition(".xml")
        target = first.with_name(f"{head}-{number}.xml{tail}")
    if target != first:
        warnings.append(f"{first.name} holds more than a solved copy and is left alone: the new one is {target.name}")
    return formats.write_solved(document, layouts, target, overwrite=True)


# --- mosaics --------------------------------------------------------------------------------------------------------


def _mosaic_targets(folder: RunFolder, results: Sequence[StitchResult], job: StitchJob) -> list[dict[str, Path]]:
    """Return, for each section, the files of its mosaic by kind."""
    names = ["mosaic" if len(results) == 1 else f"mosaic_{slug(r.layout.section)}" for r in results]
    return [{kind: folder.path / (name + SUFFIX[kind]) for kind in job.render.formats} for name in names]


def _all_paths(targets: Sequence[Mapping[str, Path]]) -> list[Path]:
    return [path for each in targets for path in each.values()]


def _mosaics(
    folder: RunFolder,
    results: Sequence[StitchResult],
    targets: Sequence[Mapping[str, Path]],
    canvas: Canvas,
    job: StitchJob,
    store: TileStore,
    tell: Progress,
    state: str,
) -> list[str]:
    """Draw the mosaics that are not there yet; return what there is to say of any of them."""
    if folder.is_done("mosaic", state, _all_paths(targets)):
        return folder.notes("mosaic")
    notes: list[str] = []
    for r, paths in zip(results, targets, strict=True):
        stage = f"mosaic-{slug(r.layout.section)}"
        if not folder.is_done(stage, state, paths.values()):
            done = draw_mosaic(r.solution.layout, paths, job.render, store, canvas=canvas, progress=tell)
            folder.mark_done(stage, state, done.warnings)
        notes += folder.notes(stage)
    folder.mark_done("mosaic", state, notes)
    return notes


def draw_mosaic(
    layout: Layout,
    targets: Mapping[str, Path],
    config: RenderConfig,
    store: TileStore,
    *,
    canvas: Canvas | None = None,
    progress: Progress | None = None,
) -> Rendered:
    """Draw one section into files, by the kind of sink."""
    tell = progress or (lambda _what, _done, _all: None)
    dtype, _ = common_dtype(layout)  # a tile of another type is named where tiles are read
    return render(
        layout,
        store,
        [(SINKS[kind](), path) for kind, path in targets.items()],
        correct_intensity=config.correct_intensity,
        block_px=config.block_px,
        interpolation=config.interpolation,
        blend=config.blend,
        canvas=canvas,
        dtype=dtype,
        threads=0,
        progress=lambda done, total: tell("render", done, total),
    )


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


def run_compare(
    document: Document,
    out: Path,
    jobs: Sequence[StitchJob],
    *,
    progress: Progress | None = None,
    on_matcher: Callable[[str], None] | None = None,
    truth: Layout | None = None,
) -> dict[str, Any]:
    """Stitch the same section by several matchers, and show them side by side in ``out/report.html``.

    Returns
    -------
    dict
        ``table``: one row a matcher and section; ``report``: the page; ``warnings``; ``resumed``.

    Raises
    ------
    InputError, WeightsError
        When something given cannot be used; nothing was written then.
    """
    tell = progress or (lambda _what, _done, _all: None)
    free = [replace(j, images_only=True) for j in jobs]  # nothing is moved in the user's project
    store = TileStore()
    sections, warnings = ready_sections(document, free[0], store)
    settings = {"compare": [_settings(document, j) for j in free]}
    if not check_folder(out, settings):
        for job in free:
            check_parts(job.config)
    folder = RunFolder(out, settings)
    warnings = [*document.warnings, *warnings]
    results: dict[str, StitchResult] = {}
    for section in sections:
        layout, found = _oriented(section, jobs[0].config, jobs[0].stage_axes, store, tell, folder)
        warnings += found
        for job in jobs:
            name = job.config.matcher if len(document.layouts) == 1 else f"{job.config.matcher}, {section.section}"
            if on_matcher:
                on_matcher(name)
            memory = folder.memory(name)
            results[name] = stitch(layout, job.config, store=store, memory=memory, progress=tell)
            warnings += [f"{name}: {w}" for w in results[name].warnings]
    if on_matcher:
        on_matcher("")
    tell("report", 0, 1)
    previews = {name: make_preview(r, store) for name, r in results.items()}
    page = out / "report.html"
    write_report(page, results, previews=previews, store=store, truth=truth, title=document.path.name)
    tell("report", 1, 1)
    table = [_row(name, r) for name, r in results.items()]
    return {"table": table, "report": str(page), "warnings": warnings, "resumed": folder.resumed}


def _row(name: str, r: StitchResult) -> dict[str, Any]:
    believed = [p for p in r.pairs if isinstance(p, PairMatch)]
    residual = [v for v in r.solution.pair_residual_px.values() if np.isfinite(v)]
    return {
        "matcher": name,
        "pairs": len(r.pairs),
        "accepted": len(believed),
        "inliers": int(np.median([p.inliers for p in believed])) if believed else None,
        "residual_px": float(np.median(residual)) if residual else None,
        "components": len(r.solution.component_sizes),
        "s_per_pair": r.timings_s["match"] / max(1, len(r.pairs)),
    }


def run_render(
    layouts: Sequence[Layout],
    out: Path,
    config: RenderConfig,
    *,
    progress: Progress | None = None,
    keep_frame: bool = False,
) -> tuple[list[Path], list[str]]:
    """Draw layouts as they stand, and return the files and the warnings; existing files are not overwritten.

    Parameters
    ----------
    layouts : sequence of Layout
        One a section.
    out : Path
        Folder for the mosaics.
    keep_frame : bool
        The layouts are in mosaic px already (from ``solution.json``): pixel (0, 0) stays where it is.

    Raises
    ------
    InputError
        When no tile can be read, or a file exists already; nothing was written then.
    """
    store = TileStore()
    drawn, warnings = _drawable(layouts, store)
    canvas = _common_canvas(drawn)
    if keep_frame:
        rows, cols = canvas.origin[1] + canvas.shape[0], canvas.origin[0] + canvas.shape[1]
        canvas = Canvas((min(0, canvas.origin[0]), min(0, canvas.origin[1])), (rows, cols))
        if canvas.origin != (0, 0):
            warnings.append(f"pixel (0, 0) of the mosaic is pixel {canvas.origin} of the solution's: tiles lie there")
    names = ["mosaic" if len(layouts) == 1 else f"mosaic_{slug(layout.section)}" for layout in drawn]
    targets = [{kind: out / (name + SUFFIX[kind]) for kind in config.formats} for name in names]
    if not config.formats:
        msg = "nothing to draw: name a --mosaic format"
        raise InputError(msg)
    there = next((path for path in _all_paths(targets) if path.exists()), None)
    if there is not None:
        msg = f"{there} exists already: choose another --out"
        raise InputError(msg)
    make_folder(out)
    for layout, paths in zip(drawn, targets, strict=True):
        warnings += draw_mosaic(layout, paths, config, store, canvas=canvas, progress=progress).warnings
    return _all_paths(targets), warnings


def _drawable(layouts: Sequence[Layout], store: TileStore) -> tuple[list[Layout], list[str]]:
    """Return the sections with the tiles that can be read, and a warning for what cannot. Raises `InputError`."""
    drawn: list[Layout] = []
    warnings: list[str] = []
    problem: InputError | None = None
    for layout in layouts:
        known, found, bad = images.with_shapes(_with_pixel_size(layout))
        usable_ones = replace(known, tiles=tuple(t for t in known if t.id not in bad))
        try:
            _read_one(usable_ones if len(usable_ones) else known, store)
        except InputError as error:
            problem = problem or error
            warnings.append(f"{error}; the section is left out")
        else:
            drawn.append(usable_ones)
            warnings += found
    if problem and not drawn:
        raise problem
    return drawn, warnings


def rebuild_report(run: Path, settings: Any, page: Path, read: Callable[..., Document]) -> Path:
    """Write the report of a finished run anew, from what the run folder remembers; no pair is matched again.

    Raises
    ------
    InputError
        When the folder holds no finished run of ``stitch``, or the layout or a tile has changed since.
    """
    if not isinstance(settings, Mapping) or "stitch" not in settings:
        msg = f"{run} holds no run of 'stitch'"
        raise InputError(msg)
    if not (run / "solution.json").is_file() or not (run / "matches").is_dir():
        msg = f"{run} holds a run that is not finished: run the same 'stitch' command again"
        raise InputError(msg)
    try:
        options = dict(settings["read"])
        job = StitchJob(
            config=from_dict(StitchConfig, settings["stitch"]),
            render=from_dict(RenderConfig, settings["render"]),
            sections=tuple(settings["sections"]),
            stage_axes=settings["stage_axes"],
            images_only=settings["images_only"],
            project_out=Path(settings["project_out"]) if settings["project_out"] else None,
            relink=Path(settings["relink"]) if settings["relink"] else None,
            write_mosaic=settings["write_mosaic"],
            read_options=options,
        )
        path = Path(settings["layout"])
    except (KeyError, TypeError) as error:
        raise FormatError(run / "run.json", f"holds no settings of a run: {error!r}") from error
    document = read(path, relink=job.relink, **options)
    folder = RunFolder(run, _settings(document, job))  # refused where layout or tiles have changed
    store = TileStore()
    results = []
    for section in ready_sections(document, job, store)[0]:
        layout, _ = _oriented(section, job.config, job.stage_axes, store, lambda _w, _d, _a: None, folder)
        memory = DiskMemory(run / "matches" / f"{slug(section.section)}.jsonl")
        results.append(stitch(layout, job.config, store=store, memory=memory))
    named = {_report_name(r, results): r for r in results}
    previews = {name: make_preview(r, store) for name, r in named.items()}
    write_report(page, named, previews=previews, store=store, title=document.path.name)
    return page
