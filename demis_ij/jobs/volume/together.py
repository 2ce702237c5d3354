"""Sections that are solved together: each by itself first, then pairs across z, then all of them once more.

Each step leaves a mark in the run folder, section by section; a run that was interrupted goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from demis_ij.config import StitchConfig
from demis_ij.errors import DemisError, InputError, WeightsError
from demis_ij.images import TileStore
from demis_ij.jobs.sections import SectionDone, work_on
from demis_ij.jobs.volume.across import AcrossPair, AcrossTask, compared_sections, known_pairs
from demis_ij.jobs.volume.files import SectionsByName
from demis_ij.jobs.volume.section_files import FOLDER, SectionTask, known_facts, write_section
from demis_ij.jobs.volume.solving import (
    AcrossSolved,
    PlaneSection,
    VolumeSection,
    in_volume,
    section_pairs,
    solve_volume,
    write_across_csv,
)
from demis_ij.pools import Pool
from demis_ij.report.section_facts import AcrossFacts, SectionFacts
from demis_ij.runs import RunFolder, read_json, slug, write_json
from demis_ij.stitch import Progress, StitchResult

CSV = "across_z.csv"


class Spread(Protocol):
    """Does tasks, by whoever there is: `demis_ij.jobs.volume.stitching` decides who."""

    def __call__(
        self, function: Callable[..., Any], tasks: Iterable[Any], count: int, what: str, *, spreads: bool = True
    ) -> Iterator[tuple[Any, Any, str | None]]:
        """Yield (task, value, problem)."""
        ...


@dataclass(frozen=True, eq=False)
class FinishTask:
    """A section to be written as the volume has it.

    Attributes
    ----------
    section : SectionTask
    solved : VolumeSection
    across : tuple of AcrossFacts
        What ties it to other sections.
    state : str
        What the files depend on.
    """

    section: SectionTask
    solved: VolumeSection
    across: tuple[AcrossFacts, ...]
    state: str


def solved_together(
    sections: SectionsByName,
    folder: RunFolder,
    make_task: Callable[[str], SectionTask],
    spread: Spread,
    tell: Progress,
) -> tuple[dict[str, SectionFacts], dict[str, VolumeSection]]:
    """Return the facts of all sections after they were solved together, and where their tiles are.

    Parameters
    ----------
    sections : SectionsByName
        Those to work on, in the order of z.
    folder : RunFolder
        Where everything goes.
    make_task : callable
        Returns what a worker needs to do a section.
    spread : callable
        Does tasks.
    tell : callable
        Told how far the work is.
    """
    lost = dict(_stitched(sections, folder, make_task, spread))
    names = [name for name in sections if name not in lost]
    if not names:
        return lost, {}
    planes = {name: PlaneSection.read(PlaneSection.file(folder.path, name)) for name in names}
    task = make_task(names[0])
    pairs = list(section_pairs(names, task.job.config.across_z))
    compared = dict(_compared(pairs, planes, sections, make_task, spread))
    across = {names: compared[names] for names in pairs}  # whoever was done first
    tell("solve the volume", 0, 1)
    solved, told = solve_volume(planes, across, task.job.config)
    tell("solve the volume", 1, 1)
    write_across_csv(folder.path / CSV, told)
    facts = _finished(names, solved, told, folder, make_task, spread)
    return {name: lost.get(name) or facts[name] for name in sections}, solved


def kept_volume(folder: RunFolder, names: Sequence[str], config: StitchConfig) -> dict[str, VolumeSection]:
    """Return where a finished run has put the tiles of its sections, from what it remembers; no pair is matched.

    Sections that could not be done are not among them.

    Raises
    ------
    InputError
        When sections were not compared yet.
    """
    files = {name: PlaneSection.file(folder.path, name) for name in names}
    planes = {n: PlaneSection.read(f) for n, f in files.items() if folder.is_done(_plane_mark(n), "", [f])}
    across = {}
    for pair in section_pairs(list(planes), config.across_z):
        known = known_pairs(folder, pair)
        if known is None:
            msg = f"{folder.path}: sections {' and '.join(pair)} were not compared yet: run the same command again"
            raise InputError(msg)
        across[pair] = known
    return solve_volume(planes, across, config)[0] if planes else {}


def plane_section(task: SectionTask, *, tell: Progress | None = None, pool: Pool | None = None) -> str:
    """Stitch a section by itself and keep its columns; return why it cannot be done, or nothing.

    Raises
    ------
    WeightsError, OSError
        What would stop every other section, too.
    """
    folder = RunFolder(task.run, task.settings)
    store = TileStore(task.keep_bytes, clip=task.job.config.clahe_clip)
    try:
        done = work_on(task.section, task.job, folder, store, tell=tell, pool=pool)
    except WeightsError:
        raise
    except DemisError as error:
        return str(error)
    file = PlaneSection.file(task.run, task.section.section)
    file.parent.mkdir(exist_ok=True)
    PlaneSection.of(done).write(file)
    write_json(_seconds_file(folder, task.section.section), done.result.timings_s)
    folder.mark_done(_plane_mark(task.section.section), "")
    return ""


def _plane_mark(section: str) -> str:
    return f"plane-{slug(section)}"


def _stitched(
    sections: SectionsByName, folder: RunFolder, make_task: Callable[[str], SectionTask], spread: Spread
) -> Iterator[tuple[str, SectionFacts]]:
    """Stitch the sections by themselves that are not yet; yield those that cannot be done."""
    todo = [n for n in sections if not folder.is_done(_plane_mark(n), "", [PlaneSection.file(folder.path, n)])]
    for task, value, problem in spread(plane_section, map(make_task, todo), len(todo), "sections"):
        if problem or value:
            name = task.section.section
            yield name, SectionFacts(section=name, problem=problem or value)


def _compared(
    pairs: Sequence[tuple[str, str]],
    planes: Mapping[str, PlaneSection],
    sections: SectionsByName,
    make_task: Callable[[str], SectionTask],
    spread: Spread,
) -> Iterator[tuple[tuple[str, str], list[AcrossPair]]]:
    def task(names: tuple[str, str]) -> AcrossTask:
        one, other = make_task(names[0]), make_task(names[1])
        fixed, moving = planes[names[0]].at(one.section), planes[names[1]].at(other.section)
        return AcrossTask(fixed, moving, one.job, one.run, one.settings, one.keep_bytes)

    for done, value, problem in spread(compared_sections, map(task, pairs), len(pairs), "across z", spreads=False):
        if problem:
            msg = f"sections {' and '.join(done.names)}: {problem}"
            raise DemisError(msg)
        yield done.names, value


def _finished(
    names: Sequence[str],
    solved: Mapping[str, VolumeSection],
    told: Sequence[AcrossSolved],
    folder: RunFolder,
    make_task: Callable[[str], SectionTask],
    spread: Spread,
) -> dict[str, SectionFacts]:
    """Write every section as the volume has it, unless it is there; return their facts."""
    ties = across_facts(told)
    found: dict[str, SectionFacts] = {}
    todo = []
    for name in names:
        known = known_facts(folder, name, solved[name].state)
        if known is None:
            todo.append(name)
        else:
            found[name] = known
    tasks = (FinishTask(make_task(n), solved[n], ties.get(n, ()), solved[n].state) for n in todo)
    for task, value, problem in spread(finished_section, tasks, len(todo), "reports", spreads=False):
        name = task.section.section.section
        found[name] = SectionFacts(section=name, problem=problem) if problem else value
    return found


def finished_section(task: FinishTask) -> SectionFacts:
    """Write a section as the volume has it, and return its facts."""
    whole = task.section
    folder = RunFolder(whole.run, whole.settings)
    store = TileStore(whole.keep_bytes, clip=whole.job.config.clahe_clip)
    done = reopened(whole, store, folder, task.solved)
    done = replace(done, result=replace(done.result, timings_s=_seconds(folder, done.result)))
    return write_section(
        done, folder, store, title=whole.title, truth=whole.truth, state=task.state, across=task.across
    )


def _seconds(folder: RunFolder, opened: StitchResult) -> dict[str, float]:
    """Return what a section took: being stitched by itself, and being opened where the volume has it."""
    file = _seconds_file(folder, opened.layout.section)
    alone: dict[str, float] = read_json(file) if file.exists() else {}  # earlier versions wrote none
    return {**alone, "opened again": sum(opened.timings_s.values())}


def _seconds_file(folder: RunFolder, section: str) -> Path:
    """Return where the seconds lie that a section took by itself; no section is called like that."""
    return folder.path / FOLDER / f".{slug(section)}.alone.facts.json"


def reopened(task: SectionTask, store: TileStore, folder: RunFolder, solved: VolumeSection) -> SectionDone:
    """Return a section from the pairs on disk, where the volume has it."""
    return in_volume(work_on(task.section, task.job, folder, store), solved)


def across_facts(told: Sequence[AcrossSolved]) -> dict[str, tuple[AcrossFacts, ...]]:
    """Return for each section what ties it to each other section that it was compared with."""
    between: dict[tuple[str, str], list[AcrossSolved]] = {}
    for one in told:
        between.setdefault(one.sections, []).append(one)
    out: dict[str, list[AcrossFacts]] = {}
    for names, pairs in between.items():
        believed = [p.residual_px for p in pairs if p.is_believed]
        for name, other in (names, names[::-1]):
            out.setdefault(name, []).append(AcrossFacts.of(other, len(pairs), believed))
    return {name: tuple(facts) for name, facts in out.items()}
