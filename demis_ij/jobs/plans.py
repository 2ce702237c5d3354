"""What can be known of a job before anything is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demis_ij import images
from demis_ij.config import StitchConfig, to_dict
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.formats.document import LayoutsOnDemand
from demis_ij.formats.files import CASE_BLIND
from demis_ij.images import TileStore
from demis_ij.jobs.solved_names import solved_project
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.pairs import neighbours
from demis_ij.records import Layout
from demis_ij.runs import check_folder, fingerprint, slug, stamp_of
from demis_ij.stitch import AUTO, AXES, make_matcher, make_solver, usable


def chosen_sections(document: Document, job: StitchJob) -> Sequence[Layout]:
    """Return the sections to work on. Raises `InputError` for unknown ones and for annotations left behind."""
    names = tuple(dict.fromkeys(job.sections))
    chosen = _some(document, names) if names else document.layouts
    if not chosen:
        msg = f"{document.path}: no section to stitch"
        raise InputError(msg)
    held = {name: kinds for name in names or document.sections if (kinds := document.annotations.get(name))}
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


def _some(document: Document, names: Sequence[str]) -> Sequence[Layout]:
    """Return some sections of a document. Raises `InputError` for one that is not there."""
    if isinstance(document.layouts, LayoutsOnDemand):
        for name in names:
            if name not in document.sections:
                document[name]  # says what there is
        return LayoutsOnDemand(names, document.__getitem__)
    return [document[name] for name in names]


def ready_sections(document: Document, job: StitchJob, store: TileStore) -> tuple[Sequence[Layout], list[str]]:
    """Return the sections that can be stitched, and a warning for each that cannot. Nothing is written.

    Raises
    ------
    InputError
        When an option does not fit, or no section has a tile that can be read.
    """
    if job.stage_axes is not None and job.stage_axes not in AXES:
        msg = f"stage axes {job.stage_axes!r}: needed one of {', '.join(AXES)}"
        raise InputError(msg)
    ready: list[Layout] = []
    names, problems = [], []
    on_demand = isinstance(document.layouts, LayoutsOnDemand)
    for section in chosen_sections(document, job):
        if job.stage_axes not in {None, AXES[0]} and any(t.locked for t in section):
            msg = f"section {section.section}: --stage-axes would move its locked tiles: unlock them first"
            raise InputError(msg)
        try:
            known, _ = usable(section, job.config)
            read_one(known, store)
        except InputError as error:
            problems.append(error)
        else:
            names.append(section.section)
            if not on_demand:
                ready.append(with_pixel_size(section))
    if not names:
        raise problems[0]
    check_file_names(names)
    said = [f"{error}; the section is left out" for error in problems]
    if on_demand:
        return LayoutsOnDemand(names, lambda name: with_pixel_size(document[name])), said
    return ready, said


def check_file_names(names: Sequence[str]) -> None:
    """Raise `InputError` for two sections whose files would be one where names differ by more than their case."""
    taken: dict[str, str] = {}
    for name in names if CASE_BLIND else ():
        other = taken.setdefault(slug(name).casefold(), name)
        if other != name:
            msg = f"sections {other!r} and {name!r} would have the same files on this system: rename one of them"
            raise InputError(msg)


def read_one(layout: Layout, store: TileStore) -> None:
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
    sections, warnings = ready_sections(document, job, TileStore(clip=job.config.clahe_clip))
    resumes = check_folder(out, settings_of(document, job), sections=chosen_sections(document, job))
    project, said = (out / "solved", []) if document.parts else solved_project(document, job, out)
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
        "project": str(project),
        "mosaics": list(job.render.formats) if job.write_mosaic else [],
        "warnings": [*document.warnings, *warnings, *said],
    }


def _stamps(section: Layout) -> str:
    """Return what tells whether the tiles of a section have changed."""
    return fingerprint([stamp_of(t) for t in section])


def settings_of(document: Document, job: StitchJob) -> dict[str, Any]:
    """Return everything that the result of a job depends on, as JSON types."""
    stamps = [_stamps(section) for section in chosen_sections(document, job)]
    return {
        "layout": os.path.abspath(document.path),  # noqa: PTH100 - links are kept as the user named them
        "layout_sha256": document.digest,
        "tiles_sha256": stamps[0] if len(stamps) == 1 else fingerprint(stamps),
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


def with_pixel_size(layout: Layout) -> Layout:
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
