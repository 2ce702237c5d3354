"""A part of a run's pairs, matched into a run folder of its own: for computers that share nothing but a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.memory import tile_bytes
from demis_ij.jobs.plans import check_parts, chosen_sections, ready_sections, settings_of
from demis_ij.jobs.sections import oriented
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.pairs import neighbours
from demis_ij.pools import Pool, open_pool
from demis_ij.records import Layout, PairMatch
from demis_ij.runs import RunFolder, check_folder, occupied, write_json
from demis_ij.stitch import Progress, match_first, part_of, usable

MARK = "part"


@dataclass(frozen=True)
class Part:
    """One of several parts of the pairs of every section.

    Attributes
    ----------
    number, of : int
        Which, from 1, and of how many.

    Raises
    ------
    InputError
        When there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            msg = f"part {self}: needed a part from 1 to the number of parts, as 2/5"
            raise InputError(msg)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def mark(self) -> str:
        """The stage of a run that is finished with this part."""
        return f"{MARK}-{self.number}-{self.of}"


@dataclass(frozen=True)
class PartDone:
    """What matching a part came to.

    Attributes
    ----------
    part : Part
    pairs, agree : int
        Of all sections, in this part.
    warnings, notes : tuple of str
        One line each.
    """

    part: Part
    pairs: int
    agree: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**asdict(self), "part": str(self.part)}


def part_of_text(text: str) -> Part:
    """Return the part that a text names, such as 2/5. Raises `InputError`."""
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        msg = f"--part {text}: needed which of how many, as 2/5"
        raise InputError(msg)
    return Part(int(number), int(of))


def run_part(
    document: Document,
    out: Path,
    job: StitchJob,
    part: Part,
    *,
    progress: Progress | None = None,
    on_section: Callable[[str], None] | None = None,
) -> PartDone:
    """Match a part of the pairs of every section into a run folder, and stop there.

    `demis_ij.jobs.merging.merge_runs` puts such folders together, and `run_stitch` goes on with the whole.

    Parameters
    ----------
    document, out, job, progress, on_section
        As for `run_stitch`.
    part : Part
        Which.

    Raises
    ------
    InputError
        When something given cannot be used.
    """
    tell = progress or (lambda _what, _done, _all: None)
    begin = on_section or (lambda _name: None)
    sections, problems = ready_sections(document, job, TileStore(1 << 26, clip=job.config.clahe_clip))
    settings, chosen = settings_of(document, job), chosen_sections(document, job)
    if not check_folder(out, settings, sections=chosen):
        check_parts(job.config)
    pairs = agree = 0
    warnings = [*document.warnings, *problems]
    notes: list[str] = []
    with open_pool(job.workers, job.dask, memory_bytes=job.memory_bytes) as pool:
        store = TileStore(tile_bytes(job, pool, sections[0]), clip=job.config.clahe_clip)
        with occupied(out):
            folder = RunFolder(out, settings, sections=chosen)
            for section in sections:
                begin(section.section)
                found = _matched(section, folder, job, part, store, tell, pool)
                pairs, agree = pairs + found.pairs, agree + found.agree
                warnings += found.warnings
                notes += found.notes
            begin("")
            mark_part(out, part)
    return PartDone(part, pairs, agree, tuple(warnings), tuple(notes))


def _matched(
    section: Layout, folder: RunFolder, job: StitchJob, part: Part, store: TileStore, tell: Progress, pool: Pool
) -> PartDone:
    """Match a part of one section's pairs."""
    turned, notes = oriented(section, job.config, job.stage_axes, store, tell, folder)
    layout, warnings = usable(turned, job.config)
    pairs = part_of(layout, neighbours(layout), part.number, part.of)
    memory = folder.memory(section.section)
    found = match_first(layout, pairs, job.config, store=store, memory=memory, progress=tell, pool=pool)
    memory.finish()
    agree = sum(isinstance(o, PairMatch) for o in found)
    return PartDone(part, len(pairs), agree, tuple(warnings), tuple(notes))


def mark_part(run: Path, part: Part) -> None:
    """Remember that the run in a folder holds all that was found of a part, matched there or taken from another run."""
    write_json(run / f".{part.mark}.done", {"depends_on": "", "notes": []})


def parts_in(runs: Iterable[Path]) -> set[Part]:
    """Return the parts that runs are finished with."""
    found = set()
    for mark in (m for run in runs for m in run.glob(f".{MARK}-*-*.done")):
        _, number, of = mark.name.removesuffix(".done").split("-")
        found.add(Part(int(number), int(of)))
    return found


__all__ = ["MARK", "Part", "PartDone", "mark_part", "part_of_text", "parts_in", "run_part"]
