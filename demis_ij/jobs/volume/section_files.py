"""The sections of a stack on disk: each is stitched by itself, written and let go; a worker does one at a time.

::

    sections/3.json         where the tiles of section 3 lie in the layout's coordinates, and its pairs
    sections/3.facts.json   what the report of the volume says of it
    sections/3.html         its own report
    seams_3.csv
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demis_ij.errors import DemisError, FormatError, WeightsError
from demis_ij.formats.solutions import SolutionFile
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import make_preview
from demis_ij.jobs.sections import SectionDone, report_name, work_on
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.pools import Pool
from demis_ij.records import Layout
from demis_ij.render import Canvas
from demis_ij.report import write_csv, write_report
from demis_ij.report.section_facts import AcrossFacts, SectionFacts, facts_of
from demis_ij.runs import (
    RunFolder,
    ends_as_written,
    fingerprint,
    read_json,
    read_sections,
    slug,
    solution_json,
    write_json,
)
from demis_ij.stitch import Progress

FOLDER = "sections"


@dataclass(frozen=True, eq=False)
class SectionTask:
    """What a worker needs to do one section.

    Attributes
    ----------
    section : Layout
        As read.
    job : StitchJob
        How.
    run : Path
        The run folder; on a cluster every worker must see it under this name.
    settings : mapping
        Of the run.
    title : str
        Of the section's report.
    keep_bytes : int
        What may be kept of tiles.
    truth : Layout or None
        Where the tiles really lie.
    """

    section: Layout
    job: StitchJob
    run: Path
    settings: Mapping[str, Any]
    title: str
    keep_bytes: int
    truth: Layout | None = None


@dataclass(frozen=True)
class SectionFiles:
    """Where the files of one section lie."""

    solution: Path
    facts: Path
    report: Path
    seams: Path

    @classmethod
    def of(cls, run: Path, section: str) -> SectionFiles:
        """Return where the files of a section lie in a run folder."""
        name = slug(section)
        folder = run / FOLDER
        return cls(
            folder / f"{name}.json", folder / f"{name}.facts.json", folder / f"{name}.html", run / f"seams_{name}.csv"
        )

    @property
    def all(self) -> tuple[Path, ...]:
        """All of them."""
        return self.solution, self.facts, self.report, self.seams


def stitched_section(task: SectionTask, *, tell: Progress | None = None, pool: Pool | None = None) -> SectionFacts:
    """Return the facts of a section after it was stitched and written; one that cannot be done says why.

    Raises
    ------
    WeightsError, OSError
        What would stop every other section, too.
    """
    folder = RunFolder(task.run, task.settings)
    store = TileStore(task.keep_bytes, clip=task.job.config.clahe_clip)
    try:
        done = work_on(task.section, task.job, folder, store, tell=tell, pool=pool)
        return write_section(done, folder, store, title=task.title, truth=task.truth)
    except WeightsError:
        raise
    except DemisError as error:
        return SectionFacts(section=task.section.section, problem=str(error))


def write_section(
    done: SectionDone,
    folder: RunFolder,
    store: TileStore,
    *,
    title: str,
    truth: Layout | None = None,
    state: str = "",
    across: tuple[AcrossFacts, ...] = (),
) -> SectionFacts:
    """Write the files of a stitched section, the mark that they are whole last, and return the facts.

    Parameters
    ----------
    done : SectionDone
        The section.
    folder : RunFolder
        Where they go.
    store : TileStore
        Where pixels come from.
    title : str
        Of the report.
    truth : Layout, optional
        Where the tiles really lie.
    state : str
        What else the files depend on than the run's settings.
    across : tuple of AcrossFacts
        What ties it to other sections.
    """
    result = done.result
    name = result.layout.section
    files = SectionFiles.of(folder.path, name)
    files.solution.parent.mkdir(exist_ok=True)
    solution = solution_json([result], (0.0, 0.0), result.layout.pixel_size, {name: done.left_out})
    write_json(files.solution, {**solution, "warnings": list(done.warnings)})
    preview = make_preview(result, store)
    run = report_name(result, [result])
    named = f"{title}, section {name}"
    write_report(files.report, {run: result}, previews={run: preview}, store=store, truth=truth, title=named)
    write_csv(files.seams, result)
    canvas = Canvas.of(result.solution.layout)
    facts = facts_of(
        result,
        preview,
        origin=canvas.origin,
        shape=canvas.shape,
        warnings=(*done.notes, *done.warnings),
        notes=result.notes,
        state=fingerprint([solution["tiles"], solution["pairs"]]),
        across=across,
    )
    write_json(files.facts, facts.to_json())
    folder.mark_done(_mark(name), state, files=[files.report, files.seams])  # the others are there already
    return facts


def known_facts(folder: RunFolder, section: str, state: str = "") -> SectionFacts | None:
    """Return the facts of a section whose files are whole, None where there is something to do."""
    files = SectionFiles.of(folder.path, section)
    if not folder.is_done(_mark(section), state, files.all) or not ends_as_written(files.solution):
        return None
    try:
        return SectionFacts.from_json(read_json(files.facts))
    except (FormatError, KeyError, TypeError, ValueError):
        return None  # written by nobody who finished: done again


def _mark(section: str) -> str:
    return f"section-{slug(section)}"


def solved_section(run: Path, section: Layout) -> Layout:
    """Return a section as its file has it, in the layout's coordinates, with what only the layout knows of its tiles.

    Raises
    ------
    FormatError
        When the file cannot be read.
    """
    (found,) = read_sections(SolutionFile(SectionFiles.of(run, section.section).solution))
    tiles = (
        replace(t, path=old.path, mask_path=old.mask_path, locked=old.locked, visible=old.visible)
        for t in found
        for old in (section[t.id],)
    )
    return replace(found, tiles=tuple(tiles), source=section.source)
