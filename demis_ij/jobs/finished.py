"""Finished runs: opened again with the settings that they were made by, and their report made anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from demis_ij.config import RenderConfig, StitchConfig, from_dict
from demis_ij.errors import FormatError, InputError
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import make_preview
from demis_ij.jobs.plans import chosen_sections, ready_sections, settings_of
from demis_ij.jobs.reading import read_layout
from demis_ij.jobs.sections import report_name, work_on
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.jobs.volume.section_files import FOLDER, known_facts
from demis_ij.jobs.volume.solving import VolumeSection, in_volume
from demis_ij.jobs.volume.together import kept_volume
from demis_ij.records import Layout
from demis_ij.report import write_report
from demis_ij.report.section_facts import SectionFacts
from demis_ij.report.volume import write_volume_report
from demis_ij.runs import RunFolder, ends_as_written, occupied, read_json, slug


def reopen(run: Path, *, may_be_unfinished: bool = False) -> tuple[Document, StitchJob]:
    """Return the layout and the job that a run of ``stitch`` was made by.

    Parameters
    ----------
    run : Path
        The run folder.
    may_be_unfinished : bool
        Whether it need not have come to a solution.

    Raises
    ------
    InputError
        When the folder holds no such run, or its layout cannot be read any more.
    """
    settings = read_json(run / "run.json")
    if not isinstance(settings, Mapping) or "stitch" not in settings:
        msg = f"{run} holds no run of 'stitch'"
        raise InputError(msg)
    if not (may_be_unfinished or is_finished(run)):
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
    return read_layout(path, relink=job.relink, **options), job


def is_finished(run: Path) -> bool:
    """Return whether a run has come to a solution, and that is whole."""
    return (run / "solution.json").is_file() and (run / "matches").is_dir() and cut_off(run) is None


def cut_off(run: Path) -> Path | None:
    """Return a solution of a run, its own or a section's, that lacks its end; None where there is none.

    Only the ends of the files are read.
    """
    files = [run / "solution.json", *sorted((run / FOLDER).glob("*.json"))]
    return next((file for file in files if file.is_file() and not ends_as_written(file)), None)


def rebuild_report(run: Path, page: Path) -> Path:
    """Write the report of a finished run anew, from what the run folder remembers; no pair is matched again.

    The reports of a stack's sections go into a folder beside the page: ``sections`` in the run folder itself,
    ``NAME_sections`` for a page ``NAME.html`` elsewhere.

    Raises
    ------
    InputError
        When the folder holds no finished run of ``stitch``, or the layout or a tile has changed since.
    """
    document, job = reopen(run)
    with occupied(run):
        return _rebuilt(document, job, run, page)


def _rebuilt(document: Document, job: StitchJob, run: Path, page: Path) -> Path:
    """Write the report of a run that nobody else works in."""
    folder = RunFolder(
        run, settings_of(document, job), sections=chosen_sections(document, job)
    )  # refused where layout or tiles have changed
    sections = ready_sections(document, job, TileStore(1 << 26))[0]
    title = document.path.name
    if len(sections) == 1:
        _write_page(page, sections[0], job, folder, title)
        return page
    beside = page.parent / (FOLDER if page.absolute() == (run / "report.html").absolute() else f"{page.stem}_{FOLDER}")
    beside.mkdir(exist_ok=True)
    names = [section.section for section in sections]
    solved = kept_volume(folder, names, job.config) if job.config.across_z else {}
    facts, links = [], {}
    for section in sections:
        name = section.section
        known = known_facts(folder, name, solved[name].state if name in solved else "")
        if known is None:
            facts.append(SectionFacts(section=name, problem="was not stitched; its warning says why"))
            continue
        own = beside / f"{slug(name)}.html"
        _write_page(own, section, job, folder, f"{title}, section {name}", solved.get(name))
        facts.append(known)
        links[name] = f"{beside.name}/{own.name}"
    write_volume_report(page, facts, links, title=title, warnings=[line for f in facts for line in f.warnings])
    return page


def _write_page(
    page: Path, section: Layout, job: StitchJob, folder: RunFolder, title: str, solved: VolumeSection | None = None
) -> None:
    """Write the report of one section, where it was solved by itself or, if given, where the volume has it."""
    store = TileStore(clip=job.config.clahe_clip)
    done = work_on(section, job, folder, store)
    result = (done if solved is None else in_volume(done, solved)).result
    name = report_name(result, [result])
    write_report(page, {name: result}, previews={name: make_preview(result, store)}, store=store, title=title)
