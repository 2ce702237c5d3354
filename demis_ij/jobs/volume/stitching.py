"""Many sections: each is read, stitched, written and let go, several at once where there are workers for it.

What is kept in memory of a section that is done is its line in the report. When all are done, the frame that their
mosaics share is known, and solution, solved layout, mosaics and the report of the volume follow, a section at a time.

Sections are worked on *side by side*, one a worker, when there are at least as many left as workers; otherwise one
after the other, the pairs of each spread over all workers. The results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from demis_ij.errors import DemisError, InputError
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import draw_mosaic
from demis_ij.jobs.sections import work_on
from demis_ij.jobs.solved_layouts import losses_of, write_solved_layout
from demis_ij.jobs.stitch_job import JobResult, StitchJob
from demis_ij.jobs.volume.files import SectionsByName, SolvedSections, canvas_of, mosaic_targets, write_solution
from demis_ij.jobs.volume.section_files import FOLDER, SectionFiles, SectionTask, known_facts, stitched_section
from demis_ij.jobs.volume.solving import VolumeSection
from demis_ij.jobs.volume.together import CSV, reopened, solved_together
from demis_ij.pools import Pool
from demis_ij.records import Layout
from demis_ij.render import Canvas
from demis_ij.report.section_facts import SectionFacts
from demis_ij.report.volume import write_volume_report
from demis_ij.runs import RunFolder, fingerprint, slug
from demis_ij.stitch import Progress, StitchResult


def run_volume(
    document: Document,
    sections: Sequence[Layout],
    notes: Sequence[str],
    folder: RunFolder,
    job: StitchJob,
    settings: Mapping[str, Any],
    *,
    pool: Pool,
    keep_bytes: int,
    tell: Progress,
    on_section: Callable[[str], None],
    truth: Layout | None = None,
) -> JobResult:
    """Stitch the sections of a stack into a run folder, a section at a time.

    Parameters
    ----------
    document : Document
        What was read.
    sections : sequence of Layout
        Those to work on; each is asked for when its turn comes.
    notes : sequence of str
        What is to be said already.
    folder : RunFolder
        Where everything goes.
    job : StitchJob
        What to do.
    settings : mapping
        Of the run, for the workers.
    pool : Pool
        Workers.
    keep_bytes : int
        What each may keep of tiles.
    tell, on_section : callable
        Told how far the work is.
    truth : Layout, optional
        Where the tiles really lie, for the reports.

    Raises
    ------
    InputError
        When no section could be done.
    """
    named = SectionsByName(sections)
    work = _Volume(document, named, folder, job, settings, pool, keep_bytes, tell, on_section, truth, {})
    facts = work.facts()
    good = {name: f for name, f in facts.items() if not f.problem}
    if not good:
        raise InputError(next(iter(facts.values())).problem)
    warnings = [*document.warnings, *notes]
    for f in facts.values():
        warnings += [f"section {f.section}: {f.problem}; it is left out"] if f.problem else f.warnings
    canvas = canvas_of(list(good.values()))
    state = fingerprint([[name, f.state] for name, f in good.items()])
    solved = SolvedSections(folder.path, list(good), named)
    files = {"solution": folder.path / "solution.json"}
    targets = mosaic_targets(folder.path, list(good), job)
    if not folder.is_done("mosaic", state, [path for each in targets.values() for path in each.values()]):
        write_solution(folder.path, good, canvas, warnings)  # the mosaics may take long
    files |= write_solved_layout(document, solved, folder, state, job, warnings)
    if job.write_mosaic:
        warnings += work.draw(solved, good, targets, canvas, state)
        files |= {f"mosaic {kind}": path for kind, path in next(iter(targets.values())).items()}
    write_solution(folder.path, good, canvas, warnings)
    files |= {"report": folder.path / "report.html", "seams": SectionFiles.of(folder.path, next(iter(good))).seams}
    if job.config.across_z:
        files["across"] = folder.path / CSV
    links = {name: f"{FOLDER}/{SectionFiles.of(folder.path, name).report.name}" for name in good}
    write_volume_report(files["report"], list(facts.values()), links, title=document.path.name, warnings=warnings)
    return JobResult(
        ReopenedResults(work, list(good)),
        files,
        tuple(warnings),
        folder.resumed,
        (*(n for f in facts.values() for n in f.notes), *losses_of(document, solved, files)),
        tuple(targets.values()) if job.write_mosaic else (),
        canvas,
        tuple(facts.values()),
    )


@dataclass(frozen=True, eq=False)
class _Volume:
    """What every step needs."""

    document: Document
    sections: SectionsByName
    folder: RunFolder
    job: StitchJob
    settings: Mapping[str, Any]
    pool: Pool
    keep_bytes: int
    tell: Progress
    on_section: Callable[[str], None]
    truth: Layout | None
    solved: dict[str, VolumeSection]

    def facts(self) -> dict[str, SectionFacts]:
        """Return the facts of every section, those that were done in an earlier run among them."""
        if self.job.config.across_z:
            facts, solved = solved_together(self.sections, self.folder, self.task, self.spread, self.tell)
            self.solved.update(solved)
            return facts
        found = {name: known_facts(self.folder, name) for name in self.sections}
        todo = [name for name, known in found.items() if known is None]
        for task, value, problem in self.spread(stitched_section, map(self.task, todo), len(todo), "sections"):
            name = task.section.section
            found[name] = SectionFacts(section=name, problem=problem) if problem else value
        return {name: facts for name, facts in found.items() if facts is not None}

    def task(self, name: str) -> SectionTask:
        """Return what a worker needs to do a section."""
        title = self.document.path.name
        section = _found_anywhere(self.sections.layout(name))
        return SectionTask(
            section, self.job, self.folder.path.absolute(), self.settings, title, self.keep_bytes, self.truth
        )

    def spread(
        self, function: Callable[..., Any], tasks: Iterable[Any], count: int, what: str, *, spreads: bool = True
    ) -> Iterator[tuple[Any, Any, str | None]]:
        """Yield (task, value, problem): side by side where there are tasks enough, or where one cannot be spread."""
        if self.pool.workers > 1 and (count >= self.pool.workers or not spreads):
            self.tell(what, 0, count)
            with closing(self.pool.unordered(function, tasks)) as loop:  # type: ignore[type-var]
                for n, done in enumerate(loop, 1):
                    yield done.task, done.value, done.problem
                    self.tell(what, n, count)
            return
        for n, task in enumerate(tasks):
            if not spreads:
                self.tell(what, n, count)
                yield task, function(task), None
                continue
            self.on_section(_section_of(task))
            yield task, function(task, tell=self.tell, pool=self.pool), None
        if spreads:
            self.on_section("")
        elif count:
            self.tell(what, count, count)

    def draw(
        self,
        solved: SolvedSections,
        facts: Mapping[str, SectionFacts],
        targets: Mapping[str, Mapping[str, Path]],
        canvas: Canvas,
        state: str,
    ) -> list[str]:
        """Draw the mosaics that are not there yet; return what there is to say of any of them."""
        everything = [path for each in targets.values() for path in each.values()]
        if self.folder.is_done("mosaic", state, everything):
            return self.folder.notes("mosaic")
        todo = [name for name in solved.names if not self._is_drawn(name, facts[name], targets[name], canvas)]
        jobs = (
            DrawTask(
                _found_anywhere(solved[solved.names.index(name)]),
                {kind: path.absolute() for kind, path in targets[name].items()},
                self.job,
                canvas,
                self.keep_bytes,
            )
            for name in todo
        )
        lost = []
        for task, lines, problem in self.spread(drawn_section, jobs, len(todo), "mosaics"):
            name = task.layout.section
            if problem:
                lost.append(f"section {name}: its mosaic is not drawn, {problem}")
            else:
                self.folder.mark_done(_drawing(name), _shown(facts[name], canvas), lines)
        if lost:
            more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
            raise DemisError(f"{lost[0]}{more}; run the same command again")
        notes: list[str] = []
        for name in solved.names:
            known = tuple(f"tile {s.tile} is left out" for s in facts[name].suspects)
            notes += [n for n in self.folder.notes(_drawing(name)) if not (known and n.startswith(known))]
        self.folder.mark_done("mosaic", state, notes)
        return notes

    def _is_drawn(self, name: str, facts: SectionFacts, paths: Mapping[str, Path], canvas: Canvas) -> bool:
        return self.folder.is_done(_drawing(name), _shown(facts, canvas), paths.values())

    def result(self, name: str) -> StitchResult:
        """Return a section's result, from what the run folder remembers of its pairs."""
        task = self.task(name)
        store = TileStore(self.keep_bytes, clip=self.job.config.clahe_clip)
        if name in self.solved:
            return reopened(task, store, self.folder, self.solved[name]).result
        return work_on(task.section, self.job, self.folder, store).result


