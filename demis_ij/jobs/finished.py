"""Finished runs: opened again with the settings that they were made by, and their report made anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from demis_ij.config import RenderConfig, StitchConfig, from_dict
from demis_ij.errors import FormatError, InputError
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import make_preview
from demis_ij.jobs.plans import StitchJob, ready_sections, settings_of
from demis_ij.jobs.reading import read_layout
from demis_ij.jobs.stitching import oriented, report_name
from demis_ij.report import write_report
from demis_ij.runs import DiskMemory, RunFolder, read_json, slug
from demis_ij.stitch import stitch


def reopen(run: Path) -> tuple[Document, StitchJob]:
    """Return the layout and the job that a finished run of ``stitch`` was made by.

    Raises
    ------
    InputError
        When the folder holds no finished run, or its layout cannot be read any more.
    """
    settings = read_json(run / "run.json")
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
    return read_layout(path, relink=job.relink, **options), job


def rebuild_report(run: Path, page: Path) -> Path:
    """Write the report of a finished run anew, from what the run folder remembers; no pair is matched again.

    Raises
    ------
    InputError
        When the folder holds no finished run of ``stitch``, or the layout or a tile has changed since.
    """
    document, job = reopen(run)
    folder = RunFolder(run, settings_of(document, job))  # refused where layout or tiles have changed
    store = TileStore(clip=job.config.clahe_clip)
    results = []
    for section in ready_sections(document, job, store)[0]:
        layout, _ = oriented(section, job.config, job.stage_axes, store, lambda _w, _d, _a: None, folder)
        memory = DiskMemory(run / "matches" / f"{slug(section.section)}.jsonl")
        results.append(stitch(layout, job.config, store=store, memory=memory))
    named = {report_name(r, results): r for r in results}
    previews = {name: make_preview(r, store) for name, r in named.items()}
    write_report(page, named, previews=previews, store=store, title=document.path.name)
    return page
