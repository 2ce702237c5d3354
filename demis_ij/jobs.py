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
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.pairs import neighbours
from demis_ij.protocols import SINKS
from demis_ij.records import Layout, PairMatch
from demis_ij.render import Canvas, Rendered, preview, render, solve_intensity
from demis_ij.report import Preview, write_csv, write_report
from demis_ij.runs import DiskMemory, RunFolder, fingerprint, slug, solution_json, write_json
from demis_ij.stitch import Progress, StitchResult, find_axes, stitch, usable, with_axes

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
    """

    results: tuple[StitchResult, ...]
    files: Mapping[str, Path]
    warnings: tuple[str, ...]
    resumed: bool


def chosen_sections(document: Document, job: StitchJob) -> list[Layout]:
    """Return the sections to work on. Raises `InputError` for unknown ones and for annotations left behind."""
    chosen = [document[name] for name in job.sections] if job.sections else list(document.layouts)
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


def plan(document: Document, job: StitchJob) -> list[dict[str, Any]]:
    """Return what would be done, one entry a section; nothing is written."""
    entries = []
    for section in chosen_sections(document, job):
        layout, warnings = usable(section, job.config)
        pairs = neighbours(layout)
        x0, y0, x1, y1 = layout.bounds()
        entries.append(
            {
                "section": section.section,
                "tiles": len(layout),
                "pairs": len(pairs),
                "mosaic_px": [round(x1 - x0), round(y1 - y0)],
                "warnings": warnings,
            }
        )
    return entries


def _digest(path: Path) -> str:
    if path.is_dir():
        return fingerprint(sorted(p.name for p in path.iterdir()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _settings(document: Document, job: StitchJob) -> dict[str, Any]:
    return {
        "layout": os.path.abspath(document.path),  # noqa: PTH100 - links are kept as the user named them
        "layout_sha256": document.digest or _digest(document.path),
        "tiles_sha256": fingerprint([[t.id, str(t.path), t.to_world.rows] for s in document.layouts for t in s]),
        "stitch": to_dict(job.config),
        "render": {**to_dict(job.render), "formats": list(job.render.formats)},
        "sections": list(job.sections),
        "stage_axes": job.stage_axes,
        "images_only": job.images_only,
        "project_out": str(job.project_out) if job.project_out else None,
        "relink": str(job.relink) if job.relink else None,
        "write_mosaic": job.write_mosaic,
        "read": dict(job.read_options),
    }


def _with_pixel_size(layout: Layout) -> Layout:
    if layout.pixel_size is not None or not len(layout):
        return layout
    for tile in layout.tiles[:3]:
        if tile.path.is_file():
            return replace(layout, pixel_size=images.pixel_size(tile.path))
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
    chosen = chosen_sections(document, job)
    folder = RunFolder(out, _settings(document, job))
    store = TileStore()
    results, axes_notes = [], []
    for section in chosen:
        if on_section:
            on_section(section.section)
        layout = _with_pixel_size(section)
        layout, note = _oriented(layout, job, store, tell)
        axes_notes += note
        memory = folder.memory(section.section)
        results.append(stitch(layout, job.config, store=store, memory=memory, progress=tell))
    files: dict[str, Path] = {}
    canvas = _common_canvas([r.solution.layout for r in results])
    pixel_size = next((r.layout.pixel_size for r in results if r.layout.pixel_size), None)
    solution = solution_json(results, canvas.origin, pixel_size)
    warnings = [*document.warnings, *axes_notes, *(w for r in results for w in r.warnings)]
    solution["warnings"] = warnings
    files["solution"] = folder.path / "solution.json"
    write_json(files["solution"], solution)
    files |= write_solved_layout(document, [r.solution.layout for r in results], folder.path, job, warnings)
    if job.write_mosaic:
        files |= _mosaics(folder, results, canvas, job, store, tell, fingerprint(solution["tiles"]))
    files["report"] = folder.path / "report.html"
    tell("report", 0, 1)
    named = {_report_name(r, results): r for r in results}
    previews = {name: make_preview(r, store) for name, r in named.items()}
    title = document.path.name
    write_report(files["report"], named, previews=previews, store=store, truth=truth, title=title)
    for name, r in named.items():
        seams = folder.path / ("seams.csv" if len(results) == 1 else f"seams_{slug(name)}.csv")
        write_csv(seams, r)
        files.setdefault("seams", seams)
    tell("report", 1, 1)
    return JobResult(tuple(results), files, tuple(warnings), folder.resumed)


def _report_name(result: StitchResult, results: Sequence[StitchResult]) -> str:
    return result.config.matcher if len(results) == 1 else f"section {result.layout.section}"


def _oriented(layout: Layout, job: StitchJob, store: TileStore, tell: Progress) -> tuple[Layout, list[str]]:
    """Return the layout under the stage axes given or found, and what to say of it."""
    if job.stage_axes:
        return with_axes(images.with_shapes(layout)[0], job.stage_axes), []
    ready, _ = usable(layout, job.config)
    axes, scores = find_axes(ready, job.config, store, progress=tell)
    if axes == "+x+y":
        return layout, []
    share = f"{100 * scores[axes]:.0f} % of neighbours agree, {100 * scores['+x+y']:.0f} % as written"
    note = f"section {layout.section}: stage axes {axes} are used ({share}; --stage-axes decides)"
    return with_axes(images.with_shapes(layout)[0], axes), [note]


def _common_canvas(layouts: Sequence[Layout]) -> Canvas:
    """Return one canvas for all sections, so that their mosaics lie on top of each other."""
    each = [Canvas.of(layout) for layout in layouts]
    x0, y0 = min(c.origin[0] for c in each), min(c.origin[1] for c in each)
    x1 = max(c.origin[0] + c.shape[1] for c in each)
    y1 = max(c.origin[1] + c.shape[0] for c in each)
    return Canvas((x0, y0), (y1 - y0, x1 - x0))


def make_preview(result: StitchResult, store: TileStore, max_side_px: int = 1600) -> Preview:
    """Return a small picture of the mosaic for the report."""
    layout = result.solution.layout
    image, scale = preview(layout, store, max_side_px=max_side_px, intensity=solve_intensity(layout, store))
    x, y = Canvas.of(layout, scale).from_world.inverse([0.0, 0.0])
    return Preview(image, scale, (float(x), float(y)))


def write_solved_layout(
    document: Document, layouts: Sequence[Layout], out: Path, job: StitchJob, warnings: list[str]
) -> dict[str, Path]:
    """Write the solved layout in the document's own format, and as a TrakEM2 project where it was none.

    A TrakEM2 project gets its solved copy beside it (or at ``job.project_out``); other formats in the run folder.
    """
    files: dict[str, Path] = {}
    if document.format == "trakem2":
        files["project"] = _trakem2(document, layouts, out, job, warnings)
        return files
    target = job.project_out or out
    if document.format == "grid":
        files["layout"] = formats.write(
            out / "TileConfiguration.registered.txt", layouts, format="tileconfig", overwrite=True, allow_lossy=True
        )
    else:
        files["layout"] = formats.write_solved(document, layouts, target, overwrite=True, allow_lossy=True)
    lost = formats.losses("tileconfig" if document.format == "grid" else document.format, layouts)
    if lost:
        warnings.append(f"{files['layout'].name} cannot hold {'; '.join(lost)}: the TrakEM2 project does")
    files["project"] = formats.write(out / "project.xml", layouts, format="trakem2", overwrite=True, allow_lossy=True)
    return files


def _trakem2(document: Document, layouts: Sequence[Layout], out: Path, job: StitchJob, warnings: list[str]) -> Path:
    """Write the solved project beside the original; nothing there is overwritten unless it is our own output."""
    if job.project_out is not None:
        return formats.write_solved(document, layouts, job.project_out, overwrite=False)
    if not os.access(document.path.parent, os.W_OK):
        warnings.append(f"{document.path.parent} cannot be written: the solved project is in {out}")
        return formats.write_solved(document, layouts, out, overwrite=True)
    return formats.write_solved(document, layouts, None, overwrite=True)


def _mosaics(
    folder: RunFolder,
    results: Sequence[StitchResult],
    canvas: Canvas,
    job: StitchJob,
    store: TileStore,
    tell: Progress,
    solution_hash: str,
) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for r in results:
        name = "mosaic" if len(results) == 1 else f"mosaic_{slug(r.layout.section)}"
        targets = {kind: folder.path / (name + SUFFIX[kind]) for kind in job.render.formats}
        for kind, path in targets.items():
            files.setdefault(f"mosaic {kind}", path)
        if folder.is_done(name, solution_hash, targets.values()):
            continue
        draw_mosaic(r.solution.layout, targets, job.render, store, canvas=canvas, progress=tell)
        folder.mark_done(name, solution_hash)
    return files


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
    return render(
        layout,
        store,
        [(SINKS[kind](), path) for kind, path in targets.items()],
        correct_intensity=config.correct_intensity,
        block_px=config.block_px,
        interpolation=config.interpolation,
        blend=config.blend,
        canvas=canvas,
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
        ``table``: one row a matcher and section; ``report``: the page; ``results``: the StitchResult of each row.
    """
    tell = progress or (lambda _what, _done, _all: None)
    settings = {"compare": [_settings(document, replace(j, images_only=True)) for j in jobs]}
    folder = RunFolder(out, settings)
    store = TileStore()
    results: dict[str, StitchResult] = {}
    for section in chosen_sections(document, replace(jobs[0], images_only=True)):
        layout, _ = _oriented(_with_pixel_size(section), jobs[0], store, tell)
        for job in jobs:
            name = job.config.matcher if len(document.layouts) == 1 else f"{job.config.matcher}, {section.section}"
            if on_matcher:
                on_matcher(name)
            memory = folder.memory(name)
            results[name] = stitch(layout, job.config, store=store, memory=memory, progress=tell)
    previews = {name: make_preview(r, store) for name, r in results.items()}
    page = out / "report.html"
    write_report(page, results, previews=previews, store=store, truth=truth, title=document.path.name)
    return {"table": [_row(name, r) for name, r in results.items()], "report": str(page)}


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
) -> list[Path]:
    """Draw layouts as they stand; existing files are not overwritten.

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
        When no tile can be read, or a file exists already.
    """
    ready = [images.with_shapes(layout) for layout in layouts]
    drawn = [replace(known, tiles=tuple(t for t in known if t.id not in bad)) for known, _, bad in ready]
    if not all(len(layout) for layout in drawn):
        msg = next((w for _, warnings, _ in ready for w in warnings), "no tile")
        raise InputError(msg)
    canvas = _common_canvas(drawn)
    if keep_frame:
        rows, cols = canvas.origin[1] + canvas.shape[0], canvas.origin[0] + canvas.shape[1]
        canvas = Canvas((min(0, canvas.origin[0]), min(0, canvas.origin[1])), (rows, cols))
    out.mkdir(parents=True, exist_ok=True)
    store = TileStore()
    files: list[Path] = []
    for layout in drawn:
        name = "mosaic" if len(drawn) == 1 else f"mosaic_{slug(layout.section)}"
        targets = {kind: out / (name + SUFFIX[kind]) for kind in config.formats}
        there = next((p for p in targets.values() if p.exists()), None)
        if there is not None:
            msg = f"{there} exists already: choose another --out"
            raise InputError(msg)
        draw_mosaic(layout, targets, config, store, canvas=canvas, progress=progress)
        files += targets.values()
    return files


