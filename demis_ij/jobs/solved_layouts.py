"""Solved layouts on disk: a TrakEM2 copy beside the original, other formats in the run folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from demis_ij import formats
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.formats.parts import write_solved_parts
from demis_ij.formats.trakem2 import is_solved_copy
from demis_ij.jobs.solved_names import PROJECT, solved_project
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.records import Layout
from demis_ij.runs import RunFolder


def check_project_out(document: Document, job: StitchJob, out: Path) -> None:
    """Check ``--project-out`` before anything is done. Raises `InputError`."""
    target = job.project_out
    if target is None:
        return
    if document.parts:
        msg = "--project-out names one file, and each of these sections has its own: leave it out"
        raise InputError(msg)
    if not job.may_write(target):
        msg = f"--project-out {target} is open in TrakEM2 and is never written: choose another name"
        raise InputError(msg)
    parent = next(p for p in (target, *target.absolute().parents) if p.exists() and not (p == target and p.is_file()))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problem = "cannot be written" if parent.is_dir() else "is a file"
        msg = f"--project-out {target}: {parent} {problem}"
        raise InputError(msg)
    if not target.is_file():
        return
    written = RunFolder.noted(out, "project")
    ours = is_solved_copy(document, target) if document.format == "trakem2" else written[1:2] == [_sha256(target)]
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
    if document.parts:
        out = folder.path / "solved"
        if not folder.is_done("project", state, [out]):
            write_solved_parts(document, layouts, out)
            folder.mark_done("project", state, files=[out])
        return {"layout": out}
    if document.format == "trakem2":
        target, said = solved_project(document, job, folder.path)
        warnings += said
        return {"project": formats.write_solved(document, layouts, target, overwrite=True)}
    notes = folder.notes("project")
    known = [Path(text) for text in notes[:1]]
    project = folder.path / (notes[2] if len(notes) > 2 else PROJECT)
    if known and folder.is_done("project", state, [*known, project]):
        inside = known[0].parent == folder.path.absolute()
        layout = folder.path / known[0].name if inside else known[0]  # as the user named the folder
    else:
        layout = _own_format(document, layouts, folder, job, warnings)
        project, said = solved_project(document, job, folder.path)
        warnings += said
        formats.write(project, layouts, format="trakem2", overwrite=True, allow_lossy=True)
        known_as = [str(layout.absolute()), _sha256(layout), project.name]
        folder.mark_done("project", state, known_as, files=[layout, project])
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


def losses_of(document: Document, layouts: Sequence[Layout], files: Mapping[str, Path]) -> tuple[str, ...]:
    """Return what the solved layout in the user's own format does not hold of the solution."""
    if "layout" not in files or "project" not in files:
        return ()
    lost = formats.losses("tileconfig" if document.format == "grid" else document.format, layouts)
    return (f"{files['layout'].name} cannot hold {'; '.join(lost)}: {files['project'].name} does",) if lost else ()