@dataclass(frozen=True, eq=False)
class DrawTask:
    """One section's mosaic.

    Attributes
    ----------
    layout : Layout
        Solved, in the layout's coordinates.
    targets : mapping of str to Path
        Kind of sink to file.
    job : StitchJob
    canvas : Canvas
        The frame of all sections.
    keep_bytes : int
        What may be kept of tiles.
    """

    layout: Layout
    targets: Mapping[str, Path]
    job: StitchJob
    canvas: Canvas
    keep_bytes: int


def drawn_section(task: DrawTask, *, tell: Progress | None = None, pool: Pool | None = None) -> list[str]:
    """Draw a section's mosaic and return what there is to say of it."""
    store = TileStore(task.keep_bytes, clip=task.job.config.clahe_clip)
    threads = 1 if pool is None and task.job.memory_bytes is not None else 0  # each draws a region, beside what is kept
    done = draw_mosaic(
        task.layout, task.targets, task.job.render, store,
        canvas=task.canvas, progress=tell, pool=pool, threads=threads,
    )  # fmt: skip
    return list(done.warnings)


def _found_anywhere(layout: Layout) -> Layout:
    """Return a section whose images are found from any folder: workers on other machines start somewhere else."""
    if all(t.path.is_absolute() for t in layout):
        return layout
    tiles = (
        replace(t, path=t.path.absolute(), mask_path=t.mask_path.absolute() if t.mask_path else None) for t in layout
    )
    return replace(layout, tiles=tuple(tiles))


def _section_of(task: SectionTask | DrawTask) -> str:
    return task.section.section if isinstance(task, SectionTask) else task.layout.section


def _drawing(section: str) -> str:
    return f"mosaic-{slug(section)}"


def _shown(facts: SectionFacts, canvas: Canvas) -> str:
    return fingerprint([facts.state, canvas.origin, canvas.shape])


class ReopenedResults(Sequence[StitchResult]):
    """The results of a run's sections, each solved again from the pairs on disk when it is asked for.

    Only the last one is kept in memory. Its seconds are those of opening it; `JobResult.sections` has the real ones.
    """

    def __init__(self, work: _Volume, names: Sequence[str]) -> None:
        self._work, self.names = work, tuple(names)
        self._last: tuple[str, StitchResult] | None = None

    @overload
    def __getitem__(self, index: int) -> StitchResult: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[StitchResult]: ...
    def __getitem__(self, index: int | slice) -> StitchResult | Sequence[StitchResult]:
        if isinstance(index, slice):
            return ReopenedResults(self._work, self.names[index])
        name = self.names[index]
        if self._last is None or self._last[0] != name:
            self._last = (name, self._work.result(name))
        return self._last[1]

    def __len__(self) -> int:
        return len(self.names)
