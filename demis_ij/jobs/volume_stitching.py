"""Many sections: each is read, stitched, written and let go, several at once where there are workers for it.

What is kept in memory of a section that is done is its line in the report. When all are done, the frame that their
mosaics share is known, and solution, solved layout, mosaics and the report of the volume follow, a section at a time.

Sections are worked on *side by side*, one a worker, when there are at least as many left as workers; otherwise one
after the other, the pairs of each spread over all workers. The results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from demis_ij.errors import DemisError, InputError
from demis_ij.formats import Document
from demis_ij.formats.solutions import INDEX, WHOLE, moved_tile, renamed_pair
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import SUFFIX, draw_mosaic
from demis_ij.jobs.plans import JobResult, StitchJob
from demis_ij.jobs.section_files import (
    FOLDER,
    SectionFiles,
    SectionTask,
    known_facts,
    solved_section,
    stitched_section,
)
from demis_ij.jobs.sections import work_on
from demis_ij.jobs.solved_layouts import losses_of, write_solved_layout
from demis_ij.pools import Pool
from demis_ij.records import Affine, Layout
from demis_ij.render import Canvas
from demis_ij.report.section_facts import SectionFacts
from demis_ij.report.volume import write_volume_report
from demis_ij.runs import RunFolder, fingerprint, read_json, slug, write_json
from demis_ij.stitch import Progress, StitchResult

WHOLE_TILES = 10_000
"""A stack of at most so many tiles has everything in one solution.json, a larger one an index of its sections."""


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
    work = _Volume(document, sections, folder, job, settings, pool, keep_bytes, tell, on_section, truth)
    facts = work.facts()
    good = {name: f for name, f in facts.items() if not f.problem}
    if not good:
        raise InputError(next(iter(facts.values())).problem)
    warnings = [*document.warnings, *notes]
    for f in facts.values():
        warnings += [f"section {f.section}: {f.problem}; it is left out"] if f.problem else f.warnings
    canvas = canvas_of(list(good.values()))
    state = fingerprint([[name, f.state] for name, f in good.items()])
    solved = SolvedSections(folder.path, [s for s in _Named(sections) if s in good], _Named(sections))
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
    links = {name: f"{FOLDER}/{SectionFiles.of(folder.path, name).report.name}" for name in good}
    write_volume_report(files["report"], list(facts.values()), links, title=document.path.name, warnings=warnings)
    return JobResult(
        ReopenedResults(work, list(good)),
        files,
        tuple(warnings),
        folder.resumed,
        losses_of(document, solved, files),
        tuple(targets.values()) if job.write_mosaic else (),
        canvas,
        tuple(facts.values()),
    )


class _Named(Sequence[str]):
    """Sections by their names, each read when it is asked for."""

    def __init__(self, sections: Sequence[Layout]) -> None:
        self._sections = sections
        self._names = getattr(sections, "names", None) or tuple(s.section for s in sections)
        self._row = {name: i for i, name in enumerate(self._names)}

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._names[index]

    def __len__(self) -> int:
        return len(self._names)

    def layout(self, name: str) -> Layout:
        """Return a section."""
        return self._sections[self._row[name]]


class SolvedSections(Sequence[Layout]):
    """The solved sections of a run, each read from its file when it is asked for.

    Parameters
    ----------
    run : Path
        The run folder.
    names : sequence of str
        The sections, in order.
    given : object
        The sections as they were given.
    """

    def __init__(self, run: Path, names: Sequence[str], given: _Named) -> None:
        self._run, self.names, self._given = run, tuple(names), given

    @overload
    def __getitem__(self, index: int) -> Layout: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Layout]: ...
    def __getitem__(self, index: int | slice) -> Layout | Sequence[Layout]:
        if isinstance(index, slice):
            return SolvedSections(self._run, self.names[index], self._given)
        return solved_section(self._run, self._given.layout(self.names[index]))

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class _Volume:
    """What every step needs."""

    document: Document
    sections: Sequence[Layout]
    folder: RunFolder
    job: StitchJob
    settings: Mapping[str, Any]
    pool: Pool
    keep_bytes: int
    tell: Progress
    on_section: Callable[[str], None]
    truth: Layout | None

    def facts(self) -> dict[str, SectionFacts]:
        """Return the facts of every section, those that were done in an earlier run among them."""
        named = _Named(self.sections)
        found = {name: known_facts(self.folder, name) for name in named}
        todo = [name for name, facts in found.items() if facts is None]
        tasks = (self.task(named.layout(name)) for name in todo)
        done = self._side_by_side(tasks, len(todo)) if 1 < self.pool.workers <= len(todo) else self._in_turn(tasks)
        for facts in done:
            found[facts.section] = facts
        return {name: facts for name, facts in found.items() if facts is not None}

    def task(self, section: Layout) -> SectionTask:
        title = self.document.path.name
        return SectionTask(section, self.job, self.folder.path, self.settings, title, self.keep_bytes, self.truth)

    def _side_by_side(self, tasks: Iterator[SectionTask], count: int) -> Iterator[SectionFacts]:
        self.tell("sections", 0, count)
        for n, done in enumerate(self.pool.unordered(stitched_section, tasks), 1):
            lost = done.problem is not None
            yield SectionFacts(section=done.task.section.section, problem=str(done.problem)) if lost else done.value
            self.tell("sections", n, count)

    def _in_turn(self, tasks: Iterator[SectionTask]) -> Iterator[SectionFacts]:
        for task in tasks:
            self.on_section(task.section.section)
            yield stitched_section(task, tell=self.tell, pool=self.pool)
        self.on_section("")

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
            DrawTask(solved[solved.names.index(name)], targets[name], self.job, canvas, self.keep_bytes)
            for name in todo
        )
        drawn = self._drawn_side_by_side(jobs, len(todo)) if 1 < self.pool.workers <= len(todo) else self._drawn(jobs)
        for name, lines in drawn:
            self.folder.mark_done(_drawing(name), _shown(facts[name], canvas), lines)
        notes: list[str] = []
        for name in solved.names:
            known = tuple(f"tile {s.tile} is left out" for s in facts[name].suspects)
            notes += [n for n in self.folder.notes(_drawing(name)) if not (known and n.startswith(known))]
        self.folder.mark_done("mosaic", state, notes)
        return notes

    def _is_drawn(self, name: str, facts: SectionFacts, paths: Mapping[str, Path], canvas: Canvas) -> bool:
        return self.folder.is_done(_drawing(name), _shown(facts, canvas), paths.values())

    def _drawn_side_by_side(self, tasks: Iterator[DrawTask], count: int) -> Iterator[tuple[str, list[str]]]:
        self.tell("mosaics", 0, count)
        for n, done in enumerate(self.pool.unordered(drawn_section, tasks), 1):
            if done.problem is not None:
                msg = f"section {done.task.layout.section}: {done.problem}"
                raise DemisError(msg)
            yield done.task.layout.section, done.value
            self.tell("mosaics", n, count)

    def _drawn(self, tasks: Iterator[DrawTask]) -> Iterator[tuple[str, list[str]]]:
        for task in tasks:
            self.on_section(task.layout.section)
            yield task.layout.section, drawn_section(task, tell=self.tell, pool=self.pool)
        self.on_section("")

    def result(self, name: str) -> StitchResult:
        """Return a section's result, from what the run folder remembers of its pairs."""
        store = TileStore(self.keep_bytes, clip=self.job.config.clahe_clip)
        return work_on(_Named(self.sections).layout(name), self.job, self.folder, store).result


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
    done = draw_mosaic(task.layout, task.targets, task.job.render, store, canvas=task.canvas, progress=tell, pool=pool)
    return list(done.warnings)


