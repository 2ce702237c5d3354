"""A document in, a run folder out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.faulty import broken_lines
from demis_ij.jobs.memory import checked_bytes
from demis_ij.jobs.mosaics import all_paths, common_canvas, draw_mosaics, make_preview, mosaic_targets
from demis_ij.jobs.plans import check_parts, chosen_sections, ready_sections, settings_of
from demis_ij.jobs.sections import report_name, work_on
from demis_ij.jobs.solved_layouts import check_project_out, losses_of, write_solved_layout
from demis_ij.jobs.stitch_job import JobResult, StitchJob
from demis_ij.jobs.totals import totals
from demis_ij.jobs.volume.stitching import run_volume
from demis_ij.pools import Pool, open_pool
from demis_ij.records import Layout
from demis_ij.report import write_csv, write_report
from demis_ij.runs import RunFolder, check_folder, fingerprint, occupied, solution_json, write_json
from demis_ij.stitch import Progress, StitchResult

CHECKING_BYTES = 1 << 26
"""What is kept of the tiles that are read only to see whether they can be."""


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
        What to do, and who does it.
    progress : callable, optional
        Told how far the work is.
    truth : Layout, optional
        Where the tiles really lie, for the report of made-up data.
    on_section : callable, optional
        Told the name of each section before it begins, where they are worked on one after the other.

    Raises
    ------
    InputError
        When something given cannot be used; nothing of the user's was changed then.
    """
    tell = progress or (lambda _what, _done, _all: None)
    begin = on_section or (lambda _name: None)
    sections, notes = ready_sections(document, job, TileStore(CHECKING_BYTES, clip=job.config.clahe_clip))
    settings = settings_of(document, job)
    check_project_out(document, job, out)
    chosen = chosen_sections(document, job)
    if not check_folder(out, settings, sections=chosen):
        check_parts(job.config)
    with open_pool(job.workers, job.dask, memory_bytes=job.memory_bytes) as pool:
        keep = checked_bytes(job, pool, sections[0], len(sections))
        with occupied(out):
            folder = RunFolder(out, settings, sections=chosen)
            if len(sections) > 1:
                return run_volume(
                    document, sections, notes, folder, job, settings,
                    pool=pool, keep_bytes=keep, tell=tell, on_section=begin, truth=truth,
                )  # fmt: skip
            begin(sections[0].section)
            store = TileStore(keep, clip=job.config.clahe_clip)
            return _run_section(document, sections[0], notes, folder, job, store, pool, tell, begin, truth)


def _run_section(
    document: Document,
    section: Layout,
    notes: list[str],
    folder: RunFolder,
    job: StitchJob,
    store: TileStore,
    pool: Pool,
    tell: Progress,
    begin: Callable[[str], None],
    truth: Layout | None,
) -> JobResult:
    """Stitch one section, its pairs spread over the workers."""
    done = work_on(section, job, folder, store, tell=tell, pool=pool)
    begin("")
    result, results = done.result, (done.result,)
    canvas = common_canvas([result.solution.layout])
    solution = solution_json(results, canvas.origin, result.layout.pixel_size, {section.section: done.left_out})
    warnings = [*document.warnings, *notes, *done.notes, *done.warnings]
    state = fingerprint([solution["tiles"], solution["pairs"]])
    files = {"solution": folder.path / "solution.json"}
    mosaics = mosaic_targets(folder, results, job)
    if not folder.is_done("mosaic", state, all_paths(mosaics)):
        write_json(files["solution"], {**solution, "warnings": warnings})  # the mosaic may take long
    files |= write_solved_layout(document, [done.layout], folder, state, job, warnings)
    if job.write_mosaic:
        said = draw_mosaics(folder, results, mosaics, canvas, job, store, tell, state, pool=pool)
        known = broken_lines(result.suspects)
        warnings += [line for line in said if not (known and line.startswith(known))]
        files |= {f"mosaic {kind}": path for kind, path in mosaics[0].items()}
    write_json(files["solution"], {**solution, "warnings": warnings})
    files |= _report(folder, result, store, truth, document.path.name, state, tell)
    lost = losses_of(document, [done.layout], files)
    return JobResult(
        results,
        files,
        tuple(warnings),
        folder.resumed,
        (*result.notes, *lost),
        tuple(mosaics) if job.write_mosaic else (),
        canvas,
    )


def _report(
    folder: RunFolder,
    result: StitchResult,
    store: TileStore,
    truth: Layout | None,
    title: str,
    state: str,
    tell: Progress,
) -> dict[str, Path]:
    """Write the page and the table of seams, unless they are there; return where they are."""
    page, seams = folder.path / "report.html", folder.path / "seams.csv"
    files = {"report": page, "seams": seams}
    if folder.is_done("report", state, [page, seams]):
        return files
    tell("report", 0, 1)
    name = report_name(result, [result])
    previews = {name: make_preview(result, store, folder=folder.path)}
    write_report(page, {name: result}, previews=previews, store=store, truth=truth, title=title)
    write_csv(seams, result)
    folder.mark_done("report", state, files=[page, seams])
    tell("report", 1, 1)
    return files


def summary(result: JobResult) -> dict[str, Any]:
    """Return what a program wants to know of a job, as JSON types."""
    told = totals(result)
    seconds = told.pop("seconds")
    return {
        **told,
        "files": {name: str(path) for name, path in result.files.items()},
        "warnings": list(result.warnings),
        "notes": list(result.notes),
        "resumed": result.resumed,
        "seconds": seconds,
    }