def rebuild_report(run: Path, settings: Mapping[str, Any], page: Path, read: Callable[..., Document]) -> Path:
    """Write the report of a finished run anew, from what the run folder remembers; no pair is matched again.

    Raises
    ------
    InputError
        When the folder is not one of ``stitch``, or the layout has changed since.
    """
    if "stitch" not in settings:
        msg = f"{run} holds no run of 'stitch'"
        raise InputError(msg)
    options = dict(settings.get("read", {}))
    options["relink"] = Path(settings["relink"]) if settings.get("relink") else None
    document = read(Path(settings["layout"]), **options)
    job = StitchJob(
        config=from_dict(StitchConfig, settings["stitch"]),
        render=from_dict(RenderConfig, settings["render"]),
        sections=tuple(settings["sections"]),
        stage_axes=settings["stage_axes"],
        images_only=True,
        relink=options["relink"],
    )
    folder = run / "matches"
    if not folder.is_dir():
        msg = f"{run} remembers no pairs: run 'stitch' first"
        raise InputError(msg)
    store = TileStore()
    results = []
    for section in chosen_sections(document, job):
        layout, _ = _oriented(_with_pixel_size(section), job, store, lambda _w, _d, _a: None)
        memory = DiskMemory(folder / f"{slug(section.section)}.jsonl")
        results.append(stitch(layout, job.config, store=store, memory=memory))
    named = {_report_name(r, results): r for r in results}
    previews = {name: make_preview(r, store) for name, r in named.items()}
    write_report(page, named, previews=previews, store=store, title=document.path.name)
    return page
