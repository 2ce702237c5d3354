"""Where the solved project of a job goes: known before anything is written, and the same when it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from demis_ij.formats import Document
from demis_ij.formats.trakem2 import is_solved_copy, solved_name
from demis_ij.runs import RunFolder

if TYPE_CHECKING:
    from demis_ij.jobs.stitch_job import StitchJob

PROJECT = "project.xml"
"""In the run folder, of a layout that was no TrakEM2 project."""


def solved_project(document: Document, job: StitchJob, out: Path) -> tuple[Path, list[str]]:
    """Return the file of the solved project, and what there is to say of its name, one line each.

    A file that is open in TrakEM2, or holds more than an earlier solved copy, keeps its place.

    Parameters
    ----------
    document : Document
        What is solved.
    job : StitchJob
        How.
    out : Path
        The run folder; it need not be there.
    """
    if document.format != "trakem2":
        return _in_run_folder(job, out)
    first, said = _first_choice(document, job), []
    if job.project_out is None and not os.access(first.parent, os.W_OK):
        said.append(f"{first.parent} cannot be written: the solved project is in {out}")
        first = out / first.name
    target, number = first, 1
    while not job.may_write(target) or (target.exists() and not is_solved_copy(document, target)):
        number += 1
        target = _numbered(first, number)
    if target != first and not job.may_write(first):
        said.append(_is_open(first, target))
    elif target != first:
        said.append(f"{first.name} holds more than a solved copy and is left alone: the new one is {target.name}")
    return target, said


def _in_run_folder(job: StitchJob, out: Path) -> tuple[Path, list[str]]:
    """Return where the project of another format goes: under the name that an earlier job has chosen."""
    notes = RunFolder.noted(out, "project")
    first = out / (notes[2] if len(notes) > 2 else PROJECT)
    target, number = first, 1
    while not job.may_write(target):
        number += 1
        target = _numbered(first, number)
    return target, [] if target == first else [_is_open(first, target)]


def _is_open(first: Path, target: Path) -> str:
    return f"{first.name} is open in TrakEM2 and is left alone: the solved project is {target.name}"


def _first_choice(document: Document, job: StitchJob) -> Path:
    """Return where the solved copy of a TrakEM2 project goes if nothing is in the way."""
    name = solved_name(document.path.name)
    if job.project_out is None:
        return document.path.parent / name
    if job.project_out.is_dir() or not job.project_out.suffix:
        return job.project_out / name
    return job.project_out


def _numbered(path: Path, number: int) -> Path:
    """Return ``p-2.xml`` for ``p.xml``, ``p-2.xml.gz`` for ``p.xml.gz``."""
    head, _, tail = path.name.rpartition(".xml")
    return path.with_name(f"{head}-{number}.xml{tail}")


__all__ = ["PROJECT", "solved_project"]