def mosaic_targets(run: Path, names: Sequence[str], job: StitchJob) -> dict[str, dict[str, Path]]:
    """Return, for each section, the files of its mosaic by kind."""
    one = len(names) == 1
    return {
        name: {
            kind: run / (("mosaic" if one else f"mosaic_{slug(name)}") + SUFFIX[kind]) for kind in job.render.formats
        }
        for name in names
    }


def canvas_of(facts: Sequence[SectionFacts]) -> Canvas:
    """Return the frame that holds all sections."""
    x0, y0 = min(f.origin[0] for f in facts), min(f.origin[1] for f in facts)
    x1, y1 = max(f.origin[0] + f.shape[1] for f in facts), max(f.origin[1] + f.shape[0] for f in facts)
    return Canvas((x0, y0), (y1 - y0, x1 - x0))


def write_solution(run: Path, facts: Mapping[str, SectionFacts], canvas: Canvas, warnings: Sequence[str]) -> None:
    """Write ``solution.json``: all of a small stack, an index of the sections of a large one."""
    head = {
        "world_origin": [float(v) for v in canvas.origin],
        "pixel_size": next((list(f.pixel_size) for f in facts.values() if f.pixel_size), None),
    }
    files = {name: SectionFiles.of(run, name).solution for name in facts}
    if sum(f.tiles for f in facts.values()) > WHOLE_TILES:
        entries = [
            {"section": name, "file": f"{FOLDER}/{files[name].name}", "tiles": f.tiles, "pairs": f.pairs}
            for name, f in facts.items()
        ]
        value = {"format_version": INDEX, **head, "sections": entries, "warnings": list(warnings)}
    else:
        value = {"format_version": WHOLE, **head, **_whole(files, canvas), "warnings": list(warnings)}
    write_json(run / "solution.json", value)


def _whole(files: Mapping[str, Path], canvas: Canvas) -> dict[str, Any]:
    """Return the tiles and pairs of all sections in px of the mosaics."""
    sections = {name: read_json(path) for name, path in files.items()}
    ids = [tile for value in sections.values() for tile in value["tiles"]]
    several = len(ids) != len(set(ids))
    shift = Affine.translation(-canvas.origin[0], -canvas.origin[1])
    tiles: dict[str, Any] = {}
    pairs: list[dict[str, Any]] = []
    for name, value in sections.items():
        head = f"{name}/" if several else ""
        tiles |= {head + key: moved_tile(tile, shift) for key, tile in value["tiles"].items()}
        pairs += [renamed_pair(pair, head) for pair in value["pairs"]]
    return {"tiles": tiles, "pairs": pairs}
