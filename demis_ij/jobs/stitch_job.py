"""What a stitching job is told, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demis_ij.config import RenderConfig, StitchConfig
from demis_ij.jobs.shown import job_card
from demis_ij.render import Canvas
from demis_ij.report.section_facts import SectionFacts
from demis_ij.stitch import StitchResult


@dataclass(frozen=True, kw_only=True)
class StitchJob:
    """What to do with a document.

    Attributes
    ----------
    config, render : StitchConfig, RenderConfig
        How.
    sections : tuple of str
        Only these; all when empty.
    stage_axes : str or None
        Flips and swaps of the stage; found by trying when None.
    images_only : bool
        Move tiles although annotations would be left behind.
    project_out : Path or None
        Where the solved layout goes; beside the original (TrakEM2) when None.
    relink : Path or None
        Where moved images are.
    write_mosaic : bool
        False stops after the solution and the report.
    read_options : mapping
        How the layout was read, as JSON types, so that the report can be made anew.
    never_write : tuple of Path
        Projects that are open in TrakEM2: not written, whatever else says so. No part of what a result depends on.
    workers, dask, memory_bytes : int, str or None, int or None
        Who does the work (`demis_ij.pools.open_pool`), and what all its processes on a machine may use. No part of
        what a result depends on.
    """

    config: StitchConfig = field(default_factory=StitchConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    sections: tuple[str, ...] = ()
    stage_axes: str | None = None
    images_only: bool = False
    project_out: Path | None = None
    relink: Path | None = None
    write_mosaic: bool = True
    read_options: Mapping[str, Any] = field(default_factory=dict)
    never_write: tuple[Path, ...] = ()
    workers: int = 1
    dask: str | None = None
    memory_bytes: int | None = None

    def may_write(self, path: Path) -> bool:
        """Return whether a file is none of those that must not be written, by whatever name they go."""
        return not any(_is_same(path, other) for other in self.never_write)


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job made.

    Attributes
    ----------
    results : sequence of StitchResult
        One a section; of a stack, each is opened from the run folder when it is asked for.
    files : mapping of str to Path
        What was written, by what it is.
    warnings : tuple of str
        One line each, of all sections.
    resumed : bool
        Whether an earlier run was gone on with.
    notes : tuple of str
        What is good to know and no flaw.
    mosaics : tuple of mapping of str to Path
        For each section, the files of its mosaic by kind.
    canvas : Canvas or None
        The frame that all mosaics share.
    sections : tuple of SectionFacts
        What there is to say of each section of a stack; empty where there is one section.
    """

    results: Sequence[StitchResult]
    files: Mapping[str, Path]
    warnings: tuple[str, ...]
    resumed: bool
    notes: tuple[str, ...] = ()
    mosaics: tuple[Mapping[str, Path], ...] = ()
    canvas: Canvas | None = None
    sections: tuple[SectionFacts, ...] = ()

    def _repr_html_(self) -> str:
        return job_card(self)


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths are one file, be it there or not."""
    try:
        if one.samefile(other):
            return True
    except OSError:
        pass  # at least one of them is not there
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


__all__ = ["JobResult", "StitchJob"]
